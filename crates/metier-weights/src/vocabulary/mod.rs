//! A model with another vocabulary: rows of old tokens where the new one has them, made rows for its new tokens, the rest as
//! it was.

#[cfg(test)]
mod tests;

use crate::initialize::{Donor, Initialize, Known, Made, Rows};
use crate::lines::Lines;
use metier_core::data::TokenId;
use metier_core::seam::Tokenize;
use metier_core::seed::Seed;
use metier_core::{Error, Place, Result};
use metier_model::arch;
use metier_model::checkpoint::{Checkpoint, Dtype, rewrite_folder};
use metier_model::layer::Part;
use metier_tokenizer::extend::{Extended, Origin};
use metier_tokenizer::scheme::HuggingFace;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

/// Where rows of new tokens come from.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// What makes them.
    pub initialize: &'a dyn Initialize,
    /// Lines of text in the ids of [`ids_for`], for initializers that read text.
    pub lines: &'a Lines,
    /// Another model, for initializers that take one.
    pub donor: Option<&'a Checkpoint>,
    /// Decides random choices.
    pub seed: Seed,
    /// Where an interrupted initializer keeps how far it has come.
    pub work: Option<&'a Path>,
}

/// What was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Tokens before and after.
    pub tokens: [usize; 2],
    /// Rows of the embedding, which may have some that no token has.
    pub rows: usize,
    /// For each new token its largest sources, where rows are mixtures.
    pub sources: Option<Vec<Vec<(TokenId, f32)>>>,
    /// New tokens, by their number, of which nothing was learned.
    pub unseen: Vec<usize>,
}

/// What initializers call each token of a changed vocabulary: an old one by its old id, new ones by those that follow.
pub fn ids_for(extended: &Extended, old: usize) -> Vec<TokenId> {
    let mut next = old as TokenId;
    let id = |origin: &Origin| match origin {
        Origin::Kept(id) => *id,
        Origin::Made(_) => {
            next += 1;
            next - 1
        }
    };
    extended.tokens.iter().map(id).collect()
}

/// Writes the model `checkpoint` with the vocabulary `extended` into `folder`, in Hugging Face's layout, one tensor at a time.
/// Rows of new tokens are those of `source`; all other weights stay. Rows that a padded embedding has beyond its vocabulary
/// are taken first where new tokens follow the old ones, and left out where they do not.
///
/// # Errors
/// When the vocabulary is not one of this model, a token with a role is gone, the head has a bias, or the initializer refuses.
pub fn write(
    mut checkpoint: Checkpoint,
    extended: &Extended,
    source: Source<'_>,
    dtype: Dtype,
    folder: &Path,
) -> Result<Report> {
    let [embedding, head] = matrices(&checkpoint)?;
    let embedding = embedding.ok_or_else(|| Error::program("a model has an embedding"))?;
    let old = checkpoint.tokenizer.vocabulary_size();
    let kept = |origin: &Origin| if let Origin::Kept(id) = origin { Some(*id as usize) } else { None };
    if let Some(id) = extended.tokens.iter().filter_map(kept).find(|id| *id >= old) {
        let message = format!("it keeps the token {id}, and the model has {old} tokens");
        return Err(Error::user(Place::key("vocabulary"), message).hint("change the tokenizer of this model"));
    }
    let names = checkpoint.names();
    let biases = [
        head.as_ref().map(|head| head.replace(".weight", ".bias")),
        arch::of(&checkpoint.config)?.weight_name(Part::HeadBias),
    ];
    if let Some(bias) = biases.into_iter().flatten().find(|bias| names.contains(bias)) {
        let place = Place::file(checkpoint.path()).with_key(bias);
        return Err(Error::user(place, "a head with a bias is not extended"));
    }
    let tokenizer = HuggingFace::from_json(&extended.json)?;
    let parts = extended.parts();
    let mut made = Made::default();
    if !parts.is_empty() {
        let of_head = head.as_deref().map(|head| rows_of(&checkpoint, head, old)).transpose()?;
        let of_embedding = rows_of(&checkpoint, &embedding, old)?;
        let donor = source.donor.filter(|_| source.initialize.takes_donor());
        let donor = donor.map(|donor| donor_of(donor, &checkpoint, extended, &tokenizer)).transpose()?;
        let known = Known {
            embedding: &of_embedding,
            head: of_head.as_ref(),
            parts: &parts,
            lines: source.lines,
            donor: donor.as_ref(),
            work: source.work,
        };
        made = source.initialize.rows(known, source.seed)?;
    }
    let in_place = extended.tokens.iter().zip(0..).take(old).all(|(origin, id)| *origin == Origin::Kept(id));
    let in_place = in_place && extended.tokens.len() >= old;
    let mut shapes = BTreeMap::new();
    let mut rows = 0;
    for name in [Some(&embedding), head.as_ref()].into_iter().flatten() {
        let shape = checkpoint.shape(name)?;
        rows = if in_place { shape[0].max(extended.tokens.len()) } else { extended.tokens.len() };
        shapes.insert(name.clone(), vec![rows, shape[1]]);
    }
    rename(&mut checkpoint, extended)?;
    checkpoint.config["vocab_size"] = json!(rows);
    checkpoint.tokenizer_json.clone_from(&extended.json);
    let begin = checkpoint.tokenizer.begin_of_text().and_then(|id| extended.now(id));
    checkpoint.tokenizer = Arc::new(tokenizer.with_begin(begin).with_ends(&checkpoint.special_tokens.ends));
    let ids = ids_for(extended, old);
    let read = |name: &str| -> Result<Vec<f32>> {
        let (shape, values) = checkpoint.tensor(name)?;
        let new = if *name == embedding {
            &made.embedding
        } else if Some(name) == head.as_deref() {
            made.head.as_ref().unwrap_or(&made.embedding)
        } else {
            return Ok(values);
        };
        Ok(put(&values, shape[1], new, (&ids, old), rows))
    };
    rewrite_folder(folder, &checkpoint, &shapes, &read, dtype)?;
    Ok(Report { tokens: [old, extended.tokens.len()], rows, sources: made.sources, unseen: made.unseen })
}

/// The names of embedding and head; `None` for a head that is the embedding.
fn matrices(checkpoint: &Checkpoint) -> Result<[Option<String>; 2]> {
    let architecture = arch::of(&checkpoint.config)?;
    let names = checkpoint.names();
    let head = architecture.weight_name(Part::Head).filter(|head| names.contains(head));
    Ok([architecture.weight_name(Part::Embedding), head])
}

/// The rows of the first `count` tokens in a matrix.
fn rows_of(checkpoint: &Checkpoint, name: &str, count: usize) -> Result<Rows> {
    let (shape, mut values) = checkpoint.tensor(name)?;
    let width = shape[1];
    if shape[0] < count {
        let message = format!("it has {} rows, and the tokenizer {count} tokens", shape[0]);
        return Err(Error::user(Place::file(checkpoint.path()).with_key(name), message));
    }
    values.truncate(count * width);
    Ok(Rows { values, width })
}

/// What initializers may know of another model.
fn donor_of(
    donor: &Checkpoint,
    checkpoint: &Checkpoint,
    extended: &Extended,
    tokenizer: &HuggingFace,
) -> Result<Donor> {
    let [embedding, head] = matrices(donor)?;
    let embedding = embedding.ok_or_else(|| Error::program("a model has an embedding"))?;
    let theirs = &*donor.tokenizer;
    let count = theirs.vocabulary_size();
    let mut ids: HashMap<Vec<u8>, TokenId> = HashMap::with_capacity(count);
    for id in 0..count as TokenId {
        if let Some(bytes) = theirs.bytes_of(id).filter(|bytes| !bytes.is_empty()) {
            ids.entry(bytes).or_insert(id);
        }
    }
    let of = |tokenizer: &dyn Tokenize, id: TokenId| ids.get(&tokenizer.bytes_of(id)?).copied();
    let ours = &*checkpoint.tokenizer;
    let shared = (0..ours.vocabulary_size() as TokenId).filter_map(|id| Some((id, of(ours, id)?))).collect();
    Ok(Donor {
        embedding: rows_of(donor, &embedding, count)?,
        head: head.map(|head| rows_of(donor, &head, count)).transpose()?,
        shared,
        tokens: extended.new_ids().map(|id| of(tokenizer, id)).collect(),
    })
}

/// The rows of a matrix under the tokens' new ids, which `ids` gives in the words of initializers; rows behind them stay.
fn put(values: &[f32], width: usize, new: &Rows, (ids, old): (&[TokenId], usize), rows: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(rows * width);
    for id in ids {
        let at = *id as usize;
        let from = if at < old { &values[at * width..] } else { &new.values[(at - old) * width..] };
        out.extend_from_slice(&from[..width]);
    }
    out.extend_from_slice(values.get(out.len()..rows * width).unwrap_or_default());
    out
}

/// Gives tokens with a role their new ids.
fn rename(checkpoint: &mut Checkpoint, extended: &Extended) -> Result<()> {
    let named = &checkpoint.special_tokens;
    let mut lost = named.ends.first().copied().filter(|_| named.ends.iter().all(|id| extended.now(*id).is_none()));
    lost = lost.or(checkpoint.tokenizer.begin_of_text().filter(|id| extended.now(*id).is_none()));
    if let Some(id) = lost {
        let text = String::from_utf8_lossy(&checkpoint.tokenizer.bytes_of(id).unwrap_or_default()).into_owned();
        return Err(Error::user(Place::key("vocabulary"), format!("no token has the role of {text:?} any more"))
            .hint("say under `same` which token of the donor takes its place"));
    }
    let named = &mut checkpoint.special_tokens;
    for role in [&mut named.begin, &mut named.padding, &mut named.unknown] {
        *role = role.and_then(|id| extended.now(id));
    }
    named.ends = named.ends.iter().filter_map(|id| extended.now(*id)).collect();
    let now = |id: &Value| id.as_u64().and_then(|id| extended.now(id as TokenId));
    for key in ["bos_token_id", "eos_token_id", "pad_token_id"] {
        match checkpoint.config.get_mut(key) {
            Some(Value::Array(ids)) => *ids = ids.iter().filter_map(now).map(|id| json!(id)).collect(),
            Some(id) => *id = json!(now(id)),
            None => {}
        }
    }
    Ok(())
}
