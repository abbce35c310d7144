//! Steps in which every direction of a matrix counts alike.

use super::{Adamw, Optimizer, Update, Weights};
use crate::settings::key_place;
use metier_compute::op;
use metier_compute::{Parameters, Tape, Tensor};
use metier_core::part::{Build, Part};
use metier_core::{Error, Fault, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Of the polynomial that is iterated: chosen by its authors so that small singular values grow fast.
const COEFFICIENTS: [f32; 3] = [3.4445, -4.775, 2.0315];
/// The least length that a matrix is divided by.
const LEAST: f64 = 1e-7;

/// # What it does
/// Moves each matrix along a running mean of its gradient whose singular values have been made equal, nearly. Embeddings, the head and
/// tensors of one dimension are changed by `adamw`.
///
/// # How
/// With gradient `g` and rate `r`: `m ← m + (1 - momentum) (g - m)`, `u = g + momentum (m - g)` where `nesterov`, else `m`. `X = u / |u|`, turned so that it is not
/// taller than wide, becomes `a X + (b X Xᵀ + c (X Xᵀ)²) X`, `iterations` times, with `a = 3.4445`, `b = -4.775`, `c = 2.0315`. Then
/// `x ← x - r decay x`, `x ← x - r √max(1, rows / columns) X`, or `r 0.2 √max(rows, columns)` where `match_adamw`. A weight costs 4 bytes besides its gradient.
///
/// # When to use
/// To train all weights of a model: it often needs fewer steps than `adamw`, and each costs some more. With `match_adamw` rates are those
/// of `adamw`.
///
/// # Differs from the paper in
/// Products are in `f32` where the author's program rounds to `bf16`. The mean is one that forgets, as in PyTorch, not a sum.
///
/// # Source
/// Jordan et al., *Muon: An optimizer for hidden layers in neural networks*, 2024. `match_adamw`: Liu et al., *Muon is Scalable for LLM Training*,
/// arXiv:2502.16982, section 2.2.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Muon {
    /// Rate at the schedule's full share.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub rate: f64,
    /// Share of the old running mean that a step keeps.
    #[schemars(range(min = 0.0, max = 0.999_999))]
    pub momentum: f64,
    /// Whether a step looks ahead along the running mean.
    pub nesterov: bool,
    /// How often the polynomial is applied.
    #[schemars(range(min = 1, max = 20))]
    pub iterations: u32,
    /// How fast matrices shrink: a step takes away this share of a weight, times the rate.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub decay: f64,
    /// Whether steps are as long as those of `adamw` are.
    pub match_adamw: bool,
    /// What changes embeddings, the head and tensors of one dimension; its rate follows the same schedule.
    pub adamw: Adamw,
}

impl Default for Muon {
    fn default() -> Self {
        Self {
            rate: 0.02,
            momentum: 0.95,
            nesterov: true,
            iterations: 5,
            decay: 0.1,
            match_adamw: false,
            adamw: Adamw::default(),
        }
    }
}

impl Optimizer for Muon {
    fn rate(&self) -> f64 {
        self.rate
    }

    fn state(&self, weights: Weights<'_>) -> Vec<usize> {
        match weights.hidden_matrix() {
            Some((rows, columns)) => vec![rows * columns],
            None => self.adamw.state(weights),
        }
    }

    fn step(&self, update: Update<'_>) -> Result<()> {
        let Some((rows, columns)) = update.weights.hidden_matrix() else {
            let share = if self.rate > 0.0 { update.rate / self.rate } else { 0.0 };
            return self.adamw.step(Update { rate: self.adamw.rate * share, ..update });
        };
        let Update { parameter, gradient, state, rate, scale, .. } = update;
        let [mean] = state else { return Err(Error::program(format!("Muon keeps 1 mean, not {}", state.len()))) };
        let momentum = self.momentum as f32;
        let mut direction = Tensor::zeros(&[rows, columns])?;
        for ((u, g), m) in direction.data_mut().iter_mut().zip(gradient).zip(mean.data_mut()) {
            let g = scale * g;
            *m += (1.0 - momentum) * (g - *m);
            *u = if self.nesterov { g + momentum * (*m - g) } else { *m };
        }
        let direction = self.leveled(direction, rows > columns)?;
        let ratio = if self.match_adamw {
            0.2 * (rows.max(columns) as f64).sqrt()
        } else {
            (rows as f64 / columns as f64).max(1.0).sqrt()
        };
        let (keep, rate) = ((1.0 - rate * self.decay) as f32, (rate * ratio) as f32);
        for (x, u) in parameter.iter_mut().zip(direction.data()) {
            *x = *x * keep - rate * u;
        }
        Ok(())
    }
}

impl Muon {
    /// A matrix with its singular values made equal, nearly; `is_tall` when it has more rows than columns.
    fn leveled(&self, mut x: Tensor, is_tall: bool) -> Result<Tensor> {
        let squares: f64 = x.data().iter().map(|value| f64::from(*value).powi(2)).sum();
        let factor = (1.0 / squares.sqrt().max(LEAST)) as f32;
        x.data_mut().iter_mut().for_each(|value| *value *= factor);
        if is_tall {
            x = turned(x)?;
        }
        let [a, b, c] = COEFFICIENTS;
        for _ in 0..self.iterations {
            let gram = product(&x, &x)?;
            let mut inner = product(&gram, &gram)?;
            inner.data_mut().iter_mut().zip(gram.data()).for_each(|(square, gram)| *square = b * gram + c * *square);
            let added = product(&inner, &turned(x.clone())?)?;
            x.data_mut().iter_mut().zip(added.data()).for_each(|(x, added)| *x = a * *x + added);
        }
        if is_tall { turned(x) } else { Ok(x) }
    }
}

/// `x weight^T`.
fn product(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let none = Parameters::new();
    let mut tape = Tape::inference(&none);
    let (x, weight) = (tape.constant(x.clone()), tape.constant(weight.clone()));
    let y = op::linear(&mut tape, x, weight, None)?;
    Ok(tape.value(y)?.clone())
}

/// Rows for columns.
fn turned(x: Tensor) -> Result<Tensor> {
    let none = Parameters::new();
    let mut tape = Tape::inference(&none);
    let x = tape.constant(x);
    let y = op::permute(&mut tape, x, &[1, 0])?;
    Ok(tape.value(y)?.clone())
}

impl Build<dyn Optimizer> for Muon {
    fn build(self, place: &Place) -> Result<Box<dyn Optimizer>> {
        let mut faults = Vec::new();
        let mut require = |key: &str, value: f64, good: bool, hint: &str| {
            if !good {
                faults.push(Fault::new(key_place(place, key), format!("{value} is out of range")).hint(hint));
            }
        };
        require("rate", self.rate, (0.0..=10.0).contains(&self.rate), "write a number from 0 to 10, such as 0.02");
        require(
            "momentum",
            self.momentum,
            (0.0..1.0).contains(&self.momentum),
            "write a number from 0 to below 1, such as 0.95",
        );
        require(
            "iterations",
            f64::from(self.iterations),
            (1..=20).contains(&self.iterations),
            "write a whole number from 1 to 20, such as 5",
        );
        require("decay", self.decay, (0.0..=10.0).contains(&self.decay), "write a number from 0 to 10, such as 0.1");
        if let Err(error) = self.adamw.check(&key_place(place, "adamw")) {
            faults.extend(error.faults);
        }
        Error::collect(Box::new(self) as Box<dyn Optimizer>, faults)
    }
}

/// The record of `muon`.
pub static PART: Part<dyn Optimizer> = Part::of::<Muon>("muon", 1);
