//! What filters and taggers make of one document, whatever the others are.

use super::kept::Written;
use super::{CurateSettings, GROUP, GROUP_BYTES, Parts};
use crate::attributes::Taggers;
use crate::filter::{Filter, Verdict};
use crate::read::Item;
use metier_core::data::Document;
use metier_core::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io::BufRead;

/// Looks into documents.
pub struct Look<'a> {
    settings: &'a CurateSettings,
    filters: &'a [&'a dyn Filter],
    taggers: Taggers<'a>,
    /// Whether duplicates are searched among what is kept.
    compared: bool,
}

/// What was said of a document.
pub(super) struct Said {
    pub id: String,
    pub fate: Fate,
}

pub(super) enum Fate {
    /// With itself where duplicates are searched.
    Keep(Written, Option<Box<Document>>),
    Drop(String),
    /// With what is wrong, and the bytes.
    Quarantine(String, Vec<u8>),
}

impl<'a> Look<'a> {
    /// What the parts say.
    pub fn new(settings: &'a CurateSettings, parts: &'a Parts) -> Result<Self> {
        let (filters, taggers) = (&parts.filters, Taggers::new(&parts.tags)?);
        Ok(Self { settings, filters, taggers, compared: !parts.dedups.is_empty() })
    }

    /// What all filters together say of a document, and the taggers of what they keep.
    pub(super) fn said(&self, item: Item) -> Result<Said> {
        let said = |id: String, fate| Ok(Said { id, fate });
        let mut document = match item {
            Item::Document(document) => document,
            Item::Skipped { id, reason } => return said(id, Fate::Drop(reason.to_owned())),
            Item::Quarantined { id, fault, raw } => return said(id, Fate::Quarantine(fault.to_string(), raw)),
        };
        let id = document.id.clone();
        for filter in self.filters {
            match filter.apply(document) {
                Verdict::Keep(kept) => document = kept,
                Verdict::Drop(reason) => return said(id, Fate::Drop(reason)),
            }
        }
        if document.text.is_empty() {
            return said(id, Fate::Drop("empty".to_owned()));
        }
        if document.license.is_empty() {
            document.license = self.settings.license.clone().unwrap_or_default();
        }
        let attributes = if self.taggers.is_empty() { None } else { Some(self.taggers.line(&document)?) };
        let written = Written::new(&document, attributes)?;
        said(id, Fate::Keep(written, self.compared.then(|| Box::new(document))))
    }

    /// The same as lines of JSON, for a process that reads them as the [`Cluster`](super::Cluster)'s.
    pub fn lines(&self, item: Result<Item>) -> Result<Vec<u8>> {
        match item.and_then(|item| self.said(item)) {
            Ok(Said { id, fate: Fate::Drop(reason) }) => Message::Drop { id, reason }.line(),
            Ok(Said { id, fate: Fate::Quarantine(reason, raw) }) => Message::Quarantine { id, reason, raw }.line(),
            Ok(Said { id, fate: Fate::Keep(written, _) }) => {
                let Written { document, attributes, size } = written;
                let mut out = Message::Keep { id, size, tagged: attributes.is_some() }.line()?;
                out.extend(document);
                out.extend(attributes.into_iter().flatten());
                Ok(out)
            }
            Err(error) => Message::Fault(error).line(),
        }
    }

    /// The line that ends a file: what filters have to remember of what they saw so far.
    pub fn end_of_file(&self) -> Result<Vec<u8>> {
        Message::EndOfFile(self.filters.iter().map(|filter| filter.state()).collect()).line()
    }
}

/// The line behind those of all files: without it, something is lacking.
pub fn end_of_corpus() -> Result<Vec<u8>> {
    Message::EndOfCorpus.line()
}

/// The line that stops the reader with an error.
pub fn fault_line(error: Error) -> Result<Vec<u8>> {
    Message::Fault(error).line()
}

/// A line of those between processes.
#[derive(Serialize, Deserialize)]
enum Message {
    /// A document that is kept. Its line follows and, where it is tagged, that of its attributes.
    Keep {
        id: String,
        size: u64,
        tagged: bool,
    },
    Drop {
        id: String,
        reason: String,
    },
    Quarantine {
        id: String,
        reason: String,
        raw: Vec<u8>,
    },
    EndOfFile(Vec<Value>),
    EndOfCorpus,
    Fault(Error),
}

impl Message {
    fn line(&self) -> Result<Vec<u8>> {
        let mut line = serde_json::to_vec(self)
            .map_err(|error| Error::program(format!("what is said of a document does not serialize: {error}")))?;
        line.push(b'\n');
        Ok(line)
    }
}

/// What ends with a group of documents.
pub(super) enum End {
    /// A file, with what each filter has to remember.
    File(Vec<Value>),
    Corpus,
}

/// The next documents that another process speaks of, as many as pass through memory at once, and what ends with them.
/// `compared` asks for the documents themselves.
pub(super) fn heard(from: &mut dyn BufRead, compared: bool) -> (Vec<Said>, Result<Option<End>>) {
    let (mut group, mut bytes) = (Vec::new(), 0);
    while group.len() < GROUP && bytes < GROUP_BYTES {
        let said = match heard_one(from, compared) {
            Ok(Ok(said)) => said,
            Ok(Err(end)) => return (group, Ok(Some(end))),
            Err(error) => return (group, Err(error)),
        };
        if let Fate::Keep(written, _) = &said.fate {
            bytes += written.document.len() as u64;
        }
        group.push(said);
    }
    (group, Ok(None))
}

fn heard_one(from: &mut dyn BufRead, compared: bool) -> Result<std::result::Result<Said, End>> {
    let line = next(from)?;
    Ok(match parsed(&line)? {
        Message::Drop { id, reason } => Ok(Said { id, fate: Fate::Drop(reason) }),
        Message::Quarantine { id, reason, raw } => Ok(Said { id, fate: Fate::Quarantine(reason, raw) }),
        Message::Keep { id, size, tagged } => {
            let document = next(from)?;
            let attributes = if tagged { Some(next(from)?) } else { None };
            let itself = if compared { Some(Box::new(parsed(&document)?)) } else { None };
            Ok(Said { id, fate: Fate::Keep(Written { document, attributes, size }, itself) })
        }
        Message::EndOfFile(states) => Err(End::File(states)),
        Message::EndOfCorpus => Err(End::Corpus),
        Message::Fault(error) => return Err(error),
    })
}

fn next(from: &mut dyn BufRead) -> Result<Vec<u8>> {
    let mut line = Vec::new();
    match from.read_until(b'\n', &mut line) {
        Ok(_) if line.ends_with(b"\n") => Ok(line),
        Ok(_) => Err(Error::user(metier_core::Place::key("the cluster"), "stopped before it had said all")
            .hint("what it wrote above says why; run the same command again to go on")),
        Err(error) => Err(Error::user(metier_core::Place::key("the cluster"), format!("cannot be read: {error}"))),
    }
}

fn parsed<T: serde::de::DeserializeOwned>(line: &[u8]) -> Result<T> {
    serde_json::from_slice(line).map_err(|error| Error::program(format!("the cluster says what is unknown: {error}")))
}
