//! Phi 1 to 2: one layer norm for an attention and a feed-forward block side by side, positions that turn a part of each
//! head, biases everywhere, the head's included.
//!
//! Source: Gunasekar et al., "Textbooks are all you need", arXiv 2306.11644; Javaheripi et al., Phi-2, 2023.

use super::dialect::TiedHead;
use super::{Architecture, Dialect};
use crate::config::{Config, Reader};
use crate::layer::{Axis, NormKind, Part, Presence, WeightPattern};
use metier_compute::op::Activation;
use serde_json::json;

/// The record of this architecture.
pub static ARCHITECTURE: Architecture = Architecture {
    keys: &[("rms_norm_eps", "layer_norm_eps"), ("head_dim", "")],
    required: &["max_position_embeddings"],
    neutral: &["attention_dropout", "embd_pdrop", "resid_pdrop"],
    epsilon: 1e-5,
    partial: Some(0.5),
    dialect: Some(Dialect {
        constants: r#"{"hidden_act": "gelu_new", "qk_layernorm": false}"#,
        activations: &[Activation::GeluTanh, Activation::Gelu],
        tied_head: TiedHead::Repeated,
        free_heads: false,
        ..Dialect::like_llama("phi2", "PhiForCausalLM")
    }),
    ..Architecture::like_llama("phi", read, WEIGHTS)
};

fn read(reader: &mut Reader<'_>) -> Config {
    let mut config = reader.sizes();
    reader.rotary(&mut config);
    // Its bias would stay, so a tied head is not the embedding alone.
    reader.only("tie_word_embeddings", &json!(false));
    config.design.norm = NormKind::Layer;
    config.design.activation = reader.activation("hidden_act", &["gelu_new", "gelu", "gelu_pytorch_tanh", "relu"]);
    config.design.parallel = true;
    config.design.query_key_norm = reader.flag("qk_layernorm", false);
    config
}

static WEIGHTS: &[WeightPattern] = {
    use Axis::{Head as H, Hidden as D, Intermediate as I, Key as K, Query as Q, Vocabulary as V};
    use Presence::{Always, QueryKeyNorm, Untied};
    use WeightPattern as W;
    &[
        W::new(Part::Embedding, "model.embed_tokens", &[V, D]),
        W::new(Part::AttentionNorm, "model.layers.{}.input_layernorm", &[D]).biased(Always),
        W::new(Part::Query, "model.layers.{}.self_attn.q_proj", &[Q, D]).biased(Always),
        W::new(Part::QueryNorm, "model.layers.{}.self_attn.q_layernorm", &[H]).biased(Always).when(QueryKeyNorm),
        W::new(Part::Key, "model.layers.{}.self_attn.k_proj", &[K, D]).biased(Always),
        W::new(Part::KeyNorm, "model.layers.{}.self_attn.k_layernorm", &[H]).biased(Always).when(QueryKeyNorm),
        W::new(Part::Value, "model.layers.{}.self_attn.v_proj", &[K, D]).biased(Always),
        W::new(Part::Output, "model.layers.{}.self_attn.dense", &[D, Q]).biased(Always),
        W::new(Part::Up, "model.layers.{}.mlp.fc1", &[I, D]).biased(Always),
        W::new(Part::Down, "model.layers.{}.mlp.fc2", &[D, I]).biased(Always),
        W::new(Part::FinalNorm, "model.final_layernorm", &[D]).biased(Always),
        W::new(Part::Head, "lm_head", &[V, D]).biased(Always).when(Untied),
    ]
};
