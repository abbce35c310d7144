//! The `config.json` that a GGUF file's metadata amounts to.

use super::metadata::Metadata;
use metier_core::{Error, Fault, Result};
use serde_json::{Value, json};

/// What the tensors say about the configuration.
pub(super) struct Found {
    /// Rows of the embedding.
    pub vocabulary: usize,
    /// There is a head of its own.
    pub has_head: bool,
    /// Attention layers have biases.
    pub has_bias: bool,
    /// Feed-forward layers have biases.
    pub has_inner_bias: bool,
}

/// Heads of queries and of keys.
pub(super) struct Heads {
    pub query: usize,
    pub key: usize,
}

/// The configuration of a Llama. What this program would compute wrongly is refused, all of it together.
pub(super) fn llama(metadata: &Metadata, found: &Found) -> Result<(Value, Heads)> {
    let architecture = metadata.text("general.architecture")?.unwrap_or_default();
    if architecture != "llama" {
        let message = format!("the architecture `{architecture}` is not read");
        return Err(metadata.fault("general.architecture", message).hint("known: llama").into());
    }
    let mut faults = refused(metadata)?;
    let mut size = |key: &str, default: Option<usize>| {
        read(metadata, key, metadata.size(key), default, &mut faults).filter(|&size| size > 0).unwrap_or(1)
    };
    let hidden = size("llama.embedding_length", None);
    let inner = size("llama.feed_forward_length", None);
    let layers = size("llama.block_count", None);
    let context = size("llama.context_length", None);
    let heads = size("llama.attention.head_count", None);
    let key_heads = size("llama.attention.head_count_kv", Some(heads));
    let head = size("llama.attention.key_length", Some(hidden / heads));
    let value_head = size("llama.attention.value_length", Some(head));
    let rotary = size("llama.rope.dimension_count", Some(head));
    if value_head != head || rotary != head || !head.is_multiple_of(2) {
        let message = format!(
            "heads have {head} numbers in keys, {value_head} in values and {rotary} in rotary embeddings; these must be one even number"
        );
        faults.push(metadata.fault("llama.attention.key_length", message));
    }
    let key = "llama.attention.layer_norm_rms_epsilon";
    let epsilon = read(metadata, key, metadata.number(key), None, &mut faults).unwrap_or(1e-5);
    let key = "llama.rope.freq_base";
    let theta = read(metadata, key, metadata.number(key), Some(10_000.0), &mut faults).unwrap_or(10_000.0);
    Error::collect((), faults)?;
    let mut config = json!({
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": found.has_bias,
        "attention_dropout": 0.0,
        "head_dim": head,
        "hidden_act": "silu",
        "hidden_size": hidden,
        "initializer_range": 0.02,
        "intermediate_size": inner,
        "max_position_embeddings": context,
        "mlp_bias": found.has_inner_bias,
        "model_type": "llama",
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "num_key_value_heads": key_heads,
        "rms_norm_eps": epsilon,
        "rope_theta": theta,
        "tie_word_embeddings": !found.has_head,
        "torch_dtype": "float32",
        "use_cache": true,
        "vocab_size": found.vocabulary,
    });
    for (name, key) in [
        ("bos_token_id", "tokenizer.ggml.bos_token_id"),
        ("eos_token_id", "tokenizer.ggml.eos_token_id"),
        ("pad_token_id", "tokenizer.ggml.padding_token_id"),
    ] {
        if let Some(id) = metadata.size(key)? {
            config[name] = json!(id);
        }
    }
    Ok((config, Heads { query: heads, key: key_heads }))
}

fn read<T>(
    metadata: &Metadata,
    key: &str,
    value: Result<Option<T>>,
    default: Option<T>,
    faults: &mut Vec<Fault>,
) -> Option<T> {
    match value {
        Ok(value) => value.or(default).or_else(|| {
            faults.push(metadata.fault(key, "the key is missing"));
            None
        }),
        Err(error) => {
            faults.extend(error.faults);
            None
        }
    }
}

/// Keys that are read, or that change nothing a Llama computes.
const KNOWN: &[&str] = &[
    "llama.attention.head_count",
    "llama.attention.head_count_kv",
    "llama.attention.key_length",
    "llama.attention.layer_norm_rms_epsilon",
    "llama.attention.value_length",
    "llama.block_count",
    "llama.context_length",
    "llama.embedding_length",
    "llama.feed_forward_length",
    "llama.rope.dimension_count",
    "llama.rope.freq_base",
    "llama.rope.scaling.finetuned",
    "llama.rope.scaling.original_context_length",
    "llama.vocab_size",
];

/// Keys that are accepted with the one number that changes nothing.
const NEUTRAL: &[(&str, f64)] = &[
    ("llama.attention.sliding_window", 0.0),
    ("llama.expert_count", 0.0),
    ("llama.expert_used_count", 0.0),
    ("llama.logit_scale", 1.0),
    ("llama.embedding_scale", 1.0),
    ("llama.residual_scale", 1.0),
    ("llama.rope.scale_linear", 1.0),
    ("llama.rope.scaling.factor", 1.0),
];

/// Metadata that changes what a Llama computes in ways this program does not follow: every key of the architecture
/// that is not known to change nothing.
fn refused(metadata: &Metadata) -> Result<Vec<Fault>> {
    let mut faults = Vec::new();
    for (key, value) in metadata.iter() {
        if !key.starts_with("llama.") || KNOWN.contains(&key) {
            continue;
        }
        if let Some((_, neutral)) = NEUTRAL.iter().find(|(known, _)| *known == key) {
            let number = metadata.number(key)?;
            if number.is_some_and(|number| (number - neutral).abs() > 0.0) {
                let message = format!("{} is not followed", number.unwrap_or_default());
                faults.push(metadata.fault(key, message).hint(format!("known: {neutral}")));
            }
        } else if key == "llama.rope.scaling.type" {
            if let Some(kind) = metadata.text(key)?.filter(|&kind| kind != "none") {
                faults.push(metadata.fault(key, format!("rotary scaling `{kind}` is not read")).hint("known: none"));
            }
        } else if key == "llama.attention.causal" {
            if metadata.boolean(key)? == Some(false) {
                faults.push(metadata.fault(key, "attention to later tokens is not built").hint("known: true"));
            }
        } else {
            let message = format!("the key, {}, is not known, and may change what the model computes", value.kind());
            faults.push(metadata.fault(key, message));
        }
    }
    let key = "tokenizer.ggml.add_eos_token";
    if metadata.boolean(key)? == Some(true) {
        faults.push(metadata.fault(key, "true is not followed").hint("known: false"));
    }
    Ok(faults)
}
