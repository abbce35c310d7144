//! One step after another: batches, gradients, weights, and the log.

use crate::checkpoint::{Checkpoints, Found, Stored};
use crate::learner::Learner;
use crate::objective::Segment;
use crate::run::{Run, StepRecord};
use crate::sampler::{Request, Stream};
use metier_core::seed::Seed;
use metier_core::{Error, Place, Result, store};
use metier_model::{Batch, Decoder};
use metier_tokenizer::pack::Shards;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::ops::Range;

/// What one step, or all steps of this process, amount to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Work {
    /// Tokens predicted.
    pub(crate) tokens: u64,
    /// Floating-point operations.
    pub(crate) flop: f64,
}

pub(crate) struct Trainer<'a> {
    learner: Learner<'a>,
    shards: &'a Shards,
    stream: &'a Stream,
    run: &'a Run<'a>,
    sampler_seed: Seed,
    noise_seed: Seed,
    pub(crate) history: Vec<StepRecord>,
    /// `history` as it stands in `loss.jsonl`.
    log: String,
}

impl<'a> Trainer<'a> {
    pub(crate) fn new(
        decoder: &'a mut Decoder,
        shards: &'a Shards,
        stream: &'a Stream,
        run: &'a Run<'a>,
    ) -> Result<Self> {
        let mut learner = Learner::new(decoder, &*run.parts.optimizer.part)?;
        learner.precision = run.settings.precision.into();
        Ok(Self {
            learner,
            shards,
            stream,
            run,
            sampler_seed: run.seed.derive("sampler"),
            noise_seed: run.seed.derive("noise"),
            history: Vec::new(),
            log: String::new(),
        })
    }

    pub(crate) fn done(&self) -> u64 {
        self.history.len() as u64
    }

    /// One step; `None` when it was given up because the run is to end. Then nothing has changed.
    pub(crate) fn step(&mut self) -> Result<Option<Work>> {
        let (settings, parts) = (self.run.settings, self.run.parts);
        let step = self.done();
        let windows = self.windows(step);
        let batches: Vec<Batch> = windows
            .chunks(settings.rows())
            .map(|group| parts.objective.part.batch(&segments(self.shards, self.stream, group)?))
            .collect::<Result<_>>()?;
        let weights: Vec<f64> = batches.iter().map(weight).collect();
        let whole: f64 = weights.iter().sum();
        let flop_per_token = self.learner.decoder.flop_per_token(true, settings.context);
        let mut work = Work::default();
        let mut loss = 0.0;
        self.learner.clear();
        for (number, (batch, weight)) in (0..).zip(batches.iter().zip(&weights)) {
            if (self.run.stop)() {
                return Ok(None);
            }
            if *weight == 0.0 {
                continue;
            }
            let share = weight / whole;
            let group = step * settings.sequences as u64 + number;
            self.learner.noise = Some(Seed::new(self.noise_seed.at(group).bits()));
            let teacher = self.run.teacher;
            let mean =
                self.learner.add(share, |decoder, tape| parts.objective.part.loss(decoder, tape, batch, teacher))?;
            loss += share * mean;
            if !loss.is_finite() {
                return Err(self.diverged(step, &windows, &format!("the loss is {loss}")));
            }
            work.tokens += batch.weights.iter().filter(|weight| **weight > 0.0).count() as u64;
            work.flop += flop_per_token * batch.ids.len() as f64;
        }
        let norm = self.learner.gradient_norm();
        if !norm.is_finite() {
            return Err(self.diverged(step, &windows, &format!("the gradient's length is {norm}")));
        }
        let factor = if settings.clip > 0.0 { (settings.clip / (norm + 1e-6)).min(1.0) } else { 1.0 };
        let rate = parts.optimizer.part.rate() * parts.schedule.part.factor(step, settings.steps);
        self.learner.update(&*parts.optimizer.part, rate, factor as f32, step + 1, settings.steps)?;
        self.history.push(StepRecord {
            step: step + 1,
            loss: loss as f32,
            rate: rate as f32,
            gradient_norm: norm as f32,
            tokens: work.tokens,
        });
        Ok(Some(work))
    }

    fn windows(&self, step: u64) -> Vec<Range<u64>> {
        let (sequences, context) = (self.run.settings.sequences, self.run.settings.context);
        let request = Request { step, sequences, context, seed: self.sampler_seed };
        self.run.parts.sampler.part.windows(self.stream, &request)
    }

    fn diverged(&self, step: u64, windows: &[Range<u64>], what: &str) -> Error {
        const SHOWN: usize = 8;
        let mut names: Vec<&str> = Vec::new();
        for piece in windows.iter().flat_map(|window| self.stream.pieces(window)) {
            let name = self.shards.documents()[piece.document].id.as_str();
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let more = names.len().saturating_sub(SHOWN);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let names = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        Error::user(Place::key(format!("step {}", step + 1)), format!("{what}; the step learned from {names}{more}"))
            .hint("lower the optimizer's `rate`, warm up for longer, or look at these documents; the newest checkpoint is kept")
    }

    pub(crate) fn save(&self, checkpoints: &Checkpoints) -> Result<()> {
        let names = self.learner.tensors().into_iter().map(|(name, _)| name);
        let tensors: Vec<Stored<'_>> = names.zip(self.learner.values()).collect();
        checkpoints.save(self.done(), &self.log, &tensors)
    }

    pub(crate) fn restore(&mut self, found: &Found) -> Result<()> {
        let mut restoring = found.restore(&self.learner.tensors())?;
        self.learner.fill(|values| restoring.fill(values))?;
        self.log = restoring.log;
        let records = self.log.lines().map(serde_json::from_str).collect::<Result<Vec<StepRecord>, _>>();
        self.history =
            records.map_err(|error| Error::file(found.path(), format!("its log cannot be read: {error}")))?;
        if self.done() != found.step() {
            return Err(Error::file(found.path(), format!("its log has {} steps, not {}", self.done(), found.step())));
        }
        Ok(())
    }

    /// Makes `loss.jsonl` hold the steps done so far, and nothing else, and opens it to be added to.
    pub(crate) fn begin_log(&self) -> Result<File> {
        let path = self.run.work.join("loss.jsonl");
        store::write_atomic(&path, self.log.as_bytes())?;
        OpenOptions::new().append(true).open(&path).map_err(|error| Error::io(&path, "open the log of losses", &error))
    }

    pub(crate) fn append(&mut self, log: &mut File) -> Result<()> {
        let Some(record) = self.history.last() else { return Ok(()) };
        let mut line = serde_json::to_string(record)
            .map_err(|error| Error::program(format!("a step's record does not serialize: {error}")))?;
        line.push('\n');
        log.write_all(line.as_bytes())
            .map_err(|error| Error::io(self.run.work.join("loss.jsonl"), "add to the log of losses", &error))?;
        self.log.push_str(&line);
        Ok(())
    }

    /// Writes how many tokens of each document were predicted in all steps.
    pub(crate) fn write_sampled(&self) -> Result<()> {
        let mut counts: BTreeMap<usize, u64> = BTreeMap::new();
        for step in 0..self.done() {
            for piece in self.windows(step).iter().flat_map(|window| self.stream.pieces(window)) {
                *counts.entry(piece.document).or_default() += piece.targets();
            }
        }
        let documents = self.shards.documents();
        let sampled: Vec<_> = counts
            .into_iter()
            .map(|(document, tokens)| serde_json::json!({ "document": documents[document].id, "tokens": tokens }))
            .collect();
        let text = serde_json::to_string_pretty(&sampled)
            .map_err(|error| Error::program(format!("the list of documents does not serialize: {error}")))?;
        store::write_atomic(self.run.work.join("sampled.json"), (text + "\n").as_bytes())
    }
}

/// The parts of documents that windows consist of, with their tokens.
pub(crate) fn segments(shards: &Shards, stream: &Stream, windows: &[Range<u64>]) -> Result<Vec<Segment>> {
    let pieces = windows.iter().flat_map(|window| stream.pieces(window));
    pieces
        .map(|piece| {
            let end = piece.tokens.end + u64::from(piece.continues);
            let mut tokens = shards.read(piece.document, piece.tokens.start..end)?;
            let next = if piece.continues { tokens.pop() } else { None };
            Ok(Segment { tokens, next })
        })
        .collect()
}

fn weight(batch: &Batch) -> f64 {
    batch.weights.iter().copied().map(f64::from).sum()
}
