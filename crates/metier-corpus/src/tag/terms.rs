use super::{Span, Tag, Tagger, whole};
use crate::layout::Layout;
use crate::list::{self, Plain, padded};
use aho_corasick::{AhoCorasick, MatchKind};
use metier_core::part::{Build, Part};
use metier_core::{Error, Fault, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;

/// # What it does
/// Tags how much of a document are terms of a field: the share of its words that belong to terms of the user's lists, and how many different ones there are.
///
/// # How
/// Lists have one term a line, of one word or several; compressed ones are read too, and lines that begin with `#` are passed over. Words are runs of letters
/// and digits, without case, so that "machine-learning" and "machine\nlearning" are one term. Where terms overlap, the one that begins first counts, and of
/// these the longest. `density` is the number of words in terms by that of all words (0 for a text without a word), `terms` the number of different
/// terms. With `spans` each one found is a span `term`.
///
/// # When to use
/// To choose the documents of a field out of a general corpus before a model looks at them, or to see which of a field's documents are about it.
///
/// # Differs from the paper in
/// Tele-LLMs choose Wikipedia articles and web pages by lists of words and then ask a model; this is the first half. A term is found as it is
/// written: there is no stemming, so a list should have plurals too.
///
/// # Source
/// Maatouk et al. 2024, Tele-LLMs (arXiv:2409.05314).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// Files of terms.
    pub lists: Vec<PathBuf>,
    /// The name in attributes.
    #[serde(default = "name")]
    pub name: String,
    /// Whether each term that is found is a span too.
    #[serde(default)]
    pub spans: bool,
}

fn name() -> String {
    "terms".to_owned()
}

struct Known {
    name: String,
    spans: bool,
    terms: AhoCorasick,
    hash: String,
}

impl Tag for Arc<Known> {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn kinds(&self) -> Vec<String> {
        ["density", "terms", "term"].map(str::to_owned).to_vec()
    }

    fn model(&self) -> Option<String> {
        Some(self.hash.clone())
    }

    fn start(&self) -> Box<dyn Tagger> {
        Box::new(Worker { known: Arc::clone(self), plain: Plain::default(), different: Vec::new() })
    }
}

struct Worker {
    known: Arc<Known>,
    plain: Plain,
    different: Vec<u32>,
}

impl Tagger for Worker {
    fn tag(&mut self, layout: &Layout, spans: &mut Vec<Span>) {
        self.plain.set(layout.text());
        self.different.clear();
        let mut inside = 0;
        for hit in self.known.terms.find_iter(self.plain.text()) {
            let (words, range) = self.plain.source(hit.start()..hit.end());
            inside += words;
            self.different.push(hit.pattern().as_u32());
            if self.known.spans {
                let (start, end) = (layout.character(range.start), layout.character(range.end));
                spans.push(Span { start, end, kind: 2, score: 1.0 });
            }
        }
        self.different.sort_unstable();
        self.different.dedup();
        spans.push(whole(layout, 0, inside as f64 / self.plain.words().max(1) as f64));
        spans.push(whole(layout, 1, self.different.len() as f64));
    }
}

impl Build<dyn Tag> for Terms {
    fn build(self, place: &Place) -> Result<Box<dyn Tag>> {
        if self.lists.is_empty() {
            return Err(Fault::new(place.clone(), "no list is given").hint("name files of terms under `lists`").into());
        }
        let (mut hash, mut faults, mut terms) = (blake3::Hasher::new(), Vec::new(), Vec::new());
        for path in &self.lists {
            let read = list::read(path, &mut hash, |entry| match padded(entry) {
                term if term.is_empty() => Err(format!("`{entry}` has no word")),
                term => {
                    terms.push(term);
                    Ok(())
                }
            });
            faults.extend(read.err().into_iter().flat_map(|error| error.faults));
        }
        Error::collect((), faults)?;
        terms.sort_unstable();
        terms.dedup();
        let automaton = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&terms);
        let terms = automaton
            .map_err(|error| Fault::new(place.clone(), format!("the terms are too many or too long: {error}")))?;
        let hash = hash.finalize().to_hex().to_string();
        Ok(Box::new(Arc::new(Known { name: self.name, spans: self.spans, terms, hash })))
    }
}

/// The record of `terms`.
pub static PART: Part<dyn Tag> = Part::of::<Terms>("terms", 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_in_terms_are_counted_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("terms.txt");
        std::fs::write(&path, "# of radio\nbase station\nstation\nBeam-forming\nbase station controller\n5G\n")
            .unwrap();
        let part = Terms { lists: vec![path.clone()], name: name(), spans: true }.build(&Place::default()).unwrap();
        let (mut layout, mut worker) = (Layout::default(), part.start());
        let mut said = |text: &str| {
            let mut spans = Vec::new();
            layout.set(text);
            worker.tag(&layout, &mut spans);
            spans.iter().map(|span| (span.start, span.end, span.kind, span.score)).collect::<Vec<_>>()
        };
        let text = "\u{c9}ach Base\nStation has 5G, beam forming; stations. Station station base";
        let all = text.chars().count();
        assert_eq!(
            said(text),
            [
                (5, 17, 2, 1.0),
                (22, 24, 2, 1.0),
                (26, 38, 2, 1.0),
                (50, 57, 2, 1.0),
                (58, 65, 2, 1.0),
                (0, all, 0, 7.0 / 11.0),
                (0, all, 1, 4.0)
            ]
        );
        assert_eq!(said(""), [(0, 0, 0, 0.0), (0, 0, 1, 0.0)]);
        std::fs::write(&path, "***\n").unwrap();
        let refused = Terms { lists: vec![path], name: name(), spans: false }.build(&Place::default());
        assert!(refused.err().unwrap().to_string().contains("terms.txt:1:1: `***` has no word"));
        let none = Terms { lists: Vec::new(), name: name(), spans: false };
        assert!(none.build(&Place::default()).err().unwrap().to_string().contains("no list is given"));
    }
}
