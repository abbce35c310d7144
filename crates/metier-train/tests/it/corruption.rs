//! Texts that are changed before they are learned from: `masked` and `span` against `fixtures/reference/corruption.py`, and against
//! themselves after kills, on other threads and in other groups.

use crate::distill::{assert_gradients, model};
use crate::kit::{Bench, Marked, decoder, documents, examples, never, shards_with};
use crate::resume::copy;
use metier_compute::{Gradients, Tape, Var};
use metier_core::Result;
use metier_core::data::TokenId;
use metier_core::memory::Budget;
use metier_core::part::Chosen;
use metier_core::seam::Tokenize;
use metier_core::seed::Seed;
use metier_model::Decoder;
use metier_testkit::{assert_close, golden};
use metier_tokenizer::pack::{PackSettings, Shards};
use metier_train::objective::{Group, Masked, Objective, Other, Reading, Segment, Span};
use metier_train::sampler::Packed;
use metier_train::settings::chosen;
use metier_train::{Run, Sources, TrainReport, View, plan, preview, train};
use serde_json::{Value, json};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

/// An objective for causal models too: what `masked` asks for has a loss there all the same.
struct Anyhow(Box<dyn Objective>);

impl Objective for Anyhow {
    fn batch(&self, segments: &[Segment]) -> Result<Group> {
        self.0.batch(segments)
    }

    fn loss<'p>(
        &self,
        decoder: &'p Decoder,
        tape: &mut Tape<'p>,
        group: &Group,
        other: Option<&Arc<Decoder>>,
    ) -> Result<Var> {
        self.0.loss(decoder, tape, group, other)
    }

    fn other(&self) -> Other {
        self.0.other()
    }

    fn reading(&self) -> Reading {
        self.0.reading()
    }

    fn needs_both_sides(&self) -> bool {
        false
    }

    fn bind(&self, tokenizer: &dyn Tokenize, longest: usize) -> Result<Option<Box<dyn Objective>>> {
        let bound = self.0.bind(tokenizer, longest)?;
        Ok(bound.map(|bound| Box::new(Self(bound)) as Box<dyn Objective>))
    }

    fn added(&self, tokens: u64) -> u64 {
        self.0.added(tokens)
    }
}

fn objective(name: &str, settings: Value) -> Result<Chosen<dyn Objective>> {
    if name == "masked" {
        return chosen::<dyn Objective, Masked>("masked", serde_json::from_value(settings).unwrap());
    }
    chosen::<dyn Objective, Span>("span", serde_json::from_value(settings).unwrap())
}

/// `objective` with the tokens of a vocabulary of so many.
fn bound(name: &str, settings: Value, size: usize, longest: usize) -> Box<dyn Objective> {
    objective(name, settings).unwrap().part.bind(&Marked::of(size), longest).unwrap().unwrap()
}

fn segment(tokens: Vec<TokenId>, draw: u64) -> Segment {
    Segment { tokens, draw, ..Segment::default() }
}

/// Documents of words of a vocabulary of 64 with their ends.
fn packed(folder: &Path) -> Shards {
    let documents: Vec<Vec<TokenId>> =
        documents().into_iter().map(|ids| ids.into_iter().map(|id| id % 55).collect()).collect();
    shards_with(folder, &documents, &PackSettings::default())
}

fn bench(name: &str, settings: Value) -> Bench {
    let mut bench = Bench::new();
    bench.shards = packed(&bench.folder.path().join("words"));
    bench.tokenizer = Box::new(Marked::of(64));
    let objective = objective(name, settings).unwrap();
    bench.parts.objective = Chosen { part: Box::new(Anyhow(objective.part)), ..objective };
    bench
}

/// Both, with settings under which windows of 16 tokens have several spans.
fn both() -> [Bench; 2] {
    [bench("masked", json!({ "share": 0.3 })), bench("span", json!({ "density": 0.4, "length": 2.0 }))]
}

fn numbers(losses: &str, key: &str) -> Vec<f64> {
    losses.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()[key].as_f64().unwrap()).collect()
}

#[test]
fn rows_losses_and_gradients_are_those_of_pytorch() {
    let golden = golden::read("corruption.json");
    let mut decoder = model(&golden["model"]);
    let size = decoder.config().vocabulary_size;
    let texts = golden["texts"].as_array().unwrap();
    let segments: Vec<Segment> = (1..).zip(texts).map(|(draw, ids)| segment(golden::ids(ids), draw)).collect();
    let longest = segments.iter().map(|segment| segment.tokens.len()).max().unwrap();
    for (name, case) in golden["cases"].as_object().unwrap() {
        let method = name.split(',').next().unwrap();
        let objective = bound(method, case["settings"].clone(), size, longest);
        let group = objective.batch(&segments).unwrap();
        for (rows, want) in group.rows.sequences.iter().zip(case["rows"].as_array().unwrap()) {
            let counted = rows.clone().filter(|row| group.rows.weights[*row] > 0.0);
            let counted: Vec<u32> = counted.map(|row| (row - rows.start) as u32).collect();
            assert_eq!(group.rows.ids[rows.clone()], golden::ids(&want["ids"]), "{name}");
            assert_eq!(group.rows.targets[rows.clone()], golden::ids(&want["targets"]), "{name}");
            assert_eq!(counted, golden::ids(&want["counted"]), "{name}");
        }
        for recompute in [false, true] {
            decoder.set_recompute(recompute);
            let mut gradients = Gradients::new();
            let mut tape = Tape::training(&decoder.parameters);
            let loss = objective.loss(&decoder, &mut tape, &group, None).unwrap();
            let got = tape.value(loss).unwrap().item().unwrap();
            assert_close(&format!("{name}: loss"), &[got], &[case["loss"].as_f64().unwrap()], 1e-6, 1e-6);
            tape.backward(loss, &mut gradients).unwrap();
            assert_gradients(name, &decoder, &gradients, &case["gradients"]);
        }
    }
}

/// For each token of a text of distinct words whether `span` took it.
fn taken(objective: &dyn Objective, tokens: usize, draw: u64) -> Vec<bool> {
    let rows = objective.batch(&[segment((0..tokens as TokenId).collect(), draw)]).unwrap().rows;
    let behind = rows.weights.iter().position(|weight| *weight > 0.0).unwrap();
    let stayed: BTreeSet<TokenId> = rows.ids[..=behind].iter().copied().collect();
    (0..tokens as TokenId).map(|id| !stayed.contains(&id)).collect()
}

#[test]
fn spans_are_drawn_by_the_law_of_t5() {
    const DRAWS: u64 = 20_000;
    let golden = golden::read("corruption.json");
    for case in golden["law"].as_array().unwrap() {
        let settings = json!({ "density": case["density"], "length": case["length"] });
        // How many are taken, and as how many spans, is no matter of chance.
        let sentinels: Vec<String> = (0..40).map(|number| format!("<extra_id_{number}>")).collect();
        let vocabulary = Marked { size: 1000, special: sentinels };
        let objective = objective("span", settings).unwrap().part;
        let objective = objective.bind(&vocabulary, 2).unwrap().unwrap();
        for count in case["counts"].as_array().unwrap() {
            let [tokens, noise, spans] = golden::ids(count)[..] else { panic!("{count}") };
            let mask = taken(&*objective, tokens as usize, u64::from(tokens));
            assert_eq!(mask.iter().filter(|taken| **taken).count() as u32, noise, "{count}");
            assert_eq!(mask.chunk_by(|one, other| one == other).filter(|run| run[0]).count() as u32, spans, "{count}");
        }
        let tokens = case["tokens"].as_u64().unwrap() as usize;
        let (mut places, mut lengths, mut all) = (vec![0.0; tokens], vec![0.0; 8], 0.0);
        for draw in 0..DRAWS {
            let mask = taken(&*objective, tokens, draw);
            for (place, taken) in places.iter_mut().zip(&mask) {
                *place += f64::from(u8::from(*taken)) / DRAWS as f64;
            }
            for run in mask.chunk_by(|one, other| one == other).filter(|run| run[0]) {
                lengths[run.len().min(8) - 1] += 1.0;
                all += 1.0;
            }
        }
        let lengths: Vec<f64> = lengths.iter().map(|count| count / all).collect();
        let want = |key: &str| serde_json::from_value::<Vec<f64>>(case[key].clone()).unwrap();
        assert_close("places that are taken", &places, &want("places"), 0.02, 0.0);
        assert_close("lengths of spans", &lengths, &want("lengths"), 0.02, 0.0);
    }
}

#[test]
fn a_masked_token_becomes_the_mask_another_or_itself() {
    let objective = bound("masked", json!({}), 64, 100);
    let text: Vec<TokenId> = (0..100).map(|at| if at % 20 == 19 { 63 } else { at % 55 }).collect();
    let (mut asked, mut masked, mut stayed) = (0.0, 0.0, 0.0);
    for draw in 0..2000 {
        let rows = objective.batch(&[segment(text.clone(), draw)]).unwrap().rows;
        assert_eq!(rows.targets, text);
        let count = rows.weights.iter().filter(|weight| **weight > 0.0).count();
        assert_eq!(count, 14, "a share of 0.15 of 95 words");
        for (at, (id, weight)) in rows.ids.iter().zip(&rows.weights).enumerate() {
            if *weight == 0.0 {
                assert_eq!(*id, text[at]);
                continue;
            }
            assert!(text[at] < 55 && *id <= 55, "special tokens are neither asked for nor put in");
            asked += 1.0;
            masked += f64::from(u8::from(*id == 55));
            stayed += f64::from(u8::from(*id == text[at]));
        }
    }
    // Of the random ones one in 55 is the token itself.
    assert_close("parts", &[masked / asked, stayed / asked], &[0.8, 0.1 + 0.1 / 55.0], 0.01, 0.0);
    let only = Segment { learned: Some((0..100).map(|at| at < 10).collect()), ..segment(text.clone(), 5) };
    let rows = objective.batch(&[only]).unwrap().rows;
    assert_eq!((rows.weights[..10].iter().sum::<f32>(), rows.weights.iter().sum::<f32>()), (2.0, 2.0));
    let ends = objective.batch(&[segment(vec![63; 4], 1), segment(vec![7], 1)]).unwrap().rows;
    assert_eq!(ends.weights, [0.0, 0.0, 0.0, 0.0, 1.0]);
}

#[test]
fn a_kill_at_any_moment_resumes_to_the_same_bytes() {
    for bench in both() {
        let name = bench.parts.objective.name;
        let work = bench.work("whole");
        let moment = Cell::new(0);
        let photograph = || {
            copy(&work, &bench.folder.path().join(format!("killed-{}", moment.get())));
            moment.set(moment.get() + 1);
            false
        };
        let whole = bench.train(&work, &photograph).unwrap();
        for moment in 0..moment.get() {
            let work = bench.folder.path().join(format!("killed-{moment}"));
            bench.train(&work, &never).unwrap().assert_same(&whole, &format!("{name} killed at moment {moment}"));
        }
    }
}

#[test]
fn neither_threads_nor_groups_change_what_is_drawn() {
    for mut bench in both() {
        bench.settings.sequences = 6;
        bench.settings.micro_batch = 6;
        let before = metier_compute::kernel::threads();
        metier_compute::kernel::set_threads(1).unwrap();
        let whole = bench.train(&bench.work("whole"), &never).unwrap();
        metier_compute::kernel::set_threads(3).unwrap();
        bench.train(&bench.work("threads"), &never).unwrap().assert_same(&whole, "three threads");
        metier_compute::kernel::set_threads(before).unwrap();
        for micro_batch in [1, 4] {
            bench.settings.micro_batch = micro_batch;
            let parts = bench.train(&bench.work(&format!("by {micro_batch}")), &never).unwrap();
            let [of_parts, of_whole] = [&parts, &whole].map(|trained| numbers(&trained.losses, "loss"));
            assert_close("losses", &of_parts, &of_whole, 1e-6, 1e-6);
            assert_eq!(numbers(&parts.losses, "tokens"), numbers(&whole.losses, "tokens"));
            assert_eq!(parts.sampled, whole.sampled);
        }
        let sampled: Vec<Value> = serde_json::from_str(&whole.sampled).unwrap();
        let sum: u64 = sampled.iter().map(|row| row["tokens"].as_u64().unwrap()).sum();
        assert_eq!(sum, whole.totals.1);
    }
}

fn run_with(bench: &Bench, held_out: &[(String, Shards)], seed: u64, work: &Path) -> Result<TrainReport> {
    let packs = [("from".to_owned(), packed(&work.join("pack")))];
    let run = Run {
        settings: &bench.settings,
        parts: &bench.parts,
        teacher: None,
        soft_mask: None,
        seed: Seed::new(seed),
        work,
        budget: &Budget::new(None),
        peak: None,
        stop: &never,
        tell: None,
        tokenizer: Some(&*bench.tokenizer),
    };
    train(&mut decoder(), Sources::new(&packs, held_out)?, &run)
}

#[test]
fn held_out_windows_are_changed_the_same_way_each_time() {
    for bench in both() {
        let held_out = [("old".to_owned(), packed(&bench.folder.path().join("held out")))];
        let first = |seed: u64| {
            let report = run_with(&bench, &held_out, seed, &bench.work(&format!("seed {seed}"))).unwrap();
            let records: Vec<_> = report.validation.iter().map(|record| (record.step, record.predicted)).collect();
            assert!(records[0].1 > 0 && records.iter().all(|record| record.1 == records[0].1), "{records:?}");
            (
                report.validation[0].loss.to_bits(),
                report.held_out[0].predicted.clone(),
                report.history[0].loss.to_bits(),
            )
        };
        let (one, other) = (first(1), first(2));
        assert_eq!(
            (one.0, &one.1),
            (other.0, &other.1),
            "another seed trains on other choices and is measured on the same"
        );
        assert_ne!(one.2, other.2);
    }
}

#[test]
fn what_does_not_go_together_is_refused() {
    let refused = |bench: &Bench, words: &[&str]| {
        let text = bench.train(&bench.work("refused"), &never).err().unwrap().to_string();
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    };
    let mut masked = bench("masked", json!({}));
    masked.parts.objective = objective("masked", json!({})).unwrap();
    refused(&masked, &["objective: `masked`", "both sides", "hint: take a model whose attention is bidirectional"]);
    let masked = |name: &str| bench("masked", json!({ "mask": name }));
    refused(&masked("<msk>"), &["masked.mask: the vocabulary has no `<msk>`", "did you mean `<mask>`?"]);
    refused(&masked("[hide everything]"), &["the vocabulary has `<mask>`, `<extra_id_0>`", "and 1 more"]);
    let span = |settings: Value| bench("span", settings);
    let few = json!({ "density": 0.5, "length": 1.0 });
    refused(&span(few), &["span.sentinels: there are 7 sentinels", "17 tokens needs 9", "shorter `context`"]);
    let unknown = json!({ "sentinels": ["<extra_id_1>", "<extra_id_1>", "<X_{}>"] });
    refused(&span(unknown), &["has no `<X_0>`", "a sentinel is named twice"]);
    let mut long = span(json!({}));
    long.settings.context = 60;
    long.settings.sequences = 1;
    refused(&long, &["context: 67 tokens, 7 of which the objective adds", "the 64", "write at most 57"]);
    let mut replies = span(json!({}));
    let rows: Vec<Value> = (0..4).map(|_| json!({ "prompt": "123", "completion": "456" })).collect();
    replies.shards = examples(&replies.folder.path().join("examples"), &rows);
    refused(&replies, &["`span` learns from documents, and `from` holds examples"]);
    let faults = |name: &str, settings: Value| objective(name, settings).err().unwrap().faults.len();
    assert_eq!(faults("masked", json!({ "share": 0.0, "replaced": 1.5, "random": -0.1 })), 3);
    assert_eq!(faults("masked", json!({ "replaced": 0.8, "random": 0.3 })), 1);
    assert_eq!(faults("span", json!({ "density": 1.0, "length": 0.5 })), 2);
}

#[test]
fn a_preview_shows_what_is_seen_and_what_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let shards = packed(folder.path());
    let shown = |name: &str| {
        let objective = objective(name, json!({})).unwrap().part;
        let (sampler, seed) = (&Packed::default(), Seed::new(3));
        let view =
            View { sampler, objective: &*objective, tokenizer: &Marked::of(64), context: 16, seed, examples: 40 };
        preview(&shards, &view).unwrap().concat()
    };
    let mut all = 0;
    for part in shown("masked") {
        let document = shards.read(part.document, part.range.clone()).unwrap();
        let told: Vec<TokenId> = part.seen.iter().map(|seen| seen.hidden.unwrap_or(seen.id)).collect();
        assert_eq!(told, document);
        assert!(part.seen.iter().all(|seen| seen.learned || seen.hidden.is_none()));
        all += part.seen.iter().filter(|seen| seen.id == 55 && seen.hidden.is_some()).count();
    }
    assert!(all > 30, "{all}");
    for part in shown("span") {
        let (text, answer): (Vec<_>, Vec<_>) = part.seen.iter().partition(|seen| !seen.learned);
        let ids = |some: &[&metier_train::Seen]| some.iter().map(|seen| seen.id).collect::<Vec<_>>();
        let (text, answer) = (ids(&text), ids(&answer));
        let is_sentinel = |id: &TokenId| (56..63).contains(id);
        // Each sentinel of the text gives way to what follows it in the answer.
        let spans: Vec<&[TokenId]> = answer.split(is_sentinel).skip(1).collect();
        let told = text
            .iter()
            .flat_map(|id| if is_sentinel(id) { spans[*id as usize - 56] } else { std::slice::from_ref(id) });
        let first = part.range.start.saturating_sub(1);
        let mut document = shards.read(part.document, first..part.range.end).unwrap();
        if part.range.start == 0 {
            document.insert(0, 63);
        }
        assert_eq!(told.copied().collect::<Vec<_>>(), document);
        assert!(document.len() < 2 || is_sentinel(answer.last().unwrap()), "{answer:?}");
    }
}

#[test]
fn what_is_added_is_planned_for() {
    let bench = bench("span", json!({ "density": 0.5, "length": 1.0 }));
    let planned = plan(&decoder(), None, &bench.settings, &bench.parts).unwrap();
    let causal = plan(&decoder(), None, &bench.settings, &crate::kit::parts()).unwrap();
    assert!(planned.activation_bytes > causal.activation_bytes * 3 / 2);
    assert!(planned.flop > causal.flop * 1.5);
    assert_eq!(planned.tokens, causal.tokens);
    assert!(bench.parts.objective.part.added(16) >= 17);
}
