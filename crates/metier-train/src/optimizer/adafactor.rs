//! Adaptive steps with a number for each row and column in place of one for each weight.

use super::{Optimizer, Update, Weights};
use crate::settings::key_place;
use metier_core::part::{Build, Part};
use metier_core::{Error, Fault, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Added to each squared gradient.
const SQUARE: f32 = 1e-30;
/// The least size of weights that the rate is multiplied with.
const SIZE: f64 = 1e-3;

/// # What it does
/// As `adamw`, but of a matrix the mean of squared gradients is kept by row and by column, so that it takes next to no memory.
///
/// # How
/// With gradient `g`, step `t` from 1 and `beta2 = 1 - t^-power`: `R ← beta2 R + (1 - beta2) mean over columns of (g² + 1e-30)`, `C` likewise over rows,
/// `u = g / √(R C / mean R)`; of other tensors `V` is kept whole and `u = g / √V`. `u ← u / max(1, rms(u) / clip)`; the rate `r` is multiplied by
/// `max(1e-3, rms(x))` where `relative`; then `u ← r u`, `m ← beta1 m + (1 - beta1) u` in its place where `beta1` is above 0, `x ← x - decay r x - u`.
///
/// # When to use
/// All weights are trained and memory is short. With `relative` the rate is a share of a weight's own size, 0.01 for example.
///
/// # Differs from the paper in
/// The rate is that of the schedule. Steps are those of the program in transformers with `relative_step` off. `decay` is not applied to tensors of one dimension
/// (norms, biases).
///
/// # Source
/// Shazeer and Stern, *Adafactor: Adaptive Learning Rates with Sublinear Memory Cost*, arXiv:1804.04235, algorithms 4 and 5.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Adafactor {
    /// Rate at the schedule's full share.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub rate: f64,
    /// Whether the rate is a share of the size of the weights.
    pub relative: bool,
    /// The largest root of the mean square of a step, before the rate.
    #[schemars(range(min = 1e-6, max = 1e6))]
    pub clip: f64,
    /// How fast the memory of squared gradients grows with steps.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub power: f64,
    /// Share of the old running mean of steps that is kept; 0 keeps no such mean.
    #[schemars(range(min = 0.0, max = 0.999_999))]
    pub beta1: f64,
    /// How fast matrices shrink: a step takes away this share of a weight, times the rate.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub decay: f64,
}

impl Default for Adafactor {
    fn default() -> Self {
        Self { rate: 0.01, relative: true, clip: 1.0, power: 0.8, beta1: 0.0, decay: 0.0 }
    }
}

impl Optimizer for Adafactor {
    fn rate(&self) -> f64 {
        self.rate
    }

    fn state(&self, weights: Weights<'_>) -> Vec<usize> {
        let mut lengths = match *weights.shape {
            [rows, columns] => vec![rows, columns],
            _ => vec![weights.len()],
        };
        if self.beta1 > 0.0 {
            lengths.push(weights.len());
        }
        lengths
    }

    fn step(&self, update: Update<'_>) -> Result<()> {
        let Update { weights, parameter, gradient, state, rate, scale, step } = update;
        let rate = if self.relative { rate * root_mean_square(parameter).max(SIZE) } else { rate };
        let old = (1.0 - (step as f64).powf(-self.power)) as f32;
        let mean = |kept: &mut f32, new: f32| *kept = old * *kept + (1.0 - old) * new;
        let square = |gradient: f32| (scale * gradient).powi(2) + SQUARE;
        let kept = state.len();
        let fault = || Error::program(format!("Adafactor does not keep {kept} tensors of {:?}", weights.shape));
        let change = |of: &dyn Fn(usize) -> f32, parameter: &mut [f32], mean: Option<&mut [f32]>| {
            let squares: f64 = (0..gradient.len()).map(|at| f64::from(scale * gradient[at] * of(at)).powi(2)).sum();
            let size = (squares / gradient.len().max(1) as f64).sqrt();
            let factor = (rate / (size / self.clip).max(1.0)) as f32;
            let keep = if weights.decays() { (1.0 - rate * self.decay) as f32 } else { 1.0 };
            let beta1 = self.beta1 as f32;
            let mut mean = mean.map(|mean| mean.iter_mut());
            for (at, x) in parameter.iter_mut().enumerate() {
                let mut u = factor * (scale * gradient[at] * of(at));
                if let Some(m) = mean.as_mut().and_then(Iterator::next) {
                    *m = beta1 * *m + (1.0 - beta1) * u;
                    u = *m;
                }
                *x = *x * keep - u;
            }
        };
        if let [_, columns] = *weights.shape {
            let [by_row, by_column, rest @ ..] = state else { return Err(fault()) };
            let columns = columns.max(1);
            for (row, kept) in gradient.chunks_exact(columns).zip(by_row.data_mut()) {
                let sum: f64 = row.iter().map(|gradient| f64::from(square(*gradient))).sum();
                mean(kept, (sum / columns as f64) as f32);
            }
            let rows = gradient.len() / columns;
            for (column, kept) in by_column.data_mut().iter_mut().enumerate() {
                let sum: f64 = (0..rows).map(|row| f64::from(square(gradient[row * columns + column]))).sum();
                mean(kept, (sum / rows.max(1) as f64) as f32);
            }
            let (by_row, by_column) = (by_row.data(), by_column.data());
            let middle = by_row.iter().map(|row| f64::from(*row)).sum::<f64>() / rows.max(1) as f64;
            let of = |at: usize| {
                let row = f64::from(by_row[at / columns]) / middle;
                (1.0 / row.sqrt()) as f32 / by_column[at % columns].sqrt()
            };
            change(&of, parameter, rest.first_mut().map(metier_compute::Tensor::data_mut));
        } else {
            let [squares, rest @ ..] = state else { return Err(fault()) };
            squares.data_mut().iter_mut().zip(gradient).for_each(|(kept, gradient)| mean(kept, square(*gradient)));
            let squares = squares.data();
            change(&|at| 1.0 / squares[at].sqrt(), parameter, rest.first_mut().map(metier_compute::Tensor::data_mut));
        }
        Ok(())
    }
}

fn root_mean_square(values: &[f32]) -> f64 {
    let squares: f64 = values.iter().map(|value| f64::from(*value).powi(2)).sum();
    (squares / values.len().max(1) as f64).sqrt()
}

impl Build<dyn Optimizer> for Adafactor {
    fn build(self, place: &Place) -> Result<Box<dyn Optimizer>> {
        let mut faults = Vec::new();
        let mut require = |key: &str, value: f64, good: bool, hint: &str| {
            if !good {
                faults.push(Fault::new(key_place(place, key), format!("{value} is out of range")).hint(hint));
            }
        };
        require("rate", self.rate, (0.0..=10.0).contains(&self.rate), "write a number from 0 to 10, such as 0.01");
        require("clip", self.clip, (1e-6..=1e6).contains(&self.clip), "write a number above 0, such as 1.0");
        require("power", self.power, (0.0..=1.0).contains(&self.power), "write a number from 0 to 1, such as 0.8");
        require("beta1", self.beta1, (0.0..1.0).contains(&self.beta1), "write a number from 0 to below 1");
        require("decay", self.decay, (0.0..=10.0).contains(&self.decay), "write a number from 0 to 10");
        Error::collect(Box::new(self) as Box<dyn Optimizer>, faults)
    }
}

/// The record of `adafactor`.
pub static PART: Part<dyn Optimizer> = Part::of::<Adafactor>("adafactor", 1);
