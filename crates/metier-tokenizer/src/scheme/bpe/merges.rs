//! The merges of a vocabulary, and merging by them.

use metier_core::data::TokenId;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// No merge: a rank above every other.
const NONE: u64 = u64::MAX;
const EMPTY: u64 = u64::MAX;
/// Words of more symbols than this are merged with a heap.
const SHORT: usize = 48;

/// Pairs of neighbors with their rank and what they become, in one flat table.
pub(in crate::scheme) struct Merges {
    /// A pair, and its rank before the id it becomes; [`EMPTY`] where none is.
    slots: Vec<(u64, u64)>,
    shift: u32,
}

/// Symbols being merged; kept between words so that none allocates.
#[derive(Default)]
pub(in crate::scheme) struct Scratch {
    symbols: Vec<TokenId>,
    ranks: Vec<u64>,
    /// Neighbors of each symbol, for long words.
    links: Vec<(u32, u32)>,
    heap: BinaryHeap<Reverse<(u64, u32)>>,
}

impl Merges {
    /// A later rank of a pair replaces an earlier one.
    pub(in crate::scheme) fn new(merges: &[(TokenId, TokenId, TokenId)]) -> Self {
        let size = (merges.len() * 2 + 2).next_power_of_two().max(16);
        let mut table = Self { slots: vec![(EMPTY, NONE); size], shift: 64 - size.trailing_zeros() };
        for (rank, &(left, right, merged)) in merges.iter().enumerate() {
            let key = pair(left, right);
            let place = table.place(key);
            table.slots[place] = (key, (rank as u64) << 32 | u64::from(merged));
        }
        table
    }

    /// Where a pair is, or would be.
    #[inline]
    fn place(&self, key: u64) -> usize {
        let mask = self.slots.len() - 1;
        let mut place = (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize;
        while self.slots[place & mask].0 != key && self.slots[place & mask].0 != EMPTY {
            place += 1;
        }
        place & mask
    }

    #[inline]
    fn of(&self, left: TokenId, right: TokenId) -> u64 {
        self.slots[self.place(pair(left, right))].1
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
            self.apply_in_place(&mut scratch.symbols, &mut scratch.ranks);
        }
        &scratch.symbols
    }

    fn apply_in_place(&self, symbols: &mut Vec<TokenId>, ranks: &mut Vec<u64>) {
        ranks.clear();
        ranks.extend(symbols.windows(2).map(|pair| self.of(pair[0], pair[1])));
        loop {
            let mut best = NONE;
            let mut at = 0;
            for (place, &rank) in ranks.iter().enumerate() {
                if rank < best {
                    (best, at) = (rank, place);
                }
            }
            if best == NONE {
                return;
            }
            symbols[at] = best as TokenId;
            symbols.remove(at + 1);
            ranks.remove(at);
            if at > 0 {
                ranks[at - 1] = self.of(symbols[at - 1], symbols[at]);
            }
            if let Some(&next) = symbols.get(at + 1) {
                ranks[at] = self.of(symbols[at], next);
            }
        }
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
            symbols[at] = rank as TokenId;
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

fn pair(left: TokenId, right: TokenId) -> u64 {
    u64::from(left) << 32 | u64::from(right)
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
        ) {
            let table = Merges::new(&merges);
            let mut scratch = Scratch::default();
            let got = table.apply(symbols.iter().copied(), &mut scratch).to_vec();
            prop_assert_eq!(got, slowly(&merges, symbols));
        }
    }
}
