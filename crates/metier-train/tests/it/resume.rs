//! A run that was killed, stopped or moved to other threads ends with the same bytes.

use crate::kit::{Bench, Trained, decoder, never};
use metier_compute::{ParameterId, Parameters, Tape, Tensor, Var, op};
use metier_core::{Result, stop};
use metier_model::Decoder;
use metier_model::layer::{StepDone, Upkeep};
use metier_train::TrainSettings;
use metier_train::optimizer::{Adamw, Adamw8bit};
use metier_train::settings::chosen;
use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, &to).unwrap();
        }
    }
}

fn checkpoints(work: &Path) -> Vec<PathBuf> {
    let mut all: Vec<_> = fs::read_dir(work.join("scratch")).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}

/// Two groups of windows a step, and the question is put before each: 14 moments in 7 steps.
const MOMENTS: usize = 14;

#[test]
fn a_stop_at_any_moment_resumes_to_the_same_bytes() {
    let bench = Bench::new();
    let whole = bench.train(&bench.work("whole"), &never).unwrap();
    for moment in 0..MOMENTS {
        let work = bench.work(&format!("stopped-{moment}"));
        let asked = Cell::new(0);
        let stop = || asked.replace(asked.get() + 1) == moment;
        let error = bench.train(&work, &stop).err().unwrap();
        assert!(stop::is_interruption(&error), "{error}");
        let resumed = bench.train(&work, &never).unwrap();
        resumed.assert_same(&whole, &format!("stopped at moment {moment}"));
    }
}

#[test]
fn bits_that_are_kept_in_words_are_resumed_as_they_were() {
    let mut bench = Bench::new();
    let adamw = Adamw8bit(Adamw { rate: 0.01, ..Default::default() });
    bench.parts.optimizer = chosen("adamw_8bit", adamw).unwrap();
    let whole = bench.train(&bench.work("whole"), &never).unwrap();
    let work = bench.work("stopped");
    let asked = Cell::new(0);
    let stop = || asked.replace(asked.get() + 1) == 9;
    assert!(stop::is_interruption(&bench.train(&work, &stop).err().unwrap()));
    assert!(!checkpoints(&work).is_empty());
    bench.train(&work, &never).unwrap().assert_same(&whole, "8-bit states");
}

#[test]
fn a_kill_at_any_moment_resumes_to_the_same_bytes() {
    for average in [0.0, 0.9] {
        let mut bench = Bench::new();
        bench.settings.average = average;
        let work = bench.work("whole");
        let moment = Cell::new(0);
        let photograph = || {
            copy(&work, &bench.folder.path().join(format!("killed-{}", moment.get())));
            moment.set(moment.get() + 1);
            false
        };
        let whole = bench.train(&work, &photograph).unwrap();
        assert_eq!(moment.get(), MOMENTS);
        for moment in 0..MOMENTS {
            let work = bench.folder.path().join(format!("killed-{moment}"));
            bench.train(&work, &never).unwrap().assert_same(&whole, &format!("killed at moment {moment}, {average}"));
        }
    }
}

#[test]
fn stopping_again_and_again_changes_nothing() {
    let bench = Bench::new();
    let whole = bench.train(&bench.work("whole"), &never).unwrap();
    let work = bench.work("often");
    let mut interruptions = 0;
    let last: Trained = loop {
        let asked = Cell::new(0);
        let stop = || asked.replace(asked.get() + 1) == 3;
        match bench.train(&work, &stop) {
            Ok(trained) => break trained,
            Err(error) => assert!(stop::is_interruption(&error), "{error}"),
        }
        interruptions += 1;
    };
    assert!(interruptions > 3);
    last.assert_same(&whole, "stopped often");
}

#[test]
fn a_torn_checkpoint_falls_back_to_the_one_before() {
    let bench = Bench::new();
    let work = bench.work("whole");
    let whole = bench.train(&work, &never).unwrap();
    let newest = checkpoints(&work).pop().unwrap();
    let bytes = fs::read(&newest).unwrap();
    fs::write(&newest, &bytes[..bytes.len() / 2]).unwrap();
    fs::write(work.join("loss.jsonl"), "torn").unwrap();
    let mut decoder = decoder();
    let report = bench.train_model(&mut decoder, &work, &never).unwrap();
    assert_eq!((report.resumed_from, report.notes.len()), (Some(6), 1));
    assert!(report.notes[0].contains("passed over"), "{}", report.notes[0]);
    Trained::new(&decoder, &report, &work).assert_same(&whole, "newest torn");
}

#[test]
fn a_finished_run_is_not_run_again() {
    let bench = Bench::new();
    let work = bench.work("whole");
    let whole = bench.train(&work, &never).unwrap();
    let again = bench.train(&work, &|| panic!("a step was begun")).unwrap();
    again.assert_same(&whole, "again");
}

#[test]
fn how_often_to_checkpoint_changes_nothing() {
    let mut bench = Bench::new();
    let whole = bench.train(&bench.work("whole"), &never).unwrap();
    bench.settings.checkpoint_every = 1;
    bench.train(&bench.work("often"), &never).unwrap().assert_same(&whole, "checkpoint every step");
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let bench = Bench::new();
    let before = metier_compute::kernel::threads();
    metier_compute::kernel::set_threads(1).unwrap();
    let one = bench.train(&bench.work("one"), &never).unwrap();
    metier_compute::kernel::set_threads(3).unwrap();
    let three = bench.train(&bench.work("three"), &never).unwrap();
    metier_compute::kernel::set_threads(before).unwrap();
    three.assert_same(&one, "three threads");
}

#[test]
fn the_seed_and_the_size_of_a_group_matter_only_as_they_should() {
    let mut bench = Bench::new();
    let losses = |trained: &Trained| -> Vec<f64> {
        let lines = trained.losses.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines.map(|record| record["loss"].as_f64().unwrap()).collect()
    };
    let two = bench.train(&bench.work("two"), &never).unwrap();
    bench.settings.micro_batch = 1;
    let one = bench.train(&bench.work("one"), &never).unwrap();
    metier_testkit::assert_close("losses", &losses(&one), &losses(&two), 1e-4, 1e-4);
    assert_eq!(one.sampled, two.sampled);
}

#[test]
fn computing_again_changes_nothing() {
    let mut bench = Bench::new();
    let kept = bench.train(&bench.work("kept"), &never).unwrap();
    bench.settings.recompute = true;
    let again = bench.train(&bench.work("again"), &never).unwrap();
    assert_eq!(again.losses, kept.losses);
    assert!(again.weights == kept.weights);
}

#[test]
fn frozen_weights_stay_and_are_not_checkpointed() {
    let bench = Bench::new();
    let work = bench.work("frozen");
    let frozen = |name: &str| !name.contains("down_proj");
    let mut trained = decoder();
    let ids: Vec<_> = trained.parameters.iter().map(|(id, name, ..)| (id, frozen(name))).collect();
    for (id, frozen) in ids {
        trained.parameters.set_trainable(id, !frozen);
    }
    bench.train_model(&mut trained, &work, &never).unwrap();
    let before = decoder();
    for ((_, name, new, _), (_, _, old, _)) in trained.parameters.iter().zip(before.parameters.iter()) {
        assert_eq!(new.data() == old.data(), frozen(name), "{name}");
    }
    let bytes = fs::metadata(checkpoints(&work).pop().unwrap()).unwrap().len();
    assert!(bytes < 12 * trained.trainable_numbers() + 2000, "{bytes} bytes");
}

/// What an adapter may do between steps: it adds to the loss, counts in a parameter of its own, and changes a weight by that.
#[derive(Debug)]
struct Counting {
    kept: [ParameterId; 1],
    weight: ParameterId,
}

impl Upkeep for Counting {
    fn penalty(&self, tape: &mut Tape<'_>) -> Result<Var> {
        let weight = tape.parameter(self.weight);
        let squares = op::multiply(tape, weight, weight)?;
        let sum = op::sum(tape, squares)?;
        op::scale(tape, sum, 0.5)
    }

    fn after_step(&self, parameters: &mut Parameters, done: StepDone<'_>) -> Result<()> {
        assert!(done.step < done.steps && done.gradients.get(self.weight).is_some());
        let count = &mut parameters.get_mut(self.kept[0]).data_mut()[0];
        *count += 1.0;
        let count = *count;
        parameters.get_mut(self.weight).data_mut()[0] += count * count;
        Ok(())
    }

    fn kept(&self) -> &[ParameterId] {
        &self.kept
    }
}

#[test]
fn what_an_adapter_keeps_between_steps_is_resumed() {
    let bench = Bench::new();
    let counting = || {
        let mut decoder = decoder();
        let weight = decoder.sites()[0].weight;
        let kept = [decoder.put_parameter("count", Tensor::zeros(&[1]).unwrap(), false).unwrap()];
        decoder.attach_upkeep(Arc::new(Counting { kept, weight })).unwrap();
        assert!(decoder.attach_upkeep(Arc::new(Counting { kept, weight })).is_err());
        decoder
    };
    let ends = |decoder: &Decoder| -> Vec<u32> {
        let tensors = decoder.parameters.iter().flat_map(|(_, _, tensor, _)| tensor.data());
        tensors.map(|value| value.to_bits()).collect()
    };
    let mut whole = counting();
    bench.train_model(&mut whole, &bench.work("whole"), &never).unwrap();
    let count = whole.parameters.find("count").unwrap();
    assert!((whole.parameters.get(count).data()[0] - 7.0).abs() < 1e-6, "7 steps are counted");
    let averaged = TrainSettings { average: 0.9, ..bench.settings.clone() };
    let averaged = Bench { settings: averaged, ..Bench::new() };
    let refused = averaged.train_model(&mut counting(), &averaged.work("averaged"), &never).unwrap_err();
    assert_eq!(refused.faults[0].place.key.as_deref(), Some("average"), "{refused}");
    let mut plain = decoder();
    bench.train_model(&mut plain, &bench.work("plain"), &never).unwrap();
    assert_ne!(ends(&plain)[..], ends(&whole)[..ends(&plain).len()]);
    for moment in [3, 8, 13] {
        let work = bench.work(&format!("counting-{moment}"));
        let asked = Cell::new(0);
        let stop = || asked.replace(asked.get() + 1) == moment;
        assert!(stop::is_interruption(&bench.train_model(&mut counting(), &work, &stop).err().unwrap()));
        let mut resumed = counting();
        bench.train_model(&mut resumed, &work, &never).unwrap();
        assert_eq!(ends(&resumed), ends(&whole), "stopped at moment {moment}");
    }
}
