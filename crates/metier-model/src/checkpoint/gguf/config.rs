//! The `config.json` that a GGUF file's metadata amounts to.

use super::header::TensorInfo;
use super::metadata::Metadata;
use super::rope;
use crate::arch::dialect::{TiedHead, Windows};
use crate::arch::{self, Architecture, Dialect};
use crate::config::MOST_LAYERS;
use crate::layer::{Part, Presence};
use metier_core::fault::near_miss;
use metier_core::{Error, Fault, Result};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// What the tensors say about the configuration.
pub(super) struct Found<'a> {
    /// Rows of the embedding.
    pub vocabulary: usize,
    /// The tensors.
    pub tensors: &'a [TensorInfo],
    /// The file.
    pub bytes: &'a [u8],
}

impl<'a> Found<'a> {
    /// The tensor of a name.
    fn tensor(&self, name: &str) -> Option<&'a TensorInfo> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }

    fn ends(&self, end: &str) -> bool {
        self.tensors.iter().any(|tensor| tensor.name.ends_with(end))
    }

    /// The numbers of a tensor.
    pub(super) fn numbers(&self, name: &str) -> Result<Option<Vec<f32>>> {
        let Some(tensor) = self.tensor(name) else { return Ok(None) };
        let bytes = self.bytes.get(tensor.bytes.clone()).unwrap_or_default();
        metier_compute::block::dequantize(tensor.block, bytes).map(Some)
    }
}

/// The configuration. What this program would compute wrongly is refused, all of it together.
pub(super) fn read(metadata: &Metadata, found: &Found<'_>) -> Result<Value> {
    let (architecture, dialect) = told(metadata)?;
    let mut keys = Keys::new(metadata, dialect.name);
    let mut config = Written { architecture, map: Map::new() };
    config.constants(dialect)?;
    let shape = sizes(&mut keys, &mut config, dialect, found);
    rope::read(&mut keys, &mut config, &shape, found);
    windows(&mut keys, &mut config, dialect, shape.layers);
    experts(&mut keys, &mut config);
    if let Some((scores, logits)) = dialect.caps {
        let cap = keys.number("attn_logit_softcapping", Some(scores));
        config.put("attn_logit_softcapping", json!(cap));
        let cap = keys.number("final_logit_softcapping", Some(logits));
        config.put("final_logit_softcapping", json!(cap));
    } else if matches!(dialect.windows, Windows::AllButEach { .. }) {
        let cap = keys.number("final_logit_softcapping", Some(0.0));
        config.put("final_logit_softcapping", if cap > 0.0 { json!(cap) } else { Value::Null });
    }
    if let Some(layers) = dialect.wide_scale_layers {
        let wide = shape.layers == layers;
        config.put("query_pre_attn_scalar", json!(if wide { shape.hidden / shape.heads.max(1) } else { shape.head }));
    }
    if config.pattern(Part::QueryKeyValueByHead) {
        let parallel = keys.flag("use_parallel_residual", true);
        config.put("use_parallel_residual", json!(parallel));
    }
    for (name, key) in [
        ("bos_token_id", "tokenizer.ggml.bos_token_id"),
        ("eos_token_id", "tokenizer.ggml.eos_token_id"),
        ("pad_token_id", "tokenizer.ggml.padding_token_id"),
    ] {
        if let Some(id) = metadata.size(key)? {
            config.put(name, json!(id));
        }
    }
    keys.refuse_the_rest();
    Error::collect(Value::Object(config.map), keys.faults)
}

/// Which architecture the file is of.
fn told(metadata: &Metadata) -> Result<(&'static Architecture, &'static Dialect)> {
    let key = "general.architecture";
    let name = metadata.text(key)?.unwrap_or_default();
    let of_name = || arch::dialects().filter(|(_, dialect)| dialect.name == name);
    let mut chosen = of_name().find(|(_, dialect)| dialect.told_by.is_none());
    for known in of_name() {
        let Some(by) = known.1.told_by else { continue };
        // Mixtral comes behind Mistral, and may have a window too.
        if metadata.number(&format!("{name}.{by}")).is_ok_and(|number| number.is_some_and(|number| number > 0.0)) {
            chosen = Some(known);
        }
    }
    chosen.ok_or_else(|| {
        let known: BTreeSet<&str> = arch::dialects().map(|(_, dialect)| dialect.name).collect();
        let near = near_miss(name, known.iter().copied()).map(|near| format!("did you mean `{near}`? "));
        let list = known.into_iter().collect::<Vec<_>>().join(", ");
        let fault = metadata.fault(key, format!("the architecture `{name}` is not read"));
        fault.hint(format!("{}known: {list}", near.unwrap_or_default())).into()
    })
}

/// A `config.json` in the making. Keys go by a Llama's names.
pub(super) struct Written {
    pub architecture: &'static Architecture,
    map: Map<String, Value>,
}

impl Written {
    /// Sets a key, under the name that the architecture has for it, if it has one.
    pub(super) fn put(&mut self, key: &str, value: Value) {
        let key = self.architecture.key(key);
        if !key.is_empty() {
            self.map.insert(key.to_owned(), value);
        }
    }

    fn constants(&mut self, dialect: &Dialect) -> Result<()> {
        let constants: Map<String, Value> = serde_json::from_str(dialect.constants)
            .map_err(|error| Error::program(format!("constants of `{}`: {error}", dialect.name)))?;
        self.map.extend(constants);
        self.put("architectures", json!([dialect.class]));
        self.put("model_type", json!(self.architecture.model_type));
        self.put("torch_dtype", json!("float32"));
        self.put("initializer_range", json!(0.02));
        self.put("use_cache", json!(true));
        Ok(())
    }

    /// Whether the architecture has a part.
    pub(super) fn pattern(&self, part: Part) -> bool {
        self.architecture.weights.iter().any(|pattern| pattern.part == part)
    }

    /// Whether its files may switch biases of some kind.
    fn switches(&self, presence: Presence) -> bool {
        self.architecture.weights.iter().any(|pattern| pattern.bias == presence)
    }
}

/// Sizes that others follow from.
pub(super) struct Shape {
    pub hidden: usize,
    pub layers: usize,
    pub heads: usize,
    pub head: usize,
    pub context: usize,
}

fn sizes(keys: &mut Keys<'_>, config: &mut Written, dialect: &Dialect, found: &Found<'_>) -> Shape {
    let hidden = keys.size("embedding_length", None);
    let layers = keys.size("block_count", None);
    let context = keys.size("context_length", None);
    let heads = keys.size("attention.head_count", None);
    let key_heads = keys.size("attention.head_count_kv", Some(heads));
    let head = keys.size("attention.key_length", Some(hidden / heads));
    let value_head = keys.size("attention.value_length", Some(head));
    if value_head != head {
        let message = format!("heads have {head} numbers in keys and {value_head} in values; these must be one number");
        keys.refuse("attention.key_length", message, "such heads are not built");
    }
    if config.architecture.key("num_key_value_heads").is_empty() && key_heads != heads {
        let message = format!("{key_heads} heads of keys are not built for `{}`", dialect.name);
        keys.refuse("attention.head_count_kv", message, format!("known: {heads}, as many as of queries"));
    }
    if config.architecture.key("head_dim").is_empty() && head.checked_mul(heads) != Some(hidden) {
        let message = format!("{heads} heads of {head} columns are not the {hidden} of the residual stream");
        keys.refuse("attention.head_count", message, format!("a model of `{}` has no others", dialect.name));
    }
    config.put("hidden_size", json!(hidden));
    config.put("num_hidden_layers", json!(layers));
    config.put("max_position_embeddings", json!(context));
    config.put("num_attention_heads", json!(heads));
    config.put("num_key_value_heads", json!(key_heads));
    config.put("head_dim", json!(head));
    config.put("vocab_size", json!(found.vocabulary));
    keys.ignore("vocab_size");
    if config.architecture.intermediate.is_none() || keys.has("feed_forward_length") {
        let inner = keys.size("feed_forward_length", None);
        config.put("intermediate_size", json!(inner));
    }
    let rms = "attention.layer_norm_rms_epsilon";
    let layer = "attention.layer_norm_epsilon";
    let epsilon = keys.number(if !keys.has(rms) && keys.has(layer) { layer } else { rms }, None);
    config.put("rms_norm_eps", json!(epsilon));
    let has_head = found.tensor("output.weight").is_some();
    config.put("tie_word_embeddings", json!(!has_head && dialect.tied_head != TiedHead::Repeated));
    if config.switches(Presence::AttentionBias) {
        config.put("attention_bias", json!(found.ends(".attn_q.bias") || found.ends(".attn_qkv.bias")));
    }
    if config.switches(Presence::FeedForwardBias) {
        config.put("mlp_bias", json!(found.ends(".ffn_up.bias")));
    }
    Shape { hidden, layers, heads, head, context }
}

fn windows(keys: &mut Keys<'_>, config: &mut Written, dialect: &Dialect, layers: usize) {
    let key = "attention.sliding_window";
    let named = keys.whole(key, Some(0));
    let (window, slides): (usize, Vec<bool>) = match dialect.windows {
        Windows::None if dialect.told_by == Some(key) => (named, Vec::new()),
        Windows::All => (named, Vec::new()),
        Windows::None => {
            if named > 0 && dialect.told_by.is_none() {
                let message = format!("{named} is not followed");
                keys.refuse(key, message, "known: 0");
            }
            (named, Vec::new())
        }
        Windows::AllButEach { period, default } => {
            let window = if keys.has(key) { named } else { default.unwrap_or(0) };
            (window, keys.pattern("attention.sliding_window_pattern", period, layers))
        }
    };
    let has_key = matches!(dialect.windows, Windows::All | Windows::AllButEach { .. }) || dialect.told_by.is_some();
    if has_key {
        config.put("sliding_window", if window > 0 { json!(window) } else { Value::Null });
    }
    if !slides.is_empty() {
        let kind = |slides: &bool| if *slides && window > 0 { "sliding_attention" } else { "full_attention" };
        config.put("layer_types", json!(slides.iter().map(kind).collect::<Vec<_>>()));
    }
}

fn experts(keys: &mut Keys<'_>, config: &mut Written) {
    if !config.pattern(Part::Router) {
        return;
    }
    let count = keys.size("expert_count", None);
    let used = keys.size("expert_used_count", None);
    config.put("num_experts", json!(count));
    config.put("num_experts_per_tok", json!(used));
    // Beside the width of an expert stands that of layers without, of which there are none.
    if config.architecture.key("intermediate_size") == "moe_intermediate_size" {
        let dense = keys.size("feed_forward_length", None);
        let inner = keys.size("expert_feed_forward_length", Some(dense / used));
        config.put("intermediate_size", json!(inner));
        config.map.insert("intermediate_size".to_owned(), json!(dense));
        if config.pattern(Part::SharedUp) {
            let shared = keys.size("expert_shared_feed_forward_length", Some(dense));
            config.put("shared_expert_intermediate_size", json!(shared));
        }
    }
}

/// Keys that say nothing about the mathematics.
const NEUTRAL: &[&str] = &["rope.scaling.finetuned", "tensor_data_layout"];

/// Keys that are accepted with the one number that changes nothing.
const WITHOUT_EFFECT: &[(&str, f64)] = &[
    ("attention.clamp_kqv", 0.0),
    ("attention.max_alibi_bias", 0.0),
    ("attention.sliding_window", 0.0),
    ("embedding_scale", 1.0),
    ("expert_count", 0.0),
    ("expert_gating_func", 1.0),
    ("expert_group_count", 0.0),
    ("expert_group_used_count", 0.0),
    ("expert_shared_count", 0.0),
    ("expert_used_count", 0.0),
    ("expert_weights_scale", 1.0),
    ("leading_dense_block_count", 0.0),
    ("logit_scale", 1.0),
    ("residual_scale", 1.0),
];

/// The keys of an architecture, each read or refused.
pub(super) struct Keys<'a> {
    metadata: &'a Metadata,
    name: &'static str,
    used: BTreeSet<&'static str>,
    faults: Vec<Fault>,
}

impl<'a> Keys<'a> {
    fn new(metadata: &'a Metadata, name: &'static str) -> Self {
        Self { metadata, name, used: BTreeSet::new(), faults: Vec::new() }
    }

    fn full(&self, key: &str) -> String {
        format!("{}.{key}", self.name)
    }

    /// A fault at a key.
    pub(super) fn refuse(&mut self, key: &str, message: impl Into<String>, hint: impl Into<String>) {
        self.faults.push(self.metadata.fault(&self.full(key), message).hint(hint));
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.metadata.get(&self.full(key)).is_some()
    }

    fn ignore(&mut self, key: &'static str) {
        self.used.insert(key);
    }

    fn read<T>(
        &mut self,
        key: &'static str,
        default: Option<T>,
        read: impl Fn(&str) -> Result<Option<T>>,
    ) -> Option<T> {
        self.used.insert(key);
        match read(&self.full(key)) {
            Ok(value) => value.or(default).or_else(|| {
                self.faults.push(self.metadata.fault(&self.full(key), "the key is missing"));
                None
            }),
            Err(error) => {
                self.faults.extend(error.faults);
                None
            }
        }
    }

    /// A whole number, of 0 or more.
    pub(super) fn whole(&mut self, key: &'static str, default: Option<usize>) -> usize {
        let metadata = self.metadata;
        self.read(key, default, |key| metadata.size(key)).unwrap_or_default()
    }

    /// A whole number above 0; 1 where it is refused.
    pub(super) fn size(&mut self, key: &'static str, default: Option<usize>) -> usize {
        let before = self.faults.len();
        let size = self.whole(key, default.map(|default| default.max(1)));
        if size == 0 && self.faults.len() == before {
            self.refuse(key, "0 is out of range", "it is at least 1");
        }
        size.max(1)
    }

    /// A number; 1 where it is refused.
    pub(super) fn number(&mut self, key: &'static str, default: Option<f64>) -> f64 {
        let metadata = self.metadata;
        self.read(key, default, |key| metadata.number(key)).unwrap_or(1.0)
    }

    /// A number that may be left out.
    pub(super) fn optional(&mut self, key: &'static str) -> Option<f64> {
        self.has(key).then(|| self.number(key, None))
    }

    /// True or false.
    fn flag(&mut self, key: &'static str, default: bool) -> bool {
        let metadata = self.metadata;
        self.read(key, Some(default), |key| metadata.boolean(key)).unwrap_or(default)
    }

    /// A text.
    pub(super) fn text(&mut self, key: &'static str, default: &str) -> String {
        let metadata = self.metadata;
        let read = |key: &str| Ok(metadata.text(key)?.map(str::to_owned));
        self.read(key, Some(default.to_owned()), read).unwrap_or_default()
    }

    /// Which layers have a window: a list of yes and no, or of how many one has none.
    fn pattern(&mut self, key: &'static str, period: usize, layers: usize) -> Vec<bool> {
        let layers = layers.min(MOST_LAYERS);
        self.used.insert(key);
        if let Ok(Some(listed)) = self.metadata.integers(&self.full(key)) {
            let listed: Vec<bool> = listed.iter().map(|slides| *slides != 0).collect();
            if listed.len() != layers {
                let message = format!("it has {} entries for {layers} layers", listed.len());
                self.refuse(key, message, "write one for each layer");
            }
            return listed;
        }
        let period = self.whole(key, Some(period));
        (0..layers).map(|layer| period == 0 || layer % period < period - 1).collect()
    }

    /// Metadata that changes what a model computes in ways this program does not follow: every key of the architecture
    /// that was not read and is not known to change nothing.
    fn refuse_the_rest(&mut self) {
        let start = format!("{}.", self.name);
        for (full, value) in self.metadata.iter() {
            let Some(key) = full.strip_prefix(&start).filter(|key| !self.used.contains(key)) else { continue };
            if let Some((_, neutral)) = WITHOUT_EFFECT.iter().find(|(known, _)| *known == key) {
                let number = self.metadata.number(full).ok().flatten();
                if number.is_none_or(|number| (number - neutral).abs() > 0.0) {
                    let found = number.map_or_else(|| value.kind().to_owned(), |number| number.to_string());
                    let fault = self.metadata.fault(full, format!("{found} is not followed"));
                    self.faults.push(fault.hint(format!("known: {neutral}")));
                }
            } else if key == "attention.causal" {
                if self.metadata.boolean(full).ok().flatten() != Some(true) {
                    let fault = self.metadata.fault(full, "attention to later tokens is not built");
                    self.faults.push(fault.hint("known: true"));
                }
            } else if !NEUTRAL.contains(&key) {
                let kind = value.kind();
                let message = format!("the key, {kind}, is not known, and may change what the model computes");
                self.faults.push(self.metadata.fault(full, message));
            }
        }
        let key = "tokenizer.ggml.add_eos_token";
        match self.metadata.boolean(key) {
            Ok(Some(true)) => {
                self.faults.push(self.metadata.fault(key, "true is not followed").hint("known: false"));
            }
            Ok(_) => {}
            Err(error) => self.faults.extend(error.faults),
        }
    }
}
