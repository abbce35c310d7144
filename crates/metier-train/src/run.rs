//! The loop that joins the parts.

use crate::checkpoint::{Checkpoints, Stored};
use crate::objective::Segment;
use crate::optimizer::Update;
use crate::plan::plan;
use crate::sampler::{Request, Stream};
use crate::settings::{Parts, TrainSettings};
use metier_compute::{Gradients, ParameterId, Tape, op};
use metier_core::memory::Budget;
use metier_core::progress::Progress;
use metier_core::seed::Seed;
use metier_core::{Error, Place, Result, stop, store};
use metier_model::{Batch, Decoder};
use metier_tokenizer::pack::Shards;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

/// Everything a run needs besides the model and the tokens.
pub struct Run<'a> {
    /// How long and how much at a time.
    pub settings: &'a TrainSettings,
    /// Objective, optimizer, schedule and sampler.
    pub parts: &'a Parts,
    /// Decides every random choice.
    pub seed: Seed,
    /// The folder that gets `loss.jsonl` and `sampled.json`, and `scratch/` while the run lasts. A checkpoint
    /// found there is gone on from.
    pub work: &'a Path,
    /// What the machine has to spare.
    pub budget: &'a Budget,
    /// Measured `f32` operations a second of this machine, to tell the share that was reached.
    pub peak: Option<f64>,
    /// Asked between groups of windows; true ends the run with a checkpoint. Usually
    /// [`stop::requested`].
    pub stop: &'a dyn Fn() -> bool,
}

/// One line of `loss.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepRecord {
    /// Number of the step, counted from 1.
    pub step: u64,
    /// Mean loss over the step's targets, before its change of the weights.
    pub loss: f32,
    /// The optimizer's rate, schedule applied.
    pub rate: f32,
    /// Length of the gradient before clipping.
    pub gradient_norm: f32,
    /// Number of tokens that were predicted.
    pub tokens: u64,
}

/// What came of a run.
#[derive(Debug, Clone, Serialize)]
pub struct TrainReport {
    /// Steps done, those before a resume included.
    pub steps: u64,
    /// Tokens predicted, those before a resume included.
    pub tokens: u64,
    /// Passes over the documents, where the sampler makes any.
    pub epochs: Option<f64>,
    /// Number of weights that were changed.
    pub trainable: u64,
    /// Mean loss of the first tenth of the steps, at most 20.
    pub loss_first: f32,
    /// Mean loss of the last tenth of the steps, at most 20.
    pub loss_last: f32,
    /// Floating-point operations of all steps.
    pub flop: f64,
    /// The step this process began at, when it went on from a checkpoint.
    pub resumed_from: Option<u64>,
    /// Seconds this process spent in steps and checkpoints.
    pub seconds: f64,
    /// Tokens a second in this process.
    pub tokens_per_second: f64,
    /// Floating-point operations a second in this process.
    pub flop_per_second: f64,
    /// `flop_per_second` as a share of the measured peak.
    pub share_of_peak: Option<f64>,
    /// What the user should know, such as a torn checkpoint that was passed over.
    pub notes: Vec<String>,
    /// One record a step.
    #[serde(skip)]
    pub history: Vec<StepRecord>,
}

/// Trains the weights of `decoder` that are trainable on the documents of `shards`.
///
/// `decoder` must be as it was before the first step, also when the run goes on from a checkpoint: its weights
/// are part of what tells one run from another. At the end it holds the trained weights.
///
/// # Errors
/// When there is nothing to train or to train on, memory or disk do not suffice, the loss is no number (with the
/// step and its documents), a checkpoint belongs to another run, or [`Run::stop`] asked for the end; in
/// the last case, and after a kill, the same call goes on from the newest checkpoint.
pub fn train(decoder: &mut Decoder, shards: &Shards, run: &Run<'_>) -> Result<TrainReport> {
    run.settings.check(&Place::default())?;
    let stream = Stream::new(shards.documents().iter().map(|document| document.tokens()))?;
    let plan = plan(decoder, &stream, run.settings, run.parts)?;
    let _state = run
        .budget
        .reserve(plan.state_bytes, "gradients and what the optimizer keeps")
        .map_err(|error| hinted(error, "raise the limit with `--memory`, or train an adapter such as `lora` in place of all weights"))?;
    let _activations = run
        .budget
        .reserve(plan.activation_bytes, "the activations of a group of windows")
        .map_err(|error| hinted(error, "raise the limit with `--memory`, set `micro_batch = 1`, or choose a shorter `context`"))?;

    let checkpoints = Checkpoints::open(&run.work.join("scratch"), fingerprint(decoder, shards, run)?)?;
    let mut trainer = Trainer::new(decoder, shards, &stream, run);
    let (found, notes) = checkpoints.newest()?;
    let resumed_from = found.as_ref().map(crate::checkpoint::Found::step);
    if let Some(found) = found {
        trainer.restore(&found)?;
    }
    let mut log = trainer.begin_log()?;
    let progress = Progress::new("train", Some(run.settings.steps), "step");
    progress.resume_at(trainer.done());
    let started = Instant::now();
    let (mut saved, mut saved_at) = (resumed_from, Instant::now());
    let mut here = Work::default();
    while trainer.done() < run.settings.steps {
        let Some(work) = trainer.step()? else {
            if saved != Some(trainer.done()) {
                trainer.save(&checkpoints)?;
            }
            return Err(stop::interrupted());
        };
        here.tokens += work.tokens;
        here.flop += work.flop;
        trainer.append(&mut log)?;
        let done = trainer.done();
        progress.set(done);
        let rate = here.tokens as f64 / started.elapsed().as_secs_f64();
        progress.note(&format!("loss {:.2}  {rate:.0} tok/s", mean(last(&trainer.history, 10))));
        let seconds = run.settings.checkpoint_seconds;
        if done.is_multiple_of(run.settings.checkpoint_every)
            || (seconds > 0 && saved_at.elapsed() >= Duration::from_secs(seconds))
            || done == run.settings.steps
        {
            trainer.save(&checkpoints)?;
            (saved, saved_at) = (Some(done), Instant::now());
        }
    }
    progress.finish();
    trainer.write_sampled()?;

    let history = trainer.history;
    let seconds = started.elapsed().as_secs_f64().max(1e-9);
    let span = (history.len() / 10).clamp(1, 20);
    Ok(TrainReport {
        steps: history.len() as u64,
        tokens: history.iter().map(|record| record.tokens).sum(),
        epochs: plan.epochs,
        trainable: plan.trainable,
        loss_first: mean(&history[..span.min(history.len())]),
        loss_last: mean(last(&history, span)),
        flop: plan.flop,
        resumed_from,
        seconds,
        tokens_per_second: here.tokens as f64 / seconds,
        flop_per_second: here.flop / seconds,
        share_of_peak: run.peak.map(|peak| here.flop / seconds / peak),
        notes,
        history,
    })
}

/// What one step, or all steps of this process, amount to.
#[derive(Debug, Clone, Copy, Default)]
struct Work {
    tokens: u64,
    flop: f64,
}

struct Trainer<'a> {
    decoder: &'a mut Decoder,
    shards: &'a Shards,
    stream: &'a Stream,
    run: &'a Run<'a>,
    sampler_seed: Seed,
    trainable: Vec<ParameterId>,
    /// What the optimizer keeps, for each of `trainable`.
    state: Vec<Vec<Vec<f32>>>,
    gradients: Gradients,
    history: Vec<StepRecord>,
    /// `history` as it stands in `loss.jsonl`.
    log: String,
}

impl<'a> Trainer<'a> {
    fn new(decoder: &'a mut Decoder, shards: &'a Shards, stream: &'a Stream, run: &'a Run<'a>) -> Self {
        let trainable = trainable(decoder);
        let states = run.parts.optimizer.part.states();
        let state = trainable
            .iter()
            .map(|id| vec![vec![0.0; decoder.parameters.get(*id).len()]; states])
            .collect();
        Self {
            decoder,
            shards,
            stream,
            run,
            sampler_seed: run.seed.derive("sampler"),
            trainable,
            state,
            gradients: Gradients::default(),
            history: Vec::new(),
            log: String::new(),
        }
    }

    fn done(&self) -> u64 {
        self.history.len() as u64
    }

    /// One step; `None` when it was given up because the run is to end. Then nothing has changed.
    fn step(&mut self) -> Result<Option<Work>> {
        let (settings, parts) = (self.run.settings, self.run.parts);
        let step = self.done();
        let windows = self.windows(step);
        let batches: Vec<Batch> = windows
            .chunks(settings.rows())
            .map(|group| parts.objective.part.batch(&self.segments(group)?))
            .collect::<Result<_>>()?;
        let weights: Vec<f64> = batches.iter().map(weight).collect();
        let whole: f64 = weights.iter().sum();
        let mut work = Work::default();
        let mut loss = 0.0;
        self.gradients.clear();
        for (batch, weight) in batches.iter().zip(&weights) {
            if (self.run.stop)() {
                return Ok(None);
            }
            if *weight == 0.0 {
                continue;
            }
            let share = weight / whole;
            let decoder = &*self.decoder;
            let mut tape = Tape::training(&decoder.parameters);
            let mean = parts.objective.part.loss(decoder, &mut tape, batch)?;
            loss += share * f64::from(tape.value(mean).data().first().copied().unwrap_or(f32::NAN));
            if !loss.is_finite() {
                return Err(self.diverged(step, &windows, &format!("the loss is {loss}")));
            }
            let scaled = op::scale(&mut tape, mean, share as f32)?;
            tape.backward(scaled, &mut self.gradients)?;
            work.tokens += batch.weights.iter().filter(|weight| **weight > 0.0).count() as u64;
            work.flop += decoder.training_flop(batch);
        }
        let norm = self.gradient_norm();
        if !norm.is_finite() {
            return Err(self.diverged(step, &windows, &format!("the gradient's length is {norm}")));
        }
        let factor = if settings.clip > 0.0 { (settings.clip / (norm + 1e-6)).min(1.0) } else { 1.0 };
        if factor < 1.0 {
            self.gradients.scale(factor as f32);
        }
        let rate = parts.optimizer.part.rate() * parts.schedule.part.factor(step, settings.steps);
        for (id, state) in self.trainable.iter().zip(&mut self.state) {
            let Some(gradient) = self.gradients.get(*id) else { continue };
            let parameter = self.decoder.parameters.get_mut(*id);
            let decays = parameter.shape().len() > 1;
            let (parameter, gradient) = (parameter.data_mut(), gradient.data());
            parts.optimizer.part.step(Update { parameter, gradient, state, rate, step: step + 1, decays })?;
        }
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

    fn segments(&self, windows: &[Range<u64>]) -> Result<Vec<Segment>> {
        let pieces = windows.iter().flat_map(|window| self.stream.pieces(window));
        pieces
            .map(|piece| {
                let end = piece.tokens.end + u64::from(piece.continues);
                let mut tokens = self.shards.read(piece.document, piece.tokens.start..end)?;
                let next = if piece.continues { tokens.pop() } else { None };
                Ok(Segment { tokens, next })
            })
            .collect()
    }

    /// The Euclidean length of all gradients, summed in `f64` in the order of the parameters.
    fn gradient_norm(&self) -> f64 {
        let gradients = self.trainable.iter().filter_map(|id| self.gradients.get(*id));
        gradients.map(|gradient| sum_of_squares(gradient.data())).sum::<f64>().sqrt()
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

    fn tensors(&self) -> Vec<(String, usize)> {
        let mut tensors = Vec::new();
        for id in &self.trainable {
            let (name, length) = (self.decoder.parameters.name(*id), self.decoder.parameters.get(*id).len());
            tensors.push((name.to_owned(), length));
            tensors.extend((0..self.run.parts.optimizer.part.states()).map(|n| (format!("{name}/{n}"), length)));
        }
        tensors
    }

    fn save(&self, checkpoints: &Checkpoints) -> Result<()> {
        let names = self.tensors();
        let values = self.trainable.iter().zip(&self.state).flat_map(|(id, state)| {
            std::iter::once(self.decoder.parameters.get(*id).data()).chain(state.iter().map(Vec::as_slice))
        });
        let tensors: Vec<Stored<'_>> = names.into_iter().map(|(name, _)| name).zip(values).collect();
        checkpoints.save(self.done(), &self.log, &tensors)
    }

    fn restore(&mut self, found: &crate::checkpoint::Found) -> Result<()> {
        let mut restoring = found.restore(&self.tensors())?;
        for (id, state) in self.trainable.iter().zip(&mut self.state) {
            restoring.fill(self.decoder.parameters.get_mut(*id).data_mut())?;
            for values in state {
                restoring.fill(values)?;
            }
        }
        self.log = restoring.log;
        let records = self.log.lines().map(serde_json::from_str).collect::<Result<Vec<StepRecord>, _>>();
        self.history = records.map_err(|error| Error::file(found.path(), format!("its log cannot be read: {error}")))?;
        if self.done() != found.step() {
            return Err(Error::file(found.path(), format!("its log has {} steps, not {}", self.done(), found.step())));
        }
        Ok(())
    }

    /// Makes `loss.jsonl` hold the steps done so far, and nothing else, and opens it to be added to.
    fn begin_log(&self) -> Result<File> {
        let path = self.run.work.join("loss.jsonl");
        store::write_atomic(&path, self.log.as_bytes())?;
        OpenOptions::new().append(true).open(&path).map_err(|error| Error::io(&path, "open the log of losses", &error))
    }

    fn append(&mut self, log: &mut File) -> Result<()> {
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
    fn write_sampled(&self) -> Result<()> {
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
        store::write_atomic(&self.run.work.join("sampled.json"), (text + "\n").as_bytes())
    }
}

fn hinted(mut error: Error, hint: &str) -> Error {
    for fault in &mut error.faults {
        fault.hint = Some(hint.to_owned());
    }
    error
}

/// The parameters that are trained, in the order of their ids.
pub(crate) fn trainable(decoder: &Decoder) -> Vec<ParameterId> {
    decoder.parameters.iter().filter(|(_, _, _, trainable)| *trainable).map(|(id, ..)| id).collect()
}

fn weight(batch: &Batch) -> f64 {
    batch.weights.iter().copied().map(f64::from).sum()
}

fn last<T>(items: &[T], count: usize) -> &[T] {
    &items[items.len().saturating_sub(count)..]
}

fn mean(records: &[StepRecord]) -> f32 {
    (records.iter().map(|record| f64::from(record.loss)).sum::<f64>() / records.len().max(1) as f64) as f32
}

/// Sums in eight lanes, so that the order is fixed and the additions do not wait for each other.
fn sum_of_squares(values: &[f32]) -> f64 {
    let (blocks, rest) = values.as_chunks::<8>();
    let mut lanes = [0.0_f64; 8];
    for block in blocks {
        for (lane, value) in lanes.iter_mut().zip(block) {
            *lane += f64::from(*value) * f64::from(*value);
        }
    }
    lanes.iter().sum::<f64>() + rest.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>()
}

/// Tells this run from any other: its settings, parts, seed, documents and the model it begins with.
fn fingerprint(decoder: &Decoder, shards: &Shards, run: &Run<'_>) -> Result<String> {
    let mut hash = blake3::Hasher::new();
    let mut seed = run.seed.at(0);
    let identity = serde_json::json!({
        "train": run.settings.identity(),
        "parts": run.parts.identity(),
        "seed": [seed.bits(), seed.bits()],
        "tokenizer": shards.tokenizer_fingerprint(),
    });
    hash.update(identity.to_string().as_bytes());
    for document in shards.documents() {
        let (id, text) = (&document.id, &document.text_blake3);
        hash.update(format!("\n{id} {text} {}", document.tokens()).as_bytes());
    }
    let mut bytes = Vec::new();
    for (_, name, tensor, trainable) in decoder.parameters.iter() {
        hash.update(format!("\n{name} {:?} {trainable}\n", tensor.shape()).as_bytes());
        for block in tensor.data().chunks(1 << 16) {
            bytes.clear();
            bytes.extend(block.iter().flat_map(|value| value.to_le_bytes()));
            hash.update(&bytes);
        }
    }
    Ok(hash.finalize().to_hex().to_string())
}
