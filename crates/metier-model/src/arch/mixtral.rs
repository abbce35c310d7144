//! Mixtral: Mistral with experts, of which each token passes through a few.
//!
//! Source: Jiang et al., Mixtral of Experts, arXiv 2401.04088.

use super::{Architecture, Dialect, mistral};
use crate::config::{Config, Experts, Reader};
use crate::layer::{Axis, Part, Presence, WeightPattern};

/// The record of this architecture.
pub static ARCHITECTURE: Architecture = Architecture {
    keys: &[("num_experts", "num_local_experts")],
    required: &["max_position_embeddings", "num_key_value_heads"],
    neutral: &["output_router_logits", "router_aux_loss_coef", "router_jitter_noise"],
    epsilon: 1e-5,
    theta: 1_000_000.0,
    dialect: Some(Dialect {
        told_by: Some("expert_count"),
        interleaved: true,
        reads_divisors: true,
        ..Dialect::like_llama("llama", "MixtralForCausalLM")
    }),
    ..Architecture::like_llama("mixtral", read, WEIGHTS)
};

fn read(reader: &mut Reader<'_>) -> Config {
    let mut config = mistral::with_window(reader, None);
    config.design.experts = Some(Experts {
        count: reader.whole("num_experts", Some(8)),
        per_token: reader.whole("num_experts_per_tok", Some(2)),
        normalized: true,
        shared_width: 0,
    });
    config
}

static WEIGHTS: &[WeightPattern] = {
    use Axis::{Experts as E, Hidden as D, Intermediate as I, Key as K, Query as Q, Vocabulary as V};
    use Presence::Untied;
    use WeightPattern as W;
    &[
        W::new(Part::Embedding, "model.embed_tokens", &[V, D]),
        W::new(Part::AttentionNorm, "model.layers.{}.input_layernorm", &[D]),
        W::new(Part::Query, "model.layers.{}.self_attn.q_proj", &[Q, D]),
        W::new(Part::Key, "model.layers.{}.self_attn.k_proj", &[K, D]),
        W::new(Part::Value, "model.layers.{}.self_attn.v_proj", &[K, D]),
        W::new(Part::Output, "model.layers.{}.self_attn.o_proj", &[D, Q]),
        W::new(Part::FeedForwardNorm, "model.layers.{}.post_attention_layernorm", &[D]),
        W::new(Part::Router, "model.layers.{}.block_sparse_moe.gate", &[E, D]),
        W::new(Part::Gate, "model.layers.{}.block_sparse_moe.experts.{}.w1", &[I, D]),
        W::new(Part::Up, "model.layers.{}.block_sparse_moe.experts.{}.w3", &[I, D]),
        W::new(Part::Down, "model.layers.{}.block_sparse_moe.experts.{}.w2", &[D, I]),
        W::new(Part::FinalNorm, "model.norm", &[D]),
        W::new(Part::Head, "lm_head", &[V, D]).when(Untied),
    ]
};
