//! Learn the chosen reply and make the rejected one unlikely, in one stage.

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
/// Learns the chosen reply of a pair as instruction tuning does, and raises its odds against those of the rejected one.
///
/// # How
/// With `c̄` and `r̄` the mean log-probabilities of the learned tokens of the chosen and the rejected reply, and `o(x) = x - ln(1 - eˣ)` the
/// logarithm of odds, a pair's loss is `-c̄ - λ ln σ(o(c̄) - o(r̄))`. The loss is the mean over pairs.
///
/// # When to use
/// On a base model, in the place of instruction tuning followed by `dpo`, when there are pairs for all that it is to learn. No reference is needed.
///
/// # Differs from the paper in
/// Nothing. TRL's first term is the mean over the tokens of all chosen replies of a batch, prompts included; here, as in the
/// paper, each pair counts the same and prompts do not.
///
/// # Source
/// Hong, Lee and Thorne, *ORPO: Monolithic Preference Optimization without Reference Model*, arXiv:2403.07691, equations 6 and 7.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Orpo {
    /// How much the odds count: the λ of the formula.
    #[schemars(range(min = 0.0))]
    pub lambda: f64,
}

impl Default for Orpo {
    fn default() -> Self {
        Self { lambda: 0.1 }
    }
}

impl Build<dyn Objective> for Orpo {
    fn build(self, place: &Place) -> Result<Box<dyn Objective>> {
        let mut check = Check::new(place);
        check.positive("lambda", self.lambda);
        check.done(Box::new(self))
    }
}

/// The logarithm of odds of a mean log-probability below 0, and its slope.
fn log_odds(mean: f64) -> (f64, f64) {
    // Nearer to 0 than a single-precision logarithm can tell from it.
    let mean = mean.min(-1e-8);
    let rest = -mean.exp_m1();
    (mean - rest.ln(), 1.0 / rest)
}

impl Objective for Orpo {
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
                let [up, down] = [chosen, rejected].map(|reply| reply.own / reply.tokens);
                let ((odds_up, slope_up), (odds_down, slope_down)) = (log_odds(up), log_odds(down));
                let ahead = odds_up - odds_down;
                let slope = -self.lambda * sigmoid(-ahead);
                let loss = -up - self.lambda * log_sigmoid(ahead);
                (loss, [(slope * slope_up - 1.0) / chosen.tokens, -slope * slope_down / rejected.tokens])
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

/// The record of `orpo`.
pub static PART: Part<dyn Objective> = Part::of::<Orpo>("orpo", 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odds_are_finite_where_a_reply_is_certain() {
        let (odds, slope) = log_odds(0.0);
        assert!(odds > 18.0 && odds.is_finite() && slope.is_finite());
        let (odds, slope) = log_odds(0.5_f64.ln());
        assert!(odds.abs() < 1e-12 && (slope - 2.0).abs() < 1e-12);
        assert!((log_odds(-700.0).0 + 700.0).abs() < 1e-9);
    }
}
