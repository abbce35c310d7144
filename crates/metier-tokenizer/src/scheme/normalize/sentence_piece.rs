//! The normal form that SentencePiece makes.
//!
//! Source: `Normalizer::Normalize` and `Normalizer::NormalizePrefix` in `src/normalizer.cc` of SentencePiece.

use super::{Charsmap, Normalized};
use crate::scheme::pieces::MARK;
use aho_corasick::{AhoCorasick, Anchored, Input, MatchKind};

/// How a `.model` normalizes.
pub(in crate::scheme) struct SentencePiece {
    charsmap: Option<Charsmap>,
    /// Pieces that the user asked for; they stay as they are.
    kept: Option<AhoCorasick>,
    add_space_prefix: bool,
    remove_extra_spaces: bool,
}

impl SentencePiece {
    /// `None` when the table of replacements is none, or the pieces that are kept do not make an automaton.
    pub(in crate::scheme) fn new(
        replacements: &[u8],
        kept: &[&str],
        add_space_prefix: bool,
        remove_extra_spaces: bool,
    ) -> Option<Self> {
        let charsmap = if replacements.is_empty() { None } else { Some(Charsmap::of(replacements)?) };
        let kept = if kept.is_empty() { None } else { Some(longest_first(kept)?) };
        Some(Self { charsmap, kept, add_space_prefix, remove_extra_spaces })
    }

    pub(super) fn apply<'a>(&self, text: &'a str, with_ends: bool) -> Normalized<'a> {
        let mut at = 0;
        if self.remove_extra_spaces {
            while let Some((length, " ")) = self.next(text, at) {
                at += length;
            }
        }
        let mut out = Output { text: String::new(), ends: with_ends.then(Vec::new) };
        if at < text.len() {
            out.text.reserve(text.len() + text.len() / 2);
            if self.add_space_prefix {
                out.push(MARK, at);
            }
        }
        let mut after_space = self.remove_extra_spaces;
        while let Some((length, mut part)) = self.next(text, at) {
            if after_space {
                part = part.trim_start_matches(' ');
            }
            at += length;
            for (number, word) in part.split(' ').enumerate() {
                if number > 0 {
                    out.push(MARK, at);
                }
                out.push(word, at);
            }
            if !part.is_empty() {
                after_space = part.ends_with(' ');
            }
            after_space &= self.remove_extra_spaces;
        }
        if self.remove_extra_spaces {
            let length = out.text.trim_end_matches(MARK).len();
            out.text.truncate(length);
        }
        Normalized::changed(out.text, out.ends)
    }

    /// The number of bytes at `at` that are replaced together, and by what; at the end, nothing.
    fn next<'a>(&'a self, text: &'a str, at: usize) -> Option<(usize, &'a str)> {
        let rest = text.get(at..).filter(|rest| !rest.is_empty())?;
        if let Some(kept) = &self.kept
            && let Some(found) = kept.find(Input::new(rest).anchored(Anchored::Yes))
        {
            return Some((found.end(), &rest[..found.end()]));
        }
        if let Some(found) = self.charsmap.as_ref().and_then(|charsmap| charsmap.longest(rest.as_bytes())) {
            return Some(found);
        }
        let length = rest.ceil_char_boundary(1);
        Some((length, &rest[..length]))
    }
}

/// An automaton that finds the longest of these at a place.
pub(in crate::scheme) fn longest_first(patterns: &[&str]) -> Option<AhoCorasick> {
    let builder = AhoCorasick::builder()
        .match_kind(MatchKind::LeftmostLongest)
        .start_kind(aho_corasick::StartKind::Both)
        .build(patterns);
    builder.ok().filter(|_| patterns.iter().all(|pattern| !pattern.is_empty()))
}

struct Output {
    text: String,
    ends: Option<Vec<usize>>,
}

impl Output {
    /// Adds what comes from the text before `end`.
    fn push(&mut self, part: &str, end: usize) {
        self.text.push_str(part);
        if let Some(ends) = &mut self.ends {
            ends.resize(ends.len() + part.len(), end);
        }
    }
}
