//! The same rate throughout.

use super::{Schedule, rise, warmup};
use metier_core::part::{Build, Part};
use metier_core::{Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// # What it does
/// Holds the optimizer's rate at its full value after a linear warm-up.
///
/// # How
/// With `w` warm-up steps, the share of the rate at step `s` (counted from 0) is `(s + 1) / w` while `s < w`,
/// and 1 from there on.
///
/// # When to use
/// For runs whose length is not known beforehand, and for comparisons in which the schedule should not matter.
/// For a run of known length [`Cosine`](super::Cosine) or [`Linear`](super::Linear) usually end lower.
///
/// # Differs from the paper in
/// The first step is taken with a share of `1 / w`, not 0, so that no step is without effect.
///
/// # Source
/// Common practice; the linear warm-up is described in Goyal et al., *Accurate, Large Minibatch SGD*,
/// arXiv:1706.02677, section 2.2.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Constant {
    /// Number of steps over which the rate rises; takes the place of `warmup_fraction` when set.
    pub warmup_steps: Option<u64>,
    /// Share of all steps over which the rate rises.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub warmup_fraction: f64,
}

impl Default for Constant {
    fn default() -> Self {
        Self { warmup_steps: None, warmup_fraction: 0.05 }
    }
}

impl Schedule for Constant {
    fn factor(&self, step: u64, steps: u64) -> f64 {
        rise(step, warmup(self.warmup_steps, self.warmup_fraction, steps), steps).unwrap_or(1.0)
    }
}

impl Build<dyn Schedule> for Constant {
    fn build(self, place: &Place) -> Result<Box<dyn Schedule>> {
        super::check(place, &[("warmup_fraction", self.warmup_fraction)])?;
        Ok(Box::new(self))
    }
}

/// The record of `constant`.
pub static PART: Part<dyn Schedule> = Part::of::<Constant>("constant", 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_then_stays() {
        let schedule = Constant { warmup_steps: Some(4), ..Constant::default() };
        let factors: Vec<f64> = (0..6).map(|step| schedule.factor(step, 6)).collect();
        assert_eq!(factors, [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn a_fraction_is_of_all_steps() {
        let schedule = Constant { warmup_steps: None, warmup_fraction: 0.2 };
        let factors: Vec<f64> = (0..4).map(|step| schedule.factor(step, 10)).collect();
        assert_eq!(factors, [0.5, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn no_warmup_is_full_rate_at_once() {
        let schedule = Constant { warmup_steps: Some(0), ..Constant::default() };
        assert!((schedule.factor(0, 10) - 1.0).abs() < f64::EPSILON);
    }
}
