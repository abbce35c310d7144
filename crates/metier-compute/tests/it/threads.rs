//! Nothing depends on the number of threads, to the bit.

use metier_compute::op::{self, AdamwStep, AttentionShape, Conv1d, Rotary, Sequence, Span, Transpose};
use metier_compute::{Gradients, Parameters, Tape, Tensor, Var, kernel};
use metier_core::Result;
use metier_core::seed::Seed;

use crate::harness::{inputs, noise, run};

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn same_on_any_threads(name: &str, shapes: &[&[usize]], body: &dyn for<'p> Fn(&mut Tape<'p>, &[Var]) -> Result<Var>) {
    let tensors: Vec<(Tensor, bool)> = inputs(shapes).into_iter().map(|tensor| (tensor, true)).collect();
    let mut first: Option<Vec<Vec<u32>>> = None;
    for threads in [1, 2, 3] {
        kernel::set_threads(threads).unwrap();
        assert_eq!(kernel::threads(), threads);
        let outcome = run(&tensors, body).unwrap();
        let mut all = vec![bits(outcome.output.data())];
        all.extend(outcome.gradients.iter().map(|gradient| bits(gradient.as_ref().unwrap().data())));
        let wanted = first.get_or_insert_with(|| all.clone());
        assert!(*wanted == all, "{name} differs with {threads} threads");
    }
}

/// One test, because the number of threads belongs to the whole process.
#[test]
fn results_do_not_depend_on_threads() {
    same_on_any_threads("linear", &[&[300, 270], &[520, 270], &[520]], &|tape, v| {
        op::linear(tape, v[0], v[1], Some(v[2]))
    });
    same_on_any_threads("low_rank_linear", &[&[300, 270], &[520, 270], &[8, 270], &[520, 8]], &|tape, v| {
        op::low_rank_linear(tape, v[0], v[1], v[2], v[3], 2.0)
    });
    same_on_any_threads("embedding", &[&[50, 64]], &|tape, v| {
        let ids: Vec<u32> = (0..1000).map(|row| row * 7 % 50).collect();
        op::embedding(tape, v[0], &ids)
    });
    same_on_any_threads("rms_norm", &[&[700, 96], &[96]], &|tape, v| op::rms_norm(tape, v[0], v[1], 1e-5));
    same_on_any_threads("layer_norm", &[&[700, 96], &[96], &[96]], &|tape, v| {
        op::layer_norm(tape, v[0], v[1], Some(v[2]), 1e-5)
    });
    let two: &[&[usize]] = &[&[500, 130], &[500, 130]];
    same_on_any_threads("add", two, &|tape, v| op::add(tape, v[0], v[1]));
    same_on_any_threads("multiply", two, &|tape, v| op::multiply(tape, v[0], v[1]));
    let stretched: &[&[usize]] = &[&[500, 130], &[130]];
    same_on_any_threads("add stretched", stretched, &|tape, v| op::add(tape, v[0], v[1]));
    same_on_any_threads("divide", stretched, &|tape, v| op::divide(tape, v[1], v[0]));
    same_on_any_threads("permute", &two[..1], &|tape, v| op::permute(tape, v[0], &[1, 0]));
    for axis in [Some(0), Some(1), Some(2), None] {
        let one: &[&[usize]] = &[&[40, 60, 50]];
        same_on_any_threads("sum_axis", one, &|tape, v| op::sum_axis(tape, v[0], axis));
        same_on_any_threads("max_axis", one, &|tape, v| op::max_axis(tape, v[0], axis));
        same_on_any_threads("log_sum_exp", one, &|tape, v| op::log_sum_exp(tape, v[0], axis));
        same_on_any_threads("variance_axis", one, &|tape, v| op::variance_axis(tape, v[0], axis));
        if let Some(axis) = axis {
            same_on_any_threads("cumsum", one, &|tape, v| op::cumsum(tape, v[0], axis));
        }
    }
    for (a, b) in [(&[7, 60, 50][..], &[50, 70][..]), (&[7, 60, 50], &[7, 50, 70]), (&[300, 250], &[3, 250, 200])] {
        same_on_any_threads("batched_matmul", &[a, b], &|tape, v| {
            op::batched_matmul(tape, v[0], v[1], Transpose::default())
        });
    }
    for axis in [0, 1, 2] {
        let indices: Vec<u32> = (0..40).map(|at| at * 7 % 40).collect();
        let all: Vec<u32> = (0..40 * 60 * 50).map(|at| at * 7 % 40).collect();
        let one: &[&[usize]] = &[&[40, 60, 50]];
        same_on_any_threads("index_select", one, &|tape, v| op::index_select(tape, v[0], axis, &indices));
        same_on_any_threads("gather", one, &|tape, v| op::gather(tape, v[0], axis, &all, one[0][axis]));
    }
    same_on_any_threads("sort", two, &|tape, v| {
        let first = op::sort(tape, v[0], true)?.0;
        let second = op::top_k(tape, v[1], 130)?.0;
        op::multiply(tape, first, second)
    });
    same_on_any_threads("slice and concat", two, &|tape, v| {
        let step = Span { start: 1, end: 130, step: 3 };
        let part = op::slice(tape, v[0], &[(0..500).into(), step])?;
        let padded = op::pad(tape, part, &[(0, 0), (3, 84)], 0.5)?;
        op::concat(tape, &[padded, v[1]], 1)
    });
    let mask = Tensor::from_vec(&[500, 1], noise(5, 500).iter().map(|x| x.max(0.0)).collect()).unwrap();
    same_on_any_threads("where_mask", two, &|tape, v| op::where_mask(tape, &mask, v[0], v[1]));
    same_on_any_threads("clamp", &two[..1], &|tape, v| op::clamp(tape, v[0], -0.3, 0.4));
    same_on_any_threads("dropout", &two[..1], &|tape, v| op::dropout(tape, v[0], 0.3, &Seed::new(1)));
    let shapes: [[&[usize]; 3]; 3] = [
        [&[2, 40, 150], &[70, 40, 3], &[70]],
        [&[2, 80, 150], &[80, 1, 3], &[80]],
        [&[2, 80, 150], &[60, 20, 3], &[60]],
    ];
    for (shapes, groups) in shapes.iter().zip([1, 80, 4]) {
        for stride in [1, 2] {
            let conv = Conv1d { stride, groups, padding: (2, 0), ..Conv1d::default() };
            same_on_any_threads("conv1d", shapes, &|tape, v| op::conv1d(tape, v[0], v[1], Some(v[2]), &conv));
        }
    }
    same_on_any_threads("max_pool1d", &two[..1], &|tape, v| op::max_pool1d(tape, v[0], 3, 2));
    same_on_any_threads("average_pool1d", &two[..1], &|tape, v| op::average_pool1d(tape, v[0], 3, 1));
    same_on_any_threads("swiglu", two, &|tape, v| op::swiglu(tape, v[0], v[1]));
    same_on_any_threads("scale", &two[..1], &|tape, v| op::scale(tape, v[0], 0.3));
    same_on_any_threads("sum", &[&[300_000]], &|tape, v| op::sum(tape, v[0]));
    same_on_any_threads("mean", &[&[300_000]], &|tape, v| op::mean(tape, v[0]));
    same_on_any_threads("rotary", &[&[400, 128]], &|tape, v| {
        let positions: Vec<u32> = (0..400).collect();
        op::rotary(tape, v[0], &Rotary::new(32, 10000.0), &positions)
    });
    for (causal, window) in [(true, None), (false, None), (false, Some(70))] {
        same_on_any_threads("attention", &[&[900, 96], &[920, 32], &[920, 32]], &|tape, v| {
            let shape =
                AttentionShape { heads: 6, kv_heads: 2, head_dim: 16, scale: 0.25, causal, window, softcap: None };
            let sequences = [Sequence { query: 0..200, key: 0..220 }, Sequence { query: 200..900, key: 220..920 }];
            op::attention(tape, v[0], v[1], v[2], &shape, &sequences)
        });
    }
    same_on_any_threads("head_cross_entropy", &[&[300, 40], &[700, 40]], &|tape, v| {
        let targets: Vec<u32> = (0..300).collect();
        op::head_cross_entropy(tape, v[0], v[1], &targets, &[1.0; 300])
    });
    outside_the_tape();
}

fn outside_the_tape() {
    let mut found = Vec::new();
    for threads in [1, 2, 3] {
        kernel::set_threads(threads).unwrap();
        let (mut parameter, mut m, mut v) = (noise(1, 200_000), vec![0.0; 200_000], vec![0.0; 200_000]);
        let gradient = noise(2, 200_000);
        let step = AdamwStep { rate: 0.01, scale: 1.0, beta1: 0.9, beta2: 0.95, epsilon: 1e-8, decay: 0.1, step: 1 };
        op::adamw_step(&mut parameter, &gradient, &mut m, &mut v, &step).unwrap();

        let mut parameters = Parameters::new();
        let id = parameters.insert("p", Tensor::from_vec(&[200_000], parameter.clone()).unwrap(), true).unwrap();
        let mut gradients = Gradients::new();
        let mut tape = Tape::training(&parameters);
        let p = tape.parameter(id);
        let square = op::multiply(&mut tape, p, p).unwrap();
        let loss = op::sum(&mut tape, square).unwrap();
        tape.backward(loss, &mut gradients).unwrap();
        gradients.scale(0.5);

        let [x, head] = inputs(&[&[300, 40], &[700, 40]]).try_into().unwrap();
        let targets: Vec<u32> = (0..300).collect();
        let scored = op::head_log_probabilities(&x, &head, &targets).unwrap();
        let scored: Vec<f32> = scored.into_iter().map(|(log_probability, _)| log_probability).collect();
        found.push((bits(&parameter), gradients.norm().to_bits(), bits(&scored)));
    }
    assert!(found.windows(2).all(|pair| pair[0] == pair[1]));
}
