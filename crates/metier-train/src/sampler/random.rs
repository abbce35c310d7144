//! Windows that begin anywhere.

use super::{Request, Sampler, Stream};
use metier_core::part::{Build, Part};
use metier_core::{Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// # What it does
/// Draws each window's first token at random, independent of all others.
///
/// # How
/// Row `r` of step `s` begins at a number drawn evenly from `0..=tokens - context` by the seed's stream at `s`. A
/// window may span several documents: each is attended to and numbered on its own. Of examples, which are never cut, one of the
/// windows that [`Packed`](super::Packed) makes is drawn.
///
/// # When to use
/// For runs of a small part of an epoch, and where cuts at the same places in each epoch would matter. Over a
/// whole epoch about 37 % of the tokens are never seen; [`Packed`](super::Packed) sees all of them.
///
/// # Differs from the paper in
/// Nothing; there is no paper.
///
/// # Source
/// The batches of Karpathy's nanoGPT are drawn so.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Random {}

impl Sampler for Random {
    fn windows(&self, stream: &Stream, request: &Request) -> Vec<Range<u64>> {
        let tokens = stream.tokens();
        let length = (request.context as u64).min(tokens);
        if length == 0 {
            return Vec::new();
        }
        let mut random = request.seed.at(request.step);
        (0..request.sequences)
            .map(|_| {
                if let Some(window) = stream.windows().and_then(|windows| stream.window(random.below(windows))) {
                    return window;
                }
                let start = random.below(tokens - length + 1);
                start..start + length
            })
            .collect()
    }

    fn steps_per_epoch(&self, _stream: &Stream, _context: usize, _sequences: usize) -> Option<f64> {
        None
    }
}

impl Build<dyn Sampler> for Random {
    fn build(self, _place: &Place) -> Result<Box<dyn Sampler>> {
        Ok(Box::new(self))
    }
}

/// The record of `random`.
pub static PART: Part<dyn Sampler> = Part::of::<Random>("random", 1);

#[cfg(test)]
mod tests {
    use super::*;
    use metier_core::seed::Seed;

    #[test]
    fn windows_are_whole_and_depend_on_seed_and_step() {
        let stream = Stream::new([50, 70]).unwrap();
        let at = |seed, step| {
            Random {}.windows(&stream, &Request { step, sequences: 6, context: 16, seed: Seed::new(seed) })
        };
        assert!(at(1, 0).iter().all(|window| window.end - window.start == 16 && window.end <= 120));
        assert_eq!(at(1, 4), at(1, 4));
        assert_ne!(at(1, 4), at(1, 5));
        assert_ne!(at(1, 4), at(2, 4));
    }

    #[test]
    fn a_short_stream_is_one_window() {
        let stream = Stream::new([5]).unwrap();
        let request = Request { step: 0, sequences: 2, context: 16, seed: Seed::new(0) };
        assert_eq!(Random {}.windows(&stream, &request), [0..5, 0..5]);
    }
}
