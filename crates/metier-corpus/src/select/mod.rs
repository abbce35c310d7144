//! Which documents are held out?

pub mod diversity;
mod hold_out;
pub mod submodular;

pub use hold_out::HoldOut;

use metier_core::part::{Part, Record};
use metier_core::seed::Seed;

/// Splits documents into those to learn from and those to measure on.
pub trait Select: Send + Sync {
    /// The number that a document draws by its id.
    fn draw(&self, id: &str, seed: Seed) -> u64;

    /// For each document that is left, whether it is held out, given what each drew.
    fn held_out(&self, draws: &[u64]) -> Vec<bool>;

    /// The share expected to be held out of `documents`, for plans.
    fn expected_share(&self, documents: u64) -> f64;
}

/// Every member, in alphabetical order.
#[rustfmt::skip]
pub static SELECT: &[&Part<dyn Select>] = &[
    &hold_out::PART,
];

/// The records of all members.
pub fn records() -> Vec<Record> {
    SELECT.iter().map(|part| part.record()).collect()
}
