//! Pairs of texts: the losses and gradients of sentence-transformers, what is learned, and what is refused.

use crate::distill::{assert_gradients, model};
use crate::kit::{Bench, Letters, Trained, decoder, examples, never, replies};
use metier_compute::{Gradients, Tape};
use metier_core::data::TokenId;
use metier_core::part::Chosen;
use metier_core::seam::{Embed, Tokenize};
use metier_core::seed::Seed;
use metier_core::stop;
use metier_model::LocalModel;
use metier_testkit::{assert_close, golden};
use metier_tokenizer::pack::Verdict;
use metier_train::objective::{Causal, Contrastive, Dpo, Group, Objective, Segment};
use metier_train::sampler::Packed;
use metier_train::settings::chosen;
use metier_train::{View, preview};
use serde_json::{Value, json};
use std::cell::Cell;
use std::sync::Arc;

fn contrastive(settings: Value) -> Chosen<dyn Objective> {
    chosen("contrastive", serde_json::from_value::<Contrastive>(settings).unwrap()).unwrap()
}

fn segments(row: &[Vec<TokenId>]) -> Vec<Segment> {
    let verdicts = [Verdict::Anchor, Verdict::Positive].into_iter().chain(std::iter::repeat(Verdict::Negative));
    let texts = row.iter().zip(verdicts);
    texts.map(|(ids, verdict)| Segment { tokens: ids.clone(), verdict: Some(verdict), ..Segment::default() }).collect()
}

#[test]
fn losses_and_gradients_are_those_of_sentence_transformers() {
    let golden = golden::read("contrastive.json");
    let mut own = model(&golden["model"]);
    let cases = golden["cases"].as_object().unwrap();
    assert_eq!(cases.len(), 7);
    for (name, case) in cases {
        let objective = contrastive(case["settings"].clone()).part;
        let rows: Vec<Vec<Vec<TokenId>>> = serde_json::from_value(case["rows"].clone()).unwrap();
        let whole = objective.batch(&rows.iter().flat_map(|row| segments(row)).collect::<Vec<_>>()).unwrap();
        assert!((objective.weight(&whole) - rows.len() as f64).abs() < 1e-12);
        for (recompute, at_once) in [(false, None), (false, Some(7)), (true, Some(1)), (true, None)] {
            own.set_recompute(recompute);
            let group = Group { at_once, ..whole.clone() };
            let mut gradients = Gradients::new();
            let mut tape = Tape::training(&own.parameters);
            let loss = objective.loss(&own, &mut tape, &group, None).unwrap();
            let got = tape.value(loss).unwrap().item().unwrap();
            assert_close(&format!("{name}: loss"), &[f64::from(got)], &[case["loss"].as_f64().unwrap()], 1e-6, 1e-6);
            tape.backward(loss, &mut gradients).unwrap();
            assert_gradients(name, &own, &gradients, &case["gradients"]);
        }
    }
}

fn rows() -> Vec<Value> {
    let rows = replies(24).into_iter().enumerate().map(|(row, [anchor, positive, negative])| match row % 3 {
        0 => json!({ "anchor": anchor, "positive": positive, "negative": negative }),
        _ => json!({ "anchor": anchor, "positive": positive }),
    });
    rows.collect()
}

fn bench(settings: Value) -> Bench {
    let mut bench = Bench::new();
    bench.shards = examples(&bench.folder.path().join("examples"), &rows());
    bench.settings.context = 24;
    bench.parts.objective = contrastive(settings);
    bench
}

fn losses(trained: &Trained) -> Vec<f64> {
    let lines = trained.losses.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.map(|record| record["loss"].as_f64().unwrap()).collect()
}

#[test]
fn pairs_are_learned_and_a_stop_at_any_moment_changes_no_byte() {
    for symmetric in [false, true] {
        let mut bench = bench(json!({ "temperature": 0.1, "symmetric": symmetric }));
        bench.settings.steps = 20;
        let whole = bench.train(&bench.work("whole"), &never).unwrap();
        let found = losses(&whole);
        let last = found[16..].iter().sum::<f64>() / 4.0;
        assert!(last < 0.7 * found[0], "{found:?}");
        for moment in [1, 8, 13] {
            let work = bench.work(&format!("stopped-{moment}"));
            let asked = Cell::new(0);
            let stop = || asked.replace(asked.get() + 1) == moment;
            assert!(stop::is_interruption(&bench.train(&work, &stop).err().unwrap()));
            bench.train(&work, &never).unwrap().assert_same(&whole, &format!("stopped at moment {moment}"));
        }
    }
}

#[test]
fn the_size_of_a_micro_batch_changes_the_loss_of_a_step_only_by_rounding() {
    let mut bench = bench(json!({}));
    bench.settings.sequences = 4;
    let mut all = Vec::new();
    for micro_batch in [1, 2, 4] {
        bench.settings.micro_batch = micro_batch;
        all.push(losses(&bench.train(&bench.work(&format!("by {micro_batch}")), &never).unwrap()));
    }
    assert_close("by 1", &all[0], &all[2], 1e-5, 1e-5);
    assert_close("by 2", &all[1], &all[2], 1e-5, 1e-5);
    assert_close("the first step", &all[0][..1], &all[2][..1], 1e-6, 1e-6);
}

#[test]
fn vectors_are_those_of_embed() {
    let bench = bench(json!({}));
    let texts: Vec<String> = (0..bench.shards.documents().len())
        .map(|number| {
            let ids = bench.shards.read(number, 0..bench.shards.documents()[number].tokens()).unwrap();
            Letters.decode(&ids, false).unwrap()
        })
        .collect();
    let objective = &*bench.parts.objective.part;
    let (sampler, seed) = (&Packed {}, Seed::new(0));
    let view = View { sampler, objective, tokenizer: &Letters, context: 4096, seed, examples: 1 };
    let window = preview(&bench.shards, &view).unwrap().swap_remove(0);
    let segments: Vec<Segment> = window
        .iter()
        .map(|shown| Segment {
            tokens: shown.seen.iter().map(|seen| seen.id).collect(),
            verdict: bench.shards.documents()[shown.document].verdict,
            ..Segment::default()
        })
        .collect();
    assert_eq!(segments.len(), texts.len(), "texts of a single token count, too");
    assert!(segments.iter().any(|segment| segment.tokens.len() == 1));
    assert!(window.iter().flat_map(|shown| &shown.seen).all(|seen| seen.learned));
    let group = objective.batch(&segments).unwrap();
    let decoder = decoder();
    let mut tape = Tape::inference(&decoder.parameters);
    let rows = &group.rows;
    let found = decoder.text_embeddings(&mut tape, &rows.ids, &rows.positions, &rows.sequences).unwrap();
    let found = tape.value(found).unwrap().data().to_vec();
    drop(tape);
    let model = LocalModel::new(decoder, Arc::new(Letters)).unwrap();
    let embedded = model.embed(&texts.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    let embedded: Vec<f32> = embedded.into_iter().flat_map(|embedded| embedded.vector).collect();
    assert_eq!(found, embedded);
}

#[test]
fn what_teaches_something_else_and_steps_of_one_pair_are_refused() {
    let refused = |bench: &Bench, words: &[&str]| {
        let text = bench.train(&bench.work("refused"), &never).err().unwrap().to_string();
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    };
    let mut other = bench(json!({}));
    other.parts.objective = chosen("causal", Causal::default()).unwrap();
    refused(&other, &["`causal` cannot learn from these shards", "pairs of texts", "choose `contrastive`"]);
    other.parts.objective = chosen("dpo", Dpo::default()).unwrap();
    refused(&other, &["pairs of texts", "`chosen` and `rejected`"]);
    let mut documents = Bench::new();
    documents.parts.objective = contrastive(json!({}));
    refused(&documents, &["they hold documents", "`anchor` and `positive`"]);
    let mut narrow = bench(json!({}));
    narrow.settings.context = 8;
    refused(&narrow, &["context: `rows.jsonl:", "anchor`: the texts of its row have", "write `context = "]);
    let mut single = bench(json!({}));
    single.shards = examples(&single.folder.path().join("single"), &rows()[1..2]);
    refused(&single, &["sequences: a step would have the pair of `rows.jsonl:1 anchor` alone", "raise `sequences`"]);
    let bad = Contrastive { temperature: 0.0, ..Contrastive::default() };
    assert!(chosen::<dyn Objective, _>("contrastive", bad).is_err());
}

#[test]
fn a_loss_that_is_no_number_names_the_rows() {
    let bench = bench(json!({}));
    let mut broken = decoder();
    let id = broken.parameters.find("model.norm.weight").unwrap();
    broken.parameters.get_mut(id).data_mut().fill(f32::NAN);
    let text = bench.train_model(&mut broken, &bench.work("broken"), &never).unwrap_err().to_string();
    assert!(text.contains("step 1, batch 1 of 1: the loss is NaN") && text.contains(" anchor`"), "{text}");
}
