//! Every operation against a reference in `f64`, at odd, single and empty sizes.

use metier_compute::op::{self, AdamwStep, AttentionShape, Rotary, Sequence};
use metier_compute::{Tape, Tensor, Var};
use metier_core::Result;
use metier_testkit::assert_close;

use crate::harness::{check, inputs, noise};

/// `a b^T` for `a [n, k]` and `b [m, k]`.
fn by_rows(a: &[f64], b: &[f64], n: usize, m: usize, k: usize) -> Vec<f64> {
    let mut out = vec![0.0; n * m];
    for i in 0..n {
        for j in 0..m {
            out[i * m + j] = (0..k).map(|l| a[i * k + l] * b[j * k + l]).sum();
        }
    }
    out
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

const SIZES: &[(usize, usize, usize)] = &[(5, 7, 3), (1, 1, 1), (3, 17, 33), (0, 4, 3), (4, 0, 3), (4, 3, 0)];

#[test]
fn linear() {
    for &(n, i, o) in SIZES {
        let name = format!("linear {n} {i} {o}");
        let plain = inputs(&[&[n, i], &[o, i]]);
        check(&name, &plain, &|tape, v| op::linear(tape, v[0], v[1], None), &|v| by_rows(&v[0], &v[1], n, o, i));
        let biased = inputs(&[&[n, i], &[o, i], &[o]]);
        check(&name, &biased, &|tape, v| op::linear(tape, v[0], v[1], Some(v[2])), &|v| {
            let product = by_rows(&v[0], &v[1], n, o, i);
            product.iter().enumerate().map(|(at, y)| y + v[2][at % o]).collect()
        });
    }
}

#[test]
fn linear_shares_one_input_and_one_weight() {
    let body: &dyn for<'p> Fn(&mut Tape<'p>, &[Var]) -> Result<Var> = &|tape, v| {
        let once = op::linear(tape, v[0], v[1], None)?;
        let twice = op::linear(tape, once, v[1], None)?;
        op::add(tape, twice, v[0])
    };
    check("linear twice", &inputs(&[&[3, 4], &[4, 4]]), body, &|v| {
        let once = by_rows(&v[0], &v[1], 3, 4, 4);
        by_rows(&once, &v[1], 3, 4, 4).iter().zip(&v[0]).map(|(a, b)| a + b).collect()
    });
}

#[test]
fn low_rank_linear() {
    for &(n, i, o) in SIZES {
        for rank in [1, 2, 5] {
            let tensors = inputs(&[&[n, i], &[o, i], &[rank, i], &[o, rank]]);
            let body: &dyn for<'p> Fn(&mut Tape<'p>, &[Var]) -> Result<Var> =
                &|tape, v| op::low_rank_linear(tape, v[0], v[1], v[2], v[3], 0.7);
            check(&format!("low rank {n} {i} {o} {rank}"), &tensors, body, &|v| {
                let inner = by_rows(&v[0], &v[2], n, rank, i);
                let low = by_rows(&inner, &v[3], n, o, rank);
                by_rows(&v[0], &v[1], n, o, i).iter().zip(low).map(|(a, b)| a + f64::from(0.7_f32) * b).collect()
            });
        }
    }
}

#[test]
fn embedding() {
    let ids = [2, 0, 2, 4, 2];
    check("embedding", &inputs(&[&[5, 3]]), &|tape, v| op::embedding(tape, v[0], &ids), &|v| {
        ids.iter().flat_map(|&id| v[0][id as usize * 3..][..3].to_vec()).collect()
    });
    check("no ids", &inputs(&[&[5, 3]]), &|tape, v| op::embedding(tape, v[0], &[]), &|_| Vec::new());
    check("no width", &inputs(&[&[5, 0]]), &|tape, v| op::embedding(tape, v[0], &ids), &|_| Vec::new());
}

#[test]
fn norms() {
    for (n, d) in [(5, 7), (1, 1), (3, 33), (70, 4), (0, 4), (4, 0)] {
        let tensors = inputs(&[&[n, d], &[d]]);
        check(&format!("rms_norm {n} {d}"), &tensors, &|tape, v| op::rms_norm(tape, v[0], v[1], 1e-3), &|v| {
            let rows = v[0].chunks(d.max(1));
            rows.flat_map(|row| {
                let mean = row.iter().map(|x| x * x).sum::<f64>() / d as f64;
                let inverse = 1.0 / (mean + f64::from(1e-3_f32)).sqrt();
                row.iter().zip(&v[1]).map(move |(x, w)| x * inverse * w).collect::<Vec<_>>()
            })
            .collect()
        });
        let tensors = inputs(&[&[n, d], &[d], &[d]]);
        let body: &dyn for<'p> Fn(&mut Tape<'p>, &[Var]) -> Result<Var> =
            &|tape, v| op::layer_norm(tape, v[0], v[1], Some(v[2]), 1e-2);
        check(&format!("layer_norm {n} {d}"), &tensors, body, &|v| {
            let rows = v[0].chunks(d.max(1));
            rows.flat_map(|row| {
                let mean = row.iter().sum::<f64>() / d as f64;
                let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / d as f64;
                let inverse = 1.0 / (variance + f64::from(1e-2_f32)).sqrt();
                let scaled = row.iter().zip(&v[1]).map(move |(x, w)| (x - mean) * inverse * w);
                scaled.zip(&v[2]).map(|(y, b)| y + b).collect::<Vec<_>>()
            })
            .collect()
        });
    }
}

#[test]
fn elementwise() {
    for shape in [&[5, 7][..], &[1], &[], &[2, 3, 4], &[0, 3]] {
        let two = inputs(&[shape, shape]);
        check("add", &two, &|tape, v| op::add(tape, v[0], v[1]), &|v| {
            v[0].iter().zip(&v[1]).map(|(a, b)| a + b).collect()
        });
        check("multiply", &two, &|tape, v| op::multiply(tape, v[0], v[1]), &|v| {
            v[0].iter().zip(&v[1]).map(|(a, b)| a * b).collect()
        });
        check("swiglu", &two, &|tape, v| op::swiglu(tape, v[0], v[1]), &|v| {
            v[0].iter().zip(&v[1]).map(|(g, u)| g * sigmoid(*g) * u).collect()
        });
        let one = inputs(&[shape]);
        check("scale", &one, &|tape, v| op::scale(tape, v[0], -1.5), &|v| v[0].iter().map(|x| -1.5 * x).collect());
        check("sum", &one, &|tape, v| op::sum(tape, v[0]), &|v| vec![v[0].iter().sum()]);
        if !one[0].is_empty() {
            let count = one[0].len() as f64;
            check("mean", &one, &|tape, v| op::mean(tape, v[0]), &|v| vec![v[0].iter().sum::<f64>() / count]);
        }
    }
    let one = inputs(&[&[3, 3]]);
    check("square", &one, &|tape, v| op::multiply(tape, v[0], v[0]), &|v| v[0].iter().map(|x| x * x).collect());
    check("double", &one, &|tape, v| op::add(tape, v[0], v[0]), &|v| v[0].iter().map(|x| 2.0 * x).collect());
}

/// Two of three pairs turn, by frequencies of their own, and grow.
#[test]
fn rotary_of_a_part_of_each_head() {
    let frequencies = [0.75_f32, 0.125];
    for interleaved in [false, true] {
        let shape = Rotary { head_dim: 7, frequencies: frequencies.into(), magnitude: 1.5, interleaved };
        let positions = [0, 3, 9];
        check("partial rotary", &inputs(&[&[3, 14]]), &|tape, v| op::rotary(tape, v[0], &shape, &positions), &|v| {
            let mut out = v[0].clone();
            for (place, &frequency) in (0..12).zip(frequencies.iter().cycle()) {
                let (head, i) = (place / 2, place % 2);
                let angle = f64::from(positions[head / 2] as f32 * frequency);
                let (a, b) = if interleaved { (2 * i, 2 * i + 1) } else { (i, i + 2) };
                let (x1, x2) = (v[0][head * 7 + a], v[0][head * 7 + b]);
                out[head * 7 + a] = 1.5 * (x1 * angle.cos() - x2 * angle.sin());
                out[head * 7 + b] = 1.5 * (x2 * angle.cos() + x1 * angle.sin());
            }
            out
        });
    }
}

#[test]
fn rotary() {
    for (positions, heads, head_dim) in [(&[0, 1, 5, 60][..], 3, 6), (&[7], 1, 2), (&[], 2, 4), (&[3, 4], 0, 4)] {
        for interleaved in [false, true] {
            let shape = Rotary { interleaved, ..Rotary::new(head_dim, 10000.0) };
            let width = heads * head_dim;
            let tensors = inputs(&[&[positions.len(), width]]);
            check("rotary", &tensors, &|tape, v| op::rotary(tape, v[0], &shape, positions), &|v| {
                let mut out = v[0].clone();
                for (row, &position) in positions.iter().enumerate() {
                    for head in 0..heads {
                        for i in 0..head_dim / 2 {
                            let frequency = 10000_f64.powf(-2.0 * i as f64 / head_dim as f64) as f32;
                            let angle = f64::from(position as f32 * frequency);
                            let at = row * width + head * head_dim;
                            let (a, b) = if interleaved { (2 * i, 2 * i + 1) } else { (i, i + head_dim / 2) };
                            let (x1, x2) = (v[0][at + a], v[0][at + b]);
                            out[at + a] = x1 * angle.cos() - x2 * angle.sin();
                            out[at + b] = x2 * angle.cos() + x1 * angle.sin();
                        }
                    }
                }
                out
            });
        }
    }
}

fn attention_reference(v: &[Vec<f64>], queries: usize, shape: &AttentionShape, sequences: &[Sequence]) -> Vec<f64> {
    let AttentionShape { heads, kv_heads, head_dim: d, scale, causal, window, softcap } = *shape;
    let mut out = vec![0.0; queries * heads * d];
    for Sequence { query, key } in sequences {
        for (i, row) in query.clone().enumerate() {
            let own = key.len() - query.len() + i;
            let start = window.map_or(0, |window| (own + 1).saturating_sub(window));
            let end = match window {
                _ if causal => own + 1,
                Some(window) => (own + window).min(key.len()),
                None => key.len(),
            };
            for head in 0..heads {
                let q = &v[0][(row * heads + head) * d..][..d];
                let at = |key_row: usize| ((key.start + key_row) * kv_heads + head * kv_heads / heads) * d;
                let scores: Vec<f64> = (start..end)
                    .map(|j| q.iter().zip(&v[1][at(j)..]).map(|(a, b)| a * b).sum::<f64>() * f64::from(scale))
                    .map(|score| softcap.map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh()))
                    .collect();
                let total: f64 = scores.iter().map(|score| score.exp()).sum();
                for (j, score) in (start..end).zip(&scores) {
                    for c in 0..d {
                        out[(row * heads + head) * d + c] += score.exp() / total * v[2][at(j) + c];
                    }
                }
            }
        }
    }
    out
}

#[test]
fn attention() {
    let same = |rows: std::ops::Range<usize>| Sequence { query: rows.clone(), key: rows };
    let cases: Vec<(&str, usize, usize, AttentionShape, Vec<Sequence>)> = vec![
        ("one", 5, 5, shape(2, 2, 3, None), vec![same(0..5)]),
        ("shared heads, segments", 7, 7, shape(4, 2, 2, None), vec![same(0..3), same(3..7)]),
        ("window", 6, 6, shape(3, 1, 2, Some(2)), vec![same(0..6)]),
        ("capped", 5, 7, capped(shape(3, 1, 2, None)), vec![Sequence { query: 0..5, key: 0..7 }]),
        ("capped, window", 6, 6, capped(shape(2, 2, 3, Some(3))), vec![same(0..2), same(2..6)]),
        ("window of one", 4, 4, shape(1, 1, 2, Some(1)), vec![same(0..4)]),
        ("both sides", 5, 5, both_sides(shape(2, 2, 3, None)), vec![same(0..5)]),
        ("both sides, shared heads, segments", 7, 7, both_sides(shape(4, 2, 2, None)), vec![same(0..3), same(3..7)]),
        ("both sides, window", 6, 6, both_sides(shape(3, 1, 2, Some(2))), vec![same(0..6)]),
        ("both sides, window of one", 4, 4, both_sides(shape(1, 1, 2, Some(1))), vec![same(0..4)]),
        ("both sides, capped, window", 6, 6, capped(both_sides(shape(2, 2, 3, Some(3)))), vec![same(0..2), same(2..6)]),
        ("both sides, more keys", 3, 8, both_sides(shape(2, 1, 2, Some(4))), vec![Sequence { query: 0..3, key: 2..8 }]),
        ("behind a cache", 3, 8, shape(2, 1, 2, None), vec![Sequence { query: 0..3, key: 2..8 }]),
        (
            "a shared prefix and rows outside",
            5,
            6,
            shape(2, 1, 2, None),
            vec![Sequence { query: 0..1, key: 0..3 }, Sequence { query: 2..4, key: 0..5 }],
        ),
        ("single", 1, 1, shape(1, 1, 1, None), vec![same(0..1)]),
        ("nothing", 0, 0, shape(2, 1, 4, None), vec![]),
        ("an empty sequence", 2, 2, shape(1, 1, 2, None), vec![same(0..0), same(0..2)]),
    ];
    for (name, queries, keys, shape, sequences) in cases {
        let (q, k) = (shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim);
        let tensors = inputs(&[&[queries, q], &[keys, k], &[keys, k]]);
        let body: &dyn for<'p> Fn(&mut Tape<'p>, &[Var]) -> Result<Var> =
            &|tape, v| op::attention(tape, v[0], v[1], v[2], &shape, &sequences);
        check(name, &tensors, body, &|v| attention_reference(v, queries, &shape, &sequences));
    }
}

/// Long enough for several tiles; only the output and one direction of the gradient are checked.
#[test]
fn attention_over_several_tiles() {
    let shapes = [shape(2, 1, 4, None), shape(2, 1, 4, Some(300)), capped(shape(2, 1, 4, Some(300)))];
    for shape in shapes.into_iter().flat_map(|shape| [shape, both_sides(shape)]) {
        let sequences = [Sequence { query: 0..300, key: 0..700 }, Sequence { query: 300..650, key: 700..1050 }];
        let tensors = inputs(&[&[650, 8], &[1050, 4], &[1050, 4]]);
        let all: Vec<(Tensor, bool)> = tensors.iter().map(|tensor| (tensor.clone(), true)).collect();
        let body: &dyn for<'p> Fn(&mut Tape<'p>, &[Var]) -> Result<Var> =
            &|tape, v| op::attention(tape, v[0], v[1], v[2], &shape, &sequences);
        let outcome = crate::harness::run(&all, body).unwrap();
        let wide: Vec<Vec<f64>> =
            tensors.iter().map(|tensor| tensor.data().iter().copied().map(f64::from).collect()).collect();
        let want = attention_reference(&wide, 650, &shape, &sequences);
        assert_close("tiles", outcome.output.data(), &want, 2e-6, 1e-5);
        let weights = noise(99, want.len());
        let loss = |values: &[Vec<f64>]| -> f64 {
            let out = attention_reference(values, 650, &shape, &sequences);
            out.iter().zip(&weights).map(|(y, weight)| y * f64::from(*weight)).sum()
        };
        for index in 0..3 {
            let gradient = outcome.gradients[index].as_ref().unwrap();
            let direction: Vec<f64> = noise(7, gradient.len()).into_iter().map(f64::from).collect();
            let moved = |step: f64| {
                let mut values = wide.clone();
                values[index].iter_mut().zip(&direction).for_each(|(value, along)| *value += step * along);
                loss(&values)
            };
            let want = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            let got: f64 = gradient.data().iter().zip(&direction).map(|(g, along)| f64::from(*g) * along).sum();
            assert_close(&format!("tiles: gradient {index}"), &[got], &[want], 1e-4, 1e-4);
        }
    }
}

/// Its scores capped where they are small enough to be changed by it.
fn capped(shape: AttentionShape) -> AttentionShape {
    AttentionShape { softcap: Some(0.75), ..shape }
}

fn shape(heads: usize, kv_heads: usize, head_dim: usize, window: Option<usize>) -> AttentionShape {
    AttentionShape { heads, kv_heads, head_dim, scale: 0.6, causal: true, window, softcap: None }
}

/// The same, where a query sees keys on both sides.
fn both_sides(shape: AttentionShape) -> AttentionShape {
    AttentionShape { causal: false, ..shape }
}

#[test]
fn head_cross_entropy() {
    let cases: [(usize, usize, usize, &[f32]); 3] =
        [(5, 3, 7, &[1.0, 0.0, 0.5, 2.0, 1.0]), (1, 1, 1, &[1.0]), (2, 17, 40, &[0.25, 0.0])];
    for (n, d, v, weights) in cases {
        let targets: Vec<u32> = (0..n).map(|row| (row * 5 % v) as u32).collect();
        let tensors = inputs(&[&[n, d], &[v, d]]);
        let body: &dyn for<'p> Fn(&mut Tape<'p>, &[Var]) -> Result<Var> =
            &|tape, vars| op::head_cross_entropy(tape, vars[0], vars[1], &targets, weights);
        check(&format!("head {n} {d} {v}"), &tensors, body, &|values| {
            let logits = by_rows(&values[0], &values[1], n, v, d);
            let total: f64 = weights.iter().copied().map(f64::from).sum();
            let losses = logits.chunks(v).zip(&targets).zip(weights).map(|((row, &target), weight)| {
                let sum: f64 = row.iter().map(|x| x.exp()).sum();
                f64::from(*weight) * (sum.ln() - row[target as usize])
            });
            vec![losses.sum::<f64>() / total]
        });
        let scored = op::head_log_probabilities(&tensors[0], &tensors[1], &targets).unwrap();
        let logits = op::head_logits(&tensors[0], &tensors[1]).unwrap();
        for ((row, &target), (log_probability, best)) in logits.data().chunks(v).zip(&targets).zip(scored) {
            let sum: f64 = row.iter().map(|x| f64::from(*x).exp()).sum();
            let want = f64::from(row[target as usize]) - sum.ln();
            assert_close("log probability", &[log_probability], &[want], 1e-6, 1e-5);
            assert_eq!(best, row.iter().all(|x| *x <= row[target as usize]));
        }
    }
}

/// A head with a bias, whose logits are capped where they are small enough to be changed by it.
#[test]
fn head_with_bias_and_cap() {
    let (n, d, v) = (4, 3, 5);
    let (targets, weights) = ([4, 0, 2, 2], [1.0, 0.5, 0.0, 2.0]);
    for (has_bias, softcap) in [(true, None), (false, Some(0.8)), (true, Some(0.8))] {
        let shapes: &[&[usize]] = if has_bias { &[&[n, d], &[v, d], &[v]] } else { &[&[n, d], &[v, d]] };
        let tensors = inputs(shapes);
        let body: &dyn for<'p> Fn(&mut Tape<'p>, &[Var]) -> Result<Var> = &|tape, vars| {
            let head = op::Head { weight: vars[1], bias: vars.get(2).copied(), softcap };
            op::head_cross_entropy(tape, vars[0], head, &targets, &weights)
        };
        let logits_of = |values: &[Vec<f64>]| -> Vec<f64> {
            let finish = |(at, logit): (usize, f64)| {
                let logit = logit + values.get(2).map_or(0.0, |bias| bias[at % v]);
                softcap.map_or(logit, |cap: f32| f64::from(cap) * (logit / f64::from(cap)).tanh())
            };
            by_rows(&values[0], &values[1], n, v, d).into_iter().enumerate().map(finish).collect()
        };
        check(&format!("head, bias {has_bias}, cap {softcap:?}"), &tensors, body, &|values| {
            let logits = logits_of(values);
            let losses = logits.chunks(v).zip(targets).zip(weights).map(|((row, target), weight)| {
                let sum: f64 = row.iter().map(|x| x.exp()).sum();
                f64::from(weight) * (sum.ln() - row[target as usize])
            });
            vec![losses.sum::<f64>() / 3.5]
        });
        let wide: Vec<Vec<f64>> =
            tensors.iter().map(|tensor| tensor.data().iter().copied().map(f64::from).collect()).collect();
        let head = op::Head { weight: &tensors[1], bias: tensors.get(2), softcap };
        let logits = op::head_logits(&tensors[0], head).unwrap();
        let want = logits_of(&wide);
        assert_close("logits", logits.data(), &want, 1e-6, 1e-5);
        let scored = op::head_log_probabilities(&tensors[0], head, &targets).unwrap();
        for ((row, target), (log_probability, _)) in want.chunks(v).zip(targets).zip(scored) {
            let sum: f64 = row.iter().map(|x| x.exp()).sum();
            assert_close("log probability", &[log_probability], &[row[target as usize] - sum.ln()], 1e-6, 1e-5);
        }
    }
}

#[test]
fn adamw() {
    let (mut parameter, gradients) = (noise(1, 40_000), [noise(2, 40_000), noise(3, 40_000)]);
    let mut want: Vec<f64> = parameter.iter().copied().map(f64::from).collect();
    let (mut m, mut v) = (vec![0.0; 40_000], vec![0.0; 40_000]);
    let (mut wide_m, mut wide_v) = (vec![0.0_f64; 40_000], vec![0.0_f64; 40_000]);
    for (step, gradient) in (1..).zip(&gradients) {
        let numbers = AdamwStep { rate: 0.01, scale: 1.0, beta1: 0.9, beta2: 0.95, epsilon: 1e-8, decay: 0.1, step };
        op::adamw_step(&mut parameter, gradient, &mut m, &mut v, &numbers).unwrap();
        for at in 0..want.len() {
            let g = f64::from(gradient[at]);
            wide_m[at] = 0.9 * wide_m[at] + 0.1 * g;
            wide_v[at] = 0.95 * wide_v[at] + 0.05 * g * g;
            let after = |beta: f64| 1.0 - beta.powi(step as i32);
            let change = wide_m[at] / after(0.9) / ((wide_v[at] / after(0.95)).sqrt() + 1e-8);
            want[at] = want[at] * (1.0 - 0.01 * 0.1) - 0.01 * change;
        }
    }
    assert_close("adamw", &parameter, &want, 1e-6, 1e-5);
}
