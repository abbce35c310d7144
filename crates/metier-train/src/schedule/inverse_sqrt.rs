//! A rate that falls with the root of the steps.

use super::{Schedule, warmup};
use metier_core::part::{Build, Part};
use metier_core::{Fault, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// # What it does
/// Lets the rate rise to its full value and then fall as one over the root of the step, without an end.
///
/// # How
/// With `w` warm-up steps, the share of the rate at step `s` (counted from 0) is `(s + 1) / w` while `s < w`, and from there on
/// `√(t / (t + s - w))`, where `t` is `timescale`, or `w` where that is left out.
///
/// # When to use
/// When it is not known how long a run will be: what comes next does not depend on the number of steps.
///
/// # Differs from the paper in
/// The rate's greatest value is a setting, not the root of the model's width. The first step is taken with a share of `1 / w`, not 0.
///
/// # Source
/// Vaswani et al., *Attention Is All You Need*, arXiv:1706.03762, section 5.3; `timescale`: Zhai et al., *Scaling Vision Transformers*,
/// arXiv:2106.04560, section 3.5.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct InverseSqrt {
    /// Number of steps over which the rate rises; takes the place of `warmup_fraction` when set.
    pub warmup_steps: Option<u64>,
    /// Share of all steps over which the rate rises.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub warmup_fraction: f64,
    /// Steps in which the rate falls to `1 / √2`, at least 1.
    #[schemars(range(min = 1))]
    pub timescale: Option<u64>,
}

impl Default for InverseSqrt {
    fn default() -> Self {
        Self { warmup_steps: None, warmup_fraction: 0.05, timescale: None }
    }
}

impl Schedule for InverseSqrt {
    fn factor(&self, step: u64, steps: u64) -> f64 {
        let rising = warmup(self.warmup_steps, self.warmup_fraction, steps);
        if step < rising {
            return (step + 1) as f64 / rising as f64;
        }
        let timescale = self.timescale.unwrap_or(rising).max(1) as f64;
        (timescale / (timescale + (step - rising) as f64)).sqrt()
    }
}

impl Build<dyn Schedule> for InverseSqrt {
    fn build(self, place: &Place) -> Result<Box<dyn Schedule>> {
        super::check(place, &[("warmup_fraction", self.warmup_fraction)])?;
        if self.timescale == Some(0) {
            let place = crate::settings::key_place(place, "timescale");
            return Err(Fault::new(place, "0 is out of range").hint("it is at least 1").into());
        }
        Ok(Box::new(self))
    }
}

/// The record of `inverse_sqrt`.
pub static PART: Part<dyn Schedule> = Part::of::<InverseSqrt>("inverse_sqrt", 1);
