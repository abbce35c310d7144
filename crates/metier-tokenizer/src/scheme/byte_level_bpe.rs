//! Byte-level BPE out of a vocabulary and its merges.

use super::alphabet::character_of;
use metier_core::{Error, Fault, Place, Result};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::{Value, json};
use std::collections::HashMap;

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
pub const PRE_TOKENIZERS: [&str; 2] = ["gpt-2", "smollm"];

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
        let pre_tokenizer = pre_tokenizer(&self.pre).unwrap_or_else(|| {
            let message = format!("the pre-tokenizer `{}` is not known", self.pre);
            let hint = format!("known: {}", PRE_TOKENIZERS.join(", "));
            faults.push(Fault::new(Place::key("tokenizer.ggml.pre"), message).hint(hint));
            Value::Null
        });
        if !self.kinds.is_empty() && self.kinds.len() != self.tokens.len() {
            faults.push(Fault::new(
                Place::key("tokenizer.ggml.token_type"),
                format!("{} kinds are given for {} tokens", self.kinds.len(), self.tokens.len()),
            ));
        }
        let mut ids = HashMap::with_capacity(self.tokens.len());
        for (id, token) in self.tokens.iter().enumerate() {
            if let Some(first) = ids.insert(token.as_str(), id) {
                faults.push(Fault::new(
                    Place::key("tokenizer.ggml.tokens"),
                    format!("`{token}` stands twice, at {first} and {id}"),
                ));
            }
        }
        let mut merges = Vec::with_capacity(self.merges.len());
        for (place, merge) in self.merges.iter().enumerate() {
            match merge.split_once(' ').filter(|(left, right)| {
                let known = |token: &str| ids.contains_key(token);
                known(left) && known(right) && known(&format!("{left}{right}"))
            }) {
                Some(pair) => merges.push(pair),
                None => faults.push(Fault::new(
                    Place::key("tokenizer.ggml.merges"),
                    format!("merge {place}, `{merge}`, does not make a token out of two of the vocabulary"),
                )),
            }
        }
        if faults.len() > MAXIMUM_FAULTS {
            let more = faults.len() - MAXIMUM_FAULTS;
            faults.truncate(MAXIMUM_FAULTS);
            faults.push(Fault::new(Place::key("tokenizer.ggml"), format!("{more} more faults are not shown")));
        }
        Error::collect((), faults)?;
        let file = File {
            version: "1.0",
            truncation: Value::Null,
            padding: Value::Null,
            added_tokens: self.added_tokens(),
            normalizer: Value::Null,
            pre_tokenizer,
            post_processor: Value::Null,
            decoder: byte_level(true),
            model: Model {
                kind: "BPE",
                dropout: Value::Null,
                unk_token: Value::Null,
                continuing_subword_prefix: Value::Null,
                end_of_word_suffix: Value::Null,
                fuse_unk: false,
                byte_fallback: false,
                ignore_merges: false,
                vocab: Vocabulary(&self.tokens),
                merges,
            },
        };
        serde_json::to_string(&file).map_err(|error| Error::program(format!("a tokenizer does not serialize: {error}")))
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
        let kind = |id: usize| self.kinds.get(id).copied().unwrap_or(TokenKind::Normal);
        self.tokens
            .iter()
            .enumerate()
            .filter_map(|(id, content)| {
                let special = match kind(id) {
                    TokenKind::Control | TokenKind::Unknown => true,
                    TokenKind::UserDefined => false,
                    TokenKind::Normal | TokenKind::Unused | TokenKind::Byte => return None,
                };
                Some(json!({
                    "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": special,
                }))
            })
            .collect()
    }
}

const MAXIMUM_FAULTS: usize = 20;

fn pre_tokenizer(name: &str) -> Option<Value> {
    match name {
        "gpt-2" => Some(byte_level(false)),
        "smollm" => Some(json!({
            "type": "Sequence",
            "pretokenizers": [{ "type": "Digits", "individual_digits": true }, byte_level(false)],
        })),
        _ => None,
    }
}

fn byte_level(add_prefix_space: bool) -> Value {
    json!({ "type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": true, "use_regex": true })
}

#[derive(Serialize)]
struct File<'a> {
    version: &'static str,
    truncation: Value,
    padding: Value,
    added_tokens: Vec<Value>,
    normalizer: Value,
    pre_tokenizer: Value,
    post_processor: Value,
    decoder: Value,
    model: Model<'a>,
}

#[derive(Serialize)]
struct Model<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    dropout: Value,
    unk_token: Value,
    continuing_subword_prefix: Value,
    end_of_word_suffix: Value,
    fuse_unk: bool,
    byte_fallback: bool,
    ignore_merges: bool,
    vocab: Vocabulary<'a>,
    merges: Vec<(&'a str, &'a str)>,
}

/// Tokens with their ids, in the order of the ids.
struct Vocabulary<'a>(&'a [String]);

impl Serialize for Vocabulary<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (id, token) in self.0.iter().enumerate() {
            map.serialize_entry(token, &id)?;
        }
        map.end()
    }
}
