//! Adam with the decay of weights taken out of the gradient.

use super::{Optimizer, Update, Weights};
use crate::settings::key_place;
use metier_compute::op::{self, AdamwStep};
use metier_core::part::{Build, Part};
use metier_core::{Error, Fault, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// # What it does
/// Moves each weight along a running mean of its gradient, divided by the root of a running mean of its
/// square, and pulls matrices toward zero at a rate of their own.
///
/// # How
/// With gradient `g`, rate `r` and step `t` from 1: `x ← x - r decay x`, `m ← beta1 m + (1 - beta1) g`,
/// `v ← beta2 v + (1 - beta2) g²`, `x ← x - r (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon)`.
/// Weights and both means are `f32`; a weight costs 12 bytes besides its gradient.
///
/// # When to use
/// The default for language models, whether all weights or adapters are trained. Adapters such as LoRA bear ten
/// times the rate of full training.
///
/// # Differs from the paper in
/// `decay` is multiplied with the scheduled rate, as in PyTorch, and is not applied to tensors of one dimension
/// (norms, biases).
///
/// # Source
/// Loshchilov and Hutter, *Decoupled Weight Decay Regularization*, arXiv:1711.05101, algorithm 2.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Adamw {
    /// Rate at the schedule's full share.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub rate: f64,
    /// Share of the old running mean of the gradient that a step keeps.
    #[schemars(range(min = 0.0, max = 0.999_999))]
    pub beta1: f64,
    /// Share of the old running mean of the squared gradient that a step keeps.
    #[schemars(range(min = 0.0, max = 0.999_999))]
    pub beta2: f64,
    /// Added to the root, so that a weight without gradient is not divided by zero.
    #[schemars(range(min = 1e-16, max = 1.0))]
    pub epsilon: f64,
    /// How fast matrices shrink: a step takes away this share of a weight, times the rate.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub decay: f64,
}

impl Default for Adamw {
    fn default() -> Self {
        Self { rate: 1e-4, beta1: 0.9, beta2: 0.95, epsilon: 1e-8, decay: 0.01 }
    }
}

impl Optimizer for Adamw {
    fn rate(&self) -> f64 {
        self.rate
    }

    fn state(&self, weights: Weights<'_>) -> Vec<usize> {
        vec![weights.len(); 2]
    }

    fn step(&self, update: Update<'_>) -> Result<()> {
        self.step_by(op::adamw_step, update)
    }
}

impl Adamw {
    /// A step by an operation that takes weights, gradient and both means.
    pub(super) fn step_by(&self, step_by: StepBy, update: Update<'_>) -> Result<()> {
        let Update { weights, parameter, gradient, state, rate, scale, step } = update;
        let [m, v] = state else {
            return Err(Error::program(format!("AdamW keeps 2 means, not {}", state.len())));
        };
        let numbers = AdamwStep {
            rate: rate as f32,
            scale,
            beta1: self.beta1 as f32,
            beta2: self.beta2 as f32,
            epsilon: self.epsilon as f32,
            decay: if weights.decays() { self.decay as f32 } else { 0.0 },
            step,
        };
        step_by(parameter, gradient, m.data_mut(), v.data_mut(), &numbers)
    }

    /// Refuses numbers out of their ranges, all of them together.
    pub(super) fn check(&self, place: &Place) -> Result<()> {
        let mut faults = Vec::new();
        let mut require = |key: &str, value: f64, good: bool, hint: &str| {
            if !good {
                faults.push(Fault::new(key_place(place, key), format!("{value} is out of range")).hint(hint));
            }
        };
        require("rate", self.rate, (0.0..=10.0).contains(&self.rate), "write a number from 0 to 10, such as 1e-4");
        require("beta1", self.beta1, (0.0..1.0).contains(&self.beta1), "write a number from 0 to below 1, such as 0.9");
        require(
            "beta2",
            self.beta2,
            (0.0..1.0).contains(&self.beta2),
            "write a number from 0 to below 1, such as 0.95",
        );
        require(
            "epsilon",
            self.epsilon,
            self.epsilon > 0.0 && self.epsilon <= 1.0,
            "write a small number above 0, such as 1e-8",
        );
        require("decay", self.decay, (0.0..=10.0).contains(&self.decay), "write a number from 0 to 10, such as 0.01");
        Error::collect((), faults)
    }
}

type StepBy = fn(&mut [f32], &[f32], &mut [f32], &mut [f32], &AdamwStep) -> Result<()>;

impl Build<dyn Optimizer> for Adamw {
    fn build(self, place: &Place) -> Result<Box<dyn Optimizer>> {
        self.check(place)?;
        Ok(Box::new(self))
    }
}

/// The record of `adamw`.
pub static PART: Part<dyn Optimizer> = Part::of::<Adamw>("adamw", 1);
