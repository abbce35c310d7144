//! Operations that move elements, against a reference in `f64`.

use metier_compute::op;
use metier_compute::{Parameters, Tape, Tensor};

use crate::general_axes::extents;
use crate::harness::{check, inputs};

const LINES: [(&[usize], usize); 9] = [
    (&[5, 7], 0),
    (&[5, 7], 1),
    (&[2, 3, 5], 0),
    (&[2, 3, 5], 1),
    (&[2, 3, 5], 2),
    (&[1], 0),
    (&[4, 1], 1),
    (&[0, 3], 1),
    (&[3, 0], 0),
];

#[test]
fn elements_at_indices() {
    for (shape, axis) in LINES {
        let [outer, size, inner] = extents(shape, axis);
        for count in [0, 1, 3, 11] {
            let indices: Vec<u32> = (0..count).map(|at| ((at * 5 + 2) % size) as u32).collect();
            let mut smaller = shape.to_vec();
            smaller[axis] = count;
            // The place in the output, and in `x`.
            let pairs: Vec<(usize, usize)> = (0..outer * count * inner)
                .map(|at| (at, (at / inner / count * size + indices[at / inner % count] as usize) * inner + at % inner))
                .collect();
            let name = format!("{shape:?} along {axis} by {indices:?}");
            check(
                &format!("index_select {name}"),
                &inputs(&[shape]),
                &|tape, v| op::index_select(tape, v[0], axis, &indices),
                &|v| pairs.iter().map(|&(_, from)| v[0][from]).collect(),
            );
            check(
                &format!("index_add {name}"),
                &inputs(&[shape, &smaller]),
                &|tape, v| op::index_add(tape, v[0], axis, &indices, v[1]),
                &|v| {
                    let mut out = v[0].clone();
                    pairs.iter().for_each(|&(at, from)| out[from] += v[1][at]);
                    out
                },
            );
        }
    }
}

#[test]
fn elements_with_an_index_each() {
    for (shape, axis) in LINES {
        let [outer, size, inner] = extents(shape, axis);
        for count in [0, 1, 3, 11] {
            let mut smaller = shape.to_vec();
            smaller[axis] = count;
            let indices: Vec<u32> = (0..outer * count * inner).map(|at| ((at * 7 + at / 3) % size) as u32).collect();
            let from = |at: usize| (at / inner / count * size + indices[at] as usize) * inner + at % inner;
            let name = format!("{shape:?} along {axis} by {indices:?}");
            check(
                &format!("gather {name}"),
                &inputs(&[shape]),
                &|tape, v| op::gather(tape, v[0], axis, &indices, count),
                &|v| (0..indices.len()).map(|at| v[0][from(at)]).collect(),
            );
            check(
                &format!("scatter_add {name}"),
                &inputs(&[shape, &smaller]),
                &|tape, v| op::scatter_add(tape, v[0], axis, &indices, v[1]),
                &|v| {
                    let mut out = v[0].clone();
                    (0..indices.len()).for_each(|at| out[from(at)] += v[1][at]);
                    out
                },
            );
        }
    }
}

#[test]
fn sorted_and_largest() {
    for shape in [&[5, 7][..], &[1], &[2, 3, 40], &[0, 3], &[3, 0], &[4, 1]] {
        let size = shape.last().copied().unwrap();
        let rows = |v: &[Vec<f64>], falling: bool, k: usize| -> Vec<f64> {
            let sorted = |row: &[f64]| {
                let mut row = row.to_vec();
                row.sort_by(|a, b| if falling { b.total_cmp(a) } else { a.total_cmp(b) });
                row.truncate(k);
                row
            };
            v[0].chunks(size.max(1)).flat_map(sorted).collect()
        };
        for falling in [false, true] {
            check(
                &format!("sort {shape:?} {falling}"),
                &inputs(&[shape]),
                &|tape, v| Ok(op::sort(tape, v[0], falling)?.0),
                &|v| rows(v, falling, size),
            );
        }
        for k in [0, 1, size / 2, size].into_iter().filter(|k| *k <= size) {
            check(
                &format!("top {k} of {shape:?}"),
                &inputs(&[shape]),
                &|tape, v| Ok(op::top_k(tape, v[0], k)?.0),
                &|v| rows(v, true, k),
            );
        }
    }
}

#[test]
fn equal_elements_keep_their_order_and_nan_is_the_largest() {
    let parameters = Parameters::new();
    let mut tape = Tape::inference(&parameters);
    let values = vec![1.0, 0.0, 1.0, f32::NAN, -0.0, 2.0, f32::NAN, 1.0];
    let x = tape.constant(Tensor::from_vec(&[8], values).unwrap());
    assert_eq!(op::sort(&mut tape, x, false).unwrap().1, [1, 4, 0, 2, 7, 5, 3, 6]);
    assert_eq!(op::sort(&mut tape, x, true).unwrap().1, [3, 6, 5, 0, 2, 7, 1, 4]);
    for k in 0..=8 {
        assert_eq!(op::top_k(&mut tape, x, k).unwrap().1, [3, 6, 5, 0, 2, 7, 1, 4][..k]);
    }
    let large = tape.constant(Tensor::zeros(&[3000]).unwrap());
    assert!(op::top_k(&mut tape, large, 40).unwrap().1.into_iter().eq(0..40));
}
