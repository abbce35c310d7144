//! Held-out losses that may not rise: where training ends, what is kept, and that a kill changes neither.

use crate::kit::{Trained, decoder, never};
use crate::mixture::Mixed;
use crate::resume::copy;
use metier_core::stop;
use metier_train::optimizer::Adamw;
use metier_train::page::Told;
use metier_train::settings::chosen;
use metier_train::{Guarded, TrainReport, plan};
use serde_json::json;
use std::cell::Cell;
use std::fs;

/// A run that learns `new` alone, whose loss on `old` falls for a while and then rises.
fn forgetting() -> Mixed {
    let mut mixed = Mixed::new(1.0);
    mixed.bench.settings.steps = 24;
    mixed.bench.parts.optimizer = chosen("adamw", Adamw { rate: 0.02, ..Adamw::default() }).unwrap();
    mixed
}

fn rises(report: &TrainReport) -> Vec<(u64, f64)> {
    let old: Vec<_> = report.validation.iter().filter(|record| record.name == "old").collect();
    old.iter().map(|record| (record.step, record.loss / old[0].loss - 1.0)).collect()
}

/// The same with a bound that is first broken after some good measurements, and the report of the run without one.
fn guarded() -> (Mixed, TrainReport) {
    let mut mixed = forgetting();
    let report = mixed.train_model(&mut decoder(), true, &mixed.bench.work("unguarded"), &never).unwrap();
    let rises = rises(&report);
    let bound = rises[1..4].iter().map(|(_, rise)| rise.max(0.0)).fold(0.0, f64::max);
    assert!(rises[4..].iter().any(|(_, rise)| *rise > bound), "{rises:?}");
    mixed.bench.settings.guard = [("old".to_owned(), bound), ("new".to_owned(), 0.5)].into();
    (mixed, report)
}

#[test]
fn training_ends_where_a_loss_rises_too_far_and_the_last_good_weights_are_kept() {
    let (mut mixed, unguarded) = guarded();
    let bound = mixed.bench.settings.guard["old"];
    let expected = rises(&unguarded).iter().skip(1).find(|(_, rise)| *rise > bound).unwrap().0;
    let (mut kept, work) = (decoder(), mixed.bench.work("guarded"));
    let report = mixed.train_model(&mut kept, true, &work, &never).unwrap();
    let Guarded { kept: step, rises: risen, breach } = report.guarded.clone().unwrap();
    assert_eq!((breach.unwrap().step, step, report.steps), (expected, expected - 3, expected - 3));
    assert!(risen.iter().all(|(name, rise)| *rise <= mixed.bench.settings.guard[name]), "{risen:?}");
    assert_eq!(report.history.len() as u64, expected);
    assert_eq!(report.history[..], unguarded.history[..expected as usize]);
    assert_eq!(report.tokens, report.history[..step as usize].iter().map(|record| record.tokens).sum::<u64>());
    assert!(report.notes.last().unwrap().contains(&format!("the weights of step {step} are kept")));
    // The kept weights are those of that step: another run measures them as this one did.
    let last = |report: &TrainReport, step: u64| -> Vec<u64> {
        report.validation.iter().filter(|record| record.step == step).map(|record| record.loss.to_bits()).collect()
    };
    mixed.bench.settings.guard.clear();
    let next = mixed.train_model(&mut kept, true, &mixed.bench.work("next"), &never).unwrap();
    assert_eq!(last(&next, 0), last(&report, step));
    for (pack, record) in report.held_out.iter().zip(report.validation.iter().filter(|record| record.step == step)) {
        let nats: f64 = pack.nats.iter().map(|[_, after]| after).sum();
        let predicted = pack.predicted.iter().sum::<u64>();
        assert_eq!((pack.name.as_str(), predicted), (record.name.as_str(), record.predicted));
        assert!((nats / predicted as f64 - record.loss).abs() < 1e-5, "{pack:?}");
    }
    let settings = json!({ "settings": { "guard": { "old": bound, "new": 0.5 } } });
    let page = Told::read(&work).unwrap().section(&settings);
    assert!(page.contains("Ended early: after step") && page.contains("guarded loss"), "{page}");
}

#[test]
fn a_stop_at_any_moment_keeps_the_same_weights() {
    let (mut mixed, _) = guarded();
    for average in [0.0, 0.5] {
        mixed.bench.settings.average = average;
        if average > 0.0 {
            // The average follows later, so another bound ends it.
            mixed.bench.settings.guard.clear();
            let report = mixed.train_model(&mut decoder(), true, &mixed.bench.work("averaged"), &never).unwrap();
            let bound = rises(&report)[1..3].iter().map(|(_, rise)| rise.max(0.0)).fold(0.0, f64::max);
            mixed.bench.settings.guard = [("old".to_owned(), bound)].into();
        }
        let run = |name: &str, stop: &dyn Fn() -> bool| {
            let (mut decoder, work) = (decoder(), mixed.bench.work(&format!("{name}-{average}")));
            let report = mixed.train_model(&mut decoder, true, &work, stop)?;
            let lines = fs::read_to_string(work.join("validation.jsonl")).unwrap();
            Ok::<_, metier_core::Error>((Trained::new(&decoder, &report, &work), report, lines))
        };
        let (whole, report, lines) = run("whole", &never).unwrap();
        assert!(report.guarded.as_ref().unwrap().breach.is_some());
        for moment in (0..2 * report.history.len()).step_by(3) {
            let (asked, name) = (Cell::new(0), format!("stopped-{moment}"));
            let stopped = run(&name, &|| asked.replace(asked.get() + 1) == moment);
            assert!(stop::is_interruption(&stopped.err().unwrap()));
            let (resumed, again, told) = run(&name, &never).unwrap();
            resumed.assert_same(&whole, &name);
            assert_eq!(
                (again.guarded, again.held_out, &told),
                (report.guarded.clone(), report.held_out.clone(), &lines)
            );
        }
        let (again, ..) = run("whole", &|| panic!("a step was begun")).unwrap();
        again.assert_same(&whole, "again");
    }
}

#[test]
fn a_kill_at_any_moment_keeps_the_same_weights() {
    let (mut mixed, _) = guarded();
    // Good measurements come after the checkpoint that a killed run goes back to.
    mixed.bench.settings.checkpoint_every = 8;
    let work = mixed.bench.work("whole");
    let moment = Cell::new(0);
    let photograph = || {
        copy(&work, &mixed.bench.folder.path().join(format!("killed-{}", moment.get())));
        moment.set(moment.get() + 1);
        false
    };
    let (whole, report) = mixed.train(true, &work, &photograph).unwrap();
    assert!(report.guarded.unwrap().breach.is_some() && moment.get() > 16);
    for moment in 0..moment.get() {
        let work = mixed.bench.folder.path().join(format!("killed-{moment}"));
        let (resumed, _) = mixed.train(true, &work, &never).unwrap();
        resumed.assert_same(&whole, &format!("killed at moment {moment}"));
    }
}

#[test]
fn a_run_within_its_bounds_ends_as_it_would_without_them() {
    let mut mixed = Mixed::new(0.5);
    let (whole, _) = mixed.train(true, &mixed.bench.work("whole"), &never).unwrap();
    mixed.bench.settings.guard = [("old".to_owned(), 0.1)].into();
    let (guarded, report) = mixed.train(true, &mixed.bench.work("guarded"), &never).unwrap();
    guarded.assert_same(&whole, "within bounds");
    let told = report.guarded.unwrap();
    assert_eq!((told.kept, told.breach, report.notes.len()), (7, None, 0));
    let settings = mixed.bench.settings.clone();
    let with = plan(&decoder(), None, &settings, &mixed.bench.parts).unwrap();
    mixed.bench.settings.guard.clear();
    let without = plan(&decoder(), None, &mixed.bench.settings, &mixed.bench.parts).unwrap();
    assert_eq!(with.checkpoint_bytes - without.checkpoint_bytes, 12 * with.trainable);
    assert_eq!(mixed.bench.settings.identity().get("guard"), None);
}

#[test]
fn what_cannot_be_guarded_is_refused() {
    let mut mixed = forgetting();
    mixed.bench.parts.optimizer = chosen("adamw", Adamw { rate: 1.0, ..Adamw::default() }).unwrap();
    mixed.bench.settings.guard = [("old".to_owned(), 0.01)].into();
    let said = |mixed: &Mixed, validated: bool| {
        let work = mixed.bench.work("refused");
        mixed.train_model(&mut decoder(), validated, &work, &never).unwrap_err()
    };
    for _ in 0..2 {
        let error = said(&mixed, true);
        assert_eq!(error.faults[0].place.key.as_deref(), Some("guard.old"), "{error}");
        let text = error.to_string();
        assert!(text.contains("after step 3 the loss on `old` had risen") && text.contains("at most 1 %"), "{text}");
    }
    assert!(said(&mixed, false).to_string().contains("guard: there is nothing to measure on"));
    mixed.bench.settings.guard = [("odl".to_owned(), 0.01)].into();
    let text = said(&mixed, true).to_string();
    assert!(text.contains("no pack under `validation` is called `odl`"), "{text}");
}
