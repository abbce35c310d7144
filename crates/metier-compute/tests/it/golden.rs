//! Outputs and gradients as PyTorch computes them; `fixtures/reference/compute_ops.py` made the numbers.

use std::collections::BTreeMap;

use metier_compute::op::{self, AdamwStep, AttentionShape, Rotary, Sequence};
use metier_compute::{Tape, Tensor, Var};
use metier_core::Result;
use metier_testkit::{assert_close, golden};
use serde::Deserialize;

use crate::harness::run;

const RELATIVE: f64 = 1e-5;

#[derive(Deserialize)]
struct Array {
    shape: Vec<usize>,
    values: Vec<f32>,
}

#[derive(Deserialize)]
struct Case {
    inputs: Vec<Array>,
    output: Array,
    gradients: Vec<Array>,
}

#[derive(Deserialize)]
struct Goldens {
    /// What the outputs are multiplied by before they are summed to the loss, by operation.
    projections: BTreeMap<String, Vec<f32>>,
    cases: BTreeMap<String, Case>,
    adamw: Vec<Vec<f32>>,
}

type Body = dyn for<'p> Fn(&mut Tape<'p>, &[Var]) -> Result<Var>;

fn body(name: &str) -> Box<Body> {
    match name {
        "embedding" => Box::new(|tape, v| op::embedding(tape, v[0], &[1, 4, 1, 0])),
        "linear" => Box::new(|tape, v| op::linear(tape, v[0], v[1], Some(v[2]))),
        "low_rank_linear" => Box::new(|tape, v| op::low_rank_linear(tape, v[0], v[1], v[2], v[3], 1.5)),
        "rms_norm" => Box::new(|tape, v| op::rms_norm(tape, v[0], v[1], 1e-5)),
        "layer_norm" => Box::new(|tape, v| op::layer_norm(tape, v[0], v[1], Some(v[2]), 1e-5)),
        "swiglu" => Box::new(|tape, v| op::swiglu(tape, v[0], v[1])),
        "rotary" => Box::new(|tape, v| {
            let shape = Rotary { head_dim: 8, theta: 10000.0, interleaved: false };
            op::rotary(tape, v[0], &shape, &[0, 1, 2, 77, 1023])
        }),
        "attention" => Box::new(|tape, v| {
            let shape = AttentionShape { heads: 4, kv_heads: 2, head_dim: 8, scale: 8.0_f32.powf(-0.5), window: None };
            let sequences = [Sequence { query: 0..4, key: 0..4 }, Sequence { query: 4..9, key: 4..9 }];
            op::attention(tape, v[0], v[1], v[2], &shape, &sequences)
        }),
        "attention_window" => Box::new(|tape, v| {
            let shape =
                AttentionShape { heads: 4, kv_heads: 2, head_dim: 8, scale: 8.0_f32.powf(-0.5), window: Some(3) };
            op::attention(tape, v[0], v[1], v[2], &shape, &[Sequence { query: 0..6, key: 0..9 }])
        }),
        "head_cross_entropy" => {
            Box::new(|tape, v| op::head_cross_entropy(tape, v[0], v[1], &[3, 0, 16, 9, 9], &[1.0, 1.0, 0.0, 0.5, 1.0]))
        }
        other => panic!("no operation for the golden {other}"),
    }
}

#[test]
fn operations_agree_with_pytorch() {
    let goldens: Goldens = golden::read_as("ops.json");
    assert_eq!(goldens.cases.len(), 10);
    for (name, case) in &goldens.cases {
        let tensors: Vec<(Tensor, bool)> = case
            .inputs
            .iter()
            .map(|input| (Tensor::from_vec(&input.shape, input.values.clone()).unwrap(), true))
            .collect();
        let operation = body(name);
        let outcome = run(&tensors, &*operation).unwrap();
        assert_eq!(outcome.output.shape(), case.output.shape, "{name}");
        let largest = |values: &[f32]| values.iter().fold(0.0_f64, |best, value| best.max(f64::from(value.abs())));
        let close = |what: &str, got: &[f32], want: &[f32]| {
            assert_close(&format!("{name}: {what}"), got, want, RELATIVE * largest(want), RELATIVE);
        };
        close("output", outcome.output.data(), &case.output.values);

        let projection = goldens.projections[name].clone();
        let outcome = run_projected(&tensors, &*operation, projection);
        for (index, (got, want)) in outcome.iter().zip(&case.gradients).enumerate() {
            assert_eq!(got.shape(), want.shape, "{name}");
            close(&format!("gradient {index}"), got.data(), &want.values);
        }
    }
    adamw(&goldens.adamw);
}

fn run_projected(tensors: &[(Tensor, bool)], operation: &Body, projection: Vec<f32>) -> Vec<Tensor> {
    let mut parameters = metier_compute::Parameters::new();
    let ids: Vec<_> = tensors
        .iter()
        .enumerate()
        .map(|(index, (tensor, _))| parameters.insert(index.to_string(), tensor.clone(), true).unwrap())
        .collect();
    let mut tape = Tape::training(&parameters);
    let vars: Vec<Var> = ids.iter().map(|&id| tape.parameter(id)).collect();
    let y = operation(&mut tape, &vars).unwrap();
    let weights = Tensor::from_vec(tape.shape(y).unwrap(), projection).unwrap();
    let weights = tape.constant(weights);
    let weighted = op::multiply(&mut tape, y, weights).unwrap();
    let loss = op::sum(&mut tape, weighted).unwrap();
    let mut gradients = metier_compute::Gradients::new();
    tape.backward(loss, &mut gradients).unwrap();
    ids.iter().map(|&id| gradients.get(id).unwrap().clone()).collect()
}

/// The parameter, then for each step the gradient and the parameter after it.
fn adamw(rows: &[Vec<f32>]) {
    let mut parameter = rows[0].clone();
    let (mut m, mut v) = (vec![0.0; parameter.len()], vec![0.0; parameter.len()]);
    for (step, pair) in (1..).zip(rows[1..].chunks_exact(2)) {
        let numbers = AdamwStep { rate: 0.01, scale: 1.0, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decay: 0.1, step };
        op::adamw_step(&mut parameter, &pair[0], &mut m, &mut v, &numbers).unwrap();
        assert_close("adamw", &parameter, &pair[1], 1e-6, RELATIVE);
    }
}
