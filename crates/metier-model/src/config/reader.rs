//! Reads a `config.json` key by key, and refuses by name whatever was not read and may change the mathematics.

use super::{Config, Design, MOST_LAYERS};
use crate::arch::Architecture;
use metier_compute::op::Activation;
use metier_core::Fault;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Keys that say nothing about the forward pass.
const NEUTRAL: &[&str] = &[
    "_attn_implementation",
    "_name_or_path",
    "architectures",
    "auto_map",
    "bos_token_id",
    "cache_implementation",
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
        "rope_scaling" | "sliding_window" | "quantization_config" => value.is_null(),
        "rope_interleaved"
        | "is_decoder"
        | "is_encoder_decoder"
        | "use_sliding_window"
        | "use_mrope"
        | "add_cross_attention"
        | "lm_head_bias"
        | "attention_bias"
        | "mlp_bias" => value == false,
        "use_bidirectional_attention" => value == false || value.is_null(),
        "attention_dropout" | "hidden_dropout" => value.as_f64() == Some(0.0),
        "pretraining_tp" => value.as_u64() == Some(1),
        _ => return None,
    })
}

/// What an architecture's `read` takes its numbers from. Keys go by the names that a Llama's have; where the architecture
/// calls one otherwise, its own name is looked up and named in faults.
pub struct Reader<'a> {
    map: &'a Map<String, Value>,
    pub(super) architecture: &'static Architecture,
    used: BTreeSet<&'static str>,
    pub(super) faults: Vec<Fault>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(map: &'a Map<String, Value>, architecture: &'static Architecture) -> Self {
        Self { map, architecture, used: BTreeSet::new(), faults: Vec::new() }
    }

    /// A fault at a key.
    pub fn refuse(&mut self, key: &str, message: impl Into<String>, hint: impl Into<String>) {
        let key = self.architecture.key(key);
        self.faults.push(Fault::new(super::place(key), message).hint(hint));
    }

    /// The value of a key; `None` for null and for a key that is not there.
    pub fn get(&mut self, key: &'static str) -> Option<&'a Value> {
        let key = self.architecture.key(key);
        self.used.insert(key);
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// Whether a key is there, be it null.
    pub fn has(&self, key: &'static str) -> bool {
        self.map.contains_key(self.architecture.key(key))
    }

    fn read<T>(
        &mut self,
        key: &'static str,
        default: Option<T>,
        what: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Option<T> {
        let default = default.filter(|_| !self.architecture.required.contains(&key));
        match (self.get(key), default) {
            (None, Some(default)) => Some(default),
            (None, None) => {
                let model_type = self.architecture.model_type;
                self.refuse(key, "it is missing", format!("a model of the type `{model_type}` needs a {what}"));
                None
            }
            (Some(value), _) => {
                let read = read(value);
                if read.is_none() {
                    self.refuse(key, format!("{value} is no {what}"), format!("write a {what}"));
                }
                read
            }
        }
    }

    /// A whole number, of 0 or more.
    pub fn whole(&mut self, key: &'static str, default: Option<usize>) -> usize {
        let read = |value: &Value| value.as_u64().map(|number| usize::try_from(number).unwrap_or(usize::MAX));
        self.read(key, default, "whole number", read).unwrap_or_default()
    }

    /// A number.
    pub fn number(&mut self, key: &'static str, default: Option<f32>) -> f32 {
        self.read(key, default, "number", |value| value.as_f64().map(|number| number as f32)).unwrap_or(1.0)
    }

    /// True or false.
    pub fn flag(&mut self, key: &'static str, default: bool) -> bool {
        self.read(key, Some(default), "truth value, `true` or `false`", Value::as_bool).unwrap_or(default)
    }

    /// A number that caps something; none for null.
    pub fn cap(&mut self, key: &'static str, default: Option<f32>) -> Option<f32> {
        let absent = !self.has(key);
        if self.get(key).is_none() && (!absent || default.is_none()) {
            return None;
        }
        let cap = self.number(key, default);
        if !(cap.is_finite() && cap > 0.0) {
            self.refuse(key, format!("{cap} caps nothing"), "write a number above 0, or null");
        }
        Some(cap)
    }

    /// A window of keys; none for null, `default` where the key is not there.
    pub fn window(&mut self, key: &'static str, default: Option<usize>) -> Option<usize> {
        if !self.has(key) {
            return default;
        }
        self.get(key)?;
        let window = self.whole(key, None);
        if window == 0 {
            self.refuse(key, "a window of 0 keys shows none", "write the keys that a token sees, or null for all");
        }
        Some(window.max(1))
    }

    /// One of the activations that models of this architecture have, `known`; the first where the key is not there.
    pub fn activation(&mut self, key: &'static str, known: &[&str]) -> Activation {
        let default = known.first().copied().unwrap_or_default().to_owned();
        let name = self.read(key, Some(default), "name of an activation", |value| value.as_str().map(str::to_owned));
        let name = name.unwrap_or_default();
        let kind = match name.as_str() {
            "silu" | "swish" => Some(Activation::Silu),
            "gelu" => Some(Activation::Gelu),
            "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Some(Activation::GeluTanh),
            "relu" => Some(Activation::Relu),
            _ => None,
        };
        kind.filter(|_| known.contains(&name.as_str())).unwrap_or_else(|| {
            if !name.is_empty() {
                let message = format!("\"{name}\" asks for mathematics that this architecture does not have");
                self.refuse(key, message, format!("known: {}", known.join(", ")));
            }
            Activation::Silu
        })
    }

    /// Accepts a key only with a value that leaves the mathematics as it is.
    pub fn only(&mut self, key: &'static str, value: &Value) {
        if let Some(found) = self.get(key).filter(|found| *found != value) {
            self.refuse(key, format!("{found} is not built"), format!("known: {value}"));
        }
    }

    /// What nearly all architectures read: sizes, the norm's epsilon, and whether the head is tied.
    pub fn sizes(&mut self) -> Config {
        let architecture = self.architecture;
        let hidden_size = self.whole("hidden_size", None);
        let heads = self.whole("num_attention_heads", None);
        Config {
            vocabulary_size: self.whole("vocab_size", None),
            hidden_size,
            intermediate_size: self
                .whole("intermediate_size", architecture.intermediate.map(|times| hidden_size.saturating_mul(times))),
            layers: self.whole("num_hidden_layers", None),
            heads,
            kv_heads: self.whole("num_key_value_heads", Some(heads)),
            head_dim: self.whole("head_dim", Some(hidden_size / heads.max(1))),
            context_length: self.whole("max_position_embeddings", Some(2048)),
            norm_epsilon: self.number("rms_norm_eps", Some(architecture.epsilon)),
            tied_embeddings: self.flag("tie_word_embeddings", architecture.tied),
            design: Design { architecture, ..Design::default() },
            ..Config::default()
        }
    }

    /// Gives the layers that slide a window: those of `layer_types` if it is there, else those of which `slides` says so.
    pub fn windows(&mut self, config: &mut Config, window: Option<usize>, slides: impl Fn(usize) -> bool) {
        let mut sliding: Vec<bool> = (0..config.layers.min(MOST_LAYERS)).map(slides).collect();
        if let Some(listed) = self.get("layer_types") {
            let kind = |kind: &Value| match kind.as_str() {
                Some("sliding_attention") => Some(true),
                Some("full_attention") => Some(false),
                _ => None,
            };
            match listed.as_array().and_then(|listed| listed.iter().map(kind).collect::<Option<Vec<bool>>>()) {
                Some(listed) if listed.len() == sliding.len() => sliding = listed,
                _ => self.refuse(
                    "layer_types",
                    format!("{listed} does not say of each of {} layers what it sees", config.layers),
                    "known: \"full_attention\", \"sliding_attention\"",
                ),
            }
        }
        if sliding.contains(&true) && window.is_none() {
            self.refuse("sliding_window", "it is missing, and some layers slide", "write the keys that a token sees");
        }
        config.slide(window, &sliding);
    }

    /// Whatever was not read and may change the mathematics.
    pub(super) fn refuse_the_rest(&mut self) {
        for (key, value) in self.map {
            let neutral = NEUTRAL.contains(&key.as_str()) || self.architecture.neutral.contains(&key.as_str());
            if neutral || self.used.contains(key.as_str()) {
                continue;
            }
            let fault = |message: String, hint: &str| Fault::new(super::place(key), message).hint(hint);
            match harmless(key, value) {
                Some(true) => {}
                Some(false) => self.faults.push(fault(
                    format!("{value} asks for mathematics that this architecture does not have"),
                    "running the model without it would give wrong results",
                )),
                None => self.faults.push(fault(
                    format!("this key is not known (value {value})"),
                    "it may change the model's mathematics, so it is not ignored",
                )),
            }
        }
    }
}
