//! Several packs, and held-out windows measured while a model learns.

use crate::kit::{Bench, Trained, decoder, documents, never, shards};
use metier_core::data::TokenId;
use metier_core::memory::Budget;
use metier_core::seed::Seed;
use metier_core::{Result, stop};
use metier_model::Decoder;
use metier_tokenizer::pack::Shards;
use metier_train::sampler::{Curriculum, Mixture, Packed, Phase, Random, Request, Sampler, Stream};
use metier_train::settings::chosen;
use metier_train::{Run, Sources, TrainReport, Validate, train};
use std::cell::Cell;
use std::fs;
use std::path::Path;

/// Documents of another rule.
fn others() -> Vec<Vec<TokenId>> {
    (0..5).map(|n| (0..40 + 3 * n).map(|at| (at * 7 + n) % 64).collect()).collect()
}

/// Two packs to learn from, and the first documents of each to measure on.
pub struct Mixed {
    pub bench: Bench,
    pub packs: Vec<(String, Shards)>,
    pub held_out: Vec<(String, Shards)>,
}

impl Mixed {
    pub fn new(share: f64) -> Self {
        let mut bench = Bench::new();
        let pack = |name: &str, documents: &[Vec<TokenId>]| {
            (name.to_owned(), shards(&bench.folder.path().join(format!("pack-{name}")), documents))
        };
        let packs = vec![pack("general", &documents()), pack("domain", &others())];
        let held_out = vec![pack("old", &documents()[..2]), pack("new", &others()[..2])];
        let mixture = Mixture { shares: [("domain".to_owned(), share)].into(), ..Mixture::default() };
        bench.parts.sampler = chosen("mixture", mixture).unwrap();
        bench.settings.sequences = 4;
        bench.settings.validate = Some(Validate { every: 3, windows: 4 });
        Self { bench, packs, held_out }
    }

    pub fn train(&self, validated: bool, work: &Path, stop: &dyn Fn() -> bool) -> Result<(Trained, TrainReport)> {
        let mut decoder = decoder();
        let report = self.train_model(&mut decoder, validated, work, stop)?;
        Ok((Trained::new(&decoder, &report, work), report))
    }

    pub fn train_model(
        &self,
        decoder: &mut Decoder,
        validated: bool,
        work: &Path,
        stop: &dyn Fn() -> bool,
    ) -> Result<TrainReport> {
        metier_core::progress::set_mode(metier_core::progress::Mode::Silent);
        let run = Run {
            settings: &self.bench.settings,
            parts: &self.bench.parts,
            teacher: None,
            soft_mask: None,
            seed: Seed::new(3),
            work,
            budget: &Budget::new(None),
            peak: None,
            stop,
            tell: None,
            tokenizer: None,
        };
        let held_out = if validated { &self.held_out[..] } else { &[] };
        train(decoder, Sources::new(&self.packs, held_out)?, &run)
    }
}

#[test]
fn shares_are_met_and_every_source_is_accounted_for() {
    let mixed = Mixed::new(0.25);
    let work = mixed.bench.work("whole");
    let (_, report) = mixed.train(false, &work, &never).unwrap();
    assert_eq!(report.shares, [("general".to_owned(), 0.75), ("domain".to_owned(), 0.25)]);
    let sampled: Vec<serde_json::Value> =
        serde_json::from_str(&fs::read_to_string(work.join("sampled.json")).unwrap()).unwrap();
    let tokens = |source: &str| -> u64 {
        sampled.iter().filter(|row| row["source"] == source).map(|row| row["tokens"].as_u64().unwrap()).sum()
    };
    assert!(tokens("general") > 2 * tokens("domain") && tokens("domain") > 0, "{sampled:?}");
    assert_eq!(tokens("general") + tokens("domain"), report.tokens);
    assert!(!work.join("validation.jsonl").exists());
}

#[test]
fn a_stop_at_any_moment_resumes_validation_to_the_same_bytes() {
    let mixed = Mixed::new(0.5);
    let work = mixed.bench.work("whole");
    let (whole, report) = mixed.train(true, &work, &never).unwrap();
    let lines = fs::read_to_string(work.join("validation.jsonl")).unwrap();
    let steps: Vec<_> = report.validation.iter().map(|record| (record.step, record.name.as_str())).collect();
    assert_eq!(steps, [0, 3, 6, 7].map(|step| [(step, "old"), (step, "new")]).concat());
    assert!(report.validation[7].loss < report.validation[1].loss);
    assert_eq!(report.validation[3].tokens, 3 * 4 * 16);
    for moment in 0..14 {
        let work = mixed.bench.work(&format!("stopped-{moment}"));
        let asked = Cell::new(0);
        let stop = || asked.replace(asked.get() + 1) == moment;
        let error = mixed.train(true, &work, &stop).err().unwrap();
        assert!(stop::is_interruption(&error), "{error}");
        // As a kill in the middle of a line would leave it.
        let torn = fs::read_to_string(work.join("validation.jsonl")).unwrap() + "{\"step\": 9";
        fs::write(work.join("validation.jsonl"), torn).unwrap();
        let (resumed, _) = mixed.train(true, &work, &never).unwrap();
        resumed.assert_same(&whole, &format!("stopped at moment {moment}"));
        assert_eq!(fs::read_to_string(work.join("validation.jsonl")).unwrap(), lines);
    }
    let (without, _) = mixed.train(false, &mixed.bench.work("without"), &never).unwrap();
    without.assert_same(&whole, "without validation");
}

#[test]
fn a_curriculum_changes_its_shares_and_is_resumed() {
    let mut mixed = Mixed::new(0.5);
    let shares = |domain: f64| [("domain".to_owned(), domain)].into();
    let phases = vec![Phase { steps: Some(4), shares: shares(0.0) }, Phase { steps: None, shares: shares(0.5) }];
    mixed.bench.parts.sampler = chosen("curriculum", Curriculum { phases }).unwrap();
    let (whole, report) = mixed.train(true, &mixed.bench.work("whole"), &never).unwrap();
    // Four steps of four windows of one pack, then three of two and two.
    assert_eq!(report.shares, [("general".to_owned(), 22.0 / 28.0), ("domain".to_owned(), 6.0 / 28.0)]);
    for moment in [3, 8, 11] {
        let work = mixed.bench.work(&format!("stopped-{moment}"));
        let asked = Cell::new(0);
        let stop = || asked.replace(asked.get() + 1) == moment;
        assert!(stop::is_interruption(&mixed.train(true, &work, &stop).err().unwrap()));
        let (resumed, _) = mixed.train(true, &work, &never).unwrap();
        resumed.assert_same(&whole, &format!("stopped at moment {moment}"));
    }
    mixed.bench.settings.steps = 4;
    let error = mixed.train(true, &mixed.bench.work("short"), &never).err().unwrap().to_string();
    assert!(error.contains("sampler.phases[1]: it begins after 4 steps, and the run has 4"), "{error}");
}

#[test]
fn lost_validation_lines_are_told() {
    let mixed = Mixed::new(0.5);
    let work = mixed.bench.work("stopped");
    let asked = Cell::new(0);
    let stop = || asked.replace(asked.get() + 1) == 10;
    assert!(mixed.train(true, &work, &stop).is_err());
    fs::remove_file(work.join("validation.jsonl")).unwrap();
    let error = mixed.train(true, &work, &never).err().unwrap().to_string();
    assert!(error.contains("validation.jsonl: the losses of step 0 are gone"), "{error}");
}

#[test]
fn every_source_belongs_to_the_run() {
    let mut mixed = Mixed::new(0.5);
    let work = mixed.bench.work("stopped");
    let asked = Cell::new(0);
    let stop = || asked.replace(asked.get() + 1) == 10;
    assert!(mixed.train(true, &work, &stop).is_err());
    let refused = |mixed: &Mixed| {
        let error = mixed.train(true, &work, &never).err().unwrap().to_string();
        assert!(error.contains("belongs to another run"), "{error}");
    };
    mixed.packs[0].1 = shards(&mixed.bench.folder.path().join("less"), &documents()[1..]);
    refused(&mixed);
    mixed.packs[0].1 = shards(&mixed.bench.folder.path().join("again"), &documents());
    mixed.held_out.pop();
    refused(&mixed);
}

#[test]
fn sources_that_do_not_go_together_are_refused() {
    let mut mixed = Mixed::new(0.5);
    let said = |mixed: &Mixed| mixed.train(true, &mixed.bench.work("refused"), &never).err().unwrap().to_string();
    mixed.packs[1].1 = shards(&mixed.bench.folder.path().join("single"), &[vec![1], vec![2]]);
    let text = said(&mixed);
    assert!(text.contains("from.domain: there is nothing to train on"), "{text}");
    mixed.packs[1].1 = crate::kit::examples(
        &mixed.bench.folder.path().join("rows"),
        &[serde_json::json!({ "prompt": "12", "completion": "34" })],
    );
    let text = said(&mixed);
    assert!(text.contains("`domain` holds something else than `general`"), "{text}");
}

/// What `packed` and `random` gave before there were several packs: first tokens of the windows of three steps.
const BEFORE: [(&str, [u64; 12]); 2] = [
    ("packed", [128, 48, 32, 144, 80, 16, 112, 96, 0, 64, 144, 80]),
    ("random", [30, 68, 44, 91, 136, 4, 1, 109, 135, 49, 136, 10]),
];

#[test]
fn one_pack_is_gone_through_as_it_was_before() {
    let stream = || Stream::new([50, 1, 70, 33]).unwrap();
    let joined = Stream::joined([("from".to_owned(), 4, stream())]).unwrap();
    let samplers: [Box<dyn Sampler>; 2] = [Box::new(Packed::default()), Box::new(Random::default())];
    for (sampler, (name, starts)) in samplers.iter().zip(BEFORE) {
        let windows = |stream: &Stream| -> Vec<_> {
            let request = |step| Request { step, sequences: 4, context: 16, seed: Seed::new(9) };
            (0..3).flat_map(|step| sampler.windows(stream, &request(step))).collect()
        };
        assert_eq!(windows(&joined), windows(&stream()), "{name}");
        assert_eq!(windows(&joined).iter().map(|window| window.start).collect::<Vec<_>>(), starts, "{name}");
    }
}
