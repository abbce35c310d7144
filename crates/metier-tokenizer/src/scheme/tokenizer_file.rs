//! The parts of a `tokenizer.json` that vocabularies of other formats are written as.

use metier_core::{Error, Fault, Place, Result};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::{Value, json};
use std::collections::HashMap;

/// The file. Its keys are in the order in which the `tokenizers` crate writes them.
#[derive(Serialize)]
pub(crate) struct TokenizerFile<M> {
    version: &'static str,
    truncation: Value,
    padding: Value,
    pub added_tokens: Vec<Value>,
    pub normalizer: Value,
    pub pre_tokenizer: Value,
    pub post_processor: Value,
    pub decoder: Value,
    pub model: M,
}

impl<M: Serialize> TokenizerFile<M> {
    pub(crate) fn new(model: M) -> Self {
        Self {
            version: "1.0",
            truncation: Value::Null,
            padding: Value::Null,
            added_tokens: Vec::new(),
            normalizer: Value::Null,
            pre_tokenizer: Value::Null,
            post_processor: Value::Null,
            decoder: Value::Null,
            model,
        }
    }

    pub(crate) fn to_json(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|error| Error::program(format!("a tokenizer does not serialize: {error}")))
    }
}

/// A BPE model.
#[derive(Serialize)]
pub(crate) struct BpeModel<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    dropout: Value,
    pub unk_token: Option<&'a str>,
    continuing_subword_prefix: Value,
    end_of_word_suffix: Value,
    pub fuse_unk: bool,
    pub byte_fallback: bool,
    pub ignore_merges: bool,
    vocab: Vocabulary<'a>,
    merges: Vec<(&'a str, &'a str)>,
}

impl<'a> BpeModel<'a> {
    pub(crate) fn new(vocabulary: Vec<(&'a str, usize)>, merges: Vec<(&'a str, &'a str)>) -> Self {
        Self {
            kind: "BPE",
            dropout: Value::Null,
            unk_token: None,
            continuing_subword_prefix: Value::Null,
            end_of_word_suffix: Value::Null,
            fuse_unk: false,
            byte_fallback: false,
            ignore_merges: false,
            vocab: Vocabulary(vocabulary),
            merges,
        }
    }
}

/// Tokens with their ids.
pub(crate) struct Vocabulary<'a>(pub Vec<(&'a str, usize)>);

impl Serialize for Vocabulary<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (token, id) in &self.0 {
            map.serialize_entry(token, id)?;
        }
        map.end()
    }
}

/// Tokens whose place is their id.
pub(crate) fn numbered(tokens: &[String]) -> Vec<(&str, usize)> {
    tokens.iter().enumerate().map(|(id, token)| (token.as_str(), id)).collect()
}

/// A token that is found in a text before the model sees the rest.
pub(crate) fn added_token(id: usize, content: &str, special: bool, normalized: bool) -> Value {
    json!({
        "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": normalized, "special": special,
    })
}

/// Both the pre-tokenizer and the decoder of byte-level vocabularies.
pub(crate) fn byte_level(add_prefix_space: bool, use_regex: bool) -> Value {
    json!({
        "type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": true, "use_regex": use_regex,
    })
}

/// Every way to make each of `made` out of two of `known`, in the order of `made`.
///
/// For vocabularies that merge any neighbors whose union is a token. The pairs that make one token follow each
/// other, those of smaller ids first.
pub(crate) fn merges_of<'a>(
    made: impl Iterator<Item = &'a str>,
    known: &HashMap<&'a str, usize>,
) -> Vec<(&'a str, &'a str)> {
    let mut merges = Vec::new();
    let mut pairs = Vec::new();
    for token in made {
        for (place, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(place);
            if let (Some(&first), Some(&second)) = (known.get(left), known.get(right)) {
                pairs.push((first, second, left, right));
            }
        }
        pairs.sort_unstable();
        merges.extend(pairs.drain(..).map(|(_, _, left, right)| (left, right)));
    }
    merges
}

/// The ids of tokens; one that stands twice is a fault at `key`.
pub(crate) fn ids_of<'a>(tokens: &'a [String], key: &str, faults: &mut Vec<Fault>) -> HashMap<&'a str, usize> {
    let mut ids = HashMap::with_capacity(tokens.len());
    for (id, token) in tokens.iter().enumerate() {
        if let Some(first) = ids.insert(token.as_str(), id) {
            faults.push(Fault::new(Place::key(key), format!("`{token}` stands twice, at {first} and {id}")));
        }
    }
    ids
}

/// The first faults of many, with how many more there are.
pub(crate) fn few(mut faults: Vec<Fault>, key: &str) -> Vec<Fault> {
    if faults.len() > MAXIMUM_FAULTS {
        let more = faults.len() - MAXIMUM_FAULTS;
        faults.truncate(MAXIMUM_FAULTS);
        faults.push(Fault::new(Place::key(key), format!("{more} more faults are not shown")));
    }
    faults
}

const MAXIMUM_FAULTS: usize = 20;
