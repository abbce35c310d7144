//! Qwen 3: a Llama that norms each head of queries and keys.
//!
//! Source: Yang et al., the Qwen3 report, arXiv 2505.09388.

use super::{Architecture, Dialect, qwen2};
use crate::config::{Config, Reader};
use crate::layer::{Axis, Part, Presence, WeightPattern};

/// The record of this architecture.
pub static ARCHITECTURE: Architecture = Architecture {
    required: &["head_dim", "max_position_embeddings", "num_key_value_heads"],
    dialect: Some(Dialect {
        biases: &[Part::Query, Part::Key, Part::Value],
        ..Dialect::like_llama("qwen3", "Qwen3ForCausalLM")
    }),
    ..Architecture::like_llama("qwen3", read, WEIGHTS)
};

fn read(reader: &mut Reader<'_>) -> Config {
    let mut config = reader.sizes();
    reader.rotary(&mut config);
    config.design.activation = reader.activation("hidden_act", &["silu"]);
    config.attention_bias = reader.flag("attention_bias", false);
    qwen2::last_layers_slide(reader, &mut config);
    config
}

static WEIGHTS: &[WeightPattern] = {
    use Axis::{Head as H, Hidden as D, Intermediate as I, Key as K, Query as Q, Vocabulary as V};
    use Presence::{AttentionBias, Untied};
    use WeightPattern as W;
    &[
        W::new(Part::Embedding, "model.embed_tokens", &[V, D]),
        W::new(Part::AttentionNorm, "model.layers.{}.input_layernorm", &[D]),
        W::new(Part::Query, "model.layers.{}.self_attn.q_proj", &[Q, D]).biased(AttentionBias),
        W::new(Part::QueryNorm, "model.layers.{}.self_attn.q_norm", &[H]),
        W::new(Part::Key, "model.layers.{}.self_attn.k_proj", &[K, D]).biased(AttentionBias),
        W::new(Part::KeyNorm, "model.layers.{}.self_attn.k_norm", &[H]),
        W::new(Part::Value, "model.layers.{}.self_attn.v_proj", &[K, D]).biased(AttentionBias),
        W::new(Part::Output, "model.layers.{}.self_attn.o_proj", &[D, Q]).biased(AttentionBias),
        W::new(Part::FeedForwardNorm, "model.layers.{}.post_attention_layernorm", &[D]),
        W::new(Part::Gate, "model.layers.{}.mlp.gate_proj", &[I, D]),
        W::new(Part::Up, "model.layers.{}.mlp.up_proj", &[I, D]),
        W::new(Part::Down, "model.layers.{}.mlp.down_proj", &[D, I]),
        W::new(Part::FinalNorm, "model.norm", &[D]),
        W::new(Part::Head, "lm_head", &[V, D]).when(Untied),
    ]
};
