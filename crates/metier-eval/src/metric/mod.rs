//! Which number sums up what was measured?
//!
//! A metric is a function of sums over windows, so that it can be taken of any choice of them: of a document, of
//! a set, or of a set drawn anew for an interval.

mod accuracy;
mod bits_per_byte;
mod bits_per_character;
mod mrr;
mod ndcg_at_10;
mod perplexity;
mod recall_at_1;
mod recall_at_10;

pub use crate::evaluate::Amount;
pub use accuracy::Accuracy;
pub use bits_per_byte::BitsPerByte;
pub use bits_per_character::BitsPerCharacter;
use metier_core::part::{Part, Record};
pub use mrr::Mrr;
pub use ndcg_at_10::NdcgAt10;
pub use perplexity::Perplexity;
pub use recall_at_1::RecallAt1;
pub use recall_at_10::RecallAt10;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// How likely texts are.
    Texts,
    /// Which answers to questions are right.
    Questions,
    /// Where the passages of queries are found.
    Queries,
}

/// A number made of log-probabilities, right answers or places.
pub trait Metric: Send + Sync {
    /// What the number is called: lower case with underscores, fit for a key.
    fn name(&self) -> &'static str;

    /// What the number is called in a table.
    fn title(&self) -> &'static str;

    /// Which of two numbers is better: `lower` or `higher`.
    fn better(&self) -> &'static str {
        "lower"
    }

    /// What it is a number of.
    fn subject(&self) -> Subject {
        Subject::Texts
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
    &mrr::PART,
    &ndcg_at_10::PART,
    &perplexity::PART,
    &recall_at_1::PART,
    &recall_at_10::PART,
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
