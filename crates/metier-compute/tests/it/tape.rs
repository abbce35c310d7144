//! What the tape keeps, frees, recomputes and refuses.

use metier_compute::op::{self};
use metier_compute::{Gradients, ParameterId, Parameters, Tape, Tensor, Var, kernel};
use metier_core::Result;

use crate::harness::{inputs, noise};

fn stack(layers: usize) -> (Parameters, Vec<ParameterId>) {
    let mut parameters = Parameters::new();
    let ids = (0..layers)
        .map(|layer| {
            let weight = Tensor::from_vec(&[8, 8], noise(layer as u64 + 1, 64)).unwrap();
            parameters.insert(format!("layer {layer}"), weight, true).unwrap()
        })
        .collect();
    (parameters, ids)
}

fn block(tape: &mut Tape<'_>, x: Var, id: ParameterId) -> Result<Var> {
    let weight = tape.parameter(id);
    let y = op::linear(tape, x, weight, None)?;
    let gated = op::swiglu(tape, y, x)?;
    op::add(tape, x, gated)
}

enum How {
    Plain,
    Scopes,
    Checkpoints,
}

fn gradients_of(parameters: &Parameters, ids: &[ParameterId], how: &How) -> (f32, Gradients) {
    let mut gradients = Gradients::new();
    let mut tape = Tape::training(parameters);
    let mut x = tape.constant(Tensor::from_vec(&[5, 8], noise(50, 40)).unwrap());
    for &id in ids {
        x = match how {
            How::Plain => block(&mut tape, x, id),
            How::Scopes => tape.scope(|tape| block(tape, x, id)),
            How::Checkpoints => tape.checkpoint(&[x], move |tape, inputs| block(tape, inputs[0], id)),
        }
        .unwrap();
    }
    let loss = op::mean(&mut tape, x).unwrap();
    tape.backward(loss, &mut gradients).unwrap();
    (tape.value(loss).unwrap().item().unwrap(), gradients)
}

#[test]
fn scopes_and_checkpoints_change_no_bit() {
    let (parameters, ids) = stack(4);
    let (loss, plain) = gradients_of(&parameters, &ids, &How::Plain);
    for how in [How::Scopes, How::Checkpoints] {
        let (other_loss, other) = gradients_of(&parameters, &ids, &how);
        assert_eq!(loss.to_bits(), other_loss.to_bits());
        for &id in &ids {
            assert_eq!(plain.get(id).unwrap().data(), other.get(id).unwrap().data());
        }
    }
}

#[test]
fn a_checkpoint_of_constants_trains_its_parameters() {
    let (parameters, ids) = stack(1);
    let id = ids[0];
    let mut tape = Tape::training(&parameters);
    let x = tape.constant(Tensor::full(&[2, 8], 0.5).unwrap());
    let y = tape
        .checkpoint(&[x], move |tape, inputs| tape.checkpoint(inputs, move |tape, inputs| block(tape, inputs[0], id)))
        .unwrap();
    let loss = op::sum(&mut tape, y).unwrap();
    let mut gradients = Gradients::new();
    tape.backward(loss, &mut gradients).unwrap();
    assert!(gradients.norm() > 0.0);
}

#[test]
fn gradients_add_up_over_calls() {
    let (parameters, ids) = stack(2);
    let (_, once) = gradients_of(&parameters, &ids, &How::Plain);
    let mut twice = Gradients::new();
    for _ in 0..2 {
        let mut tape = Tape::training(&parameters);
        let mut x = tape.constant(Tensor::from_vec(&[5, 8], noise(50, 40)).unwrap());
        for &id in &ids {
            x = block(&mut tape, x, id).unwrap();
        }
        let loss = op::mean(&mut tape, x).unwrap();
        tape.backward(loss, &mut twice).unwrap();
    }
    twice.scale(0.5);
    for &id in &ids {
        metier_testkit::assert_close("sum", twice.get(id).unwrap().data(), once.get(id).unwrap().data(), 1e-7, 1e-6);
    }
    twice.clear();
    assert!(twice.get(ids[0]).is_none() && twice.iter().next().is_none());
}

#[test]
fn a_parameter_without_a_gradient_is_named() {
    let (mut parameters, ids) = stack(2);
    let run = |parameters: &Parameters| {
        let mut tape = Tape::training(parameters);
        let (a, _b) = (tape.parameter(ids[0]), tape.parameter(ids[1]));
        let loss = op::sum(&mut tape, a)?;
        tape.backward(loss, &mut Gradients::new())
    };
    let message = run(&parameters).unwrap_err().to_string();
    assert!(message.contains("layer 1") && !message.contains("layer 0"), "{message}");
    parameters.set_trainable(ids[1], false);
    run(&parameters).unwrap();
}

#[test]
fn wrong_use_is_refused() {
    let (parameters, ids) = stack(1);
    let mut tape = Tape::training(&parameters);
    let x = tape.parameter(ids[0]);
    assert!(tape.backward(x, &mut Gradients::new()).unwrap_err().to_string().contains("[8, 8]"));
    let mut inside = None;
    let kept = tape
        .scope(|tape| {
            let doubled = op::scale(tape, x, 2.0)?;
            inside = Some(doubled);
            op::scale(tape, doubled, 2.0)
        })
        .unwrap();
    assert!(tape.value(kept).is_ok() && tape.value(x).is_ok());
    assert!(op::sum(&mut tape, inside.unwrap()).unwrap_err().to_string().contains("after its scope"));
    let mut other = Tape::inference(&parameters);
    assert!(op::sum(&mut other, x).is_err());
    let constant = other.constant(Tensor::scalar(1.0).unwrap());
    assert!(other.backward(constant, &mut Gradients::new()).is_err());
}

#[test]
fn names_are_unique_and_found() {
    let (mut parameters, ids) = stack(2);
    assert!(parameters.insert("layer 0", Tensor::scalar(0.0).unwrap(), true).is_err());
    assert_eq!(parameters.find("layer 1"), Some(ids[1]));
    assert_eq!(parameters.name(ids[1]), "layer 1");
    assert_eq!(parameters.iter().filter(|(_, _, _, trainable)| *trainable).count(), 2);
}

/// Inference over many layers holds the values of about one layer.
#[test]
fn scopes_free_what_inference_does_not_need() {
    let parameters = Parameters::new();
    let mut tape = Tape::inference(&parameters);
    let big = Tensor::full(&[1 << 16], 0.25).unwrap();
    let before = metier_compute::memory_in_use();
    let mut x = tape.constant(big);
    for _ in 0..50 {
        let last = x;
        x = tape
            .scope(|tape| {
                let y = op::scale(tape, last, 0.5)?;
                let z = op::add(tape, y, last)?;
                op::multiply(tape, z, y)
            })
            .unwrap();
        tape.release(last);
    }
    let held = metier_compute::memory_in_use().saturating_sub(before);
    // Other tests of this process may hold something meanwhile.
    assert!(held < 20 << 20, "{held}");
}

#[test]
fn a_value_that_is_not_finite_is_named() {
    let run = || {
        let parameters = Parameters::new();
        let mut tape = Tape::inference(&parameters);
        let [mut a] = inputs(&[&[3, 4]]).try_into().unwrap();
        a.data_mut()[7] = f32::INFINITY;
        let a = tape.constant(a);
        op::scale(&mut tape, a, 0.0).map(|_| ())
    };
    run().unwrap();
    kernel::set_check_finite(true);
    let message = run().unwrap_err().to_string();
    kernel::set_check_finite(false);
    assert!(message.contains("scale") && message.contains("[3, 4]") && message.contains("element 7"), "{message}");
}
