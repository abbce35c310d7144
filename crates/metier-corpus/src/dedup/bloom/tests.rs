//! Dolma's filters and what it says was seen before; and where it is wrong, what is right.

use super::{By, ConfigReport, DedupeReport, DedupeSettings, FILTER, Filter, Size, dedupe, dedupe_config};
use crate::document_file::{HELD_OUT, HELD_OUT_ATTRIBUTES, TRAIN, TRAIN_ATTRIBUTES};
use metier_core::Result;
use metier_core::progress::{Mode, Progress, set_mode};
use metier_core::seed::Seed;
use metier_testkit::{Scratch, fixture, scratch};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use unicode_segmentation::UnicodeSegmentation as _;

fn progress() -> Progress {
    set_mode(Mode::Silent);
    Progress::new("documents", None, "documents")
}

fn golden() -> Value {
    serde_json::from_str(include_str!("../../../tests/golden/dolma_bloom.json")).expect("the golden is JSON")
}

fn has(filter: &Filter, item: &[&str]) -> bool {
    filter.has(&filter.hashes().of(item).collect::<Vec<_>>())
}

/// A file of hexadecimal digits as a filter, and where it lies.
fn open(folder: &Scratch, digits: &Value) -> (Filter, PathBuf) {
    let digits = digits.as_str().expect("digits");
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("a digit");
    let path = folder.path().join("filter");
    std::fs::write(&path, (0..digits.len()).step_by(2).map(byte).collect::<Vec<_>>()).expect("written");
    (Filter::open(&path).expect("a filter"), path)
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().expect("a list").iter().map(|text| text.as_str().expect("a text")).collect()
}

#[test]
fn a_filter_that_dolma_wrote_answers_here_as_there() {
    let (golden, folder) = (golden(), scratch("bloom-golden"));
    let small = &golden["filter"];
    let (filter, path) = open(&folder, &small["file"]);
    assert_eq!(filter.size(), Size { bytes: 40, hashes: 5 });
    for text in texts(&small["inserted"]) {
        assert!(has(&filter, &[text]), "{text}");
    }
    let answers: Vec<bool> = small["has"].as_array().unwrap().iter().map(|answer| answer.as_bool().unwrap()).collect();
    let own: Vec<bool> = texts(&small["others"]).into_iter().map(|text| has(&filter, &[text])).collect();
    assert_eq!(own, answers);
    assert!((20..180).contains(&answers.iter().filter(|answer| **answer).count()), "both answers are asked for");
    let copy = folder.path().join("copy");
    filter.save(&copy).unwrap();
    assert_eq!(std::fs::read(copy).unwrap(), std::fs::read(path).unwrap());

    let sequences = &golden["sequences"];
    let (filter, _) = open(&folder, &sequences["file"]);
    let mut met = 0;
    for text in texts(&sequences["texts"]) {
        let words: Vec<&str> = text.split_word_bounds().filter(|word| !word.trim().is_empty()).collect();
        met += words.windows(3).filter(|sequence| has(&filter, sequence)).count();
        assert!(!has(&filter, &words[..2]));
        assert!(words.windows(3).all(|sequence| has(&filter, sequence)), "{text}");
    }
    assert!(met > 8);
}

/// Dolma's configuration over the files under `folder/documents`.
fn config(folder: &Path, dedupe: &Value, bloom: &Value) -> PathBuf {
    let root = folder.to_string_lossy();
    let mut config = json!({
        "documents": [format!("{root}/documents/*.jsonl*")],
        "dedupe": { "name": "seen", "min_length": 0, "min_words": 0, "num_partitions": 1, "partition_index": 0 },
        "bloom_filter": {
            "file": format!("{root}/filter"), "read_only": false, "size_in_bytes": 1 << 24,
            "estimated_doc_count": 2_000_000, "desired_false_positive_rate": 1e-9,
        },
        "processes": 2,
    });
    for (key, more) in [("dedupe", dedupe), ("bloom_filter", bloom)] {
        config[key].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    }
    let path = folder.join("dedupe.json");
    std::fs::write(&path, config.to_string()).unwrap();
    path
}

fn run(config: &Path) -> Result<ConfigReport> {
    dedupe_config(config, false, Seed::new(1), &progress())
}

fn write(folder: &Path, name: &str, documents: &[Value]) {
    let lines = documents.iter().map(|document| document.to_string() + "\n").collect::<String>();
    std::fs::create_dir_all(folder.join("documents")).unwrap();
    std::fs::write(folder.join("documents").join(name), lines).unwrap();
}

/// What was said of each document of a file.
fn said(folder: &Path, name: &str) -> Vec<Vec<(usize, usize, f64)>> {
    let text = std::fs::read_to_string(folder.join("attributes/seen").join(name)).unwrap();
    let of = |line: &str| serde_json::from_str::<Value>(line).unwrap()["attributes"]["seen"].take();
    text.lines().map(|line| serde_json::from_value(of(line)).unwrap()).collect()
}

/// What is said of documents that hold these texts.
fn seen(texts: &[&str], dedupe: &Value) -> Vec<Vec<(usize, usize, f64)>> {
    let folder = scratch("bloom-seen");
    let documents: Vec<_> = (0..).zip(texts).map(|(id, text)| json!({ "id": format!("{id}"), "text": text })).collect();
    write(folder.path(), "a.jsonl", &documents);
    let small = json!({ "size_in_bytes": 1 << 16, "estimated_doc_count": 1000 });
    run(&config(folder.path(), dedupe, &small)).unwrap();
    said(folder.path(), "a.jsonl")
}

fn paragraphs(more: &Value) -> Value {
    let mut out = json!({ "attribute_name": "seen" });
    out.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "paragraphs": out })
}

/// The pieces that `fixtures/reference/dolma_bloom.py` cuts.
fn pieces() -> Vec<String> {
    let unzipped = |path: &Path| {
        let mut text = String::new();
        flate2::read::MultiGzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
        text
    };
    let files = |folder: &str, ending: &str| {
        let all = std::fs::read_dir(fixture(folder)).unwrap().map(|entry| entry.unwrap().path());
        let mut all: Vec<_> = all.filter(|path| path.to_string_lossy().ends_with(ending)).collect();
        all.sort();
        all
    };
    let books = files("corpora/general", ".txt").into_iter().map(|path| std::fs::read_to_string(path).unwrap());
    let standards = files("corpora/rfc", ".txt.gz").into_iter().step_by(3).map(|path| unzipped(&path));
    let mut out = Vec::new();
    for text in books.chain(standards) {
        out.extend(text.split('\n').collect::<Vec<_>>().chunks(40).map(|lines| lines.join("\n")));
    }
    let hindi = unzipped(&fixture("corpora/hindi/hindi.jsonl.gz"));
    let text = |line: &str| serde_json::from_str::<Value>(line).unwrap()["text"].as_str().unwrap().to_owned();
    out.extend(hindi.lines().map(text));
    out
}

/// The spans of all paragraphs.
fn spans(text: &str, separator: &str) -> Vec<(usize, usize)> {
    let (mut end, all) = (0, text.chars().count());
    let paragraphs = text.split(separator).map(|paragraph| {
        let start = end;
        end += paragraph.chars().count();
        end += usize::from(end + 1 < all);
        (start, end)
    });
    paragraphs.collect()
}

#[test]
fn what_was_seen_before_is_what_dolma_says() {
    let golden = golden();
    let made = texts(&golden["texts"]).into_iter().map(str::to_owned);
    let all: Vec<String> = made.chain(pieces()).collect();
    assert_eq!(Value::from(all.len()), golden["documents"]);
    assert!(all.len() >= 2000);
    let folder = scratch("bloom-parity");
    let url = |number: usize| format!("https://example.org/{}", number * number % 977);
    let document =
        |(id, text): (usize, &String)| json!({ "id": id.to_string(), "text": text, "metadata": { "url": url(id) } });
    write(folder.path(), "a.jsonl", &all.iter().enumerate().map(document).collect::<Vec<_>>());
    for case in golden["cases"].as_array().unwrap() {
        let dedupe = &case["dedupe"];
        for left in ["filter", "attributes/seen/a.jsonl"] {
            let _ = std::fs::remove_file(folder.path().join(left));
        }
        run(&config(folder.path(), dedupe, &json!({}))).unwrap_or_else(|error| panic!("{dedupe}: {error}"));
        let separator = dedupe["paragraphs"]["paragraph_separator"].as_str().unwrap_or("\n");
        let (mut numbers, mut ascii, mut count) = (Sha256::new(), Sha256::new(), 0);
        for (id, (text, found)) in all.iter().zip(said(folder.path(), "a.jsonl")).enumerate() {
            count += found.len();
            let mut all = spans(text, separator).into_iter().enumerate();
            for (start, end, score) in found {
                let mut number = 0;
                if dedupe["paragraphs"].is_object() {
                    number = all.find(|(_, span)| *span == (start, end)).expect("the span of a paragraph").0;
                }
                numbers.update(format!("{id} {number} {score:.9}\n"));
                if text.is_ascii() {
                    ascii.update(format!("{id} {start} {end} {score:.9}\n"));
                }
            }
        }
        assert_eq!(Value::from(count), case["spans"], "{dedupe}");
        assert_eq!(Value::from(crate::read::hex(&numbers.finalize())), case["numbers"], "{dedupe}");
        assert_eq!(Value::from(crate::read::hex(&ascii.finalize())), case["ascii"], "{dedupe}");
    }
}

#[test]
fn ends_are_counted_in_characters() {
    // Dolma says (14, 20) and (20, 26), of a text of 25 characters.
    let text = "one two\nnaïve\nnaïve\nnaïve";
    assert_eq!(seen(&[text], &paragraphs(&json!({})))[0], [(14, 20, 1.0), (20, 25, 1.0)]);
    // Dolma says (0, 8).
    let document = json!({ "documents": { "attribute_name": "seen", "key": "$.text" } });
    assert_eq!(seen(&["नम", "नम"], &document)[1], [(0, 2, 1.0)]);
}

#[test]
fn separators_of_several_characters_are_counted_whole() {
    // Dolma says (5, 8): it counts one character for each separator.
    let text = "x yy\n\nsep\n\nsep\n\nx yy";
    let spans = seen(&[text], &paragraphs(&json!({ "paragraph_separator": "\n\n" })));
    assert_eq!(spans[0], [(11, 16, 1.0), (16, 20, 1.0)]);
}

#[test]
fn least_lengths_are_of_each_paragraph_in_characters() {
    // Dolma compares the place at which a paragraph ends, and bytes of documents.
    let mut dedupe = paragraphs(&json!({}));
    dedupe["min_length"] = 3.into();
    assert_eq!(seen(&["long line\nab\nab\nabc\nabc"], &dedupe)[0], [(20, 23, 1.0)]);
    let dedupe = json!({ "documents": { "attribute_name": "seen", "key": "$.text" }, "min_length": 3 });
    assert_eq!(seen(&["नम", "नम", "नमन", "नमन"], &dedupe), [vec![], vec![], vec![], vec![(0, 3, 1.0)]]);
}

#[test]
fn least_numbers_of_words_leave_the_rest_to_be_compared() {
    // With a least number of words, Dolma compares nothing at all.
    let mut dedupe = paragraphs(&json!({}));
    dedupe["min_words"] = 3.into();
    assert_eq!(seen(&["a b\na b\na b c\na  b c\na b c"], &dedupe)[0], [(21, 26, 1.0)]);
    let dedupe =
        json!({ "documents": { "attribute_name": "seen", "key": "$.text" }, "min_words": 2, "skip_empty": true });
    assert_eq!(seen(&["x", "x", "", "", "a b", "a b"], &dedupe)[5], [(0, 3, 1.0)]);
}

#[test]
fn a_million_items_are_mistaken_as_often_as_the_formula_says() {
    const ITEMS: u64 = 1_000_000;
    for (bytes, wanted) in [(None, 0.01), (Some(1 << 20), 1e-9)] {
        let size = Size::new(ITEMS, wanted, bytes);
        let mut filter = Filter::new(size, Seed::new(7));
        let item = |number: u64| format!("item {number}");
        let hashes = |filter: &Filter, number: u64| filter.hashes().of(&[&item(number)]).collect::<Vec<_>>();
        for number in 0..ITEMS {
            let hashes = hashes(&filter, number);
            filter.insert(&hashes);
        }
        assert!((0..1000).all(|number| filter.has(&hashes(&filter, number * 999))));
        let mistaken = (ITEMS..2 * ITEMS).filter(|number| filter.has(&hashes(&filter, *number))).count();
        let (rate, formula) = (mistaken as f64 / ITEMS as f64, size.false_positives(ITEMS));
        assert!((rate / formula - 1.0).abs() < 0.2, "{rate} measured, {formula} by the formula, {size:?}");
        assert!((filter.false_positives() / formula - 1.0).abs() < 0.2);
        assert!(bytes.is_some() || formula <= wanted);
    }
    // As Dolma has them: the best number of hashes where the rate cannot be had, and bytes doubled from a mebibyte on.
    assert_eq!(Size::new(1000, 1e-12, Some(1003)), Size { bytes: 1000, hashes: 6 });
    assert_eq!(Size::new(1_000_000, 0.001, None).bytes, 1 << 21);
}

#[test]
fn files_that_are_no_filters_are_refused() {
    let folder = scratch("bloom-damaged");
    let (_, path) = open(&folder, &golden()["filter"]["file"]);
    let whole = std::fs::read(&path).unwrap();
    let refused = |bytes: &[u8], message: &str| {
        std::fs::write(&path, bytes).unwrap();
        let error = Filter::open(&path).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    };
    for length in 0..whole.len() {
        refused(&whole[..length], if length < 180 { "" } else { "words behind its head" });
    }
    refused(b"not a filter but a text", "no Bloom filter");
    for (at, message) in [(4, "version 2"), (8, "hashes"), (176, "words")] {
        let mut bytes = whole.clone();
        bytes[at..at + 4.min(whole.len() - at)].fill(if at == 4 { 2 } else { 255 });
        if at == 4 {
            bytes[5..8].fill(0);
        }
        refused(&bytes, message);
    }
    assert!(Filter::open(&folder.path().join("none")).is_err());
}

#[test]
fn filters_are_gone_on_with_and_left_alone() {
    let folder = scratch("bloom-files");
    let at = folder.path();
    let document = |id: &str, text: &str| json!({ "id": id, "text": text });
    write(at, "a.jsonl", &[document("1", "one"), document("2", "two"), document("3", "one")]);
    let by_text = json!({ "documents": { "attribute_name": "seen", "key": "$.text" } });
    let small =
        |read_only: bool| json!({ "size_in_bytes": 1 << 12, "estimated_doc_count": 100, "read_only": read_only });
    let missing = run(&config(at, &by_text, &small(true))).unwrap_err().to_string();
    assert!(missing.contains("is not there") && !at.join("attributes").exists(), "{missing}");
    let first = run(&config(at, &by_text, &small(false))).unwrap();
    assert_eq!(first, ConfigReport { documents: 3, tagged: 1, written: 1, skipped: 0 });
    let filter = std::fs::read(at.join("filter")).unwrap();
    assert_eq!(run(&config(at, &by_text, &small(false))).unwrap().skipped, 1, "all is there");

    // What is new goes unseen twice where the filter may only be read.
    write(at, "b.jsonl", &[document("4", "two"), document("5", "three"), document("6", "three")]);
    run(&config(at, &by_text, &small(true))).unwrap();
    assert_eq!(said(at, "b.jsonl"), [vec![(0, 3, 1.0)], vec![], vec![]]);
    assert_eq!(std::fs::read(at.join("filter")).unwrap(), filter);
    std::fs::remove_file(at.join("attributes/seen/b.jsonl")).unwrap();
    run(&config(at, &by_text, &small(false))).unwrap();
    assert_eq!(said(at, "b.jsonl"), [vec![(0, 3, 1.0)], vec![], vec![(0, 5, 1.0)]]);

    // Interrupted before the filter was written: Dolma would take what the first file holds for new.
    let (both, spans) = (std::fs::read(at.join("filter")).unwrap(), said(at, "b.jsonl"));
    for lost in ["filter", "attributes/seen/b.jsonl"] {
        std::fs::remove_file(at.join(lost)).unwrap();
    }
    assert_eq!(run(&config(at, &by_text, &small(false))).unwrap().written, 1);
    assert!(std::fs::read(at.join("filter")).unwrap() == both && said(at, "b.jsonl") == spans);

    let nothing = json!({ "documents": { "attribute_name": "seen", "key": "$.url" } });
    std::fs::remove_file(at.join("attributes/seen/a.jsonl")).unwrap();
    let error = run(&config(at, &nothing, &small(false))).unwrap_err().to_string();
    assert!(error.contains("a.jsonl:1") && error.contains("leads to no text"), "{error}");
    let both = json!({ "documents": { "attribute_name": "", "key": "$[" }, "num_partitions": 3 });
    let error = run(&config(at, &both, &json!({ "size_in_bytes": 0, "estimated_doc_count": 0 }))).unwrap_err();
    assert_eq!(error.faults.len(), 2, "{error}");
}

/// A curated folder whose documents repeat one another.
fn curated(folder: &Path) {
    let paragraph = |number: usize| format!("paragraph {} of all of them", number % 700);
    let document = |number: usize| {
        let text: Vec<String> = (0..3).map(|at| paragraph(number * 7 + at * number)).collect();
        json!({ "id": format!("d{number}"), "text": text.join("\n"), "source": "s", "source_sha256": "", "license": "", "pieces": [] })
    };
    for (name, attributes, numbers) in [(TRAIN, TRAIN_ATTRIBUTES, 0..1200), (HELD_OUT, HELD_OUT_ATTRIBUTES, 1200..1500)]
    {
        let documents: String = numbers.clone().map(|number| document(number).to_string() + "\n").collect();
        std::fs::write(folder.join(name), documents).unwrap();
        let said = |number: usize| json!({ "id": format!("d{number}"), "attributes": { "other": [[0, 1, 0.5]] } });
        let said: String = numbers.map(|number| said(number).to_string() + "\n").collect();
        std::fs::write(folder.join(attributes), said).unwrap();
    }
}

#[test]
fn curated_documents_are_tagged_alike_by_any_threads_and_after_interruptions() {
    let (from, whole) = (scratch("bloom-curated"), scratch("bloom-whole"));
    curated(from.path());
    let settings = DedupeSettings {
        by: By::Paragraph,
        ngram_length: 3,
        overlap_threshold: 0.5,
        expected: 5000,
        ..DedupeSettings::default()
    };
    let run = |out: &Path| dedupe(&settings, from.path(), None, Seed::new(4), out, &progress());
    let report = run(whole.path()).unwrap();
    let DedupeReport { documents, tagged, .. } = report;
    assert!(documents == [1200, 300] && tagged[0] > 500 && tagged[1] == 300, "{report:?}");
    let files = [TRAIN, HELD_OUT, TRAIN_ATTRIBUTES, HELD_OUT_ATTRIBUTES, FILTER];
    let read = |folder: &Path, file: &str| std::fs::read(folder.join(file)).unwrap();
    let same = |folder: &Path| files.iter().all(|file| read(folder, file) == read(whole.path(), file));
    let first = std::fs::read_to_string(whole.path().join(TRAIN_ATTRIBUTES)).unwrap();
    let first: Value = serde_json::from_str(first.lines().next().unwrap()).unwrap();
    assert_eq!(first["id"], "d0");
    assert_eq!(first["attributes"], json!({ "other": [[0, 1, 0.5]], "duplicates": [[27, 54, 1.0], [54, 80, 1.0]] }));
    for threads in [1, 8] {
        let out = scratch("bloom-threads");
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert_eq!(pool.install(|| run(out.path())).unwrap(), report);
        assert!(same(out.path()), "{threads} threads");
    }
    // Interrupted in the middle of each file, with something behind what counts.
    let out = scratch("bloom-broken");
    for file in [TRAIN, HELD_OUT] {
        let path = from.path().join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        let at = text.len() * 3 / 4;
        let at = at + text[at..].find('\n').unwrap() + 1;
        std::fs::write(&path, format!("{}broken\n{}", &text[..at], &text[at..])).unwrap();
        assert!(run(out.path()).is_err());
        std::fs::write(&path, text).unwrap();
        for file in [TRAIN_ATTRIBUTES, HELD_OUT_ATTRIBUTES] {
            use std::io::Write as _;
            let mut file = std::fs::OpenOptions::new().append(true).open(out.path().join(file)).unwrap();
            file.write_all(b"{\"id\":").unwrap();
        }
    }
    assert_eq!(run(out.path()).unwrap(), report);
    assert!(same(out.path()));
    // The filter of one is where another goes on: all was seen.
    let again = scratch("bloom-again");
    let filter = whole.path().join(FILTER);
    let report = dedupe(&settings, from.path(), Some(&filter), Seed::new(9), again.path(), &progress()).unwrap();
    assert_eq!((report.tagged, report.inserted), ([1200, 300], 0));
    assert_eq!(read(again.path(), FILTER), read(whole.path(), FILTER));
    let error =
        dedupe(&settings, again.path(), None, Seed::new(9), scratch("bloom-twice").path(), &progress()).unwrap_err();
    assert!(error.to_string().contains("attribute `duplicates` already"), "{error}");
}
