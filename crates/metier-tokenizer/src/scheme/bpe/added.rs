//! Tokens that are found in a text before it is split.

use crate::scheme::normalize::Normalizer;
use aho_corasick::{AhoCorasick, MatchKind};
use metier_core::data::TokenId;
use serde_json::Value;
use std::ops::Range;
use tokenizers::{NormalizedString, Normalizer as _, Tokenizer};

/// Added tokens of two kinds: those that are looked for in the text as it was given, and those that are looked for in what
/// the first leave, once it is normalized.
pub(in crate::scheme) struct Added {
    pub raw: Found,
    pub normalized: Found,
}

/// Tokens in one automaton; of several at one place the longest is found.
#[derive(Default)]
pub(in crate::scheme) struct Found {
    automaton: Option<AhoCorasick>,
    tokens: Vec<Token>,
    /// Read special tokens as such; else they are plain text.
    special: bool,
}

struct Token {
    id: TokenId,
    is_special: bool,
    /// It takes the white space before it, or after it, along.
    left: bool,
    right: bool,
}

impl Added {
    /// The added tokens of a `tokenizer.json`, the special ones read as such or as plain text; `None` when one asks for more
    /// than is done here.
    pub(in crate::scheme) fn of(json: &Value, tokenizer: &Tokenizer, special: bool) -> Option<Self> {
        let tokens = json["added_tokens"].as_array().map(Vec::as_slice).unwrap_or_default();
        let (normalized, raw): (Vec<&Value>, Vec<&Value>) =
            tokens.iter().partition(|token| token["normalized"] == true);
        let mut patterns = Vec::with_capacity(normalized.len());
        for token in &normalized {
            let mut content = NormalizedString::from(token["content"].as_str()?);
            if let Some(normalizer) = tokenizer.get_normalizer() {
                normalizer.normalize(&mut content).ok()?;
            }
            patterns.push(content.get().to_owned());
        }
        let contents = raw.iter().map(|token| token["content"].as_str()).collect::<Option<Vec<_>>>()?;
        Some(Self {
            raw: Found::of(&raw, &contents, tokenizer, special)?,
            normalized: Found::of(&normalized, &patterns, tokenizer, special)?,
        })
    }

    /// Whether a token takes white space along, so that it stands for more than its own bytes.
    pub(in crate::scheme) fn takes_space(&self) -> bool {
        self.raw.tokens.iter().chain(&self.normalized.tokens).any(|token| token.left || token.right)
    }

    /// Calls `part` with each piece of normalized text that has no added token in it, and the token that follows it.
    pub(in crate::scheme) fn split(
        &self,
        text: &str,
        normalizer: &Normalizer,
        mut part: impl FnMut(&str, Option<TokenId>),
    ) {
        self.raw.split(text, |outer, token| {
            let outer = normalizer.apply(&text[outer], false);
            self.normalized.split(&outer.text, |inner, token| part(&outer.text[inner], token.map(|(id, _)| id)));
            if let Some((id, _)) = token {
                part("", Some(id));
            }
        });
    }
}

impl Found {
    fn of<P: AsRef<str>>(tokens: &[&Value], patterns: &[P], tokenizer: &Tokenizer, special: bool) -> Option<Self> {
        let asks = |token: &Value, key: &str| token[key] == true;
        if tokens.iter().any(|token| asks(token, "single_word"))
            || patterns.iter().any(|pattern| pattern.as_ref().is_empty())
        {
            return None;
        }
        if tokens.is_empty() {
            return Some(Self::default());
        }
        let known = tokens
            .iter()
            .map(|token| {
                Some(Token {
                    id: tokenizer.token_to_id(token["content"].as_str()?)?,
                    is_special: asks(token, "special"),
                    left: asks(token, "lstrip"),
                    right: asks(token, "rstrip"),
                })
            })
            .collect::<Option<_>>()?;
        let patterns = patterns.iter().map(AsRef::as_ref);
        let automaton = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(patterns).ok()?;
        Some(Self { automaton: Some(automaton), tokens: known, special })
    }

    /// Calls `part` with each range that has no token in it, and the token that follows with its end.
    pub(in crate::scheme) fn split(&self, text: &str, mut part: impl FnMut(Range<usize>, Option<(TokenId, usize)>)) {
        let mut from = 0;
        for found in self.automaton.iter().flat_map(|automaton| automaton.find_iter(text)) {
            let Some(token) = self.tokens.get(found.pattern().as_usize()) else { continue };
            if token.is_special && !self.special {
                continue;
            }
            let (mut start, mut end) = (found.start(), found.end());
            if token.left {
                start = text[..start].trim_end().len();
            }
            if token.right {
                end = text.len() - text[end..].trim_start().len();
            }
            part(from..start.max(from), Some((token.id, end)));
            from = end;
        }
        part(from.min(text.len())..text.len(), None);
    }
}
