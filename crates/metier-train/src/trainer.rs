//! One step after another: batches, gradients, weights, and the log.

use crate::checkpoint::{Checkpoints, Found, Stored};
use crate::learner::Learner;
use crate::objective::{Group, Objective, Other, Reading};
use crate::page::{LOSS_FILE, SAMPLED_FILE, Sampled};
use crate::reader::Reader;
use crate::run::{Run, StepRecord};
use crate::sampler::{Request, Stream};
use crate::sources::{Sources, begins_row};
use metier_compute::Tape;
use metier_core::seed::Seed;
use metier_core::{Error, Place, Result, store};
use metier_model::Decoder;
use metier_tokenizer::pack::Verdict;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::ops::Range;
use std::sync::Arc;

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
    sources: &'a Sources<'a>,
    stream: &'a Stream,
    run: &'a Run<'a>,
    objective: &'a dyn Objective,
    reader: Reader<'a>,
    /// The model that the objective looks at.
    other: Option<Arc<Decoder>>,
    sampler_seed: Seed,
    noise_seed: Seed,
    pub(crate) history: Vec<StepRecord>,
    /// `history` as it stands in `loss.jsonl`.
    log: String,
}

impl<'a> Trainer<'a> {
    pub(crate) fn new(
        decoder: &'a mut Decoder,
        sources: &'a Sources<'a>,
        stream: &'a Stream,
        run: &'a Run<'a>,
        objective: &'a dyn Objective,
        other: Option<Arc<Decoder>>,
    ) -> Result<Self> {
        let mut learner = Learner::new(decoder, &*run.parts.optimizer.part, &run.settings.rates)?;
        learner.precision = run.settings.precision.into();
        learner.soft_mask = run.soft_mask;
        if run.settings.average > 0.0 {
            learner.keep_average(run.settings.average);
        }
        Ok(Self {
            learner,
            sources,
            stream,
            run,
            objective,
            reader: Reader::new(sources, stream, objective.reading(), run.seed),
            other,
            sampler_seed: run.seed.derive("sampler"),
            noise_seed: run.seed.derive("noise"),
            history: Vec::new(),
            log: String::new(),
        })
    }

    /// The model as it is now.
    pub(crate) fn decoder(&self) -> &Decoder {
        self.learner.decoder
    }

    /// What `look` makes of the model as it would be kept now: with the average of its weights, where there is one.
    pub(crate) fn look<T>(&mut self, look: impl FnOnce(&Decoder) -> T) -> T {
        self.learner.exchange();
        let seen = look(self.learner.decoder);
        self.learner.exchange();
        seen
    }

    /// Saves the weights as they would be kept now.
    pub(crate) fn save_weights(&mut self, checkpoints: &Checkpoints) -> Result<()> {
        let step = self.done();
        self.learner.exchange();
        let saved = checkpoints.save(step, "", &self.learner.weights());
        self.learner.exchange();
        saved
    }

    /// Ends the run: the model is left as it is kept, or as it was saved by [`Trainer::save_weights`].
    pub(crate) fn keep(&mut self, saved: Option<&Found>) -> Result<()> {
        let Some(saved) = saved else {
            self.learner.exchange();
            return Ok(());
        };
        let expected: Vec<_> = self.learner.weights().into_iter().map(|(name, values)| (name, values.len())).collect();
        let mut restoring = saved.restore(&expected)?;
        self.learner.fill_weights(|values| restoring.fill(values))
    }

    pub(crate) fn done(&self) -> u64 {
        self.history.len() as u64
    }

    /// One step; `None` when it was given up because the run is to end. Then nothing has changed.
    pub(crate) fn step(&mut self) -> Result<Option<Work>> {
        let (settings, parts) = (self.run.settings, self.run.parts);
        let step = self.done();
        let windows = self.windows(step);
        let (objective, reader) = (self.objective, self.reader);
        let at_once = Some(settings.rows().saturating_mul(settings.context));
        let together = if objective.joins() { settings.sequences } else { settings.rows() };
        let first = step * settings.sequences as u64;
        let group = |(first, windows)| {
            let group = objective.batch(&reader.segments(windows, first)?)?;
            Ok((first, windows, Group { at_once, ..group }))
        };
        let groups: Vec<(u64, &[Range<u64>], Group)> =
            (first..).step_by(together).zip(windows.chunks(together)).map(group).collect::<Result<_>>()?;
        let weights: Vec<f64> = groups.iter().map(|(_, _, group)| objective.weight(group)).collect();
        let whole: f64 = weights.iter().sum();
        let decoder = &self.learner.decoder;
        let mut flop_per_token = decoder.flop_per_token(true, settings.context);
        if objective.other() == Other::Reference {
            flop_per_token += decoder.flop_per_token(false, settings.context);
        }
        let mut work = Work::default();
        let mut loss = 0.0;
        self.learner.clear();
        for (number, ((begin, windows, group), weight)) in (0..).zip(groups.iter().zip(&weights)) {
            if (self.run.stop)() {
                return Ok(None);
            }
            if *weight == 0.0 {
                continue;
            }
            let share = weight / whole;
            self.learner.noise = Some(Seed::new(self.noise_seed.at(first + number).bits()));
            let other = self.other.as_ref();
            let mean = self.learner.add(share, |decoder, tape| objective.loss(decoder, tape, group, other))?;
            loss += share * mean;
            if !loss.is_finite() {
                let names = self.not_finite(windows, *begin)?;
                return Err(diverged(
                    step,
                    &format!("batch {} of {}", number + 1, groups.len()),
                    &format!("the loss is {loss}"),
                    &names,
                ));
            }
            work.tokens += predictions(group);
            work.flop += flop_per_token * group.rows.ids.len() as f64;
        }
        self.learner.damp();
        let norm = self.learner.gradient_norm();
        if !norm.is_finite() {
            let names = self.names(&windows);
            return Err(diverged(step, "all batches", &format!("the gradient's length is {norm}"), &names));
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

    /// The documents of windows, each once.
    fn names(&self, windows: &[Range<u64>]) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for piece in windows.iter().flat_map(|window| self.stream.pieces(window)) {
            let name = self.sources.document(piece.document).1.id.as_str();
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// The documents of windows whose own loss is not finite; all of them where it is so only of them together.
    fn not_finite(&self, windows: &[Range<u64>], first: u64) -> Result<Vec<&str>> {
        let (objective, decoder) = (self.objective, &*self.learner.decoder);
        let pieces: Vec<_> = windows.iter().flat_map(|window| self.stream.pieces(window)).collect();
        let mut segments = &self.reader.segments(windows, first)?[..];
        let mut names = Vec::new();
        let documents: Vec<_> = pieces.iter().map(|piece| self.sources.document(piece.document).1).collect();
        for row in documents.chunk_by(|_, next| !begins_row(next)) {
            let (own, later) = segments.split_at(row.len());
            segments = later;
            let group = objective.batch(own)?;
            if objective.weight(&group) == 0.0 {
                continue;
            }
            let mut tape = Tape::inference(&decoder.parameters);
            tape.set_precision(self.learner.precision);
            let loss = objective.loss(decoder, &mut tape, &group, self.other.as_ref())?;
            if !tape.value(loss)?.item()?.is_finite() {
                names.extend(row.iter().map(|document| document.id.as_str()));
            }
        }
        names.dedup();
        Ok(if names.is_empty() { self.names(windows) } else { names })
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
        let path = self.run.work.join(LOSS_FILE);
        store::write_atomic(&path, self.log.as_bytes())?;
        OpenOptions::new().append(true).open(&path).map_err(|error| Error::io(&path, "open the log of losses", &error))
    }

    pub(crate) fn append(&mut self, log: &mut File) -> Result<()> {
        let Some(record) = self.history.last() else { return Ok(()) };
        let mut line = serde_json::to_string(record)
            .map_err(|error| Error::program(format!("a step's record does not serialize: {error}")))?;
        line.push('\n');
        log.write_all(line.as_bytes())
            .map_err(|error| Error::io(self.run.work.join(LOSS_FILE), "add to the log of losses", &error))?;
        self.log.push_str(&line);
        Ok(())
    }

    /// Writes how many tokens of each document were predicted in the first `steps`. Gives the share of each source among the tokens gone
    /// through, where there are several.
    pub(crate) fn write_sampled(&self, steps: u64) -> Result<Vec<(String, f64)>> {
        let mut counts: BTreeMap<usize, u64> = BTreeMap::new();
        let mut through: BTreeMap<&str, u64> = BTreeMap::new();
        for step in 0..steps {
            let windows = self.windows(step);
            let mut changed = Vec::new();
            if self.objective.reading() != Reading::Forward {
                changed = self.reader.segments(&windows, step * self.run.settings.sequences as u64)?;
            }
            for (number, piece) in windows.iter().flat_map(|window| self.stream.pieces(window)).enumerate() {
                let (source, document) = self.sources.document(piece.document);
                let is_of_pair = document.verdict.is_some_and(Verdict::is_of_pair);
                let first = u64::from(!is_of_pair && self.sources.lead(piece.document).is_none());
                let predicted = piece.tokens.start.max(first)..piece.tokens.end;
                *counts.entry(piece.document).or_default() += match changed.get(number) {
                    None => document.targets(predicted),
                    Some(segment) => predictions(&self.objective.batch(std::slice::from_ref(segment))?),
                };
                *through.entry(source).or_default() += piece.tokens.end - piece.tokens.start;
            }
        }
        let several = self.sources.packs().len() > 1;
        let sampled: Vec<_> = counts
            .into_iter()
            .map(|(document, tokens)| {
                let (source, document) = self.sources.document(document);
                Sampled { document: document.id.clone(), tokens, source: several.then(|| source.to_owned()) }
            })
            .collect();
        let text = serde_json::to_string_pretty(&sampled)
            .map_err(|error| Error::program(format!("the list of documents does not serialize: {error}")))?;
        store::write_atomic(self.run.work.join(SAMPLED_FILE), (text + "\n").as_bytes())?;
        let all = through.values().sum::<u64>().max(1) as f64;
        let share =
            |(name, _): &(String, _)| (name.clone(), through.get(name.as_str()).copied().unwrap_or(0) as f64 / all);
        Ok(self.sources.packs().iter().map(share).collect())
    }
}

/// How many tokens are predicted in a group.
fn predictions(group: &Group) -> u64 {
    group.rows.weights.iter().filter(|weight| **weight > 0.0).count() as u64
}

fn diverged(step: u64, batch: &str, what: &str, names: &[&str]) -> Error {
    const SHOWN: usize = 8;
    let more = names.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let names = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    Error::user(Place::key(format!("step {}, {batch}", step + 1)), format!("{what}; it learned from {names}{more}"))
        .hint("lower the optimizer's `rate`, warm up for longer, or look at these documents; the newest checkpoint is kept")
}
