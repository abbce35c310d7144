//! Byte-level BPE out of a vocabulary and its merges.

use super::alphabet::character_of;
use super::split::{self, GPT2, LLAMA3, O200K, QWEN2, TEKKEN};
use super::tokenizer_file::{BpeModel, TokenizerFile, added_token, byte_level, few, ids_of, numbered};
use metier_core::{Error, Fault, Place, Result};
use serde_json::Value;

/// What a token of a GGUF vocabulary is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// Made by merges.
    Normal,
    /// Stands for what cannot be encoded.
    Unknown,
    /// Not text: begins or ends a turn, separates files.
    Control,
    /// Text that is always one token.
    UserDefined,
    /// Never made.
    Unused,
    /// One byte.
    Byte,
}

impl TokenKind {
    /// The kind that `tokenizer.ggml.token_type` writes as `number`.
    pub fn from_gguf(number: i64) -> Option<Self> {
        Some(match number {
            1 => Self::Normal,
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => return None,
        })
    }
}

/// The values of `tokenizer.ggml.pre` that are known, alphabetical.
pub const PRE_TOKENIZERS: [&str; 6] = ["gpt-2", "gpt-4o", "llama-bpe", "qwen2", "smollm", "tekken"];

/// Those of which llama.cpp looks for a whole word in the vocabulary before it merges.
pub const WHOLE_WORDS: [&str; 2] = ["llama-bpe", "tekken"];

/// A byte-level BPE vocabulary as GGUF files carry it.
///
/// Text is split by the pre-tokenizer, each part is written in the byte alphabet, and the merges are applied
/// in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ByteLevelBpe {
    /// The tokens in the byte alphabet; the place is the id.
    pub tokens: Vec<String>,
    /// What each token is; empty when all are [`TokenKind::Normal`].
    pub kinds: Vec<TokenKind>,
    /// Pairs that are merged, first to last: two tokens with a space between them.
    pub merges: Vec<String>,
    /// How text is split before merging, one of [`PRE_TOKENIZERS`].
    pub pre: String,
}

impl ByteLevelBpe {
    /// The `tokenizer.json` that encodes alike.
    ///
    /// Tokens given twice, merges of tokens that the vocabulary lacks and an unknown pre-tokenizer are refused,
    /// each named.
    pub fn to_json(&self) -> Result<String> {
        let mut faults = Vec::new();
        if !PRE_TOKENIZERS.contains(&&*self.pre) {
            let message = format!("the pre-tokenizer `{}` is not known", self.pre);
            let hint = format!("known: {}", PRE_TOKENIZERS.join(", "));
            faults.push(Fault::new(Place::key("tokenizer.ggml.pre"), message).hint(hint));
        }
        if !self.kinds.is_empty() && self.kinds.len() != self.tokens.len() {
            faults.push(Fault::new(
                Place::key("tokenizer.ggml.token_type"),
                format!("{} kinds are given for {} tokens", self.kinds.len(), self.tokens.len()),
            ));
        }
        let ids = ids_of(&self.tokens, "tokenizer.ggml.tokens", &mut faults);
        let mut merges = Vec::with_capacity(self.merges.len());
        let mut made = String::new();
        for (place, merge) in self.merges.iter().enumerate() {
            let pair = merge.split_once(' ').filter(|(left, right)| {
                made.clear();
                made.extend([*left, *right]);
                [left, right, made.as_str()].iter().all(|token| ids.contains_key(token))
            });
            match pair {
                Some(pair) => merges.push(pair),
                None => faults.push(Fault::new(
                    Place::key("tokenizer.ggml.merges"),
                    format!("merge {place}, `{merge}`, does not make a token out of two of the vocabulary"),
                )),
            }
        }
        Error::collect((), few(faults, "tokenizer.ggml"))?;
        self.file(BpeModel::new(numbered(&self.tokens), merges)).to_json()
    }

    /// The same file with a vocabulary of added tokens only, and no merges.
    pub(super) fn around(&self) -> Result<Value> {
        let added = self.added().map(|(id, token, _)| (token, id)).collect();
        serde_json::to_value(self.file(BpeModel::new(added, Vec::new())))
            .map_err(|error| Error::program(format!("a tokenizer does not serialize: {error}")))
    }

    fn file<'a>(&self, mut model: BpeModel<'a>) -> TokenizerFile<BpeModel<'a>> {
        model.ignore_merges = WHOLE_WORDS.contains(&&*self.pre);
        let mut file = TokenizerFile::new(model);
        file.added_tokens = self.added_tokens();
        file.pre_tokenizer = pre_tokenizer(&self.pre).unwrap_or_default();
        file.decoder = byte_level(true, true);
        file
    }

    /// Bytes that no token stands for alone: they vanish when a text holds them. Bytes that UTF-8 never uses
    /// are not counted.
    pub fn missing_bytes(&self) -> Vec<u8> {
        let known: std::collections::HashSet<&str> = self.tokens.iter().map(String::as_str).collect();
        (0..=0xf4)
            .filter(|byte| !matches!(byte, 0xc0 | 0xc1))
            .filter(|&byte| !known.contains(character_of(byte).to_string().as_str()))
            .collect()
    }

    fn added_tokens(&self) -> Vec<Value> {
        self.added().map(|(id, content, special)| added_token(id, content, special, false)).collect()
    }

    /// Tokens that are found in a text before it is split, with their ids, and whether they are special.
    pub(super) fn added(&self) -> impl Iterator<Item = (usize, &str, bool)> {
        self.tokens.iter().zip(&self.kinds).enumerate().filter_map(|(id, (content, kind))| {
            let special = match kind {
                TokenKind::Control | TokenKind::Unknown => true,
                TokenKind::UserDefined => false,
                TokenKind::Normal | TokenKind::Unused | TokenKind::Byte => return None,
            };
            Some((id, content.as_str(), special))
        })
    }
}

fn pre_tokenizer(name: &str) -> Option<Value> {
    Some(match name {
        "gpt-2" => split::by_pattern(GPT2),
        "gpt-4o" => split::by_pattern(O200K),
        "llama-bpe" => split::by_pattern(LLAMA3),
        "qwen2" => split::by_pattern(QWEN2),
        "smollm" => split::by_digit(GPT2),
        "tekken" => split::by_pattern(TEKKEN),
        _ => return None,
    })
}
