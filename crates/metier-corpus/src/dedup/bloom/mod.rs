//! Documents and paragraphs that were seen before, by a Bloom filter: tagged, not dropped.

mod config;
mod filter;
mod hash;
mod look;
#[cfg(test)]
mod tests;

pub use config::{ConfigReport, dedupe_config};
pub use filter::{Filter, Hashes, Size};
pub use look::By;

use super::Said;
use crate::document_file::{DocumentWriter, HELD_OUT, HELD_OUT_ATTRIBUTES, TRAIN, TRAIN_ATTRIBUTES};
use crate::mix::{Beside, Entry};
use crate::scratch;
use look::{Looker, Unit};
use metier_core::progress::{Progress, say};
use metier_core::seed::Seed;
use metier_core::{Error, Place, Result, store};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The file of the filter in what [`dedupe()`] writes.
pub const FILTER: &str = "filter.bloom";

/// What is looked up, in which filter, and what it is called. What was seen before is tagged with its span and a score: 1, or the share
/// of a paragraph's sequences of words that were seen. `mix` drops or replaces what is tagged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DedupeSettings {
    /// The attribute under which spans stand that were seen before.
    pub attribute: String,
    /// What is compared.
    pub by: By,
    /// With `by = "document"`, the path to the text that is compared: `$.text`, `$.metadata.url`.
    pub key: String,
    /// With `by = "paragraph"`, what stands between paragraphs.
    pub separator: String,
    /// Words of a sequence, by the word borders of Unicode and without white space; with 0, paragraphs are compared whole.
    #[schemars(range(max = 1000))]
    pub ngram_length: usize,
    /// Words between the beginnings of two sequences; 0 is 1. The second sequence begins at the second word, as in Dolma.
    pub stride: usize,
    /// The share of a paragraph's sequences that were seen before, from which on it is tagged.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub overlap_threshold: f32,
    /// Whether paragraphs of fewer than two sequences are left alone, and not compared whole.
    pub skip_short_paragraphs: bool,
    /// Whether what is nothing but white space is left alone.
    pub skip_empty: bool,
    /// Characters of what is compared; what has fewer is left alone.
    pub minimum_length: usize,
    /// Words of what is compared; what has fewer is left alone.
    pub minimum_words: usize,
    /// Items that a new filter is made for: documents, paragraphs, or sequences of words.
    #[schemars(range(min = 1))]
    pub expected: u64,
    /// The probability that something new is taken for seen before, when the filter holds as many items as expected.
    #[schemars(range(min = 1e-12, max = 0.5))]
    pub false_positives: f64,
    /// Bytes of a new filter; without them, as many as that takes.
    #[schemars(range(min = 4))]
    pub bytes: Option<u64>,
    /// Whether the filter stays as it is, so that only what it holds already is tagged.
    pub read_only: bool,
}

impl Default for DedupeSettings {
    fn default() -> Self {
        Self {
            attribute: "duplicates".to_owned(),
            by: By::Document,
            key: "$.text".to_owned(),
            separator: "\n".to_owned(),
            ngram_length: 0,
            stride: 0,
            overlap_threshold: 1.0,
            skip_short_paragraphs: false,
            skip_empty: false,
            minimum_length: 0,
            minimum_words: 0,
            expected: 1_000_000,
            false_positives: 1e-6,
            bytes: None,
            read_only: false,
        }
    }
}

impl DedupeSettings {
    /// Checks them; `place` tells where a key is.
    ///
    /// # Errors
    /// All that is out of range, and a path that cannot be read.
    pub fn check(&self, place: impl Fn(&str) -> Place) -> Result<()> {
        Looker::new(self, place).map(drop)
    }

    /// The size of a new filter.
    #[must_use]
    pub fn size(&self) -> Size {
        Size::new(self.expected, self.false_positives, self.bytes)
    }
}

/// What became of the documents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DedupeReport {
    /// Documents to learn from, and held out.
    pub documents: [u64; 2],
    /// Those of them in which something was seen before.
    pub tagged: [u64; 2],
    /// Spans that were seen before.
    pub spans: u64,
    /// Items that were new to the filter.
    pub inserted: u64,
}

/// How far an interrupted call has come.
#[derive(Default, Serialize, Deserialize)]
struct State {
    /// Files that are done with, and documents of the next.
    files: usize,
    documents: usize,
    /// Bytes of both files of attributes.
    lengths: [u64; 2],
    /// The number of the file that holds the filter; 0 before there is one.
    filter: u64,
    report: DedupeReport,
}

/// What an interruption costs at most, or ten times what saving a filter takes.
const BETWEEN_STATES: Duration = if cfg!(test) { Duration::ZERO } else { Duration::from_secs(20) };

/// A document whose units are hashed.
struct Hashed {
    said: Said,
    units: Vec<Unit>,
}

/// What is at work.
struct Dedupe<'a> {
    settings: &'a DedupeSettings,
    looker: &'a Looker<'a>,
    filter: Filter,
    writers: [DocumentWriter; 2],
    state: State,
    scratch: PathBuf,
    /// When the state was saved, and how long it took.
    saved: (Instant, Duration),
}

/// Tags in the documents of the curated folder `from` what was seen before: in their order, those to learn from first. Writes the same
/// documents into `out`, with what was said of them already and [`DedupeSettings::attribute`] beside them, and the filter as [`FILTER`].
/// `before` is the file of a filter to go on with. `out/scratch` says how far it has come: the same call goes on from there, with the
/// same result, for any number of threads.
///
/// # Errors
/// Documents without a text under the key, with file and line, or with such an attribute already; a file that is no filter; a full disk.
pub fn dedupe(
    settings: &DedupeSettings,
    from: &Path,
    before: Option<&Path>,
    seed: Seed,
    out: &Path,
    progress: &Progress,
) -> Result<DedupeReport> {
    let looker = Looker::new(settings, |key| Place::key(key))?;
    let scratch = out.join(store::SCRATCH);
    let state: State = scratch::load(&scratch)?;
    let filter = match (state.filter, before) {
        (0, None) => Filter::new(settings.size(), seed),
        (0, Some(before)) => Filter::open(before)?,
        (number, _) => Filter::open(&kept(&scratch, number))?,
    };
    let hashes = filter.hashes().clone();
    progress.add(state.report.documents.iter().sum());
    let writer = |file: &str, length| DocumentWriter::resume(&out.join(file), length);
    let writers = [writer(TRAIN_ATTRIBUTES, state.lengths[0])?, writer(HELD_OUT_ATTRIBUTES, state.lengths[1])?];
    let saved = (Instant::now(), Duration::ZERO);
    let mut work = Dedupe { settings, looker: &looker, filter, writers, state, scratch, saved };
    let files = [(TRAIN, TRAIN_ATTRIBUTES), (HELD_OUT, HELD_OUT_ATTRIBUTES)];
    for (held_out, (documents, attributes)) in files.into_iter().enumerate().skip(work.state.files) {
        let attributes = Some(from.join(attributes)).filter(|path| path.exists());
        let input = Beside { documents: from.join(documents), attributes: attributes.into_iter().collect() };
        input.each(
            work.state.documents,
            |entry, document| hashed(&looker, &hashes, &input, entry, document),
            |group| {
                progress.add(group.len() as u64);
                work.take(group, held_out)
            },
        )?;
        let copy = out.join(documents);
        std::fs::copy(&input.documents, &copy).map_err(|error| Error::io(&copy, "write", &error))?;
        (work.state.files, work.state.documents) = (held_out + 1, 0);
        work.save()?;
    }
    work.filter.save(&out.join(FILTER))?;
    tell(&work.filter, settings);
    Ok(work.state.report)
}

/// The file of the filter that belongs to a state.
fn kept(scratch: &Path, number: u64) -> PathBuf {
    scratch.join(format!("filter-{number}"))
}

fn hashed(looker: &Looker, hashes: &Hashes, input: &Beside, entry: &Entry, mut document: Value) -> Result<Hashed> {
    let units = looker.units(&document, hashes).map_err(|message| input.wrong(entry.line, message))?;
    Ok(Hashed { said: Said::of(&mut document), units })
}

/// Says so if the filter takes more for seen before than was wanted.
fn tell(filter: &Filter, settings: &DedupeSettings) {
    let (rate, Size { bytes, hashes }) = (filter.false_positives(), filter.size());
    if rate > 2.0 * settings.false_positives {
        say(&format!(
            "warning: the filter of {bytes} bytes and {hashes} hashes takes {rate:.1e} of what is new for seen before; give it more `bytes`, or `expected` items"
        ));
    }
}

impl Dedupe<'_> {
    fn take(&mut self, group: Vec<Hashed>, held_out: usize) -> Result<()> {
        self.state.documents += group.len();
        let report = &mut self.state.report;
        for Hashed { mut said, units } in group {
            let (spans, inserted) = self.looker.seen(units, &mut self.filter, self.settings.read_only);
            report.documents[held_out] += 1;
            report.tagged[held_out] += u64::from(!spans.is_empty());
            report.spans += spans.len() as u64;
            report.inserted += inserted;
            said.add(&self.settings.attribute, spans)?;
            self.writers[held_out].write(&said)?;
        }
        let (when, took) = self.saved;
        if when.elapsed() > BETWEEN_STATES.max(if cfg!(test) { Duration::ZERO } else { took * 10 }) {
            self.save()?;
        }
        Ok(())
    }

    /// Brings everything to the disk, and then says how far it goes.
    fn save(&mut self) -> Result<()> {
        let begun = Instant::now();
        let number = self.state.filter + 1;
        self.filter.save(&kept(&self.scratch, number))?;
        for (length, writer) in self.state.lengths.iter_mut().zip(&mut self.writers) {
            *length = writer.sync()?;
        }
        self.state.filter = number;
        scratch::save(&self.state, &self.scratch)?;
        let before = kept(&self.scratch, number - 1);
        if before.exists() {
            std::fs::remove_file(&before).map_err(|error| Error::io(&before, "remove", &error))?;
        }
        self.saved = (Instant::now(), begun.elapsed());
        Ok(())
    }
}
