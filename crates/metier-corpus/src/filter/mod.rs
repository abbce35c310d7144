//! Is this document kept, and with which of its text?

mod control_characters;
mod decontaminate;
mod length;
mod rfc_pages;
mod script;
mod self_reference;
mod standard;

pub use control_characters::ControlCharacters;
pub use decontaminate::Decontaminate;
pub use length::Length;
pub use rfc_pages::RfcPages;
pub use script::{Name as ScriptName, Script};
pub use self_reference::{SelfReference, points_at_source};
pub use standard::Standard;

use metier_core::data::{Document, Piece, Pieces};
use metier_core::part::{Part, Record};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::Range;

/// What a filter says of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on, perhaps with less text.
    Keep(Document),
    /// It goes no further, for this reason.
    Drop(String),
}

/// Keeps a document, shortens it or drops it.
pub trait Filter: Send + Sync {
    /// The verdict. `pieces` stay true: text that a filter writes itself is in none of them.
    fn apply(&self, document: Document) -> Verdict;

    /// The hash of the file that decides the verdict, for the key of what is stored.
    fn data(&self) -> Option<String> {
        None
    }

    /// The names of its [figures](Self::figures).
    fn figure_names(&self) -> Vec<String> {
        Vec::new()
    }

    /// What it has to remember when the call is interrupted, beside its settings.
    fn state(&self) -> Value {
        Value::Null
    }

    /// Takes up what it had to remember, or what one that saw other documents of the corpus has to, beside its own.
    fn resume(&self, _state: &Value) {}

    /// What it has to say at the end, beside the counts of what it dropped.
    fn figures(&self) -> BTreeMap<String, f64> {
        BTreeMap::new()
    }
}

/// Every member, in alphabetical order.
#[rustfmt::skip]
pub static FILTER: &[&Part<dyn Filter>] = &[
    &control_characters::PART,
    &decontaminate::PART,
    &length::PART,
    &rfc_pages::PART,
    &script::PART,
    &self_reference::PART,
    &standard::PART,
];

/// The records of all members.
pub fn records() -> Vec<Record> {
    FILTER.iter().map(|part| part.record()).collect()
}

/// The document with only these byte ranges of its text (ordered, disjoint, at character borders).
fn keep_ranges(mut document: Document, ranges: &[Range<usize>]) -> Document {
    document.pieces = document.pieces.keep(ranges);
    document.text = ranges.iter().map(|range| &document.text[range.clone()]).collect();
    document
}

/// The map of a text of `length` bytes with some byte ranges of it (ordered, disjoint) replaced by text of the lengths beside
/// them, which no piece covers.
pub(crate) fn replace_ranges(pieces: &Pieces, replaced: &[(Range<usize>, usize)], length: usize) -> Pieces {
    let mut out: Vec<Piece> = Vec::new();
    let (mut from, mut at) = (0, 0);
    for (range, written) in replaced.iter().cloned().chain(std::iter::once((length..length, 0))) {
        let kept = pieces.keep(std::slice::from_ref(&(from..range.start)));
        out.extend(kept.0.into_iter().map(|piece| Piece { start: at + piece.start, ..piece }));
        at += range.start - from + written;
        from = range.end;
    }
    Pieces(out)
}

#[cfg(test)]
fn document(text: &str) -> Document {
    Document {
        id: "a".into(),
        text: text.into(),
        source: "a".into(),
        source_sha256: String::new(),
        license: String::new(),
        pieces: Pieces::whole(text.len()),
        partial: Vec::new(),
        metadata: metier_core::data::Metadata::new(),
    }
}
