//! What is the loss of these tokens.

mod causal;
mod contrastive;
mod distill;
mod dpo;
mod kto;
mod orpo;
mod preference;
mod simpo;

use metier_compute::{Tape, Var};
use metier_core::Result;
use metier_core::data::TokenId;
use metier_core::part::{Part, Record};
use metier_model::{Batch, Decoder};
use metier_tokenizer::pack::{Lesson, Verdict};
use std::sync::Arc;

pub use causal::Causal;
pub use contrastive::Contrastive;
pub(crate) use distill::divergence;
pub use distill::{Distill, Divergence};
pub use dpo::{Dpo, DpoLoss};
pub use kto::Kto;
pub use orpo::Orpo;
pub use simpo::Simpo;

/// Tokens of one document that follow each other, each but the first to be predicted from those before it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Segment {
    /// The tokens. Before a document's first one stands what it is predicted from, if anything.
    pub tokens: Vec<TokenId>,
    /// For each token whether it is learned, where not every one is.
    pub learned: Option<Vec<bool>>,
    /// What is said of the document's reply, or which text of a pair it is.
    pub verdict: Option<Verdict>,
}

/// Segments as rows, and what else an objective is to know of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Group {
    /// The rows.
    pub rows: Batch,
    /// What is said of each sequence, where something is.
    pub verdicts: Vec<Verdict>,
    /// Prompts with the replies of others, where an objective compares with them.
    pub mismatched: Option<Batch>,
    /// Rows whose forward pass may be kept at once, where the group may have more; all where it is not said.
    pub at_once: Option<usize>,
}

/// The other model that an objective looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Other {
    /// None.
    Nobody,
    /// One that the stage must name under `teacher`.
    Teacher,
    /// The model as it is before training, unless the stage names another.
    Reference,
}

/// Turns tokens into rows with targets, and rows into a loss.
pub trait Objective: Send + Sync {
    /// The rows of a group of segments, each attended to on its own.
    fn batch(&self, segments: &[Segment]) -> Result<Group>;

    /// The mean loss over what [`Objective::weight`] counts, a scalar on the tape. `other` is there when
    /// [`Objective::other`] says so.
    fn loss<'p>(
        &self,
        decoder: &'p Decoder,
        tape: &mut Tape<'p>,
        group: &Group,
        other: Option<&Arc<Decoder>>,
    ) -> Result<Var>;

    /// How much a group counts in a step that has several.
    fn weight(&self, group: &Group) -> f64 {
        group.rows.weights.iter().copied().map(f64::from).sum()
    }

    /// The other model that it looks at.
    fn other(&self) -> Other {
        Other::Nobody
    }

    /// Whether each token is predicted from those before it, which only a causal model can learn.
    fn predicts_next(&self) -> bool {
        true
    }

    /// Whether the loss of a step is one of all its windows together, and not the mean of those of its micro-batches.
    fn joins(&self) -> bool {
        false
    }

    /// Whether shards that teach this are what it learns from.
    fn learns(&self, lesson: Lesson) -> bool {
        lesson == Lesson::Replies
    }
}

/// The members.
#[rustfmt::skip]
pub static OBJECTIVES: &[&Part<dyn Objective>] = &[
    &causal::PART,
    &contrastive::PART,
    &distill::PART,
    &dpo::PART,
    &kto::PART,
    &orpo::PART,
    &simpo::PART,
];

/// The members' records, alphabetical.
pub fn records() -> Vec<Record> {
    OBJECTIVES.iter().map(|part| part.record()).collect()
}
