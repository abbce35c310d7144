//! GPT-2: layer norms, learned positions, a plain feed-forward block, matrices stored with inputs first.
//!
//! Source: Radford et al., "Language models are unsupervised multitask learners", 2019.

use super::{Architecture, Dialect};
use crate::config::{Config, Reader};
use crate::layer::{Axis, NormKind, Part, Presence, WeightPattern};
use metier_compute::op::Activation;

/// The record of this architecture.
pub static ARCHITECTURE: Architecture = Architecture {
    keys: &[
        ("hidden_size", "n_embd"),
        ("num_attention_heads", "n_head"),
        ("num_hidden_layers", "n_layer"),
        ("max_position_embeddings", "n_positions"),
        ("intermediate_size", "n_inner"),
        ("rms_norm_eps", "layer_norm_epsilon"),
        ("num_key_value_heads", ""),
        ("head_dim", ""),
    ],
    required: &["max_position_embeddings"],
    neutral: &[
        "attn_pdrop",
        "embd_pdrop",
        "gradient_checkpointing",
        "n_ctx",
        "reorder_and_upcast_attn",
        "resid_pdrop",
        "summary_activation",
        "summary_first_dropout",
        "summary_proj_to_labels",
        "summary_type",
        "summary_use_proj",
        "task_specific_params",
    ],
    epsilon: 1e-5,
    intermediate: Some(4),
    tied: true,
    prefix: "transformer.",
    superfluous: &[".attn.bias", ".attn.masked_bias"],
    dialect: Some(Dialect {
        constants: r#"{"activation_function": "gelu_new"}"#,
        activations: &[Activation::GeluTanh, Activation::Gelu],
        free_heads: false,
        ..Dialect::like_llama("gpt2", "GPT2LMHeadModel")
    }),
    ..Architecture::like_llama("gpt2", read, WEIGHTS)
};

fn read(reader: &mut Reader<'_>) -> Config {
    let mut config = reader.sizes();
    config.design.norm = NormKind::Layer;
    config.design.activation =
        reader.activation("activation_function", &["gelu_new", "gelu", "gelu_pytorch_tanh", "relu"]);
    if !reader.flag("scale_attn_weights", true) {
        config.design.attention_scale = Some(1.0);
    }
    config.design.scale_by_layer = reader.flag("scale_attn_by_inverse_layer_idx", false);
    config
}

static WEIGHTS: &[WeightPattern] = {
    use Axis::{Hidden as D, Intermediate as I, Positions as P, QueryKeyValue as QKV, Vocabulary as V};
    use Presence::{Always, Untied};
    use WeightPattern as W;
    &[
        W::new(Part::Embedding, "transformer.wte", &[V, D]),
        W::new(Part::Positions, "transformer.wpe", &[P, D]),
        W::new(Part::AttentionNorm, "transformer.h.{}.ln_1", &[D]).biased(Always),
        W::new(Part::QueryKeyValue, "transformer.h.{}.attn.c_attn", &[QKV, D]).biased(Always).transposed(),
        W::new(Part::Output, "transformer.h.{}.attn.c_proj", &[D, D]).biased(Always).transposed(),
        W::new(Part::FeedForwardNorm, "transformer.h.{}.ln_2", &[D]).biased(Always),
        W::new(Part::Up, "transformer.h.{}.mlp.c_fc", &[I, D]).biased(Always).transposed(),
        W::new(Part::Down, "transformer.h.{}.mlp.c_proj", &[D, I]).biased(Always).transposed(),
        W::new(Part::FinalNorm, "transformer.ln_f", &[D]).biased(Always),
        W::new(Part::Head, "lm_head", &[V, D]).when(Untied),
    ]
};
