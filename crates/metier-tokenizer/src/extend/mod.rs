//! The family of ways to give a model's vocabulary other tokens.
//!
//! What comes out says of each token whether it is an old one or of which old ones its text was made, so that whoever
//! changes the model's rows needs to know no more ([`Extended`]).

mod drop_unused;
mod learn;
mod transplant;
mod whole_words;

pub use drop_unused::DropUnused;
pub use learn::{Allowed, LearnTokens};
pub use transplant::Transplant;
pub use whole_words::WholeWords;

use crate::scheme::HuggingFace;
use crate::scheme::words::Words;
use crate::train::{Counted, Cut};
use metier_core::data::TokenId;
use metier_core::part::{Part, Record};
use metier_core::seam::Tokenize;
use metier_core::{Error, Place, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Words that are encoded at one time.
const TOGETHER: usize = 1 << 16;

/// What a vocabulary is changed by.
#[derive(Clone, Copy, Default)]
pub struct Given<'a> {
    /// The model's `tokenizer.json`.
    pub json: &'a str,
    /// Words of texts, cut as [`Extend::cut`] says; for ways that read text.
    pub words: Option<&'a Counted>,
    /// The `tokenizer.json` of another model; for ways that take one.
    pub donor: Option<&'a str>,
}

/// Where a token of a changed vocabulary comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// It is this old token.
    Kept(TokenId),
    /// It is new, and its text was written in these old tokens.
    Made(Vec<TokenId>),
}

/// A changed vocabulary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extended {
    /// The `tokenizer.json`.
    pub json: String,
    /// Where each token comes from.
    pub tokens: Vec<Origin>,
    /// How often the rarest of what became a token was met, where texts were read.
    pub rarest: Option<u64>,
}

impl Extended {
    /// For each new token, in order, the old ones that its text was written in.
    pub fn parts(&self) -> Vec<Vec<TokenId>> {
        let parts = |origin: &Origin| match origin {
            Origin::Kept(_) => None,
            Origin::Made(parts) => Some(parts.clone()),
        };
        self.tokens.iter().filter_map(parts).collect()
    }

    /// The ids of the new tokens, in order.
    pub fn new_ids(&self) -> impl Iterator<Item = TokenId> {
        (0..).zip(&self.tokens).filter(|(_, origin)| matches!(origin, Origin::Made(_))).map(|(id, _)| id)
    }

    /// The ids that old tokens have now.
    pub fn now(&self, old: TokenId) -> Option<TokenId> {
        self.tokens.iter().position(|origin| *origin == Origin::Kept(old)).map(|id| id as TokenId)
    }
}

/// A way to change a vocabulary.
pub trait Extend: Send + Sync {
    /// Whether words of texts decide.
    fn reads_text(&self) -> bool {
        false
    }

    /// How words are cut that are counted for it, given the model's `tokenizer.json`.
    ///
    /// # Errors
    /// When it is no byte-level BPE, or splits in a way that is not known.
    fn cut(&self, json: &str) -> Result<Cut> {
        cut_of(json)
    }

    /// Whether another model's vocabulary is wanted.
    fn takes_donor(&self) -> bool {
        false
    }

    /// The changed vocabulary. The same input gives the same one.
    ///
    /// # Errors
    /// When the vocabulary is of a kind that is not changed, or what is asked for cannot be had.
    fn extend(&self, given: Given<'_>) -> Result<Extended>;
}

/// Every way.
#[rustfmt::skip]
pub static EXTEND: &[&Part<dyn Extend>] = &[
    &drop_unused::PART,
    &learn::PART,
    &transplant::PART,
    &whole_words::PART,
];

/// What is said about each.
pub fn records() -> Vec<Record> {
    EXTEND.iter().map(|part| part.record()).collect()
}

/// How a `tokenizer.json` of byte-level BPE cuts texts into words.
///
/// # Errors
/// When it is no byte-level BPE, or splits in a way that is not known.
fn cut_of(json: &str) -> Result<Cut> {
    let json = read(json)?;
    if json["model"]["type"] != "BPE" {
        let message = format!("a vocabulary of the type {} is not extended", json["model"]["type"]);
        return Err(Error::user(Place::key("model.type"), message).hint("known: BPE of bytes"));
    }
    for key in ["continuing_subword_prefix", "end_of_word_suffix"] {
        if json["model"][key].as_str().is_some_and(|mark| !mark.is_empty()) {
            let message = format!("{} is not followed", json["model"][key]);
            return Err(Error::user(Place::key(format!("model.{key}")), message).hint("known: null"));
        }
    }
    if !json["normalizer"].is_null() && json["normalizer"]["type"] != "NFC" {
        let message = format!("the normalizer {} is not followed", json["normalizer"]);
        return Err(Error::user(Place::key("normalizer"), message).hint("known: null, NFC"));
    }
    let step = &json["pre_tokenizer"];
    if Words::of(step).is_none() {
        let message = format!("the split {step} is not known");
        return Err(Error::user(Place::key("pre_tokenizer"), message)
            .hint("known: byte-level splits of GPT-2, Llama 3, Qwen 2, SmolLM2, Tekken and OpenAI"));
    }
    Ok(Cut { pre_tokenizer: step.clone(), ..Cut::default() })
}

fn read(json: &str) -> Result<Value> {
    serde_json::from_str(json).map_err(|error| {
        Error::user(Place::default().at(error.line(), error.column()), format!("this is no JSON: {error}"))
    })
}

fn missing(key: &str) -> Error {
    Error::user(Place::key(key), "this is no tokenizer: it is missing")
}

/// The words in old tokens, with how often each word is met.
fn written(tokenizer: &HuggingFace, words: &Counted, mut take: impl FnMut(Vec<TokenId>, u64)) -> Result<()> {
    let mut some: Vec<(&str, u64)> = Vec::new();
    let mut encode = |some: &mut Vec<(&str, u64)>| -> Result<()> {
        let texts: Vec<&str> = some.iter().map(|(word, _)| *word).collect();
        for (encoded, (_, count)) in tokenizer.encode(&texts, false)?.into_iter().zip(some.drain(..)) {
            take(encoded.ids, count);
        }
        Ok(())
    };
    for (word, count) in words.iter() {
        let word = std::str::from_utf8(word).map_err(|_| Error::program("a split cut a character"))?;
        some.push((word, count));
        if some.len() == TOGETHER {
            encode(&mut some)?;
        }
    }
    encode(&mut some)
}

/// The words that a way was given.
fn wanted<'a>(given: &Given<'a>) -> Result<&'a Counted> {
    given.words.ok_or_else(|| Error::program("words are wanted, and none are given"))
}

#[cfg(test)]
mod tests;
