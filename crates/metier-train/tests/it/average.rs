//! The moving average of the weights: against plain arithmetic, across kills, and in what is measured and kept.

use crate::kit::{Bench, decoder, never};
use crate::mixture::Mixed;
use metier_core::stop;
use metier_model::Decoder;
use metier_train::schedule::Constant;
use metier_train::settings::chosen;
use metier_train::{TrainSettings, plan};
use std::cell::Cell;
use std::fs;

const DECAY: f64 = 0.35;

fn averaged() -> Bench {
    let mut bench = Bench::new();
    bench.parts.schedule = chosen("constant", Constant { warmup_fraction: 0.0, ..Constant::default() }).unwrap();
    bench.settings.average = DECAY;
    bench
}

fn weights(decoder: &Decoder) -> Vec<f64> {
    decoder.parameters.iter().flat_map(|(_, _, tensor, _)| tensor.data()).map(|value| f64::from(*value)).collect()
}

#[test]
fn it_is_what_plain_arithmetic_makes_of_the_weights_of_every_step() {
    let mut bench = averaged();
    let mut kept = decoder();
    let report = bench.train_model(&mut kept, &bench.work("averaged"), &never).unwrap();
    bench.settings.average = 0.0;
    let mut expected = weights(&decoder());
    let steps = bench.settings.steps;
    // The decay is that of the settings from the fourth step on, and less before.
    for step in 1..=steps {
        bench.settings.steps = step;
        let mut raw = decoder();
        let work = bench.work(&format!("raw-{step}"));
        let alone = bench.train_model(&mut raw, &work, &never).unwrap();
        assert_eq!(alone.history[..], report.history[..step as usize], "the average changes no step");
        let decay = DECAY.min((1.0 + step as f64) / (10.0 + step as f64));
        for (mean, weight) in expected.iter_mut().zip(weights(&raw)) {
            *mean = decay * *mean + (1.0 - decay) * weight;
        }
        if step == steps {
            assert!(weights(&raw).iter().zip(&expected).any(|(raw, mean)| (raw - mean).abs() > 1e-3));
        }
    }
    metier_testkit::assert_close("averages", &weights(&kept), &expected, 1e-6, 1e-6);
}

#[test]
fn it_is_resumed_to_the_bit_after_a_stop_at_any_moment() {
    let bench = averaged();
    let whole = bench.train(&bench.work("whole"), &never).unwrap();
    for moment in 0..14 {
        let work = bench.work(&format!("stopped-{moment}"));
        let asked = Cell::new(0);
        let stop = || asked.replace(asked.get() + 1) == moment;
        assert!(stop::is_interruption(&bench.train(&work, &stop).err().unwrap()));
        bench.train(&work, &never).unwrap().assert_same(&whole, &format!("stopped at moment {moment}"));
    }
    let finished = bench.train(&bench.work("whole"), &|| panic!("a step was begun")).unwrap();
    finished.assert_same(&whole, "again");
}

#[test]
fn what_is_measured_is_what_is_kept() {
    let mut mixed = Mixed::new(0.5);
    mixed.bench.settings.average = 0.9;
    let (mut kept, whole) = (decoder(), mixed.bench.work("whole"));
    let report = mixed.train_model(&mut kept, true, &whole, &never).unwrap();
    let work = mixed.bench.work("stopped");
    let asked = Cell::new(0);
    let stop = || asked.replace(asked.get() + 1) == 9;
    assert!(mixed.train_model(&mut decoder(), true, &work, &stop).is_err());
    mixed.train_model(&mut decoder(), true, &work, &never).unwrap();
    let lines = |work: &std::path::Path| fs::read_to_string(work.join("validation.jsonl")).unwrap();
    assert_eq!(lines(&work), lines(&whole));
    // Another run begins where this one ended.
    let next = mixed.train_model(&mut kept, true, &mixed.bench.work("next"), &never).unwrap();
    let losses = |report: &metier_train::TrainReport, step: u64| -> Vec<u64> {
        let records = report.validation.iter().filter(|record| record.step == step);
        records.map(|record| record.loss.to_bits()).collect()
    };
    assert_eq!(losses(&next, 0), losses(&report, 7));
    mixed.bench.settings.average = 0.0;
    let raw = mixed.train_model(&mut decoder(), true, &mixed.bench.work("raw"), &never).unwrap();
    assert_eq!(raw.history, report.history);
    assert_ne!(losses(&raw, 7), losses(&report, 7));
}

#[test]
fn it_is_planned_and_belongs_to_the_run_only_where_it_is_asked_for() {
    let bench = averaged();
    let with = plan(&decoder(), None, &bench.settings, &bench.parts).unwrap();
    let settings = TrainSettings { average: 0.0, ..bench.settings.clone() };
    let without = plan(&decoder(), None, &settings, &bench.parts).unwrap();
    assert_eq!(with.state_bytes - without.state_bytes, 4 * with.trainable);
    assert_eq!(with.checkpoint_bytes - without.checkpoint_bytes, 12 * with.trainable);
    assert_eq!(settings.identity().get("average"), None);
    assert_eq!(bench.settings.identity()["average"], DECAY);
}
