//! Whether configuration, tensors and tokenizer belong together.

use super::{Checkpoint, Kind, Stored};
use metier_core::{Error, Fault, Place, Result};
use serde_json::Value;

impl Checkpoint {
    /// Every fault of tensors that lack, have a wrong shape or a type that no weight has, and of a tokenizer with
    /// more ids than the model has rows for.
    pub(super) fn check(&self) -> Result<()> {
        let mut faults = Vec::new();
        if is_llama(&self.config) {
            match Sizes::read(&self.config) {
                Ok(sizes) => self.check_tensors(&sizes, &mut faults),
                Err(found) => faults.extend(found),
            }
        }
        for fault in &mut faults {
            fault.place.file.get_or_insert_with(|| self.path.clone());
        }
        let rows = self.tensors.get("model.embed_tokens.weight").and_then(|tensor| tensor.shape.first().copied());
        let ids = self.tokenizer.vocabulary_size();
        if let Some(rows) = rows.filter(|&rows| rows < ids) {
            let message = format!("the tokenizer has {ids} ids, and the model's embedding only {rows} rows");
            faults.push(
                Fault::new(Place::file(&self.path).with_key("model.embed_tokens.weight"), message)
                    .hint("tokenizer and weights are of different models"),
            );
        }
        Error::collect((), faults)
    }

    fn check_tensors(&self, sizes: &Sizes, faults: &mut Vec<Fault>) {
        let mut check = |name: &str, want: &[usize], optional: bool| match self.tensors.get(name) {
            None if optional => {}
            None => faults.push(
                Fault::new(Place::key(name), "the tensor is missing")
                    .hint(format!("the configuration asks for one of shape {want:?}")),
            ),
            Some(stored) => faults.extend(fault_of(name, stored, want)),
        };
        let Sizes { vocabulary, hidden, inner, query, key, layers, tied } = *sizes;
        check("model.embed_tokens.weight", &[vocabulary, hidden], false);
        for layer in 0..layers {
            let wanted: [(&str, &[usize]); 9] = [
                ("input_layernorm", &[hidden]),
                ("self_attn.q_proj", &[query, hidden]),
                ("self_attn.k_proj", &[key, hidden]),
                ("self_attn.v_proj", &[key, hidden]),
                ("self_attn.o_proj", &[hidden, query]),
                ("post_attention_layernorm", &[hidden]),
                ("mlp.gate_proj", &[inner, hidden]),
                ("mlp.up_proj", &[inner, hidden]),
                ("mlp.down_proj", &[hidden, inner]),
            ];
            for (part, shape) in wanted {
                check(&format!("model.layers.{layer}.{part}.weight"), shape, false);
                check(&format!("model.layers.{layer}.{part}.bias"), &shape[..1], true);
            }
        }
        check("model.norm.weight", &[hidden], false);
        check("lm_head.weight", &[vocabulary, hidden], tied);
    }
}

fn fault_of(name: &str, stored: &Stored, want: &[usize]) -> Option<Fault> {
    if stored.shape != want {
        let message = format!("the tensor has shape {:?}, and the configuration asks for {want:?}", stored.shape);
        return Some(Fault::new(Place::key(name), message));
    }
    match &stored.kind {
        Kind::Blocks(_) => None,
        Kind::Other(kind) => {
            let message = format!("the tensor is stored as {kind}, which no weight may be");
            Some(Fault::new(Place::key(name), message).hint("weights are read as F32, F16 or BF16"))
        }
    }
}

fn is_llama(config: &Value) -> bool {
    config["model_type"] == "llama"
        || config["architectures"].as_array().is_some_and(|names| names.iter().any(|name| name == "LlamaForCausalLM"))
}

/// The sizes that a Llama's shapes follow from.
struct Sizes {
    vocabulary: usize,
    hidden: usize,
    inner: usize,
    query: usize,
    key: usize,
    layers: usize,
    tied: bool,
}

/// No model has more; a larger number is a broken file and would only make long lists of missing tensors.
const MAXIMUM_LAYERS: usize = 10_000;

impl Sizes {
    fn read(config: &Value) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut number = |key: &str, default: Option<usize>| {
            let value = &config[key];
            let read = if value.is_null() { default } else { value.as_u64().and_then(|n| usize::try_from(n).ok()) };
            read.filter(|&number| number > 0).unwrap_or_else(|| {
                let place = Place::key(format!("config.{key}"));
                faults.push(Fault::new(place, format!("expected a positive whole number, found {value}")));
                1
            })
        };
        let hidden = number("hidden_size", None);
        let heads = number("num_attention_heads", None);
        let key_heads = number("num_key_value_heads", Some(heads));
        let head = number("head_dim", Some((hidden / heads).max(1)));
        let layers = number("num_hidden_layers", None);
        let vocabulary = number("vocab_size", None);
        let inner = number("intermediate_size", None);
        if layers > MAXIMUM_LAYERS {
            let message = format!("{layers} layers are more than any model has");
            faults.push(Fault::new(Place::key("config.num_hidden_layers"), message));
        }
        let (Some(query), Some(key)) = (heads.checked_mul(head), key_heads.checked_mul(head)) else {
            faults.push(Fault::new(Place::key("config.head_dim"), "the heads are too large to count"));
            return Err(faults);
        };
        let tied = config["tie_word_embeddings"].as_bool().unwrap_or(false);
        if faults.is_empty() { Ok(Self { vocabulary, hidden, inner, query, key, layers, tied }) } else { Err(faults) }
    }
}
