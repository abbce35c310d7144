use super::{Extend, Extended, Given, Origin, cut_of, missing, read, wanted, written};
use crate::scheme::HuggingFace;
use crate::scheme::alphabet::character_of;
use metier_core::data::TokenId;
use metier_core::part::{Build, Part};
use metier_core::{Error, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};

/// # What it does
/// Leaves out the tokens that documents do not use, and with them their rows in the model.
///
/// # How
/// The documents' words are written in the model's tokens and each token is counted. Kept are those that are met
/// `minimum_count` times, the 256 bytes, all special and added tokens, and whatever merges go through to make one of these.
/// Ids close up in the old order; merges between kept tokens stay in their order. Where nothing that is met was left out,
/// those documents are written in the same tokens as before; other texts in smaller ones, none is lost.
///
/// # When to use
/// For a small model of a narrow trade or one language, where a large part of all numbers are rows of tokens that never
/// occur.
///
/// # Differs from the paper in
/// The paper's tool drops tokens of vocabularies by languages' counts too, and prunes SentencePiece models; this is for
/// byte-level merges, and tokens that merges go through are kept.
///
/// # Source
/// Ushio et al., "An Efficient Multilingual Language Model Compression through Vocabulary Trimming", arXiv 2305.15020,
/// section 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DropUnused {
    /// Keep tokens that are met at least this often.
    #[schemars(range(min = 1))]
    pub minimum_count: u64,
}

impl Default for DropUnused {
    fn default() -> Self {
        Self { minimum_count: 1 }
    }
}

impl Build<dyn Extend> for DropUnused {
    fn build(self, place: &Place) -> Result<Box<dyn Extend>> {
        if self.minimum_count > 0 {
            return Ok(Box::new(self));
        }
        let place = place.clone().with_key("minimum_count");
        Err(Error::user(place, "0 is out of range").hint("it is at least 1"))
    }
}

impl Extend for DropUnused {
    fn reads_text(&self) -> bool {
        true
    }

    fn extend(&self, given: Given<'_>) -> Result<Extended> {
        cut_of(given.json)?;
        let tokenizer = HuggingFace::from_json(given.json)?;
        let mut counts: HashMap<TokenId, u64> = HashMap::new();
        written(&tokenizer, wanted(&given)?, |ids, count| {
            for id in ids {
                *counts.entry(id).or_default() += count;
            }
        })?;
        let mut file = read(given.json)?;
        let steps = Steps::of(&file)?;
        let mut kept: BTreeSet<TokenId> = added(&file).collect();
        let used = counts.iter().filter(|(_, count)| **count >= self.minimum_count).map(|(id, _)| *id);
        for id in used.chain(steps.bytes()) {
            steps.keep(id, &mut kept);
        }
        let now: HashMap<TokenId, TokenId> = kept.iter().copied().zip(0..).collect();
        let model = &mut file["model"];
        let vocabulary = model["vocab"].as_object_mut().ok_or_else(|| missing("model.vocab"))?;
        let id_of = |value: &Value| value.as_u64().and_then(|id| now.get(&(id as TokenId)).copied());
        vocabulary.retain(|_, id| id_of(id).is_some());
        vocabulary.values_mut().for_each(|id| *id = json!(id_of(id)));
        let merges = model["merges"].as_array_mut().ok_or_else(|| missing("model.merges"))?;
        let mut all = steps.merges.iter();
        merges.retain(|_| {
            all.next().is_some_and(|merge| merge.is_some_and(|ids| ids.iter().all(|id| kept.contains(id))))
        });
        renumber(&mut file, &now);
        let tokens = kept.into_iter().map(Origin::Kept).collect();
        Ok(Extended { json: file.to_string(), tokens, rarest: None })
    }
}

/// How tokens are made of bytes.
struct Steps {
    spellings: HashMap<String, TokenId>,
    names: HashMap<TokenId, String>,
    /// For each merge of the file left, right and what they become; `None` where a token is missing.
    merges: Vec<Option<[TokenId; 3]>>,
    /// The places of merges in that list.
    ranks: HashMap<[TokenId; 2], usize>,
}

impl Steps {
    fn of(file: &Value) -> Result<Self> {
        let vocabulary = file["model"]["vocab"].as_object().ok_or_else(|| missing("model.vocab"))?;
        let id = |value: &Value| value.as_u64().map(|id| id as TokenId);
        let spellings: HashMap<String, TokenId> =
            vocabulary.iter().filter_map(|(text, value)| Some((text.clone(), id(value)?))).collect();
        let names = spellings.iter().map(|(text, id)| (*id, text.clone())).collect();
        let list = file["model"]["merges"].as_array().ok_or_else(|| missing("model.merges"))?;
        let merge = |value: &Value| {
            let (left, right) = match value {
                Value::String(both) => both.split_once(' ')?,
                both => (both[0].as_str()?, both[1].as_str()?),
            };
            let find = |text: &str| spellings.get(text).copied();
            Some([find(left)?, find(right)?, find(&format!("{left}{right}"))?])
        };
        let merges: Vec<Option<[TokenId; 3]>> = list.iter().map(merge).collect();
        let mut ranks = HashMap::new();
        for (rank, merge) in merges.iter().enumerate() {
            if let Some([left, right, _]) = merge {
                ranks.entry([*left, *right]).or_insert(rank);
            }
        }
        Ok(Self { spellings, names, merges, ranks })
    }

    /// The tokens of single bytes.
    fn bytes(&self) -> impl Iterator<Item = TokenId> {
        (0..=255).filter_map(|byte| self.spellings.get(character_of(byte).encode_utf8(&mut [0; 4])).copied())
    }

    /// Keeps a token, and what merges go through when they make it.
    fn keep(&self, id: TokenId, kept: &mut BTreeSet<TokenId>) {
        if !kept.insert(id) {
            return;
        }
        let Some(name) = self.names.get(&id) else { return };
        let mut symbols: Vec<TokenId> = Vec::new();
        for character in name.chars() {
            // A token that is no spelling of bytes is made by no merges.
            let Some(byte) = self.spellings.get(character.encode_utf8(&mut [0; 4])) else { return };
            symbols.push(*byte);
        }
        let rank = |pair: &[TokenId]| self.ranks.get(pair).copied();
        while let Some(rank) = symbols.windows(2).filter_map(rank).min() {
            let Some([left, right, merged]) = self.merges[rank] else { return };
            kept.insert(merged);
            let mut at = 0;
            while at + 1 < symbols.len() {
                if symbols[at..at + 2] == [left, right] {
                    symbols[at] = merged;
                    symbols.remove(at + 1);
                }
                at += 1;
            }
        }
    }
}

/// The ids of special and other added tokens.
fn added(file: &Value) -> impl Iterator<Item = TokenId> {
    let list = file["added_tokens"].as_array().into_iter().flatten();
    list.filter_map(|token| token["id"].as_u64()).map(|id| id as TokenId)
}

/// New ids wherever a file names one besides its vocabulary.
fn renumber(file: &mut Value, now: &HashMap<TokenId, TokenId>) {
    let renew = |value: &mut Value| {
        if let Some(new) = value.as_u64().and_then(|id| now.get(&(id as TokenId))) {
            *value = json!(new);
        }
    };
    for token in file["added_tokens"].as_array_mut().into_iter().flatten() {
        renew(&mut token["id"]);
    }
    let mut steps = vec![&mut file["post_processor"]];
    while let Some(step) = steps.pop() {
        for key in ["sep", "cls"] {
            if let Some(id) = step.pointer_mut(&format!("/{key}/1")) {
                renew(id);
            }
        }
        if let Some(list) = step.get_mut("special_tokens").and_then(Value::as_object_mut) {
            for ids in list.values_mut().filter_map(|token| token["ids"].as_array_mut()) {
                ids.iter_mut().for_each(renew);
            }
        }
        steps.extend(step.get_mut("processors").and_then(Value::as_array_mut).into_iter().flatten());
    }
}

/// The part's record.
pub static PART: Part<dyn Extend> = Part::of::<DropUnused>("drop_unused", 1);
