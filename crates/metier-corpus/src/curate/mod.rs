//! Joining reader, filters, duplicate search and split.

mod gather;
mod kept;
mod look;
mod records;
mod split;
mod state;
mod task;

use crate::dedup::{Deduplicate, Gather};
use crate::document_file::{DROPPED, DocumentWriter};
use crate::filter::Filter;
use crate::read::{Read, Size};
use crate::select::Select;
use crate::tag::Tag;
pub use kept::Texts;
#[cfg(test)]
pub(crate) use kept::{Kept, Written};
pub use look::{Look, end_of_corpus, fault_line};
use metier_core::progress::Progress;
use metier_core::seed::Seed;
use metier_core::{Error, Fault, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use state::State;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::BufRead;
use std::path::{Path, PathBuf};
pub use task::{Task, TaskParts};

/// What is said about the whole, apart from the parts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CurateSettings {
    /// License of documents for which the reader states none; the asset's own when it is left out.
    pub license: Option<String>,
}

/// The parts that [`curate()`] joins.
pub struct Parts<'a> {
    /// Where documents come from.
    pub read: &'a dyn Read,
    /// Applied in order.
    pub filters: Vec<&'a dyn Filter>,
    /// What is said about documents, as the filters leave them.
    pub tags: Vec<&'a dyn Tag>,
    /// Asked in order, after all filters.
    pub dedups: Vec<&'a dyn Deduplicate>,
    /// Splits what is left.
    pub select: &'a dyn Select,
    /// Who reads, filters and tags, if not this process.
    pub cluster: Option<&'a dyn Cluster>,
}

/// Other machines that read, filter and tag.
pub trait Cluster {
    /// Lines that [`Look`] writes of what is in the corpus, file by file and in order, without the first `files` of them.
    fn open(&self, files: u64) -> Result<Box<dyn BufRead + Send>>;
}

/// What became of the documents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CurateReport {
    /// Documents read.
    pub read: u64,
    /// Documents to learn from.
    pub kept: u64,
    /// Documents held out.
    pub held_out: u64,
    /// Documents, kept or held out, of whose source something could not be read as it was meant.
    pub partial: u64,
    /// Documents dropped, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Bytes of text to learn from.
    pub bytes: u64,
    /// Bytes of text held out.
    pub held_out_bytes: u64,
}

/// Documents of a group that one thread looks into, and bytes after which no other joins them.
const GROUP: usize = if cfg!(test) { 4 } else { 64 };
const GROUP_BYTES: u64 = 1 << 20;
/// Groups that are read before they are wanted.
const AHEAD: usize = 2;
/// Bytes of all groups that are looked into, where there is more than one.
const LOOKED_INTO: u64 = 16 << 20;
/// Bytes for one document: a hash of its id, its place in the file, what it drew, its size, its group and which it equals, each
/// list at its largest as it grows.
const OF_DOCUMENT: u64 = 192;

/// Groups that are looked into at once: some wait, so that no thread does.
fn looked_into() -> usize {
    2 * rayon::current_num_threads() + 2
}

/// Reads, cleans, tags, drops duplicates and splits. Writes [`TRAIN`](crate::TRAIN), [`HELD_OUT`](crate::HELD_OUT) and [`DROPPED`]
/// into `out`, with tags [`TRAIN_ATTRIBUTES`](crate::TRAIN_ATTRIBUTES) and [`HELD_OUT_ATTRIBUTES`](crate::HELD_OUT_ATTRIBUTES)
/// too. `out/scratch` says how far it has come: the same call goes on from there, with the same result. A corpus of which
/// nothing is left is an error with the table of reasons.
pub fn curate(
    settings: &CurateSettings,
    parts: &Parts,
    path: &Path,
    seed: Seed,
    out: &Path,
    progress: &Progress,
) -> Result<CurateReport> {
    let scratch = out.join("scratch");
    let mut state: State = crate::scratch::load(&scratch)?;
    for (filter, state) in parts.filters.iter().zip(&state.filters) {
        filter.resume(state);
    }
    let (texts, gathers) =
        gather::gather(&Job { settings, parts, path, seed, out, scratch: &scratch }, &mut state, progress)?;
    let mut dropped = DocumentWriter::resume(&out.join(DROPPED), state.dropped)?;
    let mut fates = vec![Fate::Train; texts.len()];
    for ((number, part), gather) in parts.dedups.iter().enumerate().zip(gathers) {
        let reason = part.reason();
        for (number, stays) in (0..).zip(stay(&scratch, number, gather, &texts)?) {
            let fate = &mut fates[number as usize];
            if number != stays && *fate == Fate::Train {
                *fate = Fate::Dropped;
                if state.split.is_none() {
                    *state.report.dropped.entry(reason.to_owned()).or_default() += 1;
                    drop_document(&mut dropped, &texts.id(number)?, reason, Some(&texts.id(stays)?))?;
                }
            }
        }
    }
    let left: Vec<u32> =
        (0..).zip(&fates).filter(|(_, fate)| **fate == Fate::Train).map(|(number, _)| number).collect();
    if left.is_empty() {
        return Err(nothing_left(path, &state.report));
    }
    let draws: Vec<u64> = left.iter().map(|number| texts.draws[*number as usize]).collect();
    for (number, held_out) in left.iter().zip(parts.select.held_out(&draws)) {
        if held_out {
            fates[*number as usize] = Fate::HeldOut;
        }
    }
    if state.split.is_none() {
        state.dropped = dropped.sync()?;
    }
    split::split(&fates, &texts, !parts.tags.is_empty(), out, &mut state, &scratch)?;
    Ok(state.report)
}

/// What [`curate()`] was asked for.
struct Job<'a> {
    settings: &'a CurateSettings,
    parts: &'a Parts<'a>,
    path: &'a Path,
    seed: Seed,
    out: &'a Path,
    scratch: &'a Path,
}

/// What becomes of a document that the filters keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Train,
    HeldOut,
    Dropped,
}

fn drop_document(dropped: &mut DocumentWriter, id: &str, reason: &str, repeats: Option<&str>) -> Result<()> {
    dropped.write(&serde_json::json!({ "id": id, "reason": reason, "repeats": repeats }))
}

/// Which document stays for each: found now and written down, or as an interrupted call found it.
fn stay(scratch: &Path, number: usize, gather: Option<Box<dyn Gather>>, texts: &Texts) -> Result<Vec<u32>> {
    let path = stay_path(scratch, number);
    let Some(gather) = gather else {
        let bytes = std::fs::read(&path).map_err(|error| Error::io(&path, "read", &error))?;
        return Ok(bytes.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect());
    };
    let stays = gather.stay(texts)?;
    metier_core::store::write_atomic(path, stays.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>())?;
    let keys = keys_path(scratch, number);
    std::fs::remove_dir_all(&keys).map_err(|error| Error::io(&keys, "remove", &error))?;
    Ok(stays)
}

/// The folder of what a duplicate search compares by.
fn keys_path(scratch: &Path, number: usize) -> PathBuf {
    scratch.join(format!("dedup-{number}"))
}

/// The file of what it found.
fn stay_path(scratch: &Path, number: usize) -> PathBuf {
    scratch.join(format!("stay-{number}"))
}

fn nothing_left(path: &Path, report: &CurateReport) -> Error {
    if report.read == 0 {
        return Error::file(path, "the corpus is empty: not one document was read");
    }
    let mut message = format!("the corpus is empty: all {} documents were dropped", report.read);
    for (reason, count) in &report.dropped {
        let _ = write!(message, "\n  {count} {reason}");
    }
    Fault::new(Place::file(path), message).hint("loosen the filters that dropped them").into()
}

/// Most memory that [`curate()`] will hold, in bytes: a group of documents in their text and JSON form, what reading one of them
/// takes, what is known of each document, and what documents are compared by.
pub fn planned_memory(size: Size) -> u64 {
    let all = size.largest.saturating_mul((GROUP * looked_into()) as u64);
    let ahead = (GROUP_BYTES + size.largest).min(all).min(size.text_bytes);
    let looked_into = (LOOKED_INTO + size.largest).min(all).min(size.text_bytes);
    (AHEAD as u64 + 1) * ahead + 3 * looked_into + size.held + size.documents.saturating_mul(OF_DOCUMENT) + (192 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dedup::{Exact, Minhash};
    use crate::document_file::{
        HELD_OUT, HELD_OUT_ATTRIBUTES, QUARANTINED, TRAIN, TRAIN_ATTRIBUTES, read_attributes, read_documents,
    };
    use crate::filter::{Decontaminate, Length};
    use crate::read::{Found, Invalid, Jsonl, Text};
    use crate::select::HoldOut;
    use crate::tag::Gopher;
    use metier_core::data::Document;
    use metier_core::part::Build as _;
    use serde_json::Value;
    use std::io::Write as _;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn run(folder: &Path, out: &Path) -> Result<CurateReport> {
        let (read, select) = (Text::default(), HoldOut { fraction: 0.25 });
        let parts = Parts {
            read: &read,
            filters: vec![&Length { minimum: 200, maximum: None }],
            tags: vec![&Gopher { version: 1 }],
            dedups: vec![&Exact {}, &Minhash { threshold: 0.8, words: 5, hashes: 128 }],
            select: &select,
            cluster: None,
        };
        let settings = CurateSettings { license: Some("MIT".into()) };
        let progress = Progress::new("documents", None, "documents");
        curate(&settings, &parts, folder, Seed::new(5), out, &progress)
    }

    #[test]
    fn documents_are_cleaned_deduplicated_and_split() {
        let (folder, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for number in 0..8 {
            let text = (0..200).map(|word| format!("w{}", word + number * 1000)).collect::<Vec<_>>().join(" ");
            std::fs::write(folder.path().join(format!("{number}.txt")), text).unwrap();
        }
        let text = (0..200).map(|word| format!("w{word}")).collect::<Vec<_>>().join(" ");
        std::fs::write(folder.path().join("copy.txt"), &text).unwrap();
        std::fs::write(folder.path().join("near.txt"), text.replace("w100 ", "")).unwrap();
        std::fs::write(folder.path().join("stub.txt"), "too short").unwrap();
        let report = run(folder.path(), out.path()).unwrap();
        assert_eq!((report.read, report.kept, report.held_out), (11, 6, 2));
        assert_eq!(report.dropped.values().sum::<u64>(), 3);
        let train: Vec<_> = read_documents(&out.path().join(TRAIN)).unwrap().collect::<Result<_>>().unwrap();
        assert!(train.iter().all(|document| document.license == "MIT"));
        assert_eq!(report.bytes, train.iter().map(|document| document.text.len() as u64).sum::<u64>());
        for (documents, attributes) in [(TRAIN, TRAIN_ATTRIBUTES), (HELD_OUT, HELD_OUT_ATTRIBUTES)] {
            let documents: Vec<_> = read_documents(&out.path().join(documents)).unwrap().map(Result::unwrap).collect();
            let said: Vec<_> = read_attributes(&out.path().join(attributes)).unwrap().map(Result::unwrap).collect();
            assert_eq!(documents.len(), said.len());
            for (document, said) in documents.iter().zip(&said) {
                assert_eq!(document.id, said.id);
                let words = document.text.split(' ').count() as f64;
                let spans = &said.attributes["gopher_v1__gopher_v1__word_count"];
                assert_eq!(spans[..], [(0, document.text.len(), words)]);
            }
        }
        let again = tempfile::tempdir().unwrap();
        run(folder.path(), again.path()).unwrap();
        for file in [TRAIN, HELD_OUT, DROPPED, TRAIN_ATTRIBUTES, HELD_OUT_ATTRIBUTES] {
            assert_eq!(std::fs::read(out.path().join(file)).unwrap(), std::fs::read(again.path().join(file)).unwrap());
        }
    }

    /// A part that fails at a call.
    struct Failing<'a, T: ?Sized>(&'a T, AtomicUsize);

    impl<'a, T: ?Sized> Failing<'a, T> {
        fn at(part: &'a T, call: usize) -> Self {
            Self(part, AtomicUsize::new(call))
        }

        fn call(&self) -> Result<()> {
            match self.1.fetch_sub(1, Ordering::Relaxed) {
                1 => Err(Error::program("failed")),
                _ => Ok(()),
            }
        }
    }

    impl Read for Failing<'_, Text> {
        fn files(&self, path: &Path) -> Result<Vec<(String, PathBuf)>> {
            self.0.files(path)
        }

        fn open_files<'a>(&'a self, path: &Path, files: Vec<(String, PathBuf)>, passed: usize) -> Found<'a> {
            Box::new(self.0.open_files(path, files, passed).map(|item| self.call().and(item)))
        }

        fn size(&self, path: &Path) -> Result<Size> {
            self.0.size(path)
        }
    }

    struct FailingGather(Box<dyn Gather>);

    impl Deduplicate for Failing<'_, Exact> {
        fn start(&self, seed: Seed, scratch: &Path, state: Option<&Value>) -> Result<Box<dyn Gather>> {
            let gather = self.0.start(seed, scratch, state)?;
            Ok(if self.call().is_err() { Box::new(FailingGather(gather)) } else { gather })
        }

        fn reason(&self) -> &'static str {
            self.0.reason()
        }
    }

    impl Gather for FailingGather {
        fn add(&mut self, documents: &[Document]) -> Result<()> {
            self.0.add(documents)
        }

        fn state(&mut self) -> Result<Value> {
            self.0.state()
        }

        fn stay(self: Box<Self>, texts: &Texts) -> Result<Vec<u32>> {
            self.0.stay(texts).and(Err(Error::program("failed")))
        }
    }

    #[test]
    fn an_interrupted_call_goes_on_with_the_same_result() {
        let (folder, evaluation) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let words = |from: usize| (from..from + 120).map(|word| format!("w{word}")).collect::<Vec<_>>().join(" ");
        for number in 0..300 {
            let text = match number % 10 {
                3 => "short".to_owned(),
                5 => words((number - 5) * 1000),
                6 => words((number - 6) * 1000).replace(&format!("w{} ", (number - 6) * 1000 + 60), ""),
                _ => words(number * 1000),
            };
            std::fs::write(folder.path().join(format!("{number:03}.txt")), text).unwrap();
        }
        let items = evaluation.path().join("items.jsonl");
        let item = |number: usize| format!("{{\"question\":\"{}\"}}\n", words(number * 1000));
        std::fs::write(&items, [2, 98, 4000].map(item).concat()).unwrap();
        let decontaminate = || {
            let settings = serde_json::json!({ "against": [items] });
            serde_json::from_value::<Decontaminate>(settings).unwrap().build(&Place::default()).unwrap()
        };
        let settings = CurateSettings::default();
        let (text, exact) = (Text::default(), Exact {});
        let (select, gopher) = (HoldOut { fraction: 0.25 }, Gopher { version: 1 });
        let length = Length { minimum: 200, maximum: None };
        let run = |out: &Path, item: usize, search: usize| {
            let (read, exact, filter) = (Failing::at(&text, item), Failing::at(&exact, search), decontaminate());
            let parts = Parts {
                read: &read,
                filters: vec![&length, &*filter],
                tags: vec![&gopher],
                dedups: vec![&Minhash { threshold: 0.8, words: 5, hashes: 128 }, &exact],
                select: &select,
                cluster: None,
            };
            let progress = Progress::new("documents", None, "documents");
            let report = curate(&settings, &parts, folder.path(), Seed::new(5), out, &progress)?;
            Ok::<_, Error>((report, filter.figures()))
        };
        let (whole, broken) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let expected = run(whole.path(), 0, 0).unwrap();
        assert_eq!((expected.0.read, expected.0.kept + expected.0.held_out), (300, 208));
        assert!((expected.1["decontaminate.clean"] - 1.0).abs() < 1e-9);

        // In reading, early and late, in a search for duplicates, and when documents are split.
        let out = broken.path();
        for (item, search) in [(3, 0), (100, 0), (150, 0), (0, 1)] {
            assert!(run(out, item, search).is_err());
        }
        let kept = out.join("scratch/kept/00002.documents.jsonl");
        let length = std::fs::metadata(&kept).unwrap().len();
        let opened = || std::fs::OpenOptions::new().append(true).open(&kept).unwrap();
        opened().write_all(b"broken\n").unwrap();
        assert!(run(out, 0, 0).is_err());
        assert!(!out.join("scratch/kept/00001.documents.jsonl").exists(), "what is written is removed");
        opened().set_len(length).unwrap();
        // What is not said to count does not count.
        for file in [TRAIN, HELD_OUT, TRAIN_ATTRIBUTES] {
            std::fs::OpenOptions::new().append(true).open(out.join(file)).unwrap().write_all(b"{\"id\":").unwrap();
        }
        for _ in 0..2 {
            assert_eq!(run(out, 0, 0).unwrap(), expected);
            for file in [TRAIN, HELD_OUT, DROPPED, TRAIN_ATTRIBUTES, HELD_OUT_ATTRIBUTES] {
                let read = |folder: &Path| std::fs::read_to_string(folder.join(file)).unwrap();
                assert_eq!(read(out), read(whole.path()), "{file}");
            }
        }
    }

    #[test]
    fn a_corpus_that_loses_everything_is_refused_with_the_reasons() {
        let (folder, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(folder.path().join("a.txt"), "short").unwrap();
        let error = run(folder.path(), out.path()).unwrap_err();
        assert!(error.to_string().contains("1 fewer than 200 characters"), "{error}");
    }

    #[test]
    fn what_cannot_be_read_is_set_aside_and_counted() {
        let (folder, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let line = |word: &str| format!("{{\"text\":\"{word}\"}}\n");
        let bytes = [line("one").as_bytes(), b"no document\n\xff\xfe\n{\"text\":3}\n", line("two").as_bytes()].concat();
        std::fs::write(folder.path().join("a.jsonl"), bytes).unwrap();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let numbers = (0..5000).map(|number| line(&format!("{number} three"))).collect::<String>();
        gzip.write_all(numbers.as_bytes()).unwrap();
        let gzip = gzip.finish().unwrap();
        std::fs::write(folder.path().join("b.jsonl.gz"), &gzip[..gzip.len() / 2]).unwrap();
        std::fs::write(folder.path().join("c.jsonl"), line("four")).unwrap();
        let read = Jsonl { invalid: Invalid::Quarantine, ..Jsonl::default() };
        let select = HoldOut { fraction: 0.0 };
        let parts =
            Parts { read: &read, filters: vec![], tags: vec![], dedups: vec![], select: &select, cluster: None };
        let progress = Progress::new("documents", None, "documents");
        let settings = CurateSettings::default();
        let report = curate(&settings, &parts, folder.path(), Seed::new(1), out.path(), &progress).unwrap();
        assert_eq!(report.read, report.kept + report.dropped["quarantined"]);
        assert_eq!((report.dropped.len(), report.dropped["quarantined"]), (1, 4));
        assert!(report.kept > 1000, "{report:?}");
        let aside = std::fs::read_to_string(out.path().join(QUARANTINED)).unwrap();
        let aside: Vec<Value> = aside.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((&aside[0]["id"], &aside[0]["raw"]), (&"a.jsonl:2".into(), &"no document\n".into()));
        assert_eq!(aside[1]["raw_hexadecimal"], "fffe0a");
        assert!(aside[2]["reason"].as_str().unwrap().contains("a.jsonl:4:1: the line has no text under `text`"));
        assert!(aside[3]["id"].as_str().unwrap().starts_with("b.jsonl.gz:"), "{}", aside[3]);
        // The same things are counted where they are passed over.
        let all = read.open(folder.path()).unwrap().count();
        for passed in [0, 2, 5, all - 1, all] {
            assert_eq!(read.open_behind(folder.path(), passed).unwrap().count(), all - passed);
        }
    }
}
