//! A rate that rises, stays, and falls at the end.

use super::{Schedule, rise, warmup};
use metier_core::part::{Build, Part};
use metier_core::{Error, Fault, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// # What it does
/// Lets the rate rise, keeps it at its full value, and lets it fall to a floor in the last steps (warm-up, stable, decay).
///
/// # How
/// With `w` warm-up steps of `n` and `d` steps of falling, the share of the rate at step `s` (counted from 0) is `(s + 1) / w` while `s < w`, 1
/// until step `n - d`, and from there `floor + (1 - floor) f(p)` with `p = (s - (n - d)) / d` and `f` as `shape` says: `1 - p`, `(1 + cos(pi p)) / 2`, or `1 - √p`.
///
/// # When to use
/// When a run may be continued with more text: go on from what it was before the fall. It reaches what `cosine` reaches.
///
/// # Differs from the paper in
/// The paper's fall is exponential; a linear one and one minus the root do as well (Hägele et al.).
///
/// # Source
/// Hu et al., *`MiniCPM`*, arXiv:2404.06395, section 4; Hägele et al., *Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations*,
/// arXiv:2405.18392, section 3.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Wsd {
    /// Number of steps over which the rate rises; takes the place of `warmup_fraction` when set.
    pub warmup_steps: Option<u64>,
    /// Share of all steps over which the rate rises.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub warmup_fraction: f64,
    /// Share of all steps over which the rate falls.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub decay_fraction: f64,
    /// How it falls.
    pub shape: Fall,
    /// Share of the full rate that the fall tends to.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub floor: f64,
}

/// How a rate falls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fall {
    /// Along half a cosine.
    Cosine,
    /// By the same amount each step.
    #[default]
    Linear,
    /// As one minus the root of how far it has come: fast at first.
    OneMinusSqrt,
}

impl Default for Wsd {
    fn default() -> Self {
        Self { warmup_steps: None, warmup_fraction: 0.05, decay_fraction: 0.2, shape: Fall::default(), floor: 0.0 }
    }
}

impl Schedule for Wsd {
    fn factor(&self, step: u64, steps: u64) -> f64 {
        let rising = warmup(self.warmup_steps, self.warmup_fraction, steps);
        if let Ok(share) = rise(step, rising, steps) {
            return share;
        }
        let falling = ((self.decay_fraction * steps as f64).round() as u64).min(steps - rising);
        let Some(fallen) = step.checked_sub(steps - falling).filter(|_| falling > 0) else { return 1.0 };
        let progress = (fallen as f64 / falling as f64).min(1.0);
        let left = match self.shape {
            Fall::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
            Fall::Linear => 1.0 - progress,
            Fall::OneMinusSqrt => 1.0 - progress.sqrt(),
        };
        self.floor + (1.0 - self.floor) * left
    }
}

impl Build<dyn Schedule> for Wsd {
    fn build(self, place: &Place) -> Result<Box<dyn Schedule>> {
        let shares =
            [("warmup_fraction", self.warmup_fraction), ("decay_fraction", self.decay_fraction), ("floor", self.floor)];
        super::check(place, &shares)?;
        if self.warmup_steps.is_none() && self.warmup_fraction + self.decay_fraction > 1.0 {
            let place = crate::settings::key_place(place, "decay_fraction");
            let message =
                format!("{} and a warm-up of {} are more than the whole", self.decay_fraction, self.warmup_fraction);
            return Err(Error::from(Fault::new(place, message).hint("together they are at most 1")));
        }
        Ok(Box::new(self))
    }
}

/// The record of `wsd`.
pub static PART: Part<dyn Schedule> = Part::of::<Wsd>("wsd", 1);
