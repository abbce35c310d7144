//! New tokens for a vocabulary that a model has already.
//!
//! Merges of a byte-level vocabulary are learned on: words of new texts are first written in the old tokens, and the most
//! frequent pairs of neighbors become new ones, whose merges follow all old ones. So old merges are done as before, no
//! old token is made in a new way, and a text changes only where a new token fits.
//!
//! Source: Mundra et al., "An Empirical Comparison of Vocabulary Expansion and Initialization Approaches for Language
//! Models", arXiv 2407.05841, section 3, for tokens free of ASCII; Sennrich et al., arXiv 1508.07909, for the merges.

#[cfg(test)]
mod tests;

use crate::scheme::HuggingFace;
use crate::scheme::alphabet::character_of;
use crate::train::{Counted, Merges, Split, Words, merges};
use metier_core::data::TokenId;
use metier_core::seam::Tokenize;
use metier_core::{Error, Fault, Place, Result};
use serde_json::{Value, json};

/// Words that are encoded at one time.
const TOGETHER: usize = 1 << 16;

/// Which tokens may be made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Allowed {
    /// Those without printable ASCII but for blanks: a text in ASCII is written as before.
    #[default]
    WithoutAscii,
    /// All.
    Any,
}

impl Allowed {
    fn holds(self, token: &[u8]) -> bool {
        self == Self::Any || !token.iter().any(u8::is_ascii_graphic)
    }
}

/// How much is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Growth {
    /// New tokens.
    pub tokens: usize,
    /// A pair is merged only when it is met at least so often.
    pub minimum_count: u64,
    /// Which they may be.
    pub allowed: Allowed,
}

/// A vocabulary with new tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extended {
    /// The `tokenizer.json`.
    pub json: String,
    /// The first new id; those of the others follow it.
    pub first: TokenId,
    /// For each new token, the old ones that its text was written in.
    pub parts: Vec<Vec<TokenId>>,
    /// How often the last pair that was merged was met.
    pub rarest: u64,
}

/// The split of a `tokenizer.json` by which words are counted for [`extend`].
///
/// # Errors
/// When it is no byte-level BPE, or splits in a way that is not known.
pub fn split_of(json: &str) -> Result<Split> {
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
    Split::of(&json["pre_tokenizer"]).ok_or_else(|| {
        let message = format!("the split {} is not known", json["pre_tokenizer"]);
        Error::user(Place::key("pre_tokenizer"), message)
            .hint("known: byte-level splits of GPT-2, Llama 3, Qwen 2, SmolLM2 and Tekken")
    })
}

/// Learns new tokens from words that were counted by [`split_of`] of the same file.
///
/// # Errors
/// When the file is no such vocabulary, or the words do not make so many tokens.
pub fn extend(json: &str, words: &Counted, growth: Growth) -> Result<Extended> {
    split_of(json)?;
    let tokenizer = HuggingFace::from_json(json)?;
    let old = tokenizer.vocabulary_size();
    let mut tokens: Vec<Vec<u8>> = (0..old as TokenId).map(|id| tokenizer.bytes_of(id).unwrap_or_default()).collect();
    let mut symbols = written(&tokenizer, words)?;
    let made = Merges { kept: old, size: old + growth.tokens, least: growth.minimum_count };
    let made = merges(&mut symbols, &mut tokens, made, &|token| growth.allowed.holds(token))?;
    if tokens.len() < old + growth.tokens {
        let message = format!(
            "the texts make only {} tokens of the {} asked for: no other pair of neighbors is met {} times",
            tokens.len() - old,
            growth.tokens,
            growth.minimum_count
        );
        let fault = Fault::new(Place::key("tokens"), message);
        return Err(fault.hint("give more text, ask for fewer tokens, or lower `minimum_count`").into());
    }
    let mut parts: Vec<Vec<TokenId>> = Vec::with_capacity(growth.tokens);
    for merge in &made {
        // A token that several pairs make is met again.
        if merge.merged as usize == old + parts.len() {
            let of = |id: TokenId| parts.get((id as usize).wrapping_sub(old)).cloned().unwrap_or_else(|| vec![id]);
            let whole = [of(merge.left), of(merge.right)].concat();
            parts.push(whole);
        }
    }
    let mut file = read(json)?;
    let spelled = |id: TokenId| spelling(&tokens[id as usize]);
    let model = &mut file["model"];
    let apart = model["merges"].get(0).is_none_or(Value::is_array);
    let list = model["merges"].as_array_mut().ok_or_else(|| missing("model.merges"))?;
    list.extend(made.iter().map(|merge| {
        let (left, right) = (spelled(merge.left), spelled(merge.right));
        if apart { json!([left, right]) } else { json!(format!("{left} {right}")) }
    }));
    let vocabulary = model["vocab"].as_object_mut().ok_or_else(|| missing("model.vocab"))?;
    for id in old..tokens.len() {
        vocabulary.insert(spelled(id as TokenId), json!(id));
    }
    let rarest = made.last().map_or(0, |merge| merge.count);
    Ok(Extended { json: file.to_string(), first: old as TokenId, parts, rarest })
}

fn read(json: &str) -> Result<Value> {
    serde_json::from_str(json).map_err(|error| {
        Error::user(Place::default().at(error.line(), error.column()), format!("this is no JSON: {error}"))
    })
}

fn missing(key: &str) -> Error {
    Error::user(Place::key(key), "this is no tokenizer: it is missing")
}

/// How a byte-level vocabulary writes bytes.
fn spelling(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| character_of(*byte)).collect()
}

/// The words in old tokens.
fn written(tokenizer: &HuggingFace, words: &Counted) -> Result<Words> {
    let mut symbols = Words::with_capacity(words.len(), words.bytes() / 2);
    let mut some: Vec<(&str, u64)> = Vec::new();
    let mut take = |some: &mut Vec<(&str, u64)>| -> Result<()> {
        let texts: Vec<&str> = some.iter().map(|(word, _)| *word).collect();
        for (encoded, (_, count)) in tokenizer.encode(&texts, false)?.into_iter().zip(some.drain(..)) {
            symbols.push(encoded.ids.into_iter(), count);
        }
        Ok(())
    };
    for (word, count) in words.iter() {
        let word = std::str::from_utf8(word).map_err(|_| Error::program("a split cut a character"))?;
        some.push((word, count));
        if some.len() == TOGETHER {
            take(&mut some)?;
        }
    }
    take(&mut some)?;
    Ok(symbols)
}
