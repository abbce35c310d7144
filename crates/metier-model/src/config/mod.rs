//! The numbers that decide an architecture's shapes and its mathematics, read from `config.json`.
//!
//! A key that is not known here is refused by name: it may change the mathematics, and a model that
//! runs with the wrong mathematics still writes fluent text.

mod reader;
mod rotary;

pub use reader::Reader;

use crate::arch::{self, Architecture};
use crate::layer::{NormKind, Part, Scaling, Turning};
use metier_compute::op::Activation;
use metier_core::{Error, Fault, Place, Result};
use serde_json::{Map, Value};

/// No model has more layers.
pub(crate) const MOST_LAYERS: usize = 4096;

/// No model has more experts in all layers together.
const MOST_EXPERTS: usize = 1 << 16;

/// A decoder's numbers, with the names used throughout metier (Hugging Face's in brackets).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Config {
    /// Rows of the embedding (`vocab_size`).
    pub vocabulary_size: usize,
    /// Width of the residual stream (`hidden_size`).
    pub hidden_size: usize,
    /// Width inside the feed-forward block (`intermediate_size`).
    pub intermediate_size: usize,
    /// Blocks (`num_hidden_layers`).
    pub layers: usize,
    /// Query heads (`num_attention_heads`).
    pub heads: usize,
    /// Key and value heads (`num_key_value_heads`); divides `heads`.
    pub kv_heads: usize,
    /// Width of a head (`head_dim`, or `hidden_size / num_attention_heads`).
    pub head_dim: usize,
    /// Longest text (`max_position_embeddings`), in tokens.
    pub context_length: usize,
    /// Added to the mean square before its root (`rms_norm_eps`).
    pub norm_epsilon: f32,
    /// Base of the rotary frequencies (`rope_theta`).
    pub rope_theta: f32,
    /// Whether the head is the embedding (`tie_word_embeddings`).
    pub tied_embeddings: bool,
    /// Whether the attention projections have a bias, where architectures leave it open (`attention_bias`).
    pub attention_bias: bool,
    /// Whether the feed-forward projections have a bias, where architectures leave it open (`mlp_bias`).
    pub feed_forward_bias: bool,
    /// In what the model differs from a Llama.
    pub design: Design,
}

/// The parts of a decoder that are not numbers of every one; the default is a Llama's.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own about a model")]
pub struct Design {
    /// Weight names, and which parts a block has.
    pub architecture: &'static Architecture,
    /// Kind of all norms.
    pub norm: NormKind,
    /// Inside the feed-forward block.
    pub activation: Activation,
    /// Whether attention and feed-forward block read the same residual stream.
    pub parallel: bool,
    /// Columns of each head that turn with the position; all of them when it is none.
    pub turned: Option<usize>,
    /// How positions are stretched.
    pub scaling: Scaling,
    /// Base of the rotary frequencies in layers with a window, which are not stretched; as elsewhere when it is none.
    pub local_theta: Option<f32>,
    /// For each layer the keys that a token sees, its own among them; empty when all layers see all.
    pub windows: Vec<Option<usize>>,
    /// What scores are multiplied by; `1 / sqrt(head_dim)` when it is none.
    pub attention_scale: Option<f32>,
    /// Whether scores are divided by the number of the layer, counted from 1, too.
    pub scale_by_layer: bool,
    /// Soft cap of scores.
    pub attention_softcap: Option<f32>,
    /// Soft cap of logits.
    pub logit_softcap: Option<f32>,
    /// What the rows of tokens are multiplied by.
    pub embedding_scale: f32,
    /// Whether heads of queries and keys are normed.
    pub query_key_norm: bool,
    /// Whether the weights of queries and keys have the pairs of columns that turn together side by side.
    pub interleaved: bool,
    /// Rows of virtual tokens before each text; the context is counted without them.
    pub leading: usize,
    /// Experts in place of one feed-forward block.
    pub experts: Option<Experts>,
    /// The `config.json` it was read from; empty for a plain Llama, which the numbers say all of.
    document: Map<String, Value>,
}

/// Feed-forward blocks of which each row passes through a few.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Experts {
    /// How many there are.
    pub count: usize,
    /// How many a row passes through.
    pub per_token: usize,
    /// Whether the shares of a row's experts are made to sum up to 1.
    pub normalized: bool,
    /// Width inside the expert that every row passes through; 0 when there is none.
    pub shared_width: usize,
}

impl Experts {
    /// The part of all rows that an expert sees on average.
    pub fn share(&self) -> f64 {
        self.per_token as f64 / self.count.max(1) as f64
    }
}

impl Default for Design {
    fn default() -> Self {
        Self {
            architecture: &arch::llama::ARCHITECTURE,
            norm: NormKind::Rms,
            activation: Activation::Silu,
            parallel: false,
            turned: None,
            scaling: Scaling::None,
            local_theta: None,
            windows: Vec::new(),
            attention_scale: None,
            scale_by_layer: false,
            attention_softcap: None,
            logit_softcap: None,
            embedding_scale: 1.0,
            query_key_norm: false,
            interleaved: false,
            leading: 0,
            experts: None,
            document: Map::new(),
        }
    }
}

impl Config {
    /// Reads a `config.json`; without `model_type` it is a Llama's. All faults come together: missing keys, wrong
    /// types, numbers that do not fit each other, and keys that are unknown or ask for mathematics that
    /// is not built.
    pub fn from_json(value: &Value) -> Result<Self> {
        let Some(map) = value.as_object() else {
            return Err(Error::user(Place::key("config.json"), "it is not a JSON object"));
        };
        let architecture = if map.contains_key("model_type") { arch::of(value)? } else { &arch::llama::ARCHITECTURE };
        let mut reader = Reader::new(map, architecture);
        let mut config = (architecture.read)(&mut reader);
        if !config.is_plain_llama() {
            config.design.document.clone_from(map);
        }
        reader.refuse_the_rest();
        let mut faults = reader.faults;
        if faults.is_empty() {
            faults = config.faults();
        }
        Error::collect(config, faults)
    }

    /// As a `config.json`: of a plain Llama these numbers, of another model the document that was read.
    pub fn to_json(&self) -> Value {
        if !self.is_plain_llama() {
            return Value::Object(self.design.document.clone());
        }
        serde_json::json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_act": "silu",
            "vocab_size": self.vocabulary_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "max_position_embeddings": self.context_length,
            "rms_norm_eps": f64::from(self.norm_epsilon),
            "rope_theta": f64::from(self.rope_theta),
            "tie_word_embeddings": self.tied_embeddings,
            "attention_bias": self.attention_bias,
            "mlp_bias": self.feed_forward_bias,
        })
    }

    /// Whether the numbers of every decoder say all of it.
    fn is_plain_llama(&self) -> bool {
        *self.design.architecture == arch::llama::ARCHITECTURE && self.design.scaling == Scaling::None
    }

    /// Width of all query heads together.
    pub fn query_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of all key (or value) heads together.
    pub fn key_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Gives a window to the layers that slide.
    pub(crate) fn slide(&mut self, window: Option<usize>, sliding: &[bool]) {
        if window.is_some() && sliding.contains(&true) {
            self.design.windows = sliding.iter().map(|slides| window.filter(|_| *slides)).collect();
        }
    }

    /// The keys that a token sees in a layer, its own among them; none for all.
    pub fn window(&self, layer: usize) -> Option<usize> {
        self.design.windows.get(layer).copied().flatten()
    }

    /// What scores are multiplied by in a layer.
    pub fn attention_scale(&self, layer: usize) -> f32 {
        let scale = self.design.attention_scale.unwrap_or(1.0 / (self.head_dim as f32).sqrt());
        if self.design.scale_by_layer { scale / (layer + 1) as f32 } else { scale }
    }

    /// Columns of each head that turn with the position.
    pub fn turned(&self) -> usize {
        self.design.turned.unwrap_or(self.head_dim)
    }

    /// How queries and keys of a layer turn with their positions; none where positions are learned.
    pub fn turning(&self, layer: usize) -> Option<Turning> {
        let (theta, scaling) = match self.design.local_theta.filter(|_| self.window(layer).is_some()) {
            Some(theta) => (theta, Scaling::None),
            None => (self.rope_theta, self.design.scaling.clone()),
        };
        (!self.has(Part::Positions)).then(|| {
            let turning = Turning::new(self.head_dim, self.turned(), theta, scaling);
            if self.design.interleaved { turning.interleaved() } else { turning }
        })
    }

    /// Whether a token sees itself and those before it only.
    pub fn is_causal(&self) -> bool {
        true
    }

    /// Whether the keys of a text's first tokens change when it grows, so that texts that begin alike have other ones.
    pub fn keys_follow_length(&self) -> bool {
        matches!(self.design.scaling, Scaling::Dynamic { .. })
    }

    fn has(&self, part: Part) -> bool {
        self.design.architecture.weights.iter().any(|pattern| pattern.part == part && pattern.is_part_of(self))
    }

    /// What does not fit together.
    pub fn faults(&self) -> Vec<Fault> {
        let architecture = self.design.architecture;
        let mut faults = Vec::new();
        let mut refuse = |key: &str, message: String| faults.push(Fault::new(place(architecture.key(key)), message));
        for (key, number) in [
            ("vocab_size", self.vocabulary_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.layers),
            ("num_attention_heads", self.heads),
            ("num_key_value_heads", self.kv_heads),
            ("head_dim", self.head_dim),
            ("max_position_embeddings", self.context_length),
        ] {
            let most = if key == "num_hidden_layers" { MOST_LAYERS } else { 1 << 26 };
            if number == 0 || number > most {
                refuse(key, format!("{number} is out of range, it is from 1 to {most}"));
            }
        }
        if self.kv_heads > 0 && !self.heads.is_multiple_of(self.kv_heads) {
            refuse("num_key_value_heads", format!("{} does not divide {} query heads", self.kv_heads, self.heads));
        }
        let fused = self.has(Part::QueryKeyValueByHead);
        let width = self.heads.saturating_mul(self.head_dim);
        if (fused || self.has(Part::Positions)) && width != self.hidden_size {
            refuse("num_attention_heads", format!("{} heads do not divide {} columns", self.heads, self.hidden_size));
        }
        if !self.has(Part::Positions) {
            let turned = self.turned();
            let key = if self.design.turned.is_some() { "partial_rotary_factor" } else { "head_dim" };
            if !turned.is_multiple_of(2) || turned == 0 || turned > self.head_dim {
                let message =
                    format!("rotary positions need an even number of {} columns, not {turned}", self.head_dim);
                refuse(key, message);
            }
            if matches!(self.design.scaling, Scaling::Dynamic { .. }) && turned <= 2 {
                refuse(key, "a base that grows needs more than one pair of columns".to_owned());
            }
            let thetas = [("rope_theta", Some(self.rope_theta)), ("rope_local_base_freq", self.design.local_theta)];
            for (key, theta) in thetas {
                if let Some(theta) = theta.filter(|theta| !(theta.is_finite() && *theta > 0.0)) {
                    refuse(key, format!("{theta} is no positive number"));
                }
            }
        }
        if !(self.norm_epsilon.is_finite() && self.norm_epsilon >= 0.0) {
            refuse("rms_norm_eps", format!("{} is no small positive number", self.norm_epsilon));
        }
        if let Some(experts) = &self.design.experts {
            // Each has weights of its own, whose names are listed.
            let most = MOST_EXPERTS / self.layers.clamp(1, MOST_LAYERS);
            if experts.count == 0 || experts.count > most {
                refuse("num_experts", format!("{} is out of range, it is from 1 to {most}", experts.count));
            }
            if experts.shared_width > 1 << 26 {
                let message = format!("{} is out of range, it is at most {}", experts.shared_width, 1 << 26);
                refuse("shared_expert_intermediate_size", message);
            }
            if experts.per_token == 0 || experts.per_token > experts.count {
                let message =
                    format!("{} is out of range, it is from 1 to {} experts", experts.per_token, experts.count);
                refuse("num_experts_per_tok", message);
            }
        }
        faults
    }
}

fn place(key: &str) -> Place {
    Place::key(format!("config.json: {key}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn smol() -> Value {
        json!({
            "architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
            "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 576,
            "initializer_range": 0.041, "intermediate_size": 1536, "is_llama_config": true,
            "max_position_embeddings": 8192, "mlp_bias": false, "model_type": "llama",
            "num_attention_heads": 9, "num_hidden_layers": 30, "num_key_value_heads": 3, "pad_token_id": 2,
            "pretraining_tp": 1, "rms_norm_eps": 1e-5, "rope_interleaved": false, "rope_scaling": null,
            "rope_theta": 100_000, "tie_word_embeddings": true, "torch_dtype": "bfloat16",
            "transformers_version": "4.42.3", "use_cache": true, "vocab_size": 49152
        })
    }

    #[test]
    fn smollm2_is_read_and_written_back() {
        let config = Config::from_json(&smol()).unwrap();
        assert_eq!((config.head_dim, config.query_width(), config.key_width()), (64, 576, 192));
        assert_eq!(Config::from_json(&config.to_json()).unwrap(), config);
    }

    #[test]
    fn keys_that_change_the_mathematics_are_refused_by_name() {
        let mut value = smol();
        value["rope_scaling"] = json!({ "factor": 8.0, "rope_type": "llama3" });
        value["hidden_act"] = json!("gelu");
        value["logit_scale"] = json!(0.5);
        value["rope_parameters"] = json!({ "rope_theta": 5.0, "rope_type": "yarn" });
        let error = Config::from_json(&value).unwrap_err();
        let text = error.to_string();
        assert_eq!(error.faults.len(), 4, "{text}");
        for key in ["rope_scaling", "hidden_act", "logit_scale", "rope_parameters.rope_type"] {
            assert!(text.contains(&format!("config.json: {key}: ")), "{text}");
        }
    }

    #[test]
    fn missing_mistyped_and_misfit_numbers_are_named() {
        let mut value = smol();
        value.as_object_mut().unwrap().remove("hidden_size");
        value["num_hidden_layers"] = json!("thirty");
        let text = Config::from_json(&value).unwrap_err().to_string();
        assert!(
            text.contains("hidden_size: it is missing") && text.contains("\"thirty\" is no whole number"),
            "{text}"
        );
        let mut value = smol();
        value["num_key_value_heads"] = json!(4);
        value["head_dim"] = json!(63);
        assert_eq!(Config::from_json(&value).unwrap_err().faults.len(), 2);
        assert!(Config::from_json(&json!([])).is_err());
    }

    #[test]
    fn newer_files_keep_theta_in_a_table() {
        let mut value = smol();
        value.as_object_mut().unwrap().remove("rope_theta");
        value["rope_parameters"] = json!({ "rope_theta": 1234.0, "rope_type": "default" });
        assert!((Config::from_json(&value).unwrap().rope_theta - 1234.0).abs() < f32::EPSILON);
    }
}
