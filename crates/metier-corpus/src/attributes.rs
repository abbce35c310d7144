//! Attributes on disk: beside each file of documents, one JSON object a line for each of its documents, in their order.

use crate::layout::Layout;
use crate::tag::{Known, Span, Tag, Tagger};
use metier_core::data::Document;
use metier_core::{Error, Fault, Place, Result};
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
    /// Full names of all attributes in order, each once.
    names: Vec<String>,
    /// For each attribute of each tagger, which of the names it has.
    places: Vec<Vec<u32>>,
    idle: Mutex<Vec<Worker>>,
}

/// What one thread needs at a time.
struct Worker {
    layout: Layout,
    taggers: Vec<Box<dyn Tagger>>,
    spans: Vec<Span>,
    /// Spans of all taggers, each with the place of its attribute's name.
    placed: Vec<(u32, Span)>,
}

impl<'a> Taggers<'a> {
    /// Taggers whose names differ.
    pub(crate) fn new(parts: &'a [&'a dyn Tag]) -> Result<Self> {
        let mut taggers = BTreeSet::new();
        let mut keys: Vec<Vec<String>> = Vec::new();
        for part in parts {
            let name = variable(&part.name());
            keys.push(part.kinds().iter().map(|kind| format!("{name}__{name}__{}", variable(kind))).collect());
            if !taggers.insert(name.clone()) {
                return Err(Fault::new(Place::default().with_key("tag"), format!("two taggers are called `{name}`"))
                    .hint("leave one out, or give it another version, method, scope, unit or name")
                    .into());
            }
        }
        let mut names = keys.concat();
        names.sort_unstable();
        names.dedup();
        let place = |key: &String| names.partition_point(|name| name < key) as u32;
        let places = keys.iter().map(|keys| keys.iter().map(place).collect()).collect();
        Ok(Self { parts, names, places, idle: Mutex::new(Vec::new()) })
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// What all taggers say of a document: its [`Attributes`] as a line of JSON.
    pub(crate) fn line(&self, document: &Document) -> Result<Vec<u8>> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let rested = idle().pop();
        let mut worker = rested.unwrap_or_else(|| Worker {
            layout: Layout::default(),
            taggers: self.parts.iter().map(|part| part.start()).collect(),
            spans: Vec::new(),
            placed: Vec::new(),
        });
        worker.layout.set(&document.text);
        worker.placed.clear();
        for (tagger, places) in worker.taggers.iter_mut().zip(&self.places) {
            worker.spans.clear();
            tagger
                .tag_with(&worker.layout, &Known::of(document), &mut worker.spans)
                .map_err(|error| error.in_file(&document.source))?;
            worker.placed.extend(worker.spans.iter().map(|span| (places[usize::from(span.kind)], *span)));
        }
        worker.placed.sort_by_key(|(place, _)| *place);
        let line = self.written(&document.id, &worker.placed);
        idle().push(worker);
        line.map_err(|error| Error::program(format!("attributes do not serialize: {error}")))
    }

    /// As [`Attributes`] serialize, without a map in between.
    fn written(&self, id: &str, placed: &[(u32, Span)]) -> serde_json::Result<Vec<u8>> {
        let mut line = br#"{"id":"#.to_vec();
        serde_json::to_writer(&mut line, id)?;
        line.extend(br#","attributes":{"#);
        for (number, alike) in placed.chunk_by(|one, other| one.0 == other.0).enumerate() {
            line.extend(if number == 0 { &b""[..] } else { b"," });
            serde_json::to_writer(&mut line, &self.names[alike[0].0 as usize])?;
            for (number, (_, span)) in alike.iter().enumerate() {
                line.extend(if number == 0 { b":[" } else { &b","[..] });
                serde_json::to_writer(&mut line, &(span.start, span.end, rounded(span.score)))?;
            }
            line.push(b']');
        }
        line.extend(b"}}\n");
        Ok(line)
    }
}

/// A name of letters, digits and underscores.
fn variable(name: &str) -> String {
    name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }).collect()
}

const DIGITS: f64 = 1e5;

/// A score with five digits behind the point, as Python rounds it.
fn rounded(score: f64) -> f64 {
    if score.fract() == 0.0 {
        return score;
    }
    let shifted = score * DIGITS;
    // Where multiplying cannot have decided to which side it goes, the quotient is the float nearest to the digits.
    if shifted.abs() < f64::from(1 << 30) && (shifted.fract().abs() - 0.5).abs() > 1e-6 {
        return shifted.round() / DIGITS;
    }
    format!("{score:.5}").parse().unwrap_or(score)
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
            metadata: metier_core::data::Metadata::new(),
        };
        let line = Taggers::new(&parts).unwrap().line(&document).unwrap();
        let said: Attributes = serde_json::from_slice(&line).unwrap();
        assert_eq!(
            line,
            serde_json::to_string(&said).unwrap().into_bytes().into_iter().chain([b'\n']).collect::<Vec<u8>>()
        );
        assert_eq!(said.attributes["c4_v1__c4_v1__lines_with_too_few_words"], [(0, 8, 1.0)]);
        assert_eq!(
            said.attributes["gopher_v2__gopher_v2__fraction_of_characters_in_most_common_2grams"],
            [(0, 21, 0.35294)]
        );
        assert!(Taggers::new(&[&first as &dyn Tag, &first]).is_err());
    }

    #[test]
    fn scores_are_rounded_as_their_digits_are() {
        let mut stream = metier_core::seed::Seed::new(1).at(0);
        for number in 0..20_000 {
            let whole = stream.below(1 << 20) as f64;
            // Halves of the last digit, numbers beside them, and any other.
            let score = match number % 4 {
                0 => (whole + 0.5) / DIGITS,
                1 => f64::from_bits(((whole + 0.5) / DIGITS).to_bits() + 1),
                2 => -whole / 7.0,
                _ => whole * 1e6 / 3.0,
            };
            let digits: f64 = format!("{score:.5}").parse().unwrap();
            assert_eq!(rounded(score).to_bits(), digits.to_bits(), "{score}");
        }
    }
}
