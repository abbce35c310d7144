//! WordPiece: of a word the longest beginning that is a token, then of the rest the longest that is one inside words.
//!
//! Source: Schuster and Nakajima, "Japanese and Korean Voice Search" (2012); `models/wordpiece` of the `tokenizers` crate.

use super::Piece;
use super::trie::{ROOT, Trie};
use metier_core::data::TokenId;
use serde_json::Value;

pub(super) struct WordPiece {
    trie: Trie,
    /// What tokens inside words begin at; `None` when there is none.
    inside: Option<u32>,
    unknown: TokenId,
    /// Longer words, in characters, are unknown.
    longest: usize,
}

impl WordPiece {
    /// The model of a `tokenizer.json`; `None` when it has no unknown token, which is then a fault of a text.
    pub(super) fn of(model: &Value) -> Option<Self> {
        let vocabulary = model["vocab"].as_object()?;
        let id = |value: &Value| value.as_u64().and_then(|id| TokenId::try_from(id).ok());
        let mut trie = Trie::new();
        for (token, value) in vocabulary {
            trie.insert(token, id(value)?);
        }
        Some(Self {
            inside: trie.node(model["continuing_subword_prefix"].as_str()?),
            trie,
            unknown: id(vocabulary.get(model["unk_token"].as_str()?)?)?,
            longest: usize::try_from(model["max_input_chars_per_word"].as_u64()?).ok()?,
        })
    }

    /// Adds the pieces of a word.
    pub(super) fn encode(&self, word: &str, out: &mut Vec<Piece>) {
        let before = out.len();
        let mut start = 0;
        let mut node = (word.len() <= self.longest || word.chars().count() <= self.longest).then_some(ROOT);
        while start < word.len() {
            let longest = node.and_then(|node| self.longest(node, &word.as_bytes()[start..]));
            let Some((id, length)) = longest else {
                out.truncate(before);
                out.push((self.unknown, word.len() as u32));
                return;
            };
            out.push((id, length));
            start += length as usize;
            node = self.inside;
        }
    }

    /// The longest token from a node on, and its bytes.
    fn longest(&self, mut node: u32, text: &[u8]) -> Option<Piece> {
        let mut found = None;
        for (length, &byte) in (1..).zip(text) {
            let Some((child, id)) = self.trie.step(node, byte) else { break };
            node = child;
            found = id.map(|id| (id, length)).or(found);
        }
        found
    }
}
