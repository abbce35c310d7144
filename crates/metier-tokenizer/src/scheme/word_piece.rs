//! WordPiece vocabularies in `vocab.txt`: a token a line, the number of the line is the id.

use super::tokenizer_file::{TokenizerFile, Vocabulary, added_token, few, ids_of, numbered};
use metier_core::{Error, Place, Result};
use serde::Serialize;
use serde_json::json;

const UNKNOWN: &str = "[UNK]";
const ROLES: [&str; 5] = ["[PAD]", UNKNOWN, "[CLS]", "[SEP]", "[MASK]"];
const PREFIX: &str = "##";

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
    let mut file = TokenizerFile::new(WordPieceModel {
        kind: "WordPiece",
        unk_token: UNKNOWN,
        continuing_subword_prefix: PREFIX,
        max_input_chars_per_word: 100,
        vocab: Vocabulary(numbered(&tokens)),
    });
    let mut added: Vec<_> = ROLES.iter().filter_map(|role| Some((*ids.get(role)?, *role))).collect();
    added.sort_unstable();
    file.added_tokens = added.into_iter().map(|(id, role)| added_token(id, role, true, false)).collect();
    file.normalizer = json!({
        "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null,
        "lowercase": lowercase,
    });
    file.pre_tokenizer = json!({ "type": "BertPreTokenizer" });
    file.decoder = json!({ "type": "WordPiece", "prefix": PREFIX, "cleanup": true });
    if let (Some(&begin), Some(&end)) = (ids.get("[CLS]"), ids.get("[SEP]")) {
        file.post_processor = json!({ "type": "BertProcessing", "sep": ["[SEP]", end], "cls": ["[CLS]", begin] });
    }
    file.to_json()
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
