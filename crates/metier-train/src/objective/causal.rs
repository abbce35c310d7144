//! Predict the next token.

use super::{Group, Objective, Segment};
use metier_compute::{Tape, Var};
use metier_core::part::{Build, Part};
use metier_core::{Place, Result};
use metier_model::{Batch, Decoder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// # What it does
/// Asks the model for each token's follower, given the tokens of the same document up to it; of an example, for the tokens of
/// its replies.
///
/// # How
/// Segments of `N` tokens in all become `N` rows, each with its place in its segment, its follower as target and
/// the weight 1; the last row of a document has no follower and the weight 0, and so has a row whose follower is not the model's to
/// write. The loss is the mean over the weights of `-ln p(target)`, over all windows of a step together.
///
/// # When to use
/// Pretraining and continued pretraining of decoders on documents, and instruction tuning (SFT) on examples: a token of a reply
/// counts, its end too; headers, prompts and results of calls do not.
///
/// # Differs from the paper in
/// No token is predicted from, or attends to, another document that shares its window. Ouyang et al. do not say what of a
/// conversation counts; here it is what the model itself has to write, as `pack` marks it.
///
/// # Source
/// Radford et al., *Improving Language Understanding by Generative Pre-Training*, 2018, equation 1. Instruction tuning: Ouyang
/// et al., *Training language models to follow instructions with human feedback*, arXiv:2203.02155, section 3.5.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Causal {}

/// The rows of segments.
pub(super) fn rows(segments: &[Segment]) -> Batch {
    let rows = segments.iter().map(|segment| segment.tokens.len()).sum();
    let mut batch = Batch {
        ids: Vec::with_capacity(rows),
        targets: Vec::with_capacity(rows),
        weights: Vec::with_capacity(rows),
        positions: Vec::with_capacity(rows),
        sequences: Vec::with_capacity(segments.len()),
    };
    for segment in segments {
        let start = batch.ids.len();
        batch.ids.extend_from_slice(&segment.tokens);
        batch.targets.extend_from_slice(segment.tokens.get(1..).unwrap_or_default());
        batch.targets.push(segment.next.unwrap_or(0));
        match &segment.learned {
            None => batch.weights.resize(batch.ids.len(), 1.0),
            Some(learned) => batch.weights.extend(learned.iter().map(|learned| if *learned { 1.0 } else { 0.0 })),
        }
        if let (None, Some(last)) = (segment.next, batch.weights.last_mut()) {
            *last = 0.0;
        }
        batch.positions.extend(0..segment.tokens.len() as u32);
        batch.sequences.push(start..batch.ids.len());
    }
    batch
}

impl Objective for Causal {
    fn batch(&self, segments: &[Segment]) -> Result<Group> {
        Ok(Group { rows: rows(segments), ..Group::default() })
    }

    fn loss<'p>(
        &self,
        decoder: &'p Decoder,
        tape: &mut Tape<'p>,
        group: &Group,
        _other: Option<&Arc<Decoder>>,
    ) -> Result<Var> {
        decoder.loss(tape, &group.rows)
    }
}

impl Build<dyn Objective> for Causal {
    fn build(self, _place: &Place) -> Result<Box<dyn Objective>> {
        Ok(Box::new(self))
    }
}

/// The record of `causal`.
pub static PART: Part<dyn Objective> = Part::of::<Causal>("causal", 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_follow_and_stop_at_documents() {
        let segments = [
            Segment { tokens: vec![5, 6, 7], ..Segment::default() },
            Segment { tokens: vec![8, 9], next: Some(10), ..Segment::default() },
        ];
        let batch = Causal {}.batch(&segments).unwrap().rows;
        assert_eq!(batch.ids, [5, 6, 7, 8, 9]);
        assert_eq!(batch.targets, [6, 7, 0, 9, 10]);
        assert_eq!(batch.weights, [1.0, 1.0, 0.0, 1.0, 1.0]);
        assert_eq!(batch.positions, [0, 1, 2, 0, 1]);
        assert_eq!(batch.sequences, [0..3, 3..5]);
    }

    #[test]
    fn what_is_not_learned_has_no_weight() {
        let segment =
            Segment { tokens: vec![5, 6, 7, 8], learned: Some(vec![false, true, false, true]), ..Segment::default() };
        let group = Causal {}.batch(&[segment]).unwrap();
        assert_eq!(group.rows.weights, [0.0, 1.0, 0.0, 0.0]);
        assert!((Causal {}.weight(&group) - 1.0).abs() < 1e-12);
    }
}
