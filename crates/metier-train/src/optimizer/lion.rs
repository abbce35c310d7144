//! Steps of one size, along the sign of a running mean.

use super::{Optimizer, Update, Weights};
use crate::settings::key_place;
use metier_core::part::{Build, Part};
use metier_core::{Error, Fault, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// # What it does
/// Moves every weight by the same length, up or down as a running mean of its gradient says, and pulls matrices toward zero.
///
/// # How
/// With gradient `g` and rate `r`: `c = beta1 m + (1 - beta1) g`, `x ← x - r decay x`, `x ← x - r sign(c)`, `m ← beta2 m + (1 - beta2) g`; `sign(0)` is 0.
/// A weight costs 4 bytes besides its gradient, where `adamw` takes 8.
///
/// # When to use
/// When memory is short and batches are large. It wants a third to a tenth of `adamw`'s rate, and as many times its decay.
///
/// # Differs from the paper in
/// `decay` is not applied to tensors of one dimension (norms, biases).
///
/// # Source
/// Chen et al., *Symbolic Discovery of Optimization Algorithms*, arXiv:2302.06675, algorithm 2.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Lion {
    /// Rate at the schedule's full share.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub rate: f64,
    /// Share of the running mean in what decides the direction.
    #[schemars(range(min = 0.0, max = 0.999_999))]
    pub beta1: f64,
    /// Share of the old running mean that a step keeps.
    #[schemars(range(min = 0.0, max = 0.999_999))]
    pub beta2: f64,
    /// How fast matrices shrink: a step takes away this share of a weight, times the rate.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub decay: f64,
}

impl Default for Lion {
    fn default() -> Self {
        Self { rate: 2e-5, beta1: 0.9, beta2: 0.99, decay: 0.1 }
    }
}

impl Optimizer for Lion {
    fn rate(&self) -> f64 {
        self.rate
    }

    fn state(&self, weights: Weights<'_>) -> Vec<usize> {
        vec![weights.len()]
    }

    fn step(&self, update: Update<'_>) -> Result<()> {
        let Update { weights, parameter, gradient, state, rate, scale, .. } = update;
        let [mean] = state else { return Err(Error::program(format!("Lion keeps 1 mean, not {}", state.len()))) };
        let keep = 1.0 - if weights.decays() { (rate * self.decay) as f32 } else { 0.0 };
        let (rate, beta1, beta2) = (rate as f32, self.beta1 as f32, self.beta2 as f32);
        for ((x, g), m) in parameter.iter_mut().zip(gradient).zip(mean.data_mut()) {
            let g = scale * g;
            let direction = beta1 * *m + (1.0 - beta1) * g;
            let sign = f32::from(i8::from(direction > 0.0) - i8::from(direction < 0.0));
            *x = *x * keep - rate * sign;
            *m = beta2 * *m + (1.0 - beta2) * g;
        }
        Ok(())
    }
}

impl Build<dyn Optimizer> for Lion {
    fn build(self, place: &Place) -> Result<Box<dyn Optimizer>> {
        let mut faults = Vec::new();
        let mut require = |key: &str, value: f64, most: f64, hint: &str| {
            if !(0.0..=most).contains(&value) {
                faults.push(Fault::new(key_place(place, key), format!("{value} is out of range")).hint(hint));
            }
        };
        require("rate", self.rate, 10.0, "write a number from 0 to 10, such as 2e-5");
        require("beta1", self.beta1, 0.999_999, "write a number from 0 to below 1, such as 0.9");
        require("beta2", self.beta2, 0.999_999, "write a number from 0 to below 1, such as 0.99");
        require("decay", self.decay, 10.0, "write a number from 0 to 10, such as 0.1");
        Error::collect(Box::new(self) as Box<dyn Optimizer>, faults)
    }
}

/// The record of `lion`.
pub static PART: Part<dyn Optimizer> = Part::of::<Lion>("lion", 1);
