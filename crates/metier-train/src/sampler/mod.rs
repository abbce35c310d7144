//! Which tokens next.
//!
//! A sampler sees a [`Stream`]: the documents of a pack laid end to end. It answers with ranges of it, a
//! function of the seed and the step alone, so a resumed run needs nothing but the number of its step.

mod curriculum;
mod mixture;
mod packed;
mod random;
mod shares;
mod stream;

use metier_core::Result;
use metier_core::part::{Part, Record};
use metier_core::seed::Seed;
use std::ops::Range;

pub use curriculum::{Curriculum, Phase};
pub use mixture::Mixture;
pub use packed::Packed;
pub use random::Random;
pub use stream::{Piece, Source, Stream};

/// What a step asks for.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// Number of the step, counted from 0.
    pub step: u64,
    /// Number of windows.
    pub sequences: usize,
    /// Tokens in a window, at least 2.
    pub context: usize,
    /// Decides every random choice, together with `step`.
    pub seed: Seed,
}

/// An order of the windows of a stream.
pub trait Sampler: Send + Sync {
    /// The windows of a step: `sequences` ranges of the stream, each of `context` tokens or, where the
    /// stream has no more, fewer. Each holds at least one token that follows another of its document. Empty for an empty stream.
    fn windows(&self, stream: &Stream, request: &Request) -> Vec<Range<u64>>;

    /// Steps until every token has been seen once; `None` when that is never certain.
    fn steps_per_epoch(&self, stream: &Stream, context: usize, sequences: usize) -> Option<f64>;

    /// Refuses sources of these names, or a run of so many steps, that it cannot draw from or for as it was asked to.
    ///
    /// # Errors
    /// Names and numbers of shares, and phases, with their keys.
    fn check_sources(&self, _names: &[&str], _steps: u64) -> Result<()> {
        Ok(())
    }

    /// Refuses a run of so many steps, each of `sequences` windows of `context` tokens, that it cannot make of the stream.
    ///
    /// # Errors
    /// As [`Sampler::check_sources`], and a source that is too short or never comes.
    fn check(&self, _stream: &Stream, _context: usize, _steps: u64, _sequences: usize) -> Result<()> {
        Ok(())
    }

    /// The source that is to get the share that a stage before found, and how many times that share.
    fn critical(&self) -> Option<(&str, f64)> {
        None
    }
}

/// The members.
#[rustfmt::skip]
pub static SAMPLERS: &[&Part<dyn Sampler>] = &[
    &curriculum::PART,
    &mixture::PART,
    &packed::PART,
    &random::PART,
];

/// The members' records, alphabetical.
pub fn records() -> Vec<Record> {
    SAMPLERS.iter().map(|part| part.record()).collect()
}
