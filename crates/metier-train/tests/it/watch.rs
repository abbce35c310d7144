//! What a run tells, and that telling changes nothing.

use crate::kit::{Bench, Letters, Trained, decoder, never};
use metier_core::memory::Budget;
use metier_core::seed::Seed;
use metier_core::{Error, Place};
use metier_train::page::Told;
use metier_train::{Run, train};
use serde_json::{Value, json};
use std::cell::RefCell;

#[test]
fn events_add_up_to_the_run_and_change_nothing() {
    let bench = Bench::new();
    let alone = bench.train(&bench.work("alone"), &never).unwrap();
    let work = bench.work("watched");
    let events = RefCell::new(Vec::<Value>::new());
    let tell = |event: &metier_train::Event<'_>| {
        events.borrow_mut().push(json!(event));
        Ok(())
    };
    let run = Run {
        settings: &bench.settings,
        parts: &bench.parts,
        teacher: None,
        soft_mask: None,
        seed: Seed::new(3),
        work: &work,
        budget: &Budget::new(None),
        peak: Some(1e12),
        stop: &never,
        tell: Some(&tell),
        tokenizer: Some(&Letters),
    };
    let mut decoder = decoder();
    let report = train(&mut decoder, &bench.shards, &run).unwrap();
    Trained::new(&decoder, &report, &work).assert_same(&alone, "watched");

    let events = events.into_inner();
    let kinds: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    let expected = [
        "begin",
        "step",
        "step",
        "checkpoint",
        "step",
        "step",
        "checkpoint",
        "step",
        "step",
        "checkpoint",
        "step",
        "sample",
        "checkpoint",
        "end",
    ];
    assert_eq!(kinds, expected);
    let steps: Vec<_> = events.iter().filter(|event| event["event"] == "step").collect();
    let told = Told::read(&work).unwrap();
    for (step, record) in steps.iter().zip(&told.history) {
        let number = |key: &str| step[key].as_f64().unwrap();
        assert_eq!(step["step"], record.step);
        let told = ["loss", "rate", "gradient_norm"].map(|key| (number(key) as f32).to_bits());
        assert_eq!(told, [record.loss, record.rate, record.gradient_norm].map(f32::to_bits));
        assert!(number("tokens_per_second") > 0.0 && number("share_of_peak") > 0.0 && number("seconds_left") >= 0.0);
    }
    let tokens: u64 = steps.iter().map(|step| step["tokens"].as_u64().unwrap()).sum();
    let (begin, end) = (&events[0], &events[events.len() - 1]);
    assert_eq!((end["tokens"].as_u64(), end["steps"].as_u64()), (Some(tokens), Some(7)));
    assert_eq!((begin["steps"].as_u64(), begin["step"].as_u64()), (Some(7), Some(0)));
    assert_eq!(begin["trainable"], report.trainable);
    assert_eq!(steps[6]["seconds_left"], 0.0);
    let sample = &events[11];
    assert_eq!((sample["prompt"].as_str().unwrap().len(), sample["step"].as_u64()), (16, Some(7)));
}

#[test]
fn a_listener_that_fails_ends_the_run_and_the_run_goes_on_later() {
    let bench = Bench::new();
    let work = bench.work("work");
    let tell = |event: &metier_train::Event<'_>| match event {
        metier_train::Event::Checkpoint { step: 4 } => Err(Error::user(Place::default(), "nobody listens")),
        _ => Ok(()),
    };
    let run = Run {
        settings: &bench.settings,
        parts: &bench.parts,
        teacher: None,
        soft_mask: None,
        seed: Seed::new(3),
        work: &work,
        budget: &Budget::new(None),
        peak: None,
        stop: &never,
        tell: Some(&tell),
        tokenizer: None,
    };
    let error = train(&mut decoder(), &bench.shards, &run).unwrap_err();
    assert!(error.to_string().contains("nobody listens"), "{error}");
    let went_on = bench.train(&work, &never).unwrap();
    went_on.assert_same(&bench.train(&bench.work("alone"), &never).unwrap(), "went on");
}

#[test]
fn a_changed_log_is_named_with_its_line() {
    let bench = Bench::new();
    let work = bench.work("work");
    bench.train(&work, &never).unwrap();
    let path = work.join("loss.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("\"loss\"", "\"lost\"", 1)).unwrap();
    let error = Told::read(&work).err().unwrap().to_string();
    assert!(error.contains("loss.jsonl") && error.contains("line 1"), "{error}");
}
