use super::{Adapter, Attached};
use crate::folder::{Content, Form, Source};
use crate::targets::Check;
use metier_compute::{ParameterId, Tape, Tensor, Var, op};
use metier_core::part::{Build, Part};
use metier_core::seed::Seed;
use metier_core::{Place, Result};
use metier_model::Decoder;
use metier_model::layer::{VirtualKind, VirtualTokens};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;

/// # What it does
/// Trains a few rows that every text begins with, as if they were tokens; the model itself stays as it is.
///
/// # How
/// `tokens` rows `[tokens, hidden]` are put before those of each text. They take the first positions and are seen
/// by all that follows; nothing is predicted from them. The context is shorter by as many.
///
/// # When to use
/// For one of many tasks on a large model: a task is a few thousand numbers, and texts of several tasks can be answered by one
/// copy of the model. On small models other adapters learn more.
///
/// # Differs from the paper in
/// Rows begin as those of tokens drawn from the vocabulary, which the paper found better than random ones; it draws from the 5,000
/// commonest.
///
/// # Source
/// Lester, Al-Rfou and Constant, "The Power of Scale for Parameter-Efficient Prompt Tuning", arXiv 2104.08691, section 2.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PromptTuning {
    /// How many rows are trained.
    #[schemars(range(min = 1, max = 4096))]
    pub tokens: usize,
    /// How rows begin.
    pub start: Start,
}

/// How rows of virtual tokens begin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// Normal, with the deviation of the model's own rows.
    Random,
    /// As rows of tokens drawn from the vocabulary.
    #[default]
    Vocabulary,
}

impl Default for PromptTuning {
    fn default() -> Self {
        Self { tokens: 20, start: Start::default() }
    }
}

impl Build<dyn Adapter> for PromptTuning {
    fn build(self, place: &Place) -> Result<Box<dyn Adapter>> {
        let mut check = Check::new(place);
        check.count("tokens", self.tokens);
        check.done(Box::new(self))
    }
}

impl Adapter for PromptTuning {
    fn attach(&self, decoder: &mut Decoder, seed: Seed) -> Result<Attached> {
        decoder.freeze();
        let rows = self.start.rows(decoder, self.tokens, seed)?;
        let mut form = Form::new("PROMPT_TUNING", config(decoder, self.tokens));
        form.config.insert("prompt_tuning_init".into(), json!("RANDOM"));
        put(decoder, &mut form, rows, VirtualKind::Rows)?;
        Ok(Attached::of(decoder, Some(form)))
    }
}

impl Start {
    /// The first rows of `count` virtual tokens, `[count, hidden]`.
    pub(super) fn rows(self, decoder: &Decoder, count: usize, seed: Seed) -> Result<Tensor> {
        let width = decoder.config().hidden_size;
        let table = decoder.parameters.get(decoder.embedding_id());
        let mut rows = Tensor::zeros(&[count, width])?;
        let mut stream = seed.at(0);
        match self {
            Self::Random => {
                let squares: f64 = table.data().iter().map(|value| f64::from(*value).powi(2)).sum();
                let deviation = (squares / table.len().max(1) as f64).sqrt();
                rows.data_mut().fill_with(|| (deviation * stream.normal()) as f32);
            }
            Self::Vocabulary => {
                for row in rows.data_mut().chunks_exact_mut(width) {
                    let token = stream.below(decoder.config().vocabulary_size as u64) as usize;
                    row.copy_from_slice(&table.data()[token * width..(token + 1) * width]);
                }
            }
        }
        Ok(rows)
    }
}

/// Virtual tokens whose numbers are a parameter.
#[derive(Debug)]
struct Table {
    count: usize,
    kind: VirtualKind,
    numbers: ParameterId,
}

impl VirtualTokens for Table {
    fn count(&self) -> usize {
        self.count
    }

    fn kind(&self) -> VirtualKind {
        self.kind
    }

    fn table(&self, tape: &mut Tape<'_>) -> Result<Var> {
        Ok(tape.parameter(self.numbers))
    }
}

/// A layer of what virtual tokens are computed by: `y = x Wᵀ + b`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layer {
    weight: ParameterId,
    bias: ParameterId,
}

impl Layer {
    /// A layer `[outputs, inputs]` with random weights, uniform in `±1/√inputs`, and without biases at first.
    pub(super) fn new(decoder: &mut Decoder, name: &str, shape: [usize; 2], seed: Seed) -> Result<Self> {
        Self::named(decoder, ["weight", "bias"].map(|part| format!("{name}.{part}")), shape, seed)
    }

    /// The same with names of weight and bias.
    pub(super) fn named(decoder: &mut Decoder, names: [String; 2], shape: [usize; 2], seed: Seed) -> Result<Self> {
        let [weight_name, bias_name] = names.map(|name| format!("prompt_encoder.{name}"));
        let mut stream = seed.derive(&weight_name).at(0);
        let bound = 1.0 / (shape[1] as f64).sqrt();
        let mut weight = Tensor::zeros(&shape)?;
        weight.data_mut().fill_with(|| ((2.0 * stream.unit() - 1.0) * bound) as f32);
        let weight = decoder.put_parameter(&weight_name, weight, true)?;
        Ok(Self { weight, bias: decoder.put_parameter(&bias_name, Tensor::zeros(&shape[..1])?, true)? })
    }

    /// `[N, inputs]` to `[N, outputs]`.
    pub(super) fn forward(self, tape: &mut Tape<'_>, x: Var) -> Result<Var> {
        let (weight, bias) = (tape.parameter(self.weight), tape.parameter(self.bias));
        op::linear(tape, x, weight, Some(bias))
    }
}

/// The name of virtual tokens in files, whatever they are.
pub(super) const NAME: &str = "prompt_embeddings";

/// What files of every kind of virtual tokens say.
pub(super) fn config(decoder: &Decoder, count: usize) -> Value {
    let config = decoder.config();
    json!({
        "num_virtual_tokens": count,
        "token_dim": config.hidden_size,
        "num_attention_heads": config.heads,
        "num_layers": config.layers,
        "num_transformer_submodules": 1,
    })
}

/// Puts a table of virtual tokens into the model and before every text.
pub(super) fn put(decoder: &mut Decoder, form: &mut Form, table: Tensor, kind: VirtualKind) -> Result<()> {
    let count = table.shape()[0];
    let numbers = form.put(decoder, NAME.to_owned(), table)?;
    decoder.attach_virtual_tokens(Arc::new(Table { count, kind, numbers }))
}

/// Puts virtual tokens before every text that are computed from parameters; files hold what they come to.
pub(super) fn put_computed(decoder: &mut Decoder, form: &mut Form, tokens: Arc<dyn VirtualTokens>) -> Result<()> {
    form.tensors.push((NAME.to_owned(), Content::Table(tokens.clone())));
    decoder.attach_virtual_tokens(tokens)
}

/// Reads files of `prompt_tuning` and `p_tuning`.
pub(super) fn read(decoder: &mut Decoder, source: &mut Source<'_>) -> Result<Form> {
    read_table(decoder, source, VirtualKind::Rows, decoder.config().hidden_size)
}

/// Reads a table of virtual tokens of this width.
pub(super) fn read_table(
    decoder: &mut Decoder,
    source: &mut Source<'_>,
    kind: VirtualKind,
    width: usize,
) -> Result<Form> {
    source.without(&["modules_to_save"]);
    let count = source.count("num_virtual_tokens");
    source.settings()?;
    let mut form = Form::default();
    if let Some(table) = source.tensor(NAME, &[count, width])? {
        put(decoder, &mut form, table, kind)?;
    }
    Ok(form)
}

/// The record of this part.
pub static PART: Part<dyn Adapter> = Part::of::<PromptTuning>("prompt_tuning", 1);
