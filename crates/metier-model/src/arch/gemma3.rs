//! Gemma 3: Gemma 2 with norms of each head of queries and keys in place of the soft cap of scores, five layers with a
//! window to one without, and positions of their own in each kind.
//!
//! Source: Gemma Team, Gemma 3, arXiv 2503.19786.

use super::dialect::Windows;
use super::{Architecture, Dialect, gemma2};
use crate::config::{Config, Reader};
use crate::layer::{Axis, Part, Presence, WeightPattern};
use metier_compute::op::Activation;
use serde_json::Value;

/// The record of this architecture.
pub static ARCHITECTURE: Architecture = Architecture {
    // A leftover: what it says is in `layer_types`.
    neutral: &["_sliding_window_pattern"],
    required: &["head_dim", "max_position_embeddings", "num_key_value_heads"],
    theta: 1_000_000.0,
    tied: true,
    dialect: Some(Dialect {
        constants: r#"{"hidden_activation": "gelu_pytorch_tanh"}"#,
        activations: &[Activation::GeluTanh],
        biases: &[Part::Query, Part::Key, Part::Value],
        windows: Windows::AllButEach { period: 6, default: None },
        wide_scale_layers: Some(62),
        ..Dialect::like_llama("gemma3", "Gemma3ForCausalLM")
    }),
    ..Architecture::like_llama("gemma3_text", read, WEIGHTS)
};

fn read(reader: &mut Reader<'_>) -> Config {
    let mut config = gemma2::gemma(reader);
    config.design.logit_softcap = reader.cap("final_logit_softcapping", None);
    reader.only("attn_logit_softcapping", &Value::Null);
    let window = reader.window("sliding_window", Some(4096));
    let pattern = reader.whole("sliding_window_pattern", Some(6)).max(1);
    reader.windows(&mut config, window, |layer| (layer + 1) % pattern != 0);
    reader.rotary_by_layer(&mut config);
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
        W::new(Part::AfterAttentionNorm, "model.layers.{}.post_attention_layernorm", &[D]),
        W::new(Part::FeedForwardNorm, "model.layers.{}.pre_feedforward_layernorm", &[D]),
        W::new(Part::Gate, "model.layers.{}.mlp.gate_proj", &[I, D]),
        W::new(Part::Up, "model.layers.{}.mlp.up_proj", &[I, D]),
        W::new(Part::Down, "model.layers.{}.mlp.down_proj", &[D, I]),
        W::new(Part::AfterFeedForwardNorm, "model.layers.{}.post_feedforward_layernorm", &[D]),
        W::new(Part::FinalNorm, "model.norm", &[D]),
        W::new(Part::Head, "lm_head", &[V, D]).when(Untied),
    ]
};
