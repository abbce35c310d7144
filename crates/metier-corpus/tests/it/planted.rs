//! 20 MB of standards with faults planted into them, cleaned as Dolma's users do: what is found, and what is taken for a fault that is none.

use metier_core::Place;
use metier_core::progress::{Mode, Progress, set_mode};
use metier_core::seed::Seed;
use metier_corpus::dedup::bloom::{By, DedupeSettings, dedupe};
use metier_corpus::mix::{MixSettings, Replace, Source, mix};
use metier_corpus::plant::{Kind, PLANTED, PlantSettings, Planted, Planter};
use metier_corpus::read::{Jsonl, Read};
use metier_corpus::select::HoldOut;
use metier_corpus::tag::{Pii, Tag};
use metier_corpus::{CurateSettings, DROPPED, Parts, TRAIN, TRAIN_ATTRIBUTES, curate, read_documents};
use metier_testkit::scratch;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;

fn progress() -> Progress {
    set_mode(Mode::Silent);
    Progress::new("documents", None, "documents")
}

fn rows(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("just written");
    text.lines().map(|line| serde_json::from_str(line).expect("just written")).collect()
}

/// Planted documents tagged, with copies under `copies` and repeated paragraphs under `repeated`.
fn tagged(planted: &Path, out: &Path) {
    let read: &dyn Read = &Jsonl::default();
    let (pii, select) = (Pii::default(), HoldOut { fraction: 0.0 });
    let tags: Vec<&dyn Tag> = vec![&pii];
    let parts = Parts { read, filters: Vec::new(), tags, dedups: Vec::new(), select: &select, cluster: None };
    let step = |name: &str| {
        let path = out.join(name);
        std::fs::create_dir(&path).expect("a folder can be made");
        path
    };
    let curated = step("curated");
    curate(&CurateSettings::default(), &parts, planted, Seed::new(1), &curated, &progress()).expect("good input");
    let documents = DedupeSettings { attribute: "copies".into(), ..DedupeSettings::default() };
    let copies = step("copies");
    dedupe(&documents, &curated, None, Seed::new(1), &copies, &progress()).expect("good input");
    let separator = "\n\n".to_owned();
    let paragraphs = DedupeSettings {
        attribute: "repeated".into(),
        by: By::Paragraph,
        separator,
        minimum_words: 5,
        ..DedupeSettings::default()
    };
    dedupe(&paragraphs, &copies, None, Seed::new(2), &step("repeated"), &progress()).expect("good input");
}

#[test]
fn every_copy_is_found_and_nothing_else() {
    let (standards, planted, work) = (scratch("planted-from"), scratch("planted"), scratch("planted-work"));
    super::run("corpora/rfc", 0.1, standards.path());
    let mut planter =
        Planter::new(&PlantSettings::default(), Seed::new(6), planted.path()).expect("a file can be made");
    for document in read_documents(&standards.path().join(TRAIN)).expect("just written") {
        planter.add(&document.expect("just written")).expect("the disk takes it");
    }
    let report = planter.finish().expect("the disk takes it");
    assert!(report.bytes >= 20_000_000 && report.copies > 1000, "{report:?}");
    tagged(planted.path(), work.path());

    // What is dropped, and what was planted as a copy.
    let settings = MixSettings {
        exclude: vec!["$.attributes.copies[0]".into()],
        replace: vec![Replace {
            span: "$.attributes.repeated".into(),
            with: String::new(),
            minimum_score: None,
            maximum_score: None,
        }],
        ..MixSettings::default()
    };
    let rules = settings.rules(|key| Place::key(key)).expect("good rules");
    let (repeated, clean) = (work.path().join("repeated"), work.path().join("clean"));
    std::fs::create_dir(&clean).expect("a folder can be made");
    let mixed = mix(&settings, &rules, Source::Curated(&repeated), &clean, &progress()).expect("good input");
    let truth: Vec<Planted> = rows(&planted.path().join(PLANTED))
        .into_iter()
        .map(|row| serde_json::from_value(row).expect("just written"))
        .collect();
    let copies: BTreeSet<&str> = truth.iter().filter(|one| one.copy_of.is_some()).map(|one| one.id.as_str()).collect();
    let dropped = rows(&clean.join(DROPPED));
    let dropped: BTreeSet<&str> = dropped.iter().map(|row| row["id"].as_str().expect("an id")).collect();
    let (found, wrong) = (copies.intersection(&dropped).count(), dropped.difference(&copies).count());
    assert_eq!(found, copies.len(), "recall");
    assert!(wrong * 1000 <= dropped.len(), "{wrong} of {} dropped documents are no copies", dropped.len());
    assert_eq!(mixed.documents[0] + dropped.len() as u64, mixed.read);

    // Paragraphs that are removed stood before; those of the boilerplate that stood before are removed. Persons are tagged.
    let said: BTreeMap<String, Value> = rows(&repeated.join(TRAIN_ATTRIBUTES))
        .into_iter()
        .map(|mut row| (row["id"].as_str().expect("an id").to_owned(), row["attributes"].take()))
        .collect();
    let spans = |attributes: &Value, name: &str| -> Vec<(usize, usize)> {
        let all = attributes[name].as_array().into_iter().flatten();
        all.map(|span| (span[0].as_u64().expect("a number") as usize, span[1].as_u64().expect("a number") as usize))
            .collect()
    };
    let mut known: HashSet<&str> = HashSet::new();
    let (mut right, mut false_paragraphs, mut boilerplate, mut left, mut persons, mut untold) = (0, 0, 0, 0, 0, 0);
    for one in &truth {
        let attributes = &said[&one.id];
        let removed: HashSet<usize> = spans(attributes, "repeated").into_iter().map(|(start, _)| start).collect();
        let mut start = 0;
        for paragraph in one.text.split("\n\n") {
            let length = paragraph.chars().count();
            let before = !known.insert(paragraph);
            if removed.contains(&start) {
                if before { right += 1 } else { false_paragraphs += 1 }
            }
            if before && one.spans.contains(&(start, start + length, Kind::Boilerplate)) {
                if removed.contains(&start) { boilerplate += 1 } else { left += 1 }
            }
            start += length + 2;
        }
        for (from, to, _) in one.spans.iter().filter(|span| span.2 == Kind::Personal) {
            let name = |kind: &str| format!("pii_regex_with_counts_fast_v2__pii_regex_with_counts_fast_v2__{kind}");
            let told = |kind: &str| spans(attributes, &name(kind)).iter().any(|(start, end)| start < to && from < end);
            if told("EMAIL_ADDRESS") && told("PHONE_NUMBER") { persons += 1 } else { untold += 1 }
        }
    }
    assert_eq!((false_paragraphs, left, untold), (0, 0, 0));
    assert!(right > 5000 && boilerplate > 3000 && persons > 1000, "{right} {boilerplate} {persons}");
}
