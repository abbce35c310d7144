//! Any file that holds a vocabulary.

use super::{ByteRanks, HuggingFace, sentence_piece, word_piece_json};
use metier_core::seam::Tokenize;
use metier_core::{Error, Place, Result};
use serde_json::{Value, json};
use std::path::Path;

/// The tokenizer in a file, whichever of the known forms it has.
pub fn from_file(path: &Path) -> Result<HuggingFace> {
    from_file_with_added(path, &Value::Null).map(|(tokenizer, _)| tokenizer)
}

/// The same with the tokens that a `tokenizer_config.json` adds in `added_tokens_decoder`, an object from ids to tokens, and the
/// `tokenizer.json` that encodes alike.
pub fn from_file_with_added(path: &Path, added: &Value) -> Result<(HuggingFace, String)> {
    read_with_added(path, &read(path)?, added)
}

/// The tokenizer in the bytes of a file whose name is `path`; no other file is read.
pub fn from_bytes(path: &Path, bytes: &[u8]) -> Result<HuggingFace> {
    read_with_added(path, bytes, &Value::Null).map(|(tokenizer, _)| tokenizer)
}

fn read_with_added(path: &Path, bytes: &[u8], added: &Value) -> Result<(HuggingFace, String)> {
    let pieces = if is_sentence_piece(bytes) {
        Some(sentence_piece::read(bytes).map_err(|error| error.in_file(path))?)
    } else {
        None
    };
    let json = match &pieces {
        Some(pieces) => pieces.to_json(),
        None => json_of(bytes, path),
    };
    let json = json.map_err(|error| error.in_file(path))?;
    let settings = path.with_file_name("tokenizer_config.json");
    let names = pieces.as_ref().map_or(&[][..], |pieces| &pieces.tokens);
    let json = with_added(json, added, names).map_err(|error| error.in_file(&settings))?;
    let tokenizer = match &pieces {
        Some(pieces) => HuggingFace::from_described_pieces(pieces, &json),
        None => HuggingFace::from_json(&json),
    };
    let tokenizer = tokenizer.map_err(|error| error.in_file(path))?;
    for (id, token) in added.as_object().into_iter().flatten() {
        let content = token["content"].as_str().unwrap_or_default();
        if let Some(found) = tokenizer.id_of(content).filter(|found| found.to_string() != *id) {
            let message = format!("`{content}` has the id {found} in {}", path.display());
            let place = Place::file(&settings).with_key(format!("added_tokens_decoder.{id}"));
            return Err(
                Error::user(place, message).hint("tokens are added after the last id of the vocabulary, without a gap")
            );
        }
    }
    Ok((tokenizer, json))
}

/// The `tokenizer.json` with more added tokens. `pieces` are those of the vocabulary as their file writes them.
fn with_added(text: String, added: &Value, pieces: &[String]) -> Result<String> {
    let Some(added) = added.as_object().filter(|added| !added.is_empty()) else { return Ok(text) };
    let mut json: Value = serde_json::from_str(&text).map_err(|error| {
        Error::user(Place::default().at(error.line(), error.column()), format!("this is no JSON: {error}"))
    })?;
    let known = json["added_tokens"].as_array().cloned().unwrap_or_default();
    let is_known = |content: &str, special: bool| {
        known.iter().any(|token| token["content"] == content)
            || (!special && pieces.iter().any(|piece| piece == content))
    };
    let mut more: Vec<(u64, Value)> = Vec::new();
    for (key, token) in added {
        let place = || Place::key(format!("added_tokens_decoder.{key}"));
        let id = key.parse().map_err(|_| Error::user(place(), format!("`{key}` is no id")))?;
        let content = token["content"].as_str().ok_or_else(|| Error::user(place(), "the token has no `content`"))?;
        let special = token["special"] == true;
        if !is_known(content, special) {
            let asks = |key: &str| token[key] == true;
            more.push((
                id,
                json!({
                    "id": id, "content": content, "single_word": asks("single_word"), "lstrip": asks("lstrip"),
                    "rstrip": asks("rstrip"), "normalized": asks("normalized"), "special": special,
                }),
            ));
        }
    }
    more.sort_unstable_by_key(|(id, _)| *id);
    json["added_tokens"] = known.into_iter().chain(more.into_iter().map(|(_, token)| token)).collect();
    Ok(json.to_string())
}

/// The `tokenizer.json` that encodes as the vocabulary in a file does: a `tokenizer.json` itself, a SentencePiece
/// `.model`, Mistral's `tekken.json`, a tiktoken file named after its encoding (`cl100k_base.tiktoken`), or a
/// WordPiece `vocab.txt`. Its content tells which it is.
pub fn json_of_file(path: &Path) -> Result<String> {
    json_of(&read(path)?, path).map_err(|error| error.in_file(path))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| Error::io(path, "read the tokenizer", &error))
}

/// Whether the file begins with field 1, a message, as every SentencePiece model does, and no text of the other forms.
fn is_sentence_piece(bytes: &[u8]) -> bool {
    bytes.first() == Some(&0x0a) && bytes.get(2) == Some(&0x0a)
}

fn json_of(bytes: &[u8], path: &Path) -> Result<String> {
    if is_sentence_piece(bytes) {
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
