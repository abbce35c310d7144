//! Attributes on disk: beside each file of documents, one JSON object a line for each of its documents, in their order.

use crate::layout::Layout;
use crate::tag::{Span, Tag, Tagger};
use metier_core::data::Document;
use metier_core::{Fault, Place, Result};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

/// What is said about one document, in the form that Dolma gives it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attributes {
    /// The document's.
    pub id: String,
    /// Spans as (first character, character after the last, score) under `tagger__tagger__attribute`. Scores have
    /// five digits behind the point.
    pub attributes: BTreeMap<String, Vec<(usize, usize, f64)>>,
}

/// The taggers of a run, for any number of threads.
pub(crate) struct Taggers<'a> {
    parts: &'a [&'a dyn Tag],
    /// The full name of each attribute of each tagger.
    keys: Vec<Vec<String>>,
    idle: Mutex<Vec<Worker>>,
}

/// What one thread needs at a time.
struct Worker {
    layout: Layout,
    taggers: Vec<Box<dyn Tagger>>,
    spans: Vec<Span>,
}

impl<'a> Taggers<'a> {
    /// Taggers whose names differ.
    pub(crate) fn new(parts: &'a [&'a dyn Tag]) -> Result<Self> {
        let mut names = BTreeSet::new();
        let mut keys = Vec::new();
        for part in parts {
            let name = variable(&part.name());
            keys.push(part.kinds().iter().map(|kind| format!("{name}__{name}__{}", variable(kind))).collect());
            if !names.insert(name.clone()) {
                return Err(Fault::new(Place::default().with_key("tag"), format!("two taggers are called `{name}`"))
                    .hint("leave one out, or give it another version, method, scope, unit or name")
                    .into());
            }
        }
        Ok(Self { parts, keys, idle: Mutex::new(Vec::new()) })
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// What all taggers say of a document.
    pub(crate) fn attributes(&self, document: &Document) -> Attributes {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let rested = idle().pop();
        let mut worker = rested.unwrap_or_else(|| Worker {
            layout: Layout::default(),
            taggers: self.parts.iter().map(|part| part.start()).collect(),
            spans: Vec::new(),
        });
        worker.layout.set(&document.text);
        let mut attributes: BTreeMap<String, Vec<(usize, usize, f64)>> = BTreeMap::new();
        for (tagger, keys) in worker.taggers.iter_mut().zip(&self.keys) {
            worker.spans.clear();
            tagger.tag(&worker.layout, &mut worker.spans);
            for span in &worker.spans {
                let entry = (span.start, span.end, rounded(span.score));
                match attributes.get_mut(&keys[usize::from(span.kind)]) {
                    Some(spans) => spans.push(entry),
                    None => {
                        attributes.insert(keys[usize::from(span.kind)].clone(), vec![entry]);
                    }
                }
            }
        }
        idle().push(worker);
        Attributes { id: document.id.clone(), attributes }
    }
}

/// A name of letters, digits and underscores.
fn variable(name: &str) -> String {
    name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }).collect()
}

/// A score with five digits behind the point, as Python rounds it.
fn rounded(score: f64) -> f64 {
    if score.fract() == 0.0 { score } else { format!("{score:.5}").parse().unwrap_or(score) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tag::{C4, Gopher};

    #[test]
    fn attributes_have_the_names_and_digits_that_dolma_writes() {
        let (first, second) = (C4 { version: 1 }, Gopher { version: 2 });
        let parts: [&dyn Tag; 2] = [&first, &second];
        let document = Document {
            id: "a".into(),
            text: "one two\nthree of them".into(),
            source: String::new(),
            source_sha256: String::new(),
            license: String::new(),
            pieces: metier_core::data::Pieces::default(),
            partial: Vec::new(),
        };
        let said = Taggers::new(&parts).unwrap().attributes(&document);
        assert_eq!(said.attributes["c4_v1__c4_v1__lines_with_too_few_words"], [(0, 8, 1.0)]);
        assert_eq!(
            said.attributes["gopher_v2__gopher_v2__fraction_of_characters_in_most_common_2grams"],
            [(0, 21, 0.35294)]
        );
        assert!(Taggers::new(&[&first as &dyn Tag, &first]).is_err());
    }
}
