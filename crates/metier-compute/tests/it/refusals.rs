//! Wrong shapes and wrong use are errors that say what and where.

use metier_compute::op::{self, AdamwStep, AttentionShape, Conv1d, Rotary, Sequence, Span, Transpose};
use metier_compute::{Parameters, Tape, Var};
use metier_core::Result;
use metier_core::seed::Seed;

use crate::harness::inputs;

#[track_caller]
fn refused(shapes: &[&[usize]], words: &[&str], body: impl for<'p> Fn(&mut Tape<'p>, &[Var]) -> Result<Var>) {
    let parameters = Parameters::new();
    let mut tape = Tape::inference(&parameters);
    let vars: Vec<Var> = inputs(shapes).into_iter().map(|tensor| tape.constant(tensor)).collect();
    let message = body(&mut tape, &vars).unwrap_err().to_string();
    for word in words {
        assert!(message.contains(word), "{message:?} does not say {word:?}");
    }
}

#[test]
fn shapes_that_do_not_fit() {
    let both = ["[2, 3]", "[4, 5]"];
    let two: &[&[usize]] = &[&[2, 3], &[4, 5]];
    refused(two, &["linear", both[0], both[1]], |tape, v| op::linear(tape, v[0], v[1], None));
    refused(two, &["add", both[0], both[1]], |tape, v| op::add(tape, v[0], v[1]));
    refused(two, &["multiply", both[0], both[1]], |tape, v| op::multiply(tape, v[0], v[1]));
    refused(two, &["swiglu", both[0], both[1]], |tape, v| op::swiglu(tape, v[0], v[1]));
    refused(two, &["rms_norm", both[0], both[1]], |tape, v| op::rms_norm(tape, v[0], v[1], 1e-5));
    refused(two, &["layer_norm", both[0], both[1]], |tape, v| op::layer_norm(tape, v[0], v[1], None, 1e-5));
    refused(two, &["head_cross_entropy", both[0], both[1]], |tape, v| {
        op::head_cross_entropy(tape, v[0], v[1], &[0, 0], &[1.0, 1.0])
    });
    refused(&[&[2, 3], &[4, 3], &[5]], &["linear", "[4, 3]", "[5]"], |tape, v| {
        op::linear(tape, v[0], v[1], Some(v[2]))
    });
    refused(&[&[2, 3], &[4, 3], &[2, 3], &[3, 2]], &["low_rank_linear", "[2, 3]", "[3, 2]"], |tape, v| {
        op::low_rank_linear(tape, v[0], v[1], v[2], v[3], 1.0)
    });
    refused(&[&[6], &[2, 3]], &["linear", "[6]"], |tape, v| op::linear(tape, v[0], v[1], None));
    refused(&[&[0]], &["mean", "[0]"], |tape, v| op::mean(tape, v[0]));
    refused(&[&[4]], &["normalized_mean", "[4]"], |tape, v| op::normalized_mean(tape, v[0], &[0..1, 1..4]));
    refused(&[&[4, 2]], &["normalized_mean", "3..5"], |tape, v| op::normalized_mean(tape, v[0], &[0..1, 3..5]));
    refused(&[&[4, 2]], &["normalized_mean", "2..2"], |tape, v| op::normalized_mean(tape, v[0], &[0..1, 2..2]));
}

#[test]
fn shapes_that_do_not_stretch_and_axes_that_are_not_there() {
    let two: &[&[usize]] = &[&[2, 3], &[4, 3]];
    let words = |op: &'static str| [op, "[2, 3]", "[4, 3]", "do not fit"];
    refused(two, &words("add"), |tape, v| op::add(tape, v[0], v[1]));
    refused(two, &words("subtract"), |tape, v| op::subtract(tape, v[0], v[1]));
    refused(two, &words("multiply"), |tape, v| op::multiply(tape, v[0], v[1]));
    refused(two, &words("divide"), |tape, v| op::divide(tape, v[0], v[1]));
    refused(two, &words("maximum"), |tape, v| op::maximum(tape, v[0], v[1]));
    refused(two, &words("minimum"), |tape, v| op::minimum(tape, v[0], v[1]));
    refused(&[&[0], &[2]], &["add", "[0]", "[2]"], |tape, v| op::add(tape, v[0], v[1]));
    let words = |op: &'static str| [op, "[2, 3]", "no axis 2"];
    refused(two, &words("sum_axis"), |tape, v| op::sum_axis(tape, v[0], 2));
    refused(two, &words("log_sum_exp"), |tape, v| op::log_sum_exp(tape, v[0], 2));
    refused(two, &words("cumsum"), |tape, v| op::cumsum(tape, v[0], 2));
    refused(two, &["inverse", "[2, 3]", "square"], |tape, v| op::inverse(tape, v[0]));
    refused(&[&[2, 2]], &["inverse", "matrix 0", "no inverse"], |tape, v| {
        let zeros = op::subtract(tape, v[0], v[0])?;
        op::inverse(tape, zeros)
    });
    refused(&[&[]], &["cumsum", "[]"], |tape, v| op::cumsum(tape, v[0], 0));
    for axis in [Some(1), None] {
        let words = |op: &'static str| [op, "[2, 0]", "no elements"];
        refused(&[&[2, 0]], &words("mean_axis"), |tape, v| op::mean_axis(tape, v[0], axis));
        refused(&[&[2, 0]], &words("max_axis"), |tape, v| op::max_axis(tape, v[0], axis));
        refused(&[&[2, 0]], &words("min_axis"), |tape, v| op::min_axis(tape, v[0], axis));
        refused(&[&[2, 0]], &words("variance_axis"), |tape, v| op::variance_axis(tape, v[0], axis));
    }
}

#[test]
fn products_and_indices() {
    let plain = Transpose::default();
    let product = |transpose| move |tape: &mut Tape<'_>, v: &[Var]| op::batched_matmul(tape, v[0], v[1], transpose);
    refused(&[&[2, 3], &[4, 5]], &["batched_matmul", "[2, 3]", "[4, 5]", "3 columns"], product(plain));
    let turned = Transpose { a: true, b: false };
    refused(&[&[2, 3], &[3, 5]], &["batched_matmul", "[2, 3]", "[3, 5]", "2 columns"], product(turned));
    refused(&[&[3], &[3, 5]], &["batched_matmul", "[3]", "[3, 5]", "rows and columns"], product(plain));
    refused(&[&[2, 1, 1], &[3, 1, 1]], &["batched_matmul", "[2]", "[3]", "do not fit"], product(plain));

    let two: &[&[usize]] = &[&[2, 3], &[2, 2]];
    refused(two, &["index_select", "[2, 3]", "no axis 2"], |tape, v| op::index_select(tape, v[0], 2, &[]));
    refused(two, &["index_select", "index 3 at position 1", "axis 1", "[2, 3]"], |tape, v| {
        op::index_select(tape, v[0], 1, &[2, 3])
    });
    refused(two, &["index_add", "index 3 at position 0", "[2, 3]"], |tape, v| {
        op::index_add(tape, v[0], 1, &[3, 0], v[1])
    });
    refused(two, &["index_add", "[2, 3]", "[2, 2]", "[2, 1]"], |tape, v| op::index_add(tape, v[0], 1, &[0], v[1]));
    refused(two, &["gather", "[2, 3]", "no axis 5"], |tape, v| op::gather(tape, v[0], 5, &[], 0));
    refused(two, &["gather", "3 indices", "[2, 2]", "[2, 3]"], |tape, v| op::gather(tape, v[0], 1, &[0; 3], 2));
    refused(two, &["gather", "indices"], |tape, v| op::gather(tape, v[0], 0, &[0], usize::MAX));
    refused(two, &["gather", "index 2 at position 1", "axis 0"], |tape, v| op::gather(tape, v[0], 0, &[1, 2, 0], 1));
    refused(two, &["scatter_add", "[2, 3]", "[2, 2]"], |tape, v| op::scatter_add(tape, v[0], 0, &[0; 4], v[1]));
    refused(two, &["scatter_add", "3 indices", "[2, 2]"], |tape, v| op::scatter_add(tape, v[0], 1, &[0; 3], v[1]));
    refused(two, &["scatter_add", "index 3"], |tape, v| op::scatter_add(tape, v[0], 1, &[0, 1, 2, 3], v[1]));
    refused(two, &["top_k", "[2, 3]", "4"], |tape, v| Ok(op::top_k(tape, v[0], 4)?.0));
    refused(&[&[]], &["top_k", "[]"], |tape, v| Ok(op::top_k(tape, v[0], 0)?.0));
    refused(&[&[]], &["sort", "[]"], |tape, v| Ok(op::sort(tape, v[0], true)?.0));
}

#[test]
fn parts_and_masks() {
    let two: &[&[usize]] = &[&[2, 3], &[4, 5]];
    for (start, end, step) in [(2, 1, 1), (0, 4, 1), (0, 3, 0), (4, 4, 1)] {
        let text = format!("{start}..{end} in steps of {step}");
        let spans = [(0..2).into(), Span { start, end, step }];
        refused(two, &["slice", &text, "axis 1", "[2, 3]"], |tape, v| op::slice(tape, v[0], &spans));
    }
    refused(two, &["slice", "3 spans", "[2, 3]"], |tape, v| op::slice(tape, v[0], &[(0..1).into(); 3]));
    refused(two, &["pad", "3 widths", "[2, 3]"], |tape, v| op::pad(tape, v[0], &[(0, 0); 3], 0.0));
    refused(two, &["pad", "[2, 3]", "too large"], |tape, v| op::pad(tape, v[0], &[(usize::MAX, 0)], 0.0));
    refused(two, &["more elements than"], |tape, v| op::pad(tape, v[0], &[(usize::MAX / 2, 0)], 0.0));
    refused(two, &["concat", "part 0 [2, 3]", "part 1 [4, 5]", "axis 0"], |tape, v| op::concat(tape, v, 0));
    refused(&[&[2, 3], &[2]], &["concat", "[2, 3]", "[2]"], |tape, v| op::concat(tape, v, 1));
    refused(two, &["concat", "[2, 3]", "no axis 2"], |tape, v| op::concat(tape, v, 2));
    refused(two, &["concat", "no parts"], |tape, _| op::concat(tape, &[], 0));
    let mask = inputs(&[&[3, 2]]).remove(0);
    refused(two, &["where_mask", "[2, 3]", "[4, 5]"], |tape, v| op::where_mask(tape, &mask, v[0], v[1]));
    refused(two, &["where_mask", "[2, 3]", "[3, 2]"], |tape, v| op::where_mask(tape, &mask, v[0], v[0]));
    refused(two, &["masked_fill", "[2, 3]", "[3, 2]"], |tape, v| op::masked_fill(tape, v[0], &mask, 0.0));
    let larger = inputs(&[&[7, 2, 3]]).remove(0);
    refused(two, &["masked_fill", "[2, 3]", "[7, 2, 3]"], |tape, v| op::masked_fill(tape, v[0], &larger, 0.0));
    for (low, high) in [(1.0, 0.0), (f32::NAN, 1.0), (0.0, f32::NAN)] {
        refused(two, &["clamp", "[2, 3]"], |tape, v| op::clamp(tape, v[0], low, high));
    }
    for rate in [-0.1, 1.0, f32::NAN] {
        refused(two, &["dropout", "[2, 3]", "0.0..1.0"], |tape, v| op::dropout(tape, v[0], rate, &Seed::new(1)));
    }
    refused(two, &["straight_through", "[2, 3]", "[4, 5]"], |tape, v| op::straight_through(tape, v[0], v[1]));
}

#[test]
fn convolutions_and_pools() {
    let plain = Conv1d::default();
    let run = |conv: Conv1d| move |tape: &mut Tape<'_>, v: &[Var]| op::conv1d(tape, v[0], v[1], None, &conv);
    let two: &[&[usize]] = &[&[2, 4, 5], &[6, 2, 3]];
    let words = ["conv1d", "[2, 4, 5]", "[6, 2, 3]"];
    refused(two, &words, run(plain));
    refused(two, &words, run(Conv1d { groups: 4, ..plain }));
    let good = Conv1d { groups: 2, ..plain };
    refused(two, &words, run(Conv1d { stride: 0, ..good }));
    refused(two, &words, run(Conv1d { dilation: 0, ..good }));
    refused(two, &words, run(Conv1d { groups: 0, ..plain }));
    refused(two, &words, run(Conv1d { dilation: 3, ..good }));
    refused(two, &words, run(Conv1d { dilation: usize::MAX, ..good }));
    refused(two, &words, run(Conv1d { padding: (usize::MAX, 1), ..good }));
    refused(&[&[2, 4, 5], &[5, 2, 3]], &["conv1d", "[2, 4, 5]", "[5, 2, 3]"], run(good));
    refused(&[&[2, 4, 5], &[6, 2, 0]], &["conv1d", "[6, 2, 0]"], run(good));
    refused(&[&[4, 5], &[6, 2, 3]], &["conv1d", "[4, 5]", "[6, 2, 3]"], run(good));
    refused(&[&[2, 4, 5], &[6, 2, 3], &[5]], &["conv1d", "[6, 2, 3]", "[5]"], move |tape, v| {
        op::conv1d(tape, v[0], v[1], Some(v[2]), &good)
    });
    for (window, stride) in [(0, 1), (1, 0), (6, 1)] {
        refused(two, &["max_pool1d", "[2, 4, 5]"], |tape, v| op::max_pool1d(tape, v[0], window, stride));
        refused(two, &["average_pool1d", "[2, 4, 5]"], |tape, v| op::average_pool1d(tape, v[0], window, stride));
    }
    refused(&[&[]], &["max_pool1d", "[]"], |tape, v| op::max_pool1d(tape, v[0], 1, 1));
}

#[test]
fn ids_positions_and_targets() {
    refused(&[&[5, 2]], &["embedding", "index 5", "position 1", "[5, 2]"], |tape, v| {
        op::embedding(tape, v[0], &[4, 5])
    });
    let turn = Rotary::new(4, 1e4);
    refused(&[&[2, 6]], &["rotary", "[2, 6]", "4"], |tape, v| op::rotary(tape, v[0], &turn, &[0, 1]));
    let none = Rotary { frequencies: [].into(), ..turn.clone() };
    refused(&[&[2, 8]], &["rotary", "0 pairs"], move |tape, v| op::rotary(tape, v[0], &none, &[0, 1]));
    refused(&[&[2, 8]], &["rotary", "2 positions, not 3"], |tape, v| op::rotary(tape, v[0], &turn, &[0, 1, 2]));
    let two: &[&[usize]] = &[&[2, 3], &[4, 3]];
    refused(two, &["target 4", "row 1"], |tape, v| op::head_cross_entropy(tape, v[0], v[1], &[0, 4], &[1.0, 1.0]));
    refused(two, &["weight", "row 0"], |tape, v| op::head_cross_entropy(tape, v[0], v[1], &[0, 1], &[f32::NAN, 1.0]));
    refused(&[&[2, 3], &[4, 3], &[3]], &["head_cross_entropy", "[4, 3]", "[3]"], |tape, v| {
        let head = op::Head { weight: v[1], bias: Some(v[2]), softcap: None };
        op::head_cross_entropy(tape, v[0], head, &[0, 1], &[1.0, 1.0])
    });
    refused(two, &["head_cross_entropy", "capped at -1"], |tape, v| {
        let head = op::Head { softcap: Some(-1.0), ..v[1].into() };
        op::head_cross_entropy(tape, v[0], head, &[0, 1], &[1.0, 1.0])
    });
    refused(two, &["none of 2 rows"], |tape, v| op::head_cross_entropy(tape, v[0], v[1], &[0, 1], &[0.0, 0.0]));
}

#[test]
fn attention_sequences() {
    let shape =
        AttentionShape { heads: 2, kv_heads: 1, head_dim: 2, scale: 1.0, causal: true, window: None, softcap: None };
    let three: &[&[usize]] = &[&[4, 4], &[5, 2], &[5, 2]];
    let run = move |sequences: Vec<Sequence>| {
        move |tape: &mut Tape<'_>, v: &[Var]| op::attention(tape, v[0], v[1], v[2], &shape, &sequences)
    };
    let sequence = |query: std::ops::Range<usize>, key: std::ops::Range<usize>| Sequence { query, key };
    refused(three, &["sequence 0", "reaches past"], run(vec![sequence(0..5, 0..5)]));
    refused(three, &["sequence 0", "3 queries but 2 keys"], run(vec![sequence(0..3, 0..2)]));
    refused(three, &["0..3", "2..4", "overlap"], run(vec![sequence(2..4, 0..4), sequence(0..3, 0..3)]));
    let uneven = AttentionShape { heads: 3, kv_heads: 2, ..shape };
    refused(three, &["3 query heads"], move |tape, v| op::attention(tape, v[0], v[1], v[2], &uneven, &[]));
    let wide = AttentionShape { head_dim: 4, ..shape };
    refused(three, &["[4, 4]", "[5, 2]"], move |tape, v| op::attention(tape, v[0], v[1], v[2], &wide, &[]));
    let wider = AttentionShape { head_dim: usize::MAX, ..shape };
    refused(three, &["[4, 4]", "[5, 2]"], move |tape, v| op::attention(tape, v[0], v[1], v[2], &wider, &[]));
    let capped = AttentionShape { softcap: Some(0.0), ..shape };
    refused(three, &["attention", "capped at 0"], move |tape, v| op::attention(tape, v[0], v[1], v[2], &capped, &[]));
    let blind = AttentionShape { window: Some(0), ..shape };
    refused(three, &["attention", "window of 0"], move |tape, v| op::attention(tape, v[0], v[1], v[2], &blind, &[]));
}

#[test]
fn optimizer_lengths() {
    let step = AdamwStep { rate: 0.1, scale: 1.0, beta1: 0.9, beta2: 0.9, epsilon: 1e-8, decay: 0.0, step: 1 };
    let error = op::adamw_step(&mut [0.0; 2], &[0.0; 3], &mut [0.0; 2], &mut [0.0; 2], &step).unwrap_err();
    assert!(error.to_string().contains("[2, 3, 2, 2]"));
    let first = AdamwStep { step: 0, ..step };
    assert!(op::adamw_step(&mut [0.0], &[0.0], &mut [0.0], &mut [0.0], &first).is_err());
}
