//! Products of batches of matrices against a reference in `f64`.

use metier_compute::op::{self, Transpose};

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
