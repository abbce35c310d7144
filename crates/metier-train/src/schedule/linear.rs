//! A rate that falls along a straight line.

use super::{Schedule, rise, warmup};
use metier_core::part::{Build, Part};
use metier_core::{Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// # What it does
/// Lets the rate fall in a straight line from its full value to a floor, after a linear warm-up.
///
/// # How
/// With `w` warm-up steps of `n`, the share of the rate at step `s` (counted from 0) is `(s + 1) / w` while
/// `s < w`; from there on, with `p = (s - w) / (n - w)`, it is `floor + (1 - floor) (1 - p)`.
///
/// # When to use
/// For fine-tuning and for short runs: with a floor of zero the last steps average out the noise of the batches.
///
/// # Differs from the paper in
/// The first step is taken with a share of `1 / w` and the last with `1 / (n - w)`, so that no step is
/// without effect.
///
/// # Source
/// Devlin et al., *BERT: Pre-training of Deep Bidirectional Transformers*, arXiv:1810.04805, appendix A.2.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Linear {
    /// Number of steps over which the rate rises; takes the place of `warmup_fraction` when set.
    pub warmup_steps: Option<u64>,
    /// Share of all steps over which the rate rises.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub warmup_fraction: f64,
    /// Share of the full rate that the fall tends to.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub floor: f64,
}

impl Default for Linear {
    fn default() -> Self {
        Self { warmup_steps: None, warmup_fraction: 0.05, floor: 0.0 }
    }
}

impl Schedule for Linear {
    fn factor(&self, step: u64, steps: u64) -> f64 {
        match rise(step, warmup(self.warmup_steps, self.warmup_fraction, steps), steps) {
            Ok(share) => share,
            Err(progress) => self.floor + (1.0 - self.floor) * (1.0 - progress),
        }
    }
}

impl Build<dyn Schedule> for Linear {
    fn build(self, place: &Place) -> Result<Box<dyn Schedule>> {
        super::check(place, &[("warmup_fraction", self.warmup_fraction), ("floor", self.floor)])?;
        Ok(Box::new(self))
    }
}

/// The record of `linear`.
pub static PART: Part<dyn Schedule> = Part::of::<Linear>("linear", 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn falls_in_a_straight_line() {
        let schedule = Linear { warmup_steps: Some(2), floor: 0.0, ..Linear::default() };
        let expected = [0.5, 1.0, 1.0, 0.75, 0.5, 0.25];
        for (step, expected) in expected.into_iter().enumerate() {
            assert!((schedule.factor(step as u64, 6) - expected).abs() < 1e-12, "step {step}");
        }
    }

    #[test]
    fn the_floor_is_a_share_of_the_full_rate() {
        let schedule = Linear { warmup_steps: Some(0), floor: 0.2, ..Linear::default() };
        assert!((schedule.factor(5, 10) - 0.6).abs() < 1e-12);
    }

    #[test]
    fn a_share_above_one_is_refused() {
        let schedule = Linear { floor: 1.5, ..Linear::default() };
        let error = schedule.build(&Place::key("stage.train.schedule")).err().unwrap();
        assert_eq!(error.faults[0].place.key.as_deref(), Some("stage.train.schedule.floor"));
    }
}
