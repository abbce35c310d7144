//! Attention with probabilities left out, of which the fused operation keeps none.

use metier_compute::op::{self, Activation, AttentionShape, Sequence, Span, Transpose};
use metier_compute::{Tape, Tensor, Var};
use metier_core::Result;
use metier_core::seed::Seed;
use std::ops::Range;

/// What hides a score before the softmax.
const HIDDEN: f32 = -1e30;

/// As [`op::attention`] where each sequence's keys are those of its queries and all rows are in one, in order; each probability is left out at
/// a rate, and the others are multiplied by `1 / (1 - rate)`. Probabilities are stored.
pub(super) fn dropped_attention(
    tape: &mut Tape<'_>,
    [query, key, value]: [Var; 3],
    shape: &AttentionShape,
    sequences: &[Sequence],
    (rate, noise): (f32, Seed),
) -> Result<Var> {
    let AttentionShape { heads, kv_heads, head_dim, .. } = *shape;
    let group: Vec<u32> = (0..heads).map(|head| (head * kv_heads / heads) as u32).collect();
    // `[rows, heads * head_dim]` to `[heads, rows, head_dim]`.
    let by_head = |tape: &mut Tape<'_>, x: Var, rows: &Range<usize>, heads: usize| {
        let some = op::slice(tape, x, &[Span::from(rows.clone()), (0..heads * head_dim).into()])?;
        let some = op::reshape(tape, some, &[rows.len(), heads, head_dim])?;
        op::permute(tape, some, &[1, 0, 2])
    };
    let mut parts = Vec::with_capacity(sequences.len());
    for (number, Sequence { query: rows, .. }) in (0..).zip(sequences) {
        let query = by_head(tape, query, rows, heads)?;
        let [key, value] = [key, value].map(|var| by_head(tape, var, rows, kv_heads));
        let (key, value) = (op::index_select(tape, key?, 0, &group)?, op::index_select(tape, value?, 0, &group)?);
        let scores = op::batched_matmul(tape, query, key, Transpose { a: false, b: true })?;
        let mut scores = op::scale(tape, scores, shape.scale)?;
        if let Some(cap) = shape.softcap {
            scores = op::scale(tape, scores, 1.0 / cap)?;
            scores = op::activation(tape, scores, Activation::Tanh)?;
            scores = op::scale(tape, scores, cap)?;
        }
        let scores = op::masked_fill(tape, scores, &unseen(rows.len(), shape)?, HIDDEN)?;
        let probabilities = op::softmax(tape, scores)?;
        let seed = Seed::new(noise.at(number).bits());
        let kept = op::dropout(tape, probabilities, rate, &seed)?;
        let mixed = op::batched_matmul(tape, kept, value, Transpose::default())?;
        let mixed = op::permute(tape, mixed, &[1, 0, 2])?;
        parts.push(op::reshape(tape, mixed, &[rows.len(), heads * head_dim])?);
    }
    op::concat(tape, &parts, 0)
}

/// 1 where a query, a row, does not see a key: `[count, count]`.
fn unseen(count: usize, shape: &AttentionShape) -> Result<Tensor> {
    let is_seen = |query: usize, key: usize| {
        (key <= query || !shape.causal) && shape.window.is_none_or(|window| query.abs_diff(key) < window)
    };
    let all = (0..count).flat_map(|query| (0..count).map(move |key| (query, key)));
    Tensor::from_vec(&[count, count], all.map(|(query, key)| f32::from(!is_seen(query, key))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use metier_compute::{Gradients, ParameterId, Parameters};
    use metier_testkit::assert_close;

    const SHAPE: AttentionShape = AttentionShape {
        heads: 4,
        kv_heads: 2,
        head_dim: 3,
        scale: 0.5,
        causal: true,
        window: Some(3),
        softcap: Some(2.0),
    };

    fn sequences() -> Vec<Sequence> {
        [0..2, 2..7].map(|rows| Sequence { query: rows.clone(), key: rows }).to_vec()
    }

    fn parameters() -> (Parameters, [ParameterId; 3]) {
        let mut parameters = Parameters::new();
        let mut random = Seed::new(4).at(0);
        let ids = [("query", 12), ("key", 6), ("value", 6)].map(|(name, width)| {
            let values = (0..7 * width).map(|_| random.normal() as f32).collect();
            parameters.insert(name, Tensor::from_vec(&[7, width], values).unwrap(), true).unwrap()
        });
        (parameters, ids)
    }

    /// What it makes, and gradients of its sum of squares.
    fn run(shape: &AttentionShape, rate: Option<f32>) -> Vec<Vec<f32>> {
        let (parameters, ids) = parameters();
        let mut tape = Tape::training(&parameters);
        let [query, key, value] = ids.map(|id| tape.parameter(id));
        let made = match rate {
            None => op::attention(&mut tape, query, key, value, shape, &sequences()),
            Some(rate) => {
                let dropout = (rate, Seed::new(1));
                dropped_attention(&mut tape, [query, key, value], shape, &sequences(), dropout)
            }
        };
        let made = made.unwrap();
        let out = tape.value(made).unwrap().data().to_vec();
        let squares = op::multiply(&mut tape, made, made).unwrap();
        let sum = op::sum(&mut tape, squares).unwrap();
        let mut gradients = Gradients::new();
        tape.backward(sum, &mut gradients).unwrap();
        let gradients = ids.map(|id| gradients.get(id).unwrap().data().to_vec());
        std::iter::once(out).chain(gradients).collect()
    }

    #[test]
    fn without_dropout_it_is_the_fused_operation() {
        for shape in [SHAPE, AttentionShape { causal: false, ..SHAPE }] {
            for (got, want) in run(&shape, Some(0.0)).iter().zip(run(&shape, None)) {
                let (got, want): (Vec<f64>, Vec<f64>) =
                    (got.iter().copied().map(f64::from).collect(), want.into_iter().map(f64::from).collect());
                assert_close("attention", &got, &want, 1e-5, 1e-5);
            }
        }
    }

    #[test]
    fn what_is_left_out_is_missing_from_the_sum() {
        // The first row of a text sees its own key only: its value doubled, or nothing.
        let (made, (parameters, ids)) = (run(&SHAPE, Some(0.5)), parameters());
        let values = parameters.get(ids[2]).data();
        for head in 0..4 {
            let (made, value) = (&made[0][head * 3..head * 3 + 3], &values[head / 2 * 3..head / 2 * 3 + 3]);
            let doubled: Vec<f32> = value.iter().map(|value| 2.0 * value).collect();
            assert!(made == doubled || made == [0.0; 3], "head {head}: {made:?} of {value:?}");
        }
        assert_ne!(made[0], run(&SHAPE, None)[0]);
    }
}
