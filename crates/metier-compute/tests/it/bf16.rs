//! Products of `bf16` against `f32`: each rounded input is off by at most 2^-9 of itself, so outputs and gradients
//! stay within a band of the largest ones.

use metier_compute::block;
use metier_compute::kernel::{Precision, set_threads};
use metier_compute::op::{self, AttentionShape, GatedFeedForward, LowRank, Projection, Sequence};
use std::sync::Arc;

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
        let plain = |weight| Projection { weight, low_rank: None };
        let shapes: [&[usize]; 4] = [&[rows, width], &[inner, width], &[inner, width], &[outputs, inner]];
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
    for (length, heads, kv_heads, head_dim, causal, window) in [
        (5, 2, 1, 8, true, None),
        (70, 4, 2, 32, true, None),
        (300, 3, 1, 64, true, None),
        (100, 2, 2, 20, true, Some(17)),
        (600, 2, 2, 32, true, None),
        (70, 4, 2, 32, false, None),
        (100, 2, 2, 20, false, Some(17)),
        (900, 2, 1, 32, false, None),
    ] {
        let scale = 1.0 / (head_dim as f32).sqrt();
        let shape = AttentionShape { heads, kv_heads, head_dim, scale, causal, window, softcap: None };
        let shapes: [&[usize]; 3] =
            [&[length, heads * head_dim], &[length, kv_heads * head_dim], &[length, kv_heads * head_dim]];
        let middle = length / 3;
        let sequences = [0..middle, middle..length].map(|rows| Sequence { query: rows.clone(), key: rows });
        within_the_band("attention", &shapes, |tape, v| op::attention(tape, v[0], v[1], v[2], &shape, &sequences));
    }
}

/// What a frozen model of weights in blocks computes for many rows, against the same with the numbers of the blocks.
#[test]
fn weights_in_blocks() {
    let (rows, inputs, inner) = (70, 256, 96);
    for name in ["Q4_0", "Q4_1", "Q4_K", "Q5_0", "Q6_K", "Q8_0"] {
        let block = block::of_name(name).unwrap();
        let in_blocks = |shape: [usize; 2], salt: u32| {
            let bytes = block::quantize(block, noise(&shape, salt).data()).unwrap();
            let length = bytes.len();
            Tensor::from_blocks(&shape, block, Arc::new(bytes), 0..length).unwrap()
        };
        let mut parameters = Parameters::new();
        let mut add = |name: &str, tensor: Tensor| parameters.insert(name, tensor, false).unwrap();
        let [gate, up] = [("gate", 1), ("up", 2)].map(|(name, salt)| add(name, in_blocks([inner, inputs], salt)));
        let down = add("down", in_blocks([inputs, inputs], 3));
        let [a, b] = [("a", [4, inputs]), ("b", [inner, 4])].map(|(name, shape)| add(name, noise(&shape, 5)));
        let run = |precision: Precision, in_numbers: bool| {
            let mut tape = Tape::inference(&parameters);
            tape.set_precision(precision);
            let x = tape.constant(noise(&[rows, inputs], 4));
            let [gate, up, down, a, b] = [gate, up, down, a, b].map(|id| {
                let tensor = parameters.get(id);
                if !in_numbers {
                    return tape.parameter(id);
                }
                tape.constant(Tensor::from_vec(tensor.shape(), tensor.data().to_vec()).unwrap())
            });
            let low_rank = LowRank { a, b, scale: 0.5 };
            let gate = Projection { weight: gate, low_rank: Some(low_rank) };
            let first = op::linear(&mut tape, x, up, None).unwrap();
            let second = gate.forward(&mut tape, x).unwrap();
            let inside = op::swiglu(&mut tape, second, first).unwrap();
            let both = op::concat(&mut tape, &[inside, first, second], 1).unwrap();
            let both = op::slice(&mut tape, both, &[(0..rows).into(), (0..inputs).into()]).unwrap();
            let last = op::linear(&mut tape, both, down, None).unwrap();
            tape.value(last).unwrap().data().to_vec()
        };
        let exact = run(Precision::F32, true);
        set_threads(1).unwrap();
        let alone = run(Precision::Bf16, false);
        set_threads(2).unwrap();
        let rounded = run(Precision::Bf16, false);
        assert_eq!(alone, rounded, "{name}: one thread gives another result than two");
        let square = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
        let size = square(&mut exact.iter().map(|x| f64::from(*x)));
        let off = square(&mut exact.iter().zip(&rounded).map(|(a, b)| f64::from(a - b)));
        assert!(off > 0.0 && off <= BAND * size, "{name}: {off} of {size}");
    }
}

#[test]
fn a_gated_feed_forward_of_weights_in_blocks() {
    let block = block::of_name("Q8_0").unwrap();
    let mut parameters = Parameters::new();
    let [gate, up, down] =
        [("gate", [96, 64], 1), ("up", [96, 64], 2), ("down", [64, 96], 3)].map(|(name, shape, salt)| {
            let bytes = block::quantize(block, noise(&shape, salt).data()).unwrap();
            let length = bytes.len();
            let tensor = Tensor::from_blocks(&shape, block, Arc::new(bytes), 0..length).unwrap();
            parameters.insert(name, tensor, false).unwrap()
        });
    let run = |precision: Precision| {
        let mut tape = Tape::inference(&parameters);
        tape.set_precision(precision);
        let x = tape.constant(noise(&[70, 64], 4));
        let [gate, up, down] = [gate, up, down].map(|id| Projection { weight: tape.parameter(id), low_rank: None });
        let y = op::gated_feed_forward(&mut tape, x, &GatedFeedForward { gate, up, down }).unwrap();
        tape.value(y).unwrap().data().to_vec()
    };
    let (exact, rounded) = (run(Precision::F32), run(Precision::Bf16));
    let size = exact.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    let off = exact.iter().zip(&rounded).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt();
    assert!(off > 0.0 && off <= BAND * size, "{off} of {size}");
    assert_eq!(parameters.precision(1), Precision::F32, "a few rows read the blocks where they lie");
}
