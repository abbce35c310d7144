//! Products of `bf16` against `f32`: each rounded input is off by at most 2^-9 of itself, so outputs and gradients
//! stay within a band of the largest ones.

use metier_compute::kernel::{Precision, set_threads};
use metier_compute::op::{self, AttentionShape, GatedFeedForward, LowRank, Projection, Sequence};
use metier_compute::{Gradients, Parameters, Tape, Tensor, Var};

/// Of the root of the mean square of the exact values.
const BAND: f64 = 0.02;

fn noise(shape: &[usize], salt: u32) -> Tensor {
    let mut state = 0x9e37_79b9_u32.wrapping_mul(salt + 1);
    let values = (0..shape.iter().product::<usize>()).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    });
    Tensor::from_vec(shape, values.collect()).unwrap()
}

/// Output and gradients of every input.
fn run(
    shapes: &[&[usize]],
    precision: Precision,
    body: &impl for<'p> Fn(&mut Tape<'p>, &[Var]) -> metier_core::Result<Var>,
) -> Vec<Vec<f32>> {
    let mut parameters = Parameters::new();
    let ids: Vec<_> = (0..)
        .zip(shapes)
        .map(|(number, shape)| parameters.insert(number.to_string(), noise(shape, number), true).unwrap())
        .collect();
    let mut tape = Tape::training(&parameters);
    tape.set_precision(precision);
    let vars: Vec<Var> = ids.iter().map(|id| tape.parameter(*id)).collect();
    let out = body(&mut tape, &vars).unwrap();
    let value = tape.value(out).unwrap().clone();
    let weights = tape.constant(noise(value.shape(), 99));
    let weighted = op::multiply(&mut tape, out, weights).unwrap();
    let loss = op::sum(&mut tape, weighted).unwrap();
    let mut gradients = Gradients::new();
    tape.backward(loss, &mut gradients).unwrap();
    let mut all = vec![value.data().to_vec()];
    all.extend(ids.iter().map(|id| gradients.get(*id).unwrap().data().to_vec()));
    all
}

fn within_the_band(
    name: &str,
    shapes: &[&[usize]],
    body: impl for<'p> Fn(&mut Tape<'p>, &[Var]) -> metier_core::Result<Var>,
) {
    let exact = run(shapes, Precision::F32, &body);
    set_threads(1).unwrap();
    let alone = run(shapes, Precision::Bf16, &body);
    set_threads(2).unwrap();
    let rounded = run(shapes, Precision::Bf16, &body);
    for (number, ((exact, rounded), alone)) in exact.iter().zip(&rounded).zip(&alone).enumerate() {
        assert_eq!(exact.len(), rounded.len());
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(rounded), bits(alone), "{name} {shapes:?}, {number}: one thread gives another result than two");
        let size =
            (exact.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>() / exact.len().max(1) as f64).sqrt();
        let off = exact.iter().zip(rounded).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
        let off = (off / exact.len().max(1) as f64).sqrt();
        assert!(off <= BAND * size, "{name} {shapes:?}, {number}: {off} of {size}");
        // The gradient of a bias is no product.
        assert!(number > 0 || exact.len() < 64 || off > 0.0, "{name} {shapes:?}: nothing was rounded");
    }
}

#[test]
fn linear() {
    for (rows, inputs, outputs) in [(1, 1, 1), (7, 33, 5), (64, 32, 96), (130, 70, 45), (300, 256, 64), (0, 4, 3)] {
        let shapes: [&[usize]; 3] = [&[rows, inputs], &[outputs, inputs], &[outputs]];
        within_the_band("linear", &shapes, |tape, v| op::linear(tape, v[0], v[1], Some(v[2])));
        within_the_band("linear", &shapes[..2], |tape, v| op::linear(tape, v[0], v[1], None));
    }
}

#[test]
fn low_rank_linear() {
    for (rows, inputs, outputs, rank) in [(3, 17, 9, 2), (70, 65, 33, 4), (64, 96, 128, 16)] {
        let shapes: [&[usize]; 4] = [&[rows, inputs], &[outputs, inputs], &[rank, inputs], &[outputs, rank]];
        within_the_band("low_rank_linear", &shapes, |tape, v| op::low_rank_linear(tape, v[0], v[1], v[2], v[3], 0.5));
    }
}

#[test]
fn gated_feed_forward() {
    for (rows, width, inner, outputs) in
        [(1, 1, 1, 1), (5, 33, 70, 9), (64, 32, 256, 32), (300, 64, 600, 64), (70, 9, 31, 3)]
    {
        let shapes: [&[usize]; 4] = [&[rows, width], &[inner, width], &[inner, width], &[outputs, inner]];
        let plain = |weight| Projection { weight, low_rank: None };
        within_the_band("gated_feed_forward", &shapes, |tape, v| {
            let weights = GatedFeedForward { gate: plain(v[1]), up: plain(v[2]), down: plain(v[3]) };
            let x = op::scale(tape, v[0], 1.0 / (width as f32).sqrt())?;
            op::gated_feed_forward(tape, x, &weights)
        });
    }
    let shapes: [&[usize]; 10] =
        [&[70, 40], &[100, 40], &[100, 40], &[40, 100], &[4, 40], &[100, 4], &[4, 40], &[100, 4], &[4, 100], &[40, 4]];
    within_the_band("gated_feed_forward with low rank", &shapes, |tape, v| {
        let low_rank = |number: usize| Some(LowRank { a: v[4 + 2 * number], b: v[5 + 2 * number], scale: 0.5 });
        let projection = |number: usize| Projection { weight: v[1 + number], low_rank: low_rank(number) };
        let weights = GatedFeedForward { gate: projection(0), up: projection(1), down: projection(2) };
        let x = op::scale(tape, v[0], 0.15)?;
        op::gated_feed_forward(tape, x, &weights)
    });
}

#[test]
fn head_cross_entropy() {
    for (rows, width, vocabulary) in [(1, 3, 2), (5, 33, 70), (140, 64, 600), (300, 32, 1500)] {
        let shapes: [&[usize]; 2] = [&[rows, width], &[vocabulary, width]];
        within_the_band("head_cross_entropy", &shapes, |tape, v| {
            let x = op::scale(tape, v[0], 1.0 / (width as f32).sqrt())?;
            let targets: Vec<u32> = (0..rows).map(|row| (row * 37 % vocabulary) as u32).collect();
            let weights: Vec<f32> =
                (0..rows).map(|row| if row % 3 == 1 { 0.0 } else { 0.5 + (row % 2) as f32 }).collect();
            op::head_cross_entropy(tape, x, v[1], &targets, &weights)
        });
    }
}

#[test]
fn attention() {
    for (length, heads, kv_heads, head_dim, window) in [
        (5, 2, 1, 8, None),
        (70, 4, 2, 32, None),
        (300, 3, 1, 64, None),
        (100, 2, 2, 20, Some(17)),
        (600, 2, 2, 32, None),
    ] {
        let shape =
            AttentionShape { heads, kv_heads, head_dim, scale: 1.0 / (head_dim as f32).sqrt(), window, softcap: None };
        let shapes: [&[usize]; 3] =
            [&[length, heads * head_dim], &[length, kv_heads * head_dim], &[length, kv_heads * head_dim]];
        let middle = length / 3;
        let sequences = [0..middle, middle..length].map(|rows| Sequence { query: rows.clone(), key: rows });
        within_the_band("attention", &shapes, |tape, v| op::attention(tape, v[0], v[1], v[2], &shape, &sequences));
    }
}
