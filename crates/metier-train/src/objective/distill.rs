//! Predict what another model predicts.

use super::{Causal, Group, Objective, Other, Segment};
use crate::settings::key_place;
use metier_compute::op::{self, Activation, Span};
use metier_compute::{Tape, Tensor, Var};
use metier_core::part::{Build, Part};
use metier_core::{Error, Fault, Place, Result};
use metier_model::Decoder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// # What it does
/// Teaches the model to give each token the probability that another model gives it.
///
/// # How
/// With `p` the teacher's and `q` the model's probabilities of the next token, both of logits divided by `temperature` `T`, a token's loss is `T²` times
/// `forward`: `KL(p ‖ q) = Σ p ln(p / q)`; `reverse`: `KL(q ‖ p)`; `jsd`: `mixture · KL(p ‖ m) + (1 - mixture) · KL(q ‖ m)` with `m =
/// mixture · p + (1 - mixture) · q`. The loss is `(1 - hard)` times the mean of that and `hard` times that of `causal`. Rows are those of
/// `causal`. Both models see the whole vocabulary, for a few rows at a time, which are computed again for the gradient.
///
/// # When to use
/// To make a small model of a large one, or to keep a model near to what it was while it learns. `reverse` makes it sure of what it
/// can do, `forward` makes it cover all that the teacher does. The stage names the teacher under `teacher`.
///
/// # Differs from the paper in
/// Texts are given; none are drawn from the model. `T²` keeps gradients as long as they are without a temperature, as
/// in Hinton's paper; TRL leaves it out.
///
/// # Source
/// Hinton, Vinyals and Dean, *Distilling the Knowledge in a Neural Network*, arXiv:1503.02531, section 2; Gu et al., *`MiniLLM`*, arXiv:2306.08543
/// (reverse); Agarwal et al., *On-Policy Distillation of Language Models*, arXiv:2306.13649, equation 1 (jsd).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Distill {
    /// How far both are apart.
    pub divergence: Divergence,
    /// What both models' logits are divided by.
    #[schemars(range(min = 0.0))]
    pub temperature: f64,
    /// The teacher's share of the mixture, for `jsd`.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub mixture: f64,
    /// The share of the loss of the text's own tokens.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub hard: f64,
}

/// How far two distributions are apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Divergence {
    /// From the teacher to the model.
    #[default]
    Forward,
    /// From the model to the teacher.
    Reverse,
    /// Of both from their mixture.
    Jsd,
}

impl Default for Distill {
    fn default() -> Self {
        Self { divergence: Divergence::default(), temperature: 1.0, mixture: 0.5, hard: 0.0 }
    }
}

impl Build<dyn Objective> for Distill {
    fn build(self, place: &Place) -> Result<Box<dyn Objective>> {
        let mut faults = Vec::new();
        let mut require = |key: &str, value: f64, is_good: bool, hint: &str| {
            if !is_good {
                faults.push(Fault::new(key_place(place, key), format!("{value} is out of range")).hint(hint));
            }
        };
        let temperature = self.temperature;
        require("temperature", temperature, temperature.is_finite() && temperature > 0.0, "write a number above 0");
        require("mixture", self.mixture, self.mixture > 0.0 && self.mixture < 1.0, "write a number between 0 and 1");
        require("hard", self.hard, (0.0..1.0).contains(&self.hard), "write a number from 0 to below 1");
        Error::collect(Box::new(self) as Box<dyn Objective>, faults)
    }
}

/// Rows whose logits stand in memory together.
const ROWS: usize = 64;

impl Objective for Distill {
    fn batch(&self, segments: &[Segment]) -> Result<Group> {
        Causal {}.batch(segments)
    }

    fn other(&self) -> Other {
        Other::Teacher
    }

    fn loss<'p>(
        &self,
        decoder: &'p Decoder,
        tape: &mut Tape<'p>,
        Group { rows: batch, .. }: &Group,
        teacher: Option<&Arc<Decoder>>,
    ) -> Result<Var> {
        let Some(teacher) = teacher else { return Err(Error::program("`distill` was not given its teacher")) };
        let taught = {
            let mut tape = Tape::inference(&teacher.parameters);
            let hidden = teacher.hidden(&mut tape, &batch.ids, &batch.positions, &batch.sequences)?;
            tape.value(hidden)?.clone()
        };
        let hidden = decoder.hidden(tape, &batch.ids, &batch.positions, &batch.sequences)?;
        let [rows, width] = [tape.shape(hidden)?[0], tape.shape(hidden)?[1]];
        let total: f64 = batch.weights.iter().copied().map(f64::from).sum();
        let soft = (1.0 - self.hard) * self.temperature * self.temperature;
        let mut sum = tape.constant(Tensor::zeros(&[1])?);
        for first in (0..rows).step_by(ROWS) {
            let here = first..rows.min(first + ROWS);
            let (of_teacher, settings, teacher) = (taught.shape()[1], self.clone(), Arc::clone(teacher));
            let numbers = taught.data()[here.start * of_teacher..here.end * of_teacher].to_vec();
            let taught = Tensor::from_vec(&[here.len(), of_teacher], numbers)?;
            let weights = batch.weights[here.clone()].iter().map(|weight| (f64::from(*weight) * soft / total) as f32);
            let weights = Tensor::from_vec(&[here.len(), 1], weights.collect())?;
            let some = op::slice(tape, hidden, &[Span::from(here), (0..width).into()])?;
            let part = tape.checkpoint(&[some], move |tape, inputs| {
                let logits = decoder.logits_on(tape, inputs[0])?;
                let teachers = tape.constant(teacher.logits(&taught)?);
                let apart = settings.apart(tape, teachers, logits)?;
                let weights = tape.constant(weights.clone());
                let weighted = op::multiply(tape, apart, weights)?;
                let sum = op::sum(tape, weighted)?;
                op::reshape(tape, sum, &[1])
            })?;
            sum = op::add(tape, sum, part)?;
        }
        if self.hard <= 0.0 {
            return Ok(sum);
        }
        let own = decoder.loss(tape, batch)?;
        let own = op::reshape(tape, own, &[1])?;
        let own = op::scale(tape, own, self.hard as f32)?;
        op::add(tape, sum, own)
    }
}

impl Distill {
    /// How far apart the teacher and the model are in each row: `[rows, vocabulary]` of logits to `[rows, 1]`.
    fn apart(&self, tape: &mut Tape<'_>, teacher: Var, own: Var) -> Result<Var> {
        let cold = (1.0 / self.temperature) as f32;
        let mut log = |logits: Var| {
            let logits = op::scale(tape, logits, cold)?;
            op::log_softmax(tape, logits)
        };
        let (log_p, log_q) = (log(teacher)?, log(own)?);
        match self.divergence {
            Divergence::Forward => divergence(tape, log_p, log_q),
            Divergence::Reverse => divergence(tape, log_q, log_p),
            Divergence::Jsd => {
                let share = self.mixture as f32;
                let mut part = |log: Var, share: f32| {
                    let probabilities = op::activation(tape, log, Activation::Exp)?;
                    op::scale(tape, probabilities, share)
                };
                let (p, q) = (part(log_p, share)?, part(log_q, 1.0 - share)?);
                let mixture = op::add(tape, p, q)?;
                // What neither gives a probability that a number can hold counts for nothing, and has a logarithm.
                let mixture = op::clamp(tape, mixture, f32::MIN_POSITIVE, f32::MAX)?;
                let log_m = op::activation(tape, mixture, Activation::Log)?;
                let of_p = divergence(tape, log_p, log_m)?;
                let of_p = op::scale(tape, of_p, share)?;
                let of_q = divergence(tape, log_q, log_m)?;
                let of_q = op::scale(tape, of_q, 1.0 - share)?;
                op::add(tape, of_p, of_q)
            }
        }
    }
}

/// `Σ p ln(p / q)` of each row, given logarithms.
pub(crate) fn divergence(tape: &mut Tape<'_>, log_p: Var, log_q: Var) -> Result<Var> {
    let p = op::activation(tape, log_p, Activation::Exp)?;
    let ratio = op::subtract(tape, log_p, log_q)?;
    let each = op::multiply(tape, p, ratio)?;
    op::sum_axis(tape, each, 1)
}

/// The record of `distill`.
pub static PART: Part<dyn Objective> = Part::of::<Distill>("distill", 1);
