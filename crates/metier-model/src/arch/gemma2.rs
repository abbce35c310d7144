//! Gemma 2: norms before and behind each half of a block, soft caps, a window in every other layer.
//!
//! Source: Gemma Team, Gemma 2, arXiv 2408.00118.

use super::dialect::{TiedHead, Windows};
use super::{Architecture, Dialect};
use crate::config::{Config, Reader};
use crate::layer::{Axis, NormKind, Part, Presence, WeightPattern};
use metier_compute::op::Activation;

/// The record of this architecture.
pub static ARCHITECTURE: Architecture = Architecture {
    required: &["head_dim", "max_position_embeddings", "num_key_value_heads"],
    // Older files say it under two names; `hidden_activation` is the one that is followed.
    neutral: &["hidden_act"],
    tied: true,
    dialect: Some(Dialect {
        constants: r#"{"hidden_activation": "gelu_pytorch_tanh"}"#,
        activations: &[Activation::GeluTanh],
        tied_head: TiedHead::Only,
        biases: &[Part::Query, Part::Key, Part::Value],
        windows: Windows::AllButEach { period: 2, default: Some(4096) },
        caps: Some((50.0, 30.0)),
        wide_scale_layers: Some(46),
        ..Dialect::like_llama("gemma2", "Gemma2ForCausalLM")
    }),
    ..Architecture::like_llama("gemma2", read, WEIGHTS)
};

fn read(reader: &mut Reader<'_>) -> Config {
    let mut config = gemma(reader);
    reader.rotary(&mut config);
    config.design.attention_softcap = reader.cap("attn_logit_softcapping", Some(50.0));
    config.design.logit_softcap = reader.cap("final_logit_softcapping", Some(30.0));
    let window = reader.window("sliding_window", Some(4096));
    reader.windows(&mut config, window, |layer| layer % 2 == 0);
    config
}

/// What Gemma's files have in common.
pub(super) fn gemma(reader: &mut Reader<'_>) -> Config {
    let mut config = reader.sizes();
    config.design.norm = NormKind::RmsOffset;
    config.design.activation = reader.activation("hidden_activation", &["gelu_pytorch_tanh"]);
    config.design.embedding_scale = (config.hidden_size as f64).sqrt() as f32;
    let scalar = reader.number("query_pre_attn_scalar", Some(256.0));
    if !(scalar.is_finite() && scalar > 0.0) {
        reader.refuse("query_pre_attn_scalar", format!("{scalar} scales nothing"), "write a number above 0");
    }
    config.design.attention_scale = Some(scalar.powf(-0.5));
    config.attention_bias = reader.flag("attention_bias", false);
    config
}

static WEIGHTS: &[WeightPattern] = {
    use Axis::{Hidden as D, Intermediate as I, Key as K, Query as Q, Vocabulary as V};
    use Presence::{AttentionBias, Untied};
    use WeightPattern as W;
    &[
        W::new(Part::Embedding, "model.embed_tokens", &[V, D]),
        W::new(Part::AttentionNorm, "model.layers.{}.input_layernorm", &[D]),
        W::new(Part::Query, "model.layers.{}.self_attn.q_proj", &[Q, D]).biased(AttentionBias),
        W::new(Part::Key, "model.layers.{}.self_attn.k_proj", &[K, D]).biased(AttentionBias),
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
