use super::{Span, Tag, Tagger, whole};
use crate::layout::{Layout, is_space, is_word, strip};
use metier_core::part::{Build, Part};
use metier_core::{Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use unicode_segmentation::UnicodeSegmentation;

/// What is counted, and over what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// `bytes_length_v1`.
    Bytes,
    /// `char_length_v1`.
    Characters,
    /// `char_length_strip_ws_v1`: without white space at both ends.
    StrippedCharacters,
    /// `char_length_with_paragraphs_v1`.
    CharactersByParagraph,
    /// `doc_count_v1`: one for each document.
    Documents,
    /// `whitespace_tokenizer_v1`: runs of word characters and runs of others.
    Tokens,
    /// `whitespace_tokenizer_with_paragraphs_v1`.
    TokensByParagraph,
    /// `uniseg_length_v1`: what lies between the word borders of Unicode, spaces too.
    Words,
    /// `uniseg_length_paragraphs_v1`, without spaces and empty paragraphs.
    WordsByParagraph,
    /// `uniseg_length_paragraphs_with_empty_v1`.
    WordsByParagraphWithEmpty,
    /// `uniseg_length_paragraphs_with_doc_length_v1`.
    WordsByParagraphAndDocument,
}

/// All of them.
pub(super) const UNITS: &[Unit] = &[
    Unit::Bytes,
    Unit::Characters,
    Unit::StrippedCharacters,
    Unit::CharactersByParagraph,
    Unit::Documents,
    Unit::Tokens,
    Unit::TokensByParagraph,
    Unit::Words,
    Unit::WordsByParagraph,
    Unit::WordsByParagraphWithEmpty,
    Unit::WordsByParagraphAndDocument,
];

/// # What it does
/// Measures how long a document and its paragraphs are, in bytes, characters, tokens or words.
///
/// # How
/// A paragraph is a line with its line feed; only those with more than white space count. Words lie between the word
/// borders of Unicode's annex 29. A `negative_` attribute has the score with its sign changed, for filters that know
/// only lower bounds.
///
/// # When to use
/// For statistics, and before filters of short paragraphs.
///
/// # Differs from the paper in
/// As in Dolma: tokens are counted by the pieces that lie between them, so their number is one too high, and the
/// document's is the sum of its paragraphs'. Word borders are those of a newer Unicode than Dolma's.
///
/// # Source
/// Soldaini et al. 2024, Dolma (arXiv:2402.00159); Dolma 1.2.1; Unicode Standard Annex 29.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Length {
    /// What is counted, and over what.
    pub unit: Unit,
}

impl Default for Length {
    fn default() -> Self {
        Self { unit: Unit::Characters }
    }
}

impl Tag for Length {
    fn name(&self) -> String {
        match self.unit {
            Unit::Bytes => "bytes_length_v1",
            Unit::Characters => "char_length_v1",
            Unit::StrippedCharacters => "char_length_strip_ws_v1",
            Unit::CharactersByParagraph => "char_length_with_paragraphs_v1",
            Unit::Documents => "doc_count_v1",
            Unit::Tokens => "whitespace_tokenizer_v1",
            Unit::TokensByParagraph => "whitespace_tokenizer_with_paragraphs_v1",
            Unit::Words => "uniseg_length_v1",
            Unit::WordsByParagraph => "uniseg_length_paragraphs_v1",
            Unit::WordsByParagraphWithEmpty => "uniseg_length_paragraphs_with_empty_v1",
            Unit::WordsByParagraphAndDocument => "uniseg_length_paragraphs_with_doc_length_v1",
        }
        .to_owned()
    }

    fn kinds(&self) -> Vec<String> {
        let kinds: &[&str] = match self.unit {
            Unit::Bytes => &["bytes"],
            Unit::Documents => &["docs"],
            Unit::StrippedCharacters => &["length_no_ws"],
            Unit::Characters | Unit::Tokens | Unit::Words => &["length"],
            Unit::CharactersByParagraph | Unit::TokensByParagraph => &["paragraph", "document"],
            Unit::WordsByParagraph | Unit::WordsByParagraphWithEmpty => &["paragraph", "negative_paragraph"],
            Unit::WordsByParagraphAndDocument => &["paragraph", "negative_paragraph", "document", "negative_document"],
        };
        kinds.iter().map(|kind| (*kind).to_owned()).collect()
    }

    fn start(&self) -> Box<dyn Tagger> {
        Box::new(self.clone())
    }
}

impl Tagger for Length {
    fn tag(&mut self, layout: &Layout, spans: &mut Vec<Span>) {
        let text = layout.text();
        let number = match self.unit {
            Unit::Bytes => text.len(),
            Unit::Documents => 1,
            Unit::Characters => layout.characters(),
            Unit::StrippedCharacters => strip(text).chars().count(),
            Unit::Tokens => tokens(text),
            Unit::Words => strip(text).split_word_bounds().count(),
            Unit::CharactersByParagraph => {
                by_paragraph(layout, spans, false, |paragraph| paragraph.chars().count(), false);
                spans.push(whole(layout, 1, layout.characters() as f64));
                return;
            }
            Unit::TokensByParagraph => {
                let sum = by_paragraph(layout, spans, false, tokens, false);
                spans.push(whole(layout, 1, sum as f64));
                return;
            }
            Unit::WordsByParagraph | Unit::WordsByParagraphWithEmpty | Unit::WordsByParagraphAndDocument => {
                let sum = by_paragraph(layout, spans, self.unit == Unit::WordsByParagraphWithEmpty, words, true);
                if self.unit == Unit::WordsByParagraphAndDocument {
                    spans.push(whole(layout, 2, sum as f64));
                    spans.push(whole(layout, 3, 0.0 - sum as f64));
                }
                return;
            }
        };
        spans.push(whole(layout, 0, number as f64));
    }
}

/// A span for each paragraph, and with `negative` one of the opposite score; the sum of the scores.
fn by_paragraph(
    layout: &Layout,
    spans: &mut Vec<Span>,
    with_empty: bool,
    count: impl Fn(&str) -> usize,
    negative: bool,
) -> usize {
    let mut sum = 0;
    let mut start = 0;
    for run in layout.paragraphs() {
        let paragraph = layout.slice(run);
        let end = start + layout.width(run);
        if with_empty || paragraph.contains(|letter| !is_space(letter)) {
            let number = count(paragraph);
            sum += number;
            spans.push(Span { start, end, kind: 0, score: number as f64 });
            if negative {
                spans.push(Span { start, end, kind: 1, score: 0.0 - number as f64 });
            }
        }
        start = end;
    }
    sum
}

/// One more than there are runs of word characters and runs of others without white space.
pub(super) fn tokens(text: &str) -> usize {
    let kind = |letter: char| match letter {
        _ if is_word(letter) => 1,
        // The separators U+001C to U+001F are no white space to the pattern.
        _ if letter.is_whitespace() => 0,
        _ => 2,
    };
    let (mut last, mut count) = (0, 1);
    for letter in text.chars() {
        let now = kind(letter);
        count += usize::from(now != 0 && now != last);
        last = now;
    }
    count
}

/// Unicode's words without those of white space alone.
fn words(text: &str) -> usize {
    strip(text).split_word_bounds().filter(|word| word.contains(|letter| !is_space(letter))).count()
}

impl Build<dyn Tag> for Length {
    fn build(self, _: &Place) -> Result<Box<dyn Tag>> {
        Ok(Box::new(self))
    }
}

/// The record of `length`.
pub static PART: Part<dyn Tag> = Part::of::<Length>("length", 1);
