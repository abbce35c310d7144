//! Qwen 1.5 and 2 with experts, of which each token passes through a few, and one that all pass through.
//!
//! Source: Yang et al., the Qwen2 report, arXiv 2407.10671, section 2.2.2.

use super::dialect::TiedHead;
use super::{Architecture, Dialect, qwen2};
use crate::config::{Config, Experts, Reader};
use crate::layer::{Axis, Part, Presence, WeightPattern};
use serde_json::json;

/// The record of this architecture.
pub static ARCHITECTURE: Architecture = Architecture {
    keys: &[("attention_bias", "qkv_bias"), ("intermediate_size", "moe_intermediate_size")],
    required: &["max_position_embeddings", "num_key_value_heads"],
    // The first is the width of layers without experts, which are refused.
    neutral: &["intermediate_size", "output_router_logits", "router_aux_loss_coef"],
    dialect: Some(Dialect {
        constants: r#"{"hidden_act": "silu", "norm_topk_prob": false, "decoder_sparse_step": 1}"#,
        tied_head: TiedHead::Repeated,
        free_heads: false,
        normalized_experts: false,
        ..Dialect::like_llama("qwen2moe", "Qwen2MoeForCausalLM")
    }),
    ..Architecture::like_llama("qwen2_moe", read, WEIGHTS)
};

fn read(reader: &mut Reader<'_>) -> Config {
    let mut config = with_experts(reader);
    config.attention_bias = reader.flag("attention_bias", true);
    // Other than in Qwen 2, the layers that slide are every other one before `max_window_layers`.
    let last = reader.whole("max_window_layers", Some(28));
    let window = qwen2::switched_window(reader);
    reader.windows(&mut config, window, |layer| window.is_some() && layer < last && layer % 2 == 0);
    let shared = reader.whole("shared_expert_intermediate_size", Some(5632));
    config.design.experts = config.design.experts.map(|experts| Experts { shared_width: shared, ..experts });
    config
}

/// What Qwen's files with experts have in common.
pub(super) fn with_experts(reader: &mut Reader<'_>) -> Config {
    let mut config = reader.sizes();
    reader.rotary(&mut config);
    config.design.activation = reader.activation("hidden_act", &["silu"]);
    // Newer programs write Qwen 3's under the name that Mixtral has.
    let count = if reader.has("num_local_experts") { "num_local_experts" } else { "num_experts" };
    config.design.experts = Some(Experts {
        count: reader.whole(count, None),
        per_token: reader.whole("num_experts_per_tok", None),
        normalized: reader.flag("norm_topk_prob", false),
        shared_width: 0,
    });
    reader.only("decoder_sparse_step", &json!(1));
    reader.only("mlp_only_layers", &json!([]));
    config
}

static WEIGHTS: &[WeightPattern] = {
    use Axis::{
        Experts as E, Hidden as D, Intermediate as I, Key as K, One, Query as Q, SharedIntermediate as S,
        Vocabulary as V,
    };
    use Presence::{AttentionBias, Untied};
    use WeightPattern as W;
    &[
        W::new(Part::Embedding, "model.embed_tokens", &[V, D]),
        W::new(Part::AttentionNorm, "model.layers.{}.input_layernorm", &[D]),
        W::new(Part::Query, "model.layers.{}.self_attn.q_proj", &[Q, D]).biased(AttentionBias),
        W::new(Part::Key, "model.layers.{}.self_attn.k_proj", &[K, D]).biased(AttentionBias),
        W::new(Part::Value, "model.layers.{}.self_attn.v_proj", &[K, D]).biased(AttentionBias),
        W::new(Part::Output, "model.layers.{}.self_attn.o_proj", &[D, Q]),
        W::new(Part::FeedForwardNorm, "model.layers.{}.post_attention_layernorm", &[D]),
        W::new(Part::Router, "model.layers.{}.mlp.gate", &[E, D]),
        W::new(Part::Gate, "model.layers.{}.mlp.experts.{}.gate_proj", &[I, D]),
        W::new(Part::Up, "model.layers.{}.mlp.experts.{}.up_proj", &[I, D]),
        W::new(Part::Down, "model.layers.{}.mlp.experts.{}.down_proj", &[D, I]),
        W::new(Part::SharedGate, "model.layers.{}.mlp.shared_expert.gate_proj", &[S, D]),
        W::new(Part::SharedUp, "model.layers.{}.mlp.shared_expert.up_proj", &[S, D]),
        W::new(Part::SharedDown, "model.layers.{}.mlp.shared_expert.down_proj", &[D, S]),
        W::new(Part::SharedShare, "model.layers.{}.mlp.shared_expert_gate", &[One, D]),
        W::new(Part::FinalNorm, "model.norm", &[D]),
        W::new(Part::Head, "lm_head", &[V, D]).when(Untied),
    ]
};
