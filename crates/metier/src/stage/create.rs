//! `create`: a new model with random weights, of a shape that its settings say.

use super::model::open_tokenizer;
use super::{Context, Flow, InputSlot, Kind, Machine, Outcome, Verb, Work};
use metier_core::data::TokenId;
use metier_core::seam::Tokenize;
use metier_core::settings::Table;
use metier_core::store::{Counts, Estimate};
use metier_core::{Error, Fault, Place, Result};
use metier_model::checkpoint::{SpecialTokens, write_new};
use metier_model::config::IS_CAUSAL;
use metier_model::{Config, Decoder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;

/// Rows of the embedding are a multiple of this, as kernels like them.
const ROWS: usize = 64;

/// The record of `create`.
pub static VERB: Verb = Verb {
    name: "create",
    version: 1,
    summary: "make a new model of a given shape with random weights",
    makes: Kind::Model,
    inputs: &[InputSlot {
        key: "tokenizer",
        kind: Kind::Tokenizer,
        required: true,
        many: false,
        text: "the vocabulary of the model",
    }],
    parts: &[],
    settings: <CreateSettings as JsonSchema>::json_schema,
    read: read_settings,
};

/// The shape of a Llama, whose weights are drawn from a normal distribution of deviation 0.02.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct CreateSettings {
    /// Width of the residual stream.
    #[schemars(range(min = 1, max = 65_536))]
    hidden: usize,
    /// Width inside the feed-forward block.
    #[schemars(range(min = 1, max = 1_048_576))]
    intermediate: usize,
    /// Blocks.
    #[schemars(range(min = 1, max = 4096))]
    layers: usize,
    /// Query heads; divides `hidden`.
    #[schemars(range(min = 1, max = 4096))]
    heads: usize,
    /// Key and value heads; divides `heads`, and is the same when it is left out.
    #[schemars(range(min = 1, max = 4096))]
    kv_heads: Option<usize>,
    /// Longest text, in tokens.
    #[schemars(range(min = 2, max = 16_777_216))]
    context: usize,
    /// Base of the rotary frequencies.
    #[schemars(range(min = 1.0))]
    rope_theta: f32,
    /// Which tokens a token sees.
    attention: Attention,
    /// Whether linear layers have a bias, which begins at 0.
    biases: bool,
    /// Whether the head is the embedding.
    tied: bool,
    /// The token put before every text.
    begin_of_text: Option<String>,
    /// The token that ends a text.
    end_of_text: String,
}

/// Which tokens a token sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Attention {
    /// Those before it and itself, so that the model writes texts.
    #[default]
    Causal,
    /// All of its text, so that the model reads texts: it makes vectors and fills in masked tokens.
    Bidirectional,
}

impl Default for CreateSettings {
    fn default() -> Self {
        Self {
            hidden: 256,
            intermediate: 688,
            layers: 6,
            heads: 8,
            kv_heads: None,
            context: 1024,
            rope_theta: 10_000.0,
            attention: Attention::Causal,
            biases: false,
            tied: true,
            begin_of_text: None,
            end_of_text: "<|endoftext|>".to_owned(),
        }
    }
}

struct Create(CreateSettings);

fn read_settings(table: &Table) -> Result<Box<dyn Work>> {
    let settings: CreateSettings = table.read()?;
    if settings.heads == 0 || !settings.hidden.is_multiple_of(settings.heads) {
        let message = format!("{} heads do not divide {}, the width of `hidden`", settings.heads, settings.hidden);
        return Err(Fault::new(table.place_of("heads"), message).into());
    }
    let create = Create(settings);
    // Whether heads divide what they must is known without a vocabulary.
    Config::from_json(&create.config(ROWS, &SpecialTokens::default())).map_err(|error| Error {
        faults: error.faults.into_iter().map(|fault| Fault { place: table.place(), ..fault }).collect(),
        ..error
    })?;
    Ok(Box::new(create))
}

impl Create {
    fn config(&self, vocabulary: usize, tokens: &SpecialTokens) -> serde_json::Value {
        let settings = &self.0;
        let mut config = json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_act": "silu",
            "hidden_size": settings.hidden,
            "intermediate_size": settings.intermediate,
            "num_hidden_layers": settings.layers,
            "num_attention_heads": settings.heads,
            "num_key_value_heads": settings.kv_heads.unwrap_or(settings.heads),
            "max_position_embeddings": settings.context,
            "rms_norm_eps": 1e-5,
            "rope_theta": settings.rope_theta,
            "attention_bias": settings.biases,
            "mlp_bias": settings.biases,
            "tie_word_embeddings": settings.tied,
            "vocab_size": vocabulary.next_multiple_of(ROWS),
        });
        if settings.attention == Attention::Bidirectional {
            config[IS_CAUSAL] = false.into();
        }
        if let Some(begin) = tokens.begin {
            config["bos_token_id"] = begin.into();
        }
        if let Some(end) = tokens.ends.first() {
            config["eos_token_id"] = (*end).into();
        }
        config
    }

    fn special_tokens(&self, tokenizer: &dyn Tokenize, name: &str) -> Result<SpecialTokens> {
        let id = |key: &str, token: &str| -> Result<TokenId> {
            tokenizer.id_of(token).ok_or_else(|| {
                let fault = Fault::new(Place::key(key), format!("the vocabulary of `{name}` has no token `{token}`"));
                fault.hint("learn it with the token among `special_tokens`, or name one that it has").into()
            })
        };
        let begin = self.0.begin_of_text.as_deref().map(|token| id("begin_of_text", token)).transpose()?;
        Ok(SpecialTokens { begin, ends: vec![id("end_of_text", &self.0.end_of_text)?], ..SpecialTokens::default() })
    }
}

impl Work for Create {
    fn settings(&self) -> serde_json::Value {
        json!({ "settings": self.0 })
    }

    fn figures(&self, _: &BTreeMap<String, String>) -> Vec<String> {
        ["embedding_parameters", "other_parameters", "parameters", "vocabulary_size"].map(str::to_owned).to_vec()
    }

    fn plan(&self, _: &BTreeMap<String, Flow>, _: &Machine) -> Result<(Estimate, Flow)> {
        Ok((Estimate { memory_bytes: Some(64 << 20), ..Estimate::default() }, Flow::default()))
    }

    fn run(&self, context: &Context) -> Result<Outcome> {
        context.start_over()?;
        let input = context.input("tokenizer")?;
        let tokenizer = open_tokenizer(&input.path)?;
        let json = tokenizer_json(&input.path)?;
        let tokens = self.special_tokens(tokenizer.as_ref(), &input.name)?;
        let config = self.config(tokenizer.vocabulary_size(), &tokens);
        let decoder = Decoder::random(&Config::from_json(&config)?, context.seed)?;
        let tensors = decoder.tensors()?;
        let parameters: usize = tensors.iter().map(|(_, tensor)| tensor.len()).sum();
        let rows = decoder.config().vocabulary_size * decoder.config().hidden_size;
        let embedding = if self.0.tied { rows } else { 2 * rows };
        let weights = tensors.iter().map(|(name, tensor)| (&**name, tensor.shape(), tensor.data()));
        write_new(context.work, config, json, tokens, weights)?;
        let count = tensors.len() as u64;
        Ok(Outcome {
            counts: Counts { read: count, out: count, ..Counts::default() },
            figures: BTreeMap::from([
                ("embedding_parameters".to_owned(), embedding as f64),
                ("other_parameters".to_owned(), (parameters - embedding) as f64),
                ("parameters".to_owned(), parameters as f64),
                ("vocabulary_size".to_owned(), tokenizer.vocabulary_size() as f64),
            ]),
            table: None,
        })
    }
}

/// The `tokenizer.json` of a vocabulary or a model.
fn tokenizer_json(path: &Path) -> Result<String> {
    let file = if path.is_dir() { path.join("tokenizer.json") } else { path.to_path_buf() };
    if file.extension().is_some_and(|end| end == "json") && file.exists() {
        return std::fs::read_to_string(&file).map_err(|error| Error::io(&file, "read the tokenizer", &error));
    }
    if Path::new(path).extension().is_some_and(|end| end != "gguf") {
        return metier_tokenizer::scheme::json_of_file(path);
    }
    Ok(super::open_checkpoint(path)?.tokenizer_json)
}
