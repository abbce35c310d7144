//! Arithmetic of shapes that stretch, and work along one axis, against a reference in `f64`.

use metier_compute::op;
use metier_compute::{Parameters, Tape, Tensor, Var};
use metier_core::Result;

use crate::harness::{check, inputs};

type Body = dyn for<'p> Fn(&mut Tape<'p>, &[Var]) -> Result<Var>;

/// The extents before, along and behind `axis`.
pub fn extents(shape: &[usize], axis: usize) -> [usize; 3] {
    [shape[..axis].iter().product(), shape[axis], shape[axis + 1..].iter().product()]
}

/// `values` of `shape` read at every place of `out`, which it stretches to.
pub fn stretch(values: &[f64], shape: &[usize], out: &[usize]) -> Vec<f64> {
    let total: usize = out.iter().product();
    let read = |mut at: usize| {
        let (mut from, mut step) = (0, 1);
        for (back, &size) in out.iter().rev().enumerate() {
            let own = shape.len().checked_sub(back + 1).map_or(1, |at| shape[at]);
            from += if own == 1 { 0 } else { at % size * step };
            step *= own;
            at /= size;
        }
        values[from]
    };
    (0..total).map(read).collect()
}

/// Each list of values along `axis`, in the order of the output of a reduction.
fn lines(values: &[f64], shape: &[usize], axis: Option<usize>) -> Vec<Vec<f64>> {
    let Some(axis) = axis else { return vec![values.to_vec()] };
    let [outer, size, inner] = extents(shape, axis);
    let line = |o: usize, i: usize| (0..size).map(|k| values[(o * size + k) * inner + i]).collect();
    (0..outer).flat_map(|o| (0..inner).map(move |i| (o, i))).map(|(o, i)| line(o, i)).collect()
}

const PAIRS: [(&[usize], &[usize], &[usize]); 13] = [
    (&[5, 7], &[5, 7], &[5, 7]),
    (&[], &[], &[]),
    (&[], &[3], &[3]),
    (&[2, 3, 5], &[5], &[2, 3, 5]),
    (&[2, 3, 5], &[3, 1], &[2, 3, 5]),
    (&[2, 3, 5], &[2, 1, 1], &[2, 3, 5]),
    (&[2, 1, 5], &[4, 1], &[2, 4, 5]),
    (&[3, 1], &[1, 4], &[3, 4]),
    (&[1], &[2, 2], &[2, 2]),
    (&[0, 3], &[3], &[0, 3]),
    (&[3, 1], &[3, 0], &[3, 0]),
    (&[1, 1], &[1], &[1, 1]),
    (&[2, 1, 2, 1], &[3, 1, 3], &[2, 3, 2, 3]),
];

#[test]
fn arithmetic_of_shapes_that_stretch() {
    type Exact = fn(f64, f64) -> f64;
    let kinds: [(&str, &Body, Exact); 6] = [
        ("add", &|tape, v| op::add(tape, v[0], v[1]), |a, b| a + b),
        ("subtract", &|tape, v| op::subtract(tape, v[0], v[1]), |a, b| a - b),
        ("multiply", &|tape, v| op::multiply(tape, v[0], v[1]), |a, b| a * b),
        ("divide", &|tape, v| op::divide(tape, v[0], v[1]), |a, b| a / b),
        ("maximum", &|tape, v| op::maximum(tape, v[0], v[1]), f64::max),
        ("minimum", &|tape, v| op::minimum(tape, v[0], v[1]), f64::min),
    ];
    for (name, body, exact) in kinds {
        for (a, b, out) in PAIRS.into_iter().flat_map(|(a, b, out)| [(a, b, out), (b, a, out)]) {
            let mut tensors = inputs(&[a, b]);
            if name == "divide" {
                tensors[1].data_mut().iter_mut().for_each(|x| *x = x.signum() * (x.abs() + 0.5));
            }
            check(&format!("{name} {a:?} {b:?}"), &tensors, body, &|v| {
                let pairs = stretch(&v[0], a, out).into_iter().zip(stretch(&v[1], b, out));
                pairs.map(|(a, b)| exact(a, b)).collect()
            });
        }
    }
}

#[test]
fn long_runs_of_stretched_shapes() {
    for (a, b) in [(&[3, 1500][..], &[3, 1][..]), (&[1500], &[4, 1]), (&[40, 900], &[900]), (&[700, 1], &[1, 800])] {
        let [left, right] = inputs(&[a, b]).try_into().unwrap();
        let parameters = Parameters::new();
        let mut tape = Tape::inference(&parameters);
        let (x, y) = (tape.constant(left.clone()), tape.constant(right.clone()));
        let sum = op::subtract(&mut tape, x, y).unwrap();
        let shape = tape.shape(sum).unwrap().to_vec();
        let wide = |tensor: &Tensor| tensor.data().iter().copied().map(f64::from).collect::<Vec<_>>();
        let pairs = stretch(&wide(&left), a, &shape).into_iter().zip(stretch(&wide(&right), b, &shape));
        let want: Vec<f32> = pairs.map(|(a, b)| a as f32 - b as f32).collect();
        assert_eq!(tape.value(sum).unwrap().data(), want, "{a:?} {b:?}");
    }
}

#[test]
fn the_greater_of_a_number_and_nan_is_nan_and_equal_ones_share() {
    let parameters = Parameters::new();
    let mut tape = Tape::inference(&parameters);
    let nan = f32::NAN;
    let a = tape.constant(Tensor::from_vec(&[3], vec![nan, 1.0, 2.0]).unwrap());
    let b = tape.constant(Tensor::from_vec(&[3], vec![1.0, nan, 1.0]).unwrap());
    for (y, last) in [(op::maximum(&mut tape, a, b), 2.0), (op::minimum(&mut tape, a, b), 1.0)] {
        let y = tape.value(y.unwrap()).unwrap().data();
        assert!(y[0].is_nan() && y[1].is_nan() && (y[2] - last).abs() < f32::EPSILON, "{y:?}");
    }
    for largest in [true, false] {
        let same = Tensor::from_vec(&[2], vec![0.5, -0.25]).unwrap();
        let outcome = crate::harness::run(&[(same.clone(), true), (same, true)], &|tape, v| {
            if largest { op::maximum(tape, v[0], v[1]) } else { op::minimum(tape, v[0], v[1]) }
        });
        let gradients = outcome.unwrap().gradients;
        let half: Vec<f32> = crate::harness::noise(99, 2).iter().map(|weight| 0.5 * weight).collect();
        assert_eq!(gradients[0].as_ref().unwrap().data(), half);
        assert_eq!(gradients[1].as_ref().unwrap().data(), half);
    }
}

const REDUCED: [(&[usize], Option<usize>); 15] = [
    (&[5, 7], Some(0)),
    (&[5, 7], Some(1)),
    (&[5, 7], None),
    (&[2, 3, 5], Some(0)),
    (&[2, 3, 5], Some(1)),
    (&[2, 3, 5], Some(2)),
    (&[1, 3, 1], Some(0)),
    (&[1, 3, 1], Some(1)),
    (&[1], Some(0)),
    (&[], None),
    (&[0, 3], Some(1)),
    (&[3, 0], Some(0)),
    (&[2, 37], Some(1)),
    (&[3, 5, 70], Some(1)),
    (&[2, 2, 300], Some(1)),
];

#[test]
fn reductions() {
    type Exact = fn(&[f64]) -> f64;
    fn mean(line: &[f64]) -> f64 {
        line.iter().sum::<f64>() / line.len() as f64
    }
    type Case = (&'static str, Box<dyn Fn(Option<usize>) -> Box<Body>>, Exact);
    let kinds: [Case; 6] = [
        ("sum", Box::new(|axis| Box::new(move |tape, v| op::sum_axis(tape, v[0], axis))), |line| line.iter().sum()),
        ("mean", Box::new(|axis| Box::new(move |tape, v| op::mean_axis(tape, v[0], axis))), mean),
        ("max", Box::new(|axis| Box::new(move |tape, v| op::max_axis(tape, v[0], axis))), |line| {
            line.iter().copied().fold(f64::NEG_INFINITY, f64::max)
        }),
        ("min", Box::new(|axis| Box::new(move |tape, v| op::min_axis(tape, v[0], axis))), |line| {
            line.iter().copied().fold(f64::INFINITY, f64::min)
        }),
        ("log_sum_exp", Box::new(|axis| Box::new(move |tape, v| op::log_sum_exp(tape, v[0], axis))), |line| {
            line.iter().map(|x| x.exp()).sum::<f64>().ln()
        }),
        ("variance", Box::new(|axis| Box::new(move |tape, v| op::variance_axis(tape, v[0], axis))), |line| {
            line.iter().map(|x| (x - mean(line)).powi(2)).sum::<f64>() / line.len() as f64
        }),
    ];
    for (name, body, exact) in kinds {
        for (shape, axis) in REDUCED {
            let name = format!("{name} {shape:?} {axis:?}");
            check(&name, &inputs(&[shape]), &*body(axis), &|v| {
                lines(&v[0], shape, axis).iter().map(|line| exact(line)).collect()
            });
        }
    }
    // Nothing to add is zero, and has no logarithm above negative infinity.
    for axis in [Some(0), None] {
        let parameters = Parameters::new();
        let mut tape = Tape::inference(&parameters);
        let x = tape.constant(Tensor::zeros(&[0, 2]).unwrap());
        let sum = op::sum_axis(&mut tape, x, axis).unwrap();
        assert_eq!(tape.shape(sum).unwrap(), [1, if axis.is_some() { 2 } else { 1 }]);
        assert!(tape.value(sum).unwrap().data().iter().all(|y| y.abs() < f32::MIN_POSITIVE));
        let log = op::log_sum_exp(&mut tape, x, axis).unwrap();
        assert!(tape.value(log).unwrap().data().iter().all(|y| *y == f32::NEG_INFINITY));
    }
}

#[test]
fn the_first_of_equal_extremes_gets_the_gradient() {
    let x = Tensor::from_vec(&[3, 2], vec![2.0, 1.0, 2.0, 3.0, 0.0, 3.0]).unwrap();
    let weights = crate::harness::noise(99, 3);
    for largest in [true, false] {
        for axis in [0, 1] {
            let outcome = crate::harness::run(&[(x.clone(), true)], &|tape, v| {
                let signed = op::scale(tape, v[0], if largest { 1.0 } else { -1.0 })?;
                if largest { op::max_axis(tape, signed, axis) } else { op::min_axis(tape, signed, axis) }
            });
            let sign = if largest { 1.0 } else { -1.0 };
            let [a, b, c] = [0, 1, 2].map(|at| sign * weights[at]);
            let want = if axis == 0 { [a, 0.0, 0.0, b, 0.0, 0.0] } else { [a, 0.0, 0.0, b, 0.0, c] };
            let got = outcome.unwrap().gradients[0].clone().unwrap();
            assert!(got.data().iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-7), "{got:?} {want:?}");
        }
    }
}

#[test]
fn reductions_of_numbers_that_are_not_finite() {
    let (nan, infinity) = (f32::NAN, f32::INFINITY);
    let parameters = Parameters::new();
    let mut tape = Tape::inference(&parameters);
    let values = vec![1.0, nan, 0.0, -infinity, -infinity, -infinity, infinity, 0.0, 1e30];
    let x = tape.constant(Tensor::from_vec(&[3, 3], values).unwrap());
    let turned = op::permute(&mut tape, x, &[1, 0]).unwrap();
    for (x, axis) in [(x, 1), (turned, 0)] {
        let large = op::max_axis(&mut tape, x, axis).unwrap();
        let small = op::min_axis(&mut tape, x, axis).unwrap();
        let log = op::log_sum_exp(&mut tape, x, axis).unwrap();
        for (y, want) in [(large, [-infinity, infinity]), (small, [-infinity, 0.0]), (log, [-infinity, infinity])] {
            let y = tape.value(y).unwrap().data();
            assert!(y[0].is_nan() && y[1..] == want, "{y:?}");
        }
    }
}

#[test]
fn the_first_nan_gets_the_gradient_of_an_extreme() {
    let weights = crate::harness::noise(99, 2);
    for (shape, axis, want) in
        [(&[3][..], 0, vec![0.0, weights[0], 0.0]), (&[3, 2], 0, vec![0.0, 0.0, weights[0], weights[1], 0.0, 0.0])]
    {
        // One number at the start of each line, NaN behind it.
        let width = want.len() / 3;
        let values = (0..want.len()).map(|at| if at < width { 9.0 } else { f32::NAN }).collect();
        let x = Tensor::from_vec(shape, values).unwrap();
        let outcome = crate::harness::run(&[(x, true)], &|tape, v| op::max_axis(tape, v[0], axis)).unwrap();
        assert!(outcome.output.data().iter().all(|y| y.is_nan()));
        assert_eq!(outcome.gradients[0].as_ref().unwrap().data(), want);
    }
}

#[test]
fn an_infinite_logarithm_of_a_sum_sends_nothing_back() {
    let infinity = f32::INFINITY;
    for axis in [0, 1] {
        let x = Tensor::full(&[2, 2], -infinity).unwrap();
        let outcome = crate::harness::run(&[(x, true)], &|tape, v| op::log_sum_exp(tape, v[0], axis));
        assert!(outcome.unwrap().gradients[0].as_ref().unwrap().data().iter().all(|dx| dx.abs() < f32::MIN_POSITIVE));
    }
}

#[test]
fn sums_of_many_are_exact() {
    for (shape, axis) in [(&[1 << 20][..], 0), (&[3, 100_000], 1), (&[100_000, 3], 0)] {
        let count = shape[axis];
        let parameters = Parameters::new();
        let mut tape = Tape::inference(&parameters);
        let x = tape.constant(Tensor::full(shape, 0.1).unwrap());
        let y = op::sum_axis(&mut tape, x, axis).unwrap();
        let want = count as f32 * 0.1;
        for y in tape.value(y).unwrap().data() {
            assert!((y - want).abs() <= 2e-7 * want, "{y} {want}");
        }
    }
}

#[test]
fn running_sums() {
    for (shape, axis) in REDUCED.into_iter().filter_map(|(shape, axis)| Some((shape, axis?))) {
        check(&format!("cumsum {shape:?} {axis}"), &inputs(&[shape]), &|tape, v| op::cumsum(tape, v[0], axis), &|v| {
            let [outer, size, inner] = extents(shape, axis);
            let mut out = v[0].clone();
            for at in (0..outer * size * inner).filter(|at| at / inner % size > 0) {
                out[at] += out[at - inner];
            }
            out
        });
    }
}

#[test]
fn normalized_means() {
    let texts = [0..2, 2..3, 4..7];
    check("normalized_mean", &inputs(&[&[7, 5]]), &|tape, v| op::normalized_mean(tape, v[0], &texts), &|v| {
        let mean = |text: &std::ops::Range<usize>| {
            let sum = |column: usize| text.clone().map(|row| v[0][row * 5 + column]).sum::<f64>();
            let sums: Vec<f64> = (0..5).map(sum).collect();
            let length = sums.iter().map(|sum| sum * sum).sum::<f64>().sqrt();
            sums.into_iter().map(move |sum| sum / length)
        };
        texts.iter().flat_map(mean).collect()
    });
}
