//! WordPiece vocabularies in `vocab.txt`: a token a line, the number of the line is the id.

use super::tokenizer_file::{TokenizerFile, Vocabulary, added_token, few, ids_of, numbered};
use metier_core::{Error, Place, Result};
use serde::Serialize;
use serde_json::{Value, json};

pub(crate) const UNKNOWN: &str = "[UNK]";
/// The special tokens of BERT, in its order.
pub(crate) const ROLES: [&str; 5] = ["[PAD]", UNKNOWN, "[CLS]", "[SEP]", "[MASK]"];
/// Before tokens inside words.
pub(crate) const PREFIX: &str = "##";

/// The `tokenizer.json` that encodes as BERT does with this `vocab.txt`.
///
/// The file does not say whether letters are made small and lose their accents: they do when no token but those in
/// brackets has a capital letter.
pub fn word_piece_json(text: &str) -> Result<String> {
    let mut tokens: Vec<String> = text.lines().map(str::to_owned).collect();
    while tokens.last().is_some_and(String::is_empty) {
        tokens.pop();
    }
    let mut faults = Vec::new();
    let ids = ids_of(&tokens, "vocab.txt", &mut faults);
    Error::collect((), few(faults, "vocab.txt"))?;
    if !ids.contains_key(UNKNOWN) {
        return Err(Error::user(Place::key("vocab.txt"), format!("the token {UNKNOWN} is missing"))
            .hint("a WordPiece vocabulary has a token a line, among them [UNK]"));
    }
    let in_brackets = |token: &str| token.starts_with('[') && token.ends_with(']');
    let lowercase = !tokens.iter().any(|token| !in_brackets(token) && token.chars().any(char::is_uppercase));
    let mut special: Vec<_> = ROLES.iter().filter_map(|role| Some((*ids.get(role)?, *role))).collect();
    special.sort_unstable();
    written(&tokens, &special, lowercase)
}

/// The `tokenizer.json` of these tokens, the special ones with their ids.
pub(crate) fn written(tokens: &[String], special: &[(usize, &str)], lowercase: bool) -> Result<String> {
    let mut file = TokenizerFile::new(WordPieceModel {
        kind: "WordPiece",
        unk_token: UNKNOWN,
        continuing_subword_prefix: PREFIX,
        max_input_chars_per_word: 100,
        vocab: Vocabulary(numbered(tokens)),
    });
    file.added_tokens = special.iter().map(|&(id, role)| added_token(id, role, true, false)).collect();
    file.normalizer = normalizer(lowercase);
    file.pre_tokenizer = json!({ "type": "BertPreTokenizer" });
    file.decoder = json!({ "type": "WordPiece", "prefix": PREFIX, "cleanup": true });
    let place = |name: &str| special.iter().find(|(_, role)| *role == name).map(|(id, _)| *id);
    if let (Some(begin), Some(end)) = (place("[CLS]"), place("[SEP]")) {
        file.post_processor = json!({ "type": "BertProcessing", "sep": ["[SEP]", end], "cls": ["[CLS]", begin] });
    }
    file.to_json()
}

/// What is done to texts.
pub(crate) fn normalizer(lowercase: bool) -> Value {
    json!({
        "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null,
        "lowercase": lowercase,
    })
}

#[derive(Serialize)]
struct WordPieceModel<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    unk_token: &'static str,
    continuing_subword_prefix: &'static str,
    max_input_chars_per_word: usize,
    vocab: Vocabulary<'a>,
}
