//! Learning from another model against `fixtures/reference/distill.py`, and what a teacher must be.

use crate::kit::{Bench, config, decoder, never};
use metier_compute::{Gradients, Tape};
use metier_core::seed::Seed;
use metier_model::Decoder;
use metier_testkit::{assert_close, golden, hashed};
use metier_train::objective::{Distill, Objective, Segment};
use metier_train::settings::chosen;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The model of a golden.
pub fn model(of: &Value) -> Decoder {
    let shapes: BTreeMap<String, Vec<usize>> = serde_json::from_value(of["tensors"].clone()).unwrap();
    Decoder::from_weights(&of["config"], shapes.keys().map(String::as_str), |name| {
        let shape = &shapes[name];
        let change = |even: f64| match shape.len() {
            _ if name.strip_suffix(".bias").is_some() => even / 4.0,
            1 => 1.0 + even / 4.0,
            _ => even * 0.375,
        };
        let values = hashed::even(name).take(shape.iter().product()).map(|even| change(even) as f32);
        Ok((shape.clone(), values.collect()))
    })
    .unwrap()
}

/// Compares the length of each tensor's gradient, and its product with a vector that belongs to the name.
#[track_caller]
pub fn assert_gradients(name: &str, decoder: &Decoder, gradients: &Gradients, golden: &Value) {
    for (id, tensor, ..) in decoder.parameters.iter() {
        let want = golden::numbers(&golden[tensor]);
        let gradient = gradients.get(id).unwrap().data().iter().map(|value| f64::from(*value));
        let length = gradient.clone().map(|value| value * value).sum::<f64>().sqrt();
        let direction = hashed::even(&format!("{tensor} direction"));
        let product: f64 = gradient.zip(direction).map(|(value, direction)| value * direction).sum();
        let bound = 1e-5 * f64::from(want[0]).max(0.1);
        assert_close(&format!("{name}: gradient of {tensor}"), &[length, product], &want, bound, 1e-5);
    }
}

#[test]
fn losses_and_gradients_are_those_of_pytorch() {
    let golden = golden::read("distill.json");
    let teacher = Arc::new(model(&golden["models"]["teacher"]));
    let mut student = model(&golden["models"]["student"]);
    let texts = golden["texts"].as_array().unwrap();
    let segments: Vec<Segment> =
        texts.iter().map(|ids| Segment { tokens: golden::ids(ids), ..Segment::default() }).collect();
    for (name, case) in golden["cases"].as_object().unwrap() {
        let settings: Distill = serde_json::from_value(case["settings"].clone()).unwrap();
        let objective = chosen::<dyn Objective, _>("distill", settings).unwrap().part;
        let batch = objective.batch(&segments).unwrap();
        for recompute in [false, true] {
            student.set_recompute(recompute);
            let mut gradients = Gradients::new();
            let mut tape = Tape::training(&student.parameters);
            let loss = objective.loss(&student, &mut tape, &batch, Some(&teacher)).unwrap();
            let got = tape.value(loss).unwrap().item().unwrap();
            let want = case["loss"].as_f64().unwrap();
            assert_close(&format!("{name}: loss"), &[got], &[want], 1e-6, 1e-6);
            tape.backward(loss, &mut gradients).unwrap();
            assert_gradients(name, &student, &gradients, &case["gradients"]);
        }
    }
}

#[test]
fn a_model_comes_near_to_its_teacher_and_resumes() {
    let mut bench = Bench::new();
    bench.settings.steps = 30;
    bench.parts.objective = chosen("distill", Distill::default()).unwrap();
    bench.teacher = Some(Arc::new(Decoder::random(&config(), Seed::new(77)).unwrap()));
    let whole = bench.train(&bench.work("whole"), &never).unwrap();
    let losses: Vec<f64> = whole
        .losses
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["loss"].as_f64().unwrap())
        .collect();
    assert!(losses[29] < 0.5 * losses[0], "{losses:?}");
    // From itself there is nothing to learn.
    bench.settings.steps = 2;
    bench.teacher = Some(Arc::new(decoder()));
    let own = bench.train(&bench.work("own"), &never).unwrap();
    let first: Value = serde_json::from_str(own.losses.lines().next().unwrap()).unwrap();
    assert!(first["loss"].as_f64().unwrap().abs() < 1e-6, "{first}");
}

#[test]
fn teachers_that_cannot_teach_are_refused() {
    let mut bench = Bench::new();
    let refused = |bench: &Bench, words: &[&str]| {
        let text = bench.train(&bench.work("refused"), &never).err().unwrap().to_string();
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    };
    bench.teacher = Some(Arc::new(decoder()));
    refused(&bench, &["`causal` learns from no other model", "leave `teacher` out"]);
    bench.parts.objective = chosen("distill", Distill::default()).unwrap();
    bench.teacher = None;
    refused(&bench, &["`distill` learns from another model"]);
    let mut other = config();
    other.vocabulary_size = 65;
    bench.teacher = Some(Arc::new(Decoder::random(&other, Seed::new(1)).unwrap()));
    refused(&bench, &["65 ids where the model has 64"]);
    let mut other = config();
    other.context_length = 8;
    bench.teacher = Some(Arc::new(Decoder::random(&other, Seed::new(1)).unwrap()));
    refused(&bench, &["attends to 8 tokens", "windows have 16"]);
    let bad = Distill { temperature: 0.0, mixture: 1.0, hard: 1.0, ..Distill::default() };
    assert_eq!(chosen::<dyn Objective, _>("distill", bad).err().unwrap().faults.len(), 3);
}
