//! The loss over the steps: it falls, and it falls as PyTorch's does.

use crate::kit::{Bench, decoder, never, shards, shards_with};
use metier_core::data::TokenId;
use metier_core::seed::Seed;
use metier_model::{Config, Decoder};
use metier_testkit::{assert_close, golden, hashed};
use metier_tokenizer::pack::PackSettings;
use metier_train::optimizer::{Adamw, Adamw8bit};
use metier_train::schedule::Cosine;
use metier_train::settings::chosen;
use metier_train::{TrainReport, TrainSettings};

#[test]
fn loss_falls_on_a_repeated_text() {
    let mut bench = Bench::new();
    let line: Vec<TokenId> = (0..12).map(|n| (n * n * 7 + 3 * n) % 64).collect();
    bench.shards = shards(&bench.folder.path().join("repeated"), &vec![line; 8]);
    bench.settings = TrainSettings { steps: 80, ..bench.settings };
    let mut decoder = decoder();
    let report = bench.train_model(&mut decoder, &bench.work("repeated-work"), &never).unwrap();
    let untrained = 64_f32.ln();
    assert!((report.loss_first - untrained).abs() < 1.0, "{} at first", report.loss_first);
    assert!(report.loss_last < 0.3, "{} at last", report.loss_last);
    assert_eq!(report.history.len(), 80);
    assert!(report.flop > 0.0 && report.tokens_per_second > 0.0);
}

/// 80 steps in which the loss falls from 4.2 to 1.2: what 8 bits change stays small beside it.
#[test]
fn states_in_8_bits_learn_like_states_in_f32() {
    let mut bench = Bench::new();
    bench.settings = TrainSettings { steps: 80, ..bench.settings };
    let adamw = Adamw { rate: 0.01, ..Default::default() };
    bench.parts.optimizer = chosen("adamw", adamw.clone()).unwrap();
    let whole = bench.train_model(&mut decoder(), &bench.work("f32"), &never).unwrap();
    bench.parts.optimizer = chosen("adamw_8bit", Adamw8bit(adamw)).unwrap();
    let small = bench.train_model(&mut decoder(), &bench.work("8-bit"), &never).unwrap();
    assert_ne!(small.loss_last.to_bits(), whole.loss_last.to_bits());
    let losses = |report: &TrainReport| -> Vec<f32> { report.history.iter().map(|record| record.loss).collect() };
    assert_close("loss", &losses(&small), &losses(&whole), 0.02, 0.0);
}

#[test]
fn twenty_steps_agree_with_pytorch() {
    let golden = golden::read("loss_curve.json");
    let number = |key: &str| golden[key].as_u64().unwrap();
    let config = Config::from_json(&golden["config"]).unwrap();
    let mut decoder = Decoder::random(&config, Seed::new(0)).unwrap();
    fill(&mut decoder, 0.125, 0.125);
    let documents: Vec<Vec<TokenId>> = serde_json::from_value(golden["documents"].clone()).unwrap();
    let losses = golden::numbers(&golden["losses"]);

    let mut bench = Bench::new();
    let settings = PackSettings { shard_tokens: 70, ..PackSettings::default() };
    bench.shards = shards_with(&bench.folder.path().join("curve"), &documents, &settings);
    let context = number("context") as usize;
    bench.settings = TrainSettings {
        steps: losses.len() as u64,
        context,
        // All windows in each step, so that their order does not matter.
        sequences: (bench.shards.tokens() as usize).div_ceil(context),
        micro_batch: 3,
        clip: golden["clip"].as_f64().unwrap(),
        ..bench.settings
    };
    let adamw: Adamw = serde_json::from_value(golden["adamw"].clone()).unwrap();
    bench.parts.optimizer = chosen("adamw", adamw).unwrap();
    let floor = golden["floor"].as_f64().unwrap();
    let cosine = Cosine { warmup_steps: Some(number("warmup")), floor, ..Cosine::default() };
    bench.parts.schedule = chosen("cosine", cosine).unwrap();
    let report = bench.train_model(&mut decoder, &bench.work("curve-work"), &never).unwrap();

    assert!(report.history.iter().all(|record| record.tokens == number("tokens")));
    let got: Vec<f32> = report.history.iter().map(|record| record.loss).collect();
    assert_close("loss", &got, &losses, 1e-3, 0.0);
    let norms: Vec<f32> = report.history.iter().map(|record| record.gradient_norm).collect();
    assert_close("gradient norm", &norms, &golden::numbers(&golden["gradient_norms"]), 1e-3, 1e-3);
}

/// The weights that the scripts under `fixtures/reference/` give their models: even numbers from minus to plus `size`, and
/// norms that differ from 1 by up to `norm_size`.
pub fn fill(decoder: &mut Decoder, size: f64, norm_size: f64) {
    let ids: Vec<_> = decoder.parameters.iter().map(|(id, ..)| id).collect();
    for id in ids {
        decoder.parameters.set_trainable(id, true);
        let numbers = hashed::even(decoder.parameters.name(id));
        let tensor = decoder.parameters.get_mut(id);
        let norm = tensor.shape().len() == 1;
        for (even, value) in numbers.zip(tensor.data_mut()) {
            *value = (if norm { 1.0 + norm_size * even } else { size * even }) as f32;
        }
    }
}
