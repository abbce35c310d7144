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
/// Asks the model for each token, given those of the same document before it; of an example, for the tokens of its replies.
///
/// # How
/// Segments become a row for each of their tokens but the last, with its place in its segment, its follower as target and
/// the weight 1, or 0 where the follower is not the model's to write. Before a document's first token stands the token that ends
/// documents, unless they begin with one of their own: so what begins a document is learned, as in running text. The loss is the mean over the weights of `-ln p(target)`, over all windows of a step together.
///
/// # When to use
/// Pretraining and continued pretraining of decoders on documents, and instruction tuning (SFT) on examples: a token of a reply
/// counts, its end too; headers, prompts and results of calls do not.
///
/// # Differs from the paper in
/// No token attends to another document that shares its window. Ouyang et al. do not say what of a
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
    let rows = segments.iter().map(|segment| segment.tokens.len().saturating_sub(1)).sum();
    let mut batch = Batch {
        ids: Vec::with_capacity(rows),
        targets: Vec::with_capacity(rows),
        weights: Vec::with_capacity(rows),
        positions: Vec::with_capacity(rows),
        sequences: Vec::with_capacity(segments.len()),
    };
    for segment in segments {
        let start = batch.ids.len();
        let ([ids @ .., _], [_, targets @ ..]) = (&segment.tokens[..], &segment.tokens[..]) else { continue };
        if ids.is_empty() {
            continue;
        }
        batch.ids.extend_from_slice(ids);
        batch.targets.extend_from_slice(targets);
        match &segment.learned {
            None => batch.weights.resize(batch.ids.len(), 1.0),
            Some(learned) => {
                batch.weights.extend(learned.iter().skip(1).map(|learned| if *learned { 1.0 } else { 0.0 }));
            }
        }
        batch.positions.extend(0..ids.len() as u32);
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
pub static PART: Part<dyn Objective> = Part::of::<Causal>("causal", 2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_follow_and_stop_at_documents() {
        let segments = [
            Segment { tokens: vec![5, 6, 7], ..Segment::default() },
            Segment { tokens: vec![4], ..Segment::default() },
            Segment { tokens: vec![8, 9], ..Segment::default() },
        ];
        let batch = Causal {}.batch(&segments).unwrap().rows;
        assert_eq!(batch.ids, [5, 6, 8]);
        assert_eq!(batch.targets, [6, 7, 9]);
        assert_eq!(batch.weights, [1.0, 1.0, 1.0]);
        assert_eq!(batch.positions, [0, 1, 0]);
        assert_eq!(batch.sequences, [0..2, 2..3]);
    }

    #[test]
    fn what_is_not_learned_has_no_weight() {
        let segment =
            Segment { tokens: vec![5, 6, 7, 8], learned: Some(vec![true, false, true, false]), ..Segment::default() };
        let group = Causal {}.batch(&[segment]).unwrap();
        assert_eq!(group.rows.weights, [0.0, 1.0, 0.0]);
        assert!((Causal {}.weight(&group) - 1.0).abs() < 1e-12);
    }
}
