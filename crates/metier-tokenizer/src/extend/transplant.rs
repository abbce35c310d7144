use super::{Extend, Extended, Given, Origin};
use crate::scheme::HuggingFace;
use metier_core::data::TokenId;
use metier_core::fault::near_miss;
use metier_core::part::{Build, Part};
use metier_core::seam::Tokenize;
use metier_core::{Error, Fault, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// # What it does
/// Gives the model another model's vocabulary in place of its own.
///
/// # How
/// The vocabulary is the donor's, of whatever kind. A token whose bytes are those of an old token keeps that one's rows; for
/// the others it is known in which old tokens their bytes were written, and an initializer makes rows. Roles of tokens
/// (end of text) do not show in their bytes when the two models spell them differently: `same` says which go together.
///
/// # When to use
/// When a better vocabulary for the texts exists already, or two models are to share one, for distillation or for guessing
/// with a small model. Training must follow.
///
/// # Differs from the paper in
/// Only the exchange of the vocabulary: how rows of new tokens begin is the initializer's business.
///
/// # Source
/// Gee et al., "Fast Vocabulary Transfer for Language Model Compression", arXiv 2402.09977, section 3.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Transplant {
    /// Tokens of the donor, and the old token that each takes the rows and the role of.
    pub same: BTreeMap<String, String>,
}

impl Build<dyn Extend> for Transplant {
    fn build(self, _: &Place) -> Result<Box<dyn Extend>> {
        Ok(Box::new(self))
    }
}

impl Extend for Transplant {
    fn takes_donor(&self) -> bool {
        true
    }

    fn extend(&self, given: Given<'_>) -> Result<Extended> {
        let donor = given.donor.ok_or_else(|| {
            Error::user(Place::key("donor"), "a transplant needs the vocabulary of another model")
                .hint("write `donor = \"NAME\"` with a model or a tokenizer")
        })?;
        let (old, new) = (HuggingFace::from_json(given.json)?, HuggingFace::from_json(donor)?);
        let (of_old, of_new) = (ids(&old), ids(&new));
        let mut same: HashMap<TokenId, TokenId> = HashMap::new();
        let mut faults = Vec::new();
        for (theirs, ours) in &self.same {
            match (of_new.get(theirs.as_bytes()), of_old.get(ours.as_bytes())) {
                (Some(theirs), Some(ours)) => drop(same.insert(*theirs, *ours)),
                (None, _) => faults.push(unknown(theirs, "the donor", &of_new)),
                (_, None) => faults.push(unknown(ours, "the model", &of_old)),
            }
        }
        Error::collect((), faults)?;
        let mut tokens = Vec::with_capacity(new.vocabulary_size());
        for id in 0..new.vocabulary_size() as TokenId {
            let bytes = new.bytes_of(id).unwrap_or_default();
            tokens.push(match same.get(&id).or_else(|| of_old.get(&bytes)) {
                Some(kept) if !bytes.is_empty() => Origin::Kept(*kept),
                _ => Origin::Made(written(&old, &of_old, &bytes)?),
            });
        }
        Ok(Extended { json: donor.to_owned(), tokens, rarest: None })
    }
}

/// The first token of each run of bytes.
fn ids(tokenizer: &HuggingFace) -> HashMap<Vec<u8>, TokenId> {
    let mut ids = HashMap::new();
    for id in 0..tokenizer.vocabulary_size() as TokenId {
        if let Some(bytes) = tokenizer.bytes_of(id) {
            ids.entry(bytes).or_insert(id);
        }
    }
    ids
}

/// The old tokens that bytes are written in: a text as it is encoded, part of a character byte by byte.
fn written(old: &HuggingFace, ids: &HashMap<Vec<u8>, TokenId>, bytes: &[u8]) -> Result<Vec<TokenId>> {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Ok(bytes.iter().filter_map(|byte| ids.get(&[*byte][..]).copied()).collect());
    };
    Ok(old.encode(&[text], false)?.pop().map(|encoded| encoded.ids).unwrap_or_default())
}

fn unknown(token: &str, whose: &str, ids: &HashMap<Vec<u8>, TokenId>) -> Fault {
    let fault = Fault::new(Place::key("same"), format!("{whose} has no token {token:?}"));
    let known: Vec<&str> = ids.keys().filter_map(|bytes| std::str::from_utf8(bytes).ok()).collect();
    match near_miss(token, known.iter().copied()) {
        Some(near) => fault.hint(format!("did you mean {near:?}?")),
        None => fault.hint("name tokens as their vocabulary writes them"),
    }
}

/// The part's record.
pub static PART: Part<dyn Extend> = Part::of::<Transplant>("transplant", 1);
