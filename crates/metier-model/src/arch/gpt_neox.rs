//! GPT-NeoX, and with it Pythia: layer norms, positions that turn a part of each head, and mostly an attention and a
//! feed-forward block side by side.
//!
//! Source: Black et al., GPT-NeoX-20B, arXiv 2204.06745; Biderman et al., Pythia, arXiv 2304.01373.

use super::dialect::TiedHead;
use super::{Architecture, Dialect};
use crate::config::{Config, Reader};
use crate::layer::{Axis, NormKind, Part, Presence, WeightPattern};
use metier_compute::op::Activation;

/// The record of this architecture.
pub static ARCHITECTURE: Architecture = Architecture {
    keys: &[
        ("rms_norm_eps", "layer_norm_eps"),
        ("rope_theta", "rotary_emb_base"),
        ("partial_rotary_factor", "rotary_pct"),
        ("num_key_value_heads", ""),
        ("head_dim", ""),
    ],
    required: &["max_position_embeddings"],
    neutral: &["attention_dropout", "classifier_dropout", "hidden_dropout"],
    epsilon: 1e-5,
    partial: Some(0.25),
    prefix: "gpt_neox.",
    superfluous: &[".attention.bias", ".attention.masked_bias", ".rotary_emb.inv_freq"],
    dialect: Some(Dialect {
        constants: r#"{"hidden_act": "gelu"}"#,
        activations: &[Activation::Gelu, Activation::GeluTanh],
        tied_head: TiedHead::Repeated,
        needed_biases: &[Part::QueryKeyValueByHead, Part::Output],
        free_heads: false,
        ..Dialect::like_llama("gptneox", "GPTNeoXForCausalLM")
    }),
    ..Architecture::like_llama("gpt_neox", read, WEIGHTS)
};

fn read(reader: &mut Reader<'_>) -> Config {
    let mut config = reader.sizes();
    reader.rotary(&mut config);
    config.design.norm = NormKind::Layer;
    config.design.activation = reader.activation("hidden_act", &["gelu", "gelu_fast", "gelu_new", "relu", "silu"]);
    config.design.parallel = reader.flag("use_parallel_residual", true);
    config.attention_bias = reader.flag("attention_bias", true);
    config
}

static WEIGHTS: &[WeightPattern] = {
    use Axis::{Hidden as D, Intermediate as I, QueryKeyValue as QKV, Vocabulary as V};
    use Presence::{Always, AttentionBias, Untied};
    use WeightPattern as W;
    &[
        W::new(Part::Embedding, "gpt_neox.embed_in", &[V, D]),
        W::new(Part::AttentionNorm, "gpt_neox.layers.{}.input_layernorm", &[D]).biased(Always),
        W::new(Part::QueryKeyValueByHead, "gpt_neox.layers.{}.attention.query_key_value", &[QKV, D])
            .biased(AttentionBias),
        W::new(Part::Output, "gpt_neox.layers.{}.attention.dense", &[D, D]).biased(AttentionBias),
        W::new(Part::FeedForwardNorm, "gpt_neox.layers.{}.post_attention_layernorm", &[D]).biased(Always),
        W::new(Part::Up, "gpt_neox.layers.{}.mlp.dense_h_to_4h", &[I, D]).biased(Always),
        W::new(Part::Down, "gpt_neox.layers.{}.mlp.dense_4h_to_h", &[D, I]).biased(Always),
        W::new(Part::FinalNorm, "gpt_neox.final_layer_norm", &[D]).biased(Always),
        W::new(Part::Head, "embed_out", &[V, D]).when(Untied),
    ]
};
