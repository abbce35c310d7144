//! Learn from replies that were called good or bad, each by itself.

use super::preference::{self, Check, Judged, sigmoid};
use super::{Group, Objective, Other, Segment, causal};
use metier_compute::{Tape, Var};
use metier_core::part::{Build, Part};
use metier_core::{Place, Result};
use metier_model::{Batch, Decoder};
use metier_tokenizer::pack::{Lesson, Verdict};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// # What it does
/// Makes replies that were called good more likely, and those that were called bad less, measured against the model as it was before.
///
/// # How
/// With `x` a reply's log-probability minus that to the reference, and `z` the reference point, a good reply's loss is
/// `good_weight · (1 - σ(β (x - z)))` and a bad one's `bad_weight · (1 - σ(β (z - x)))`. `z` is the mean of `x` over prompts with the replies of
/// their neighbors, 0 at least, over the windows that are computed at once (`micro_batch`); it is never differentiated, and 0 where
/// these have a single reply. The loss is the mean over replies. The reference is as in `dpo`.
///
/// # When to use
/// When people said of single replies whether they are good, which is easier to come by than pairs. Rows are `prompt`, `completion` and
/// `label`; rows of `chosen` and `rejected` serve too. Where one kind is rarer, give it so much more weight that both sums are alike (1:1 to 4:3).
///
/// # Differs from the paper in
/// A prompt with a neighbor's reply is cut where it would be longer than the longest text beside it. `z` rests on `micro_batch` windows and
/// not on the whole step, so another `micro_batch` is another run.
///
/// # Source
/// Ethayarajh et al., *KTO: Model Alignment as Prospect Theoretic Optimization*, arXiv:2402.01306, equations 7 and 8.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Kto {
    /// How strongly the model is held to the reference.
    #[schemars(range(min = 0.0))]
    pub beta: f64,
    /// How much a good reply counts.
    #[schemars(range(min = 0.0))]
    pub good_weight: f64,
    /// How much a bad reply counts.
    #[schemars(range(min = 0.0))]
    pub bad_weight: f64,
}

impl Default for Kto {
    fn default() -> Self {
        Self { beta: 0.1, good_weight: 1.0, bad_weight: 1.0 }
    }
}

impl Build<dyn Objective> for Kto {
    fn build(self, place: &Place) -> Result<Box<dyn Objective>> {
        let mut check = Check::new(place);
        check.positive("beta", self.beta);
        check.positive("good_weight", self.good_weight);
        check.positive("bad_weight", self.bad_weight);
        check.done(Box::new(self))
    }
}

/// Each prompt with the reply of the segment before it.
fn mismatched(segments: &[Segment]) -> Option<Batch> {
    if segments.len() < 2 {
        return None;
    }
    let longest = segments.iter().map(|segment| segment.tokens.len()).max().unwrap_or(0);
    let prompt = |segment: &Segment| {
        segment.learned.as_ref().and_then(|learned| learned.iter().position(|learned| *learned)).unwrap_or(0)
    };
    let before = segments.iter().cycle().skip(segments.len() - 1);
    let mixed = segments.iter().zip(before).map(|(segment, before)| {
        let (prompt, reply) = (prompt(segment), prompt(before));
        let mut tokens = segment.tokens[..prompt].to_vec();
        tokens.extend_from_slice(&before.tokens[reply..]);
        let mut learned = vec![false; prompt];
        match &before.learned {
            Some(of) => learned.extend_from_slice(&of[reply..]),
            None => learned.resize(tokens.len(), true),
        }
        tokens.truncate(longest);
        learned.truncate(longest);
        Segment { tokens, learned: Some(learned), ..Segment::default() }
    });
    Some(causal::rows(&mixed.collect::<Vec<_>>()))
}

impl Objective for Kto {
    fn batch(&self, segments: &[Segment]) -> Result<Group> {
        let (rows, verdicts) = preference::rows(segments)?;
        Ok(Group { rows, verdicts, mismatched: mismatched(segments), ..Group::default() })
    }

    fn loss<'p>(
        &self,
        decoder: &'p Decoder,
        tape: &mut Tape<'p>,
        group: &Group,
        other: Option<&Arc<Decoder>>,
    ) -> Result<Var> {
        let point = match (&group.mismatched, other) {
            (Some(rows), Some(reference)) => {
                let own = preference::log_probabilities(decoder, rows, tape.precision())?;
                let theirs = preference::log_probabilities(reference, rows, tape.precision())?;
                let sum: f64 = own.iter().zip(theirs).map(|(own, reference)| own - reference).sum();
                (sum / own.len() as f64).max(0.0)
            }
            _ => 0.0,
        };
        preference::loss(decoder, tape, &group.rows, other, |replies| {
            let count = replies.len() as f64;
            let mut judged = Judged { loss: 0.0, slopes: Vec::with_capacity(replies.len()) };
            for (reply, verdict) in replies.iter().zip(&group.verdicts) {
                let (weight, sign) = match verdict {
                    Verdict::Good | Verdict::Chosen => (self.good_weight, 1.0),
                    _ => (self.bad_weight, -1.0),
                };
                let worth = sign * self.beta * (reply.own - reply.reference - point);
                judged.loss += weight * sigmoid(-worth) / count;
                judged.slopes.push(-weight * sign * self.beta * sigmoid(worth) * sigmoid(-worth) / count);
            }
            judged
        })
    }

    fn weight(&self, group: &Group) -> f64 {
        group.verdicts.len() as f64
    }

    fn other(&self) -> Other {
        Other::Reference
    }

    fn learns(&self, lesson: Lesson) -> bool {
        matches!(lesson, Lesson::Preferences | Lesson::Judgments)
    }
}

/// The record of `kto`.
pub static PART: Part<dyn Objective> = Part::of::<Kto>("kto", 1);
