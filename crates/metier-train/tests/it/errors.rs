//! Bad input: the message says where and what would have been right.

use crate::kit::{Bench, decoder, documents, never, shards};
use metier_core::Blame;
use metier_core::memory::Budget;
use metier_core::seed::Seed;
use metier_train::optimizer::Adamw;
use metier_train::settings::chosen;
use metier_train::{Run, train};

#[test]
fn a_loss_that_is_no_number_names_the_step_and_its_documents() {
    let mut bench = Bench::new();
    bench.parts.optimizer = chosen("adamw", Adamw { rate: 10.0, epsilon: 1e-16, ..Adamw::default() }).unwrap();
    let mut decoder = decoder();
    let id = decoder.parameters.find("model.norm.weight").unwrap();
    decoder.parameters.get_mut(id).data_mut().fill(f32::NAN);
    let work = bench.work("broken");
    let error = bench.train_model(&mut decoder, &work, &never).unwrap_err();
    assert_eq!(error.blame, Blame::User);
    assert_eq!(error.faults[0].place.key.as_deref(), Some("step 1, batch 1 of 2"));
    assert!(error.faults[0].message.contains("NaN"), "{error}");
    assert!(error.faults[0].message.contains("`d"), "{error}");
}

#[test]
fn too_little_memory_is_told_with_both_numbers_before_the_first_step() {
    let bench = Bench::new();
    let work = bench.work("small");
    let refused = |limit: u64| {
        let run = Run {
            settings: &bench.settings,
            parts: &bench.parts,
            teacher: None,
            soft_mask: None,
            seed: Seed::new(3),
            work: &work,
            budget: &Budget::new(Some(limit)),
            peak: None,
            stop: &never,
            tell: None,
            tokenizer: None,
        };
        train(&mut decoder(), &bench.shards, &run).unwrap_err().to_string()
    };
    let message = refused(1000);
    assert!(message.contains("1.0 kB") && message.contains("lora"), "{message}");
    let state = 3 * 4 * decoder().trainable_numbers();
    let message = refused(state + 1000);
    assert!(message.contains("1.0 kB") && message.contains("micro_batch"), "{message}");
    assert!(!work.join("loss.jsonl").exists());
}

#[test]
fn a_checkpoint_of_other_settings_is_refused() {
    let mut bench = Bench::new();
    let work = bench.work("one");
    bench.train(&work, &never).unwrap();
    bench.parts.optimizer = chosen("adamw", Adamw { rate: 0.02, ..Adamw::default() }).unwrap();
    let error = bench.train(&work, &never).err().unwrap();
    assert!(error.to_string().contains("belongs to another run"), "{error}");
    assert!(error.faults[0].place.file.is_some());
}

#[test]
fn a_checkpoint_of_another_model_is_refused() {
    let bench = Bench::new();
    let work = bench.work("one");
    bench.train(&work, &never).unwrap();
    let mut other = decoder();
    let id = other.parameters.iter().map(|(id, ..)| id).next().unwrap();
    other.parameters.get_mut(id).data_mut()[0] += 1.0;
    let error = bench.train_model(&mut other, &work, &never).unwrap_err();
    assert!(error.to_string().contains("belongs to another run"), "{error}");
}

#[test]
fn a_model_without_a_trainable_weight_is_refused() {
    let bench = Bench::new();
    let mut frozen = decoder();
    let ids: Vec<_> = frozen.parameters.iter().map(|(id, ..)| id).collect();
    for id in ids {
        frozen.parameters.set_trainable(id, false);
    }
    let error = bench.train_model(&mut frozen, &bench.work("frozen"), &never).unwrap_err();
    assert!(error.to_string().contains("no weight of the model is trainable"), "{error}");
}

#[test]
fn documents_of_single_tokens_are_refused() {
    let mut bench = Bench::new();
    bench.shards = shards(&bench.folder.path().join("single"), &[vec![1], vec![2]]);
    let error = bench.train(&bench.work("single-work"), &never).err().unwrap();
    assert!(error.to_string().contains("no document has two tokens"), "{error}");
}

#[test]
fn a_context_longer_than_the_model_can_take_is_refused() {
    let mut bench = Bench::new();
    bench.shards = shards(&bench.folder.path().join("long"), &[documents().concat()]);
    bench.settings.context = 65;
    let error = bench.train(&bench.work("long-work"), &never).err().unwrap();
    assert!(error.to_string().contains("65") && error.to_string().contains("64"), "{error}");
}
