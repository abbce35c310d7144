//! Outputs and gradients as PyTorch computes them; `fixtures/reference/compute_ops.py` made the numbers.

use std::collections::BTreeMap;

use metier_compute::op::{self, Activation, AdamwStep, AttentionShape, Conv1d, Rotary, Sequence, Span, Transpose};
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
    scored: Scored,
}

#[derive(Deserialize)]
struct Scored {
    inputs: Vec<Array>,
    logits: Array,
    log_probabilities: Vec<f32>,
}

type Body = dyn for<'p> Fn(&mut Tape<'p>, &[Var]) -> Result<Var>;

fn body(name: &str) -> Box<Body> {
    if let Some(name) = name.strip_prefix("permuted ") {
        return viewed(name, |tape, x| {
            let order: Vec<usize> = (0..tape.shape(x)?.len()).rev().collect();
            op::permute(tape, x, &order)
        });
    }
    if let Some(name) = name.strip_prefix("sliced ") {
        return viewed(name, |tape, x| {
            let spans: Vec<Span> = tape.shape(x)?.iter().map(|&end| Span { start: 1, end, step: 2 }).collect();
            op::slice(tape, x, &spans)
        });
    }
    match name {
        "embedding" => Box::new(|tape, v| op::embedding(tape, v[0], &[1, 4, 1, 0])),
        "linear" => Box::new(|tape, v| op::linear(tape, v[0], v[1], Some(v[2]))),
        "low_rank_linear" => Box::new(|tape, v| op::low_rank_linear(tape, v[0], v[1], v[2], v[3], 1.5)),
        "rms_norm" => Box::new(|tape, v| op::rms_norm(tape, v[0], v[1], 1e-5)),
        "layer_norm" => Box::new(|tape, v| op::layer_norm(tape, v[0], v[1], Some(v[2]), 1e-5)),
        "swiglu" => Box::new(|tape, v| op::swiglu(tape, v[0], v[1])),
        "rotary" => Box::new(|tape, v| {
            let shape = Rotary::new(8, 10000.0);
            op::rotary(tape, v[0], &shape, &[0, 1, 2, 77, 1023])
        }),
        "attention" | "attention_bidirectional" => {
            let shape = attention_shape(name == "attention", None);
            Box::new(move |tape, v| {
                let sequences = [Sequence { query: 0..4, key: 0..4 }, Sequence { query: 4..9, key: 4..9 }];
                op::attention(tape, v[0], v[1], v[2], &shape, &sequences)
            })
        }
        "attention_window" | "attention_bidirectional_window" => {
            let shape = attention_shape(name == "attention_window", Some(3));
            Box::new(move |tape, v| {
                op::attention(tape, v[0], v[1], v[2], &shape, &[Sequence { query: 0..6, key: 0..9 }])
            })
        }
        "head_cross_entropy" => {
            Box::new(|tape, v| op::head_cross_entropy(tape, v[0], v[1], &[3, 0, 16, 9, 9], &[1.0, 1.0, 0.0, 0.5, 1.0]))
        }
        "linear_no_bias" => Box::new(|tape, v| op::linear(tape, v[0], v[1], None)),
        "layer_norm_no_bias" => Box::new(|tape, v| op::layer_norm(tape, v[0], v[1], None, 1e-5)),
        "rotary_interleaved" => Box::new(|tape, v| {
            let shape = Rotary { interleaved: true, ..Rotary::new(8, 10000.0) };
            op::rotary(tape, v[0], &shape, &[0, 1, 2, 77, 1023])
        }),
        other => general(other),
    }
}

fn attention_shape(causal: bool, window: Option<usize>) -> AttentionShape {
    let scale = 8.0_f32.powf(-0.5);
    AttentionShape { heads: 4, kv_heads: 2, head_dim: 8, scale, causal, window, softcap: None }
}

/// An operation on views of its inputs.
fn viewed(name: &str, view: impl Fn(&mut Tape<'_>, Var) -> Result<Var> + 'static) -> Box<Body> {
    let operation = body(name);
    Box::new(move |tape, v| {
        let views: Vec<Var> = v.iter().map(|&x| view(tape, x)).collect::<Result<_>>()?;
        operation(tape, &views)
    })
}

fn general(name: &str) -> Box<Body> {
    /// The indices of one axis, and one for each element of a `[2, 2, 4]`.
    const LIST: [u32; 4] = [2, 0, 2, 1];
    const EACH: [u32; 16] = [2, 0, 1, 1, 0, 2, 2, 1, 1, 1, 0, 0, 2, 0, 1, 2];
    fn mask() -> Tensor {
        Tensor::from_vec(&[3, 1], vec![1.0, 0.0, 1.0]).unwrap()
    }
    fn product(a: bool, b: bool) -> Box<Body> {
        Box::new(move |tape, v| op::batched_matmul(tape, v[0], v[1], Transpose { a, b }))
    }
    if let Some(kind) = Activation::ALL.into_iter().find(|kind| kind.name() == name) {
        return Box::new(move |tape, v| op::activation(tape, v[0], kind));
    }
    match name {
        "softmax" => Box::new(|tape, v| op::softmax(tape, v[0])),
        "log_softmax" => Box::new(|tape, v| op::log_softmax(tape, v[0])),
        "permute" => Box::new(|tape, v| op::permute(tape, v[0], &[2, 0, 1])),
        "reshape" => Box::new(|tape, v| op::reshape(tape, v[0], &[5, 1, 6])),
        "scale" => Box::new(|tape, v| op::scale(tape, v[0], -0.75)),
        "sum" => Box::new(|tape, v| op::sum(tape, v[0])),
        "mean" => Box::new(|tape, v| op::mean(tape, v[0])),
        "add" => Box::new(|tape, v| op::add(tape, v[0], v[1])),
        "subtract" => Box::new(|tape, v| op::subtract(tape, v[0], v[1])),
        "multiply" => Box::new(|tape, v| op::multiply(tape, v[0], v[1])),
        "divide" => Box::new(|tape, v| op::divide(tape, v[0], v[1])),
        "maximum" => Box::new(|tape, v| op::maximum(tape, v[0], v[1])),
        "minimum" => Box::new(|tape, v| op::minimum(tape, v[0], v[1])),
        "sum_axis" => Box::new(|tape, v| op::sum_axis(tape, v[0], 1)),
        "mean_axis" => Box::new(|tape, v| op::mean_axis(tape, v[0], 2)),
        "max_axis" => Box::new(|tape, v| op::max_axis(tape, v[0], 1)),
        "min_axis" => Box::new(|tape, v| op::min_axis(tape, v[0], 2)),
        "log_sum_exp" => Box::new(|tape, v| op::log_sum_exp(tape, v[0], 0)),
        "variance_axis" => Box::new(|tape, v| op::variance_axis(tape, v[0], 1)),
        "variance_of_all" => Box::new(|tape, v| op::variance_axis(tape, v[0], None)),
        "cumsum" => Box::new(|tape, v| op::cumsum(tape, v[0], 1)),
        "batched_matmul" | "batched_matmul_shared" => product(false, false),
        "batched_matmul_a" => product(true, false),
        "batched_matmul_b" => product(false, true),
        "batched_matmul_ab" => product(true, true),
        "index_select" => Box::new(|tape, v| op::index_select(tape, v[0], 1, &LIST)),
        "index_add" => Box::new(|tape, v| op::index_add(tape, v[0], 1, &LIST, v[1])),
        "gather" => Box::new(|tape, v| op::gather(tape, v[0], 1, &EACH, 2)),
        "scatter_add" => Box::new(|tape, v| op::scatter_add(tape, v[0], 1, &EACH, v[1])),
        "sort" => Box::new(|tape, v| Ok(op::sort(tape, v[0], false)?.0)),
        "sort_falling" => Box::new(|tape, v| Ok(op::sort(tape, v[0], true)?.0)),
        "top_k" => Box::new(|tape, v| Ok(op::top_k(tape, v[0], 3)?.0)),
        "concat" => Box::new(|tape, v| op::concat(tape, v, 1)),
        "slice" => Box::new(|tape, v| op::slice(tape, v[0], &[(1..3).into(), Span { start: 0, end: 7, step: 3 }])),
        "pad" => Box::new(|tape, v| op::pad(tape, v[0], &[(1, 3), (2, 0)], 0.5)),
        "where_mask" => Box::new(|tape, v| op::where_mask(tape, &mask(), v[0], v[1])),
        "masked_fill" => Box::new(|tape, v| op::masked_fill(tape, v[0], &mask(), -2.5)),
        "clamp" => Box::new(|tape, v| op::clamp(tape, v[0], -0.5, 0.75)),
        "conv1d" => Box::new(|tape, v| {
            op::conv1d(tape, v[0], v[1], Some(v[2]), &Conv1d { padding: (1, 1), ..Conv1d::default() })
        }),
        "conv1d_strided" => Box::new(|tape, v| {
            let shape = Conv1d { stride: 3, dilation: 2, padding: (1, 1), groups: 2 };
            op::conv1d(tape, v[0], v[1], None, &shape)
        }),
        "conv1d_causal" => Box::new(|tape, v| {
            let shape = Conv1d { stride: 1, dilation: 2, padding: (4, 0), groups: 4 };
            op::conv1d(tape, v[0], v[1], None, &shape)
        }),
        "max_pool1d" => Box::new(|tape, v| op::max_pool1d(tape, v[0], 3, 2)),
        "average_pool1d" => Box::new(|tape, v| op::average_pool1d(tape, v[0], 3, 1)),
        "straight_through" => Box::new(|tape, v| {
            let square = op::multiply(tape, v[0], v[0])?;
            op::straight_through(tape, square, v[0])
        }),
        other => panic!("no operation for the golden {other}"),
    }
}

#[test]
fn operations_agree_with_pytorch() {
    let goldens: Goldens = golden::read_as("ops.json");
    assert_eq!(goldens.cases.len(), 71 + 2 * 29);
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
    scored(&goldens.scored);
}

fn scored(golden: &Scored) {
    let [x, head] =
        [0, 1].map(|at| Tensor::from_vec(&golden.inputs[at].shape, golden.inputs[at].values.clone()).unwrap());
    let logits = op::head_logits(&x, &head).unwrap();
    assert_eq!(logits.shape(), golden.logits.shape);
    assert_close("head_logits", logits.data(), &golden.logits.values, RELATIVE, RELATIVE);
    let found = op::head_log_probabilities(&x, &head, &[3, 0, 16, 9, 9]).unwrap();
    let found: Vec<f32> = found.into_iter().map(|(log_probability, _)| log_probability).collect();
    assert_close("head_log_probabilities", &found, &golden.log_probabilities, RELATIVE, RELATIVE);
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
