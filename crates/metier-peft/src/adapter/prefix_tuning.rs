use super::prompt_tuning::{self, Layer};
use super::{Adapter, Attached};
use crate::folder::{Form, Source};
use crate::targets::Check;
use metier_compute::op::Activation;
use metier_compute::{ParameterId, Tape, Tensor, Var, op};
use metier_core::part::{Build, Part};
use metier_core::seed::Seed;
use metier_core::{Place, Result};
use metier_model::Decoder;
use metier_model::layer::{VirtualKind, VirtualTokens};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// # What it does
/// Trains keys and values that every text finds before it in every block; the model itself stays as it is.
///
/// # How
/// A table `[tokens, 2 · layers · kv_width]` holds, for each of `tokens` virtual tokens, the keys of the first block, its values, the
/// keys of the second, and so on. Keys are used as they are, without positions; texts begin at position `tokens`. With
/// `projection` the table is `tanh(E W₁ᵀ + b₁) W₂ᵀ + b₂` of rows `E` `[tokens, kv_width]` while it is trained, and files hold what
/// that comes to. Numbers begin normal, with the deviation 0.02.
///
/// # When to use
/// As `prompt_tuning`, with more to train and more effect: it reaches every block.
///
/// # Differs from the paper in
/// The projection is off unless it is asked for. The PEFT library begins with a deviation of 1.
///
/// # Source
/// Li and Liang, "Prefix-Tuning: Optimizing Continuous Prompts for Generation", arXiv 2101.00190, section 4.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PrefixTuning {
    /// How many virtual tokens there are.
    #[schemars(range(min = 1, max = 4096))]
    pub tokens: usize,
    /// Width of the hidden layer of the projection; none when it is left out.
    #[schemars(range(min = 1, max = 65536))]
    pub projection: Option<usize>,
}

impl Default for PrefixTuning {
    fn default() -> Self {
        Self { tokens: 20, projection: None }
    }
}

impl Build<dyn Adapter> for PrefixTuning {
    fn build(self, place: &Place) -> Result<Box<dyn Adapter>> {
        let mut check = Check::new(place);
        check.count("tokens", self.tokens);
        check.count("projection", self.projection.unwrap_or(1));
        check.done(Box::new(self))
    }
}

impl Adapter for PrefixTuning {
    fn attach(&self, decoder: &mut Decoder, seed: Seed) -> Result<Attached> {
        decoder.freeze();
        let form = self.put(decoder, seed)?;
        Ok(Attached::of(decoder, Some(form)))
    }
}

impl PrefixTuning {
    /// Puts the prefix into a model that may have other parts of an adapter.
    pub(super) fn put(&self, decoder: &mut Decoder, seed: Seed) -> Result<Form> {
        let (heads, keys, width) = (decoder.config().kv_heads, decoder.config().key_width(), width(decoder));
        let mut form = Form::new("PREFIX_TUNING", prompt_tuning::config(decoder, self.tokens));
        form.config.insert("num_attention_heads".into(), heads.into());
        form.config.insert("token_dim".into(), keys.into());
        form.config.insert("encoder_hidden_size".into(), self.projection.unwrap_or(keys).into());
        form.config.insert("prefix_projection".into(), false.into());
        let Some(hidden) = self.projection else {
            let mut table = Tensor::zeros(&[self.tokens, width])?;
            normal(&mut table, seed);
            prompt_tuning::put(decoder, &mut form, table, VirtualKind::KeysAndValues)?;
            return Ok(form);
        };
        let mut rows = Tensor::zeros(&[self.tokens, keys])?;
        normal(&mut rows, seed);
        let tokens = Projected {
            count: self.tokens,
            rows: decoder.put_parameter("prompt_encoder.embedding.weight", rows, true)?,
            inner: Layer::new(decoder, "transform.0", [hidden, keys], seed)?,
            outer: Layer::new(decoder, "transform.2", [width, hidden], seed)?,
        };
        prompt_tuning::put_computed(decoder, &mut form, Arc::new(tokens))?;
        Ok(form)
    }
}

/// Keys and values of all blocks.
fn width(decoder: &Decoder) -> usize {
    2 * decoder.config().layers * decoder.config().key_width()
}

fn normal(tensor: &mut Tensor, seed: Seed) {
    let mut stream = seed.at(0);
    tensor.data_mut().fill_with(|| 0.02 * stream.normal() as f32);
}

/// Keys and values that are computed from shorter rows.
#[derive(Debug)]
struct Projected {
    count: usize,
    /// `[tokens, kv_width]`.
    rows: ParameterId,
    inner: Layer,
    outer: Layer,
}

impl VirtualTokens for Projected {
    fn count(&self) -> usize {
        self.count
    }

    fn kind(&self) -> VirtualKind {
        VirtualKind::KeysAndValues
    }

    fn table(&self, tape: &mut Tape<'_>) -> Result<Var> {
        let rows = tape.parameter(self.rows);
        let inner = self.inner.forward(tape, rows)?;
        let inner = op::activation(tape, inner, Activation::Tanh)?;
        self.outer.forward(tape, inner)
    }
}

/// Reads files of this method.
pub(super) fn read(decoder: &mut Decoder, source: &mut Source<'_>) -> Result<Form> {
    decoder.refuse_interleaved("prefix_tuning")?;
    prompt_tuning::read_table(decoder, source, VirtualKind::KeysAndValues, width(decoder))
}

/// The record of this part.
pub static PART: Part<dyn Adapter> = Part::of::<PrefixTuning>("prefix_tuning", 1);
