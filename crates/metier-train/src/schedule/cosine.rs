//! A rate that falls along half a cosine.

use super::{Schedule, rise, warmup};
use metier_core::part::{Build, Part};
use metier_core::{Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// # What it does
/// Lets the rate fall from its full value to a floor along half a cosine, after a linear warm-up.
///
/// # How
/// With `w` warm-up steps of `n`, the share of the rate at step `s` (counted from 0) is `(s + 1) / w` while
/// `s < w`; from there on, with `p = (s - w) / (n - w)`, it is
/// `floor + (1 - floor) (1 + cos(pi p)) / 2`.
///
/// # When to use
/// The usual choice for (continued) pretraining over a known number of steps: slow change at both ends, most of
/// the fall in the middle.
///
/// # Differs from the paper in
/// One period only, no restarts, and a floor given as a share of the full rate. The first step is taken with
/// a share of `1 / w`, not 0.
///
/// # Source
/// Loshchilov and Hutter, *SGDR: Stochastic Gradient Descent with Warm Restarts*, arXiv:1608.03983, equation 5.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Cosine {
    /// Number of steps over which the rate rises; takes the place of `warmup_fraction` when set.
    pub warmup_steps: Option<u64>,
    /// Share of all steps over which the rate rises.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub warmup_fraction: f64,
    /// Share of the full rate that the fall tends to.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub floor: f64,
}

impl Default for Cosine {
    fn default() -> Self {
        Self { warmup_steps: None, warmup_fraction: 0.05, floor: 0.1 }
    }
}

impl Schedule for Cosine {
    fn factor(&self, step: u64, steps: u64) -> f64 {
        match rise(step, warmup(self.warmup_steps, self.warmup_fraction, steps), steps) {
            Ok(share) => share,
            Err(progress) => self.floor + (1.0 - self.floor) * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
        }
    }
}

impl Build<dyn Schedule> for Cosine {
    fn build(self, place: &Place) -> Result<Box<dyn Schedule>> {
        super::check(place, &[("warmup_fraction", self.warmup_fraction), ("floor", self.floor)])?;
        Ok(Box::new(self))
    }
}

/// The record of `cosine`.
pub static PART: Part<dyn Schedule> = Part::of::<Cosine>("cosine", 1);

#[cfg(test)]
mod tests {
    use super::*;

    /// Worked by hand: cos(0) = 1, cos(pi/4) = 0.70710678, cos(pi/2) = 0, cos(3 pi/4) = -0.70710678.
    #[test]
    fn falls_along_half_a_cosine() {
        let schedule = Cosine { warmup_steps: Some(2), floor: 0.2, ..Cosine::default() };
        let expected = [0.5, 1.0, 1.0, 0.882_842_71, 0.6, 0.317_157_29];
        for (step, expected) in expected.into_iter().enumerate() {
            let factor = schedule.factor(step as u64, 6);
            assert!((factor - expected).abs() < 1e-8, "step {step}: {factor} for {expected}");
        }
    }

    #[test]
    fn past_the_end_is_the_floor() {
        let schedule = Cosine { warmup_steps: Some(0), floor: 0.1, ..Cosine::default() };
        assert!((schedule.factor(12, 10) - 0.1).abs() < 1e-12);
    }

    #[test]
    fn warmup_longer_than_the_run_is_cut() {
        let schedule = Cosine { warmup_steps: Some(100), ..Cosine::default() };
        assert!((schedule.factor(9, 10) - 1.0).abs() < 1e-12);
    }
}
