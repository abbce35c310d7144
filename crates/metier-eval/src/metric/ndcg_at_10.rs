use super::{Amount, Metric, Subject};
use metier_core::part::{Build, Part};
use metier_core::{Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// # What it does
/// Says how well the ten nearest passages are ordered, those that belong to the query in front.
///
/// # How
/// nDCG@10 = mean over queries of DCG / (the greatest DCG that the query's passages allow), DCG = sum over places `r` from 1 to 10 that hold a passage of
/// the query of 1 / log₂(r + 1).
///
/// # When to use
/// For pairs of texts, to set a number beside those of BEIR and MTEB; the metric that an evaluation of `pairs` is compared by.
///
/// # Differs from the paper in
/// Relevance is 0 or 1. Of passages that are equally near, the wrong ones count as nearer.
///
/// # Source
/// Järvelin and Kekäläinen, *Cumulated gain-based evaluation of IR techniques*, 2002, section 2; at 10 as in Thakur et al., *BEIR*, arXiv:2104.08663.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NdcgAt10 {}

impl Metric for NdcgAt10 {
    fn name(&self) -> &'static str {
        "ndcg_at_10"
    }

    fn title(&self) -> &'static str {
        "nDCG@10"
    }

    fn better(&self) -> &'static str {
        "higher"
    }

    fn subject(&self) -> Subject {
        Subject::Queries
    }

    fn value(&self, amount: Amount) -> f64 {
        amount.gain_at_10 / amount.queries
    }
}

impl Build<dyn Metric> for NdcgAt10 {
    fn build(self, _: &Place) -> Result<Box<dyn Metric>> {
        Ok(Box::new(self))
    }
}

/// Normalized discounted cumulative gain at 10.
pub static PART: Part<dyn Metric> = Part::of::<NdcgAt10>("ndcg_at_10", 1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Measured;

    #[test]
    fn a_passage_at_the_third_place_is_worth_half() {
        let amount = |ranks: &[usize]| Amount::from(&Measured { ranks: ranks.to_vec(), ..Measured::default() });
        let both = amount(&[1, 2]).plus(amount(&[3]));
        assert!((NdcgAt10 {}.value(both) - 0.75).abs() < 1e-12, "{}", NdcgAt10 {}.value(both));
        assert!(NdcgAt10 {}.value(Amount::default()).is_nan());
    }
}
