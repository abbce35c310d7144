use super::{Extend, Extended, Given, Origin, cut_of, missing, read, wanted, written};
use crate::scheme::HuggingFace;
use crate::scheme::alphabet::character_of;
use crate::train::{Merges, Words, merges};
use metier_core::data::TokenId;
use metier_core::part::{Build, Part};
use metier_core::seam::Tokenize;
use metier_core::{Error, Fault, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// # What it does
/// Learns new tokens from documents, behind those that the model has.
///
/// # How
/// Merges of a byte-level vocabulary are learned on: words of new texts are first written in the old tokens, and the most
/// frequent pairs of neighbors become new ones, whose merges follow all old ones. So old merges are done as before, no old
/// token is made in a new way, and a text changes only where a new token fits.
///
/// # When to use
/// When a model writes the texts of a language or a trade in many small pieces.
///
/// # Differs from the paper in
/// The paper learns a vocabulary for the new language alone and appends those of its tokens that the old one lacks; here
/// new merges go on from the old tokens, so that every new token can be made.
///
/// # Source
/// Mundra et al., "An Empirical Comparison of Vocabulary Expansion and Initialization Approaches for Language Models", arXiv
/// 2407.05841, section 3, for tokens free of ASCII; Sennrich et al., arXiv 1508.07909, for the merges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LearnTokens {
    /// New tokens.
    #[schemars(range(min = 1, max = 16_777_216))]
    pub tokens: usize,
    /// Merge only pairs that are met at least this often.
    #[schemars(range(min = 1))]
    pub minimum_count: u64,
    /// Which tokens may be made.
    pub allowed: Allowed,
}

impl Default for LearnTokens {
    fn default() -> Self {
        Self { tokens: 4096, minimum_count: 2, allowed: Allowed::default() }
    }
}

/// Which tokens may be made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Allowed {
    /// Those without printable ASCII that are not blank: a text in ASCII is written as before.
    #[default]
    WithoutAscii,
    /// All.
    Any,
}

impl Allowed {
    pub(super) fn holds(self, token: &[u8]) -> bool {
        let is_empty = |c: char| c.is_whitespace() || c.is_control();
        let shows = || std::str::from_utf8(token).map_or(true, |text| !text.chars().all(is_empty));
        self == Self::Any || (!token.iter().any(u8::is_ascii_graphic) && shows())
    }
}

impl Build<dyn Extend> for LearnTokens {
    fn build(self, place: &Place) -> Result<Box<dyn Extend>> {
        Error::collect(Box::new(self) as Box<dyn Extend>, check(place, self.tokens, self.minimum_count))
    }
}

/// Faults of a number of tokens asked for and of the least count of what they are made of.
pub(super) fn check(place: &Place, tokens: usize, minimum_count: u64) -> Vec<Fault> {
    let mut faults = Vec::new();
    if !(1..=1 << 24).contains(&tokens) {
        let fault = Fault::new(place.clone().with_key("tokens"), format!("{tokens} is out of range"));
        faults.push(fault.hint("it is in 1..=16777216"));
    }
    if minimum_count == 0 {
        let fault = Fault::new(place.clone().with_key("minimum_count"), "0 is out of range");
        faults.push(fault.hint("it is at least 1"));
    }
    faults
}

/// The error of texts that make too few tokens.
pub(super) fn few(made: usize, tokens: usize, what: &str) -> Error {
    let message = format!("the texts make only {made} tokens of the {tokens} asked for: {what}");
    Error::user(Place::key("tokens"), message).hint("give more text, ask for fewer tokens, or lower `minimum_count`")
}

impl Extend for LearnTokens {
    fn reads_text(&self) -> bool {
        true
    }

    fn extend(&self, given: Given<'_>) -> Result<Extended> {
        let json = given.json;
        cut_of(json)?;
        let tokenizer = HuggingFace::from_json(json)?;
        let old = tokenizer.vocabulary_size();
        let mut tokens: Vec<Vec<u8>> =
            (0..old as TokenId).map(|id| tokenizer.bytes_of(id).unwrap_or_default()).collect();
        let words = wanted(&given)?;
        let mut symbols = Words::with_capacity(words.len(), words.bytes() / 2);
        written(&tokenizer, words, |ids, count| symbols.push(ids.into_iter(), count))?;
        let made = Merges { kept: old, size: old + self.tokens, least: self.minimum_count, prefix: "" };
        let made = merges(&mut symbols, &mut tokens, made, &|token| self.allowed.holds(token))?;
        if tokens.len() < old + self.tokens {
            let what = format!("no other pair of neighbors is met {} times", self.minimum_count);
            return Err(few(tokens.len() - old, self.tokens, &what));
        }
        let mut parts: Vec<Vec<TokenId>> = Vec::with_capacity(self.tokens);
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
        let kept = (0..old as TokenId).map(Origin::Kept);
        let tokens = kept.chain(parts.into_iter().map(Origin::Made)).collect();
        Ok(Extended { json: file.to_string(), tokens, rarest: made.last().map(|merge| merge.count) })
    }
}

/// How a byte-level vocabulary writes bytes.
pub(super) fn spelling(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| character_of(*byte)).collect()
}

/// The part's record.
pub static PART: Part<dyn Extend> = Part::of::<LearnTokens>("learn", 2);
