use super::{Amount, Metric, Subject};
use metier_core::part::{Build, Part};
use metier_core::{Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// # What it does
/// Says how far in front the first right passage of a query is found.
///
/// # How
/// MRR = mean over queries of 1 / (place of the first passage that belongs to the query), at any place.
///
/// # When to use
/// For pairs of texts, when a reader stops at the first passage that helps.
///
/// # Differs from the paper in
/// Nothing. Of passages that are equally near, the wrong ones count as nearer.
///
/// # Source
/// Voorhees, *The TREC-8 Question Answering Track Report*, 1999, section 2.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Mrr {}

impl Metric for Mrr {
    fn name(&self) -> &'static str {
        "mrr"
    }

    fn title(&self) -> &'static str {
        "MRR"
    }

    fn better(&self) -> &'static str {
        "higher"
    }

    fn subject(&self) -> Subject {
        Subject::Queries
    }

    fn value(&self, amount: Amount) -> f64 {
        amount.reciprocal_ranks / amount.queries
    }
}

impl Build<dyn Metric> for Mrr {
    fn build(self, _: &Place) -> Result<Box<dyn Metric>> {
        Ok(Box::new(self))
    }
}

/// Mean reciprocal rank.
pub static PART: Part<dyn Metric> = Part::of::<Mrr>("mrr", 1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Measured;

    #[test]
    fn the_first_one_decides() {
        let amount = |ranks: &[usize]| Amount::from(&Measured { ranks: ranks.to_vec(), ..Measured::default() });
        let both = amount(&[2, 3]).plus(amount(&[4]));
        assert!((Mrr {}.value(both) - 0.375).abs() < 1e-12, "{}", Mrr {}.value(both));
        assert!(Mrr {}.value(Amount::default()).is_nan());
    }
}
