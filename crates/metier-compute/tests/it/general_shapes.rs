//! Operations that move elements, against a reference in `f64`.

use metier_compute::op::{self, Span};
use metier_compute::{Parameters, Tape, Tensor};

use crate::general_axes::{extents, stretch};
use crate::harness::{check, inputs, run};

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
                    for &(at, from) in &pairs {
                        out[from] += v[1][at];
                    }
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

/// The places of the elements of `spans`, in order.
fn places(shape: &[usize], spans: &[Span]) -> Vec<usize> {
    let mut places = vec![0];
    for (axis, &size) in shape.iter().enumerate() {
        let span = spans.get(axis).copied().unwrap_or(Span::from(0..size));
        let taken: Vec<usize> = (span.start..span.end).step_by(span.step).collect();
        places = places.iter().flat_map(|from| taken.iter().map(move |at| from * size + at)).collect();
    }
    places
}

#[test]
fn slices() {
    let span = |start, end, step| Span { start, end, step };
    let cases: [(&[usize], Vec<Span>, &[usize]); 11] = [
        (&[5, 7], vec![(1..4).into(), (2..7).into()], &[3, 5]),
        (&[5, 7], vec![span(0, 5, 2)], &[3, 7]),
        (&[5, 7], vec![(0..5).into(), span(1, 7, 3)], &[5, 2]),
        (&[2, 3, 5], vec![(1..2).into(), span(0, 3, 2), span(0, 4, 2)], &[1, 2, 2]),
        (&[2, 3, 5], vec![], &[2, 3, 5]),
        (&[], vec![], &[]),
        (&[1], vec![(0..1).into()], &[1]),
        (&[5, 7], vec![(5..5).into()], &[0, 7]),
        (&[5, 7], vec![(0..5).into(), (7..7).into()], &[5, 0]),
        (&[0, 3], vec![(0..0).into(), (1..3).into()], &[0, 2]),
        (&[4], vec![span(3, 4, usize::MAX)], &[1]),
    ];
    for (shape, spans, want) in cases {
        let name = format!("slice {shape:?} {spans:?}");
        let tensors = inputs(&[shape]);
        let outcome = run(&[(tensors[0].clone(), false)], &|tape, v| op::slice(tape, v[0], &spans)).unwrap();
        assert_eq!(outcome.output.shape(), want, "{name}");
        check(&name, &tensors, &|tape, v| op::slice(tape, v[0], &spans), &|v| {
            places(shape, &spans).into_iter().map(|at| v[0][at]).collect()
        });
        // Two slices of one tensor add up.
        check(
            &format!("{name} twice"),
            &tensors,
            &|tape, v| {
                let (first, second) = (op::slice(tape, v[0], &spans)?, op::slice(tape, v[0], &spans)?);
                op::multiply(tape, first, second)
            },
            &|v| places(shape, &spans).into_iter().map(|at| v[0][at] * v[0][at]).collect(),
        );
    }
}

#[test]
fn pads() {
    type Case = (&'static [usize], &'static [(usize, usize)], &'static [usize]);
    let cases: [Case; 8] = [
        (&[2, 3], &[(1, 2), (0, 1)], &[5, 4]),
        (&[2, 3], &[(0, 2)], &[4, 3]),
        (&[2, 3], &[], &[2, 3]),
        (&[1, 1, 1], &[(0, 0), (2, 0), (1, 1)], &[1, 3, 3]),
        (&[], &[], &[]),
        (&[0, 2], &[(1, 1), (1, 0)], &[2, 3]),
        (&[2, 0], &[(0, 0), (1, 1)], &[2, 2]),
        (&[0], &[(0, 0)], &[0]),
    ];
    for (shape, widths, want) in cases {
        let name = format!("pad {shape:?} {widths:?}");
        let tensors = inputs(&[shape]);
        let outcome = run(&[(tensors[0].clone(), false)], &|tape, v| op::pad(tape, v[0], widths, -0.5)).unwrap();
        assert_eq!(outcome.output.shape(), want, "{name}");
        check(&name, &tensors, &|tape, v| op::pad(tape, v[0], widths, -0.5), &|v| {
            let inside: Vec<Span> =
                widths.iter().zip(shape).map(|(&(before, _), size)| (before..before + size).into()).collect();
            let mut out = vec![-0.5; want.iter().product()];
            places(want, &inside).into_iter().zip(&v[0]).for_each(|(at, x)| out[at] = *x);
            out
        });
    }
}

#[test]
fn parts_one_behind_the_other() {
    let cases: [(&[&[usize]], usize); 8] = [
        (&[&[2, 3], &[4, 3]], 0),
        (&[&[2, 3], &[2, 1], &[2, 5]], 1),
        (&[&[2, 3, 2], &[2, 1, 2]], 1),
        (&[&[2, 1, 3], &[2, 1, 4]], 2),
        (&[&[1]], 0),
        (&[&[2, 0], &[2, 3], &[2, 0]], 1),
        (&[&[0, 2], &[0, 2]], 0),
        (&[&[0, 2], &[0, 3]], 1),
    ];
    for (shapes, axis) in cases {
        check(&format!("concat {shapes:?} {axis}"), &inputs(shapes), &|tape, v| op::concat(tape, v, axis), &|v| {
            let outer: usize = shapes[0][..axis].iter().product();
            let part = |row: usize, part: usize| {
                let length: usize = shapes[part][axis..].iter().product();
                v[part][row * length..(row + 1) * length].to_vec()
            };
            (0..outer).flat_map(|row| (0..v.len()).flat_map(move |at| part(row, at))).collect()
        });
    }
    let twice = |tape: &mut Tape<'_>, v: &[metier_compute::Var]| op::concat(tape, &[v[0], v[0]], 0);
    check("concat of one part twice", &inputs(&[&[2, 3]]), &twice, &|v| [&v[0][..], &v[0]].concat());
}

#[test]
fn elements_by_a_mask() {
    let cases: [[&[usize]; 4]; 8] = [
        [&[5, 7], &[5, 7], &[5, 7], &[5, 7]],
        [&[3, 4], &[2, 3, 4], &[], &[2, 3, 4]],
        [&[2, 1, 4], &[3, 1], &[4], &[2, 3, 4]],
        [&[2, 3], &[], &[1, 1], &[2, 3]],
        [&[], &[3], &[3], &[3]],
        [&[], &[], &[], &[]],
        [&[0, 3], &[3], &[1, 3], &[0, 3]],
        [&[1], &[2, 0], &[2, 1], &[2, 0]],
    ];
    for [mask_shape, a, b, shape] in cases {
        let count = mask_shape.iter().product();
        let mask: Vec<f32> = (0..count).map(|at: usize| [0.0, 1.0, 0.0, -2.0, 1.0][at * 3 % 5]).collect();
        let wide: Vec<f64> = mask.iter().copied().map(f64::from).collect();
        let mask = Tensor::from_vec(mask_shape, mask).unwrap();
        let chosen = stretch(&wide, mask_shape, shape);
        let name = format!("{mask_shape:?} {a:?} {b:?}");
        check(&format!("where {name}"), &inputs(&[a, b]), &|tape, v| op::where_mask(tape, &mask, v[0], v[1]), &|v| {
            let pairs = stretch(&v[0], a, shape).into_iter().zip(stretch(&v[1], b, shape));
            chosen.iter().zip(pairs).map(|(mask, (a, b))| if *mask == 0.0 { b } else { a }).collect()
        });
        check(&format!("fill {name}"), &inputs(&[shape]), &|tape, v| op::masked_fill(tape, v[0], &mask, 1.5), &|v| {
            chosen.iter().zip(&v[0]).map(|(mask, x)| if *mask == 0.0 { *x } else { 1.5 }).collect()
        });
    }
}

#[test]
fn what_the_mask_hides_sends_nothing_back() {
    let mask = Tensor::from_vec(&[3], vec![0.0, 1.0, 0.0]).unwrap();
    let x = Tensor::from_vec(&[3], vec![1.0, f32::NAN, 4.0]).unwrap();
    let outcome = run(&[(x, true)], &|tape, v| op::masked_fill(tape, v[0], &mask, 0.5)).unwrap();
    assert_eq!(outcome.output.data(), [1.0, 0.5, 4.0]);
    let weights = crate::harness::noise(99, 3);
    assert_eq!(outcome.gradients[0].as_ref().unwrap().data(), [weights[0], 0.0, weights[2]]);
}

#[test]
fn between_two_numbers() {
    for shape in [&[5, 7][..], &[], &[1], &[0, 3]] {
        for (low, high) in [(-0.25, 0.5), (f32::NEG_INFINITY, 0.1), (0.1, f32::INFINITY), (0.2, 0.2)] {
            let name = format!("clamp {shape:?} {low} {high}");
            check(&name, &inputs(&[shape]), &|tape, v| op::clamp(tape, v[0], low, high), &|v| {
                v[0].iter().map(|x| x.clamp(f64::from(low), f64::from(high))).collect()
            });
        }
    }
    let x = Tensor::from_vec(&[3], vec![f32::NAN, -1.0, 1.0]).unwrap();
    let outcome = run(&[(x, true)], &|tape, v| op::clamp(tape, v[0], -1.0, 1.0)).unwrap();
    assert!(outcome.output.data()[0].is_nan());
    // The ends are inside.
    assert_eq!(outcome.gradients[0].as_ref().unwrap().data()[1..], crate::harness::noise(99, 3)[1..]);
}
