//! General operations against a reference in `f64`, at odd, single and empty sizes.

use metier_compute::op::{self, Activation};
use metier_compute::{Parameters, Tape, Tensor, Var};

use crate::harness::{check, inputs, noise};

const SHAPES: &[&[usize]] = &[&[5, 7], &[1], &[], &[2, 3, 4], &[0, 3], &[3, 0], &[1, 1, 33]];

/// The error function by its series, which converges fast between -1 and 1.
fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..40 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    std::f64::consts::FRAC_2_SQRT_PI * sum
}

fn exact(kind: Activation, x: f64) -> f64 {
    match kind {
        Activation::Exp => x.exp(),
        Activation::Gelu => 0.5 * x * (1.0 + erf(x / 2.0_f64.sqrt())),
        Activation::GeluTanh => {
            0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh())
        }
        Activation::Log => x.ln(),
        Activation::Reciprocal => 1.0 / x,
        Activation::Relu => x.max(0.0),
        Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Sqrt => x.sqrt(),
        Activation::Square => x * x,
        Activation::Tanh => x.tanh(),
        other => panic!("no reference for {}", other.name()),
    }
}

#[test]
fn activations() {
    for kind in Activation::ALL {
        for shape in SHAPES {
            let positive = matches!(kind, Activation::Log | Activation::Sqrt | Activation::Reciprocal);
            let values = noise(7, shape.iter().product());
            let values = values.into_iter().map(|x| if positive { x.abs() + 0.3 } else { x }).collect();
            let x = Tensor::from_vec(shape, values).unwrap();
            let name = format!("{} {shape:?}", kind.name());
            check(&name, &[x], &|tape, v| op::activation(tape, v[0], kind), &|v| {
                v[0].iter().map(|x| exact(kind, *x)).collect()
            });
        }
    }
}

#[test]
fn softmax_over_the_last_dimension() {
    for shape in SHAPES.iter().filter(|shape| !shape.is_empty()) {
        let width = shape.last().copied().unwrap();
        let sums = |row: &[f64]| row.iter().map(|x| x.exp()).sum::<f64>();
        let tensors = inputs(&[shape]);
        check(&format!("softmax {shape:?}"), &tensors, &|tape, v| op::softmax(tape, v[0]), &|v| {
            let rows = v[0].chunks(width.max(1));
            rows.flat_map(|row| row.iter().map(move |x| x.exp() / sums(row))).collect()
        });
        check(&format!("log_softmax {shape:?}"), &tensors, &|tape, v| op::log_softmax(tape, v[0]), &|v| {
            let rows = v[0].chunks(width.max(1));
            rows.flat_map(|row| row.iter().map(move |x| x - sums(row).ln())).collect()
        });
    }
}

#[test]
fn softmax_of_large_numbers_does_not_overflow() {
    let parameters = Parameters::new();
    let mut tape = Tape::inference(&parameters);
    let x = tape.constant(Tensor::from_vec(&[2, 2], vec![1e30, 1e30, -1e30, f32::NEG_INFINITY]).unwrap());
    let y = op::softmax(&mut tape, x).unwrap();
    assert_eq!(tape.value(y).unwrap().data(), [0.5, 0.5, 1.0, 0.0]);
}

#[test]
fn permute_and_reshape() {
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        for shape in [[2, 3, 5], [1, 4, 1], [3, 0, 2], [17, 33, 31]] {
            let length: usize = shape.iter().product();
            let value = |index: usize| index as f32;
            let parameters = Parameters::new();
            let mut tape = Tape::inference(&parameters);
            let x = tape.constant(Tensor::from_vec(&shape, (0..length).map(value).collect()).unwrap());
            let y = op::permute(&mut tape, x, &order).unwrap();
            let turned = order.map(|at| shape[at]);
            assert_eq!(tape.shape(y).unwrap(), turned);
            let steps = [shape[1] * shape[2], shape[2], 1];
            let mut want = Vec::new();
            for a in 0..turned[0] {
                for b in 0..turned[1] {
                    for c in 0..turned[2] {
                        want.push(value(a * steps[order[0]] + b * steps[order[1]] + c * steps[order[2]]));
                    }
                }
            }
            assert_eq!(tape.value(y).unwrap().data(), want, "{shape:?} {order:?}");
        }
    }
    check("transpose", &inputs(&[&[3, 5]]), &|tape, v| op::permute(tape, v[0], &[1, 0]), &|v| {
        (0..5)
            .flat_map(|column| (0..3).map(move |row| (row, column)))
            .map(|(row, column)| v[0][row * 5 + column])
            .collect()
    });
    check("rotate", &inputs(&[&[2, 3, 4]]), &|tape, v| op::permute(tape, v[0], &[2, 0, 1]), &|v| {
        (0..4).flat_map(|c| (0..6).map(move |ab| v[0][ab * 4 + c]).collect::<Vec<_>>()).collect()
    });
    check("reshape", &inputs(&[&[3, 4]]), &|tape, v| op::reshape(tape, v[0], &[2, 1, 6]), &|v| v[0].clone());
    check("scalar", &inputs(&[&[]]), &|tape, v| op::permute(tape, v[0], &[]), &|v| v[0].clone());
}

#[test]
fn what_cannot_be_done_is_refused() {
    let parameters = Parameters::new();
    let message = |shape: &[usize], body: &dyn Fn(&mut Tape<'_>, Var) -> metier_core::Result<Var>| {
        let mut tape = Tape::inference(&parameters);
        let x = tape.constant(Tensor::zeros(shape).unwrap());
        body(&mut tape, x).unwrap_err().to_string()
    };
    assert!(message(&[], &|tape, x| op::softmax(tape, x)).starts_with("softmax: x has the shape []"));
    assert!(message(&[], &|tape, x| op::log_softmax(tape, x)).starts_with("log_softmax: "));
    for order in [&[0][..], &[0, 0], &[0, 2], &[1, 0, 2]] {
        let said = message(&[2, 3], &|tape, x| op::permute(tape, x, order));
        assert!(said.starts_with("permute: ") && said.contains("[2, 3]"), "{said}");
    }
    assert!(message(&[2, 3], &|tape, x| op::reshape(tape, x, &[7])).contains("[2, 3] cannot become [7]"));
}
