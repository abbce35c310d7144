use super::{Span, Tag, Tagger, whole};
use crate::layout::{Layout, is_space};
use metier_core::part::{Build, Part};
use metier_core::{Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Within what repetitions are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The whole text: `repetitions_v1`.
    Document,
    /// Each line with its line feed: `paragraph_repetitions_v1`.
    Paragraph,
}

/// # What it does
/// Tags runs in which the same characters stand four times or more, one behind the other.
///
/// # How
/// From each character on, the shortest string without a line feed is taken that stands there at least four times
/// with at most one white space between; the score of its span is how often it stands there. Three more spans over
/// the document give the greatest score, the greatest length and the share of characters in such runs. A place is
/// looked at only where the string's first byte occurs again. The time grows with the square of a line's length in
/// the worst case.
///
/// # When to use
/// Against rulers, padded tables and text that a broken program wrote again and again.
///
/// # Differs from the paper in
/// Nothing known of Dolma's `repetitions_v1` and `paragraph_repetitions_v1`.
///
/// # Source
/// Soldaini et al. 2024, Dolma (arXiv:2402.00159); Dolma 1.2.1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Repetitions {
    /// Within what repetitions are looked for.
    pub scope: Scope,
}

impl Default for Repetitions {
    fn default() -> Self {
        Self { scope: Scope::Paragraph }
    }
}

/// Times that a string must stand behind its first.
const AGAIN: usize = 3;

impl Tag for Repetitions {
    fn name(&self) -> String {
        match self.scope {
            Scope::Document => "repetitions_v1",
            Scope::Paragraph => "paragraph_repetitions_v1",
        }
        .to_owned()
    }

    fn kinds(&self) -> Vec<String> {
        ["repetition", "doc_max_score_repetition", "doc_max_length_repetition", "doc_frac_repetition"]
            .map(str::to_owned)
            .to_vec()
    }

    fn start(&self) -> Box<dyn Tagger> {
        Box::new(self.clone())
    }
}

impl Tagger for Repetitions {
    fn tag(&mut self, layout: &Layout, spans: &mut Vec<Span>) {
        let from = spans.len();
        match self.scope {
            Scope::Document => runs(layout, 0, layout.text(), spans),
            Scope::Paragraph => {
                for line in layout.paragraphs() {
                    runs(layout, line.start as usize, layout.slice(line), spans);
                }
            }
        }
        let found = &spans[from..];
        let most = found.iter().map(|span| span.score).fold(0.0, f64::max);
        let longest = found.iter().map(|span| span.end - span.start).max().unwrap_or_default();
        let covered: usize = found.iter().map(|span| span.end - span.start).sum();
        spans.push(whole(layout, 1, most));
        spans.push(whole(layout, 2, longest as f64));
        spans.push(whole(layout, 3, covered as f64 / layout.characters().max(1) as f64));
    }
}

/// The runs of a text that begins at a byte of the whole.
fn runs(layout: &Layout, offset: usize, text: &str, spans: &mut Vec<Span>) {
    let mut at = 0;
    while at < text.len() {
        match run(text, at) {
            Some((end, length)) => {
                let times = text[at..end].matches(&text[at..at + length]).count();
                spans.push(Span {
                    start: layout.character(offset + at),
                    end: layout.character(offset + end),
                    kind: 0,
                    score: times as f64,
                });
                at = end;
            }
            None => at += text[at..].chars().next().map_or(1, char::len_utf8),
        }
    }
}

/// The end of the run at a byte, and the length of its shortest string.
fn run(text: &str, start: usize) -> Option<(usize, usize)> {
    let bytes = text.as_bytes();
    let first = bytes[start];
    let line = bytes[start..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |end| start + end);
    let longest = (line - start).min((bytes.len() - start) / (AGAIN + 1));
    // The first copy begins at most one white space behind the string.
    let reach = (start + longest + 4).min(bytes.len());
    let mut from = start + 1;
    while let Some(found) = bytes[from..reach].iter().position(|byte| *byte == first).map(|found| from + found) {
        from = found + 1;
        let space = text[..found].chars().next_back().filter(|letter| is_space(*letter)).map_or(0, char::len_utf8);
        for length in [found - start - space.min(found - start), found - start] {
            if length > 0
                && length <= longest
                && let Some(end) = copies(text, start + length, &text[start..start + length], AGAIN)
            {
                return Some((end, length));
            }
        }
    }
    None
}

/// The end of all copies of a string from a byte on, of which there must be `least`.
fn copies(text: &str, at: usize, string: &str, least: usize) -> Option<usize> {
    let rest = &text[at..];
    let space = rest.chars().next().filter(|letter| is_space(*letter)).map_or(0, char::len_utf8);
    // White space between is tried first, as the pattern does.
    for skip in [space, 0] {
        if rest[skip..].starts_with(string) {
            let end = at + skip + string.len();
            if least > 1 {
                if let Some(end) = copies(text, end, string, least - 1) {
                    return Some(end);
                }
            } else {
                return Some(more(text, end, string));
            }
        }
    }
    None
}

/// The end of the copies that follow.
fn more(text: &str, mut at: usize, string: &str) -> usize {
    loop {
        let rest = &text[at..];
        let space = rest.chars().next().filter(|letter| is_space(*letter)).map_or(0, char::len_utf8);
        if rest[space..].starts_with(string) {
            at += space + string.len();
        } else if rest.starts_with(string) {
            at += string.len();
        } else {
            return at;
        }
    }
}

impl Build<dyn Tag> for Repetitions {
    fn build(self, _: &Place) -> Result<Box<dyn Tag>> {
        Ok(Box::new(self))
    }
}

/// The record of `repetitions`.
pub static PART: Part<dyn Tag> = Part::of::<Repetitions>("repetitions", 1);
