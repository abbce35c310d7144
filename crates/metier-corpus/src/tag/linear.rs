use super::{Span, Tag, Tagger};
use crate::layout::{Layout, is_space};
use crate::linear::{Model, Predictor};
use metier_core::part::{Build, Part};
use metier_core::{Fault, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;

/// What gets labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The whole text.
    Document,
    /// Each run of lines between empty ones.
    Paragraph,
    /// Each line with its line feed, which Dolma calls a paragraph.
    Line,
}

/// # What it does
/// Tags documents, paragraphs or lines with the labels of a classifier that `metier curate train-tagger` trained.
///
/// # How
/// The text's words, pairs of words and sequences of characters are put into buckets by their hashes. A label's score is the sum of a
/// number for each of them, by the root of how many they are, and a number of its own. Softmax makes probabilities of the scores, and each
/// label with one of at least `least` becomes a span with it. A text with nothing to see (white space alone) gets no label. Of a text, the
/// first million features or so are seen.
///
/// # When to use
/// To tell what no list of words tells: subject, register, quality, machine-made text, once some hundred examples of each are labeled.
///
/// # Differs from the paper in
/// fastText has a layer of some hundred numbers between features and labels, and keeps a table of words; here each bucket has a number for
/// each label, so that the work grows with the labels and not with the layer.
///
/// # Source
/// Joulin et al. 2016, Bag of Tricks for Efficient Text Classification (arXiv:1607.01759); Soldaini et al. 2024, Dolma (arXiv:2402.00159).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Linear {
    /// The classifier: a file of `train-tagger`, or the folder in which it lies.
    pub model: PathBuf,
    /// The name in attributes.
    #[serde(default = "name")]
    pub name: String,
    /// What gets labels.
    #[serde(default = "scope")]
    pub scope: Scope,
    /// Least probability of a label.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub least: f32,
}

fn name() -> String {
    "linear".to_owned()
}

fn scope() -> Scope {
    Scope::Document
}

struct Classifier {
    settings: Linear,
    model: Arc<Model>,
}

impl Tag for Classifier {
    fn name(&self) -> String {
        self.settings.name.clone()
    }

    fn kinds(&self) -> Vec<String> {
        self.model.labels().to_vec()
    }

    fn model(&self) -> Option<String> {
        Some(self.model.hash().to_owned())
    }

    fn start(&self) -> Box<dyn Tagger> {
        let Linear { scope, least, .. } = self.settings;
        Box::new(Worker { scope, least, predictor: Predictor::new(Arc::clone(&self.model)) })
    }
}

struct Worker {
    scope: Scope,
    least: f32,
    predictor: Predictor,
}

impl Worker {
    fn label(&mut self, text: &str, start: usize, end: usize, spans: &mut Vec<Span>) {
        let scores = self.predictor.predict(text);
        let spans_of = (0..).zip(scores).filter(|(_, score)| **score >= self.least);
        spans.extend(spans_of.map(|(kind, score)| Span { start, end, kind, score: f64::from(*score) }));
    }
}

impl Tagger for Worker {
    fn tag(&mut self, layout: &Layout, spans: &mut Vec<Span>) {
        match self.scope {
            Scope::Document => self.label(layout.text(), 0, layout.characters(), spans),
            Scope::Line => {
                let mut start = 0;
                for line in layout.paragraphs() {
                    let end = start + layout.width(line);
                    self.label(layout.slice(line), start, end, spans);
                    start = end;
                }
            }
            Scope::Paragraph => {
                for (from, to) in paragraphs(layout) {
                    let (start, end) = (layout.character(from), layout.character(to));
                    self.label(&layout.text()[from..to], start, end, spans);
                }
            }
        }
    }
}

/// Byte ranges of the runs of lines that have more than white space, each without its last line feed.
pub(super) fn paragraphs(layout: &Layout) -> Vec<(usize, usize)> {
    let mut out: Vec<(usize, usize)> = Vec::new();
    let mut open = false;
    for line in layout.lines() {
        let empty = !layout.slice(*line).contains(|letter| !is_space(letter));
        match out.last_mut() {
            Some(last) if open && !empty => last.1 = line.end as usize,
            _ if !empty => out.push((line.start as usize, line.end as usize)),
            _ => {}
        }
        open = !empty;
    }
    out
}

impl Build<dyn Tag> for Linear {
    fn build(self, place: &Place) -> Result<Box<dyn Tag>> {
        if !(0.0..=1.0).contains(&self.least) {
            return Err(Fault::new(place.clone(), "`least` is a probability, from 0 to 1").into());
        }
        let model = Arc::new(Model::read(&self.model)?);
        Ok(Box::new(Classifier { settings: self, model }))
    }
}

/// The record of `linear`.
pub static PART: Part<dyn Tag> = Part::of::<Linear>("linear", 1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linear::{Features, TrainSettings, train};
    use metier_core::seed::Seed;

    #[test]
    fn documents_paragraphs_and_lines_get_labels() {
        let folder = tempfile::tempdir().unwrap();
        let from = folder.path().join("a.jsonl");
        let line = |number: usize| {
            let (text, label) = [("a ship at sea", "ships"), ("a train on rails", "trains")][number % 2];
            serde_json::json!({ "text": format!("{text} {number}"), "label": label }).to_string() + "\n"
        };
        std::fs::write(&from, (0..40).map(line).collect::<String>()).unwrap();
        let features = Features { bucket_bits: 12, ..Features::default() };
        let settings = TrainSettings { features, held_out: 0.0, ..TrainSettings::default() };
        let path = folder.path();
        train(&settings, (&from, None), Seed::new(1), (path, path), &mut |_| Ok(())).unwrap();
        let mut layout = Layout::default();
        layout.set("the sh\u{ef}p ship\nat sea\n \nthe train\n\n\non rails\n");
        let spans = |scope: Scope| {
            let part = Linear { model: path.to_path_buf(), name: name(), scope, least: 0.5 }.build(&Place::default());
            let (part, mut spans) = (part.unwrap(), Vec::new());
            part.start().tag(&layout, &mut spans);
            spans
                .iter()
                .map(|span| (span.start, span.end, part.kinds()[usize::from(span.kind)].clone()))
                .collect::<Vec<_>>()
        };
        let (ships, trains) = ("ships".to_owned(), "trains".to_owned());
        assert_eq!(spans(Scope::Document).len(), 1);
        assert_eq!(
            spans(Scope::Paragraph),
            [(0, 20, ships.clone()), (23, 32, trains.clone()), (35, 43, trains.clone())]
        );
        assert_eq!(
            spans(Scope::Line),
            [(0, 14, ships.clone()), (14, 21, ships), (23, 33, trains.clone()), (35, 44, trains)]
        );
        let missing = Linear { model: path.join("none"), name: name(), scope: Scope::Line, least: 0.0 };
        assert!(missing.build(&Place::default()).is_err());
    }
}
