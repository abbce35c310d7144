//! Every part of every family: page, defaults, and the golden of AdamW.

use metier_compute::Tensor;
use metier_core::Place;
use metier_core::part::{PAGE_HEADINGS, Record};
use metier_testkit::{assert_close, golden};
use metier_train::optimizer::{Adafactor, Adamw, Lion, Muon, Optimizer, Sgd, Update, Weights};
use metier_train::schedule::{InverseSqrt, Schedule, Wsd};
use metier_train::settings::chosen;
use metier_train::{Parts, TrainSettings, objective, optimizer, sampler, schedule};
use serde_json::Value;

fn families() -> Vec<(&'static str, Vec<Record>)> {
    vec![
        ("objective", objective::records()),
        ("optimizer", optimizer::records()),
        ("sampler", sampler::records()),
        ("schedule", schedule::records()),
    ]
}

#[test]
fn every_part_has_a_page_with_the_headings_in_order() {
    for (family, records) in families() {
        for record in records {
            let page = record.page();
            let headings: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("# ")).collect();
            assert_eq!(headings, PAGE_HEADINGS, "{family} {}", record.name);
            assert!(!record.summary().is_empty(), "{family} {}", record.name);
        }
    }
}

#[test]
fn names_are_alphabetical_and_there_once() {
    for (family, records) in families() {
        let names: Vec<_> = records.iter().map(|record| record.name).collect();
        assert!(names.is_sorted_by(|a, b| a < b), "{family}: {names:?}");
    }
}

#[test]
fn defaults_are_within_their_own_ranges() {
    TrainSettings::default().check(&Place::default()).unwrap();
    let parts = Parts::defaults().unwrap();
    assert_eq!(parts.identity()["optimizer"]["settings"]["beta1"], 0.9);
}

/// Steps of a matrix and of a vector, as a golden has them.
fn check_steps(name: &str, optimizer: &dyn Optimizer, golden: &Value) {
    for (index, which) in ["matrix", "vector"].into_iter().enumerate() {
        let mut parameter = golden::numbers(&golden["initial"][index]);
        let shape: Vec<usize> = serde_json::from_value(golden["shapes"][index].clone()).unwrap();
        let weights = Weights { shape: &shape, of_vocabulary: false };
        let lengths = optimizer.state(weights);
        let mut state: Vec<_> = lengths.into_iter().map(|length| Tensor::zeros(&[length]).unwrap()).collect();
        for (step, expected) in (1..).zip(golden["steps"].as_array().unwrap()) {
            let gradient = golden::numbers(&expected["gradients"][index]);
            let rate = optimizer.rate() * expected["factor"].as_f64().unwrap();
            // What clipping multiplies by is undone by a gradient that is as much longer.
            let longer: Vec<f32> = gradient.iter().map(|value| value * 4.0).collect();
            let update = Update {
                weights,
                parameter: &mut parameter,
                gradient: &longer,
                state: &mut state,
                rate,
                scale: 0.25,
                step,
            };
            optimizer.step(update).unwrap();
            let want = golden::numbers(&expected["parameters"][index]);
            assert_close(&format!("{name}: {which}, step {step}"), &parameter, &want, 1e-6, 2e-6);
        }
    }
}

#[test]
fn optimizers_agree_with_pytorch_and_transformers() {
    let golden = golden::read("optimizers.json");
    for (name, case) in golden["optimizers"].as_object().unwrap() {
        let settings = case["settings"].clone();
        let optimizer = match name.split(',').next().unwrap() {
            "adafactor" => chosen::<dyn Optimizer, Adafactor>("adafactor", serde_json::from_value(settings).unwrap()),
            "muon" => chosen::<dyn Optimizer, Muon>("muon", serde_json::from_value(settings).unwrap()),
            "lion" => chosen::<dyn Optimizer, Lion>("lion", serde_json::from_value(settings).unwrap()),
            _ => chosen::<dyn Optimizer, Sgd>("sgd", serde_json::from_value(settings).unwrap()),
        };
        check_steps(name, &*optimizer.unwrap().part, case);
    }
    let bad = Muon { rate: -1.0, momentum: 1.0, iterations: 0, decay: 11.0, ..Muon::default() };
    assert_eq!(chosen::<dyn Optimizer, _>("muon", bad).err().unwrap().faults.len(), 4);
    let bad = Adafactor { rate: -1.0, clip: 0.0, power: 2.0, beta1: 1.0, decay: 11.0, ..Adafactor::default() };
    assert_eq!(chosen::<dyn Optimizer, _>("adafactor", bad).err().unwrap().faults.len(), 5);
    let bad = Lion { rate: -1.0, beta1: 1.0, beta2: f64::NAN, decay: 11.0 };
    assert_eq!(chosen::<dyn Optimizer, _>("lion", bad).err().unwrap().faults.len(), 4);
    let bad = Sgd { rate: 101.0, momentum: 0.0, nesterov: true, decay: -1.0 };
    assert_eq!(chosen::<dyn Optimizer, _>("sgd", bad).err().unwrap().faults.len(), 3);
}

#[test]
fn schedules_agree_with_transformers() {
    let golden = golden::read("optimizers.json");
    let steps = golden["steps"].as_u64().unwrap();
    for (name, case) in golden["schedules"].as_object().unwrap() {
        let settings = case["settings"].clone();
        let schedule = match name.split(',').next().unwrap() {
            "wsd" => chosen::<dyn Schedule, Wsd>("wsd", serde_json::from_value(settings).unwrap()),
            _ => chosen::<dyn Schedule, InverseSqrt>("inverse_sqrt", serde_json::from_value(settings).unwrap()),
        };
        let schedule = schedule.unwrap().part;
        let warmup = case["settings"]["warmup_steps"].as_u64().unwrap();
        let want: Vec<f64> = serde_json::from_value(case["factors"].clone()).unwrap();
        let got: Vec<f64> = (warmup..steps).map(|step| schedule.factor(step, steps)).collect();
        assert_close(name, &got, &want, 1e-12, 1e-12);
        let rise: Vec<f64> = (0..warmup).map(|step| schedule.factor(step, steps)).collect();
        let want: Vec<f64> = (1..=warmup).map(|step| step as f64 / warmup as f64).collect();
        assert_close(&format!("{name}: warm-up"), &rise, &want, 1e-12, 0.0);
        assert!(schedule.factor(10 * steps, steps).is_finite() && schedule.factor(0, 1).is_finite());
    }
    let bad = Wsd { warmup_fraction: 0.5, decay_fraction: 0.6, ..Wsd::default() };
    assert!(chosen::<dyn Schedule, _>("wsd", bad).err().unwrap().to_string().contains("more than the whole"));
    let bad = InverseSqrt { timescale: Some(0), ..InverseSqrt::default() };
    assert!(chosen::<dyn Schedule, _>("inverse_sqrt", bad).is_err());
}

#[test]
fn adamw_agrees_with_pytorch() {
    let golden = golden::read("adamw.json");
    let settings: Adamw = serde_json::from_value(golden["settings"].clone()).unwrap();
    let adamw = chosen::<dyn Optimizer, _>("adamw", settings).unwrap().part;
    for (index, name) in ["matrix", "vector"].into_iter().enumerate() {
        let mut parameter = golden::numbers(&golden["initial"][index]);
        let shape = if name == "matrix" { vec![1, parameter.len()] } else { vec![parameter.len()] };
        let weights = Weights { shape: &shape, of_vocabulary: false };
        let lengths = adamw.state(weights);
        let mut state: Vec<_> = lengths.into_iter().map(|length| Tensor::zeros(&[length]).unwrap()).collect();
        for (step, expected) in (1..).zip(golden["steps"].as_array().unwrap()) {
            let gradient = golden::numbers(&expected["gradients"][index]);
            let rate = adamw.rate() * expected["factor"].as_f64().unwrap();
            let update = Update {
                weights,
                parameter: &mut parameter,
                gradient: &gradient,
                state: &mut state,
                rate,
                scale: 1.0,
                step,
            };
            adamw.step(update).unwrap();
            let want = golden::numbers(&expected["parameters"][index]);
            assert_close(&format!("{name} after step {step}"), &parameter, &want, 1e-7, 1e-6);
        }
    }
}
