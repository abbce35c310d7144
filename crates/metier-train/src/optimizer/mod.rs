//! How a gradient changes a weight.

mod adafactor;
mod adamw;
mod adamw_8bit;
mod lion;
mod muon;
mod sgd;

use metier_compute::Tensor;
use metier_core::Result;
use metier_core::part::{Part, Record};

pub use adafactor::Adafactor;
pub use adamw::Adamw;
pub use adamw_8bit::Adamw8bit;
pub use lion::Lion;
pub use muon::Muon;
pub use sgd::Sgd;

/// What a tensor of weights is.
#[derive(Debug, Clone, Copy)]
pub struct Weights<'a> {
    /// Its sizes.
    pub shape: &'a [usize],
    /// Whether its rows are those of tokens: the embedding, or the head.
    pub of_vocabulary: bool,
}

impl Weights<'_> {
    /// How many there are.
    #[expect(clippy::len_without_is_empty, reason = "a parameter without numbers is nothing to ask for")]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether they may be pulled toward zero: true for tensors of two or more dimensions, false for norms and biases.
    pub fn decays(&self) -> bool {
        self.shape.len() > 1
    }

    /// Rows and columns of a matrix between hidden states.
    pub fn hidden_matrix(&self) -> Option<(usize, usize)> {
        match *self.shape {
            [rows, columns] if !self.of_vocabulary => Some((rows, columns)),
            _ => None,
        }
    }
}

/// One tensor's share of a step.
#[derive(Debug)]
pub struct Update<'a> {
    /// What the weights are.
    pub weights: Weights<'a>,
    /// Their numbers, changed in place.
    pub parameter: &'a mut [f32],
    /// Their gradient, as long as `parameter`.
    pub gradient: &'a [f32],
    /// What the optimizer keeps about them: tensors of the lengths that [`Optimizer::state`] gives, all zero before
    /// the first step.
    pub state: &'a mut [Tensor],
    /// The rate of this step, schedule applied.
    pub rate: f64,
    /// What every number of the gradient is multiplied by first, to keep its length in bounds.
    pub scale: f32,
    /// The number of this step, counted from 1.
    pub step: u64,
}

/// A rule that changes weights.
pub trait Optimizer: Send + Sync {
    /// The rate that a schedule's share is multiplied with.
    fn rate(&self) -> f64;

    /// Lengths of the tensors that are kept between steps about a tensor of weights. What takes fewer bits
    /// than an `f32` is packed into the bits of some; they are stored and restored bit by bit.
    fn state(&self, weights: Weights<'_>) -> Vec<usize>;

    /// Changes one tensor. The result is a function of `update` alone.
    fn step(&self, update: Update<'_>) -> Result<()>;
}

/// The members.
#[rustfmt::skip]
pub static OPTIMIZERS: &[&Part<dyn Optimizer>] = &[
    &adafactor::PART,
    &adamw::PART,
    &adamw_8bit::PART,
    &lion::PART,
    &muon::PART,
    &sgd::PART,
];

/// The members' records, alphabetical.
pub fn records() -> Vec<Record> {
    OPTIMIZERS.iter().map(|part| part.record()).collect()
}
