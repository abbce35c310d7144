//! What is the loss of these tokens.

mod causal;

use metier_compute::{Tape, Var};
use metier_core::Result;
use metier_core::data::TokenId;
use metier_core::part::{Part, Record};
use metier_model::{Batch, Decoder};

pub use causal::Causal;

/// Tokens of one document that follow each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The tokens, at least one.
    pub tokens: Vec<TokenId>,
    /// The token behind the last one, where the document goes on.
    pub next: Option<TokenId>,
}

/// Turns tokens into rows with targets, and rows into a loss.
pub trait Objective: Send + Sync {
    /// The rows of a group of segments, each attended to on its own. The sum of the weights is what the loss
    /// counts.
    fn batch(&self, segments: &[Segment]) -> Result<Batch>;

    /// The mean loss over the batch's weights, a scalar on the tape.
    fn loss<'p>(&self, decoder: &'p Decoder, tape: &mut Tape<'p>, batch: &Batch) -> Result<Var>;
}

/// The members.
#[rustfmt::skip]
pub static OBJECTIVES: &[&Part<dyn Objective>] = &[
    &causal::PART,
];

/// The members' records, alphabetical.
pub fn records() -> Vec<Record> {
    OBJECTIVES.iter().map(|part| part.record()).collect()
}
