//! Neighboring windows of the whole stream, shuffled.

use super::{Request, Sampler, Stream};
use metier_core::part::{Build, Part};
use metier_core::seed::Seed;
use metier_core::{Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// # What it does
/// Cuts the documents, laid end to end, into windows of `context` tokens and visits them in a random order.
/// None repeats before all have been visited; then a new order begins.
///
/// # How
/// Window `i` is the tokens `i context .. (i + 1) context`. Position `p = step sequences + row` belongs to epoch
/// `p / windows`; the order within it is a keyed Feistel permutation of `0..windows` with cycle walking, its
/// keys drawn from the seed at that epoch. So any step's windows are known without those before it, and
/// nothing is stored. A window may span several documents: each is attended to and numbered on its own. Of another document a
/// token sees nothing; the first one of a document is predicted from the token that ends documents. Examples are never cut: their windows hold as many whole ones, in order, as fit into
/// `context` tokens, a pair of replies counting as one.
///
/// # When to use
/// The default for (continued) pretraining: every token counts once an epoch and no place is wasted on padding.
///
/// # Differs from the paper in
/// The paper only asks that documents fill the context. Windows here are cut at fixed places, so the tokens
/// after a cut are predicted with little context, the same ones in each epoch.
///
/// # Source
/// Packing: Brown et al., *Language Models are Few-Shot Learners*, arXiv:2005.14165, appendix B. Permutation:
/// Black and Rogaway, *Ciphers with Arbitrary Finite Domains*, CT-RSA 2002, section 5 and cycle walking.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Packed {}

fn count(stream: &Stream, context: usize) -> u64 {
    if let Some(windows) = stream.windows() {
        return windows;
    }
    let (tokens, context) = (stream.tokens(), context.max(1) as u64);
    // A rest of one token would be a window of one row.
    tokens / context + u64::from(tokens % context >= 2)
}

impl Sampler for Packed {
    fn windows(&self, stream: &Stream, request: &Request) -> Vec<Range<u64>> {
        let windows = count(stream, request.context);
        let context = request.context as u64;
        if windows == 0 {
            return Vec::new();
        }
        let mut order: Option<(u64, Permutation)> = None;
        let first = request.step * request.sequences as u64;
        (first..first + request.sequences as u64)
            .map(|position| {
                let (epoch, index) = (position / windows, position % windows);
                let permutation = match &order {
                    Some((of, permutation)) if *of == epoch => permutation,
                    _ => &order.insert((epoch, Permutation::new(request.seed, epoch, windows))).1,
                };
                let window = permutation.at(index);
                stream.window(window).unwrap_or_else(|| {
                    let start = window * context;
                    start..(start + context).min(stream.tokens())
                })
            })
            .collect()
    }

    fn steps_per_epoch(&self, stream: &Stream, context: usize, sequences: usize) -> Option<f64> {
        Some(count(stream, context) as f64 / sequences.max(1) as f64)
    }
}

const ROUNDS: usize = 8;

/// A permutation of `0..size` that needs no table.
pub(super) struct Permutation {
    size: u64,
    half_bits: u32,
    keys: [u64; ROUNDS],
}

impl Permutation {
    pub(super) fn new(seed: Seed, epoch: u64, size: u64) -> Self {
        let bits = u64::BITS - size.saturating_sub(1).leading_zeros();
        let mut stream = seed.at(epoch);
        Self { size, half_bits: bits.div_ceil(2).max(1), keys: std::array::from_fn(|_| stream.bits()) }
    }

    pub(super) fn at(&self, index: u64) -> u64 {
        let mask = (1_u64 << self.half_bits) - 1;
        let mut value = index;
        // A permutation of the next power of four; walking its cycle stays a permutation of what is below `size`.
        loop {
            let (mut left, mut right) = (value >> self.half_bits, value & mask);
            for key in self.keys {
                (left, right) = (right, left ^ (mix(right ^ key) & mask));
            }
            value = left << self.half_bits | right;
            if value < self.size {
                return value;
            }
        }
    }
}

/// The finalizer of `MurmurHash3` with the constants of `SplitMix64`.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

impl Build<dyn Sampler> for Packed {
    fn build(self, _place: &Place) -> Result<Box<dyn Sampler>> {
        Ok(Box::new(self))
    }
}

/// The record of `packed`.
pub static PART: Part<dyn Sampler> = Part::of::<Packed>("packed", 1);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_epoch_is_a_permutation(size in 1_u64..700, epoch in 0_u64..5, seed in 0_u64..1000) {
            let permutation = Permutation::new(Seed::new(seed), epoch, size);
            let mut seen: Vec<u64> = (0..size).map(|index| permutation.at(index)).collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..size).collect::<Vec<_>>());
        }

        #[test]
        fn an_epoch_covers_the_stream_once(
            lengths in prop::collection::vec(0_u64..40, 1..30),
            context in 2_usize..17,
            sequences in 1_usize..5,
        ) {
            let Ok(stream) = Stream::new(lengths) else { return Ok(()) };
            let windows = count(&stream, context);
            let mut seen = vec![0_u32; stream.tokens() as usize];
            let mut starts = Vec::new();
            for step in 0..windows.div_ceil(sequences as u64) {
                let request = Request { step, sequences, context, seed: Seed::new(3) };
                for window in (Packed {}).windows(&stream, &request) {
                    prop_assert!(stream.pieces(&window).iter().any(|piece| piece.tokens.end > 1));
                    starts.push(window);
                }
            }
            for window in &starts[..windows as usize] {
                for token in window.clone() {
                    seen[token as usize] += 1;
                }
            }
            let unseen = seen.iter().filter(|times| **times == 0).count();
            prop_assert!(seen.iter().all(|times| *times <= 1) && unseen <= 1);
        }
    }

    #[test]
    fn orders_differ_between_epochs_and_seeds() {
        let stream = Stream::new([1000]).unwrap();
        let order = |seed, first: u64| -> Vec<u64> {
            (first..first + 100)
                .flat_map(|step| {
                    let request = Request { step, sequences: 1, context: 10, seed: Seed::new(seed) };
                    Packed {}.windows(&stream, &request)
                })
                .map(|window| window.start)
                .collect()
        };
        assert_ne!(order(1, 0), order(1, 100));
        assert_ne!(order(1, 0), order(2, 0));
        assert_eq!(order(1, 0), order(1, 0));
    }

    #[test]
    fn a_step_may_cross_epochs() {
        let stream = Stream::new([40]).unwrap();
        let request = |step, sequences| Request { step, sequences, context: 10, seed: Seed::new(9) };
        let at_once = Packed {}.windows(&stream, &request(0, 8));
        let one_by_one: Vec<_> = (0..8).flat_map(|step| Packed {}.windows(&stream, &request(step, 1))).collect();
        assert_eq!(at_once, one_by_one);
    }
}
