//! Objectives of whole replies: the losses and gradients of TRL, what is learned with them, and what is refused.

use crate::distill::{assert_gradients, model};
use crate::kit::{Bench, Trained, config, decoder, examples, never, replies};
use metier_compute::{Gradients, Tape};
use metier_core::part::Chosen;
use metier_core::seed::Seed;
use metier_core::stop;
use metier_model::Decoder;
use metier_testkit::{assert_close, golden};
use metier_tokenizer::pack::Verdict;
use metier_train::objective::{Causal, Dpo, DpoLoss, Kto, Objective, Orpo, Segment, Simpo};
use metier_train::settings::chosen;
use serde_json::{Value, json};
use std::cell::Cell;
use std::sync::Arc;

fn objective(name: &str, settings: Value) -> Chosen<dyn Objective> {
    match name {
        "dpo" => chosen("dpo", serde_json::from_value::<Dpo>(settings).unwrap()),
        "kto" => chosen("kto", serde_json::from_value::<Kto>(settings).unwrap()),
        "orpo" => chosen("orpo", serde_json::from_value::<Orpo>(settings).unwrap()),
        _ => chosen("simpo", serde_json::from_value::<Simpo>(settings).unwrap()),
    }
    .unwrap()
}

/// A prompt with its reply, of which every token is learned.
fn segment(prompt: &Value, reply: &Value, verdict: Verdict) -> Segment {
    let (prompt, reply) = (golden::ids(prompt), golden::ids(reply));
    let tokens = [prompt.clone(), reply].concat();
    let learned = (0..tokens.len()).map(|token| token >= prompt.len()).collect();
    Segment { tokens, learned: Some(learned), verdict: Some(verdict), ..Segment::default() }
}

#[test]
fn losses_and_gradients_are_those_of_trl() {
    let golden = golden::read("preferences.json");
    let reference = Arc::new(model(&golden["models"]["reference"]));
    let mut own = model(&golden["models"]["model"]);
    let pairs = golden["pairs"].as_array().unwrap().iter().flat_map(|pair| {
        [segment(&pair[0], &pair[1], Verdict::Chosen), segment(&pair[0], &pair[2], Verdict::Rejected)]
    });
    let judged = golden["judged"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| segment(&row[0], &row[1], if row[2].as_bool().unwrap() { Verdict::Good } else { Verdict::Bad }));
    let (pairs, judged): (Vec<_>, Vec<_>) = (pairs.collect(), judged.collect());
    let cases = golden["cases"].as_object().unwrap();
    assert_eq!(cases.len(), 11);
    for (name, case) in cases {
        let kind = name.split(',').next().unwrap();
        let objective = objective(kind, case["settings"].clone()).part;
        let group = objective.batch(if kind == "kto" { &judged } else { &pairs }).unwrap();
        for recompute in [false, true] {
            own.set_recompute(recompute);
            let mut gradients = Gradients::new();
            let mut tape = Tape::training(&own.parameters);
            let loss = objective.loss(&own, &mut tape, &group, Some(&reference)).unwrap();
            let got = tape.value(loss).unwrap().item().unwrap();
            assert_close(&format!("{name}: loss"), &[f64::from(got)], &[case["loss"].as_f64().unwrap()], 1e-6, 1e-6);
            tape.backward(loss, &mut gradients).unwrap();
            assert_gradients(name, &own, &gradients, &case["gradients"]);
        }
    }
}

fn bench(objective: Chosen<dyn Objective>) -> Bench {
    let mut bench = Bench::new();
    let folder = bench.folder.path().join("examples");
    let judged = objective.name == "kto";
    let rows = replies(24).into_iter().enumerate().map(|(row, [prompt, good, bad])| match (judged, row % 2) {
        (false, _) => json!({ "prompt": prompt, "chosen": good, "rejected": bad }),
        (true, 0) => json!({ "prompt": prompt, "completion": good, "label": true }),
        (true, _) => json!({ "prompt": prompt, "completion": bad, "label": false }),
    });
    bench.shards = examples(&folder, &rows.collect::<Vec<_>>());
    bench.settings.context = 24;
    bench.parts.objective = objective;
    bench
}

fn losses(trained: &Trained) -> Vec<f64> {
    let lines = trained.losses.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.map(|record| record["loss"].as_f64().unwrap()).collect()
}

#[test]
fn every_objective_learns_and_a_stop_at_any_moment_changes_no_byte() {
    for name in ["dpo", "kto", "orpo", "simpo"] {
        let settings = if name == "kto" { json!({ "beta": 1.0 }) } else { json!({}) };
        let mut bench = bench(objective(name, settings));
        bench.settings.steps = 12;
        let whole = bench.train(&bench.work("whole"), &never).unwrap();
        let found = losses(&whole);
        if name == "dpo" {
            assert_close("dpo begins at ln 2", &found[..1], &[2.0_f64.ln()], 1e-6, 0.0);
        }
        let last = found[8..].iter().sum::<f64>() / 4.0;
        assert!(last < 0.95 * found[0], "{name}: {found:?}");
        for moment in [1, 8, 15, 23] {
            let work = bench.work(&format!("stopped-{moment}"));
            let asked = Cell::new(0);
            let stop = || asked.replace(asked.get() + 1) == moment;
            assert!(stop::is_interruption(&bench.train(&work, &stop).err().unwrap()));
            bench.train(&work, &never).unwrap().assert_same(&whole, &format!("{name} stopped at moment {moment}"));
        }
    }
}

#[test]
fn the_size_of_a_group_changes_a_loss_of_pairs_only_by_rounding() {
    for name in ["dpo", "orpo", "simpo"] {
        let mut bench = bench(objective(name, json!({})));
        bench.settings.sequences = 4;
        let two = losses(&bench.train(&bench.work("two"), &never).unwrap());
        bench.settings.micro_batch = 4;
        let four = losses(&bench.train(&bench.work("four"), &never).unwrap());
        assert_close(name, &four, &two, 1e-6, 1e-6);
    }
}

#[test]
fn the_reference_may_be_another_model() {
    let mut bench = bench(objective("dpo", json!({})));
    bench.teacher = Some(Arc::new(decoder()));
    let own = bench.train(&bench.work("own"), &never).unwrap();
    bench.teacher = None;
    assert_eq!(bench.train(&bench.work("none"), &never).unwrap().losses, own.losses);
    bench.teacher = Some(Arc::new(Decoder::random(&config(), Seed::new(77)).unwrap()));
    assert_ne!(bench.train(&bench.work("other"), &never).unwrap().losses, own.losses);
}

#[test]
fn shards_that_teach_something_else_are_refused() {
    let refused = |bench: &Bench, words: &[&str]| {
        let text = bench.train(&bench.work("refused"), &never).err().unwrap().to_string();
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    };
    let mut pairs = bench(objective("dpo", json!({})));
    pairs.parts.objective = chosen("causal", Causal::default()).unwrap();
    refused(&pairs, &["objective: `causal` cannot learn from these shards", "preferences", "`dpo`"]);
    let mut judged = bench(objective("kto", json!({})));
    judged.parts.objective = objective("dpo", json!({}));
    refused(&judged, &["they hold judgments", "choose `kto`"]);
    let mut documents = Bench::new();
    documents.parts.objective = objective("simpo", json!({}));
    refused(&documents, &["they hold documents", "`chosen` and `rejected`"]);
    let mut narrow = bench(objective("dpo", json!({})));
    narrow.settings.context = 12;
    refused(&narrow, &["context: `rows.jsonl:", "chosen`: it and the rejected reply have", "write `context = "]);
    let bad = Dpo { loss: DpoLoss::Ipo, beta: 0.0, label_smoothing: 0.1 };
    assert_eq!(chosen::<dyn Objective, _>("dpo", bad).err().unwrap().faults.len(), 2);
}

#[test]
fn a_loss_that_is_no_number_names_the_rows() {
    let bench = bench(objective("dpo", json!({})));
    let mut broken = decoder();
    let id = broken.parameters.find("model.norm.weight").unwrap();
    broken.parameters.get_mut(id).data_mut().fill(f32::NAN);
    let error = bench.train_model(&mut broken, &bench.work("broken"), &never).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("step 1, batch 1 of 2: the loss is NaN") && text.contains("`rows.jsonl:"), "{text}");
    assert!(text.contains(" chosen`") && text.contains(" rejected`"), "{text}");
}
