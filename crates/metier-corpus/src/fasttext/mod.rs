//! fastText's classifiers: files ending in `.bin` and `.ftz`, and the labels they give.
//!
//! [`Model::read`] takes a file of version 12 apart; [`Predictor`] gives a line's labels with their probabilities as
//! fastText does: the mean of the rows of words and of their character n-grams, then the output layer.

mod file;

use crate::hash;
use metier_core::Result;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// The word that ends a line.
const END: &[u8] = b"</s>";
/// What a label begins with, which is no word of a line.
const LABEL: &str = "__label__";

/// A classifier.
pub struct Model {
    /// BLAKE3 of the file, in hexadecimal.
    hash: String,
    dimension: usize,
    shortest: usize,
    longest: usize,
    word_sequences: usize,
    buckets: Buckets,
    loss: Loss,
    words: HashMap<Box<[u8]>, u32, hash::Build>,
    word_count: usize,
    labels: Vec<String>,
    /// Where a bucket's row went when rows were pruned.
    pruned: Option<Pruned>,
    input: Matrix,
    output: Matrix,
    /// Nodes behind the leaves of the Huffman tree, as (left, right).
    tree: Vec<(u32, u32)>,
}

/// The buckets that were kept.
struct Pruned {
    rows: HashMap<u32, u32, hash::Build>,
    /// A bit for the lower bits of each, since most n-grams have none of them.
    bits: Vec<u64>,
}

impl Pruned {
    fn new(rows: HashMap<u32, u32, hash::Build>) -> Self {
        let mut bits = vec![0; rows.len().div_ceil(2).next_power_of_two()];
        for bucket in rows.keys() {
            let at = (bucket / 64) as usize & (bits.len() - 1);
            bits[at] |= 1 << (bucket % 64);
        }
        Self { rows, bits }
    }

    /// 1 when a bucket may be among them, otherwise 0.
    fn may_hold(&self, bucket: u32) -> usize {
        (self.bits[(bucket / 64) as usize & (self.bits.len() - 1)] >> (bucket % 64) & 1) as usize
    }
}

/// How many buckets there are, to take remainders by.
struct Buckets {
    count: u32,
    /// 2^64 / `count`, rounded up.
    inverse: u64,
}

impl Buckets {
    fn new(count: u32) -> Self {
        Self { count, inverse: (u64::MAX / u64::from(count)).wrapping_add(1) }
    }

    /// A hash modulo the number of buckets, by two products (Lemire, Kaser and Kurz 2019, arXiv:1902.01961).
    fn of(&self, hash: u32) -> u32 {
        let fraction = self.inverse.wrapping_mul(u64::from(hash));
        ((u128::from(fraction) * u128::from(self.count)) >> 64) as u32
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    /// A path of yes and no through a Huffman tree.
    Hierarchical,
    Softmax,
    /// A yes or no for each label.
    OneVersusAll,
}

/// Rows of `f32`. What was quantized is read out once.
struct Matrix {
    columns: usize,
    values: Vec<f32>,
}

impl Matrix {
    fn row(&self, index: u32) -> &[f32] {
        let start = index as usize * self.columns;
        self.values.get(start..start + self.columns).unwrap_or_default()
    }
}

/// A label with its probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prediction {
    /// Index into [`Model::labels`].
    pub label: usize,
    /// From 0 to 1.
    pub score: f32,
}

/// fastText's logarithm, which is finite at zero.
fn log(value: f32) -> f32 {
    (f64::from(value) + 1e-5).ln() as f32
}

fn sigmoid(value: f32) -> f32 {
    1.0 / (1.0 + (-value).exp())
}

/// The FNV-1a hash of nothing.
const START: u32 = 2_166_136_261;

/// FNV-1a over bytes taken as signed, as fastText has it.
fn fnv(bytes: &[u8]) -> u32 {
    bytes.iter().fold(START, |sum, byte| step(sum, *byte))
}

fn step(sum: u32, byte: u8) -> u32 {
    (sum ^ (byte as i8 as u32)).wrapping_mul(16_777_619)
}

impl Model {
    /// Reads a file. A fault names the file and the byte at which it ends or stops making sense.
    pub fn read(path: &Path) -> Result<Self> {
        file::read(path)
    }

    /// BLAKE3 of the file, in hexadecimal.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The labels, without `__label__`.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// The rows of a word: its own and those of its character n-grams.
    fn rows(&self, word: &[u8], marked: &mut Vec<u8>, rows: &mut Vec<u32>) {
        let known = self.words.get(word);
        rows.extend(known);
        if self.longest == 0 || word == END {
            return;
        }
        marked.clear();
        marked.push(b'<');
        marked.extend_from_slice(word);
        marked.push(b'>');
        let first = rows.len();
        let inside = |at: usize| marked.get(at).is_some_and(|byte| byte & 0xc0 == 0x80);
        for start in (0..marked.len()).filter(|start| !inside(*start)) {
            let (mut end, mut sum) = (start, START);
            for length in 1..=self.longest {
                if end >= marked.len() {
                    break;
                }
                sum = step(sum, marked[end]);
                end += 1;
                while inside(end) {
                    sum = step(sum, marked[end]);
                    end += 1;
                }
                if length >= self.shortest && !(length == 1 && (start == 0 || end == marked.len())) {
                    rows.push(self.buckets.of(sum));
                }
            }
        }
        self.settle(first, rows);
    }

    /// Puts rows in the place of buckets, from the one of this number on.
    fn settle(&self, first: usize, rows: &mut Vec<u32>) {
        let mut kept = first;
        if let Some(pruned) = &self.pruned {
            // Without a branch that nobody foresees, those that cannot have a row go first.
            for at in first..rows.len() {
                rows[kept] = rows[at];
                kept += pruned.may_hold(rows[at]);
            }
            rows.truncate(kept);
            kept = first;
            for at in first..rows.len() {
                if let Some(row) = pruned.rows.get(&rows[at]) {
                    rows[kept] = *row;
                    kept += 1;
                }
            }
            rows.truncate(kept);
        }
        rows[first..].iter_mut().for_each(|row| *row += self.word_count as u32);
    }

    /// Follows the tree from its top, and keeps labels that are likely enough. `open` is memory to work with.
    fn walk(&self, hidden: &[f32], least: f32, open: &mut Vec<(u32, f32)>, found: &mut Vec<Prediction>) {
        open.clear();
        open.push(((self.labels.len() + self.tree.len()).saturating_sub(1) as u32, 0.0));
        while let Some((node, score)) = open.pop() {
            if score < least {
                continue;
            }
            let Some(inner) = (node as usize).checked_sub(self.labels.len()) else {
                found.push(Prediction { label: node as usize, score });
                continue;
            };
            let Some((left, right)) = self.tree.get(inner) else { continue };
            let yes = sigmoid(dot(self.output.row(inner as u32), hidden));
            open.push((*left, score + log(1.0 - yes)));
            open.push((*right, score + log(yes)));
        }
    }
}

fn add(sum: &mut [f32], row: &[f32]) {
    for (sum, value) in sum.iter_mut().zip(row) {
        *sum += value;
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Words whose sums are remembered, each at the place that its hash says, and numbers in all sums: at most so many.
const REMEMBERED: usize = 1 << 16;
const NUMBERS: usize = 1 << 22;
/// Longest word that is remembered.
const WORD: usize = 56;

/// A word that is remembered; of no byte where there is none.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Remembered {
    word: [u8; WORD],
    length: u8,
    /// Rows in its sum.
    rows: u32,
}

/// Predicts on one thread, with memory of its own.
pub struct Predictor {
    model: Arc<Model>,
    /// Words met before, and the sum of the rows of each.
    known: Vec<Remembered>,
    sums: Vec<f32>,
    /// Begin, end and place of each word.
    words: Vec<(usize, usize, usize)>,
    marked: Vec<u8>,
    rows: Vec<u32>,
    hashes: Vec<u32>,
    hidden: Vec<f32>,
    /// Rows that are in `hidden`.
    added: u64,
    open: Vec<(u32, f32)>,
    found: Vec<Prediction>,
}

impl Predictor {
    /// A predictor of this model.
    pub fn new(model: Arc<Model>) -> Self {
        let words = (NUMBERS / model.dimension.max(1)).clamp(1, REMEMBERED);
        // As a power of two, so that a place is some bits of a hash.
        let words = 1 << words.ilog2();
        Self {
            known: vec![Remembered { word: [0; WORD], length: 0, rows: 0 }; words],
            sums: vec![0.0; words * model.dimension],
            words: Vec::new(),
            model,
            marked: Vec::new(),
            rows: Vec::new(),
            hashes: Vec::new(),
            hidden: Vec::new(),
            added: 0,
            open: Vec::new(),
            found: Vec::new(),
        }
    }

    /// The labels of a line, the likeliest first, of those with a probability of at least `least`. A line feed is
    /// taken for a space. Empty when nothing of the line is known.
    pub fn predict(&mut self, line: &str, least: f32) -> &[Prediction] {
        self.found.clear();
        self.hashes.clear();
        self.hidden.clear();
        self.hidden.resize(self.model.dimension, 0.0);
        self.added = 0;
        self.words(line.as_bytes());
        for number in 0..self.words.len() {
            let (start, end, place) = self.words[number];
            self.word(&line.as_bytes()[start..end], place);
        }
        if self.words.last().is_none_or(|(start, end, _)| line.as_bytes()[*start..*end] != *END) {
            self.word(END, self.place(END));
        }
        self.sequences();
        if self.added == 0 {
            return &self.found;
        }
        let model = &self.model;
        let share = (1.0 / self.added as f64) as f32;
        for value in &mut self.hidden {
            *value *= share;
        }
        match model.loss {
            Loss::Hierarchical => {
                model.walk(&self.hidden, log(least), &mut self.open, &mut self.found);
                for found in &mut self.found {
                    found.score = found.score.exp();
                }
            }
            loss => flat(model, loss, &self.hidden, least, &mut self.found),
        }
        self.found.sort_by(|a, b| b.score.total_cmp(&a.score).then(b.label.cmp(&a.label)));
        &self.found
    }

    /// Finds the words of a line, as far as one ends it, and their places. These are touched, so that memory brings what is
    /// there while others are found.
    fn words(&mut self, line: &[u8]) {
        self.words.clear();
        let mut start = 0;
        let mut touched = 0;
        let space = |byte: u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | 0x0b | 0x0c | 0);
        for end in (0..=line.len()).filter(|end| line.get(*end).is_none_or(|byte| space(*byte))) {
            let word = &line[start..end];
            if !word.is_empty() && !word.starts_with(LABEL.as_bytes()) {
                let place = self.place(word);
                self.words.push((start, end, place));
                touched ^= self.known[place].rows;
                touched ^= self.sums.get(place * self.model.dimension).map_or(0, |sum| sum.to_bits());
                if word == END {
                    break;
                }
            }
            start = end + 1;
        }
        std::hint::black_box(touched);
    }

    /// Where a word is remembered. The upper bits of a hash depend on all bytes.
    fn place(&self, word: &[u8]) -> usize {
        (hash::hash(word) >> 47) as usize & (self.known.len() - 1)
    }

    /// Adds the rows of a word, or their sum where the word is remembered at its place.
    fn word(&mut self, word: &[u8], place: usize) {
        if self.model.word_sequences > 1 {
            self.hashes.push(fnv(word));
        }
        let known = &mut self.known[place];
        let sum = &mut self.sums[place * self.model.dimension..][..self.model.dimension];
        if word.len() > WORD || known.word[..usize::from(known.length)] != *word {
            // The newest word of a place stays, as frequent ones soon come again.
            self.rows.clear();
            self.model.rows(word, &mut self.marked, &mut self.rows);
            sum.fill(0.0);
            self.rows.iter().for_each(|row| add(sum, self.model.input.row(*row)));
            known.rows = self.rows.len() as u32;
            known.length = if word.len() > WORD { 0 } else { word.len() as u8 };
            known.word[..usize::from(known.length)].copy_from_slice(&word[..usize::from(known.length)]);
        }
        add(&mut self.hidden, sum);
        self.added += u64::from(known.rows);
    }

    /// Adds the rows of sequences of words.
    fn sequences(&mut self) {
        self.rows.clear();
        for start in 0..self.hashes.len() {
            let mut sum = u64::from(self.hashes[start]).wrapping_add(sign(self.hashes[start]));
            for next in self.hashes[start + 1..].iter().take(self.model.word_sequences - 1) {
                sum = sum.wrapping_mul(116_049_371).wrapping_add(u64::from(*next)).wrapping_add(sign(*next));
                self.rows.push((sum % u64::from(self.model.buckets.count)) as u32);
            }
        }
        self.model.settle(0, &mut self.rows);
        self.rows.iter().for_each(|row| add(&mut self.hidden, self.model.input.row(*row)));
        self.added += self.rows.len() as u64;
    }
}

/// fastText keeps hashes of words as signed numbers: what is added when one is widened.
fn sign(hash: u32) -> u64 {
    if hash >> 31 == 1 { 0xffff_ffff_0000_0000 } else { 0 }
}

fn flat(model: &Model, loss: Loss, hidden: &[f32], least: f32, found: &mut Vec<Prediction>) {
    let scores = (0..model.labels.len()).map(|label| dot(model.output.row(label as u32), hidden));
    found.extend(scores.enumerate().map(|(label, score)| Prediction { label, score }));
    if loss == Loss::Softmax {
        let most = found.iter().map(|found| found.score).fold(f32::MIN, f32::max);
        let mut sum = 0.0;
        for found in found.iter_mut() {
            found.score = (found.score - most).exp();
            sum += found.score;
        }
        for found in found.iter_mut() {
            found.score /= sum;
        }
    } else {
        for found in found.iter_mut() {
            found.score = sigmoid(found.score);
        }
    }
    // The score goes through the logarithm as in fastText, which makes it larger by 1e-5.
    for found in found.iter_mut() {
        found.score = log(found.score).exp();
    }
    found.retain(|found| found.score >= least);
}

#[cfg(test)]
mod tests {
    use super::*;
    use metier_core::seed::Seed;

    #[test]
    fn remainders_are_those_of_a_division_and_no_bucket_with_a_row_is_passed_over() {
        let mut stream = Seed::new(1).at(0);
        for count in [1, 2, 3, 1000, 1 << 21, 2_000_000, u32::MAX] {
            let buckets = Buckets::new(count);
            for hash in (0..2000).map(|_| stream.bits() as u32).chain([0, count - 1, count, u32::MAX]) {
                assert_eq!(buckets.of(hash), hash % count, "{hash} {count}");
            }
        }
        let rows: HashMap<u32, u32, hash::Build> = (0..999).map(|row| (stream.bits() as u32, row)).collect();
        let kept: Vec<u32> = rows.keys().copied().collect();
        let pruned = Pruned::new(rows);
        assert!(kept.iter().all(|bucket| pruned.may_hold(*bucket) == 1));
        assert!((0..4000).filter(|_| pruned.may_hold(stream.bits() as u32) == 1).count() < 400);
        assert_eq!(Pruned::new(HashMap::default()).may_hold(7), 0);
    }
}
