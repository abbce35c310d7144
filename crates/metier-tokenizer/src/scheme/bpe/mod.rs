//! Byte-level BPE without the `tokenizers` crate, for the splits that [`Words`] knows.
//!
//! A text is split into parts; a part that was met before is looked up, another is merged. Ids are those of the
//! `tokenizers` crate, which runs every scheme that is not taken here.

mod added;
mod cache;
mod merges;

pub(super) use added::Added;
pub(super) use merges::{IDS, Merges, Scratch, listed_merges, merge_of};

use super::alphabet;
use super::normalize::Normalizer;
use super::words::Words;
use cache::{Cache, Key};
use metier_core::data::TokenId;
use rayon::prelude::*;
use serde_json::Value;
use std::collections::HashMap;
use std::hint::black_box;
use std::sync::{Mutex, PoisonError};
use tokenizers::Tokenizer;

/// Words that are looked up together.
const BATCH: usize = 256;
/// In the place of a byte's token where the vocabulary has none: the byte vanishes, as it does in the `tokenizers` crate.
const NO_TOKEN: TokenId = TokenId::MAX;

/// An encoder for texts, with what its threads remember from earlier ones.
pub(super) struct Encoder {
    normalizer: Normalizer,
    words: Words,
    merges: Merges,
    /// The token of each byte, or [`NO_TOKEN`].
    bytes: [TokenId; 256],
    /// Whether each has one.
    has_all_bytes: bool,
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
    batch: Batch,
    scratch: Scratch,
}

impl Worker {
    fn new() -> Self {
        Self { cache: Cache::new(), batch: Batch::new(), scratch: Scratch::default() }
    }
}

/// Words that are looked up together.
struct Batch {
    /// Where they end.
    ends: [usize; BATCH],
    keys: [Key; BATCH],
    /// Where they are in the table.
    places: [u32; BATCH],
    gathered: [TokenId; BATCH * cache::INLINE],
}

impl Batch {
    fn new() -> Self {
        Self {
            ends: [0; BATCH],
            keys: [Key::default(); BATCH],
            places: [0; BATCH],
            gathered: [0; BATCH * cache::INLINE],
        }
    }
}

impl Encoder {
    /// The encoder of a `tokenizer.json`, which `tokenizer` was read from; `None` when something in it is not done
    /// here.
    pub(super) fn of(json: &Value, tokenizer: &Tokenizer) -> Option<Self> {
        let model = &json["model"];
        let vocabulary: HashMap<&str, TokenId> = model["vocab"]
            .as_object()?
            .iter()
            .map(|(token, id)| Some((token.as_str(), TokenId::try_from(id.as_u64()?).ok()?)))
            .collect::<Option<_>>()?;
        let merges = listed_merges(model, &vocabulary)?;
        Self::of_parts(json, tokenizer, &vocabulary, &merges)
    }

    /// The same with tokens and merges that the file need not have.
    pub(super) fn of_parts(
        json: &Value,
        tokenizer: &Tokenizer,
        vocabulary: &HashMap<&str, TokenId>,
        merges: &[(TokenId, TokenId, TokenId)],
    ) -> Option<Self> {
        let model = &json["model"];
        let is_empty = |key: &str| model[key].is_null() || model[key] == "";
        if model["type"] != "BPE" || !is_empty("continuing_subword_prefix") || !is_empty("end_of_word_suffix") {
            return None;
        }
        let words = Words::of(&json["pre_tokenizer"])?;
        let mut bytes = [NO_TOKEN; 256];
        for (byte, id) in (0..=255).zip(&mut bytes) {
            match vocabulary.get(alphabet::character_of(byte).to_string().as_str()) {
                Some(&known) if known < IDS => *id = known,
                None if is_empty("unk_token") && model["byte_fallback"] != true => {}
                _ => return None,
            }
        }
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
            merges: Merges::new(merges)?,
            has_all_bytes: !bytes.contains(&NO_TOKEN),
            bytes,
            whole,
            special,
            plain: Added::of(json, tokenizer, false)?,
            idle: Mutex::new(Vec::new()),
        })
    }

    /// Whether a text is surely its own normal form and has a token for each byte, so that its tokens are its bytes.
    pub(super) fn keeps(&self, text: &str) -> bool {
        let known = |byte: u8| self.bytes[usize::from(byte)] != NO_TOKEN;
        self.normalizer.keeps(text) && (self.has_all_bytes || text.bytes().all(known))
    }

    /// The ids of each text, the texts shared out among threads.
    pub(super) fn encode(&self, texts: &[&str], special: bool) -> Vec<Vec<TokenId>> {
        let added = if special { &self.special } else { &self.plain };
        texts
            .par_iter()
            .map_init(
                || Borrowed { encoder: self, worker: self.worker() },
                |borrowed, text| {
                    let mut ids = Vec::with_capacity(text.len() / 3 + cache::INLINE);
                    let worker = borrowed.worker.get_or_insert_with(Worker::new);
                    added.split(text, &self.normalizer, |part, token| {
                        self.part(part.as_bytes(), worker, &mut ids);
                        ids.extend(token);
                    });
                    ids
                },
            )
            .collect()
    }

    fn worker(&self) -> Option<Worker> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Adds the ids of text without added tokens.
    fn part(&self, text: &[u8], worker: &mut Worker, ids: &mut Vec<TokenId>) {
        let mut from = 0;
        let mut count = 0_u8;
        self.words.split(text, |start, end| {
            worker.batch.ends[usize::from(count)] = end;
            worker.batch.keys[usize::from(count)] = cache::key(text, start, end);
            count = count.wrapping_add(1);
            if count == 0 {
                self.batch(text, from, BATCH, worker, ids);
                from = end;
            }
        });
        self.batch(text, from, usize::from(count), worker, ids);
    }

    /// Adds the ids of the first `count` words of a batch, whose first begins at `from`.
    #[inline(never)]
    fn batch(&self, text: &[u8], from: usize, count: usize, worker: &mut Worker, ids: &mut Vec<TokenId>) {
        let Worker { cache, batch: Batch { ends, keys, places, gathered }, scratch } = worker;
        let shift = 64 - cache.lines().len().checked_ilog2().unwrap_or(0);
        for (key, place) in keys.iter().zip(&mut *places) {
            *place = (cache::hash(*key) >> (shift & 63)) as u32;
        }
        // Something of each word's line is read in a loop so short that the processor waits for many at once.
        let lines = cache.lines();
        black_box(places.iter().fold(0, |read, &place| read ^ lines.get(place as usize).map_or(0, |line| line[0][0])));
        let mut word = 0;
        while word < count {
            let lines = cache.lines();
            let mut end = 0;
            for (key, &place) in keys[word..count].iter().zip(&places[word..count]) {
                let few = lines.get(place as usize).map(|line| cache::found(line, *key)).unwrap_or_default();
                let Some(next) = gathered[end..].first_chunk_mut() else { break };
                if !(1..=cache::INLINE as u32).contains(&few.count) {
                    break;
                }
                *next = few.ids;
                end += few.count as usize;
                word += 1;
            }
            ids.extend_from_slice(&gathered[..end]);
            if word < count {
                let start = if word == 0 { from } else { ends[word - 1] };
                self.word(&text[start..ends[word]], keys[word], cache, scratch, ids);
                word += 1;
            }
        }
    }

    /// Adds the ids of a word that is not in its place in the table, or has many.
    #[inline(never)]
    fn word(&self, word: &[u8], key: Key, cache: &mut Cache, scratch: &mut Scratch, ids: &mut Vec<TokenId>) {
        let before = ids.len();
        if word.len() > cache::SHORT {
            ids.extend_from_slice(cache.long(word));
        } else {
            cache.short(key, ids);
        }
        if ids.len() > before {
            return;
        }
        let found = self.merged(word, scratch);
        ids.extend_from_slice(found);
        if found.is_empty() {
            return;
        }
        if word.len() > cache::SHORT {
            cache.keep_long(word, found);
        } else {
            cache.keep_short(key, found);
        }
    }

    /// The ids of a word.
    fn merged<'a>(&self, word: &[u8], scratch: &'a mut Scratch) -> &'a [TokenId] {
        let symbols = word.iter().map(|&byte| self.bytes[usize::from(byte)]).filter(|&token| token != NO_TOKEN);
        match self.whole.as_ref().and_then(|whole| whole.get(word)) {
            Some(&id) => scratch.one(id),
            None => self.merges.apply(symbols, scratch),
        }
    }
}

/// A worker that goes back to its encoder; none before the first text when all are at work.
struct Borrowed<'a> {
    encoder: &'a Encoder,
    worker: Option<Worker>,
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        self.encoder.idle.lock().unwrap_or_else(PoisonError::into_inner).extend(self.worker.take());
    }
}
