use super::{Amount, Metric, Subject};
use metier_core::part::{Build, Part};
use metier_core::{Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// # What it does
/// Says which share of questions a model answers rightly.
///
/// # How
/// accuracy = right replies / questions. Whether a reply is right is said by the scenario that asked (`choice`, `open`).
///
/// # When to use
/// For questions; texts without any have none.
///
/// # Differs from the paper in
/// Nothing. An interval comes from drawing questions anew, where lm-evaluation-harness tells a standard error.
///
/// # Source
/// As in Brown et al. 2020, *Language Models are Few-Shot Learners* (arXiv:2005.14165), section 2.4.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Accuracy {}

impl Metric for Accuracy {
    fn name(&self) -> &'static str {
        "accuracy"
    }

    fn title(&self) -> &'static str {
        "accuracy"
    }

    fn better(&self) -> &'static str {
        "higher"
    }

    fn subject(&self) -> Subject {
        Subject::Questions
    }

    fn value(&self, amount: Amount) -> f64 {
        amount.right / amount.asked
    }
}

impl Build<dyn Metric> for Accuracy {
    fn build(self, _: &Place) -> Result<Box<dyn Metric>> {
        Ok(Box::new(self))
    }
}

/// Accuracy.
pub static PART: Part<dyn Metric> = Part::of::<Accuracy>("accuracy", 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_of_four_are_three_quarters() {
        let amount = Amount { asked: 4.0, right: 3.0, ..Amount::default() };
        assert!((Accuracy {}.value(amount) - 0.75).abs() < 1e-12);
        assert!(Accuracy {}.value(Amount::default()).is_nan());
    }
}
