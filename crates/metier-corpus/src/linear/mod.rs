//! Linear classifiers of texts by hashed sequences of words and of characters: what they see, what they say, and their file.
//!
//! A text's features are its words, sequences of words, and sequences of characters within words, each put into one of a fixed number of
//! buckets by its hash. A label's score is the sum of a number for each feature, by the root of how many there are, and a number of its own;
//! softmax makes probabilities of these. [`train()`] finds the numbers.

mod train;

pub use train::{LabelReport, TAGGER, TrainReport, TrainSettings, memory, train};

use crate::layout::{is_space, is_word};
use crate::list::folded;
use metier_core::{Error, Result, store};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// What a classifier sees of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Features {
    /// Words in the longest sequence of words; 0 for none.
    #[schemars(range(max = 8))]
    pub words: usize,
    /// Characters in the shortest sequence of characters within a word, whose begin and end count as one each.
    #[schemars(range(min = 1, max = 16))]
    pub shortest: usize,
    /// Characters in the longest one; 0 for none.
    #[schemars(range(max = 16))]
    pub longest: usize,
    /// Buckets are two to the power of this.
    #[schemars(range(min = 8, max = 26))]
    pub bucket_bits: u32,
}

impl Default for Features {
    fn default() -> Self {
        Self { words: 2, shortest: 3, longest: 4, bucket_bits: 20 }
    }
}

/// Features of a text that count; those behind are not looked at, so that a text of any length takes bounded memory.
const MOST: usize = 1 << 20;

/// Where hashes of words, sequences of words and sequences of characters begin.
const WORD: u64 = 0xcbf2_9ce4_8422_2325;
const SEQUENCE: u64 = 0x9e37_79b9_7f4a_7c15;
const CHARACTERS: u64 = 0x8422_2325_cbf2_9ce4;

/// FNV-1a, a step.
fn step(sum: u64, byte: u8) -> u64 {
    (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
}

/// The features of one text after the other, with memory for them.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    word: Vec<u8>,
    /// Where each character of the word begins.
    starts: Vec<usize>,
    /// Hashes of the words before.
    before: Vec<u64>,
}

impl Features {
    /// Number of buckets.
    pub fn buckets(&self) -> usize {
        1 << self.bucket_bits
    }

    /// The bucket of a hash: its upper bits, once all bits have gone into them.
    fn bucket(&self, hash: u64) -> u32 {
        ((hash ^ hash >> 29).wrapping_mul(0xff51_afd7_ed55_8ccd) >> (64 - self.bucket_bits)) as u32
    }

    /// Calls `each` with the bucket of each feature of a text, in order, of the first [`MOST`].
    fn of(&self, text: &str, reader: &mut Reader, mut each: impl FnMut(u32)) {
        reader.before.clear();
        let mut count = 0;
        let mut letters = text.chars().map(folded).peekable();
        while let Some(letter) = letters.next() {
            if is_space(letter) {
                continue;
            }
            if count >= MOST {
                break;
            }
            reader.word.clear();
            reader.starts.clear();
            let mut next = Some(letter);
            while let Some(letter) = next {
                reader.starts.push(reader.word.len());
                reader.word.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                // What belongs to no word stands alone.
                next = if is_word(letter) { letters.next_if(|next| is_word(*next)) } else { None };
            }
            self.of_word(reader, &mut count, &mut each);
        }
    }

    fn of_word(&self, reader: &mut Reader, count: &mut usize, each: &mut impl FnMut(u32)) {
        let mut give = |hash| {
            each(self.bucket(hash));
            *count += 1;
        };
        let word = &reader.word;
        if self.words > 0 {
            let hash = word.iter().fold(WORD, |sum, byte| step(sum, *byte));
            give(hash);
            let mut sum = hash;
            for before in reader.before.iter().rev() {
                sum = (sum.rotate_left(17) ^ before).wrapping_mul(SEQUENCE);
                give(sum);
            }
            if self.words > 1 {
                if reader.before.len() + 1 >= self.words {
                    reader.before.remove(0);
                }
                reader.before.push(hash);
            }
        }
        if self.longest == 0 || !word.iter().any(|byte| byte.is_ascii_alphanumeric() || *byte >= 0x80) {
            return;
        }
        // Marks at both ends tell what begins and ends a word; no word has them within.
        let letters = reader.starts.len();
        let piece = |at: usize| match at {
            0 => &b"<"[..],
            at if at > letters => b">",
            at => &word[reader.starts[at - 1]..reader.starts.get(at).copied().unwrap_or(word.len())],
        };
        for start in 0..(letters + 2).min(MOST) {
            let mut sum = CHARACTERS;
            for length in 1..=self.longest.min(letters + 2 - start) {
                sum = piece(start + length - 1).iter().fold(sum, |sum, byte| step(sum, *byte));
                if length >= self.shortest {
                    give(sum);
                }
            }
        }
    }
}

/// A classifier.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    features: Features,
    labels: Vec<String>,
    /// For each bucket a number for each label.
    weights: Vec<f32>,
    bias: Vec<f32>,
    /// BLAKE3 of the file, in hexadecimal; empty where there is none.
    hash: String,
}

/// The key of what the file says of itself.
const ABOUT: &str = "metier.linear";
/// Version of the file, raised when the same numbers mean something else.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    version: u32,
    features: Features,
    labels: Vec<String>,
}

impl Model {
    /// The labels, in order.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// BLAKE3 of the file it was read from, in hexadecimal.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Writes it as safetensors: `weights` of the shape (buckets, labels) and `bias` of (labels), in `f32`.
    pub fn save(&self, path: &Path) -> Result<()> {
        let about = About { version: VERSION, features: self.features, labels: self.labels.clone() };
        let about = HashMap::from([(ABOUT.to_owned(), serde_json::json!(about).to_string())]);
        let [weights, bias] = [&self.weights, &self.bias].map(|values| bytes(values));
        let shapes = [("weights", vec![self.features.buckets(), self.labels.len()]), ("bias", vec![self.labels.len()])];
        let views = shapes.into_iter().zip([&weights, &bias]);
        let written = views
            .map(|((name, shape), bytes)| Ok((name, TensorView::new(Dtype::F32, shape, bytes)?)))
            .collect::<std::result::Result<Vec<_>, safetensors::SafeTensorError>>()
            .and_then(|views| safetensors::serialize(views, Some(about)))
            .map_err(|error| Error::program(format!("the classifier: {error}")))?;
        store::write_atomic(path, written)
    }

    /// Reads what [`Model::save`] wrote: a file, or a folder with a [`TAGGER`] in it.
    ///
    /// # Errors
    /// When it is none, when a tensor is missing or has another shape, or when a number is not finite.
    pub fn read(path: &Path) -> Result<Self> {
        let path = &if path.is_dir() { path.join(TAGGER) } else { path.to_path_buf() };
        let broken = |error: &dyn std::fmt::Display| {
            Error::file(path, format!("it holds no linear classifier: {error}"))
                .hint("name what `metier curate train-tagger` wrote")
        };
        let map = store::map_file(path)?;
        let file = SafeTensors::deserialize(&map).map_err(|error| broken(&error))?;
        let (_, metadata) = SafeTensors::read_metadata(&map).map_err(|error| broken(&error))?;
        let about = metadata.metadata().as_ref().and_then(|about| about.get(ABOUT));
        let about = about.ok_or_else(|| broken(&"it says nothing of its labels"))?;
        let About { version, features, labels } = serde_json::from_str(about).map_err(|error| broken(&error))?;
        if version != VERSION {
            return Err(broken(&format!("it has version {version}, and only {VERSION} is known")));
        }
        features.check().map_err(|message| broken(&message))?;
        if labels.len() < 2 || labels.len() > usize::from(u16::MAX) {
            return Err(broken(&format!("it has {} labels", labels.len())));
        }
        let read = |name: &str, wanted: &[usize]| {
            let view = file.tensor(name).map_err(|error| broken(&error))?;
            if view.shape() != wanted || view.dtype() != Dtype::F32 {
                let message =
                    format!("`{name}` has the shape {:?} of {:?}, not {wanted:?}", view.shape(), view.dtype());
                return Err(broken(&message));
            }
            let values = view.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
            let values: Vec<f32> = values.collect();
            if values.iter().all(|value| value.is_finite()) {
                return Ok(values);
            }
            Err(broken(&format!("`{name}` has numbers that are not finite")))
        };
        let weights = read("weights", &[features.buckets(), labels.len()])?;
        let bias = read("bias", &[labels.len()])?;
        Ok(Self { features, labels, weights, bias, hash: blake3::hash(&map).to_hex().to_string() })
    }
}

impl Features {
    /// What is wrong with it, if something is.
    pub fn check(&self) -> std::result::Result<(), &'static str> {
        match *self {
            Self { words: 0, longest: 0, .. } => Err("`words` and `longest` are 0, so nothing of a text is seen"),
            Self { words: 9.., .. } => Err("`words` is at most 8"),
            Self { shortest: 0, .. } => Err("`shortest` is at least 1"),
            Self { longest: 17.., .. } => Err("`longest` is at most 16"),
            Self { shortest, longest: 1.., .. } if shortest > self.longest => Err("`shortest` is more than `longest`"),
            Self { bucket_bits: 0..8 | 27.., .. } => Err("`bucket_bits` is from 8 to 26"),
            _ => Ok(()),
        }
    }
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Makes probabilities of scores.
fn softmax(scores: &mut [f32]) {
    let most = scores.iter().copied().fold(f32::MIN, f32::max);
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        *score = (*score - most).exp();
        sum += *score;
    }
    for score in scores.iter_mut() {
        *score /= sum;
    }
}

/// Predicts on one thread, with memory of its own.
pub struct Predictor {
    model: Arc<Model>,
    reader: Reader,
    scores: Vec<f32>,
}

impl Predictor {
    /// A predictor of this model.
    pub fn new(model: Arc<Model>) -> Self {
        Self { scores: vec![0.0; model.labels.len()], reader: Reader::default(), model }
    }

    /// The probability of each label, in the order of [`Model::labels`]; of no label when the text has nothing to see.
    pub fn predict(&mut self, text: &str) -> &[f32] {
        let Self { model, reader, scores } = self;
        scores.fill(0.0);
        let (mut count, labels) = (0_u32, model.labels.len());
        model.features.of(text, reader, |bucket| {
            count += 1;
            let row = &model.weights[bucket as usize * labels..][..labels];
            scores.iter_mut().zip(row).for_each(|(score, weight)| *score += weight);
        });
        if count == 0 {
            return &[];
        }
        let scale = 1.0 / (count as f32).sqrt();
        scores.iter_mut().zip(&model.bias).for_each(|(score, bias)| *score = *score * scale + bias);
        softmax(scores);
        scores
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(features: Features, text: &str) -> Vec<u32> {
        let mut out = Vec::new();
        features.of(text, &mut Reader::default(), |bucket| out.push(bucket));
        out
    }

    #[test]
    fn features_are_words_their_sequences_and_characters() {
        let words = Features { words: 2, longest: 0, ..Features::default() };
        // Three words and two pairs.
        let three = features(words, "The cat,");
        assert_eq!(three.len(), 5);
        assert_eq!(three, features(words, " the\nCAT , "));
        assert_ne!(three, features(words, "cat the,"));
        let characters = Features { words: 0, shortest: 3, longest: 4, ..Features::default() };
        // Of <cat>: three of three characters and two of four; a comma has none.
        assert_eq!(features(characters, "cat,").len(), 5);
        assert_eq!(features(characters, "\u{e9}t\u{e9}").len(), 5);
        assert!(features(characters, " \n,").is_empty());
        assert!(features(words, &"a ".repeat(MOST)).len() <= MOST + 8);
        assert!(features(characters, &"a".repeat(2 * MOST)).len() <= 2 * MOST);
    }

    #[test]
    fn a_file_is_read_back_and_a_broken_one_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(TAGGER);
        let features = Features { bucket_bits: 8, ..Features::default() };
        let weights = (0..512).map(|number| number as f32 / 100.0 - 2.0).collect();
        let labels = vec!["a".to_owned(), "b".to_owned()];
        let model = Model { features, labels, weights, bias: vec![0.5, -0.5], hash: String::new() };
        model.save(&path).unwrap();
        let read = Model::read(folder.path()).unwrap();
        assert_eq!(Model { hash: String::new(), ..read.clone() }, model);
        let scores = Predictor::new(Arc::new(read)).predict("some words").to_vec();
        assert!((scores.iter().sum::<f32>() - 1.0).abs() < 1e-6 && scores.len() == 2);
        assert!(Predictor::new(Arc::new(model.clone())).predict(" \n").is_empty());
        let whole = std::fs::read(&path).unwrap();
        for cut in (0..whole.len()).step_by(37) {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert!(Model::read(&path).is_err(), "{cut}");
        }
        for at in 0..whole.len().min(400) {
            let mut damaged = whole.clone();
            damaged[at] = damaged[at].wrapping_add(1);
            std::fs::write(&path, &damaged).unwrap();
            // It may still be one; it must not panic, nor when it is used.
            if let Ok(model) = Model::read(&path) {
                Predictor::new(Arc::new(model)).predict("some words");
            }
        }
        let infinite = Model { bias: vec![f32::INFINITY, 0.0], ..model };
        infinite.save(&path).unwrap();
        assert!(Model::read(&path).unwrap_err().to_string().contains("not finite"));
    }
}
