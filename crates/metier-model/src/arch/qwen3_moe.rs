//! Qwen 3 with experts, of which each token passes through a few.
//!
//! Source: Yang et al., the Qwen3 report, arXiv 2505.09388.

use super::{Architecture, Dialect, qwen2, qwen2_moe};
use crate::config::{Config, MOST_LAYERS, Reader};
use crate::layer::{Axis, Part, Presence, WeightPattern};

/// The record of this architecture.
pub static ARCHITECTURE: Architecture = Architecture {
    keys: &[("intermediate_size", "moe_intermediate_size")],
    required: &["max_position_embeddings", "num_key_value_heads"],
    // The first is the width of layers without experts, which are refused.
    neutral: &["intermediate_size", "max_window_layers", "output_router_logits", "router_aux_loss_coef"],
    dialect: Some(Dialect {
        constants: r#"{"hidden_act": "silu", "norm_topk_prob": true, "decoder_sparse_step": 1}"#,
        biases: &[Part::Query, Part::Key, Part::Value],
        ..Dialect::like_llama("qwen3moe", "Qwen3MoeForCausalLM")
    }),
    ..Architecture::like_llama("qwen3_moe", read, WEIGHTS)
};

fn read(reader: &mut Reader<'_>) -> Config {
    let mut config = qwen2_moe::with_experts(reader);
    config.attention_bias = reader.flag("attention_bias", false);
    let window = qwen2::switched_window(reader);
    config.slide(window, &vec![true; config.layers.min(MOST_LAYERS)]);
    config
}

static WEIGHTS: &[WeightPattern] = {
    use Axis::{Experts as E, Head as H, Hidden as D, Intermediate as I, Key as K, Query as Q, Vocabulary as V};
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
        W::new(Part::Router, "model.layers.{}.mlp.gate", &[E, D]),
        W::new(Part::Gate, "model.layers.{}.mlp.experts.{}.gate_proj", &[I, D]),
        W::new(Part::Up, "model.layers.{}.mlp.experts.{}.up_proj", &[I, D]),
        W::new(Part::Down, "model.layers.{}.mlp.experts.{}.down_proj", &[D, I]),
        W::new(Part::FinalNorm, "model.norm", &[D]),
        W::new(Part::Head, "lm_head", &[V, D]).when(Untied),
    ]
};
