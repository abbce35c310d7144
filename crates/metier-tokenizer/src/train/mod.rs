//! Learning a vocabulary from texts.

mod bpe;
mod counts;
mod learn;
mod settings;
mod unigram;
mod word_piece;

pub use bpe::Bpe;
pub use counts::{Counted, Counting};
pub(crate) use learn::{Merges, Words, merges};
pub use unigram::{NormalForm, Unigram};
pub use word_piece::WordPiece;

use crate::scheme::cutter::Cutter;
use metier_core::part::{Part, Record};
use metier_core::{Error, Result};
use serde_json::Value;
use settings::{check_range, check_size, check_special, few_tokens, key_place};
use std::cmp::Reverse;
use std::collections::HashMap;
use std::path::Path;

/// Makes a vocabulary out of the words of texts.
pub trait Learn: Send + Sync {
    /// How texts are cut into the words that are counted.
    fn cut(&self) -> Cut;

    /// Most ids that the vocabulary will have.
    fn size(&self) -> usize;

    /// The vocabulary, learned from counted words, as a `tokenizer.json`.
    fn learn(&self, words: &Counted) -> Result<Learned>;
}

/// A vocabulary and what was seen on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Learned {
    /// The `tokenizer.json`.
    pub json: String,
    /// Ids it has.
    pub tokens: usize,
    /// How often the last pair that was merged was met, where pairs are merged.
    pub rarest: Option<u64>,
}

/// How texts are cut into words, as a `tokenizer.json` says it.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Cut {
    /// The step that makes the normal form.
    pub normalizer: Value,
    /// The step that splits it.
    pub pre_tokenizer: Value,
    /// Tokens that are found before, and are in no word.
    pub added: Vec<String>,
}

impl Cut {
    pub(crate) fn cutter(&self) -> Result<Cutter> {
        Cutter::of(&self.normalizer, &self.pre_tokenizer, &self.added)
            .ok_or_else(|| Error::program(format!("words are not cut as {self:?} says")))
    }
}

impl From<Split> for Cut {
    fn from(split: Split) -> Self {
        Self { pre_tokenizer: split.step(), ..Self::default() }
    }
}

/// The splits that texts can be learned with, by the names of the vocabularies that have them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// GPT-2: words with the blank before them, numbers, other characters.
    #[default]
    Gpt2,
    /// Llama 3: up to three digits, capitals and small letters alike in contractions, newlines for themselves.
    Llama3,
    /// Qwen 2 and 3: as Llama 3, each digit for itself.
    Qwen2,
    /// `SmolLM2`: as GPT-2, each digit for itself.
    #[serde(rename = "smollm")]
    SmolLm,
    /// Mistral's Tekken: a capital after a small letter begins a word, each digit for itself.
    Tekken,
}

impl Split {
    /// The step of a `tokenizer.json`.
    pub(crate) fn step(self) -> Value {
        use crate::scheme::split::{self, GPT2, LLAMA3, QWEN2, TEKKEN};
        match self {
            Self::Gpt2 => split::by_pattern(GPT2),
            Self::Llama3 => split::by_pattern(LLAMA3),
            Self::Qwen2 => split::by_pattern(QWEN2),
            Self::SmolLm => split::by_digit(GPT2),
            Self::Tekken => split::by_pattern(TEKKEN),
        }
    }
}

/// The members.
#[rustfmt::skip]
pub static TRAIN: &[&Part<dyn Learn>] = &[
    &bpe::PART,
    &unigram::PART,
    &word_piece::PART,
];

/// The members' records, alphabetical.
pub fn records() -> Vec<Record> {
    TRAIN.iter().map(|part| part.record()).collect()
}

/// Learns a vocabulary from texts in bounded memory: the words are counted, in files in `folder` when they are many,
/// and the vocabulary is learned from the counts.
///
/// A call that was interrupted goes on from what lies in `folder` when it is made again with the same texts. The
/// result does not depend on where it was interrupted, on the number of threads, nor on the order of texts, and on
/// `memory_bytes` only when there are more different words than fit: the rarest are then left out and counted.
pub fn train<'a>(
    learn: &dyn Learn,
    texts: impl Iterator<Item = Result<std::borrow::Cow<'a, str>>>,
    folder: &Path,
    memory_bytes: u64,
) -> Result<(Learned, Counted)> {
    let mut counting = Counting::start(learn.cut(), folder, memory_bytes)?;
    counting.add(texts)?;
    let words = counting.finish()?;
    Ok((learn.learn(&words)?, words))
}

/// The words of a count as text.
fn written(words: &Counted) -> Result<Vec<(&str, u64)>> {
    let text = |(word, count)| {
        Ok((std::str::from_utf8(word).map_err(|_| Error::program("a counted word is no text"))?, count))
    };
    words.iter().map(text).collect()
}

/// The characters of words with how often each is met, the most frequent first, of equal ones that of the smallest code.
fn characters(words: &[(&str, u64)]) -> Vec<(char, u64)> {
    let mut counts: HashMap<char, u64> = HashMap::new();
    for (word, count) in words {
        word.chars().for_each(|character| *counts.entry(character).or_default() += count);
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_unstable_by_key(|&(character, count)| (Reverse(count), character));
    counts
}

#[cfg(test)]
mod tests;
