use super::{Span, Tag, Tagger, refuse_version, whole};
use crate::layout::Layout;
use metier_core::part::{Build, Part};
use metier_core::{Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::sync::Arc;

/// # What it does
/// Tags what the C4 rules look for: lines without a full stop, lines of fewer than three words, curly braces, "lorem
/// ipsum", "javascript" and blocked words.
///
/// # How
/// On the lower-cased text. A line is a span when it does not end (white space aside) in `.`, `?`, `!` or `"`, or
/// when it has fewer than 3 words; the line feed belongs to it. `has_curly_brace`, `has_lorem_ipsum`,
/// `has_javascript` and `has_naughty_word` span the document when they hold; a blocked word is a whole word, a blocked
/// phrase any part of the text. `line_count` has the number of lines as its score. With `version` 1 "javascript"
/// must be a word, with 2 any part of one.
///
/// # When to use
/// On web pages in English.
///
/// # Differs from the paper in
/// Nothing known of Dolma's `c4_v1` and `c4_v2`, with their word list. As there, `c4_v2` counts line borders in the
/// lower-cased text, where U+0130 has two characters, so borders after one are too far to the right. As there, a line
/// feed at the end gives a last line of no characters.
///
/// # Source
/// Raffel et al. 2019, Exploring the Limits of Transfer Learning (arXiv:1910.10683), section 2.2; Dolma 1.2.1
/// (Soldaini et al. 2024, arXiv:2402.00159). Words: List of Dirty, Naughty, Obscene and Otherwise Bad Words
/// (Shutterstock, CC BY 4.0), English, as Dolma ships it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct C4 {
    /// Dolma's version of the tagger.
    #[schemars(range(min = 1, max = 2))]
    pub version: u32,
}

impl Default for C4 {
    fn default() -> Self {
        Self { version: 2 }
    }
}

const NO_ENDING: u16 = 0;
const FEW_WORDS: u16 = 1;
const NAUGHTY: u16 = 2;
const JAVASCRIPT: u16 = 3;
const LOREM: u16 = 4;
const CURLY: u16 = 5;
const LINES: u16 = 6;
const KINDS: [&str; 7] = [
    "lines_with_no_ending_punctuation",
    "lines_with_too_few_words",
    "has_naughty_word",
    "has_javascript",
    "has_lorem_ipsum",
    "has_curly_brace",
    "line_count",
];

/// Fewest words of a line.
const WORDS: usize = 3;

/// Blocked words, and which three bytes around a space can be in a phrase.
struct Blocked {
    words: HashSet<&'static [u8]>,
    /// One bit for each [`word_key`] of a word.
    word_keys: Vec<bool>,
    longest: usize,
    phrases: Vec<(&'static [u8], usize)>,
    /// One for each key of the bytes around a phrase's first space.
    space_keys: Vec<bool>,
}

impl Blocked {
    fn new() -> Self {
        let mut out = Self {
            words: HashSet::new(),
            word_keys: vec![false; 1 << 15],
            longest: 0,
            phrases: Vec::new(),
            space_keys: vec![false; 1 << 15],
        };
        for line in include_str!("blocked_words.txt").lines().map(str::as_bytes) {
            if let Some(space) = line.iter().position(|byte| *byte == b' ') {
                out.phrases.push((line, space));
                // A phrase of one letter after its space says nothing of the byte behind it.
                match space_key(line, space) {
                    Some(key) => out.space_keys[key] = true,
                    None => out.space_keys.fill(true),
                }
            } else {
                out.words.insert(line);
                out.word_keys[word_key(line)] = true;
                out.longest = out.longest.max(line.len());
            }
        }
        out
    }

    /// Whether a word, in lower case or not, is blocked. `lower` is memory to write on.
    fn word(&self, word: &[u8], lower: &mut Vec<u8>) -> bool {
        if word.len() > self.longest || !self.word_keys[word_key(word)] {
            return false;
        }
        lower.clear();
        lower.extend(word.iter().map(u8::to_ascii_lowercase));
        self.words.contains(lower.as_slice())
    }

    fn phrase_at(&self, text: &[u8], space: usize) -> bool {
        space_key(text, space).is_none_or(|key| self.space_keys[key])
            && self.phrases.iter().any(|(phrase, before)| {
                space >= *before
                    && text
                        .get(space - before..space - before + phrase.len())
                        .is_some_and(|at| at.eq_ignore_ascii_case(phrase))
            })
    }
}

/// First, second and last byte, without their case.
fn word_key(word: &[u8]) -> usize {
    let byte = |at: usize| usize::from(word.get(at).copied().unwrap_or_default() & 31);
    byte(0) << 10 | byte(1) << 5 | byte(word.len().wrapping_sub(1))
}

/// The byte before a space and the two behind it, without their case.
fn space_key(text: &[u8], space: usize) -> Option<usize> {
    let byte = |at: usize| text.get(at).map(|byte| usize::from(byte & 31));
    Some(byte(space.checked_sub(1)?)? << 10 | byte(space + 1)? << 5 | byte(space + 2)?)
}

struct Worker {
    version: u32,
    blocked: Arc<Blocked>,
    lower: Vec<u8>,
    /// Used for texts whose lower case is more than that of their ASCII letters.
    lowered: Layout,
}

impl Tag for C4 {
    fn name(&self) -> String {
        format!("c4_v{}", self.version)
    }

    fn kinds(&self) -> Vec<String> {
        KINDS.map(str::to_owned).to_vec()
    }

    fn start(&self) -> Box<dyn Tagger> {
        static BLOCKED: std::sync::OnceLock<Arc<Blocked>> = std::sync::OnceLock::new();
        let blocked = Arc::clone(BLOCKED.get_or_init(|| Arc::new(Blocked::new())));
        Box::new(Worker { version: self.version, blocked, lower: Vec::new(), lowered: Layout::default() })
    }
}

/// The two characters beyond ASCII whose lower case has ASCII letters.
const MIXED: [char; 2] = ['\u{130}', '\u{212a}'];

impl Tagger for Worker {
    fn tag(&mut self, layout: &Layout, spans: &mut Vec<Span>) {
        let mixed = !layout.is_ascii() && layout.text().contains(MIXED);
        if mixed {
            self.lowered.set(&layout.text().to_lowercase());
        }
        let lowered = if mixed { &self.lowered } else { layout };
        for (kind, holds) in [
            (CURLY, layout.text().as_bytes().contains(&b'{')),
            (LOREM, contains(lowered.text().as_bytes(), b"lorem ipsum")),
            (JAVASCRIPT, self.javascript(lowered)),
            (NAUGHTY, blocked(&self.blocked, lowered, &mut self.lower)),
        ] {
            if holds {
                spans.push(whole(layout, kind, 1.0));
            }
        }
        let borders = if self.version == 2 { lowered } else { layout };
        lines(borders, spans);
        spans.push(whole(layout, LINES, layout.lines().len() as f64));
    }
}

impl Worker {
    fn javascript(&self, layout: &Layout) -> bool {
        match self.version {
            1 => layout
                .words()
                .iter()
                .any(|word| word.len() == 10 && layout.slice(*word).eq_ignore_ascii_case("javascript")),
            _ => contains(layout.text().as_bytes(), b"javascript"),
        }
    }
}

/// Spans of the lines that are too short or end as no sentence does.
fn lines(layout: &Layout, spans: &mut Vec<Span>) {
    let last = layout.lines().len().saturating_sub(1);
    let (mut start, mut words) = (0, layout.words());
    for (number, line) in layout.lines().iter().enumerate() {
        let mut within = 0;
        while words.get(within).is_some_and(|word| word.start < line.end) {
            within += 1;
        }
        let end = start + layout.width(*line) + usize::from(number < last);
        let ends = within.checked_sub(1).and_then(|last| layout.slice(words[last]).bytes().next_back());
        if !matches!(ends, Some(b'.' | b'?' | b'!' | b'"')) {
            spans.push(Span { start, end, kind: NO_ENDING, score: 1.0 });
        }
        if within < WORDS {
            spans.push(Span { start, end, kind: FEW_WORDS, score: 1.0 });
        }
        words = &words[within..];
        start = end;
    }
}

fn blocked(blocked: &Blocked, layout: &Layout, lower: &mut Vec<u8>) -> bool {
    let text = layout.text().as_bytes();
    layout.words().iter().any(|word| {
        let (start, end) = (word.start as usize, word.end as usize);
        blocked.word(&text[start..end], lower) || (text.get(end) == Some(&b' ') && blocked.phrase_at(text, end))
    })
}

/// Whether the text has this ASCII word in any case. `word` is in lower case.
fn contains(text: &[u8], word: &[u8]) -> bool {
    let (first, second) = (word[0], word[1]);
    text.windows(word.len()).any(|at| at[0] | 0x20 == first && at[1] | 0x20 == second && at.eq_ignore_ascii_case(word))
}

impl Build<dyn Tag> for C4 {
    fn build(self, place: &Place) -> Result<Box<dyn Tag>> {
        refuse_version(place, self.version)?;
        Ok(Box::new(self))
    }
}

/// The record of `c4`.
pub static PART: Part<dyn Tag> = Part::of::<C4>("c4", 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_blocked_phrase_and_word_is_found_wherever_it_stands() {
        let mut worker = C4::default().start();
        let mut layout = Layout::default();
        for word in include_str!("blocked_words.txt").lines() {
            for text in [word.to_owned(), format!("Some {word} here"), format!("one\n{}\ntwo", word.to_uppercase())] {
                layout.set(&text);
                let mut spans = Vec::new();
                worker.tag(&layout, &mut spans);
                assert!(spans.iter().any(|span| span.kind == NAUGHTY), "{text}");
            }
        }
        assert!(C4 { version: 3 }.build(&Place::default()).is_err());
    }
}
