//! The numbers that decide an architecture's shapes and its mathematics, read from `config.json`.
//!
//! A key that is not known here is refused by name: it may change the mathematics, and a model that
//! runs with the wrong mathematics still writes fluent text.

use metier_core::{Error, Fault, Place, Result};
use serde_json::{Map, Value};

/// A decoder's numbers, with the names used throughout metier (Hugging Face's in brackets).
#[derive(Debug, Clone, PartialEq)]
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
    /// Whether the four attention projections have a bias (`attention_bias`).
    pub attention_bias: bool,
    /// Whether the three feed-forward projections have a bias (`mlp_bias`).
    pub feed_forward_bias: bool,
}

/// Keys that say nothing about the forward pass.
const NEUTRAL: &[&str] = &[
    "_attn_implementation",
    "_name_or_path",
    "architectures",
    "bos_token_id",
    "dtype",
    "eos_token_id",
    "initializer_range",
    "is_llama_config",
    "model_type",
    "pad_token_id",
    "torch_dtype",
    "transformers.js_config",
    "transformers_version",
    "unk_token_id",
    "use_cache",
];

/// Keys that may stand only with the value that leaves the mathematics as it is.
fn harmless(key: &str, value: &Value) -> Option<bool> {
    Some(match key {
        "hidden_act" => value == "silu",
        "rope_scaling" | "sliding_window" | "quantization_config" => value.is_null(),
        "rope_interleaved" | "is_encoder_decoder" | "use_sliding_window" => value == false,
        "attention_dropout" | "hidden_dropout" => value.as_f64() == Some(0.0),
        "pretraining_tp" => value.as_u64() == Some(1),
        _ => return None,
    })
}

impl Config {
    /// Reads the shape of a Llama-like `config.json`. All faults come together: missing keys, wrong
    /// types, numbers that do not fit each other, and keys that are unknown or ask for mathematics that
    /// is not built.
    pub fn from_json(value: &Value) -> Result<Self> {
        let Some(map) = value.as_object() else {
            return Err(Error::user(Place::key("config.json"), "it is not a JSON object"));
        };
        let mut reader = Reader { map, used: Vec::new(), faults: Vec::new() };
        let hidden_size = reader.whole("hidden_size", None);
        let heads = reader.whole("num_attention_heads", None);
        let config = Self {
            vocabulary_size: reader.whole("vocab_size", None),
            hidden_size,
            intermediate_size: reader.whole("intermediate_size", None),
            layers: reader.whole("num_hidden_layers", None),
            heads,
            kv_heads: reader.whole("num_key_value_heads", Some(heads)),
            head_dim: reader.whole("head_dim", Some(hidden_size / heads.max(1))),
            context_length: reader.whole("max_position_embeddings", Some(2048)),
            norm_epsilon: reader.number("rms_norm_eps", 1e-6),
            rope_theta: reader.rope_theta(),
            tied_embeddings: reader.flag("tie_word_embeddings"),
            attention_bias: reader.flag("attention_bias"),
            feed_forward_bias: reader.flag("mlp_bias"),
        };
        reader.refuse_the_rest();
        let mut faults = reader.faults;
        if faults.is_empty() {
            faults = config.faults();
        }
        Error::collect(config, faults)
    }

    /// The same numbers as a `config.json` of the model type `llama`.
    pub fn to_json(&self) -> Value {
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

    /// Width of all query heads together.
    pub fn query_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of all key (or value) heads together.
    pub fn key_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// What does not fit together.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut refuse = |key: &str, message: String| faults.push(Fault::new(place(key), message));
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
            let most = if key == "num_hidden_layers" { 4096 } else { 1 << 26 };
            if number == 0 || number > most {
                refuse(key, format!("{number} is out of range, it is from 1 to {most}"));
            }
        }
        if self.kv_heads > 0 && !self.heads.is_multiple_of(self.kv_heads) {
            refuse("num_key_value_heads", format!("{} does not divide {} query heads", self.kv_heads, self.heads));
        }
        if !self.head_dim.is_multiple_of(2) {
            refuse("head_dim", format!("rotary positions need an even head width, not {}", self.head_dim));
        }
        if !(self.norm_epsilon.is_finite() && self.norm_epsilon >= 0.0) {
            refuse("rms_norm_eps", format!("{} is no small positive number", self.norm_epsilon));
        }
        if !(self.rope_theta.is_finite() && self.rope_theta > 0.0) {
            refuse("rope_theta", format!("{} is no positive number", self.rope_theta));
        }
        faults
    }
}

fn place(key: &str) -> Place {
    Place::key(format!("config.json: {key}"))
}

struct Reader<'a> {
    map: &'a Map<String, Value>,
    used: Vec<&'static str>,
    faults: Vec<Fault>,
}

impl Reader<'_> {
    fn get(&mut self, key: &'static str) -> Option<&Value> {
        self.used.push(key);
        self.map.get(key).filter(|value| !value.is_null())
    }

    fn whole(&mut self, key: &'static str, default: Option<usize>) -> usize {
        let found = self.get(key).cloned();
        match (found, default) {
            (None, Some(default)) => default,
            (None, None) => {
                self.faults.push(Fault::new(place(key), "it is missing").hint("a Llama-like model needs this number"));
                0
            }
            (Some(value), _) => value.as_u64().map_or_else(
                || {
                    self.faults.push(Fault::new(place(key), format!("{value} is no whole number")));
                    0
                },
                |number| usize::try_from(number).unwrap_or(usize::MAX),
            ),
        }
    }

    fn number(&mut self, key: &'static str, default: f32) -> f32 {
        match self.get(key).cloned() {
            None => default,
            Some(value) => value.as_f64().map_or_else(
                || {
                    self.faults.push(Fault::new(place(key), format!("{value} is no number")));
                    default
                },
                |number| number as f32,
            ),
        }
    }

    fn flag(&mut self, key: &'static str) -> bool {
        match self.get(key).cloned() {
            None => false,
            Some(value) => value.as_bool().unwrap_or_else(|| {
                self.faults.push(Fault::new(place(key), format!("{value} is neither true nor false")));
                false
            }),
        }
    }

    /// `rope_theta`, or the same number in the table `rope_parameters` that newer files write.
    fn rope_theta(&mut self) -> f32 {
        let plain = self.number("rope_theta", 10_000.0);
        let Some(table) = self.get("rope_parameters").cloned() else { return plain };
        let Some(table) = table.as_object() else {
            self.faults.push(Fault::new(place("rope_parameters"), "it is no table"));
            return plain;
        };
        let mut theta = plain;
        for (key, value) in table {
            match key.as_str() {
                "rope_theta" if value.is_number() => theta = value.as_f64().unwrap_or_default() as f32,
                "rope_type" if value == "default" => {}
                _ => self.faults.push(
                    Fault::new(place(&format!("rope_parameters.{key}")), format!("{value} is not supported"))
                        .hint("only plain rotary positions (`rope_type` \"default\") are built"),
                ),
            }
        }
        theta
    }

    fn refuse_the_rest(&mut self) {
        for (key, value) in self.map {
            if self.used.contains(&key.as_str()) || NEUTRAL.contains(&key.as_str()) {
                continue;
            }
            match harmless(key, value) {
                Some(true) => {}
                Some(false) => self.faults.push(
                    Fault::new(
                        place(key),
                        format!("{value} asks for mathematics that this architecture does not have"),
                    )
                    .hint("running the model without it would give wrong results"),
                ),
                None => self.faults.push(
                    Fault::new(place(key), format!("this key is not known (value {value})"))
                        .hint("it may change the model's mathematics, so it is not ignored"),
                ),
            }
        }
    }
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
