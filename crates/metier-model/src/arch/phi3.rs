//! Phi 3: a Llama with one projection for queries, keys and values and one for gate and up, and maybe windows.
//!
//! Source: Abdin et al., Phi-3, arXiv 2404.14219.

use super::dialect::Windows;
use super::{Architecture, Dialect};
use crate::config::{Config, MOST_LAYERS, Reader};
use crate::layer::{Axis, Part, Presence, WeightPattern};

/// The record of this architecture.
pub static ARCHITECTURE: Architecture = Architecture {
    keys: &[("head_dim", "")],
    required: &["max_position_embeddings"],
    // The original length is read with `longrope`, which it belongs to.
    neutral: &["embd_pdrop", "original_max_position_embeddings", "resid_pdrop"],
    epsilon: 1e-5,
    partial: Some(1.0),
    dialect: Some(Dialect {
        free_heads: false,
        windows: Windows::All,
        reads_divisors: true,
        ..Dialect::like_llama("phi3", "Phi3ForCausalLM")
    }),
    ..Architecture::like_llama("phi3", read, WEIGHTS)
};

fn read(reader: &mut Reader<'_>) -> Config {
    let mut config = reader.sizes();
    reader.rotary(&mut config);
    config.design.activation = reader.activation("hidden_act", &["silu"]);
    let window = reader.window("sliding_window", None);
    config.slide(window, &vec![true; config.layers.min(MOST_LAYERS)]);
    config
}

static WEIGHTS: &[WeightPattern] = {
    use Axis::{GateUp as GU, Hidden as D, Intermediate as I, Query as Q, QueryKeyValue as QKV, Vocabulary as V};
    use Presence::Untied;
    use WeightPattern as W;
    &[
        W::new(Part::Embedding, "model.embed_tokens", &[V, D]),
        W::new(Part::AttentionNorm, "model.layers.{}.input_layernorm", &[D]),
        W::new(Part::QueryKeyValue, "model.layers.{}.self_attn.qkv_proj", &[QKV, D]),
        W::new(Part::Output, "model.layers.{}.self_attn.o_proj", &[D, Q]),
        W::new(Part::FeedForwardNorm, "model.layers.{}.post_attention_layernorm", &[D]),
        W::new(Part::GateUp, "model.layers.{}.mlp.gate_up_proj", &[GU, D]),
        W::new(Part::Down, "model.layers.{}.mlp.down_proj", &[D, I]),
        W::new(Part::FinalNorm, "model.norm", &[D]),
        W::new(Part::Head, "lm_head", &[V, D]).when(Untied),
    ]
};
