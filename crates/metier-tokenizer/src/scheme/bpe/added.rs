//! Tokens that are found in a text before it is split.

use aho_corasick::{AhoCorasick, MatchKind};
use metier_core::data::TokenId;
use serde_json::Value;
use tokenizers::Tokenizer;

/// Added tokens in one automaton; of several at one place the longest is found.
pub(super) struct Added {
    automaton: Option<AhoCorasick>,
    ids: Vec<TokenId>,
}

impl Added {
    /// The added tokens of a `tokenizer.json`, or only those that are not special; `None` when one asks for more than
    /// to be found as it is written.
    pub(super) fn of(json: &Value, tokenizer: &Tokenizer, special: bool) -> Option<Self> {
        let tokens = json["added_tokens"].as_array().map(Vec::as_slice).unwrap_or_default();
        if tokens.iter().any(|token| ["single_word", "lstrip", "rstrip"].iter().any(|key| token[*key] == true))
            || tokens.windows(2).any(|pair| pair[0]["normalized"] != pair[1]["normalized"])
        {
            return None;
        }
        let contents: Vec<&str> = tokens
            .iter()
            .filter(|token| special || token["special"] != true)
            .map(|token| token["content"].as_str())
            .collect::<Option<_>>()?;
        if contents.iter().any(|content| content.is_empty()) {
            return None;
        }
        let ids = contents.iter().map(|content| tokenizer.token_to_id(content)).collect::<Option<_>>()?;
        let automaton = if contents.is_empty() {
            None
        } else {
            Some(AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(contents).ok()?)
        };
        Some(Self { automaton, ids })
    }

    /// Calls `part` with each piece of text that has no added token in it, and the token that follows it.
    pub(super) fn split(&self, text: &str, mut part: impl FnMut(&str, Option<TokenId>)) {
        let mut from = 0;
        for found in self.automaton.iter().flat_map(|automaton| automaton.find_iter(text)) {
            part(&text[from..found.start()], self.ids.get(found.pattern().as_usize()).copied());
            from = found.end();
        }
        part(&text[from..], None);
    }
}
