//! Instruction tuning: `causal` on examples, of which only replies are learned.

use crate::kit::{Bench, Trained, decoder, examples, never, replies};
use metier_compute::Tape;
use metier_testkit::assert_close;
use metier_train::objective::{Causal, Objective, Segment};
use metier_train::sampler::Random;
use metier_train::settings::chosen;
use serde_json::{Value, json};

fn bench() -> Bench {
    let mut bench = Bench::new();
    let rows = replies(30).into_iter().map(|[prompt, good, _]| json!({ "prompt": prompt, "completion": good }));
    bench.shards = examples(&bench.folder.path().join("examples"), &rows.collect::<Vec<_>>());
    bench
}

fn numbers(trained: &Trained, key: &str) -> Vec<f64> {
    let lines = trained.losses.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.map(|record| record[key].as_f64().unwrap()).collect()
}

/// Windows hold different numbers of learned tokens, so a mean of the groups' means would differ.
#[test]
fn a_changed_micro_batch_gives_the_same_curve_whatever_the_masks() {
    let mut bench = bench();
    bench.settings.sequences = 6;
    bench.settings.steps = 10;
    bench.settings.micro_batch = 6;
    let whole = bench.train(&bench.work("whole"), &never).unwrap();
    let tokens = numbers(&whole, "tokens");
    assert!(tokens.iter().any(|count| (count - tokens[0]).abs() > 0.5), "{tokens:?}");
    for micro_batch in [1, 2, 4] {
        bench.settings.micro_batch = micro_batch;
        let parts = bench.train(&bench.work(&format!("by {micro_batch}")), &never).unwrap();
        assert_close("losses", &numbers(&parts, "loss"), &numbers(&whole, "loss"), 1e-6, 1e-6);
        assert_eq!(parts.sampled, whole.sampled);
    }
}

#[test]
fn only_replies_count_and_rows_are_never_cut() {
    let mut bench = bench();
    bench.settings.steps = 1;
    bench.settings.sequences = 64;
    let trained = bench.train(&bench.work("once"), &never).unwrap();
    let learned = bench.shards.examples().unwrap().learned;
    let sampled: Vec<Value> = serde_json::from_str(&trained.sampled).unwrap();
    assert_eq!(sampled.len(), 30);
    let all: Vec<_> = bench.shards.documents().iter().map(|entry| entry.targets(0..entry.tokens())).collect();
    assert_eq!(all.iter().sum::<u64>(), learned);
    for row in &sampled {
        let index = bench.shards.documents().iter().position(|entry| row["document"] == entry.id.as_str()).unwrap();
        assert_eq!(row["tokens"].as_u64().unwrap() % all[index], 0, "{row}");
    }
    // The loss of the first step is that of the replies alone.
    let decoder = decoder();
    let segments: Vec<Segment> = (0..30)
        .map(|index| {
            let entry = &bench.shards.documents()[index];
            let range = entry.learned.as_ref().unwrap()[0].clone();
            let tokens = bench.shards.read(index, 0..entry.tokens()).unwrap();
            let learned = (0..tokens.len() as u64).map(|token| range.contains(&token)).collect();
            Segment { tokens, learned: Some(learned), ..Segment::default() }
        })
        .collect();
    bench.settings.steps = 1;
    bench.settings.sequences = 12;
    let first = bench.train(&bench.work("first"), &never).unwrap();
    let seen: Vec<Value> = serde_json::from_str(&first.sampled).unwrap();
    let group = Causal {}.batch(&segments).unwrap();
    let mut tape = Tape::inference(&decoder.parameters);
    let hidden = decoder.hidden(&mut tape, &group.rows.ids, &group.rows.positions, &group.rows.sequences).unwrap();
    let each = decoder.log_probabilities(tape.value(hidden).unwrap(), &group.rows.targets).unwrap();
    let (mut sum, mut count) = (0.0, 0.0);
    for row in &seen {
        let index = bench.shards.documents().iter().position(|entry| row["document"] == entry.id.as_str()).unwrap();
        let times = row["tokens"].as_f64().unwrap() / all[index] as f64;
        for at in group.rows.sequences[index].clone().filter(|at| group.rows.weights[*at] > 0.0) {
            sum -= times * f64::from(each[at].0);
            count += times;
        }
    }
    assert_close("loss", &numbers(&first, "loss"), &[sum / count], 1e-6, 1e-6);
}

#[test]
fn examples_that_no_window_holds_are_refused() {
    let mut bench = bench();
    bench.settings.context = 5;
    let error = bench.train(&bench.work("narrow"), &never).err().unwrap().to_string();
    assert!(error.contains("context: `rows.jsonl:") && error.contains("examples are not cut"), "{error}");
    // A window may be longer than the model can attend to, as long as no example is.
    bench.settings.context = 100;
    bench.settings.steps = 2;
    bench.train(&bench.work("wide"), &never).unwrap();
    bench.parts.sampler = chosen("random", Random::default()).unwrap();
    bench.settings.context = 16;
    bench.train(&bench.work("random"), &never).unwrap();
}
