use super::{Amount, Metric, Subject};
use metier_core::part::{Build, Part};
use metier_core::{Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// # What it does
/// Says which share of what belongs to a query is among the ten nearest passages.
///
/// # How
/// recall@10 = mean over queries of (passages of the query at places 1 to 10) / (passages of the query).
///
/// # When to use
/// For pairs of texts, when something behind the search reads all that was found: a reranker, or a model that answers.
///
/// # Differs from the paper in
/// Nothing. Of passages that are equally near, the wrong ones count as nearer.
///
/// # Source
/// Manning, Raghavan and Schütze, *Introduction to Information Retrieval*, 2008, section 8.3; at a cutoff as in Thakur et al., *BEIR*, arXiv:2104.08663.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RecallAt10 {}

impl Metric for RecallAt10 {
    fn name(&self) -> &'static str {
        "recall_at_10"
    }

    fn title(&self) -> &'static str {
        "recall@10"
    }

    fn better(&self) -> &'static str {
        "higher"
    }

    fn subject(&self) -> Subject {
        Subject::Queries
    }

    fn value(&self, amount: Amount) -> f64 {
        amount.found_at_10 / amount.queries
    }
}

impl Build<dyn Metric> for RecallAt10 {
    fn build(self, _: &Place) -> Result<Box<dyn Metric>> {
        Ok(Box::new(self))
    }
}

/// Recall at 10.
pub static PART: Part<dyn Metric> = Part::of::<RecallAt10>("recall_at_10", 1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Measured;

    #[test]
    fn what_is_behind_the_tenth_place_is_not_found() {
        let amount = |ranks: &[usize]| Amount::from(&Measured { ranks: ranks.to_vec(), ..Measured::default() });
        let both = amount(&[1, 11]).plus(amount(&[10]));
        assert!((RecallAt10 {}.value(both) - 0.75).abs() < 1e-12, "{}", RecallAt10 {}.value(both));
        assert!(RecallAt10 {}.value(Amount::default()).is_nan());
    }
}
