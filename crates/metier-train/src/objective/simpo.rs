//! Prefer one reply to another by a margin, without a reference.

use super::preference::{self, Check, log_sigmoid, sigmoid};
use super::{Group, Objective, Segment};
use metier_compute::{Tape, Var};
use metier_core::part::{Build, Part};
use metier_core::{Place, Result};
use metier_model::Decoder;
use metier_tokenizer::pack::Lesson;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// # What it does
/// Makes the tokens of the chosen reply of a pair more likely on average than those of the rejected one, by a margin.
///
/// # How
/// With `c̄` and `r̄` the mean log-probabilities of the learned tokens of the chosen and the rejected reply, a pair's loss is
/// `-ln σ(β (c̄ - r̄) - γ)`. The loss is the mean over pairs.
///
/// # When to use
/// Where a reference costs too much time, or where `dpo` makes replies longer: a mean does not grow with length. Without a reference nothing
/// holds the model to what it was, so keep the rate low (3e-7 to 1e-6 for all weights) and compare with the base.
///
/// # Differs from the paper in
/// Nothing.
///
/// # Source
/// Meng, Xia and Chen, *`SimPO`: Simple Preference Optimization with a Reference-Free Reward*, arXiv:2405.14734, equation 6.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Simpo {
    /// What mean log-probabilities are multiplied by: the β of the formula.
    #[schemars(range(min = 0.0))]
    pub beta: f64,
    /// By how much the chosen reply is to be ahead: the γ of the formula.
    #[schemars(range(min = 0.0))]
    pub margin: f64,
}

impl Default for Simpo {
    fn default() -> Self {
        Self { beta: 2.0, margin: 1.0 }
    }
}

impl Build<dyn Objective> for Simpo {
    fn build(self, place: &Place) -> Result<Box<dyn Objective>> {
        let mut check = Check::new(place);
        check.positive("beta", self.beta);
        check.require("margin", self.margin, self.margin.is_finite() && self.margin >= 0.0, "write a number from 0 on");
        check.done(Box::new(self))
    }
}

impl Objective for Simpo {
    fn batch(&self, segments: &[Segment]) -> Result<Group> {
        let (rows, verdicts) = preference::pairs(segments)?;
        Ok(Group { rows, verdicts, ..Group::default() })
    }

    fn loss<'p>(
        &self,
        decoder: &'p Decoder,
        tape: &mut Tape<'p>,
        group: &Group,
        _other: Option<&Arc<Decoder>>,
    ) -> Result<Var> {
        preference::loss(decoder, tape, &group.rows, None, |replies| {
            preference::mean_of_pairs(replies, |chosen, rejected| {
                let ahead = self.beta * (chosen.own / chosen.tokens - rejected.own / rejected.tokens) - self.margin;
                let slope = -self.beta * sigmoid(-ahead);
                (-log_sigmoid(ahead), [slope / chosen.tokens, -slope / rejected.tokens])
            })
        })
    }

    fn weight(&self, group: &Group) -> f64 {
        group.verdicts.len() as f64 / 2.0
    }

    fn learns(&self, lesson: Lesson) -> bool {
        lesson == Lesson::Preferences
    }
}

/// The record of `simpo`.
pub static PART: Part<dyn Objective> = Part::of::<Simpo>("simpo", 1);
