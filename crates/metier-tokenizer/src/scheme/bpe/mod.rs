//! Byte-level BPE without the `tokenizers` crate, for the splits that [`Words`] knows.
//!
//! A text is split into parts; a part that was met before is looked up, another is merged. Ids are those of the
//! `tokenizers` crate, which runs every scheme that is not taken here.

mod added;
mod cache;
mod merges;

pub(super) use added::Added;
pub(super) use merges::{Merges, Scratch};

use super::alphabet;
use super::normalize::Normalizer;
use super::words::Words;
use cache::{Cache, Few, Key};
use metier_core::data::TokenId;
use rayon::prelude::*;
use serde_json::Value;
use std::collections::HashMap;
use std::hint::black_box;
use std::sync::{Mutex, PoisonError};
use tokenizers::Tokenizer;

/// Words that are looked up together.
const BATCH: usize = 64;

/// An encoder for texts, with what its threads remember from earlier ones.
pub(super) struct Encoder {
    normalizer: Normalizer,
    words: Words,
    merges: Merges,
    /// The token of each byte.
    bytes: [TokenId; 256],
    /// The tokens by their bytes, when a part that is a token stays whole whatever the merges say.
    whole: Option<HashMap<Box<[u8]>, TokenId>>,
    /// Tokens found in a text before it is split: all of them, and without the special ones.
    special: Added,
    plain: Added,
    idle: Mutex<Vec<Worker>>,
}

/// What a thread needs for itself.
struct Worker {
    cache: Cache,
    scratch: Scratch,
}

impl Encoder {
    /// The encoder of a `tokenizer.json`, which `tokenizer` was read from; `None` when something in it is not done
    /// here.
    pub(super) fn of(json: &Value, tokenizer: &Tokenizer) -> Option<Self> {
        let model = &json["model"];
        let is_empty = |key: &str| model[key].is_null() || model[key] == "";
        if model["type"] != "BPE" || !is_empty("continuing_subword_prefix") || !is_empty("end_of_word_suffix") {
            return None;
        }
        let words = Words::of(&json["pre_tokenizer"])?;
        let vocabulary: HashMap<&str, TokenId> = model["vocab"]
            .as_object()?
            .iter()
            .map(|(token, id)| Some((token.as_str(), TokenId::try_from(id.as_u64()?).ok()?)))
            .collect::<Option<_>>()?;
        let mut bytes = [0; 256];
        for (byte, id) in (0..=255).zip(&mut bytes) {
            *id = *vocabulary.get(alphabet::character_of(byte).to_string().as_str())?;
        }
        let merges = model["merges"]
            .as_array()?
            .iter()
            .map(|merge| {
                let (left, right) = match merge {
                    Value::String(text) => text.split_once(' ')?,
                    _ => (merge[0].as_str()?, merge[1].as_str()?),
                };
                let merged = vocabulary.get(format!("{left}{right}").as_str())?;
                Some((*vocabulary.get(left)?, *vocabulary.get(right)?, *merged))
            })
            .collect::<Option<Vec<_>>>()?;
        let whole = (model["ignore_merges"] == true).then(|| {
            vocabulary.iter().filter_map(|(token, &id)| Some((alphabet::bytes_of(token)?.into(), id))).collect()
        });
        let special = Added::of(json, tokenizer, true)?;
        if special.takes_space() {
            return None;
        }
        Some(Self {
            normalizer: Normalizer::of(&json["normalizer"])?,
            words,
            merges: Merges::new(&merges),
            bytes,
            whole,
            special,
            plain: Added::of(json, tokenizer, false)?,
            idle: Mutex::new(Vec::new()),
        })
    }

    /// Whether a text is surely its own normal form, so that its tokens are its bytes.
    pub(super) fn keeps(&self, text: &str) -> bool {
        self.normalizer.keeps(text)
    }

    /// The ids of each text, the texts shared out among threads.
    pub(super) fn encode(&self, texts: &[&str], special: bool) -> Vec<Vec<TokenId>> {
        let added = if special { &self.special } else { &self.plain };
        texts
            .par_iter()
            .map_init(
                || Borrowed { encoder: self, worker: self.worker() },
                |borrowed, text| {
                    let mut ids = Vec::with_capacity(text.len() / 4 + 1);
                    added.split(text, &self.normalizer, |part, token| {
                        self.part(part.as_bytes(), &mut borrowed.worker, &mut ids);
                        ids.extend(token);
                    });
                    ids
                },
            )
            .collect()
    }

    fn worker(&self) -> Worker {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.pop().unwrap_or_else(|| Worker { cache: Cache::new(), scratch: Scratch::default() })
    }

    /// Adds the ids of text without added tokens.
    fn part(&self, text: &[u8], worker: &mut Worker, ids: &mut Vec<TokenId>) {
        let mut batch = [(0, 0); BATCH];
        let mut count = 0;
        self.words.split(text, |from, to| {
            batch[count % BATCH] = (from, to);
            count += 1;
            if count == BATCH {
                self.batch(text, &batch, worker, ids);
                count = 0;
            }
        });
        self.batch(text, &batch[..count], worker, ids);
    }

    /// Adds the ids of some words. Their places in memory are all asked for before the first is waited for.
    #[inline(never)]
    fn batch(&self, text: &[u8], words: &[(usize, usize)], worker: &mut Worker, ids: &mut Vec<TokenId>) {
        let mut found = [(0, Few::default()); BATCH];
        let mut touched = 0;
        for (&(from, to), place) in words.iter().zip(&mut found) {
            let key = cache::key(text, from, to);
            *place = (key, worker.cache.hot(key, &mut touched));
        }
        black_box(touched);
        let mut gathered = [0; BATCH * cache::INLINE];
        let mut count = 0;
        for (&(from, to), &(key, few)) in words.iter().zip(&found) {
            let few = if few.count == 0 { worker.cache.short(key) } else { few };
            let Some(place) = gathered[count..].first_chunk_mut() else { break };
            *place = few.ids;
            if (1..=cache::INLINE).contains(&(few.count as usize)) {
                count += few.count as usize;
                continue;
            }
            ids.extend_from_slice(&gathered[..count]);
            count = 0;
            if few.count == 0 {
                self.word(&text[from..to], key, worker, ids);
            } else {
                ids.extend_from_slice(worker.cache.many(few));
            }
        }
        ids.extend_from_slice(&gathered[..count]);
    }

    /// Adds the ids of a word, which is kept when it is new.
    #[inline(never)]
    fn word(&self, word: &[u8], key: Key, worker: &mut Worker, ids: &mut Vec<TokenId>) {
        let is_long = word.len() > cache::SHORT;
        if is_long && let Some(found) = worker.cache.long(word) {
            return ids.extend_from_slice(found);
        }
        let one;
        let found = if let Some(&id) = self.whole.as_ref().and_then(|whole| whole.get(word)) {
            one = [id];
            one.as_slice()
        } else {
            let symbols = word.iter().map(|&byte| self.bytes[usize::from(byte)]);
            self.merges.apply(symbols, &mut worker.scratch)
        };
        ids.extend_from_slice(found);
        if is_long {
            worker.cache.keep_long(word, found);
        } else {
            worker.cache.keep_short(key, found);
        }
    }
}

/// A worker that goes back to its encoder.
struct Borrowed<'a> {
    encoder: &'a Encoder,
    worker: Worker,
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        let empty = Worker { cache: Cache::empty(), scratch: Scratch::default() };
        let worker = std::mem::replace(&mut self.worker, empty);
        self.encoder.idle.lock().unwrap_or_else(PoisonError::into_inner).push(worker);
    }
}
