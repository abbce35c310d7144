//! The merges of a vocabulary, and merging by them.

use metier_core::data::TokenId;
use serde_json::Value;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// No merge: a rank above every other.
const NONE: u32 = u32::MAX;
/// Words of more symbols than this are merged with a heap.
const SHORT: usize = 48;
/// A slot of the table is a pair of ids of so many bits each, and a rank of the others.
const ID_BITS: u32 = 20;
/// Symbols are below this.
pub(in crate::scheme) const IDS: TokenId = (1 << ID_BITS) - 1;
const RANK_BITS: u32 = u64::BITS - 2 * ID_BITS;
const EMPTY: u64 = u64::MAX;
/// Pairs of ids below this have a table of their own: among them are most pairs of bytes, which every word begins with.
const LOW: TokenId = 512;

/// Pairs of neighbors with their rank and what they become.
pub(in crate::scheme) struct Merges {
    /// Pairs with their ranks in one flat table; [`EMPTY`] where none is.
    slots: Vec<u64>,
    shift: u32,
    /// One more than the rank of each pair of low ids, 0 where none is.
    low: Vec<u32>,
    /// What the pair of each rank becomes.
    merged: Vec<TokenId>,
}

/// Symbols being merged; kept between words so that none allocates.
#[derive(Default)]
pub(in crate::scheme) struct Scratch {
    symbols: Vec<TokenId>,
    ranks: Vec<u32>,
    /// Neighbors of each symbol, for long words.
    links: Vec<(u32, u32)>,
    heap: BinaryHeap<Reverse<(u32, u32)>>,
}

impl Scratch {
    /// Holds one symbol.
    pub(super) fn one(&mut self, symbol: TokenId) -> &[TokenId] {
        self.symbols.clear();
        self.symbols.push(symbol);
        &self.symbols
    }
}

impl Merges {
    /// A later rank of a pair replaces an earlier one. `None` when there are more merges than fit the table, or an id
    /// from [`IDS`] on.
    pub(in crate::scheme) fn new(merges: &[(TokenId, TokenId, TokenId)]) -> Option<Self> {
        let size = (merges.len() * 2 + 2).next_power_of_two().max(16);
        let mut table = Self {
            slots: vec![EMPTY; size],
            shift: u64::BITS - size.trailing_zeros(),
            low: vec![0; (LOW * LOW) as usize],
            merged: merges.iter().map(|merge| merge.2).collect(),
        };
        for (rank, &(left, right, merged)) in (0..).zip(merges) {
            if left.max(right).max(merged) >= IDS || rank >> RANK_BITS > 0 {
                return None;
            }
            if left.max(right) < LOW {
                table.low[(left * LOW + right) as usize] = rank + 1;
            }
            let place = table.place(pair(left, right));
            table.slots[place] = pair(left, right) << RANK_BITS | u64::from(rank);
        }
        Some(table)
    }

    /// Where a pair is, or would be.
    #[inline]
    fn place(&self, pair: u64) -> usize {
        let mask = self.slots.len() - 1;
        let mut place = (pair.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize;
        while self.slots[place & mask] >> RANK_BITS != pair && self.slots[place & mask] != EMPTY {
            place += 1;
        }
        place & mask
    }

    /// The rank of a pair, or [`NONE`].
    #[inline]
    fn of(&self, left: TokenId, right: TokenId) -> u32 {
        if (left | right) < LOW {
            return self.low[(left * LOW + right) as usize].wrapping_sub(1);
        }
        match self.slots[self.place(pair(left, right))] {
            EMPTY => NONE,
            slot => slot as u32 & (NONE >> (u32::BITS - RANK_BITS)),
        }
    }

    /// Merges neighbors, the pair of the lowest rank first and of equal ones the leftmost, until none is left.
    pub(in crate::scheme) fn apply<'a>(
        &self,
        symbols: impl Iterator<Item = TokenId>,
        scratch: &'a mut Scratch,
    ) -> &'a [TokenId] {
        scratch.symbols.clear();
        scratch.symbols.extend(symbols);
        if scratch.symbols.len() > SHORT {
            self.apply_by_heap(scratch);
        } else {
            self.apply_in_place(&mut scratch.symbols);
        }
        &scratch.symbols
    }

    /// Symbols stay in their places, and those that are merged away are passed over.
    fn apply_in_place(&self, symbols: &mut Vec<TokenId>) {
        let count = symbols.len();
        let mut ranks = [NONE; SHORT];
        let mut next = [0_u8; SHORT];
        let mut before = [0_u8; SHORT];
        for place in 0..count {
            next[place] = place as u8 + 1;
            before[place] = (place as u8).wrapping_sub(1);
            ranks[place] = symbols.get(place + 1).map_or(NONE, |&right| self.of(symbols[place], right));
        }
        loop {
            let mut best = NONE;
            let mut at = 0;
            for (place, &rank) in ranks[..count].iter().enumerate() {
                if rank < best {
                    (best, at) = (rank, place);
                }
            }
            if best == NONE {
                break;
            }
            let gone = usize::from(next[at]);
            let after = usize::from(next[gone]);
            symbols[at] = self.merged[best as usize];
            next[at] = after as u8;
            ranks[gone] = NONE;
            ranks[at] = NONE;
            if after < count {
                before[after] = at as u8;
                ranks[at] = self.of(symbols[at], symbols[after]);
            }
            if at > 0 {
                let left = usize::from(before[at]);
                ranks[left] = self.of(symbols[left], symbols[at]);
            }
        }
        let (mut from, mut to) = (0, 0);
        while from < count {
            symbols[to] = symbols[from];
            from = usize::from(next[from]);
            to += 1;
        }
        symbols.truncate(to);
    }

    fn apply_by_heap(&self, scratch: &mut Scratch) {
        const GONE: TokenId = TokenId::MAX;
        let Scratch { symbols, ranks, links, heap } = scratch;
        let count = symbols.len();
        links.clear();
        links.extend((0..count as u32).map(|place| (place.wrapping_sub(1), place + 1)));
        // The rank of each symbol with the next one, to know entries of the heap that are no longer true.
        ranks.clear();
        ranks.extend(symbols.windows(2).map(|pair| self.of(pair[0], pair[1])));
        ranks.push(NONE);
        heap.clear();
        heap.extend(
            (0..).zip(ranks.iter()).filter(|(_, rank)| **rank != NONE).map(|(place, &rank)| Reverse((rank, place))),
        );
        while let Some(Reverse((rank, place))) = heap.pop() {
            let at = place as usize;
            if symbols[at] == GONE || ranks[at] != rank {
                continue;
            }
            let (before, next) = links[at];
            symbols[at] = self.merged[rank as usize];
            symbols[next as usize] = GONE;
            let after = links[next as usize].1;
            links[at].1 = after;
            ranks[at] = NONE;
            if let Some(link) = links.get_mut(after as usize) {
                link.0 = place;
                ranks[at] = self.of(symbols[at], symbols[after as usize]);
            }
            if ranks[at] != NONE {
                heap.push(Reverse((ranks[at], place)));
            }
            if let Some(&left) = symbols.get(before as usize) {
                let rank = self.of(left, symbols[at]);
                ranks[before as usize] = rank;
                if rank != NONE {
                    heap.push(Reverse((rank, before)));
                }
            }
        }
        symbols.retain(|&symbol| symbol != GONE);
    }
}

/// The pairs of a model's merges, each with what it becomes.
pub(in crate::scheme) fn listed_merges(
    model: &Value,
    vocabulary: &HashMap<&str, TokenId>,
) -> Option<Vec<(TokenId, TokenId, TokenId)>> {
    let mut made = String::new();
    model["merges"]
        .as_array()?
        .iter()
        .map(|merge| {
            let (left, right) = match merge {
                Value::String(text) => text.split_once(' ')?,
                _ => (merge[0].as_str()?, merge[1].as_str()?),
            };
            merge_of(left, right, vocabulary, &mut made)
        })
        .collect()
}

/// The ids of a pair and of what it becomes, for which `made` has room.
pub(in crate::scheme) fn merge_of(
    left: &str,
    right: &str,
    vocabulary: &HashMap<&str, TokenId>,
    made: &mut String,
) -> Option<(TokenId, TokenId, TokenId)> {
    made.clear();
    made.extend([left, right]);
    Some((*vocabulary.get(left)?, *vocabulary.get(right)?, *vocabulary.get(made.as_str())?))
}

fn pair(left: TokenId, right: TokenId) -> u64 {
    u64::from(left) << ID_BITS | u64::from(right)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Merging as it is defined.
    fn slowly(merges: &[(TokenId, TokenId, TokenId)], mut symbols: Vec<TokenId>) -> Vec<TokenId> {
        loop {
            let best = symbols.windows(2).enumerate().filter_map(|(at, pair)| {
                let rank = merges.iter().rposition(|merge| (merge.0, merge.1) == (pair[0], pair[1]))?;
                Some((rank, at))
            });
            let Some((rank, at)) = best.min() else { return symbols };
            symbols[at] = merges[rank].2;
            symbols.remove(at + 1);
        }
    }

    proptest! {
        #[test]
        fn words_of_any_length_merge_as_defined(
            merges in prop::collection::vec((0_u32..6, 0_u32..6, 3_u32..9), 0..14),
            symbols in prop::collection::vec(0_u32..4, 0..120),
            first in prop::sample::select(vec![0, LOW - 4, IDS - 9]),
        ) {
            let merges: Vec<_> =
                merges.iter().map(|&(left, right, merged)| (first + left, first + right, first + merged)).collect();
            let symbols: Vec<_> = symbols.iter().map(|symbol| first + symbol).collect();
            let table = Merges::new(&merges).unwrap();
            let mut scratch = Scratch::default();
            let got = table.apply(symbols.iter().copied(), &mut scratch).to_vec();
            prop_assert_eq!(got, slowly(&merges, symbols));
        }
    }
}
