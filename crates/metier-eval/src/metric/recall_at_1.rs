use super::{Amount, Metric, Subject};
use metier_core::part::{Build, Part};
use metier_core::{Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// # What it does
/// Says which share of what belongs to a query is the nearest passage of all.
///
/// # How
/// recall@1 = mean over queries of (passages of the query at the first place) / (passages of the query). Where a query has one passage, it is the share of
/// queries that find it first.
///
/// # When to use
/// For pairs of texts, where each query has one right passage; `ndcg_at_10` where it may have several.
///
/// # Differs from the paper in
/// Nothing. Of passages that are equally near, the wrong ones count as nearer.
///
/// # Source
/// Manning, Raghavan and Schütze, *Introduction to Information Retrieval*, 2008, section 8.3; at a cutoff as in Thakur et al., *BEIR*, arXiv:2104.08663.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RecallAt1 {}

impl Metric for RecallAt1 {
    fn name(&self) -> &'static str {
        "recall_at_1"
    }

    fn title(&self) -> &'static str {
        "recall@1"
    }

    fn better(&self) -> &'static str {
        "higher"
    }

    fn subject(&self) -> Subject {
        Subject::Queries
    }

    fn value(&self, amount: Amount) -> f64 {
        amount.found_at_1 / amount.queries
    }
}

impl Build<dyn Metric> for RecallAt1 {
    fn build(self, _: &Place) -> Result<Box<dyn Metric>> {
        Ok(Box::new(self))
    }
}

/// Recall at 1.
pub static PART: Part<dyn Metric> = Part::of::<RecallAt1>("recall_at_1", 1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Measured;

    #[test]
    fn one_of_two_at_the_first_place() {
        let amount = |ranks: &[usize]| Amount::from(&Measured { ranks: ranks.to_vec(), ..Measured::default() });
        let both = amount(&[1, 7]).plus(amount(&[2]));
        assert!((RecallAt1 {}.value(both) - 0.25).abs() < 1e-12, "{}", RecallAt1 {}.value(both));
        assert!(RecallAt1 {}.value(Amount::default()).is_nan());
    }
}
