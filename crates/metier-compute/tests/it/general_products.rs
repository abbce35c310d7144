//! Products of batches of matrices, convolutions and pools against a reference in `f64`.

use metier_compute::op::{self, Conv1d, Transpose};

use crate::general_axes::stretch;
use crate::harness::{check, inputs};

/// Each of the matrices of `rows` and `columns`, transposed.
fn turn(values: &[f64], rows: usize, columns: usize) -> Vec<f64> {
    let length = (rows * columns).max(1);
    let turned = |matrix: &[f64]| -> Vec<f64> {
        (0..rows * columns).map(|at| matrix[at % rows * columns + at / rows]).collect()
    };
    values.chunks(length).flat_map(turned).collect()
}

fn swapped([first, second]: [usize; 2], swap: bool) -> [usize; 2] {
    if swap { [second, first] } else { [first, second] }
}

/// The inverse of each matrix, which is much larger on its diagonal than beside it, by elimination from the end.
fn inverses(values: &[f64], size: usize) -> Vec<f64> {
    let mut all = Vec::new();
    for matrix in values.chunks(size * size) {
        let mut left = matrix.to_vec();
        let mut right: Vec<f64> = (0..size * size).map(|at| f64::from(u8::from(at % (size + 1) == 0))).collect();
        for pivot in (0..size).rev() {
            for row in (0..size).filter(|row| *row != pivot) {
                let factor = left[row * size + pivot] / left[pivot * size + pivot];
                for column in 0..size {
                    left[row * size + column] -= factor * left[pivot * size + column];
                    right[row * size + column] -= factor * right[pivot * size + column];
                }
            }
        }
        all.extend((0..size * size).map(|at| right[at] / left[at / size * (size + 1)]));
    }
    all
}

#[test]
fn inverses_of_matrices() {
    let shapes: [&[usize]; 5] = [&[1, 1], &[3, 3], &[2, 4, 4], &[2, 1, 5, 5], &[0, 2, 2]];
    for shape in shapes {
        let size = *shape.last().unwrap();
        let mut x = inputs(&[shape]);
        for (at, value) in x[0].data_mut().iter_mut().enumerate() {
            *value += if at % (size * size) % (size + 1) == 0 { 4.0 } else { 0.0 };
        }
        check(&format!("{shape:?}"), &x, &|tape, v| op::inverse(tape, v[0]), &|v| inverses(&v[0], size));
    }
}

type Sizes = (&'static [usize], &'static [usize], [usize; 3]);

#[test]
fn batches_of_matrices() {
    let cases: [Sizes; 13] = [
        (&[], &[], [5, 7, 3]),
        (&[], &[], [1, 1, 1]),
        (&[3], &[3], [2, 3, 4]),
        (&[5], &[5], [2, 3, 1]),
        (&[3], &[], [2, 3, 4]),
        (&[], &[3], [2, 3, 4]),
        (&[2, 1], &[3], [2, 1, 3]),
        (&[2, 3], &[1, 1, 1], [1, 2, 3]),
        (&[5, 1], &[1, 2], [2, 2, 2]),
        (&[0], &[1], [2, 3, 2]),
        (&[1], &[0], [2, 3, 2]),
        (&[2], &[2], [3, 0, 2]),
        (&[2], &[2], [0, 3, 2]),
    ];
    for (a_batch, b_batch, [rows, depth, columns]) in cases {
        let rank = a_batch.len().max(b_batch.len());
        let at = |batch: &[usize], at: usize| (at + batch.len()).checked_sub(rank).map_or(1, |at| batch[at]);
        let batch: Vec<usize> = (0..rank)
            .map(|dimension| match (at(a_batch, dimension), at(b_batch, dimension)) {
                (1, size) | (size, _) => size,
            })
            .collect();
        for transpose in [(false, false), (true, false), (false, true), (true, true)].map(|(a, b)| Transpose { a, b }) {
            let a = [a_batch, &swapped([rows, depth], transpose.a)].concat();
            let b = [b_batch, &swapped([depth, columns], transpose.b)].concat();
            check(
                &format!("{a:?} {b:?} {transpose:?}"),
                &inputs(&[&a, &b]),
                &|tape, v| op::batched_matmul(tape, v[0], v[1], transpose),
                &|v| {
                    let left = if transpose.a { turn(&v[0], depth, rows) } else { v[0].clone() };
                    let right = if transpose.b { turn(&v[1], columns, depth) } else { v[1].clone() };
                    let full = |last: [usize; 2]| [&batch[..], &last].concat();
                    let own = |batch: &[usize], last: [usize; 2]| [batch, &last].concat();
                    let left = stretch(&left, &own(a_batch, [rows, depth]), &full([rows, depth]));
                    let right = stretch(&right, &own(b_batch, [depth, columns]), &full([depth, columns]));
                    let count: usize = batch.iter().product();
                    let element = |place: usize| {
                        let (m, n, k) = (place / (rows * columns), place / columns % rows, place % columns);
                        let left = &left[(m * rows + n) * depth..][..depth];
                        left.iter().enumerate().map(|(at, x)| x * right[(m * depth + at) * columns + k]).sum()
                    };
                    (0..count * rows * columns).map(element).collect()
                },
            );
        }
    }
}

fn convolved(x: &[f64], weight: &[f64], sizes: [usize; 6], conv: &Conv1d) -> Vec<f64> {
    let [batch, channels, length, outputs, taps, positions] = sizes;
    let inputs = channels / conv.groups;
    let mut out = Vec::new();
    for b in 0..batch {
        for o in 0..outputs {
            let group = o / (outputs / conv.groups);
            for t in 0..positions {
                let mut sum = 0.0;
                for c in 0..inputs {
                    for k in 0..taps {
                        let place = (t * conv.stride + k * conv.dilation).checked_sub(conv.padding.0);
                        if let Some(place) = place.filter(|place| *place < length) {
                            let x = x[(b * channels + group * inputs + c) * length + place];
                            sum += weight[(o * inputs + c) * taps + k] * x;
                        }
                    }
                }
                out.push(sum);
            }
        }
    }
    out
}

#[test]
fn convolutions() {
    let plain = Conv1d::default();
    // Batch, channels, length, outputs, taps, positions.
    let cases = [
        ([2, 3, 7, 5, 3, 5], plain),
        ([1, 1, 1, 1, 1, 1], plain),
        ([2, 3, 7, 5, 3, 8], Conv1d { padding: (1, 2), ..plain }),
        ([2, 3, 7, 5, 3, 4], Conv1d { padding: (1, 1), stride: 2, ..plain }),
        ([1, 4, 9, 6, 2, 3], Conv1d { stride: 3, dilation: 2, groups: 2, ..plain }),
        ([2, 4, 8, 4, 3, 8], Conv1d { padding: (4, 0), dilation: 2, groups: 4, ..plain }),
        ([2, 3, 5, 6, 2, 5], Conv1d { padding: (1, 0), groups: 3, ..plain }),
        ([2, 3, 6, 3, 2, 3], Conv1d { padding: (1, 0), stride: 2, groups: 3, ..plain }),
        ([1, 2, 3, 1, 2, 11], Conv1d { padding: (4, 5), ..plain }),
        ([1, 1, 2, 2, 4, 5], Conv1d { padding: (9, 0), dilation: 2, ..plain }),
        ([2, 35, 3, 37, 2, 2], plain),
        ([0, 2, 3, 2, 2, 2], plain),
        ([2, 0, 3, 2, 2, 2], plain),
        ([2, 2, 3, 0, 2, 2], plain),
        ([2, 2, 0, 2, 3, 0], Conv1d { padding: (2, 0), ..plain }),
        ([2, 2, 0, 2, 3, 2], Conv1d { padding: (2, 2), ..plain }),
    ];
    for (sizes, conv) in cases {
        let [batch, channels, length, outputs, taps, positions] = sizes;
        let shapes: [&[usize]; 3] = [&[batch, channels, length], &[outputs, channels / conv.groups, taps], &[outputs]];
        let name = format!("{sizes:?} {conv:?}");
        let tensors = inputs(&shapes);
        check(&name, &tensors[..2], &|tape, v| op::conv1d(tape, v[0], v[1], None, &conv), &|v| {
            convolved(&v[0], &v[1], sizes, &conv)
        });
        check(&name, &tensors, &|tape, v| op::conv1d(tape, v[0], v[1], Some(v[2]), &conv), &|v| {
            let mut out = convolved(&v[0], &v[1], sizes, &conv);
            out.iter_mut().enumerate().for_each(|(at, y)| *y += v[2][at / positions % outputs]);
            out
        });
        check(
            &format!("{name} of a square"),
            &tensors[..2],
            &|tape, v| {
                let twice = op::add(tape, v[0], v[0])?;
                let first = op::conv1d(tape, twice, v[1], None, &conv)?;
                let second = op::conv1d(tape, twice, v[1], None, &conv)?;
                op::add(tape, first, second)
            },
            &|v| convolved(&v[0], &v[1], sizes, &conv).into_iter().map(|y| 4.0 * y).collect(),
        );
    }
}

#[test]
fn no_output_of_a_causal_convolution_sees_what_comes_later() {
    let conv = Conv1d { padding: (6, 0), dilation: 3, groups: 2, ..Conv1d::default() };
    let mut tensors = inputs(&[&[1, 2, 9], &[2, 1, 3]]);
    let run = |tensors: &[metier_compute::Tensor]| {
        let all: Vec<_> = tensors.iter().map(|tensor| (tensor.clone(), false)).collect();
        crate::harness::run(&all, &|tape, v| op::conv1d(tape, v[0], v[1], None, &conv)).unwrap().output
    };
    let before = run(&tensors);
    tensors[0].data_mut()[5] += 1.0;
    let after = run(&tensors);
    assert_eq!(before.data()[..5], after.data()[..5]);
    assert_ne!(before.data()[5..9], after.data()[5..9]);
    assert_eq!(before.data()[9..], after.data()[9..]);
}

#[test]
fn pools() {
    let cases: [(&[usize], usize, usize); 10] = [
        (&[2, 3, 7], 3, 1),
        (&[2, 3, 7], 2, 2),
        (&[5, 8], 3, 2),
        (&[5, 8], 2, 5),
        (&[7], 7, 3),
        (&[1], 1, 1),
        (&[4, 1], 1, 2),
        (&[0, 3], 2, 1),
        (&[3, 0], 2, 1),
        (&[2, 40], 5, 1),
    ];
    for (shape, window, stride) in cases {
        let length = shape.last().copied().unwrap();
        let windows = |v: &[f64]| -> Vec<Vec<f64>> {
            let row =
                |row: &[f64]| -> Vec<Vec<f64>> { row.windows(window).step_by(stride).map(<[f64]>::to_vec).collect() };
            v.chunks(length.max(1)).flat_map(row).collect()
        };
        let name = format!("{shape:?} {window} {stride}");
        check(&format!("max {name}"), &inputs(&[shape]), &|tape, v| op::max_pool1d(tape, v[0], window, stride), &|v| {
            windows(&v[0]).iter().map(|row| row.iter().copied().fold(f64::NEG_INFINITY, f64::max)).collect()
        });
        check(
            &format!("average {name}"),
            &inputs(&[shape]),
            &|tape, v| op::average_pool1d(tape, v[0], window, stride),
            &|v| windows(&v[0]).iter().map(|row| row.iter().sum::<f64>() / window as f64).collect(),
        );
    }
    for stride in [1, 2] {
        let x = metier_compute::Tensor::from_vec(&[5], vec![1.0, 2.0, 2.0, f32::NAN, 0.0]).unwrap();
        let outcome = crate::harness::run(&[(x, true)], &|tape, v| op::max_pool1d(tape, v[0], 3, stride)).unwrap();
        let y = outcome.output.data();
        assert!((y[0] - 2.0).abs() < f32::EPSILON && y[1].is_nan(), "{y:?}");
        // The first of two equal ones.
        let dx = outcome.gradients[0].as_ref().unwrap().data();
        assert!((dx[1] - crate::harness::noise(99, 1)[0]).abs() < f32::EPSILON && dx[2].abs() < f32::EPSILON, "{dx:?}");
    }
}
