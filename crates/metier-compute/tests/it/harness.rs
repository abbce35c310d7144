//! Runs an operation on seeded numbers and holds its gradients against finite differences of a reference.

use metier_compute::op::{self};
use metier_compute::{Gradients, Parameters, Tape, Tensor, Var};
use metier_core::Result;
use metier_testkit::assert_close;

/// Numbers between -1 and 1 without a pattern.
pub fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x1234_5678_9abc_def1);
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            ((state >> 40) as f32 / (1_u64 << 23) as f32) - 1.0
        })
        .collect()
}

/// One seeded tensor for each shape.
pub fn inputs(shapes: &[&[usize]]) -> Vec<Tensor> {
    (1..)
        .zip(shapes)
        .map(|(seed, shape)| Tensor::from_vec(shape, noise(seed, shape.iter().product())).unwrap())
        .collect()
}

/// The output and the gradient of each input, for the loss `sum c y` with seeded `c`.
pub struct Outcome {
    pub output: Tensor,
    pub gradients: Vec<Option<Tensor>>,
}

/// Runs `body` on parameters made of `inputs`; those with `true` are trained.
pub fn run(inputs: &[(Tensor, bool)], body: &dyn for<'p> Fn(&mut Tape<'p>, &[Var]) -> Result<Var>) -> Result<Outcome> {
    let mut parameters = Parameters::new();
    let mut ids = Vec::new();
    for (index, (tensor, train)) in inputs.iter().enumerate() {
        ids.push(parameters.insert(format!("input {index}"), tensor.clone(), *train)?);
    }
    let mut tape = Tape::training(&parameters);
    let vars: Vec<Var> = ids.iter().map(|&id| tape.parameter(id)).collect();
    let y = body(&mut tape, &vars)?;
    let output = tape.value(y)?.clone();
    let weights = Tensor::from_vec(output.shape(), noise(99, output.len()))?;
    let weights = tape.constant(weights);
    let weighted = op::multiply(&mut tape, y, weights)?;
    let loss = op::sum(&mut tape, weighted)?;
    let mut gradients = Gradients::new();
    if inputs.iter().any(|(_, train)| *train) {
        tape.backward(loss, &mut gradients)?;
    }
    Ok(Outcome { output, gradients: ids.iter().map(|&id| gradients.get(id).cloned()).collect() })
}

/// Checks output and gradients of `body` against `reference`, which computes the output in `f64`.
pub fn check(
    name: &str,
    inputs: &[Tensor],
    body: &dyn for<'p> Fn(&mut Tape<'p>, &[Var]) -> Result<Var>,
    reference: &dyn Fn(&[Vec<f64>]) -> Vec<f64>,
) {
    let wide: Vec<Vec<f64>> =
        inputs.iter().map(|tensor| tensor.data().iter().copied().map(f64::from).collect()).collect();
    let all: Vec<(Tensor, bool)> = inputs.iter().map(|tensor| (tensor.clone(), true)).collect();
    let outcome = run(&all, body).unwrap();
    let want = reference(&wide);
    assert_close(&format!("{name}: output"), outcome.output.data(), &want, 2e-6, 2e-5);

    let weights: Vec<f64> = noise(99, want.len()).into_iter().map(f64::from).collect();
    let loss =
        |values: &[Vec<f64>]| -> f64 { reference(values).iter().zip(&weights).map(|(y, weight)| y * weight).sum() };
    for (index, gradient) in outcome.gradients.iter().enumerate() {
        let gradient = gradient.as_ref().unwrap();
        assert_eq!(gradient.shape(), inputs[index].shape(), "{name}: gradient {index}");
        let mut values = wide.clone();
        let want: Vec<f64> = (0..gradient.len())
            .map(|at| {
                let (step, kept) = (1e-5, values[index][at]);
                values[index][at] = kept + step;
                let above = loss(&values);
                values[index][at] = kept - step;
                let below = loss(&values);
                values[index][at] = kept;
                (above - below) / (2.0 * step)
            })
            .collect();
        assert_close(&format!("{name}: gradient {index}"), gradient.data(), &want, 5e-6, 5e-5);

        // Alone, it must come out the same: products for the others are skipped, not this one's.
        let alone: Vec<(Tensor, bool)> =
            inputs.iter().enumerate().map(|(other, tensor)| (tensor.clone(), other == index)).collect();
        let alone = run(&alone, body).unwrap();
        assert_eq!(alone.gradients[index].as_ref().unwrap().data(), gradient.data(), "{name}: {index} alone");
        assert!(alone.gradients.iter().enumerate().all(|(other, slot)| other == index || slot.is_none()));
    }
}
