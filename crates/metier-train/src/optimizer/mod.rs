//! How a gradient changes a weight.

mod adamw;

use metier_compute::Tensor;
use metier_core::Result;
use metier_core::part::{Part, Record};

pub use adamw::Adamw;

/// One tensor's share of a step.
#[derive(Debug)]
pub struct Update<'a> {
    /// The weights, changed in place.
    pub parameter: &'a mut [f32],
    /// Their gradient, as long as `parameter`.
    pub gradient: &'a [f32],
    /// What the optimizer keeps about each weight: [`Optimizer::states`] tensors as long as `parameter`, all
    /// zero before the first step.
    pub state: &'a mut [Tensor],
    /// The rate of this step, schedule applied.
    pub rate: f64,
    /// What every number of the gradient is multiplied by first, to keep its length in bounds.
    pub scale: f32,
    /// The number of this step, counted from 1.
    pub step: u64,
    /// Whether the weights may be pulled toward zero: true for tensors of two or more dimensions, false for
    /// norms and biases.
    pub decays: bool,
}

/// A rule that changes weights.
pub trait Optimizer: Send + Sync {
    /// The rate that a schedule's share is multiplied with.
    fn rate(&self) -> f64;

    /// Number of `f32` kept for each weight between steps.
    fn states(&self) -> usize;

    /// Changes one tensor. The result is a function of `update` alone.
    fn step(&self, update: Update<'_>) -> Result<()>;
}

/// The members.
#[rustfmt::skip]
pub static OPTIMIZERS: &[&Part<dyn Optimizer>] = &[
    &adamw::PART,
];

/// The members' records, alphabetical.
pub fn records() -> Vec<Record> {
    OPTIMIZERS.iter().map(|part| part.record()).collect()
}
