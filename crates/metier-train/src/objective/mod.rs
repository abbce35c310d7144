//! What is the loss of these tokens.

mod causal;
mod distill;

use metier_compute::{Tape, Var};
use metier_core::Result;
use metier_core::data::TokenId;
use metier_core::part::{Part, Record};
use metier_model::{Batch, Decoder};
use std::sync::Arc;

pub use causal::Causal;
pub use distill::{Distill, Divergence};

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

    /// The mean loss over the batch's weights, a scalar on the tape. `teacher` is there when
    /// [`Objective::takes_teacher`] says so.
    fn loss<'p>(
        &self,
        decoder: &'p Decoder,
        tape: &mut Tape<'p>,
        batch: &Batch,
        teacher: Option<&Arc<Decoder>>,
    ) -> Result<Var>;

    /// Whether it learns from another model.
    fn takes_teacher(&self) -> bool {
        false
    }
}

/// The members.
#[rustfmt::skip]
pub static OBJECTIVES: &[&Part<dyn Objective>] = &[
    &causal::PART,
    &distill::PART,
];

/// The members' records, alphabetical.
pub fn records() -> Vec<Record> {
    OBJECTIVES.iter().map(|part| part.record()).collect()
}
