//! Learning a vocabulary from texts.

mod bpe;
mod counts;
mod learn;

pub use bpe::Bpe;
pub use counts::{Counted, Counting};
pub(crate) use learn::{Merges, Words, merges};

use metier_core::Result;
use metier_core::part::{Part, Record};
use std::path::Path;

/// Makes a vocabulary out of the words of texts.
pub trait Learn: Send + Sync {
    /// How texts are split into the words that are counted.
    fn split(&self) -> Split;

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
    /// How often the last pair that was merged was met.
    pub rarest: u64,
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
    /// All of them.
    const ALL: [Self; 5] = [Self::Gpt2, Self::Llama3, Self::Qwen2, Self::SmolLm, Self::Tekken];

    /// The one that a step of a `tokenizer.json` does.
    pub(crate) fn of(step: &serde_json::Value) -> Option<Self> {
        use crate::scheme::words::Words;
        let words = Words::of(step)?;
        Self::ALL.into_iter().find(|split| Words::of(&split.step()) == Some(words))
    }

    /// The step of a `tokenizer.json`.
    pub(crate) fn step(self) -> serde_json::Value {
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
    let mut counting = Counting::start(learn.split(), folder, memory_bytes)?;
    counting.add(texts)?;
    let words = counting.finish()?;
    Ok((learn.learn(&words)?, words))
}

#[cfg(test)]
mod tests;
