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
    buckets: u32,
    loss: Loss,
    words: HashMap<Box<[u8]>, u32, hash::Build>,
    word_count: usize,
    labels: Vec<String>,
    /// Where a bucket's row went when rows were pruned.
    pruned: Option<HashMap<u32, u32, hash::Build>>,
    input: Matrix,
    output: Matrix,
    /// Nodes behind the leaves of the Huffman tree, as (left, right).
    tree: Vec<(u32, u32)>,
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

/// FNV-1a over bytes taken as signed, as fastText has it.
fn fnv(bytes: &[u8]) -> u32 {
    bytes.iter().fold(2_166_136_261, |sum, byte| step(sum, *byte))
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
        let inside = |at: usize| marked.get(at).is_some_and(|byte| byte & 0xc0 == 0x80);
        for start in (0..marked.len()).filter(|start| !inside(*start)) {
            let (mut end, mut sum) = (start, 2_166_136_261);
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
                    self.bucket(sum % self.buckets, rows);
                }
            }
        }
    }

    fn bucket(&self, bucket: u32, rows: &mut Vec<u32>) {
        let row = match &self.pruned {
            Some(kept) => kept.get(&bucket).copied(),
            None => Some(bucket),
        };
        rows.extend(row.map(|row| self.word_count as u32 + row));
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

/// Numbers of sums of words that are remembered.
const REMEMBERED: usize = 1 << 22;

/// Predicts on one thread, with memory of its own.
pub struct Predictor {
    model: Arc<Model>,
    /// Where the sum of a word's rows lies in `sums`, and how many rows they are.
    known: HashMap<Box<[u8]>, (u32, u32), hash::Build>,
    sums: Vec<f32>,
    sum: Vec<f32>,
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
        Self {
            sum: vec![0.0; model.dimension],
            model,
            known: HashMap::default(),
            sums: Vec::new(),
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
        let space = |byte: &u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | 0x0b | 0x0c | 0);
        let mut ended = false;
        let is_word = |word: &&[u8]| !word.is_empty() && !word.starts_with(LABEL.as_bytes());
        for word in line.as_bytes().split(space).filter(is_word) {
            self.word(word);
            ended = word == END;
            if ended {
                break;
            }
        }
        if !ended {
            self.word(END);
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

    /// Adds the rows of a word, or their sum where the word is known.
    fn word(&mut self, word: &[u8]) {
        if self.model.word_sequences > 1 {
            self.hashes.push(fnv(word));
        }
        if let Some((start, count)) = self.known.get(word) {
            add(&mut self.hidden, self.sums.get(*start as usize..).unwrap_or_default());
            self.added += u64::from(*count);
            return;
        }
        self.rows.clear();
        self.model.rows(word, &mut self.marked, &mut self.rows);
        self.sum.fill(0.0);
        self.rows.iter().for_each(|row| add(&mut self.sum, self.model.input.row(*row)));
        add(&mut self.hidden, &self.sum);
        self.added += self.rows.len() as u64;
        if self.sums.len() + self.sum.len() <= REMEMBERED && word.len() <= 64 {
            self.known.insert(word.into(), (self.sums.len() as u32, self.rows.len() as u32));
            self.sums.extend_from_slice(&self.sum);
        }
    }

    /// Adds the rows of sequences of words.
    fn sequences(&mut self) {
        self.rows.clear();
        for start in 0..self.hashes.len() {
            let mut sum = u64::from(self.hashes[start]).wrapping_add(sign(self.hashes[start]));
            for next in self.hashes[start + 1..].iter().take(self.model.word_sequences - 1) {
                sum = sum.wrapping_mul(116_049_371).wrapping_add(u64::from(*next)).wrapping_add(sign(*next));
                self.model.bucket((sum % u64::from(self.model.buckets)) as u32, &mut self.rows);
            }
        }
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
