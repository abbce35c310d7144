//! Mistral: a Llama whose layers may all have a window.
//!
//! Source: Jiang et al., Mistral 7B, arXiv 2310.06825.

use super::{Architecture, Dialect, llama};
use crate::config::{Config, MOST_LAYERS, Reader};

/// The record of this architecture.
pub static ARCHITECTURE: Architecture = Architecture {
    required: &["max_position_embeddings", "num_key_value_heads"],
    dialect: Some(Dialect {
        told_by: Some("attention.sliding_window"),
        interleaved: true,
        reads_divisors: true,
        ..Dialect::like_llama("llama", "MistralForCausalLM")
    }),
    ..Architecture::like_llama("mistral", read, llama::WEIGHTS)
};

fn read(reader: &mut Reader<'_>) -> Config {
    with_window(reader, Some(4096))
}

/// A Llama's numbers, and one window of all layers, `absent` where no key says it.
pub(super) fn with_window(reader: &mut Reader<'_>, absent: Option<usize>) -> Config {
    let mut config = reader.sizes();
    reader.rotary(&mut config);
    config.design.activation = reader.activation("hidden_act", &["silu"]);
    let window = reader.window("sliding_window", absent);
    config.slide(window, &vec![true; config.layers.min(MOST_LAYERS)]);
    config
}
