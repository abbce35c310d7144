//! Every part of every family: page, defaults, and the golden of AdamW.

use metier_compute::Tensor;
use metier_core::Place;
use metier_core::part::{PAGE_HEADINGS, Record};
use metier_testkit::{assert_close, golden};
use metier_train::optimizer::{Adamw, Optimizer, Update};
use metier_train::settings::chosen;
use metier_train::{Parts, TrainSettings, objective, optimizer, sampler, schedule};

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

#[test]
fn adamw_agrees_with_pytorch() {
    let golden = golden::read("adamw.json");
    let settings: Adamw = serde_json::from_value(golden["settings"].clone()).unwrap();
    let adamw = chosen::<dyn Optimizer, _>("adamw", settings).unwrap().part;
    for (index, name) in ["matrix", "vector"].into_iter().enumerate() {
        let mut parameter = golden::numbers(&golden["initial"][index]);
        let lengths = adamw.state(parameter.len());
        let mut state: Vec<_> = lengths.into_iter().map(|length| Tensor::zeros(&[length]).unwrap()).collect();
        for (step, expected) in (1..).zip(golden["steps"].as_array().unwrap()) {
            let gradient = golden::numbers(&expected["gradients"][index]);
            let rate = adamw.rate() * expected["factor"].as_f64().unwrap();
            let update = Update {
                parameter: &mut parameter,
                gradient: &gradient,
                state: &mut state,
                rate,
                scale: 1.0,
                step,
                decays: name == "matrix",
            };
            adamw.step(update).unwrap();
            let want = golden::numbers(&expected["parameters"][index]);
            assert_close(&format!("{name} after step {step}"), &parameter, &want, 1e-7, 1e-6);
        }
    }
}
