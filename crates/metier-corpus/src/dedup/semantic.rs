//! Documents that mean the same as another, as a model sees them: tagged, not dropped.

use super::tagged;
use crate::document_file::{HELD_OUT, TRAIN, read_documents};
use crate::select::submodular::product;
use metier_core::memory::Budget;
use metier_core::progress::Progress;
use metier_core::seam::Embed;
use metier_core::seed::Seed;
use metier_core::{Error, Fault, Place, Result, stop};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// How documents are compared. Each is a vector of a model; k-means divides them into clusters, and only within a cluster documents are compared
/// with each other, in the order in which they are to stay. The tag of a document is the largest cosine between it and one that comes before it; `mix`
/// drops what is above a bound, `where = "semantic < 0.95"`, which is the paper's 1 - ε (Abbas et al. 2023, `SemDeDup`, arXiv:2303.09540, section 3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SemanticSettings {
    /// The attribute under which the cosine stands, on a span of the whole text.
    pub attribute: String,
    /// How many clusters there are; one for about 1,000 documents when it is left out.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub clusters: Option<usize>,
    /// How often clusters are formed anew at most; they are done before when no document moves.
    #[schemars(range(min = 1, max = 1000))]
    pub iterations: usize,
    /// Which document of several comes first, and so stays.
    pub keep: Keep,
}

/// Which document of several that mean the same stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// The one farthest from the middle of its cluster, as in the paper.
    #[default]
    Far,
    /// The first in the order of documents, those to learn from before those that are held out.
    First,
}

impl Default for SemanticSettings {
    fn default() -> Self {
        Self { attribute: "semantic".to_owned(), clusters: None, iterations: 20, keep: Keep::Far }
    }
}

/// What became of the documents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SemanticReport {
    /// Documents to learn from, and held out.
    pub documents: [u64; 2],
    /// Clusters, and how often they were formed.
    pub clusters: u64,
    /// How often clusters were formed.
    pub iterations: u64,
    /// Documents of the largest cluster.
    pub largest: u64,
    /// Documents with a cosine of 0.9 and more, of 0.95 and more, and of 0.99 and more.
    pub above: [u64; 3],
    /// Tokens that the model read; of those read by an interrupted call too.
    pub tokens: u64,
}

/// What a figure of [`SemanticReport::above`] counts from.
pub const ABOVE: [f32; 3] = [0.9, 0.95, 0.99];
/// Documents of a cluster, about, where nobody says how many clusters there are.
const CLUSTER: u64 = 1000;
/// Documents given to the model together. A fixed number, so that a pass that goes on makes the same numbers.
const BATCH: usize = 64;
/// Rows read from the disk at once.
const ROWS: usize = 4096;
/// The file of vectors, in the scratch folder: of each document its numbers and, as one more, how many tokens were read.
const VECTORS: &str = "vectors.f32";
/// A cosine from which on no larger one is looked for: what is as near is the same but for rounding.
const SAME: f32 = 0.999_999;

/// How many clusters there are of so many documents.
fn clusters_of(settings: &SemanticSettings, documents: u64) -> u64 {
    settings.clusters.map_or(documents.div_ceil(CLUSTER), |clusters| clusters as u64).clamp(1, documents.max(1))
}

/// Bytes held beside the model: of each document its cluster and its cosine, all centers and their sums, and rows as they are read.
#[must_use]
pub fn planned_memory(settings: &SemanticSettings, documents: u64, dimension: u64) -> u64 {
    12 * documents + clusters_of(settings, documents) * dimension * 12 + 8 * ROWS as u64 * dimension + (64 << 20)
}

/// Tags all documents of the curated folder `from` and writes them into `out`, with what was said of them already. `pieces` cuts a text into pieces that
/// the model can read; a document is the mean of its pieces by their tokens. Vectors lie in `scratch`, so that a call that was interrupted goes on with
/// them. The result does not depend on the number of threads.
///
/// # Errors
/// A document without text, or whose vector has no direction, with file and line; a cluster that the memory does not hold.
#[expect(clippy::too_many_arguments, reason = "each is another thing, and the stage has them all")]
pub fn semantic(
    settings: &SemanticSettings,
    from: &Path,
    model: &dyn Embed,
    pieces: &dyn Fn(&str) -> Result<Vec<String>>,
    budget: &Budget,
    seed: Seed,
    out: &Path,
    scratch: &Path,
) -> Result<SemanticReport> {
    if settings.attribute.is_empty() {
        return Err(Fault::new(Place::key("attribute"), "the attribute has no name").hint("write \"semantic\"").into());
    }
    let mut report = SemanticReport::default();
    for (documents, file) in report.documents.iter_mut().zip([TRAIN, HELD_OUT]) {
        for document in read_documents(&from.join(file))? {
            document?;
            *documents += 1;
            stop::check()?;
        }
    }
    let documents = report.documents.iter().sum();
    let dimension = model.dimension();
    let _held =
        budget.reserve(planned_memory(settings, documents, dimension as u64), "what is known of each document")?;
    let mut rows = Rows { path: scratch.join(VECTORS), dimension, documents: documents as usize };
    report.tokens = rows.make(from, model, pieces)?;
    let clusters = clusters_of(settings, documents) as usize;
    let (centers, nearest, iterations) = rows.cluster(clusters, settings.iterations, seed)?;
    (report.clusters, report.iterations) = (clusters as u64, iterations as u64);
    let mut members = vec![Vec::new(); clusters];
    for (number, cluster) in (0_u32..).zip(&nearest) {
        members[*cluster as usize].push(number);
    }
    let mut cosines = vec![0.0_f32; documents as usize];
    let progress = Progress::new("comparing", Some(documents), "documents");
    for (members, center) in members.into_iter().zip(centers.chunks_exact(dimension)) {
        report.largest = report.largest.max(members.len() as u64);
        let what = format!("comparing {} documents of a cluster", members.len());
        let _held = budget
            .reserve(members.len() as u64 * (4 * dimension as u64 + 12), &what)
            .map_err(|error| error.hint("more `clusters` are smaller ones"))?;
        let count = members.len() as u64;
        rows.compare(&members, center, settings.keep, &mut cosines)?;
        progress.add(count);
    }
    progress.finish();
    for (count, bound) in report.above.iter_mut().zip(ABOVE) {
        *count = cosines.iter().filter(|cosine| **cosine >= bound).count() as u64;
    }
    tagged(
        from,
        out,
        &settings.attribute,
        |_, _, number, text| {
            let cosine = cosines.get(number).copied().unwrap_or_default();
            let digits = (f64::from(cosine) * 1e5).round() / 1e5;
            Ok((vec![json!([0, text.chars().count(), digits])], ()))
        },
        |_, ()| (),
    )?;
    Ok(report)
}

/// Vectors of documents on the disk, each of length 1.
struct Rows {
    path: PathBuf,
    dimension: usize,
    documents: usize,
}

impl Rows {
    fn failed(&self, doing: &str, error: &std::io::Error) -> Error {
        Error::io(&self.path, doing, error)
    }

    /// Makes those that are not there yet; how many tokens were read for all.
    fn make(&mut self, from: &Path, model: &dyn Embed, pieces: &dyn Fn(&str) -> Result<Vec<String>>) -> Result<u64> {
        let width = 4 * (self.dimension as u64 + 1);
        let mut out =
            File::options().create(true).append(true).open(&self.path).map_err(|error| self.failed("write", &error))?;
        let length = out.metadata().map_err(|error| self.failed("write", &error))?.len();
        let mut done = (length / width) as usize;
        if done < self.documents {
            done = done / BATCH * BATCH;
        }
        out.set_len(done as u64 * width).map_err(|error| self.failed("write", &error))?;
        let progress = Progress::new("vectors", Some(self.documents as u64), "documents");
        progress.resume_at(done as u64);
        let files = [TRAIN, HELD_OUT].map(|file| from.join(file));
        let mut all = Vec::new();
        for file in &files {
            all.push(read_documents(file)?.enumerate().map(move |(line, document)| (file, line + 1, document)));
        }
        let mut all = all.into_iter().flatten().skip(done);
        while done < self.documents {
            stop::check()?;
            let batch: Vec<_> = all.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                return Err(Error::file(from, "the documents became fewer while they were read"));
            }
            let (mut texts, mut owners, mut faults) = (Vec::new(), Vec::new(), Vec::new());
            let mut places = Vec::new();
            for (number, (file, line, document)) in batch.into_iter().enumerate() {
                let document = document?;
                places.push((Place::file(file).at(line, 1), document.id));
                let own = pieces(&document.text)?;
                if own.is_empty() {
                    let message = format!("the document `{}` has no text to compare", places[number].1);
                    let fault = Fault::new(places[number].0.clone(), message);
                    faults.push(fault.hint("`curate` with the filter `length` drops such"));
                }
                owners.extend(std::iter::repeat_n(number, own.len()));
                texts.extend(own);
            }
            Error::collect((), faults)?;
            let mut sums = vec![(vec![0.0_f64; self.dimension], 0_usize); places.len()];
            for (batch, owners) in texts.chunks(BATCH).zip(owners.chunks(BATCH)) {
                let texts: Vec<&str> = batch.iter().map(String::as_str).collect();
                for (embedded, owner) in model.embed(&texts)?.into_iter().zip(owners) {
                    let (sum, tokens) = &mut sums[*owner];
                    for (sum, value) in sum.iter_mut().zip(&embedded.vector) {
                        *sum += f64::from(*value) * embedded.tokens as f64;
                    }
                    *tokens += embedded.tokens;
                }
            }
            let mut bytes = Vec::with_capacity(places.len() * width as usize);
            let mut faults = Vec::new();
            for ((sum, tokens), (place, id)) in sums.into_iter().zip(places) {
                let length = sum.iter().map(|value| value * value).sum::<f64>().sqrt();
                if !(length > 0.0 && length.is_finite()) {
                    faults.push(Fault::new(place, format!("the vector of the document `{id}` has no direction")));
                }
                bytes.extend(sum.iter().flat_map(|value| ((value / length) as f32).to_le_bytes()));
                bytes.extend((tokens as u32).to_le_bytes());
            }
            Error::collect((), faults)?;
            out.write_all(&bytes).map_err(|error| self.failed("write", &error))?;
            done += bytes.len() / width as usize;
            progress.add((bytes.len() / width as usize) as u64);
        }
        progress.finish();
        let mut tokens = 0;
        self.each(|rows| {
            tokens +=
                rows.chunks_exact(self.dimension + 1).map(|row| u64::from(row[self.dimension].to_bits())).sum::<u64>();
            Ok(())
        })?;
        Ok(tokens)
    }

    fn open(&self) -> Result<BufReader<File>> {
        let file = File::open(&self.path).map_err(|error| self.failed("read", &error))?;
        Ok(BufReader::with_capacity(1 << 20, file))
    }

    /// The next rows, each with its tokens behind it.
    fn read(&self, file: &mut impl Read, rows: usize, into: &mut Vec<f32>) -> Result<()> {
        let mut bytes = vec![0; rows * 4 * (self.dimension + 1)];
        file.read_exact(&mut bytes).map_err(|error| self.failed("read", &error))?;
        into.clear();
        into.extend(bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
        Ok(())
    }

    /// Hands over all rows, some at once.
    fn each(&self, mut take: impl FnMut(&[f32]) -> Result<()>) -> Result<()> {
        let (mut file, mut rows, mut done) = (self.open()?, Vec::new(), 0);
        while done < self.documents {
            stop::check()?;
            let some = ROWS.min(self.documents - done);
            self.read(&mut file, some, &mut rows)?;
            take(&rows)?;
            done += some;
        }
        Ok(())
    }

    /// The row of one document, without its tokens.
    fn row(&self, file: &mut BufReader<File>, number: u32, into: &mut Vec<f32>) -> Result<()> {
        let at = u64::from(number) * 4 * (self.dimension as u64 + 1);
        file.seek(SeekFrom::Start(at)).map_err(|error| self.failed("read", &error))?;
        self.read(file, 1, into)?;
        into.truncate(self.dimension);
        Ok(())
    }

    /// Spherical k-means (Dhillon and Modha 2001) from documents drawn at random: the centers, the one nearest to each document, and
    /// how often they were formed.
    fn cluster(&self, clusters: usize, iterations: usize, seed: Seed) -> Result<(Vec<f32>, Vec<u32>, usize)> {
        let dimension = self.dimension;
        let mut first: Vec<u32> = (0..self.documents as u32).collect();
        seed.derive("centers").at(0).shuffle(&mut first);
        first.truncate(clusters);
        first.sort_unstable();
        let (mut file, mut row) = (self.open()?, Vec::new());
        let mut centers = Vec::with_capacity(clusters * dimension);
        for number in first {
            self.row(&mut file, number, &mut row)?;
            centers.extend(&row);
        }
        let mut nearest = vec![u32::MAX; self.documents];
        let progress = Progress::new("clusters", None, "passes");
        let mut formed = 0;
        loop {
            let (mut sums, mut moved, mut done) = (vec![0.0_f64; clusters * dimension], false, 0);
            self.each(|rows| {
                let of = |row: &[f32]| {
                    let cosines = (0..)
                        .zip(centers.chunks_exact(dimension))
                        .map(|(at, center)| (at, product(&row[..dimension], center)));
                    cosines.fold((0, f32::NEG_INFINITY), |best, one| if one.1 > best.1 { one } else { best }).0
                };
                let found: Vec<u32> = rows.par_chunks_exact(dimension + 1).map(of).collect();
                for (row, cluster) in rows.chunks_exact(dimension + 1).zip(found) {
                    moved |= nearest[done] != cluster;
                    nearest[done] = cluster;
                    done += 1;
                    let sum = &mut sums[cluster as usize * dimension..][..dimension];
                    for (sum, value) in sum.iter_mut().zip(row) {
                        *sum += f64::from(*value);
                    }
                }
                Ok(())
            })?;
            progress.add(1);
            if !moved || formed == iterations {
                progress.finish();
                return Ok((centers, nearest, formed));
            }
            formed += 1;
            for (center, sum) in centers.chunks_exact_mut(dimension).zip(sums.chunks_exact(dimension)) {
                let length = sum.iter().map(|value| value * value).sum::<f64>().sqrt();
                // A cluster that lost all its documents stays where it was.
                if length > 0.0 {
                    for (center, sum) in center.iter_mut().zip(sum) {
                        *center = (sum / length) as f32;
                    }
                }
            }
        }
    }

    /// The largest cosine of each member with one before it.
    fn compare(&self, members: &[u32], center: &[f32], keep: Keep, cosines: &mut [f32]) -> Result<()> {
        let dimension = self.dimension;
        let (mut file, mut row) = (self.open()?, Vec::new());
        let mut values = Vec::with_capacity(members.len() * dimension);
        for number in members {
            self.row(&mut file, *number, &mut row)?;
            values.extend(&row);
        }
        let of = |place: u32| &values[place as usize * dimension..][..dimension];
        let mut order: Vec<u32> = (0..members.len() as u32).collect();
        if keep == Keep::Far {
            order.sort_by(|one, other| product(of(*one), center).total_cmp(&product(of(*other), center)));
        }
        let largest = |place: usize| {
            let own = of(order[place]);
            let mut largest = 0.0_f32;
            for before in &order[..place] {
                largest = largest.max(product(own, of(*before)));
                if largest >= SAME {
                    break;
                }
            }
            // Rounding may lead beyond what a cosine can be.
            stop::check().map(|()| largest.min(1.0))
        };
        let found: Vec<f32> = (0..order.len()).into_par_iter().map(largest).collect::<Result<_>>()?;
        for (place, cosine) in order.into_iter().zip(found) {
            cosines[members[place as usize] as usize] = cosine;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Said, document};
    use super::*;
    use crate::document_file::{DocumentWriter, HELD_OUT_ATTRIBUTES, TRAIN_ATTRIBUTES, read_values};
    use metier_core::seam::Embedded;
    use serde_json::Value;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const DIMENSION: usize = 24;

    /// A text is the number of a direction and how far beside it lies: `3:0.1`. A third number turns it elsewhere.
    struct Directions(AtomicUsize);

    fn vector(text: &str) -> Vec<f64> {
        let mut parts = text.split(':').map(|part| part.parse::<f64>().unwrap());
        let (direction, off, turn) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap_or_default());
        let base = Seed::new(7).derive("base");
        let of = |seed: Seed, number: f64| {
            let mut stream = seed.at(number as u64);
            (0..DIMENSION).map(|_| stream.normal()).collect::<Vec<_>>()
        };
        let (one, other) = (of(base, direction), of(base.derive("turn"), direction * 1000.0 + turn));
        let sum: Vec<f64> = one.iter().zip(other).map(|(one, other)| one + off * other).collect();
        let length = sum.iter().map(|value| value * value).sum::<f64>().sqrt();
        sum.iter().map(|value| value / length).collect()
    }

    impl Embed for Directions {
        fn dimension(&self) -> usize {
            DIMENSION
        }

        fn embed(&self, texts: &[&str]) -> Result<Vec<Embedded>> {
            if self.0.fetch_sub(1, Ordering::Relaxed) == 1 {
                return Err(Error::program("failed"));
            }
            let embedded =
                |text: &&str| Embedded { vector: vector(text).iter().map(|value| *value as f32).collect(), tokens: 1 };
            Ok(texts.iter().map(embedded).collect())
        }
    }

    fn whole(text: &str) -> Vec<String> {
        if text.is_empty() { Vec::new() } else { vec![text.to_owned()] }
    }

    fn folder(train: &[String], held_out: &[String]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (file, texts) in [(TRAIN, train), (HELD_OUT, held_out)] {
            let mut writer = DocumentWriter::create(&folder.path().join(file)).unwrap();
            for (number, text) in texts.iter().enumerate() {
                writer.write(&document(&format!("{file}{number}"), text)).unwrap();
            }
            writer.finish().unwrap();
        }
        folder
    }

    struct Run {
        settings: SemanticSettings,
        threads: usize,
        fail_at: usize,
        limit: Option<u64>,
    }

    impl Run {
        fn on(&self, from: &Path, out: &Path) -> Result<(SemanticReport, Vec<f64>)> {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(self.threads).build().unwrap();
            let model = Directions(AtomicUsize::new(self.fail_at));
            let budget = Budget::new(self.limit);
            let report = pool.install(|| {
                semantic(&self.settings, from, &model, &|text| Ok(whole(text)), &budget, Seed::new(1), out, out)
            })?;
            let mut cosines = Vec::new();
            for file in [TRAIN_ATTRIBUTES, HELD_OUT_ATTRIBUTES] {
                for said in read_values::<Value>(&out.join(file)).unwrap() {
                    cosines.push(said.unwrap()["attributes"]["semantic"][0][2].as_f64().unwrap());
                }
            }
            Ok((report, cosines))
        }
    }

    fn run() -> Run {
        let settings = SemanticSettings { clusters: Some(5), ..SemanticSettings::default() };
        Run { settings, threads: 2, fail_at: 0, limit: None }
    }

    /// Copies and near copies of every third document, and documents of other directions.
    fn texts() -> Vec<String> {
        (0..200)
            .map(|number| match number % 10 {
                8 => format!("{}:0", number - 5),
                9 => format!("{}:0.05:1", number - 5),
                _ => format!("{number}:0"),
            })
            .collect()
    }

    #[test]
    fn copies_and_near_copies_have_large_cosines_and_no_others() {
        let texts = texts();
        let from = folder(&texts[..150], &texts[150..]);
        let out = tempfile::tempdir().unwrap();
        let (report, cosines) = run().on(from.path(), out.path()).unwrap();
        assert_eq!((report.documents, report.clusters, report.tokens), ([150, 50], 5, 200));
        // Of each pair one has the cosine, whichever is nearer to the center.
        for tens in (0..200).step_by(10) {
            let pair = |one: usize, other: usize| cosines[tens + one].max(cosines[tens + other]);
            assert!(pair(3, 8) > 0.9999 && pair(4, 9) > 0.99, "{tens}");
            assert!(cosines[tens + 3].min(cosines[tens + 8]) < 0.9);
            for alone in [0, 1, 2, 5, 6, 7] {
                assert!(cosines[tens + alone] < 0.9, "{}", cosines[tens + alone]);
            }
        }
        assert_eq!(report.above, [40, 40, 40]);
        let first = Run { settings: SemanticSettings { keep: Keep::First, ..run().settings }, ..run() };
        let (_, ordered) = first.on(from.path(), tempfile::tempdir().unwrap().path()).unwrap();
        assert!((0..200).all(|number| (ordered[number] > 0.9) == (number % 10 >= 8)), "the first stays");
    }

    #[test]
    fn cosines_are_those_of_all_pairs_in_the_same_cluster() {
        let texts: Vec<String> = (0..90).map(|number| format!("{}:{}:{number}", number % 9, 0.3)).collect();
        let from = folder(&texts, &[]);
        let out = tempfile::tempdir().unwrap();
        let settings = SemanticSettings { clusters: Some(1), keep: Keep::First, ..SemanticSettings::default() };
        let (report, cosines) = Run { settings, ..run() }.on(from.path(), out.path()).unwrap();
        assert_eq!((report.clusters, report.largest), (1, 90));
        let vectors: Vec<Vec<f64>> = texts.iter().map(|text| vector(text)).collect();
        for (number, cosine) in cosines.iter().enumerate() {
            let with =
                |other: &Vec<f64>| vectors[number].iter().zip(other).map(|(one, other)| one * other).sum::<f64>();
            let right = vectors[..number].iter().map(with).fold(0.0, f64::max);
            assert!((cosine - right).abs() < 2e-5, "{number}: {cosine} {right}");
        }
    }

    #[test]
    fn threads_memory_and_interruptions_change_nothing() {
        let texts = texts();
        let from = folder(&texts[..150], &texts[150..]);
        let bytes = |run: &Run| {
            let out = tempfile::tempdir().unwrap();
            if run.fail_at > 0 {
                assert!(run.on(from.path(), out.path()).is_err());
                // A row that was not written whole.
                let vectors = out.path().join(VECTORS);
                let length = vectors.metadata().unwrap().len();
                assert!(length > 0);
                File::options().append(true).open(&vectors).unwrap().write_all(&[1; 77]).unwrap();
            }
            let (report, _) =
                Run { fail_at: 0, settings: run.settings.clone(), ..*run }.on(from.path(), out.path()).unwrap();
            (report, std::fs::read(out.path().join(TRAIN_ATTRIBUTES)).unwrap())
        };
        let right = bytes(&run());
        assert_eq!(bytes(&Run { threads: 1, ..run() }), right);
        assert_eq!(bytes(&Run { fail_at: 3, ..run() }), right);
        let refused = Run { limit: Some(1 << 20), ..run() }.on(from.path(), tempfile::tempdir().unwrap().path());
        assert!(refused.unwrap_err().to_string().contains("what is known of each document needs"));
        let all = planned_memory(&run().settings, 200, DIMENSION as u64);
        let one = Run { settings: SemanticSettings { clusters: Some(1), ..run().settings }, limit: Some(all), ..run() };
        let said = one.on(from.path(), tempfile::tempdir().unwrap().path()).unwrap_err().to_string();
        assert!(said.contains("comparing 200 documents of a cluster"), "{said}");
    }

    #[test]
    fn a_document_without_text_is_named() {
        let from = folder(&["1:0".to_owned(), String::new()], &[String::new()]);
        let said = run().on(from.path(), tempfile::tempdir().unwrap().path()).unwrap_err().to_string();
        assert!(said.contains("train.jsonl:2") && said.contains("held_out.jsonl:1"), "{said}");
        let mut value = serde_json::json!({ "id": "a", "attributes": { "semantic": [] } });
        let mut said = Said::of(&mut value);
        assert!(said.add("semantic", Vec::new()).unwrap_err().to_string().contains("`semantic` already"));
    }
}
