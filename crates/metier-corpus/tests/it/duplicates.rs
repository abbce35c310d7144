//! Near duplicates among 20,000 documents, beside what comparing all pairs says.

use metier_core::progress::{Mode, Progress, set_mode};
use metier_core::seed::{Seed, Stream};
use metier_corpus::dedup::{Deduplicate, Exact, Minhash};
use metier_corpus::read::Jsonl;
use metier_corpus::select::HoldOut;
use metier_corpus::{CurateSettings, DROPPED, Parts, curate};
use metier_testkit::scratch;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;
use std::path::Path;

const DOCUMENTS: usize = 20_000;
const THRESHOLD: f64 = 0.7;
const WORDS: usize = 5;

/// Documents of which half repeat another one with some words changed, so that similarities of all sizes are there.
fn documents() -> Vec<String> {
    let mut random = Seed::new(20).at(0);
    let mut documents: Vec<Vec<u64>> = Vec::new();
    let word = |random: &mut Stream| random.below(30_000);
    for number in 0..DOCUMENTS {
        let length = 30 + random.below(120);
        let mut words: Vec<u64> = match random.below(2) {
            0 if number > 0 => documents[random.below(number as u64) as usize].clone(),
            _ => (0..length).map(|_| word(&mut random)).collect(),
        };
        for _ in 0..random.below(1 + words.len() as u64 / 16) {
            let at = random.below(words.len() as u64) as usize;
            words[at] = word(&mut random);
        }
        documents.push(words);
    }
    let text = |words: &Vec<u64>| words.iter().map(|word| format!("w{word}")).collect::<Vec<_>>().join(" ");
    documents.iter().map(text).collect()
}

/// Groups of documents that are similar, also by others between them: comparing all pairs that share any sequence.
fn groups(documents: &[String]) -> Vec<usize> {
    let sets: Vec<BTreeSet<Vec<&str>>> = documents
        .iter()
        .map(|text| text.split(' ').collect::<Vec<_>>().windows(WORDS).map(<[&str]>::to_vec).collect())
        .collect();
    let mut with: HashMap<&[&str], Vec<usize>> = HashMap::new();
    let mut group: Vec<usize> = (0..documents.len()).collect();
    for (number, set) in sets.iter().enumerate() {
        let mut both: HashMap<usize, usize> = HashMap::new();
        for sequence in set {
            let before = with.entry(sequence).or_default();
            for other in &*before {
                *both.entry(*other).or_default() += 1;
            }
            before.push(number);
        }
        for (other, both) in both {
            let all = set.len() + sets[other].len() - both;
            if both as f64 >= THRESHOLD * all as f64 {
                let (one, other) = (head(&group, number), head(&group, other));
                group[one.max(other)] = one.min(other);
            }
        }
    }
    (0..group.len()).map(|number| head(&group, number)).collect()
}

fn head(group: &[usize], mut number: usize) -> usize {
    while group[number] != number {
        number = group[number];
    }
    number
}

/// For each dropped document the one that stays, by number; the documents stand in `files` files in an order by `seed`.
fn dropped(documents: &[String], files: usize, seed: u64, threads: usize) -> BTreeMap<usize, usize> {
    let (from, out) = (scratch("duplicates-in"), scratch("duplicates-out"));
    let mut order: Vec<usize> = (0..documents.len()).collect();
    Seed::new(seed).at(0).shuffle(&mut order);
    for (file, numbers) in order.chunks(documents.len().div_ceil(files)).enumerate() {
        let mut rows = String::new();
        for number in numbers {
            let row = serde_json::json!({ "id": number.to_string(), "text": documents[*number] });
            writeln!(rows, "{row}").expect("a string takes it");
        }
        std::fs::write(from.path().join(format!("{file}.jsonl")), rows).expect("the disk takes it");
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads can be started");
    pool.install(|| curated(from.path(), out.path()));
    let text = std::fs::read_to_string(out.path().join(DROPPED)).expect("just written");
    let number = |row: &Value, key: &str| row[key].as_str().and_then(|id| id.rsplit(['/', ':']).next()?.parse().ok());
    text.lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("just written"))
        .map(|row| (number(&row, "id").expect("an id"), number(&row, "repeats").expect("an id")))
        .collect()
}

fn curated(from: &Path, out: &Path) {
    let (read, select) = (Jsonl::default(), HoldOut { fraction: 0.1 });
    let near = Minhash { threshold: THRESHOLD, words: WORDS, ..Minhash::default() };
    let dedups: Vec<&dyn Deduplicate> = vec![&Exact {}, &near];
    let parts = Parts { read: &read, filters: Vec::new(), tags: Vec::new(), dedups, select: &select, cluster: None };
    set_mode(Mode::Silent);
    let progress = Progress::new("documents", None, "documents");
    curate(&CurateSettings::default(), &parts, from, Seed::new(1), out, &progress).expect("good input");
}

#[test]
fn groups_of_20_000_documents_are_those_of_all_pairs_in_any_order_with_any_threads() {
    let documents = documents();
    let first = dropped(&documents, 4, 1, 2);
    for (files, seed, threads) in [(1, 2, 1), (7, 3, 8)] {
        assert!(dropped(&documents, files, seed, threads) == first, "{threads} threads and order {seed} differ");
    }
    let groups = groups(&documents);
    // Chains: a document's place may be taken by one whose own is taken by the other part.
    let stays = |mut number: usize| {
        while let Some(next) = first.get(&number) {
            number = *next;
        }
        number
    };
    let stays: Vec<usize> = (0..documents.len()).map(stays).collect();
    let pairs = |of: &dyn Fn(usize) -> (usize, usize)| {
        let mut sizes: HashMap<(usize, usize), usize> = HashMap::new();
        (0..documents.len()).for_each(|number| *sizes.entry(of(number)).or_default() += 1);
        sizes.values().map(|size| size * (size - 1) / 2).sum::<usize>()
    };
    let true_pairs = pairs(&|number| (groups[number], 0));
    let found_pairs = pairs(&|number| (stays[number], 0));
    let both = pairs(&|number| (groups[number], stays[number]));
    assert!(true_pairs > 10_000, "{true_pairs} pairs to be found");
    assert_eq!(found_pairs, both, "documents are joined that are not similar");
    assert!(both as f64 >= 0.95 * true_pairs as f64, "{both} pairs of {true_pairs}");
}
