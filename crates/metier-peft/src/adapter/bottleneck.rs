use super::{Adapter, Attached};
use crate::folder::{Form, Source};
use crate::targets::Check;
use metier_compute::op::Activation;
use metier_compute::{ParameterId, Tape, Tensor, Var, op};
use metier_core::part::{Build, Part};
use metier_core::seed::Seed;
use metier_core::{Place, Result};
use metier_model::Decoder;
use metier_model::layer::{Sublayer, SublayerAdapter};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;

/// # What it does
/// Trains small networks with a narrow middle in each block: behind attention and the feed-forward block (Houlsby), behind the
/// feed-forward block only (Pfeiffer), or beside it (parallel).
///
/// # How
/// With `D` `[width, hidden]`, `U` `[hidden, width]`, their biases and `n(x) = f(x Dᵀ + d) Uᵀ + u`: behind a sublayer that makes `y`, `y + n(y)` is
/// added to the residual stream; beside a feed-forward block that reads `x` and makes `y`, `y + scale · n(x)`. `D` begins normal with
/// the deviation 0.01, the rest at 0, so that training begins at the model as it was.
///
/// # When to use
/// Where what is learned is to be taken off and put on again, and tasks are to be kept apart. It cannot be folded, and makes
/// answers some percent slower. `lora` is the better choice otherwise.
///
/// # Differs from the paper in
/// Houlsby's begin near to the identity, these at it. Norms of the model are not trained with them. What comes behind a norm that
/// some architectures have behind a sublayer comes behind that norm.
///
/// # Source
/// Houlsby et al., arXiv 1902.00751, section 2.1; Pfeiffer et al., arXiv 2005.00247, appendix A; He et al., "Towards a Unified View of
/// Parameter-Efficient Transfer Learning", arXiv 2110.04366, section 3.3 (parallel).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Bottleneck {
    /// Where the networks are.
    pub placement: Placement,
    /// Width of their middle; a sixteenth of the residual stream when it is left out.
    #[schemars(range(min = 1, max = 65536))]
    pub width: Option<usize>,
    /// What their middle passes through.
    pub activation: Middle,
    /// What is added beside a feed-forward block is multiplied by this.
    #[schemars(range(min = 0.0))]
    pub scale: f64,
}

/// Where the networks are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Placement {
    /// Behind attention and behind the feed-forward block.
    Houlsby,
    /// Behind the feed-forward block.
    #[default]
    Pfeiffer,
    /// Beside the feed-forward block.
    Parallel,
}

/// What the middle passes through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Middle {
    /// `x (1 + erf(x / √2)) / 2`.
    Gelu,
    /// `max(x, 0)`.
    #[default]
    Relu,
    /// `x / (1 + e^-x)`.
    Silu,
}

impl Middle {
    fn activation(self) -> Activation {
        match self {
            Self::Gelu => Activation::Gelu,
            Self::Relu => Activation::Relu,
            Self::Silu => Activation::Silu,
        }
    }
}

impl Default for Bottleneck {
    fn default() -> Self {
        Self { placement: Placement::default(), width: None, activation: Middle::default(), scale: 4.0 }
    }
}

impl Build<dyn Adapter> for Bottleneck {
    fn build(self, place: &Place) -> Result<Box<dyn Adapter>> {
        let mut check = Check::new(place);
        check.count("width", self.width.unwrap_or(1));
        check.positive("scale", self.scale);
        check.done(Box::new(self))
    }
}

impl Adapter for Bottleneck {
    fn attach(&self, decoder: &mut Decoder, seed: Seed) -> Result<Attached> {
        decoder.freeze();
        let mut form = Form::new(PEFT_TYPE, self.config(decoder));
        self.put(decoder, &mut form, seed)?;
        Ok(Attached::of(decoder, Some(form)))
    }
}

/// The PEFT library has no such method.
const PEFT_TYPE: &str = "METIER_BOTTLENECK";

impl Bottleneck {
    fn width(&self, decoder: &Decoder) -> usize {
        self.width.unwrap_or_else(|| decoder.config().hidden_size.div_ceil(16))
    }

    /// What files say of it.
    pub(super) fn config(&self, decoder: &Decoder) -> Value {
        let width = self.width(decoder);
        json!({ "placement": self.placement, "width": width, "activation": self.activation, "scale": self.scale })
    }

    fn sublayers(&self) -> &'static [(Sublayer, &'static str)] {
        const BOTH: &[(Sublayer, &str)] =
            &[(Sublayer::Attention, "attention"), (Sublayer::FeedForward, "feed_forward")];
        if self.placement == Placement::Houlsby { BOTH } else { &BOTH[1..] }
    }

    /// Puts the networks of all blocks into a model.
    pub(super) fn put(&self, decoder: &mut Decoder, form: &mut Form, seed: Seed) -> Result<()> {
        self.put_with(decoder, form, |name, shape| {
            let mut tensor = Tensor::zeros(shape)?;
            if name.ends_with(".down.weight") {
                let mut stream = seed.derive(name).at(0);
                tensor.data_mut().fill_with(|| 0.01 * stream.normal() as f32);
            }
            Ok(Some(tensor))
        })
    }

    /// The same with numbers from `read`; a network of which some are missing is left out.
    fn put_with(
        &self,
        decoder: &mut Decoder,
        form: &mut Form,
        mut read: impl FnMut(&str, &[usize]) -> Result<Option<Tensor>>,
    ) -> Result<()> {
        let (width, hidden) = (self.width(decoder), decoder.config().hidden_size);
        let parts: [(&str, &[usize]); 4] = [
            ("down.weight", &[width, hidden]),
            ("down.bias", &[width]),
            ("up.weight", &[hidden, width]),
            ("up.bias", &[hidden]),
        ];
        for block in 0..decoder.config().layers {
            for (sublayer, sublayer_name) in self.sublayers() {
                let mut ids = Vec::new();
                for (part, shape) in parts {
                    let name = format!("base_model.model.blocks.{block}.{sublayer_name}.{part}");
                    if let Some(tensor) = read(&name, shape)? {
                        ids.push(form.put(decoder, name, tensor)?);
                    }
                }
                let Ok([down, down_bias, up, up_bias]) = <[ParameterId; 4]>::try_from(ids) else { continue };
                let beside = (self.placement == Placement::Parallel).then_some(self.scale as f32);
                let activation = self.activation.activation();
                let network = Network { down: [down, down_bias], up: [up, up_bias], activation, beside };
                decoder.attach_sublayer(block, *sublayer, Arc::new(network))?;
            }
        }
        Ok(())
    }

    /// Reads the networks of all blocks.
    pub(super) fn read(decoder: &mut Decoder, source: &mut Source<'_>, form: &mut Form) -> Result<()> {
        let width = source.count("width");
        let scale = source.number("scale");
        let placement = serde_json::from_value(source.value("placement").clone());
        let activation = serde_json::from_value(source.value("activation").clone());
        if let Err(error) = &placement {
            source.refuse("placement", error.to_string());
        }
        if let Err(error) = &activation {
            source.refuse("activation", error.to_string());
        }
        source.settings()?;
        let (Ok(placement), Ok(activation)) = (placement, activation) else { return Ok(()) };
        Self { placement, width: Some(width), activation, scale }
            .put_with(decoder, form, |name, shape| source.tensor(name, shape))
    }
}

/// A network around a sublayer.
#[derive(Debug)]
struct Network {
    /// Weight `[width, hidden]` and bias.
    down: [ParameterId; 2],
    /// Weight `[hidden, width]` and bias.
    up: [ParameterId; 2],
    activation: Activation,
    /// Beside the sublayer, multiplied by this; else behind it.
    beside: Option<f32>,
}

impl SublayerAdapter for Network {
    fn forward(&self, tape: &mut Tape<'_>, read: Var, made: Var) -> Result<Var> {
        let [weight, bias] = self.down.map(|id| tape.parameter(id));
        let x = if self.beside.is_some() { read } else { made };
        let middle = op::linear(tape, x, weight, Some(bias))?;
        let middle = op::activation(tape, middle, self.activation)?;
        let [weight, bias] = self.up.map(|id| tape.parameter(id));
        let mut addition = op::linear(tape, middle, weight, Some(bias))?;
        if let Some(scale) = self.beside {
            addition = op::scale(tape, addition, scale)?;
        }
        op::add(tape, made, addition)
    }
}

/// Reads files of this method.
pub(super) fn read(decoder: &mut Decoder, source: &mut Source<'_>) -> Result<Form> {
    let mut form = Form::default();
    Bottleneck::read(decoder, source, &mut form)?;
    Ok(form)
}

/// The record of this part.
pub static PART: Part<dyn Adapter> = Part::of::<Bottleneck>("bottleneck", 1);
