//! Any file that holds a vocabulary.

use super::{ByteRanks, HuggingFace, sentence_piece, word_piece_json};
use metier_core::{Error, Result};
use std::path::Path;

/// The tokenizer in a file, whichever of the known forms it has.
pub fn from_file(path: &Path) -> Result<HuggingFace> {
    HuggingFace::from_json(&json_of_file(path)?).map_err(|error| error.in_file(path))
}

/// The `tokenizer.json` that encodes as the vocabulary in a file does: a `tokenizer.json` itself, a SentencePiece
/// `.model`, Mistral's `tekken.json`, a tiktoken file named after its encoding (`cl100k_base.tiktoken`), or a
/// WordPiece `vocab.txt`. Its content tells which it is.
pub fn json_of_file(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(|error| Error::io(path, "read the tokenizer", &error))?;
    json_of(&bytes, path).map_err(|error| error.in_file(path))
}

fn json_of(bytes: &[u8], path: &Path) -> Result<String> {
    // Field 1, a message: how every SentencePiece model begins, and no text of the other forms.
    if bytes.first() == Some(&0x0a) && bytes.get(2) == Some(&0x0a) {
        return sentence_piece::read(bytes)?.to_json();
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        Error::file(path, format!("the file is neither a SentencePiece model nor text: {error}"))
            .hint("known: tokenizer.json, SentencePiece .model, tekken.json, .tiktoken, vocab.txt")
    })?;
    if text.trim_start().starts_with('{') {
        let keys: Keys = serde_json::from_str(text).unwrap_or_default();
        let is_tekken = keys.config.is_some() && keys.vocab.is_some() && keys.model.is_none();
        return if is_tekken { ByteRanks::from_tekken(text)?.to_json() } else { Ok(text.to_owned()) };
    }
    let is_ranks = text
        .lines()
        .next()
        .and_then(|line| line.split_once(' '))
        .is_some_and(|(_, rank)| !rank.is_empty() && rank.bytes().all(|byte| byte.is_ascii_digit()));
    if is_ranks {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        return ByteRanks::from_tiktoken(text, &name)?.to_json();
    }
    word_piece_json(text)
}

/// The keys that tell a Tekken file from a `tokenizer.json`.
#[derive(Default, serde::Deserialize)]
struct Keys {
    config: Option<serde::de::IgnoredAny>,
    vocab: Option<serde::de::IgnoredAny>,
    model: Option<serde::de::IgnoredAny>,
}
