//! A tiny model and a tokenizer whose ids are bytes.

use metier_core::Result;
use metier_core::data::TokenId;
use metier_core::seam::{Encoded, Tokenize};
use metier_core::seed::Seed;
use metier_model::{Config, Decoder, LocalModel};
use std::sync::Arc;

pub const END: TokenId = 256;
pub const BEGIN: TokenId = 257;

/// Ids 0 to 255 are bytes; `<end>` and `<begin>` are special.
pub struct Bytes {
    pub begin: bool,
}

impl Tokenize for Bytes {
    fn vocabulary_size(&self) -> usize {
        258
    }

    fn encode(&self, texts: &[&str], special: bool) -> Result<Vec<Encoded>> {
        let encode = |text: &&str| {
            let mut encoded = Encoded::default();
            let mut at = 0;
            while at < text.len() {
                let rest = &text[at..];
                let (id, length) = match rest {
                    _ if special && rest.starts_with("<end>") => (END, 5),
                    _ if special && rest.starts_with("<begin>") => (BEGIN, 7),
                    _ => (TokenId::from(text.as_bytes()[at]), 1),
                };
                at += length;
                encoded.ids.push(id);
                encoded.ends.push(at);
                if length == 1 {
                    while !text.is_char_boundary(at) {
                        encoded.ids.push(TokenId::from(text.as_bytes()[at]));
                        at += 1;
                        encoded.ends.push(at);
                    }
                }
            }
            encoded
        };
        Ok(texts.iter().map(encode).collect())
    }

    fn decode(&self, ids: &[TokenId], special: bool) -> Result<String> {
        let bytes: Vec<u8> = ids
            .iter()
            .flat_map(|id| match u8::try_from(*id) {
                Ok(byte) => vec![byte],
                Err(_) if special => self.bytes_of(*id).unwrap_or_default(),
                Err(_) => Vec::new(),
            })
            .collect();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn bytes_of(&self, id: TokenId) -> Option<Vec<u8>> {
        match id {
            0..256 => Some(vec![id as u8]),
            END => Some(b"<end>".to_vec()),
            BEGIN => Some(b"<begin>".to_vec()),
            _ => None,
        }
    }

    fn id_of(&self, token: &str) -> Option<TokenId> {
        [("<end>", END), ("<begin>", BEGIN)].iter().find(|(name, _)| *name == token).map(|(_, id)| *id)
    }

    fn begin_of_text(&self) -> Option<TokenId> {
        self.begin.then_some(BEGIN)
    }

    fn end_of_text(&self) -> Vec<TokenId> {
        vec![END]
    }

    fn fingerprint(&self) -> String {
        "bytes".into()
    }
}

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
