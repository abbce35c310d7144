use super::linear::paragraphs;
use super::{Known, Span, Tag, Tagger};
use crate::layout::{Layout, is_space};
use metier_core::part::{Build, Part};
use metier_core::seam::{Score, ScoreRequest, Scored};
use metier_core::{Error, Fault, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// # What it does
/// Tags how well a language model predicts a document: bits per byte, and perplexity per token.
///
/// # How
/// The model is one of those that the stage is given under `model`. With `p` the probability of the scored tokens, `bits_per_byte` is
/// `-log2(p)` by the bytes that they cover, and `perplexity` is `p^(-1/n)` for `n` tokens. A text of more than `window` bytes is scored in
/// windows: the first of that size, then `stride` bytes at a time, with the `window - stride` bytes before as context; each byte is scored once. Windows end
/// behind white space where there is some. A window that is too long for the model is scored in halves, the second with the first as far as possible as
/// its context. Some windows go to the model together, never a whole long document. With `paragraphs` each run of lines between empty ones gets `paragraph_bits_per_byte` and
/// `paragraph_perplexity` too, scored by itself. A text in which nothing is scored gets neither.
///
/// # When to use
/// To leave out what is no language (very high) and what is repeated or written out by a machine (very low); with a model of the field, to find what belongs to it. Bits
/// per byte can be compared between models, perplexity only between texts of one.
///
/// # Differs from the paper in
/// `CCNet` asks an n-gram model trained on Wikipedia; here it is any model that metier can score with.
///
/// # Source
/// Wenzek et al. 2019, `CCNet` (arXiv:1911.00359), section 3.4.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Perplexity {
    /// What the stage calls the model; one that stands alone is called `model`.
    pub model: String,
    /// The name in attributes.
    pub name: String,
    /// Whether each paragraph is scored by itself, too.
    pub paragraphs: bool,
    /// Bytes that are given to the model together.
    #[schemars(range(min = 64, max = 1_048_576))]
    pub window: usize,
    /// Bytes that are scored in each window behind the first.
    #[schemars(range(min = 32))]
    pub stride: usize,
}

impl Default for Perplexity {
    fn default() -> Self {
        Self { model: "model".to_owned(), name: "perplexity".to_owned(), paragraphs: false, window: 2048, stride: 1024 }
    }
}

/// Windows that the model is given together.
const BATCH: usize = 8;
/// Bytes of a window that is not halved any more.
const LEAST: usize = 16;

struct Asked {
    settings: Perplexity,
    model: OnceLock<Arc<dyn Score>>,
}

impl Tag for Asked {
    fn name(&self) -> String {
        self.settings.name.clone()
    }

    fn kinds(&self) -> Vec<String> {
        ["bits_per_byte", "perplexity", "paragraph_bits_per_byte", "paragraph_perplexity"].map(str::to_owned).to_vec()
    }

    fn asks(&self) -> Option<&str> {
        Some(&self.settings.model)
    }

    fn give(&self, model: Arc<dyn Score>) {
        // The first one stays.
        let _ = self.model.set(model);
    }

    fn start(&self) -> Box<dyn Tagger> {
        Box::new(Worker { settings: self.settings.clone(), model: self.model.get().cloned() })
    }
}

struct Worker {
    settings: Perplexity,
    model: Option<Arc<dyn Score>>,
}

impl Tagger for Worker {
    fn tag(&mut self, _: &Layout, _: &mut Vec<Span>) {}

    fn tag_with(&mut self, layout: &Layout, _: &Known, spans: &mut Vec<Span>) -> Result<()> {
        let model = self.model.as_deref().ok_or_else(|| {
            let message = format!("there is no model called `{}`", self.settings.model);
            Error::from(Fault::new(Place::key("model"), message).hint("give the stage one: `model = \"...\"`"))
        })?;
        self.say(model, layout, 0..layout.text().len(), 0, spans)?;
        if self.settings.paragraphs {
            for (from, to) in paragraphs(layout) {
                self.say(model, layout, from..to, 2, spans)?;
            }
        }
        Ok(())
    }
}

/// What was said of the windows of a text.
#[derive(Default)]
struct Sum {
    log_probability: f64,
    tokens: usize,
    bytes: usize,
}

impl Sum {
    fn add(&mut self, scored: &Scored) {
        self.log_probability += scored.log_probability;
        self.tokens += scored.tokens;
        self.bytes += scored.bytes;
    }
}

impl Worker {
    /// Appends two spans of a range, of this kind and of the next.
    fn say(
        &self,
        model: &dyn Score,
        layout: &Layout,
        range: Range<usize>,
        kind: u16,
        spans: &mut Vec<Span>,
    ) -> Result<()> {
        let (start, end) = (layout.character(range.start), layout.character(range.end));
        let text = &layout.text()[range];
        let windows = windows(text, self.settings.window, self.settings.stride);
        let mut sum = Sum::default();
        for batch in windows.chunks(BATCH) {
            match model.score(&batch.iter().map(|window| request(text, window)).collect::<Vec<_>>()) {
                Ok(scored) => {
                    for scored in &scored {
                        sum.add(scored);
                    }
                }
                Err(_) => batch.iter().try_for_each(|window| score(model, text, window.clone(), &mut sum))?,
            }
        }
        if sum.bytes == 0 || sum.tokens == 0 {
            return Ok(());
        }
        let bits = 0.0 - sum.log_probability / std::f64::consts::LN_2 / sum.bytes as f64;
        let perplexity = (0.0 - sum.log_probability / sum.tokens as f64).exp();
        if !bits.is_finite() || !perplexity.is_finite() {
            return Err(Error::user(Place::key("model"), "the model's scores are no finite numbers"));
        }
        spans.push(Span { start, end, kind, score: bits });
        spans.push(Span { start, end, kind: kind + 1, score: perplexity });
        Ok(())
    }
}

/// What comes before, and what is scored: ranges of bytes that follow each other.
type Window = (Range<usize>, Range<usize>);

fn request(text: &str, (before, scored): &Window) -> ScoreRequest {
    ScoreRequest { context: text[before.clone()].to_owned(), continuation: text[scored.clone()].to_owned() }
}

/// Scores a window, in halves when the model refuses it.
fn score(model: &dyn Score, text: &str, (before, scored): Window, sum: &mut Sum) -> Result<()> {
    match model.score(&[request(text, &(before.clone(), scored.clone()))]) {
        Ok(answers) => {
            for answer in &answers {
                sum.add(answer);
            }
            Ok(())
        }
        Err(error) if before.len() + scored.len() <= LEAST => Err(error),
        Err(_) if before.len() > scored.len() / 2 => {
            let from = border(text, before.start, before.end, before.len() / 2);
            score(model, text, (from..before.end, scored), sum)
        }
        Err(_) => {
            let middle = border(text, scored.start, scored.end, scored.len() / 2);
            score(model, text, (before, scored.start..middle), sum)?;
            score(model, text, (scored.start..middle, middle..scored.end), sum)
        }
    }
}

/// Where a text is cut, about `length` bytes behind `from`: behind the last white space of the second half, or else before the character that would be
/// cut. At least one character lies before it.
fn border(text: &str, from: usize, to: usize, length: usize) -> usize {
    if to - from <= length {
        return to;
    }
    let mut end = from + length;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    if end == from {
        return from + text[from..].chars().next().map_or(0, char::len_utf8);
    }
    let least = from + length / 2;
    let space = text[from..end].char_indices().rev().find(|(_, letter)| is_space(*letter));
    let behind = space.map(|(at, letter)| from + at + letter.len_utf8());
    behind.filter(|at| *at > least).unwrap_or(end)
}

fn windows(text: &str, window: usize, stride: usize) -> Vec<Window> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let length = if at == 0 { window } else { stride };
        let end = border(text, at, text.len(), length);
        let mut from = at.saturating_sub(window - stride);
        while !text.is_char_boundary(from) {
            from += 1;
        }
        out.push((from..at, at..end));
        at = end;
    }
    out
}

impl Build<dyn Tag> for Perplexity {
    fn build(self, place: &Place) -> Result<Box<dyn Tag>> {
        if !(64..=1 << 20).contains(&self.window) || !(32..=self.window).contains(&self.stride) {
            let message = "`window` is from 64 to 1,048,576 bytes, and `stride` from 32 to that";
            return Err(Fault::new(place.clone(), message).into());
        }
        Ok(Box::new(Asked { settings: self, model: OnceLock::new() }))
    }
}

/// The record of `perplexity`.
pub static PART: Part<dyn Tag> = Part::of::<Perplexity>("perplexity", 1);

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// A token for each byte, each of a bit, but two where nothing comes before; too long a request is refused.
    struct Bits {
        most: usize,
        asked: Mutex<Vec<ScoreRequest>>,
    }

    impl Score for Bits {
        fn score(&self, requests: &[ScoreRequest]) -> Result<Vec<Scored>> {
            if requests.iter().any(|request| request.context.len() + request.continuation.len() > self.most) {
                return Err(Error::user(Place::key("text"), "too long"));
            }
            self.asked.lock().unwrap().extend_from_slice(requests);
            let scored = |request: &ScoreRequest| {
                let bytes = request.continuation.len();
                let bits = bytes + usize::from(request.context.is_empty() && bytes > 0);
                Scored { log_probability: -std::f64::consts::LN_2 * bits as f64, tokens: bytes, bytes, greedy: false }
            };
            Ok(requests.iter().map(scored).collect())
        }
    }

    fn said(settings: Perplexity, most: usize, text: &str) -> (Result<()>, Vec<Span>, Vec<ScoreRequest>) {
        let part = settings.build(&Place::default()).unwrap();
        let model = Arc::new(Bits { most, asked: Mutex::default() });
        part.give(Arc::clone(&model) as Arc<dyn Score>);
        let (mut layout, mut spans) = (Layout::default(), Vec::new());
        layout.set(text);
        let done = part.start().tag_with(&layout, &Known::default(), &mut spans);
        let asked = std::mem::take(&mut *model.asked.lock().unwrap());
        (done, spans, asked)
    }

    #[test]
    fn each_byte_is_scored_once_with_what_comes_before() {
        let settings = || Perplexity { window: 100, stride: 40, ..Perplexity::default() };
        let text = "w\u{f6}rds of a l\u{f6}ng text ".repeat(60);
        for (text, most) in [
            (text.as_str(), 100),
            (&text[..70], 100),
            (&"\u{4e00}".repeat(200), 100),
            (&text, 30),
            (&"x".repeat(333), 17),
        ] {
            let (done, spans, asked) = said(settings(), most, text);
            done.unwrap();
            assert_eq!(asked.iter().map(|request| request.continuation.as_str()).collect::<String>(), text);
            let mut at = 0;
            for request in &asked {
                assert!(
                    text[..at].ends_with(&request.context) && (at == 0 || !request.context.is_empty()),
                    "{request:?}"
                );
                at += request.continuation.len();
            }
            // A bit for each byte, and one for the first.
            assert!((spans[0].score - (text.len() + 1) as f64 / text.len() as f64).abs() < 1e-12);
            assert!((spans[1].score - 2.0_f64.powf(spans[0].score)).abs() < 1e-9);
            assert_eq!((spans.len(), spans[0].end), (2, text.chars().count()));
        }
        assert_eq!(said(settings(), 100, "").1, []);
        assert!(said(settings(), 8, &text).0.unwrap_err().to_string().contains("too long"));
    }

    #[test]
    fn paragraphs_are_scored_by_themselves() {
        let settings = Perplexity { paragraphs: true, ..Perplexity::default() };
        let (done, spans, asked) = said(settings, 9000, "one\ntwo\n\n\u{e9}\n");
        done.unwrap();
        let found: Vec<_> = spans.iter().map(|span| (span.start, span.end, span.kind)).collect();
        assert_eq!(found, [(0, 11, 0), (0, 11, 1), (0, 7, 2), (0, 7, 3), (9, 10, 2), (9, 10, 3)]);
        assert_eq!(asked.len(), 3);
    }

    #[test]
    fn without_a_model_nothing_is_said() {
        let part = Perplexity::default().build(&Place::default()).unwrap();
        let mut layout = Layout::default();
        layout.set("text");
        let said = part.start().tag_with(&layout, &Known::default(), &mut Vec::new()).unwrap_err().to_string();
        assert!(said.contains("no model called `model`"), "{said}");
        let wrong = Perplexity { stride: 4096, ..Perplexity::default() };
        assert!(wrong.build(&Place::default()).is_err());
    }
}
