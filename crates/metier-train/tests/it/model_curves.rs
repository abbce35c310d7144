//! Fifty steps of the models S and M of `metier bench`, against PyTorch.

use crate::curve::fill;
use metier_compute::kernel::{Level, Precision, level};
use metier_core::Place;
use metier_core::part::Build;
use metier_core::seed::Seed;
use metier_model::{Batch, Config, Decoder};
use metier_testkit::hashed::mixed;
use metier_testkit::{assert_close, golden};
use metier_train::Learner;
use metier_train::optimizer::{Adamw, Optimizer};
use serde_json::Value;

/// How far a step's loss may be from PyTorch's in f32 when ours is f32 too.
const BAND: f64 = 1e-3;

#[test]
fn model_s_learns_as_with_pytorch() {
    // PyTorch's own bf16, which stands in the golden, is up to 0.0056 away.
    compare("s", 1e-2, 50);
}

#[test]
fn model_m_learns_as_with_pytorch() {
    // PyTorch's own bf16 is up to 0.0266 away.
    // Without instructions for bf16 a step takes as long as in f32 or longer, and steps in f32 take long already.
    let steps = match level() {
        Level::Amx | Level::Avx512Bf16 => 50,
        Level::Avx512 | Level::Avx2 => 12,
        Level::Portable => 4,
    };
    if steps < 50 {
        println!("m in Bf16: {steps} steps of 50, as this processor has no products of bf16");
    }
    compare("m", 5e-2, steps);
}

fn compare(name: &str, band_of_bf16: f64, steps_of_bf16: usize) {
    let golden = golden::read("model_loss_curves.json");
    let model = &golden["models"][name];
    let wanted = golden::numbers(&model["f32"]);
    for (precision, band, steps) in [(Precision::F32, BAND, 50), (Precision::Bf16, band_of_bf16, steps_of_bf16)] {
        let got = losses(&golden, &model["shape"], precision, steps);
        let off = got.iter().zip(&wanted).map(|(a, b)| (a - b).abs());
        println!("{name} in {precision:?}: at most {:.6} away", off.fold(0.0, f32::max));
        assert_close(&format!("{name} in {precision:?}"), &got, &wanted[..steps], band, 0.0);
    }
}

/// The loss of each of the first steps in a precision.
fn losses(golden: &Value, shape: &Value, precision: Precision, steps: usize) -> Vec<f32> {
    let number = |key: &str| shape[key].as_u64().unwrap() as usize;
    let config = Config {
        vocabulary_size: number("vocabulary"),
        hidden_size: number("hidden"),
        intermediate_size: number("ffn"),
        layers: number("layers"),
        heads: number("heads"),
        kv_heads: number("kv_heads"),
        head_dim: number("hidden") / number("heads"),
        context_length: number("context"),
        norm_epsilon: 1e-5,
        rope_theta: shape["theta"].as_f64().unwrap() as f32,
        tied_embeddings: true,
        attention_bias: false,
        feed_forward_bias: false,
        ..Config::default()
    };
    let mut decoder = Decoder::random(&config, Seed::new(0)).unwrap();
    fill(&mut decoder, 1.0 / 32.0, 0.0);
    let adamw: Adamw = serde_json::from_value(golden["adamw"].clone()).unwrap();
    let optimizer: Box<dyn Optimizer> = adamw.build(&Place::default()).unwrap();
    let mut learner = Learner::new(&mut decoder, &*optimizer, &[]).unwrap();
    learner.precision = precision;
    let batches =
        batches(golden["batches"].as_u64().unwrap(), number("batch"), number("context"), number("vocabulary"));
    let clip = golden["clip"].as_f64().unwrap();
    (1..=steps as u64)
        .zip(batches.iter().cycle())
        .map(|(step, batch)| {
            learner.clear();
            let loss = learner.add(1.0, |decoder, tape| decoder.loss(tape, batch)).unwrap();
            let scale = (clip / (learner.gradient_norm() + 1e-6)).min(1.0);
            learner.update(&*optimizer, optimizer.rate(), scale as f32, step, 50).unwrap();
            loss as f32
        })
        .collect()
}

/// Those of `bench/train_step.py`: rows that mostly follow a rule.
fn batches(count: u64, rows: usize, context: usize, vocabulary: usize) -> Vec<Batch> {
    let row = |number: u64| -> Vec<u32> {
        let mut ids = vec![(number + 1) % vocabulary as u64];
        for place in 1..=context as u64 {
            let state = mixed(1_000_003 * number + place);
            let ruled = (ids[ids.len() - 1] * 5 + 3) % vocabulary as u64;
            ids.push(if state >> 62 == 0 { (state >> 8) % vocabulary as u64 } else { ruled });
        }
        ids.into_iter().map(|id| id as u32).collect()
    };
    let batch = |first: u64| {
        let rows: Vec<Vec<u32>> = (first..first + rows as u64).map(row).collect();
        Batch {
            ids: rows.iter().flat_map(|row| &row[..context]).copied().collect(),
            targets: rows.iter().flat_map(|row| &row[1..]).copied().collect(),
            weights: vec![1.0; rows.len() * context],
            positions: rows.iter().flat_map(|_| 0..context as u32).collect(),
            sequences: (0..rows.len()).map(|row| row * context..(row + 1) * context).collect(),
        }
    };
    (0..count).map(|at| batch(at * rows as u64)).collect()
}
