use super::{Filter, Verdict};
use crate::dedup::{mixed, words};
use metier_core::data::Document;
use metier_core::part::{Build, Part};
use metier_core::progress::say;
use metier_core::seed::{Seed, Stream};
use metier_core::{Error, Fault, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// Keys under which an item's question and its answer may stand.
const QUESTIONS: [&str; 5] = ["question", "Statement", "prompt", "instruction", "text"];
const ANSWERS: [&str; 4] = ["answer", "Answer", "completion", "output"];
/// Sequences that so many items share say nothing of any one.
const COMMON: usize = 1000;
/// A passage with sequences of less than this share of their weight is not compared with the item.
const TELLING: f64 = 0.1;
/// An answer is looked for so many words before and after the question.
const NEAR: usize = 40;
/// Canaries of each kind, at most; a word in so many is changed in an edited one.
const CANARIES: usize = 1000;
const CHANGED: u64 = 20;
/// Words of a canary before and after the item.
const AROUND: u64 = 100;
/// What is stated at the end: items, those that no document holds, those that cannot be looked for, and shares of canaries found.
const FIGURES: [&str; 5] = ["items", "clean", "not_searched", "recall", "recall_edited"];

/// # What it does
/// Drops documents that hold an item of an evaluation set.
///
/// # How
/// Where a document has sequences of `words` words of an item's question, the passage around is compared with the question word by
/// word: the words that both have in the same order, each weighted by `ln(1 + items / items that have it)`, are to be at least
/// `share` of the question's weight. Passages with less than a tenth of the weight of the question's sequences, those of more
/// than 1,000 items left out, are not compared. For a question of fewer than `short` words at least half of its answer's words, if it
/// has one, must stand within 40 words too, in order, as short questions are asked everywhere. At the end canaries say what is found: items put into
/// other text, as they are and with one word in twenty changed, left out or doubled. An item too short for a sequence cannot be
/// looked for, and their number is stated.
///
/// # When to use
/// On any text that a model is trained on before it is measured with these items.
///
/// # Differs from the paper in
/// Dolma looks for whole paragraphs of the items by a Bloom filter; here an item is found in a longer paragraph and with a few
/// words changed, and by its rare words rather than by the words of its template.
///
/// # Source
/// Soldaini et al. 2024, *Dolma* (arXiv:2402.00159), decontamination; Brown et al. 2020 (arXiv:2005.14165), appendix C, sequences
/// of words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Decontaminate {
    /// Files of items, a JSON object a line with `question` (or `prompt`, `instruction`, `Statement`, `text`) and perhaps `answer`
    /// (or `completion`, `output`, `Answer`).
    pub against: Vec<PathBuf>,
    /// Words in a sequence.
    #[serde(default = "usual_words")]
    #[schemars(range(min = 1, max = 64))]
    pub words: usize,
    /// Least share of a question's weight that a passage has.
    #[serde(default = "usual_share")]
    #[schemars(range(min = 0.05, max = 1.0))]
    pub share: f64,
    /// A question of fewer words counts only with its answer.
    #[serde(default = "usual_short")]
    pub short: usize,
}

fn usual_words() -> usize {
    3
}

fn usual_share() -> f64 {
    0.7
}

fn usual_short() -> usize {
    12
}

/// What is looked for.
struct Item {
    file: usize,
    question: String,
    answer: Option<String>,
    /// Words of the question, and their weight.
    words: Vec<u64>,
    words_weight: f64,
    /// The weight of all sequences of the question.
    weight: f64,
    answer_words: Vec<u64>,
    found: AtomicBool,
}

struct Index {
    settings: Decontaminate,
    names: Vec<String>,
    items: Vec<Item>,
    /// A sequence with its weight and the items that have it.
    sequences: HashMap<u64, (f64, Vec<u32>)>,
    /// A word of a question with its weight.
    weights: HashMap<u64, f64>,
    hash: String,
}

impl Index {
    /// The items that a text holds.
    fn held(&self, text: &str) -> Vec<u32> {
        let words = words(text);
        let mut hits: Vec<(u32, usize, u64)> = Vec::new();
        for (at, sequence) in words.windows(self.settings.words).map(mixed).enumerate() {
            if let Some((_, items)) = self.sequences.get(&sequence) {
                hits.extend(items.iter().map(|item| (*item, at, sequence)));
            }
        }
        hits.sort_unstable();
        let by_item = hits.chunk_by(|one, other| one.0 == other.0);
        by_item.filter(|hits| self.holds(hits, &words)).map(|hits| hits[0].0).collect()
    }

    /// Whether some passage has enough of an item, given where its sequences stand.
    fn holds(&self, hits: &[(u32, usize, u64)], words: &[u64]) -> bool {
        let item = &self.items[hits[0].0 as usize];
        let length = item.words.len();
        let mut next = 0;
        for (number, &(_, at, _)) in hits.iter().enumerate() {
            if at < next {
                continue;
            }
            let end = (at + 2 * length).min(words.len());
            let mut near: Vec<u64> =
                hits[number..].iter().take_while(|hit| hit.1 < end).map(|(.., sequence)| *sequence).collect();
            near.sort_unstable();
            near.dedup();
            let weight: f64 = near.iter().map(|sequence| self.sequences[sequence].0).sum();
            if weight < TELLING * item.weight {
                continue;
            }
            next = at + (length / 2).max(1);
            let passage = at.saturating_sub(length)..end;
            let weight_of = |word: u64| self.weights.get(&word).copied().unwrap_or(0.0);
            if in_order(&item.words, &words[passage.clone()], weight_of) + 1e-9
                < self.settings.share * item.words_weight
            {
                continue;
            }
            let around = passage.start.saturating_sub(NEAR)..(passage.end + NEAR).min(words.len());
            if length >= self.settings.short || item.is_answered(&words[around]) {
                return true;
            }
        }
        false
    }

    /// A share of items that is found when each stands in other text, changed or not.
    fn recall(&self, changed: bool) -> f64 {
        let searched: Vec<u32> =
            (0..).zip(&self.items).filter(|(_, item)| item.weight > 0.0).map(|all| all.0).collect();
        let seed = Seed::new(0).derive("canaries");
        let found = |number: &u32| {
            let item = &self.items[*number as usize];
            let mut random = seed.at(u64::from(*number));
            let mut text = other_words(&mut random);
            for part in std::iter::once(&item.question).chain(&item.answer) {
                for word in part.split_whitespace() {
                    match random.below(3 * CHANGED) {
                        0 if changed => {}
                        1 if changed => text.extend([word.to_owned(), word.to_owned()]),
                        2 if changed => text.push(other_word(&mut random)),
                        _ => text.push(word.to_owned()),
                    }
                }
            }
            text.extend(other_words(&mut random));
            self.held(&text.join(" ")).contains(number)
        };
        let step = searched.len().div_ceil(CANARIES).max(1);
        let asked: Vec<&u32> = searched.iter().step_by(step).collect();
        asked.iter().filter(|number| found(number)).count() as f64 / asked.len().max(1) as f64
    }
}

fn other_word(random: &mut Stream) -> String {
    format!("q{:x}", random.below(1 << 16))
}

fn other_words(random: &mut Stream) -> Vec<String> {
    (0..AROUND).map(|_| other_word(random)).collect()
}

impl Item {
    fn is_answered(&self, passage: &[u64]) -> bool {
        let answer = &self.answer_words;
        let least = 0.5 * answer.len() as f64;
        answer.is_empty()
            || passage.windows(answer.len().min(passage.len())).any(|words| in_order(answer, words, |_| 1.0) >= least)
    }
}

/// The largest weight of words that two texts have in the same order.
fn in_order(one: &[u64], other: &[u64], weight: impl Fn(u64) -> f64) -> f64 {
    let mut best = vec![0.0_f64; other.len() + 1];
    for &word in one {
        let weight = weight(word);
        let mut before = 0.0;
        for (column, &there) in other.iter().enumerate() {
            let old = best[column + 1];
            best[column + 1] = if word == there { before + weight } else { old.max(best[column]) };
            before = old;
        }
    }
    best[other.len()]
}

impl Filter for Index {
    fn apply(&self, document: Document) -> Verdict {
        let held = self.held(&document.text);
        let Some(first) = held.first() else { return Verdict::Keep(document) };
        for item in &held {
            self.items[*item as usize].found.store(true, Ordering::Relaxed);
        }
        Verdict::Drop(format!("holds an item of {}", self.names[self.items[*first as usize].file]))
    }

    fn data(&self) -> Option<String> {
        Some(self.hash.clone())
    }

    fn state(&self) -> Value {
        let found = (0..).zip(&self.items).filter(|(_, item)| item.found.load(Ordering::Relaxed));
        found.map(|(number, _): (u64, _)| Value::from(number)).collect()
    }

    fn resume(&self, state: &Value) {
        let found = state.as_array().into_iter().flatten().filter_map(Value::as_u64);
        for item in found.filter_map(|number| self.items.get(number as usize)) {
            item.found.store(true, Ordering::Relaxed);
        }
    }

    fn figure_names(&self) -> Vec<String> {
        FIGURES.map(|name| format!("decontaminate.{name}")).to_vec()
    }

    fn figures(&self) -> BTreeMap<String, f64> {
        let count = |counted: &dyn Fn(&Item) -> bool| self.items.iter().filter(|item| counted(item)).count() as f64;
        let values = [
            self.items.len() as f64,
            count(&|item| !item.found.load(Ordering::Relaxed)),
            count(&|item| item.weight <= 0.0),
            self.recall(false),
            self.recall(true),
        ];
        let [items, clean, not_searched, recall, edited] = values;
        say(&format!(
            "items of evaluation sets: {clean} of {items} in no document, {not_searched} too short to look for; canaries found: {:.1} %, \
             edited ones {:.1} %",
            100.0 * recall,
            100.0 * edited,
        ));
        self.figure_names().into_iter().zip(values).collect()
    }
}

/// The items of a file, all faults of it together.
fn items(path: &Path, file: usize, hasher: &mut blake3::Hasher) -> Result<Vec<Item>> {
    let opened = std::fs::File::open(path).map_err(|error| Error::io(path, "open", &error))?;
    let (mut out, mut faults) = (Vec::new(), Vec::new());
    for (number, line) in (1..).zip(BufReader::new(opened).lines()) {
        let line = line.map_err(|error| Error::io(path, "read", &error))?;
        hasher.update(line.as_bytes()).update(b"\n");
        if line.trim().is_empty() {
            continue;
        }
        let row: Value = match serde_json::from_str(&line) {
            Ok(row) => row,
            Err(error) => {
                faults.push(Fault::new(Place::file(path).at(number, error.column()), error.to_string()));
                continue;
            }
        };
        let text = |keys: &[&str]| keys.iter().find_map(|key| row.get(*key)?.as_str()).map(str::to_owned);
        let Some(question) = text(&QUESTIONS) else {
            let wanted = QUESTIONS.map(|key| format!("`{key}`")).join(", ");
            faults.push(Fault::new(Place::file(path).at(number, 1), format!("none of {wanted} is a text here")));
            continue;
        };
        let answer = text(&ANSWERS);
        let answer_words = answer.as_deref().map(words).unwrap_or_default();
        let words = words(&question);
        out.push(Item {
            file,
            question,
            answer,
            words,
            words_weight: 0.0,
            weight: 0.0,
            answer_words,
            found: AtomicBool::new(false),
        });
    }
    match faults.is_empty() {
        true if out.is_empty() => Err(Error::file(path, "there is no item in this file")),
        true => Ok(out),
        false => Err(Error { faults, blame: metier_core::Blame::User }),
    }
}

impl Build<dyn Filter> for Decontaminate {
    fn build(self, place: &Place) -> Result<Box<dyn Filter>> {
        if self.against.is_empty() {
            return Err(Fault::new(place.clone().with_key("against"), "no file of items is named").into());
        }
        if !(0.05..=1.0).contains(&self.share) || !(1..=64).contains(&self.words) {
            return Err(Fault::new(place.clone(), "`share` is from 0.05 to 1, `words` from 1 to 64").into());
        }
        let mut hasher = blake3::Hasher::new();
        let mut all = Vec::new();
        for (number, path) in self.against.iter().enumerate() {
            all.extend(items(path, number, &mut hasher)?);
        }
        let distinct = |hashes: &mut dyn Iterator<Item = u64>| hashes.collect::<BTreeSet<u64>>();
        let of = |item: &Item| distinct(&mut item.words.windows(self.words).map(mixed));
        let mut sequences: HashMap<u64, (f64, Vec<u32>)> = HashMap::new();
        for (number, item) in (0..).zip(&all) {
            for sequence in of(item) {
                sequences.entry(sequence).or_default().1.push(number);
            }
        }
        sequences.retain(|_, (_, items)| items.len() <= COMMON);
        let mut weights: HashMap<u64, f64> = HashMap::new();
        for word in all.iter().flat_map(|item| distinct(&mut item.words.iter().copied())) {
            *weights.entry(word).or_default() += 1.0;
        }
        let rarity = |items: f64| (all.len() as f64 / items).ln_1p();
        for (weight, items) in sequences.values_mut() {
            *weight = rarity(items.len() as f64);
        }
        for weight in weights.values_mut() {
            *weight = rarity(*weight);
        }
        for item in &mut all {
            item.words_weight = item.words.iter().map(|word| weights[word]).sum();
            item.weight = of(item).iter().filter_map(|sequence| sequences.get(sequence)).map(|found| found.0).sum();
        }
        let name = |path: &PathBuf| path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let names = self.against.iter().map(name).collect();
        let hash = hasher.finalize().to_string();
        Ok(Box::new(Index { settings: self, names, items: all, sequences, weights, hash }))
    }
}

/// The record of `decontaminate`.
pub static PART: Part<dyn Filter> = Part::of::<Decontaminate>("decontaminate", 2);

#[cfg(test)]
mod tests {
    use super::super::document;
    use super::*;
    use std::fmt::Write;

    const WORDS: [&str; 24] = [
        "harbor", "copper", "seven", "river", "engine", "letter", "winter", "garden", "number", "signal", "market",
        "paper", "engineer", "border", "bottle", "summer", "window", "circle", "forest", "island", "mirror", "silver",
        "thunder", "velvet",
    ];

    fn sentence(random: &mut Stream, length: u64) -> String {
        (0..length).map(|_| WORDS[random.below(24) as usize]).collect::<Vec<_>>().join(" ")
    }

    fn filter(rows: &str) -> Box<dyn Filter> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("questions.jsonl");
        std::fs::write(&path, rows).unwrap();
        serde_json::from_value::<Decontaminate>(serde_json::json!({ "against": [path] }))
            .unwrap()
            .build(&Place::default())
            .unwrap()
    }

    #[test]
    fn questions_in_other_text_are_found_and_their_templates_alone_are_not() {
        let mut random = Seed::new(5).at(0);
        let questions: Vec<_> = (0..500)
            .map(|number| format!("What does the {} of the {} say", sentence(&mut random, 6), number * 7919))
            .collect();
        let mut rows = String::new();
        for question in &questions {
            let _ = writeln!(rows, "{}", serde_json::json!({ "question": question, "answer": "nothing" }));
        }
        let filter = filter(&rows);
        let (mut found, mut wrong) = (0, 0);
        for question in &questions {
            let around = [sentence(&mut random, 80), sentence(&mut random, 80)];
            let text = format!("{}. {}?\n{}", around[0], question.to_uppercase().replace(' ', ",  "), around[1]);
            found += u32::from(matches!(filter.apply(document(&text)), Verdict::Drop(_)));
            let other =
                format!("{} What does the {} of the moon say {}", around[1], sentence(&mut random, 6), around[0]);
            wrong += u32::from(matches!(filter.apply(document(&other)), Verdict::Drop(_)));
        }
        assert!(found >= 495 && wrong == 0, "{found} found, {wrong} wrongly");
        let figures = filter.figures();
        assert!(figures["decontaminate.recall"] >= 0.99, "{figures:?}");
        assert!(figures["decontaminate.recall_edited"] >= 0.95, "{figures:?}");
        assert_eq!((figures["decontaminate.items"], figures["decontaminate.clean"]), (500.0, 500.0 - f64::from(found)));
    }

    #[test]
    fn a_short_question_counts_with_its_answer() {
        let filter =
            filter("{\"question\": \"How wide is the port field?\", \"answer\": \"16 bits\"}\n{\"text\": \"ab\"}\n");
        let held = |text: &str| matches!(filter.apply(document(text)), Verdict::Drop(_));
        assert!(!held("Somebody asked: how wide is the port field? Nobody knew."));
        assert!(held("Somebody asked: how wide is the port field? It has 16 bits."));
        let figures = filter.figures();
        assert_eq!((figures["decontaminate.not_searched"], figures["decontaminate.clean"]), (1.0, 1.0));
        assert!(figures["decontaminate.recall"] >= 1.0);
    }

    #[test]
    fn all_faults_of_a_file_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("questions.jsonl");
        std::fs::write(&path, "{\"question\": \"a b c\"}\n{\n{\"q\": 1}\n").unwrap();
        let build = |against: Vec<PathBuf>| {
            let part = Decontaminate { against, words: 3, share: 0.5, short: 12 };
            part.build(&Place::default()).err().unwrap().to_string()
        };
        let error = build(vec![path.clone()]);
        assert!(error.contains("questions.jsonl:2:") && error.contains("questions.jsonl:3:1"), "{error}");
        std::fs::write(&path, "\n").unwrap();
        assert!(build(vec![path]).contains("no item"));
        assert!(build(Vec::new()).contains("against"));
    }
}
