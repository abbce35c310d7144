//! SentencePiece vocabularies: pieces of text with scores, as `.model` and GGUF files carry them.

use super::byte_level_bpe::TokenKind;
use super::tokenizer_file::{BpeModel, TokenizerFile, added_token, few, ids_of, merges_of, numbered};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use metier_core::{Error, Fault, Place, Result};
use serde::Serialize;
use serde_json::{Value, json};

/// Stands for a space inside pieces.
pub(crate) const MARK: &str = "\u{2581}";

/// How pieces are put together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PieceModel {
    /// Neighbors whose union is a piece are merged, the union of the highest score first.
    #[default]
    Bpe,
    /// The pieces of a text are those with the highest sum of scores.
    Unigram,
}

/// A SentencePiece vocabulary.
///
/// A text is normalized, its spaces become `▁` with one more before the text if asked, and what is left is cut into
/// pieces. A character that no piece has is written as its bytes where the vocabulary has a piece for each byte
/// (`<0x00>` to `<0xFF>`), else as the unknown piece.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pieces {
    /// How they are put together.
    pub model: PieceModel,
    /// The pieces; the place is the id.
    pub tokens: Vec<String>,
    /// The score of each piece.
    pub scores: Vec<f32>,
    /// What each piece is; empty when all are [`TokenKind::Normal`].
    pub kinds: Vec<TokenKind>,
    /// The id that stands for what no piece has.
    pub unknown: Option<usize>,
    /// Put a space before the text.
    pub add_space_prefix: bool,
    /// Take spaces away at both ends, and all but one of several.
    pub remove_extra_spaces: bool,
    /// SentencePiece's compiled table of characters that are replaced; empty for none.
    pub replacements: Vec<u8>,
}

impl Pieces {
    /// The `tokenizer.json` that encodes alike.
    ///
    /// Pieces given twice, and numbers of scores or kinds other than that of pieces, are refused, each named.
    pub fn to_json(&self) -> Result<String> {
        let count = self.tokens.len();
        let mut faults = Vec::new();
        if self.scores.len() != count {
            let message = format!("{} scores are given for {count} tokens", self.scores.len());
            faults.push(Fault::new(Place::key("scores"), message));
        }
        if !self.kinds.is_empty() && self.kinds.len() != count {
            let message = format!("{} kinds are given for {count} tokens", self.kinds.len());
            faults.push(Fault::new(Place::key("kinds"), message));
        }
        if let Some(id) = self.unknown.filter(|&id| id >= count) {
            let message = format!("the id {id} of the unknown token is beyond the {count} tokens");
            faults.push(Fault::new(Place::key("tokens"), message));
        }
        if let Some(id) = self.scores.iter().position(|score| !score.is_finite()) {
            faults.push(Fault::new(Place::key("scores"), format!("the score of token {id} is not a number")));
        }
        let tokens = self.written();
        let mut ids = ids_of(&tokens, "tokens", &mut faults);
        Error::collect((), few(faults, "tokens"))?;
        let unknown = self.unknown.or_else(|| (0..count).find(|&id| self.kind(id) == TokenKind::Unknown));
        let byte_fallback = (0..=255).all(|byte| {
            ids.get(format!("<0x{byte:02X}>").as_str()).is_some_and(|&id| self.kind(id) == TokenKind::Byte)
        });
        match self.model {
            PieceModel::Bpe => {
                ids.retain(|_, &mut id| matches!(self.kind(id), TokenKind::Normal | TokenKind::Unused));
                let mut made: Vec<usize> = ids.values().copied().collect();
                made.sort_unstable_by(|&one, &other| {
                    self.scores[other].total_cmp(&self.scores[one]).then(one.cmp(&other))
                });
                let merges = merges_of(made.iter().map(|&id| tokens[id].as_str()), &ids);
                let mut model = BpeModel::new(numbered(&tokens), merges);
                model.unk_token = unknown.map(|id| tokens[id].as_str());
                model.fuse_unk = true;
                model.byte_fallback = byte_fallback;
                self.file(model, &tokens, byte_fallback).to_json()
            }
            PieceModel::Unigram => {
                let vocab =
                    tokens.iter().zip(&self.scores).map(|(token, &score)| (token.as_str(), f64::from(score))).collect();
                let model = UnigramModel { kind: "Unigram", unk_id: unknown, vocab, byte_fallback };
                let mut file = self.file(model, &tokens, byte_fallback);
                // Where no piece goes across a space, each word has its pieces for itself.
                if !tokens.iter().any(|token| token.trim_start_matches(MARK).contains(MARK)) {
                    file.pre_tokenizer = json!({
                        "type": "Metaspace", "replacement": MARK, "prepend_scheme": "never", "split": true,
                    });
                }
                file.to_json()
            }
        }
    }

    pub(super) fn kind(&self, id: usize) -> TokenKind {
        self.kinds.get(id).copied().unwrap_or(TokenKind::Normal)
    }

    /// The pieces of a kind with their ids.
    pub(super) fn of_kind(&self, kind: TokenKind) -> impl Iterator<Item = (usize, &str)> {
        self.tokens.iter().map(String::as_str).enumerate().filter(move |(id, _)| self.kind(*id) == kind)
    }

    /// The pieces, with spaces instead of marks in those that are looked for in the text itself.
    fn written(&self) -> Vec<String> {
        let mut tokens = self.tokens.clone();
        for (id, token) in tokens.iter_mut().enumerate() {
            if self.kind(id) == TokenKind::UserDefined {
                *token = token.replace(MARK, " ");
            }
        }
        tokens
    }

    fn file<M: Serialize>(&self, model: M, tokens: &[String], byte_fallback: bool) -> TokenizerFile<M> {
        let mut file = TokenizerFile::new(model);
        let steps = self.normalizer();
        let only_marks = steps.len() == 1;
        file.normalizer = json!({ "type": "Sequence", "normalizers": steps });
        file.added_tokens = (0..tokens.len())
            .filter_map(|id| match self.kind(id) {
                TokenKind::Control | TokenKind::Unknown => Some(added_token(id, &tokens[id], true, false)),
                TokenKind::UserDefined => Some(added_token(id, &tokens[id], false, only_marks)),
                TokenKind::Normal | TokenKind::Unused | TokenKind::Byte => None,
            })
            .collect();
        let mut steps = vec![json!({ "type": "Replace", "pattern": { "String": MARK }, "content": " " })];
        if byte_fallback {
            steps.push(json!({ "type": "ByteFallback" }));
        }
        steps.push(json!({ "type": "Fuse" }));
        if self.add_space_prefix {
            steps.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
        }
        file.decoder = json!({ "type": "Sequence", "decoders": steps });
        file
    }

    fn normalizer(&self) -> Vec<Value> {
        let replace =
            |pattern: Value, content: &str| json!({ "type": "Replace", "pattern": pattern, "content": content });
        let mut steps = Vec::new();
        if !self.replacements.is_empty() {
            let table = BASE64_STANDARD.encode(&self.replacements);
            steps.push(json!({ "type": "Precompiled", "precompiled_charsmap": table }));
        }
        if self.remove_extra_spaces {
            steps.push(replace(json!({ "Regex": "^ +| +$" }), ""));
            steps.push(replace(json!({ "Regex": " {2,}" }), " "));
        }
        if self.add_space_prefix {
            steps.push(json!({ "type": "Prepend", "prepend": MARK }));
        }
        steps.push(replace(json!({ "String": " " }), MARK));
        steps
    }
}

/// A Unigram model.
#[derive(Serialize)]
pub(crate) struct UnigramModel<'a> {
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub unk_id: Option<usize>,
    /// Pieces with their scores; the place is the id.
    pub vocab: Vec<(&'a str, f64)>,
    pub byte_fallback: bool,
}
