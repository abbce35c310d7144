//! Scoring windows, or asking questions, one after the other, with every result on disk before the next is asked for.

use crate::metric::Metric;
use crate::scenario::{Answer, Scenario};
use crate::window::{Window, choose};
use metier_core::data::{Document, Question};
use metier_core::progress::Progress;
use metier_core::seam::{Score, ScoreRequest, Scored};
use metier_core::seed::Seed;
use metier_core::{Error, Fault, Place, Result, stop};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::ops::Range;
use std::path::Path;

/// What is measured, and how surely.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Bytes of text in a window at most. Each window is scored by itself, so it must fit in the context of every
    /// model that is to be compared; four bytes a token is usual for English.
    #[schemars(range(min = 16, max = 16_777_216))]
    pub window_bytes: usize,
    /// Windows measured of each set of texts, spread evenly over its documents; 0 measures all.
    pub max_windows: usize,
    /// Windows handed to the model at once.
    #[schemars(range(min = 1, max = 65_536))]
    pub batch: usize,
    /// Times the documents are drawn anew to find the 95 % interval.
    #[schemars(range(min = 100, max = 10_000_000))]
    pub resamples: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { window_bytes: 1024, max_windows: 0, batch: 8, resamples: 10_000 }
    }
}

/// What a model said to one window. A line of the windows file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// The document's id.
    pub document: String,
    /// First byte of the window in the document's text.
    pub start: usize,
    /// One past its last byte.
    pub end: usize,
    /// The first 16 hexadecimal digits of the BLAKE3 hash of the window's text.
    pub hash: String,
    /// Minus the natural logarithm of the probability of the scored tokens.
    pub nats: f64,
    /// Bytes the scored tokens cover.
    pub bytes: usize,
    /// Characters the scored tokens cover; one that a token covers in part is whole.
    pub characters: usize,
    /// Tokens scored.
    pub tokens: usize,
    /// Of a question, whether the reply is right; the numbers above are then those of the right answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub right: Option<bool>,
    /// Of a question, what the model replied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
    /// Of a query, the places from 1 at which the passages that belong to it were found, in order; the numbers above are then 0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranks: Vec<usize>,
}

impl Measured {
    /// Of a window, the numbers that the model gave.
    pub(crate) fn new(window: &Window, scored: &Scored) -> Self {
        let end = window.text.len().saturating_sub(scored.bytes);
        Self {
            document: window.document.clone(),
            start: window.start,
            end: window.end,
            hash: window.hash(),
            // No negative zero: it would read back as another number in some readers.
            nats: -scored.log_probability + 0.0,
            bytes: scored.bytes,
            // A character that is covered in part counts.
            characters: window.text[window.text.floor_char_boundary(end)..].chars().count(),
            tokens: scored.tokens,
            ..Self::default()
        }
    }

    /// Whether this is a measurement of the same text as the other.
    pub fn same_window(&self, other: &Self) -> bool {
        (&self.document, self.start, self.end, &self.hash) == (&other.document, other.start, other.end, &other.hash)
    }

    fn is_of(&self, window: &Window) -> bool {
        self.document == window.document
            && (self.start, self.end) == (window.start, window.end)
            && self.hash == window.hash()
    }
}

/// A model's measurements of a set of texts.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// In the order of the documents and of their text; never empty.
    pub windows: Vec<Measured>,
}

impl Evaluation {
    /// Reads the file that [`evaluate`] wrote.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|error| Error::io(path, "read the windows", &error))?;
        let (windows, whole) = parse(path, &bytes)?;
        if whole < bytes.len() {
            let place = Place::file(path).at(windows.len() + 1, 1);
            return Err(Error::user(place, "the last line of the windows breaks off")
                .hint("run the evaluation again: it goes on from here"));
        }
        if windows.is_empty() {
            return Err(Error::file(path, "the file holds no windows").hint("run the evaluation again"));
        }
        Ok(Self { windows })
    }

    /// What a metric makes of all windows together.
    pub fn value(&self, metric: &dyn Metric) -> f64 {
        metric.value(self.total())
    }

    /// All windows added up.
    pub fn total(&self) -> Amount {
        self.windows.iter().map(Amount::from).fold(Amount::default(), Amount::plus)
    }

    /// Number of different documents.
    pub fn documents(&self) -> usize {
        self.by_document().len()
    }

    /// The windows' numbers by document.
    pub(crate) fn by_document(&self) -> BTreeMap<&str, Vec<usize>> {
        let mut documents: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, window) in self.windows.iter().enumerate() {
            documents.entry(&window.document).or_default().push(index);
        }
        documents
    }
}

/// Sums over windows.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Amount {
    /// Minus the natural logarithm of the probability.
    pub nats: f64,
    /// Bytes covered by scored tokens.
    pub bytes: f64,
    /// Characters covered by scored tokens.
    pub characters: f64,
    /// Scored tokens.
    pub tokens: f64,
    /// Questions.
    pub asked: f64,
    /// Those of them whose reply is right.
    pub right: f64,
    /// Queries.
    pub queries: f64,
    /// Of each query the share of its passages at the first place.
    pub found_at_1: f64,
    /// Of each query the share of its passages among the first ten.
    pub found_at_10: f64,
    /// Of each query 1 / (the place of the first of its passages).
    pub reciprocal_ranks: f64,
    /// Of each query the discounted gain of the first ten, as a share of the greatest that it can have.
    pub gain_at_10: f64,
}

impl Amount {
    /// The two together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            nats: self.nats + other.nats,
            bytes: self.bytes + other.bytes,
            characters: self.characters + other.characters,
            tokens: self.tokens + other.tokens,
            asked: self.asked + other.asked,
            right: self.right + other.right,
            queries: self.queries + other.queries,
            found_at_1: self.found_at_1 + other.found_at_1,
            found_at_10: self.found_at_10 + other.found_at_10,
            reciprocal_ranks: self.reciprocal_ranks + other.reciprocal_ranks,
            gain_at_10: self.gain_at_10 + other.gain_at_10,
        }
    }
}

impl From<&Measured> for Amount {
    fn from(window: &Measured) -> Self {
        let ranks = &window.ranks;
        let found = |most: usize| ranks.iter().filter(|rank| **rank <= most).count() as f64 / ranks.len().max(1) as f64;
        let discount = |rank: usize| 1.0 / (rank as f64 + 1.0).log2();
        let greatest: f64 = (1..=ranks.len().min(10)).map(discount).sum();
        let gain: f64 = ranks.iter().copied().filter(|rank| *rank <= 10).map(discount).sum();
        Self {
            nats: window.nats,
            bytes: window.bytes as f64,
            characters: window.characters as f64,
            tokens: window.tokens as f64,
            asked: f64::from(window.right.is_some()),
            right: f64::from(window.right == Some(true)),
            queries: f64::from(!ranks.is_empty()),
            found_at_1: found(1),
            found_at_10: found(10),
            reciprocal_ranks: ranks.first().map_or(0.0, |rank| 1.0 / *rank as f64),
            gain_at_10: if greatest > 0.0 { gain / greatest } else { 0.0 },
        }
    }
}

/// About how much an evaluation will score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planned {
    /// Windows.
    pub windows: u64,
    /// Bytes of text in them.
    pub bytes: u64,
}

/// About how much an evaluation of `bytes` bytes of text will score.
pub fn plan(bytes: u64, settings: &Settings) -> Planned {
    let size = settings.window_bytes.max(1) as u64;
    let all = bytes.div_ceil(size);
    let windows = if settings.max_windows == 0 { all } else { all.min(settings.max_windows as u64) };
    Planned { windows, bytes: bytes.min(windows.saturating_mul(size)) }
}

/// Scores windows of `documents` and writes a line for each to `file`, in order.
///
/// What is in the file already counts as done: the same call after an interruption goes on there, and the file
/// that results is the same byte for byte. Windows are asked for in groups of `settings.batch` that lie the same
/// way in every run. A file with other windows than these is refused. `progress` counts windows.
pub fn evaluate(
    score: &dyn Score,
    documents: impl IntoIterator<Item = Result<Document>>,
    settings: &Settings,
    seed: Seed,
    progress: &Progress,
    file: impl AsRef<Path>,
) -> Result<Evaluation> {
    let windows = choose(documents, settings, seed)?;
    each(&windows, settings, progress, file.as_ref(), &|group| measure(score, &windows[group]))
}

/// Asks `questions` and writes a line for each to `file`, in order; else as [`evaluate`]. `progress` counts questions.
pub fn evaluate_questions(
    model: &dyn Answer,
    scenario: &dyn Scenario,
    questions: &[Question],
    settings: &Settings,
    progress: &Progress,
    file: impl AsRef<Path>,
) -> Result<Evaluation> {
    // What decides the reply stands before the answer, so that only evaluations of the same are compared.
    let window = |question: &Question| {
        let text = format!("{scenario:?} {:?} {:?} {}", question.question, question.choices, question.answer);
        Window { document: question.id.clone(), start: 0, end: text.len(), text }
    };
    let windows: Vec<Window> = questions.iter().map(window).collect();
    each(&windows, settings, progress, file.as_ref(), &|group| {
        let windows = windows[group.clone()].iter();
        let answered = scenario.ask(model, &questions[group])?;
        let measured = windows.zip(&answered).map(|(window, answered)| {
            let reply = Some(answered.reply.clone());
            checked(window, &answered.scored).map(|measured| Measured {
                right: Some(answered.right),
                reply,
                ..measured
            })
        });
        gathered(measured)
    })
}

/// Measures windows in groups that lie the same way in every run, with every group on disk before the next is begun.
pub(crate) fn each(
    windows: &[Window],
    settings: &Settings,
    progress: &Progress,
    path: &Path,
    measure: &dyn Fn(Range<usize>) -> Result<Vec<Measured>>,
) -> Result<Evaluation> {
    let batch = settings.batch.max(1);
    let (mut file, mut done) = resume(path, windows, batch)?;
    progress.resume_at(done.len() as u64);
    let mut total = done.iter().map(Amount::from).fold(Amount::default(), Amount::plus);
    while done.len() < windows.len() {
        stop::check()?;
        let group = done.len()..windows.len().min(done.len() + batch);
        let measured = measure(group.clone())?;
        if measured.len() != group.len() {
            return Err(Error::program(format!("{} were measured, {} answers came", group.len(), measured.len())));
        }
        let mut lines = Vec::new();
        for window in &measured {
            serde_json::to_writer(&mut lines, window)
                .map_err(|error| Error::program(format!("a window does not serialize: {error}")))?;
            lines.push(b'\n');
            total = total.plus(window.into());
        }
        file.write_all(&lines).map_err(|error| Error::io(path, "write the windows", &error))?;
        done.extend(measured);
        progress.add(group.len() as u64);
        progress.note(&match (total.asked, total.queries) {
            (0.0, 0.0) => format!("{:.3} bits a byte", total.nats / std::f64::consts::LN_2 / total.bytes.max(1.0)),
            (0.0, queries) => format!("{:.3} found first", total.found_at_1 / queries),
            (asked, _) => format!("{:.3} right", total.right / asked),
        });
    }
    file.sync_all().map_err(|error| Error::io(path, "write the windows", &error))?;
    if total.bytes <= 0.0 && total.queries <= 0.0 {
        return Err(Error::user(Place::default(), "no window is long enough to be scored")
            .hint("measure longer texts, or raise `window_bytes`"));
    }
    Ok(Evaluation { windows: done })
}

fn measure(score: &dyn Score, group: &[Window]) -> Result<Vec<Measured>> {
    let requests: Vec<ScoreRequest> =
        group.iter().map(|window| ScoreRequest { context: String::new(), continuation: window.text.clone() }).collect();
    let scored = score
        .score(&requests)
        .map_err(|error| error.hint("lower `window_bytes` when a window is longer than the model's context"))?;
    gathered(group.iter().zip(&scored).map(|(window, scored)| checked(window, scored)))
}

/// What a model gave for a window, if it can be.
fn checked(window: &Window, scored: &Scored) -> std::result::Result<Measured, Box<Fault>> {
    let measured = Measured::new(window, scored);
    if measured.nats.is_finite() && scored.bytes <= window.text.len() {
        return Ok(measured);
    }
    let place = Place::key(format!("{}: bytes {} to {}", window.document, window.start, window.end));
    let message = format!("the model gave the log-probability {} for {} bytes", scored.log_probability, scored.bytes);
    Err(Box::new(Fault::new(place, message).hint("the model's weights may hold numbers that are not finite")))
}

fn gathered(measured: impl Iterator<Item = std::result::Result<Measured, Box<Fault>>>) -> Result<Vec<Measured>> {
    let (mut out, mut faults) = (Vec::new(), Vec::new());
    for measured in measured {
        match measured {
            Ok(measured) => out.push(measured),
            Err(fault) => faults.push(*fault),
        }
    }
    Error::collect(out, faults)
}

/// Opens the file for appending after the last whole group in it, and gives what it holds up to there.
fn resume(path: &Path, windows: &[Window], batch: usize) -> Result<(File, Vec<Measured>)> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(Error::io(path, "read the windows", &error)),
    };
    let (mut done, _) = parse(path, &bytes)?;
    if done.len() > windows.len() || done.iter().zip(windows).any(|(done, window)| !done.is_of(window)) {
        return Err(
            Error::file(path, "the file holds windows of another evaluation").hint("remove it, or name another file")
        );
    }
    if done.len() < windows.len() {
        done.truncate(done.len() / batch * batch);
    }
    let keep: usize = bytes.split_inclusive(|&byte| byte == b'\n').take(done.len()).map(<[u8]>::len).sum();
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .and_then(|file| file.set_len(keep as u64).map(|()| file))
        .map_err(|error| Error::io(path, "open the windows", &error))?;
    Ok((file, done))
}

/// The complete lines of a windows file, and the bytes they take.
fn parse(path: &Path, bytes: &[u8]) -> Result<(Vec<Measured>, usize)> {
    let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    let mut windows = Vec::new();
    let mut faults = Vec::new();
    for (index, line) in bytes[..whole].split_inclusive(|&byte| byte == b'\n').enumerate() {
        match serde_json::from_slice::<Measured>(line) {
            Ok(window) => windows.push(window),
            Err(error) => {
                let place = Place::file(path).at(index + 1, error.column().max(1));
                faults.push(Fault::new(place, format!("this is no measured window: {error}")));
            }
        }
    }
    faults.truncate(20);
    Error::collect((windows, whole), faults)
}
