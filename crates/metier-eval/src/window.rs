//! Held-out documents cut into windows, and the choice of which are measured.

use crate::EvaluateSettings;
use metier_core::data::Document;
use metier_core::seed::Seed;
use metier_core::{Error, Place, Result};
use std::collections::BTreeSet;
use std::ops::Range;

/// A part of a document, scored by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// The document's id.
    pub document: String,
    /// First byte in the document's text.
    pub start: usize,
    /// One past its last byte.
    pub end: usize,
    /// The text itself.
    pub text: String,
}

impl Window {
    /// The first 16 hexadecimal digits of the text's BLAKE3 hash.
    pub fn hash(&self) -> String {
        let mut hash = blake3::hash(self.text.as_bytes()).to_hex().to_string();
        hash.truncate(16);
        hash
    }
}

/// Byte ranges of about `window_bytes` bytes, never more unless a single character is longer, that follow each
/// other and cover `text`.
///
/// A text is divided into equal shares, so that no short rest is left over. Each share ends after a line where
/// one ends in its last quarter, else after a space there, else between two characters.
pub(crate) fn cut(text: &str, window_bytes: usize) -> Vec<Range<usize>> {
    let window_bytes = window_bytes.max(1);
    let mut ranges = Vec::new();
    let mut start = 0;
    while start < text.len() {
        let rest = text.len() - start;
        let share = rest.div_ceil(rest.div_ceil(window_bytes));
        let end = if share == rest { text.len() } else { border(text, start, start + share) };
        ranges.push(start..end);
        start = end;
    }
    ranges
}

/// The best place to end a window that starts at `start` and should end at `goal`.
fn border(text: &str, start: usize, goal: usize) -> usize {
    let earliest = goal - (goal - start) / 4;
    let bytes = &text.as_bytes()[earliest.max(start + 1) - 1..goal];
    let after = |found: Option<usize>| found.map(|at| earliest.max(start + 1) + at);
    after(bytes.iter().rposition(|&byte| byte == b'\n'))
        .or_else(|| after(bytes.iter().rposition(u8::is_ascii_whitespace)))
        .unwrap_or_else(|| {
            let below = text.floor_char_boundary(goal);
            if below > start { below } else { text.ceil_char_boundary(start + 1) }
        })
}

/// The windows that an evaluation of `documents` measures, in the order of the documents and of their text.
///
/// With `max_windows` every document gives one window before any gives a second. Which windows of a document
/// come first is decided by the seed and the document's id alone, and so is which documents come first.
/// Windows of nothing but white space are left out. Two documents of one id, or no text at all, are errors.
pub fn choose(
    documents: impl IntoIterator<Item = Result<Document>>,
    settings: &EvaluateSettings,
    seed: Seed,
) -> Result<Vec<Window>> {
    let seed = seed.derive("windows");
    let mut ids = BTreeSet::new();
    // For each candidate: its rank within its document, the document's own rank, and where it stands.
    let mut candidates: Vec<(usize, u64, usize, Window)> = Vec::new();
    for (index, document) in documents.into_iter().enumerate() {
        let document = document?;
        if !ids.insert(document.id.clone()) {
            return Err(Error::user(Place::key(&document.id), "two documents to be measured have this id")
                .hint("give each document an id of its own"));
        }
        let mut random = seed.derive(&document.id).at(0);
        let document_rank = random.bits();
        let mut ranges = cut(&document.text, settings.window_bytes);
        ranges.retain(|range| !document.text[range.clone()].trim().is_empty());
        if settings.max_windows > 0 {
            random.shuffle(&mut ranges);
            ranges.truncate(settings.max_windows);
        }
        candidates.extend(ranges.into_iter().enumerate().map(|(rank, range)| {
            let text = document.text[range.clone()].to_owned();
            (
                rank,
                document_rank,
                index,
                Window { document: document.id.clone(), start: range.start, end: range.end, text },
            )
        }));
        let limit = settings.max_windows.saturating_mul(2).max(4096);
        if settings.max_windows > 0 && candidates.len() > limit {
            keep_first(&mut candidates, settings.max_windows);
        }
    }
    if ids.is_empty() {
        return Err(Error::user(Place::default(), "there are no documents to measure")
            .hint("hold more documents out, or name another set of texts"));
    }
    if candidates.is_empty() {
        return Err(Error::user(Place::default(), "the documents to measure hold nothing but white space"));
    }
    if settings.max_windows > 0 {
        keep_first(&mut candidates, settings.max_windows);
    }
    candidates.sort_by_key(|(_, _, index, window)| (*index, window.start));
    Ok(candidates.into_iter().map(|(_, _, _, window)| window).collect())
}

/// Keeps the `count` candidates that come first by rank.
fn keep_first(candidates: &mut Vec<(usize, u64, usize, Window)>, count: usize) {
    candidates.sort_by_key(|(rank, document_rank, index, _)| (*rank, *document_rank, *index));
    candidates.truncate(count);
}

#[cfg(test)]
mod tests {
    use super::*;
    use metier_testkit::corpus;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn settings(window_bytes: usize, max_windows: usize) -> EvaluateSettings {
        EvaluateSettings { window_bytes, max_windows, ..EvaluateSettings::default() }
    }

    fn chosen(documents: &[Document], window_bytes: usize, max_windows: usize, seed: u64) -> Vec<Window> {
        let documents = documents.iter().cloned().map(Ok);
        choose(documents, &settings(window_bytes, max_windows), Seed::new(seed)).unwrap()
    }

    proptest! {
        #[test]
        fn ranges_cover_the_text_in_order(text in "(?s)[a-z \n\u{e9}\u{1f600}]{0,400}", size in 1_usize..60) {
            let mut at = 0;
            for range in cut(&text, size) {
                prop_assert_eq!(range.start, at);
                prop_assert!(range.end > range.start);
                prop_assert!(text.is_char_boundary(range.end));
                prop_assert!(range.len() <= size.max(4), "{:?} of {}", range, size);
                at = range.end;
            }
            prop_assert_eq!(at, text.len());
        }
    }

    #[test]
    fn windows_end_after_a_line_then_after_a_word_then_anywhere() {
        assert_eq!(cut("aaaa bbbb\ncccc dddd", 12), vec![0..10, 10..19]);
        assert_eq!(cut("aaaa bbbb cccc dddd", 12), vec![0..10, 10..19]);
        assert_eq!(cut("aaaaaaaaaaaa", 8), vec![0..6, 6..12]);
        assert_eq!(cut("", 8), vec![]);
    }

    #[test]
    fn equal_shares_leave_no_short_rest() {
        let text = corpus::prose(3, 10_100);
        let ranges = cut(&text, 1000);
        assert!(ranges.iter().all(|range| range.len() > 500), "{ranges:?}");
    }

    #[test]
    fn every_document_gives_one_window_before_any_gives_a_second() {
        let documents = corpus::documents(1, 10, 2000);
        let count = |max| {
            let mut counts = BTreeMap::<String, usize>::new();
            for window in chosen(&documents, 200, max, 5) {
                *counts.entry(window.document).or_default() += 1;
            }
            counts.into_values().collect::<Vec<_>>()
        };
        assert_eq!(count(10), vec![1; 10]);
        assert_eq!(count(4), vec![1; 4]);
        assert_eq!(count(25).iter().sum::<usize>(), 25);
        assert!(count(25).iter().all(|&count| count == 2 || count == 3));
    }

    #[test]
    fn a_choice_depends_on_seed_and_ids_and_not_on_the_other_documents() {
        let documents = corpus::documents(1, 10, 2000);
        let all = chosen(&documents, 200, 10, 5);
        assert_eq!(all, chosen(&documents, 200, 10, 5));
        assert_ne!(all, chosen(&documents, 200, 10, 6));
        let fewer = chosen(&documents[..5], 200, 5, 5);
        assert_eq!(fewer, all[..5]);
        for window in &all {
            let document = documents.iter().find(|document| document.id == window.document).unwrap();
            assert_eq!(document.text[window.start..window.end], window.text);
        }
    }

    #[test]
    fn many_candidates_are_thinned_without_changing_the_choice() {
        let documents = corpus::documents(1, 60, 4000);
        let chosen = chosen(&documents, 20, 100, 5);
        assert_eq!(chosen.len(), 100);
        let mut counts = BTreeMap::<&str, usize>::new();
        for window in &chosen {
            *counts.entry(&window.document).or_default() += 1;
        }
        assert!(counts.len() == 60 && counts.values().all(|&count| count <= 2));
    }

    #[test]
    fn nothing_to_measure_and_double_ids_are_errors() {
        let none = choose(Vec::new(), &settings(100, 0), Seed::new(1)).unwrap_err();
        assert!(none.to_string().contains("no documents to measure"), "{none}");
        let blank = choose(vec![Ok(corpus::document("a", " \n "))], &settings(100, 0), Seed::new(1)).unwrap_err();
        assert!(blank.to_string().contains("white space"), "{blank}");
        let twice = [corpus::document("a", "x"), corpus::document("a", "y")];
        let twice = choose(twice.map(Ok), &settings(100, 0), Seed::new(1)).unwrap_err();
        assert!(twice.to_string().starts_with("a: two documents"), "{twice}");
    }
}
