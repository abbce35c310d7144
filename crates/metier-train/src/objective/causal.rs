//! Predict the next token.

use super::{Objective, Segment};
use metier_compute::{Tape, Var};
use metier_core::part::{Build, Part};
use metier_core::{Place, Result};
use metier_model::{Batch, Decoder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// # What it does
/// Asks the model for each token's follower, given the tokens of the same document up to it.
///
/// # How
/// Segments of `N` tokens in all become `N` rows, each with its place in its segment, its follower as target and
/// the weight 1; the last row of a document has no follower and the weight 0. The loss is the mean over the
/// weights of `-ln p(target)`.
///
/// # When to use
/// Pretraining and continued pretraining of decoders.
///
/// # Differs from the paper in
/// No token is predicted from, or attends to, another document that shares its window.
///
/// # Source
/// Radford et al., *Improving Language Understanding by Generative Pre-Training*, 2018, equation 1.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Causal {}

impl Objective for Causal {
    fn batch(&self, segments: &[Segment]) -> Result<Batch> {
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
            batch.weights.resize(batch.ids.len() - 1, 1.0);
            batch.weights.push(if segment.next.is_some() { 1.0 } else { 0.0 });
            batch.positions.extend(0..segment.tokens.len() as u32);
            batch.sequences.push(start..batch.ids.len());
        }
        Ok(batch)
    }

    fn loss<'p>(
        &self,
        decoder: &'p Decoder,
        tape: &mut Tape<'p>,
        batch: &Batch,
        _teacher: Option<&Arc<Decoder>>,
    ) -> Result<Var> {
        decoder.loss(tape, batch)
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
        let segments = [Segment { tokens: vec![5, 6, 7], next: None }, Segment { tokens: vec![8, 9], next: Some(10) }];
        let batch = Causal {}.batch(&segments).unwrap();
        assert_eq!(batch.ids, [5, 6, 7, 8, 9]);
        assert_eq!(batch.targets, [6, 7, 0, 9, 10]);
        assert_eq!(batch.weights, [1.0, 1.0, 0.0, 1.0, 1.0]);
        assert_eq!(batch.positions, [0, 1, 2, 0, 1]);
        assert_eq!(batch.sequences, [0..3, 3..5]);
    }
}
