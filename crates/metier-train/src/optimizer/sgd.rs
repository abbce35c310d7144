//! Steps along the gradient, with momentum.

use super::{Optimizer, Update, Weights};
use crate::settings::key_place;
use metier_core::part::{Build, Part};
use metier_core::{Error, Fault, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// # What it does
/// Moves each weight against its gradient, or against a running sum of its gradients.
///
/// # How
/// With gradient `g` and rate `r`: `g ← g + decay x`, `v ← momentum v + g`, `x ← x - r v`, or `x ← x - r (g + momentum v)` where `nesterov`.
/// Without momentum nothing is kept.
///
/// # When to use
/// When there is no memory for what other optimizers keep, or for comparison: language models learn slowly with it.
///
/// # Differs from the paper in
/// The rate is outside the sum, as in PyTorch. `decay` is not applied to tensors of one dimension (norms, biases).
///
/// # Source
/// Sutskever et al., *On the importance of initialization and momentum in deep learning*, ICML 2013, section 2.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sgd {
    /// Rate at the schedule's full share.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub rate: f64,
    /// Share of the old running sum that a step keeps.
    #[schemars(range(min = 0.0, max = 0.999_999))]
    pub momentum: f64,
    /// Whether a step looks ahead along the running sum.
    pub nesterov: bool,
    /// What is added to the gradient of a matrix, as a share of the weight.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub decay: f64,
}

impl Default for Sgd {
    fn default() -> Self {
        Self { rate: 0.1, momentum: 0.9, nesterov: false, decay: 0.0 }
    }
}

impl Optimizer for Sgd {
    fn rate(&self) -> f64 {
        self.rate
    }

    fn state(&self, weights: Weights<'_>) -> Vec<usize> {
        if self.momentum > 0.0 { vec![weights.len()] } else { Vec::new() }
    }

    fn step(&self, update: Update<'_>) -> Result<()> {
        let Update { weights, parameter, gradient, state, rate, scale, .. } = update;
        let (rate, momentum) = (rate as f32, self.momentum as f32);
        let decay = if weights.decays() { self.decay as f32 } else { 0.0 };
        match state {
            [] => {
                for (x, g) in parameter.iter_mut().zip(gradient) {
                    *x -= rate * (scale * g + decay * *x);
                }
            }
            [sums] => {
                for ((x, g), v) in parameter.iter_mut().zip(gradient).zip(sums.data_mut()) {
                    let g = scale * g + decay * *x;
                    *v = momentum * *v + g;
                    *x -= rate * if self.nesterov { g + momentum * *v } else { *v };
                }
            }
            _ => return Err(Error::program(format!("SGD keeps 1 sum, not {}", state.len()))),
        }
        Ok(())
    }
}

impl Build<dyn Optimizer> for Sgd {
    fn build(self, place: &Place) -> Result<Box<dyn Optimizer>> {
        let mut faults = Vec::new();
        let mut require = |key: &str, value: f64, most: f64, hint: &str| {
            if !(0.0..=most).contains(&value) {
                faults.push(Fault::new(key_place(place, key), format!("{value} is out of range")).hint(hint));
            }
        };
        require("rate", self.rate, 100.0, "write a number from 0 to 100, such as 0.1");
        require("momentum", self.momentum, 0.999_999, "write a number from 0 to below 1, such as 0.9");
        require("decay", self.decay, 10.0, "write a number from 0 to 10");
        if self.nesterov && self.momentum <= 0.0 {
            let fault = Fault::new(key_place(place, "nesterov"), "there is nothing to look ahead along");
            faults.push(fault.hint("set `momentum` above 0"));
        }
        Error::collect(Box::new(self) as Box<dyn Optimizer>, faults)
    }
}

/// The record of `sgd`.
pub static PART: Part<dyn Optimizer> = Part::of::<Sgd>("sgd", 1);
