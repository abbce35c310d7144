//! The merges of BPE, learned from words with counts.

use metier_core::data::TokenId;
use metier_core::progress::Progress;
use metier_core::{Result, stop};
use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap, hash_map};
use std::hash::{BuildHasherDefault, Hasher};

/// A pair of neighbors, the left one in the high half.
type Pair = u64;

/// Words as symbols, one after the other, with how often each is met.
pub(crate) struct Words {
    symbols: Vec<TokenId>,
    /// Where each word begins, and how many symbols it has now.
    spans: Vec<(u64, u32)>,
    counts: Vec<u64>,
}

impl Words {
    pub(crate) fn with_capacity(words: usize, symbols: usize) -> Self {
        Self {
            symbols: Vec::with_capacity(symbols),
            spans: Vec::with_capacity(words),
            counts: Vec::with_capacity(words),
        }
    }

    pub(crate) fn push(&mut self, symbols: impl Iterator<Item = TokenId>, count: u64) {
        let from = self.symbols.len();
        self.symbols.extend(symbols);
        self.spans.push((from as u64, (self.symbols.len() - from) as u32));
        self.counts.push(count);
    }

    fn word(&self, word: u32) -> &[TokenId] {
        let (from, length) = self.spans[word as usize];
        &self.symbols[from as usize..from as usize + length as usize]
    }

    /// Replaces `left` and `right` by `merged` in a word, from its front to its end, and says which pairs there are one
    /// more or one fewer of.
    fn merge(&mut self, word: u32, left: TokenId, right: TokenId, merged: TokenId, mut changed: impl FnMut(Pair, i64)) {
        let (from, length) = self.spans[word as usize];
        let symbols = &mut self.symbols[from as usize..from as usize + length as usize];
        let (mut read, mut written) = (0, 0);
        while read < symbols.len() {
            if symbols[read] == left && symbols.get(read + 1) == Some(&right) {
                if written > 0 {
                    let before = symbols[written - 1];
                    changed(pair(before, left), -1);
                    changed(pair(before, merged), 1);
                }
                if let Some(&after) = symbols.get(read + 2) {
                    changed(pair(right, after), -1);
                    changed(pair(merged, after), 1);
                }
                symbols[written] = merged;
                read += 2;
            } else {
                symbols[written] = symbols[read];
                read += 1;
            }
            written += 1;
        }
        self.spans[word as usize].1 = written as u32;
    }
}

/// A merge that was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Merge {
    pub left: TokenId,
    pub right: TokenId,
    /// The token they become.
    pub merged: TokenId,
    /// How often they stood side by side.
    pub count: u64,
}

/// A pair that may be merged next, with the words in which it was met.
struct Candidate {
    count: i64,
    pair: Pair,
    words: Vec<u32>,
}

impl Ord for Candidate {
    /// The most frequent pair is the greatest; of equal ones that of the smallest ids.
    fn cmp(&self, other: &Self) -> Ordering {
        self.count.cmp(&other.count).then_with(|| other.pair.cmp(&self.pair))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Candidate {}

/// How far merging goes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Merges {
    /// Tokens, the first ones, that no pair makes.
    pub kept: usize,
    /// Tokens at the end.
    pub size: usize,
    /// How often a pair is met at least.
    pub least: u64,
    /// What stands before tokens inside words; a merge takes it off its right one.
    pub prefix: &'static str,
}

/// Merges the most frequent pair again and again until the vocabulary has `size` tokens or no pair is met `least` times.
///
/// `tokens` holds the bytes of those there are, and gets the new ones. A token that two different pairs make keeps its
/// first id; one that is not `allowed` is not made. The order and every tie are those of the `tokenizers` crate's trainer, with
/// counts of 64 bits.
pub(crate) fn merges(
    words: &mut Words,
    tokens: &mut Vec<Vec<u8>>,
    Merges { kept, size, least, prefix }: Merges,
    allowed: &dyn Fn(&[u8]) -> bool,
) -> Result<Vec<Merge>> {
    let mut ids: HashMap<Vec<u8>, TokenId> = (0..).zip(tokens.iter()).map(|(id, token)| (token.clone(), id)).collect();
    let (mut counts, mut heap) = pairs(words);
    let mut merges = Vec::new();
    let mut found: Map<Vec<u32>> = Map::default();
    let progress = Progress::new("merges", Some(size.saturating_sub(tokens.len()) as u64), "tokens");
    while tokens.len() < size {
        stop::check()?;
        let Some(mut top) = heap.pop() else { break };
        let count = counts.get(&top.pair).copied().unwrap_or_default();
        if count != top.count {
            top.count = count;
            if count > 0 {
                heap.push(top);
            }
            continue;
        }
        if count.unsigned_abs() < least.max(1) {
            break;
        }
        let (left, right) = ((top.pair >> 32) as TokenId, top.pair as TokenId);
        let inner = tokens[right as usize].as_slice();
        let inner = inner.strip_prefix(prefix.as_bytes()).unwrap_or(inner);
        let token = [tokens[left as usize].as_slice(), inner].concat();
        let merged = match ids.entry(token) {
            hash_map::Entry::Occupied(known) if (*known.get() as usize) < kept => continue,
            hash_map::Entry::Occupied(known) => *known.get(),
            hash_map::Entry::Vacant(new) if !allowed(new.key()) => continue,
            hash_map::Entry::Vacant(new) => {
                let id = tokens.len() as TokenId;
                tokens.push(new.key().clone());
                new.insert(id);
                progress.add(1);
                id
            }
        };
        merges.push(Merge { left, right, merged, count: count.unsigned_abs() });
        for &word in &top.words {
            let weight = words.counts[word as usize] as i64;
            words.merge(word, left, right, merged, |pair, change| {
                *counts.entry(pair).or_default() += change * weight;
                if change > 0 {
                    let words = found.entry(pair).or_default();
                    if words.last() != Some(&word) {
                        words.push(word);
                    }
                }
            });
        }
        heap.extend(found.drain().filter_map(|(pair, words)| {
            let count = counts.get(&pair).copied().filter(|&count| count > 0)?;
            Some(Candidate { count, pair, words })
        }));
    }
    progress.finish();
    Ok(merges)
}

/// Every pair of neighbors in the words with its count.
fn pairs(words: &Words) -> (Map<i64>, BinaryHeap<Candidate>) {
    let mut places: Map<u32> = Map::default();
    let mut candidates: Vec<Candidate> = Vec::new();
    for word in 0..words.spans.len() as u32 {
        let weight = words.counts[word as usize] as i64;
        for symbols in words.word(word).windows(2) {
            let pair = pair(symbols[0], symbols[1]);
            let place = *places.entry(pair).or_insert_with(|| {
                candidates.push(Candidate { count: 0, pair, words: Vec::new() });
                candidates.len() as u32 - 1
            });
            let candidate = &mut candidates[place as usize];
            candidate.count += weight;
            if candidate.words.last() != Some(&word) {
                candidate.words.push(word);
            }
        }
    }
    let counts = candidates.iter().map(|candidate| (candidate.pair, candidate.count)).collect();
    (counts, candidates.into())
}

fn pair(left: TokenId, right: TokenId) -> Pair {
    u64::from(left) << 32 | u64::from(right)
}

/// A map whose keys are pairs. Its order is never looked at: the heap has one of its own.
type Map<V> = HashMap<Pair, V, BuildHasherDefault<PairHasher>>;

#[derive(Default)]
struct PairHasher(u64);

impl Hasher for PairHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        let mixed = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ mixed >> 32;
    }
}
