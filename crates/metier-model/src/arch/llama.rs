//! Llama and what shares its mathematics: root-mean-square norms before each half of a block, grouped
//! query attention with rotary positions (halves of a head turned against each other), SwiGLU.
//!
//! Source: Touvron et al., the Llama paper, arXiv 2302.13971.

use super::{Architecture, Dialect};
use crate::config::{Config, Reader};
use crate::layer::{Axis, Part, Presence, WeightPattern};

/// The record of this architecture.
pub static ARCHITECTURE: Architecture = Architecture {
    dialect: Some(Dialect {
        interleaved: true,
        reads_divisors: true,
        ..Dialect::like_llama("llama", "LlamaForCausalLM")
    }),
    ..Architecture::like_llama("llama", read, WEIGHTS)
};

fn read(reader: &mut Reader<'_>) -> Config {
    let mut config = reader.sizes();
    reader.rotary(&mut config);
    config.design.activation = reader.activation("hidden_act", &["silu"]);
    config.attention_bias = reader.flag("attention_bias", false);
    config.feed_forward_bias = reader.flag("mlp_bias", false);
    config
}

/// Every weight, in the order of the forward pass.
pub(super) static WEIGHTS: &[WeightPattern] = {
    use Axis::{Hidden as D, Intermediate as I, Key as K, Query as Q, Vocabulary as V};
    use Presence::{AttentionBias, FeedForwardBias, Untied};
    use WeightPattern as W;
    &[
        W::new(Part::Embedding, "model.embed_tokens", &[V, D]),
        W::new(Part::AttentionNorm, "model.layers.{}.input_layernorm", &[D]),
        W::new(Part::Query, "model.layers.{}.self_attn.q_proj", &[Q, D]).biased(AttentionBias),
        W::new(Part::Key, "model.layers.{}.self_attn.k_proj", &[K, D]).biased(AttentionBias),
        W::new(Part::Value, "model.layers.{}.self_attn.v_proj", &[K, D]).biased(AttentionBias),
        W::new(Part::Output, "model.layers.{}.self_attn.o_proj", &[D, Q]).biased(AttentionBias),
        W::new(Part::FeedForwardNorm, "model.layers.{}.post_attention_layernorm", &[D]),
        W::new(Part::Gate, "model.layers.{}.mlp.gate_proj", &[I, D]).biased(FeedForwardBias),
        W::new(Part::Up, "model.layers.{}.mlp.up_proj", &[I, D]).biased(FeedForwardBias),
        W::new(Part::Down, "model.layers.{}.mlp.down_proj", &[D, I]).biased(FeedForwardBias),
        W::new(Part::FinalNorm, "model.norm", &[D]),
        W::new(Part::Head, "lm_head", &[V, D]).when(Untied),
    ]
};
