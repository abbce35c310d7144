//! Which number sums up what was measured?
//!
//! A metric is a function of sums over windows, so that it can be taken of any choice of them: of a document, of
//! a set, or of a set drawn anew for an interval.

mod accuracy;
mod bits_per_byte;
mod bits_per_character;
mod perplexity;

pub use crate::evaluate::Amount;
pub use accuracy::Accuracy;
pub use bits_per_byte::BitsPerByte;
pub use bits_per_character::BitsPerCharacter;
use metier_core::part::{Part, Record};
pub use perplexity::Perplexity;

/// A number made of log-probabilities and right answers.
pub trait Metric: Send + Sync {
    /// What the number is called: lower case with underscores, fit for a key.
    fn name(&self) -> &'static str;

    /// What the number is called in a table.
    fn title(&self) -> &'static str;

    /// Which of two numbers is better: `lower` or `higher`.
    fn better(&self) -> &'static str {
        "lower"
    }

    /// The number. Not finite when nothing was scored.
    fn value(&self, amount: Amount) -> f64;
}

/// Every member, in alphabetical order.
#[rustfmt::skip]
pub static METRICS: &[&Part<dyn Metric>] = &[
    &accuracy::PART,
    &bits_per_byte::PART,
    &bits_per_character::PART,
    &perplexity::PART,
];

/// The records of all members.
pub fn records() -> Vec<Record> {
    METRICS.iter().map(|part| part.record()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_a_page() {
        metier_testkit::assert_pages(&records());
    }
}
