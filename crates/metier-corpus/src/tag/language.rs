use super::{Span, Tag, Tagger};
use crate::fasttext::{Model, Predictor};
use crate::layout::{Layout, is_space, strip};
use metier_core::part::{Build, Part};
use metier_core::{Fault, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;

/// # What it does
/// Tags the language of a document or of each paragraph, or any other label of a fastText classifier.
///
/// # How
/// The lower-cased text, with line feeds as spaces, goes through a fastText model: the mean of the rows of its words
/// and character n-grams, then the output layer. `.bin` and quantized `.ftz` files are read by metier itself, and
/// quantized rows are read out once. The sum of the rows of a word is remembered, so a word that comes again costs no n-grams. Each
/// label with a probability of at least `least` becomes a span with it as the score. Without `model`, whatlang's
/// trigrams name one language by its ISO 639-3 code, with its confidence.
///
/// # When to use
/// To keep or to sort by language. `lid.176.ftz` knows 176 of them and is under a megabyte; whatlang needs no file
/// and knows 69.
///
/// # Differs from the paper in
/// Dolma's `ft_lang_id_doc_v1` and `ft_lang_id_paragraph_v1` keep all labels above 1e-5, which is `least = 0`.
/// Probabilities agree to about 1e-6: sums of `f32` in another order.
///
/// # Source
/// Joulin et al. 2016, Bag of Tricks for Efficient Text Classification (arXiv:1607.01759) and `FastText.zip`
/// (arXiv:1612.03651); whatlang (Potapov).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Language {
    /// The fastText model, a file ending in `.bin` or `.ftz`; whatlang when it is left out.
    pub model: Option<PathBuf>,
    /// The name in attributes; `ft_lang_id_doc_v1` or `ft_lang_id_paragraph_v1`, or `whatlang_doc`, when it is left out.
    pub name: Option<String>,
    /// Whether each paragraph is a span, instead of the document.
    pub paragraphs: bool,
    /// Least probability of a label.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub least: f32,
}

impl Default for Language {
    fn default() -> Self {
        Self { model: None, name: None, paragraphs: false, least: 0.01 }
    }
}

struct Detector {
    settings: Language,
    model: Option<Arc<Model>>,
}

impl Tag for Detector {
    fn name(&self) -> String {
        if let Some(name) = &self.settings.name {
            return name.clone();
        }
        let stem = if self.model.is_some() { "ft_lang_id" } else { "whatlang" };
        match (self.settings.paragraphs, self.model.is_some()) {
            (false, true) => format!("{stem}_doc_v1"),
            (true, true) => format!("{stem}_paragraph_v1"),
            (false, false) => format!("{stem}_doc"),
            (true, false) => format!("{stem}_paragraph"),
        }
    }

    fn kinds(&self) -> Vec<String> {
        match &self.model {
            Some(model) => model.labels().to_vec(),
            None => whatlang::Lang::all().iter().map(|language| language.code().to_owned()).collect(),
        }
    }

    fn model(&self) -> Option<String> {
        self.model.as_ref().map(|model| model.hash().to_owned())
    }

    fn start(&self) -> Box<dyn Tagger> {
        Box::new(Worker {
            paragraphs: self.settings.paragraphs,
            least: self.settings.least,
            predictor: self.model.clone().map(Predictor::new),
            lower: String::new(),
        })
    }
}

struct Worker {
    paragraphs: bool,
    least: f32,
    predictor: Option<Predictor>,
    lower: String,
}

impl Tagger for Worker {
    fn tag(&mut self, layout: &Layout, spans: &mut Vec<Span>) {
        if !self.paragraphs {
            self.label(layout.text(), 0, layout.characters(), spans);
            return;
        }
        let mut start = 0;
        for run in layout.paragraphs() {
            let end = start + layout.width(run);
            let paragraph = layout.slice(run);
            if paragraph.contains(|letter| !is_space(letter)) {
                self.label(paragraph, start, end, spans);
            }
            start = end;
        }
    }
}

impl Worker {
    fn label(&mut self, text: &str, start: usize, end: usize, spans: &mut Vec<Span>) {
        let Some(predictor) = &mut self.predictor else {
            if let Some(found) = whatlang::detect(text)
                && let Some(kind) = whatlang::Lang::all().iter().position(|language| *language == found.lang())
                && found.confidence() >= f64::from(self.least)
            {
                spans.push(Span { start, end, kind: kind as u16, score: found.confidence() });
            }
            return;
        };
        self.lower.clear();
        if text.is_ascii() {
            self.lower.push_str(text);
            self.lower.make_ascii_lowercase();
        } else {
            self.lower.push_str(&text.to_lowercase());
        }
        let predictions = predictor.predict(strip(&self.lower), self.least);
        spans.extend(predictions.iter().map(|found| Span {
            start,
            end,
            kind: found.label as u16,
            score: f64::from(found.score),
        }));
    }
}

impl Build<dyn Tag> for Language {
    fn build(self, place: &Place) -> Result<Box<dyn Tag>> {
        if !(0.0..=1.0).contains(&self.least) {
            return Err(Fault::new(place.clone(), "`least` is a probability, from 0 to 1").into());
        }
        let model = self.model.as_deref().map(Model::read).transpose()?.map(Arc::new);
        if let Some(model) = &model
            && model.labels().len() > usize::from(u16::MAX)
        {
            return Err(Fault::new(place.clone(), "the model has more than 65,535 labels").into());
        }
        Ok(Box::new(Detector { settings: self, model }))
    }
}

/// The record of `language`.
pub static PART: Part<dyn Tag> = Part::of::<Language>("language", 2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatlang_names_the_language_of_each_paragraph() {
        let settings = Language { paragraphs: true, ..Language::default() };
        let part = settings.build(&Place::default()).unwrap();
        let mut layout = Layout::default();
        layout.set("The quick brown fox jumps over the lazy dog and runs away.\n\nDer schnelle Fuchs springt weit über den faulen Hund.");
        let mut spans = Vec::new();
        part.start().tag(&layout, &mut spans);
        let codes: Vec<String> = spans.iter().map(|span| part.kinds()[usize::from(span.kind)].clone()).collect();
        assert_eq!(codes, ["eng", "deu"]);
        assert_eq!((spans[1].start, spans[1].end), (60, layout.characters()));
    }

    #[test]
    fn a_file_that_is_no_model_is_refused_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.ftz");
        std::fs::write(&path, [1; 40]).unwrap();
        let said =
            Language { model: Some(path), ..Language::default() }.build(&Place::default()).err().unwrap().to_string();
        assert!(said.contains("a.ftz: no fastText model of version 12"), "{said}");
    }
}
