//! Finding the numbers of a classifier.

use super::{Features, Model, Predictor, Reader, softmax};
use crate::read::{Lines, some_files};
use metier_core::progress::{Progress, say};
use metier_core::seed::Seed;
use metier_core::{Error, Fault, Place, Result, stop, store};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::Arc;

/// The file of a classifier.
pub const TAGGER: &str = "tagger.safetensors";
/// Texts that are learned from, one behind the other.
const TEXTS: &str = "texts";
/// Where an interrupted training goes on.
const ROWS: &str = "rows.f32";
/// Documents whose errors are found before the numbers are changed.
const BATCH: usize = 32;
/// Parts of the buckets, each of which one thread changes. A fixed number, so that the number of threads changes nothing.
const SHARDS: usize = 16;
/// Faults that are told.
const TOLD: usize = 20;

/// Trains a classifier of texts: a softmax over hashed sequences of words and characters, as fastText's supervised training without the layer
/// between (Joulin et al. 2016, arXiv:1607.01759). Each step goes down the gradient of the cross-entropy, by `rate` over the root of the sum of
/// what the bucket's squared gradients were (Duchi et al. 2011, Adagrad), and `rate` falls to 0 in the end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrainSettings {
    /// Patterns of the files of JSON lines.
    pub include: Vec<String>,
    /// The key of the text.
    pub text_key: String,
    /// The key of the label: a text, a whole number, `true` or `false`.
    pub label_key: String,
    /// Share of the documents that is held out to measure by, where `test` names none.
    #[schemars(range(min = 0.0, max = 0.9))]
    pub held_out: f64,
    /// What is seen of a text.
    pub features: Features,
    /// Times that all documents are seen.
    #[schemars(range(min = 1, max = 1000))]
    pub epochs: u64,
    /// How far the first step goes.
    #[schemars(range(min = 0.0001, max = 10.0))]
    pub rate: f32,
}

impl Default for TrainSettings {
    fn default() -> Self {
        Self {
            include: crate::packing::with_packed(&["*.jsonl"]),
            text_key: "text".to_owned(),
            label_key: "label".to_owned(),
            held_out: 0.1,
            features: Features::default(),
            epochs: 5,
            rate: 0.5,
        }
    }
}

impl TrainSettings {
    /// Refuses settings outside their ranges; `place` says where a key is written.
    pub fn check(&self, place: impl Fn(&str) -> Place) -> Result<()> {
        let mut faults = Vec::new();
        let mut refuse = |key: &str, message: &str| faults.push(Fault::new(place(key), message));
        if !(0.0..=0.9).contains(&self.held_out) {
            refuse("held_out", "a share of the documents is from 0 to 0.9");
        }
        if self.epochs == 0 {
            refuse("epochs", "documents are seen at least once");
        }
        if !(self.rate > 0.0 && self.rate <= 10.0) {
            refuse("rate", "a rate is more than 0 and at most 10");
        }
        if let Err(message) = self.features.check() {
            refuse("features", message);
        }
        Error::collect((), faults)
    }
}

/// How well documents with one label are told from others.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LabelReport {
    /// The label.
    pub label: String,
    /// Documents learned from.
    pub learned: u64,
    /// Documents held out.
    pub held_out: u64,
    /// Documents held out that were given this label.
    pub given: u64,
    /// Of these, those that have it.
    pub right: u64,
}

impl LabelReport {
    /// The harmonic mean of precision and recall; 0 where nothing is right.
    pub fn f1(&self) -> f64 {
        2.0 * self.right as f64 / (self.held_out + self.given).max(1) as f64
    }
}

/// What a training came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrainReport {
    /// Documents learned from.
    pub learned: u64,
    /// Documents held out.
    pub held_out: u64,
    /// By label.
    pub labels: Vec<LabelReport>,
}

impl TrainReport {
    /// The share of held-out documents that were given their label.
    pub fn accuracy(&self) -> f64 {
        self.labels.iter().map(|label| label.right).sum::<u64>() as f64 / self.held_out.max(1) as f64
    }

    /// The mean of the labels' F1.
    pub fn macro_f1(&self) -> f64 {
        self.labels.iter().map(LabelReport::f1).sum::<f64>() / self.labels.len().max(1) as f64
    }

    /// The accuracy of always giving the label that was learned from most.
    pub fn baseline(&self) -> f64 {
        let most = self.labels.iter().max_by_key(|label| label.learned);
        most.map_or(0.0, |label| label.held_out as f64 / self.held_out.max(1) as f64)
    }
}

/// Where a document's text stands, and its label.
struct Entry {
    at: u64,
    length: u32,
    label: u32,
}

/// Documents, with their texts on the disk.
#[derive(Default)]
struct Corpus {
    learned: Vec<Entry>,
    held_out: Vec<Entry>,
    /// Labels by their name, with the numbers that entries have.
    labels: BTreeMap<String, u32>,
}

/// Bytes that a training holds: numbers of buckets and labels, and what is known of documents.
pub fn memory(features: Features, labels: u64, documents: u64) -> u64 {
    let row = (features.buckets() as u64).saturating_mul(4);
    // The model is made while the rows from which it is taken are there.
    row.saturating_mul(2 * labels + 1).saturating_add(documents.saturating_mul(40)).saturating_add(64 << 20)
}

/// Learns from the JSON lines in `from`, measures on those in `test` or on a share of `from`, and writes [`TAGGER`] into `out`. What an
/// interrupted call has done lies in `scratch`. `reserve` is told the bytes that the training holds, before it holds them.
///
/// # Errors
/// Lines without text or label, with file and line; fewer than two labels; what cannot be read or written.
pub fn train(
    settings: &TrainSettings,
    (from, test): (&Path, Option<&Path>),
    seed: Seed,
    (scratch, out): (&Path, &Path),
    reserve: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<TrainReport> {
    let texts = scratch.join(TEXTS);
    let corpus = gather(settings, (from, test), seed, &texts)?;
    let labels: Vec<String> = corpus.labels.keys().cloned().collect();
    // From the order in which labels were met to that of their names.
    let mut ranks = vec![0; labels.len()];
    (0..).zip(corpus.labels.values()).for_each(|(rank, met)| ranks[*met as usize] = rank);
    let documents = corpus.learned.len() + corpus.held_out.len();
    reserve(memory(settings.features, labels.len() as u64, documents as u64))?;
    let map = store::map_file(&texts)?;
    let text = |entry: &Entry| {
        let bytes = map.get(entry.at as usize..entry.at as usize + entry.length as usize);
        bytes.and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    };
    let learner = Learner { settings, labels: labels.len(), seed: seed.derive("order") };
    let rows = learner.learn(&corpus.learned, &ranks, &text, &scratch.join(ROWS))?;
    let model = Arc::new(learner.model(&rows, labels.clone()));
    drop(rows);
    model.save(&out.join(TAGGER))?;
    let given: Vec<Option<usize>> = corpus
        .held_out
        .par_iter()
        .map_init(
            || Predictor::new(Arc::clone(&model)),
            |predictor, entry| {
                let scores = predictor.predict(text(entry));
                scores.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(label, _)| label)
            },
        )
        .collect();
    let none = |label| LabelReport { label, learned: 0, held_out: 0, given: 0, right: 0 };
    let mut reports: Vec<LabelReport> = labels.into_iter().map(none).collect();
    for entry in &corpus.learned {
        reports[ranks[entry.label as usize]].learned += 1;
    }
    for (entry, given) in corpus.held_out.iter().zip(given) {
        let label = ranks[entry.label as usize];
        reports[label].held_out += 1;
        if let Some(given) = given {
            reports[given].given += 1;
            reports[given].right += u64::from(given == label);
        }
    }
    for report in reports.iter().filter(|report| report.learned == 0) {
        say(&format!("the label `{}` is held out only, so nothing is learned of it", report.label));
    }
    let (learned, held_out) = (corpus.learned.len() as u64, corpus.held_out.len() as u64);
    Ok(TrainReport { learned, held_out, labels: reports })
}

/// Reads documents, and writes their texts into one file.
fn gather(settings: &TrainSettings, (from, test): (&Path, Option<&Path>), seed: Seed, texts: &Path) -> Result<Corpus> {
    let failed = |error: std::io::Error| Error::io(texts, "write", &error);
    let mut out = BufWriter::with_capacity(1 << 17, std::fs::File::create(texts).map_err(failed)?);
    let (mut corpus, mut at, mut number, mut faults) = (Corpus::default(), 0, 0, Vec::new());
    let seed = seed.derive("held out");
    let files = |path: &Path| some_files(path, &settings.include, &[]);
    let tested = test.map(files).transpose()?.unwrap_or_default();
    let all = files(from)?.into_iter().map(|file| (file, false));
    let progress = Progress::new("documents", None, "documents");
    for ((name, path), held_out) in all.chain(tested.into_iter().map(|file| (file, true))) {
        let mut lines = Lines::open(name, path.clone())?;
        while let Some(line) = lines.next()? {
            stop::check()?;
            if line.trim_ascii().is_empty() {
                continue;
            }
            let (text, label) = match labeled(settings, &path, lines.read, &line) {
                Ok(labeled) => labeled,
                Err(error) => {
                    faults.extend(error.faults);
                    if faults.len() >= TOLD {
                        return Error::collect(corpus, faults);
                    }
                    continue;
                }
            };
            out.write_all(text.as_bytes()).map_err(failed)?;
            let next = corpus.labels.len() as u32;
            let entry = Entry { at, length: text.len() as u32, label: *corpus.labels.entry(label).or_insert(next) };
            at += text.len() as u64;
            let held_out = held_out || (test.is_none() && seed.at(number).unit() < settings.held_out);
            if held_out { &mut corpus.held_out } else { &mut corpus.learned }.push(entry);
            number += 1;
            progress.add(1);
        }
    }
    progress.finish();
    Error::collect((), faults)?;
    out.flush().map_err(failed)?;
    let labels = corpus.learned.iter().map(|entry| entry.label).collect::<std::collections::BTreeSet<_>>().len();
    if labels < 2 || corpus.labels.len() > usize::from(u16::MAX) {
        let message = format!("the documents to learn from have {labels} labels");
        let hint = "two or more are needed, and at most 65,535";
        return Err(Fault::new(Place::file(from), message).hint(hint).into());
    }
    Ok(corpus)
}

/// The text and the label of a line.
fn labeled(settings: &TrainSettings, path: &Path, line: usize, bytes: &[u8]) -> Result<(String, String)> {
    let place = |column: usize| Place::file(path).at(line, column);
    let mut fields: BTreeMap<String, Value> =
        serde_json::from_slice(bytes).map_err(|error| Error::user(place(error.column()), error.to_string()))?;
    let mut take = |key: &str, what: &str| {
        fields.remove(key).ok_or_else(|| {
            let known: Vec<_> = fields.keys().cloned().collect();
            Error::user(place(1), format!("the line has no {what} under `{key}`"))
                .hint(format!("its keys: {}; set `{what}_key`", known.join(", ")))
        })
    };
    let Value::String(text) = take(&settings.text_key, "text")? else {
        return Err(Error::user(place(1), format!("`{}` is no text", settings.text_key)));
    };
    let label = match take(&settings.label_key, "label")? {
        Value::String(label) if !label.is_empty() => label,
        Value::Bool(label) => label.to_string(),
        Value::Number(label) if label.is_i64() || label.is_u64() => label.to_string(),
        other => {
            return Err(Error::user(place(1), format!("`{}` is no label: {other}", settings.label_key))
                .hint("a label is a text, a whole number, `true` or `false`"));
        }
    };
    Ok((text, label))
}

/// What is known of a document of a batch.
#[derive(Default)]
struct Seen {
    /// Buckets of its features, by shard, counted from the shard's first.
    features: Vec<Vec<u32>>,
    /// One by the root of how many there are.
    scale: f32,
    /// The probability of each label without what should be there.
    errors: Vec<f32>,
    reader: Reader,
}

struct Learner<'a> {
    settings: &'a TrainSettings,
    labels: usize,
    seed: Seed,
}

impl Learner<'_> {
    /// Numbers in a row: one for each label, and the sum of the squared gradients.
    fn width(&self) -> usize {
        self.labels + 1
    }

    /// Rows, one for each bucket and one of what each label has of itself.
    fn learn<'t>(
        &self,
        entries: &[Entry],
        ranks: &[usize],
        text: &(impl Fn(&Entry) -> &'t str + Sync),
        kept: &Path,
    ) -> Result<Vec<f32>> {
        let (buckets, width) = (self.settings.features.buckets(), self.width());
        let mut rows = vec![0.0_f32; (buckets + 1) * width];
        let begun = if kept.exists() { restore(kept, &mut rows)? } else { 0 };
        let all = entries.len() as u64 * self.settings.epochs;
        let progress = Progress::new("learns", Some(all), "documents");
        progress.resume_at(begun * entries.len() as u64);
        let mut seen: Vec<Seen> = (0..BATCH).map(|_| Seen::default()).collect();
        let mut order: Vec<u32> = Vec::new();
        for epoch in begun..self.settings.epochs {
            order.clear();
            order.extend(0..entries.len() as u32);
            self.seed.at(epoch).shuffle(&mut order);
            for (number, batch) in order.chunks(BATCH).enumerate() {
                stop::check()?;
                let done = epoch * entries.len() as u64 + (number * BATCH) as u64;
                let rate = self.settings.rate * (1.0 - done as f64 / all as f64) as f32;
                let seen = &mut seen[..batch.len()];
                seen.par_iter_mut().zip(batch).for_each(|(seen, at)| {
                    let entry = &entries[*at as usize];
                    self.look(seen, text(entry), ranks[entry.label as usize], &rows);
                });
                self.change(seen, rate, &mut rows);
                progress.add(batch.len() as u64);
            }
            save(epoch + 1, &rows, kept)?;
        }
        progress.finish();
        Ok(rows)
    }

    /// The features of a text, and by how much the labels' probabilities are wrong.
    fn look(&self, seen: &mut Seen, text: &str, label: usize, rows: &[f32]) {
        let (features, width) = (self.settings.features, self.width());
        let Seen { features: by_shard, scale, errors, reader } = seen;
        by_shard.resize_with(SHARDS, Vec::new);
        by_shard.iter_mut().for_each(Vec::clear);
        let shard_bits = features.bucket_bits - SHARDS.ilog2();
        features.of(text, reader, |bucket| {
            by_shard[(bucket >> shard_bits) as usize].push(bucket & ((1 << shard_bits) - 1));
        });
        errors.clear();
        errors.resize(self.labels, 0.0);
        let mut count = 0;
        for (shard, found) in by_shard.iter().enumerate() {
            let rows = &rows[(shard << shard_bits) * width..];
            count += found.len();
            for bucket in found {
                let row = &rows[*bucket as usize * width..][..self.labels];
                errors.iter_mut().zip(row).for_each(|(sum, weight)| *sum += weight);
            }
        }
        *scale = if count == 0 { 0.0 } else { 1.0 / (count as f32).sqrt() };
        let own = &rows[features.buckets() * width..][..self.labels];
        errors.iter_mut().zip(own).for_each(|(sum, own)| *sum = *sum * *scale + own);
        softmax(errors);
        errors[label] -= 1.0;
    }

    /// Changes the rows of what was seen, each shard on one thread and document after document.
    fn change(&self, seen: &[Seen], rate: f32, rows: &mut [f32]) {
        let width = self.width();
        let (shards, own) = rows.split_at_mut(self.settings.features.buckets() * width);
        let shard_length = shards.len() / SHARDS;
        shards.par_chunks_mut(shard_length).enumerate().for_each(|(shard, rows)| {
            for seen in seen {
                for bucket in &seen.features[shard] {
                    descend(&mut rows[*bucket as usize * width..][..width], &seen.errors, seen.scale, rate);
                }
            }
        });
        for seen in seen {
            descend(own, &seen.errors, 1.0, rate);
        }
    }

    fn model(&self, rows: &[f32], labels: Vec<String>) -> Model {
        let mut weights = Vec::with_capacity(self.settings.features.buckets() * self.labels);
        let (shared, own) = rows.split_at(self.settings.features.buckets() * self.width());
        shared.chunks_exact(self.width()).for_each(|row| weights.extend_from_slice(&row[..self.labels]));
        let bias = own[..self.labels].to_vec();
        Model { features: self.settings.features, labels, weights, bias, hash: String::new() }
    }
}

/// One step of a row down its gradient, `errors` by `scale`.
fn descend(row: &mut [f32], errors: &[f32], scale: f32, rate: f32) {
    let (weights, sum) = row.split_at_mut(errors.len());
    let square: f32 = errors.iter().map(|error| error * error).sum();
    sum[0] += square * scale * scale;
    if sum[0] > 0.0 {
        let step = rate * scale / sum[0].sqrt();
        weights.iter_mut().zip(errors).for_each(|(weight, error)| *weight -= step * error);
    }
}

/// Writes rows after an epoch.
fn save(epochs: u64, rows: &[f32], path: &Path) -> Result<()> {
    store::write_atomic_with(path, |out| {
        let failed = |error: std::io::Error| Error::io(path, "write", &error);
        out.write_all(&epochs.to_le_bytes()).map_err(failed)?;
        rows.iter().try_for_each(|value| out.write_all(&value.to_le_bytes())).map_err(failed)
    })
}

/// Reads rows, and after how many epochs they were written.
fn restore(path: &Path, rows: &mut [f32]) -> Result<u64> {
    let map = store::map_file(path)?;
    match map.split_first_chunk::<8>() {
        Some((epochs, values)) if values.len() == 4 * rows.len() => {
            rows.iter_mut().zip(values.as_chunks().0).for_each(|(row, bytes)| *row = f32::from_le_bytes(*bytes));
            Ok(u64::from_le_bytes(*epochs))
        }
        _ => Err(Error::file(path, "what an interrupted run left is damaged")
            .hint("remove the folder `work` of the store, and begin again")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two kinds of texts that differ in some words, and a third that differs in its letters.
    fn written(path: &Path, count: u64, seed: u64) {
        let mut out = String::new();
        let mut random = Seed::new(seed).at(0);
        for number in 0..count {
            let label = ["ships", "trains", "letters"][(number % 3) as usize];
            let words: Vec<String> = (0..30)
                .map(|_| match (random.below(10), label) {
                    (0, "ships") => ["harbor", "sail", "anchor"][random.below(3) as usize].to_owned(),
                    (0, "trains") => ["rail", "station", "signal"][random.below(3) as usize].to_owned(),
                    (0..3, "letters") => format!("x{}qu", random.below(1 << 40)),
                    _ => format!("w{}", random.below(500)),
                })
                .collect();
            out += &serde_json::json!({ "text": words.join(" "), "label": label }).to_string();
            out.push('\n');
        }
        std::fs::write(path, out).unwrap();
    }

    fn settings() -> TrainSettings {
        let features = Features { bucket_bits: 14, ..Features::default() };
        TrainSettings { features, held_out: 0.25, ..TrainSettings::default() }
    }

    fn run(from: &Path, test: Option<&Path>, scratch: &Path, out: &Path) -> Result<TrainReport> {
        train(&settings(), (from, test), Seed::new(3), (scratch, out), &mut |_| Ok(()))
    }

    #[test]
    fn labels_are_learned_and_threads_change_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (from, test) = (folder.path().join("a.jsonl"), folder.path().join("b.jsonl"));
        written(&from, 1200, 1);
        written(&test, 300, 2);
        let trained = |threads: usize, test: Option<&Path>| {
            let (scratch, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let report = pool.install(|| run(&from, test, scratch.path(), out.path())).unwrap();
            (report, std::fs::read(out.path().join(TAGGER)).unwrap())
        };
        let (report, bytes) = trained(1, Some(&test));
        assert_eq!((report.learned, report.held_out), (1200, 300));
        assert!(report.accuracy() > 0.9 && report.macro_f1() > 0.9, "{report:?}");
        assert!((report.baseline() - 1.0 / 3.0).abs() < 1e-9);
        let names: Vec<&str> = report.labels.iter().map(|label| label.label.as_str()).collect();
        assert_eq!(names, ["letters", "ships", "trains"]);
        assert!(trained(2, Some(&test)) == (report, bytes.clone()));
        let (report, other) = trained(3, None);
        assert!((250..350).contains(&report.held_out) && report.learned + report.held_out == 1200);
        assert!(report.accuracy() > 0.9 && other != bytes, "{report:?}");
    }

    #[test]
    fn an_interrupted_training_goes_on_with_the_same_result() {
        let folder = tempfile::tempdir().unwrap();
        let from = folder.path().join("a.jsonl");
        written(&from, 300, 1);
        let (scratch, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let report = run(&from, None, scratch.path(), out.path()).unwrap();
        let whole = std::fs::read(out.path().join(TAGGER)).unwrap();
        // What two of the epochs leave: those before it is known how many there are give the same steps at the same rates.
        let corpus = gather(&settings(), (&from, None), Seed::new(3), &scratch.path().join(TEXTS)).unwrap();
        let map = store::map_file(scratch.path().join(TEXTS)).unwrap();
        let text = |entry: &Entry| {
            std::str::from_utf8(&map[entry.at as usize..entry.at as usize + entry.length as usize]).unwrap()
        };
        let mut ranks = vec![0; corpus.labels.len()];
        (0..).zip(corpus.labels.values()).for_each(|(rank, met)| ranks[*met as usize] = rank);
        let order = Seed::new(3).derive("order");
        let kept = scratch.path().join(ROWS);
        std::fs::remove_file(&kept).unwrap();
        let settings = settings();
        let learner = Learner { settings: &settings, labels: corpus.labels.len(), seed: order };
        let stopped = std::sync::atomic::AtomicUsize::new(0);
        let panics = |entry: &Entry| {
            let seen = stopped.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            assert!(seen < 2 * corpus.learned.len() + 40, "stopped");
            text(entry)
        };
        let learned = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            learner.learn(&corpus.learned, &ranks, &panics, &kept)
        }));
        assert!(learned.is_err() && kept.exists());
        let again = run(&from, None, scratch.path(), out.path()).unwrap();
        assert_eq!(again, report);
        assert!(std::fs::read(out.path().join(TAGGER)).unwrap() == whole);
        std::fs::write(&kept, [0; 12]).unwrap();
        let said = run(&from, None, scratch.path(), out.path()).unwrap_err().to_string();
        assert!(said.contains("what an interrupted run left is damaged"), "{said}");
    }

    #[test]
    fn lines_without_text_or_label_are_refused_together() {
        let folder = tempfile::tempdir().unwrap();
        let from = folder.path().join("a.jsonl");
        let lines = [
            "{\"text\":\"a\",\"label\":1}",
            "{\"text\":\"b\"}",
            "",
            "{\"label\":\"x\"}",
            "[",
            "{\"text\":\"c\",\"label\":1.5}",
        ];
        std::fs::write(&from, lines.join("\n")).unwrap();
        let said = run(&from, None, folder.path(), folder.path()).unwrap_err().to_string();
        for part in [
            "a.jsonl:2:1: the line has no label",
            "a.jsonl:4:1: the line has no text",
            "a.jsonl:5:",
            "a.jsonl:6:1: `label` is no label: 1.5",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        std::fs::write(&from, lines[0].to_owned() + "\n").unwrap();
        let said = run(&from, None, folder.path(), folder.path()).unwrap_err().to_string();
        assert!(said.contains("have 1 labels") || said.contains("have 0 labels"), "{said}");
        let wrong = TrainSettings { rate: f32::NAN, held_out: 1.0, ..TrainSettings::default() };
        assert_eq!(wrong.check(|key| Place::key(key)).unwrap_err().faults.len(), 2);
    }
}
