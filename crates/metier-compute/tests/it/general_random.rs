//! Dropped elements, and values that stand for others.

use metier_compute::op;
use metier_compute::{Parameters, Tape, Tensor};
use metier_core::seed::Seed;

use crate::harness::{check, inputs, noise, run};

#[test]
fn dropped_elements() {
    let seed = Seed::new(3).derive("dropout");
    let mask = |rate: f32, count: usize| -> Vec<f32> {
        let parameters = Parameters::new();
        let mut tape = Tape::inference(&parameters);
        let x = tape.constant(Tensor::full(&[count], 1.0).unwrap());
        let y = op::dropout(&mut tape, x, rate, &seed).unwrap();
        tape.value(y).unwrap().data().to_vec()
    };
    for shape in [&[5, 7][..], &[], &[1], &[0, 3], &[3, 70]] {
        for rate in [0.0, 0.1, 0.5] {
            let kept = mask(rate, shape.iter().product());
            let name = format!("dropout {shape:?} {rate}");
            check(&name, &inputs(&[shape]), &|tape, v| op::dropout(tape, v[0], rate, &seed), &|v| {
                v[0].iter().zip(&kept).map(|(x, kept)| x * f64::from(*kept)).collect()
            });
        }
    }
    // A place decides alone, whatever lies behind it.
    assert_eq!(mask(0.5, 10_001)[..5001], mask(0.5, 5001));
    assert_eq!(mask(0.0, 9), [1.0; 9]);
    for rate in [0.1, 0.5, 0.9] {
        let found = mask(rate, 200_000);
        let value = 1.0 / (1.0 - rate);
        assert!(found.iter().all(|y| y.abs() < f32::MIN_POSITIVE || (y - value).abs() < 1e-6 * value));
        let kept = found.iter().filter(|y| **y > 0.0).count() as f32 / 200_000.0;
        assert!((kept - (1.0 - rate)).abs() < 0.005, "{kept} kept at {rate}");
        let pairs = found.windows(2).filter(|pair| pair[0] > 0.0 && pair[1] > 0.0).count() as f32 / 199_999.0;
        assert!((pairs - (1.0 - rate).powi(2)).abs() < 0.005, "{pairs} pairs kept at {rate}");
    }
    let parameters = Parameters::new();
    let mut tape = Tape::inference(&parameters);
    let x = tape.constant(Tensor::full(&[100], 1.0).unwrap());
    let first = op::dropout(&mut tape, x, 0.5, &seed.derive("a")).unwrap();
    let second = op::dropout(&mut tape, x, 0.5, &seed.derive("b")).unwrap();
    assert_ne!(tape.value(first).unwrap().data(), tape.value(second).unwrap().data());
}

#[test]
fn a_checkpoint_drops_the_same_elements_again() {
    let seed = Seed::new(5);
    let x = inputs(&[&[4, 50]]).remove(0);
    let plain = run(&[(x.clone(), true)], &|tape, v| {
        let square = op::multiply(tape, v[0], v[0])?;
        op::dropout(tape, square, 0.5, &seed)
    });
    let again = run(&[(x, true)], &|tape, v| {
        tape.checkpoint(v, move |tape, v| {
            let square = op::multiply(tape, v[0], v[0])?;
            op::dropout(tape, square, 0.5, &seed)
        })
    });
    let (plain, again) = (plain.unwrap(), again.unwrap());
    assert_eq!(plain.output.data(), again.output.data());
    assert_eq!(plain.gradients[0].as_ref().unwrap().data(), again.gradients[0].as_ref().unwrap().data());
}

#[test]
fn a_value_that_stands_for_another() {
    for shape in [&[3, 5][..], &[], &[0]] {
        let [hard, soft] = inputs(&[shape, shape]).try_into().unwrap();
        let outcome = run(&[(hard.clone(), false), (soft, true)], &|tape, v| {
            let soft = op::scale(tape, v[1], 3.0)?;
            op::straight_through(tape, v[0], soft)
        });
        let outcome = outcome.unwrap();
        assert_eq!(outcome.output.data(), hard.data());
        let want: Vec<f32> = noise(99, hard.len()).iter().map(|weight| weight * 3.0).collect();
        assert_eq!(outcome.gradients[1].as_ref().unwrap().data(), want);
        assert!(outcome.gradients[0].is_none());
    }
}
