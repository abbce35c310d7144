//! GPT-Neo, and with it TinyStories: GPT-2 with three attention projections, scores that are not scaled, and windows in
//! every layer that is `local`.
//!
//! Source: Black et al., GPT-Neo, 2021, Zenodo 5297715; Eldan and Li, TinyStories, arXiv 2305.07759.

use super::Architecture;
use crate::config::{Config, MOST_LAYERS, Reader};
use crate::layer::{Axis, NormKind, Part, Presence, WeightPattern};
use serde_json::{Value, json};

/// The record of this architecture.
pub static ARCHITECTURE: Architecture = Architecture {
    keys: &[
        ("num_attention_heads", "num_heads"),
        ("num_hidden_layers", "num_layers"),
        ("rms_norm_eps", "layer_norm_epsilon"),
        ("sliding_window", "window_size"),
        ("num_key_value_heads", ""),
        ("head_dim", ""),
    ],
    required: &["max_position_embeddings"],
    neutral: &[
        "attention_dropout",
        "classifier_dropout",
        "embed_dropout",
        "gradient_checkpointing",
        "resid_dropout",
        "summary_activation",
        "summary_first_dropout",
        "summary_proj_to_labels",
        "summary_type",
        "summary_use_proj",
    ],
    epsilon: 1e-5,
    intermediate: Some(4),
    tied: true,
    prefix: "transformer.",
    superfluous: &[".attn.attention.bias", ".attn.attention.masked_bias"],
    ..Architecture::like_llama("gpt_neo", read, WEIGHTS)
};

fn read(reader: &mut Reader<'_>) -> Config {
    let mut config = reader.sizes();
    config.design.norm = NormKind::Layer;
    config.design.activation =
        reader.activation("activation_function", &["gelu_new", "gelu", "gelu_pytorch_tanh", "relu"]);
    config.design.attention_scale = Some(1.0);
    let window = reader.window("sliding_window", Some(256));
    let types = reader.get("attention_types").cloned().unwrap_or(json!([[["global", "local"], 12]]));
    let listed = layers(&types).filter(|listed| listed.len() == config.layers);
    match &listed {
        Some(listed) => config.slide(window, listed),
        None => reader.refuse(
            "attention_types",
            format!("{types} does not say of each of {} layers what it sees", config.layers),
            "write groups of \"global\" and \"local\" and how often each comes, as in [[[\"global\", \"local\"], 2]]",
        ),
    }
    // The same, written out.
    let written = reader.get("attention_layers");
    if let (Some(listed), Some(written)) = (listed, written) {
        let kinds: Vec<&str> = listed.iter().map(|local| if *local { "local" } else { "global" }).collect();
        if *written != json!(kinds) {
            reader.refuse("attention_layers", "it does not agree with `attention_types`", "leave it out");
        }
    }
    config
}

/// Whether each layer is `local`.
fn layers(types: &Value) -> Option<Vec<bool>> {
    let mut layers = Vec::new();
    for group in types.as_array()? {
        let kind = |kind: &Value| match kind.as_str() {
            Some("local") => Some(true),
            Some("global") => Some(false),
            _ => None,
        };
        let kinds = group.get(0)?.as_array()?.iter().map(kind).collect::<Option<Vec<bool>>>()?;
        let times = usize::try_from(group.get(1)?.as_u64()?).ok()?;
        if times.checked_mul(kinds.len())? > MOST_LAYERS {
            return None;
        }
        layers.extend(kinds.repeat(times));
    }
    Some(layers)
}

static WEIGHTS: &[WeightPattern] = {
    use Axis::{Hidden as D, Intermediate as I, Key as K, Positions as P, Query as Q, Vocabulary as V};
    use Presence::{Always, Untied};
    use WeightPattern as W;
    &[
        W::new(Part::Embedding, "transformer.wte", &[V, D]),
        W::new(Part::Positions, "transformer.wpe", &[P, D]),
        W::new(Part::AttentionNorm, "transformer.h.{}.ln_1", &[D]).biased(Always),
        W::new(Part::Query, "transformer.h.{}.attn.attention.q_proj", &[Q, D]),
        W::new(Part::Key, "transformer.h.{}.attn.attention.k_proj", &[K, D]),
        W::new(Part::Value, "transformer.h.{}.attn.attention.v_proj", &[K, D]),
        W::new(Part::Output, "transformer.h.{}.attn.attention.out_proj", &[D, Q]).biased(Always),
        W::new(Part::FeedForwardNorm, "transformer.h.{}.ln_2", &[D]).biased(Always),
        W::new(Part::Up, "transformer.h.{}.mlp.c_fc", &[I, D]).biased(Always),
        W::new(Part::Down, "transformer.h.{}.mlp.c_proj", &[D, I]).biased(Always),
        W::new(Part::FinalNorm, "transformer.ln_f", &[D]).biased(Always),
        W::new(Part::Head, "lm_head", &[V, D]).when(Untied),
    ]
};
