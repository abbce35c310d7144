//! Prefer one reply to another, as far as the model did not before.

use super::preference::{self, Check, log_sigmoid, sigmoid};
use super::{Group, Objective, Other, Segment};
use metier_compute::{Tape, Var};
use metier_core::part::{Build, Part};
use metier_core::{Place, Result};
use metier_model::Decoder;
use metier_tokenizer::pack::Lesson;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// # What it does
/// Makes the chosen reply of a pair more likely than the rejected one, measured against the model as it was before.
///
/// # How
/// With `c` and `r` the log-probabilities of the learned tokens of the chosen and the rejected reply, and `c₀` and `r₀` the same to the reference,
/// `d = (c - c₀) - (r - r₀)`. A pair's loss is, with `s` the `label_smoothing`, for
/// `sigmoid`: `-(1 - s) ln σ(β d) - s ln σ(-β d)`, for
/// `robust`: `(-(1 - s) ln σ(β d) + s ln σ(-β d)) / (1 - 2 s)`, and for
/// `ipo`: `((c - c₀) / |c| - (r - r₀) / |r| - 1 / (2 β))²` with `|·|` the number of tokens.
/// The loss is the mean over pairs. The reference is the model without its adapter, which shares the weights, or where all
/// weights are trained a copy of them as they were; the stage may name another under `teacher`. Its passes are never differentiated.
///
/// # When to use
/// After instruction tuning, on rows of `prompt`, `chosen` and `rejected`. Rates are lower than in instruction tuning, 5e-7 to 5e-6 for all weights.
/// A larger `beta` keeps the model nearer to the reference. Where some pairs are wrong, `label_smoothing` says how many.
///
/// # Differs from the paper in
/// Nothing. `ipo` divides by lengths, which its paper does not, as TRL does after asking its authors.
///
/// # Source
/// Rafailov et al., *Direct Preference Optimization*, arXiv:2305.18290, equation 7. Smoothing: Mitchell, *A note on DPO with noisy
/// preferences*, 2023; `robust`: Chowdhury et al., arXiv:2403.00409, equation 10; `ipo`: Azar et al., arXiv:2310.12036, equation 17.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Dpo {
    /// What a pair's loss is.
    pub loss: DpoLoss,
    /// How strongly the model is held to the reference.
    #[schemars(range(min = 0.0))]
    pub beta: f64,
    /// The share of pairs that are taken to be the wrong way round, for `sigmoid` and `robust`.
    #[schemars(range(min = 0.0, max = 0.5))]
    pub label_smoothing: f64,
}

/// What a pair's loss is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DpoLoss {
    /// The logistic loss.
    #[default]
    Sigmoid,
    /// The logistic loss without the bias of wrong pairs.
    Robust,
    /// The squared distance from a margin.
    Ipo,
}

impl Default for Dpo {
    fn default() -> Self {
        Self { loss: DpoLoss::Sigmoid, beta: 0.1, label_smoothing: 0.0 }
    }
}

impl Build<dyn Objective> for Dpo {
    fn build(self, place: &Place) -> Result<Box<dyn Objective>> {
        let (mut check, smoothing) = (Check::new(place), self.label_smoothing);
        check.positive("beta", self.beta);
        let hint = if self.loss == DpoLoss::Ipo {
            "leave it out: `ipo` has none"
        } else {
            "write a number from 0 to below 0.5"
        };
        let is_good = (0.0..0.5).contains(&smoothing) && (self.loss != DpoLoss::Ipo || smoothing == 0.0);
        check.require("label_smoothing", smoothing, is_good, hint);
        check.done(Box::new(self))
    }
}

impl Objective for Dpo {
    fn batch(&self, segments: &[Segment]) -> Result<Group> {
        let (rows, verdicts) = preference::pairs(segments)?;
        Ok(Group { rows, verdicts, ..Group::default() })
    }

    fn loss<'p>(
        &self,
        decoder: &'p Decoder,
        tape: &mut Tape<'p>,
        group: &Group,
        other: Option<&Arc<Decoder>>,
    ) -> Result<Var> {
        let (beta, wrong) = (self.beta, self.label_smoothing);
        preference::loss(decoder, tape, &group.rows, other, |replies| {
            preference::mean_of_pairs(replies, |chosen, rejected| {
                let [up, down] = [chosen, rejected].map(|reply| reply.own - reply.reference);
                let margin = beta * (up - down);
                let (right, left) = (sigmoid(-margin), sigmoid(margin));
                let (loss, slope) = match self.loss {
                    DpoLoss::Sigmoid => (
                        -(1.0 - wrong) * log_sigmoid(margin) - wrong * log_sigmoid(-margin),
                        -(1.0 - wrong) * right + wrong * left,
                    ),
                    DpoLoss::Robust => {
                        let share = 1.0 / (1.0 - 2.0 * wrong);
                        (
                            share * (-(1.0 - wrong) * log_sigmoid(margin) + wrong * log_sigmoid(-margin)),
                            share * (-(1.0 - wrong) * right - wrong * left),
                        )
                    }
                    DpoLoss::Ipo => {
                        let far = up / chosen.tokens - down / rejected.tokens - 0.5 / beta;
                        return (far * far, [2.0 * far / chosen.tokens, -2.0 * far / rejected.tokens]);
                    }
                };
                (loss, [beta * slope, -beta * slope])
            })
        })
    }

    fn weight(&self, group: &Group) -> f64 {
        group.verdicts.len() as f64 / 2.0
    }

    fn other(&self) -> Other {
        Other::Reference
    }

    fn learns(&self, lesson: Lesson) -> bool {
        lesson == Lesson::Preferences
    }
}

/// The record of `dpo`.
pub static PART: Part<dyn Objective> = Part::of::<Dpo>("dpo", 1);
