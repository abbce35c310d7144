//! A tiny model, whose tokenizer's ids are bytes.

use metier_core::seed::Seed;
use metier_model::{Config, Decoder, LocalModel};
use std::sync::Arc;

pub use metier_testkit::bytes::{BEGIN, Bytes, END};

pub fn config() -> Config {
    Config {
        vocabulary_size: 260,
        hidden_size: 16,
        intermediate_size: 24,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 4,
        context_length: 64,
        norm_epsilon: 1e-5,
        rope_theta: 10_000.0,
        tied_embeddings: true,
        attention_bias: false,
        feed_forward_bias: false,
        ..Config::default()
    }
}

/// A model whose weights are large enough that every part of it matters.
pub fn decoder(config: &Config, seed: u64) -> Decoder {
    let mut decoder = Decoder::random(config, Seed::new(seed)).unwrap();
    let ids: Vec<_> = decoder.parameters.iter().map(|(id, ..)| id).collect();
    for id in ids {
        let name = decoder.parameters.name(id).to_owned();
        let mut noise = Seed::new(seed).derive("noise").derive(&name).at(0);
        let matrix = decoder.parameters.get(id).shape().len() == 2;
        for value in decoder.parameters.get_mut(id).data_mut() {
            *value = if matrix { *value * 15.0 } else { *value + 0.2 * noise.normal() as f32 };
        }
    }
    decoder
}

pub fn model(begin: bool) -> LocalModel {
    LocalModel::new(decoder(&config(), 3), Arc::new(Bytes { begin })).unwrap()
}
