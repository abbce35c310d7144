//! From the fixture corpora to curated folders.

mod duplicates;
mod main_text;
mod planted;
mod taggers;

use metier_core::data::Document;
use metier_core::progress::{Mode, Progress, set_mode};
use metier_core::seed::Seed;
use metier_corpus::dedup::{Deduplicate, Exact, Minhash};
use metier_corpus::filter::{Filter, Length, RfcPages};
use metier_corpus::read::{Item, Read, Text};
use metier_corpus::select::HoldOut;
use metier_corpus::{
    CurateReport, CurateSettings, DROPPED, HELD_OUT, Parts, TRAIN, curate, planned_memory, read_documents,
};
use metier_testkit::{fixture, scratch};
use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

fn run(corpus: &str, fraction: f64, out: &Path) -> CurateReport {
    let (read, pages, length) = (texts(), RfcPages::default(), Length::default());
    let (near, select) = (Minhash::default(), HoldOut { fraction });
    let (filters, dedups): (Vec<&dyn Filter>, Vec<&dyn Deduplicate>) = (vec![&pages, &length], vec![&Exact {}, &near]);
    let parts = Parts { read: &read, filters, tags: Vec::new(), dedups, select: &select, cluster: None };
    set_mode(Mode::Silent);
    let progress = Progress::new("documents", None, "documents");
    let settings = CurateSettings { license: Some("as stated".into()) };
    curate(&settings, &parts, &fixture(corpus), Seed::new(1), out, &progress).expect("a fixture is good input")
}

/// Reads the documents of a fixture without the page about them.
fn texts() -> Text {
    Text { include: vec!["*.txt".into(), "*.txt.gz".into()], ..Text::default() }
}

fn documents(folder: &Path, file: &str) -> Vec<Document> {
    read_documents(&folder.join(file)).and_then(Iterator::collect).expect("what was just written can be read")
}

fn originals(corpus: &str) -> BTreeMap<String, Document> {
    texts()
        .open(&fixture(corpus))
        .expect("a fixture is good input")
        .filter_map(|item| match item {
            Ok(Item::Document(document)) => Some((document.id.clone(), document)),
            _ => None,
        })
        .collect()
}

#[test]
fn a_hundred_random_bytes_of_curated_standards_stand_in_their_sources() {
    let out = scratch("rfc");
    let report = run("corpora/rfc", 0.1, out.path());
    assert!(report.held_out >= 8, "{report:?}");
    assert_eq!(report.read, report.kept + report.held_out + report.dropped.values().sum::<u64>());
    let curated: Vec<Document> = [TRAIN, HELD_OUT].into_iter().flat_map(|file| documents(out.path(), file)).collect();
    let mut random = Seed::new(100).at(0);
    for _ in 0..100 {
        let document = &curated[random.below(curated.len() as u64) as usize];
        let at = random.below(document.text.len() as u64) as usize;
        let (from, to) = document.pieces.source_of(at, at + 1).expect("every kept byte has a source");
        let mut source = Vec::new();
        std::fs::File::open(fixture("corpora/rfc").join(&document.source))
            .and_then(|file| flate2::read::MultiGzDecoder::new(file).read_to_end(&mut source))
            .expect("the source can be read");
        assert_eq!(to, from + 1);
        assert_eq!(document.text.as_bytes()[at], source[from], "{} at {at}", document.id);
    }
    let memory = planned_memory(texts().size(&fixture("corpora/rfc")).expect("a fixture is good input"));
    assert!((64 << 20..400 << 20).contains(&memory), "{memory}");
}

#[test]
fn duplicates_of_the_tiny_corpus_never_stand_on_both_sides() {
    let out = scratch("tiny");
    let report = run("corpora/tiny", 0.25, out.path());
    assert_eq!(report.dropped, BTreeMap::from([("exact duplicate".into(), 1), ("near duplicate".into(), 1)]));
    assert_eq!((report.read, report.kept, report.held_out), (14, 9, 3));
    let dropped = std::fs::read_to_string(out.path().join(DROPPED)).expect("just written");
    assert!(
        dropped.contains(r#""id":"note-1.txt","reason":"exact duplicate","repeats":"note-1-copy.txt""#),
        "{dropped}"
    );
    assert!(
        dropped.contains(r#""id":"note-1-copy.txt","reason":"near duplicate","repeats":"note-2.txt""#),
        "{dropped}"
    );
}

#[test]
fn the_result_does_not_depend_on_the_number_of_threads() {
    let folders: Vec<_> = [1, 2, 5]
        .into_iter()
        .map(|threads| {
            let out = scratch("threads");
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads can be started");
            pool.install(|| run("corpora/tiny", 0.25, out.path()));
            out
        })
        .collect();
    for file in [TRAIN, HELD_OUT, DROPPED] {
        let bytes = |index: usize| std::fs::read(folders[index].path().join(file)).expect("just written");
        assert!(bytes(0) == bytes(1) && bytes(0) == bytes(2), "{file}");
    }
}

#[test]
fn general_english_passes_unchanged() {
    let out = scratch("general");
    let report = run("corpora/general", 1.0, out.path());
    assert_eq!((report.read, report.held_out, report.dropped.len()), (22, 22, 0));
    let originals = originals("corpora/general");
    for document in documents(out.path(), HELD_OUT) {
        let original = &originals[&document.id];
        assert_eq!((&document.text, &document.pieces), (&original.text, &original.pieces));
    }
}
