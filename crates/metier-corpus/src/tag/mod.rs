//! What is said about a document, beside it: attributes with their spans.

mod blocklist;
mod c4;
mod code;
mod comments;
mod date;
mod gopher;
mod language;
mod length;
mod license;
mod linear;
mod perplexity;
mod pii;
mod repetitions;
mod secrets;
mod terms;

pub use blocklist::Blocklist;
pub use c4::C4;
pub use code::Code;
pub use comments::Comments;
pub use date::Date;
pub use gopher::Gopher;
pub use language::Language;
pub use length::Length;
pub use license::License;
pub use linear::{Linear, Scope as LinearScope};
pub use perplexity::Perplexity;
pub use pii::Pii;
pub use repetitions::Repetitions;
pub use secrets::Secrets;
pub use terms::Terms;

use crate::layout::Layout;
use metier_core::Result;
use metier_core::data::{Document, Metadata};
use metier_core::part::{Part, Record};
use metier_core::seam::Score;
use serde_json::Value;
use std::sync::Arc;

/// A span of a text with a score. Which attribute it belongs to is `kind`, an index into [`Tag::kinds`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    /// First character.
    pub start: usize,
    /// Character after the last.
    pub end: usize,
    /// Index of the attribute among the tagger's.
    pub kind: u16,
    /// What was measured.
    pub score: f64,
}

/// Says something about documents.
pub trait Tag: Send + Sync {
    /// The name in attributes, as Dolma has it: `c4_v2`.
    fn name(&self) -> String;

    /// Names of all attributes it can give: `has_curly_brace`.
    fn kinds(&self) -> Vec<String>;

    /// The hash of the model file that decides what it says, for the key of what is stored.
    fn model(&self) -> Option<String> {
        None
    }

    /// The name of the model that it asks, among those that the stage was given.
    fn asks(&self) -> Option<&str> {
        None
    }

    /// Gives it the model that it asks, before anything is tagged.
    fn give(&self, _model: Arc<dyn Score>) {}

    /// One that works on one thread, with memory of its own.
    fn start(&self) -> Box<dyn Tagger>;
}

/// What is known of a document beside its text.
#[derive(Debug, Clone, Copy, Default)]
pub struct Known<'a> {
    /// The file or address that it was read from.
    pub source: &'a str,
    /// What its reader kept of it.
    pub metadata: Option<&'a Metadata>,
}

impl<'a> Known<'a> {
    /// That of a document.
    pub fn of(document: &'a Document) -> Self {
        Self { source: &document.source, metadata: Some(&document.metadata) }
    }

    /// What the metadata has under a key.
    pub fn value(&self, key: &str) -> Option<&'a Value> {
        self.metadata?.get(key)
    }
}

/// A tagger at work.
pub trait Tagger: Send {
    /// Appends the spans of a text.
    fn tag(&mut self, layout: &Layout, spans: &mut Vec<Span>);

    /// The same of a document of which more than its text is known. What cannot be said of it is an error.
    fn tag_with(&mut self, layout: &Layout, _known: &Known, spans: &mut Vec<Span>) -> Result<()> {
        self.tag(layout, spans);
        Ok(())
    }
}

/// Every member, in alphabetical order.
#[rustfmt::skip]
pub static TAG: &[&Part<dyn Tag>] = &[
    &blocklist::PART,
    &c4::PART,
    &code::PART,
    &comments::PART,
    &date::PART,
    &gopher::PART,
    &language::PART,
    &length::PART,
    &license::PART,
    &linear::PART,
    &perplexity::PART,
    &pii::PART,
    &repetitions::PART,
    &secrets::PART,
    &terms::PART,
];

/// The records of all members.
pub fn records() -> Vec<Record> {
    TAG.iter().map(|part| part.record()).collect()
}

/// The taggers that Dolma has under one name each, without those that read a model.
pub fn dolma() -> Result<Vec<Box<dyn Tag>>> {
    use metier_core::part::Build;
    let place = metier_core::Place::default();
    let mut out: Vec<Box<dyn Tag>> = Vec::new();
    for version in [1, 2] {
        out.push(C4 { version }.build(&place)?);
        out.push(Gopher { version }.build(&place)?);
    }
    for method in pii::METHODS {
        out.push(Pii { tagger: *method }.build(&place)?);
    }
    for scope in [repetitions::Scope::Document, repetitions::Scope::Paragraph] {
        out.push(Repetitions { scope }.build(&place)?);
    }
    for unit in length::UNITS {
        out.push(Length { unit: *unit }.build(&place)?);
    }
    for method in code::METHODS {
        out.push(Code { tagger: *method }.build(&place)?);
    }
    Ok(out)
}

/// A span over the whole text.
fn whole(layout: &Layout, kind: u16, score: f64) -> Span {
    Span { start: 0, end: layout.characters(), kind, score }
}

/// The fault of a setting outside its range.
fn refuse_version(place: &metier_core::Place, version: u32) -> Result<()> {
    if (1..=2).contains(&version) {
        return Ok(());
    }
    Err(metier_core::Fault::new(place.clone(), format!("`version` is {version}, but only 1 and 2 exist")).into())
}
