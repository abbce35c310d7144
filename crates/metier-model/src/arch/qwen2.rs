//! Qwen 2: a Llama whose queries, keys and values have biases, and whose last layers may have a window.
//!
//! Source: Yang et al., the Qwen2 report, arXiv 2407.10671.

use super::{Architecture, Dialect};
use crate::config::{Config, Reader};
use crate::layer::{Axis, Part, Presence, WeightPattern};

/// The record of this architecture.
pub static ARCHITECTURE: Architecture = Architecture {
    required: &["max_position_embeddings", "num_key_value_heads"],
    dialect: Some(Dialect { free_heads: false, ..Dialect::like_llama("qwen2", "Qwen2ForCausalLM") }),
    ..Architecture::like_llama("qwen2", read, WEIGHTS)
};

fn read(reader: &mut Reader<'_>) -> Config {
    let mut config = reader.sizes();
    reader.rotary(&mut config);
    config.design.activation = reader.activation("hidden_act", &["silu"]);
    last_layers_slide(reader, &mut config);
    config
}

/// The windows that Qwen's files describe: of the layers from `max_window_layers` on, when `use_sliding_window` is set.
pub(super) fn last_layers_slide(reader: &mut Reader<'_>, config: &mut Config) {
    let first = reader.whole("max_window_layers", Some(28));
    let window = switched_window(reader);
    reader.windows(config, window, |layer| window.is_some() && layer >= first);
}

/// The window, when the switch for it is set; without that its key says nothing.
pub(super) fn switched_window(reader: &mut Reader<'_>) -> Option<usize> {
    if reader.flag("use_sliding_window", false) {
        return reader.window("sliding_window", Some(4096));
    }
    reader.get("sliding_window");
    None
}

static WEIGHTS: &[WeightPattern] = {
    use Axis::{Hidden as D, Intermediate as I, Key as K, Query as Q, Vocabulary as V};
    use Presence::{Always, Untied};
    use WeightPattern as W;
    &[
        W::new(Part::Embedding, "model.embed_tokens", &[V, D]),
        W::new(Part::AttentionNorm, "model.layers.{}.input_layernorm", &[D]),
        W::new(Part::Query, "model.layers.{}.self_attn.q_proj", &[Q, D]).biased(Always),
        W::new(Part::Key, "model.layers.{}.self_attn.k_proj", &[K, D]).biased(Always),
        W::new(Part::Value, "model.layers.{}.self_attn.v_proj", &[K, D]).biased(Always),
        W::new(Part::Output, "model.layers.{}.self_attn.o_proj", &[D, Q]),
        W::new(Part::FeedForwardNorm, "model.layers.{}.post_attention_layernorm", &[D]),
        W::new(Part::Gate, "model.layers.{}.mlp.gate_proj", &[I, D]),
        W::new(Part::Up, "model.layers.{}.mlp.up_proj", &[I, D]),
        W::new(Part::Down, "model.layers.{}.mlp.down_proj", &[D, I]),
        W::new(Part::FinalNorm, "model.norm", &[D]),
        W::new(Part::Head, "lm_head", &[V, D]).when(Untied),
    ]
};
