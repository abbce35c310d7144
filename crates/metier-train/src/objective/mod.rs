//! What is the loss of these tokens.

mod causal;
mod contrastive;
mod distill;
mod dpo;
mod kto;
mod masked;
mod orpo;
mod preference;
mod simpo;
mod span;
mod vocabulary;

use metier_compute::{Tape, Var};
use metier_core::Result;
use metier_core::data::TokenId;
use metier_core::part::{Part, Record};
use metier_core::seam::Tokenize;
use metier_model::{Batch, Decoder};
use metier_tokenizer::pack::{Lesson, Verdict};
use std::sync::Arc;

pub use causal::Causal;
pub use contrastive::Contrastive;
pub(crate) use distill::divergence;
pub use distill::{Distill, Divergence};
pub use dpo::{Dpo, DpoLoss};
pub use kto::Kto;
pub use masked::Masked;
pub use orpo::Orpo;
pub use simpo::Simpo;
pub use span::Span;

/// Tokens of one document that follow each other, each but the first to be predicted from those before it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Segment {
    /// The tokens. Before a document's first one stands what it is predicted from, if anything.
    pub tokens: Vec<TokenId>,
    /// For each token whether it is learned, where not every one is.
    pub learned: Option<Vec<bool>>,
    /// What is said of the document's reply, or which text of a pair it is.
    pub verdict: Option<Verdict>,
    /// Random bits that belong to this place of the run: all that an objective draws for the segment follows from them.
    pub draw: u64,
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

/// How an objective has a model read a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// As it stands, with a loss of tokens that follow.
    Forward,
    /// With some tokens hidden, each of which is asked for at its own place. Nothing stands before a segment's tokens then.
    Hidden,
    /// Written in another way, with a loss of tokens that follow there.
    Rewritten,
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
        self.reading() != Reading::Hidden
    }

    /// Whether it asks for hidden tokens by what stands on both sides of them, which a causal model does not see.
    fn needs_both_sides(&self) -> bool {
        self.reading() == Reading::Hidden
    }

    /// Whether the loss of a step is one of all its windows together, and not the mean of those of its micro-batches.
    fn joins(&self) -> bool {
        false
    }

    /// Whether shards that teach this are what it learns from.
    fn learns(&self, lesson: Lesson) -> bool {
        lesson == Lesson::Replies
    }

    /// How it has the model read a text. One that does not read it as it stands makes the same rows of a segment, whatever segments
    /// are beside it, and held-out windows are measured by its own loss.
    fn reading(&self) -> Reading {
        Reading::Forward
    }

    /// The same objective with the tokens that it writes found in a vocabulary, where it writes any. No segment has more than `longest`
    /// tokens.
    ///
    /// # Errors
    /// When the vocabulary lacks them.
    fn bind(&self, _tokenizer: &dyn Tokenize, _longest: usize) -> Result<Option<Box<dyn Objective>>> {
        Ok(None)
    }

    /// By how many the rows of a part of a document are more than its `tokens`, at most; never fewer for more tokens.
    fn added(&self, _tokens: u64) -> u64 {
        0
    }
}

/// What makes rows of single segments: the objective where it changes them, and else that of the next token.
pub(crate) fn alone(objective: &dyn Objective) -> &dyn Objective {
    if objective.reading() == Reading::Forward { &Causal {} } else { objective }
}

/// The members.
#[rustfmt::skip]
pub static OBJECTIVES: &[&Part<dyn Objective>] = &[
    &causal::PART,
    &contrastive::PART,
    &distill::PART,
    &dpo::PART,
    &kto::PART,
    &masked::PART,
    &orpo::PART,
    &simpo::PART,
    &span::PART,
];

/// The members' records, alphabetical.
pub fn records() -> Vec<Record> {
    OBJECTIVES.iter().map(|part| part.record()).collect()
}
