//! Losses on held-out windows while a model learns.

use crate::objective::{Causal, Group, Objective, alone};
use crate::reader::Reader;
use crate::sampler::{Packed, Request, Sampler};
use crate::settings::{TrainSettings, Validate};
use crate::sources::Sources;
use metier_compute::Tape;
use metier_compute::kernel::Precision;
use metier_core::seed::Seed;
use metier_core::{Error, Place, Result, store};
use metier_model::Decoder;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The file of losses on held-out windows.
pub const VALIDATION_FILE: &str = "validation.jsonl";

/// One line of `validation.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidationRecord {
    /// Steps done before.
    pub step: u64,
    /// Tokens gone through before: those of all windows, counted as full.
    pub tokens: u64,
    /// The name of the pack.
    pub name: String,
    /// Mean of `-ln p` over the predicted tokens, in nats.
    pub loss: f64,
    /// How many tokens were predicted.
    pub predicted: u64,
}

/// The held-out windows of a pack, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct HeldOut {
    /// The name of the pack.
    pub name: String,
    /// For each window the sum of `-ln p` over its predicted tokens, in nats: before the first step, and with the weights that are kept.
    pub nats: Vec<[f64; 2]>,
    /// For each window how many tokens are predicted.
    pub predicted: Vec<u64>,
}

/// What is measured on a pack.
struct Set {
    name: String,
    /// Windows that are computed at once.
    groups: Vec<Group>,
    /// Each window by itself.
    windows: Vec<Group>,
    /// For each window its loss before the first step, as in [`HeldOut`].
    before: Vec<f64>,
}

/// The held-out windows of every pack, and what was measured on them.
pub(crate) struct Validation {
    sets: Vec<Set>,
    every: u64,
    steps: u64,
    tokens_per_step: u64,
    precision: Precision,
    path: PathBuf,
    file: Option<File>,
    /// Lines of `validation.jsonl`.
    pub(crate) records: Vec<ValidationRecord>,
    /// Time spent measuring.
    pub(crate) spent: Duration,
}

impl Validation {
    /// The first windows of each pack in an order that depends on the pack alone, so that every run sees the same ones. Of an objective that
    /// changes texts every measurement sees the same change, too.
    ///
    /// # Errors
    /// When a pack has nothing to predict, or cannot be read.
    pub(crate) fn new(
        sources: &Sources<'_>,
        objective: &dyn Objective,
        settings: &TrainSettings,
        work: &Path,
    ) -> Result<Self> {
        let objective = alone(objective);
        let Validate { every, windows } = settings.validate.unwrap_or_default();
        let mut sets = Vec::new();
        for (name, shards) in sources.validation() {
            let named = |error: Error| error.in_file(shards.folder());
            let own = Sources::from(*shards);
            let stream = own.stream(settings.context).map_err(named)?;
            let (context, seed) = (settings.context, Seed::new(0).derive("validation"));
            let all = Packed {}.steps_per_epoch(&stream, context, 1).unwrap_or_default() as usize;
            let request = Request { step: 0, sequences: windows.min(all), context, seed };
            let windows = Packed {}.windows(&stream, &request);
            let reader = Reader::new(&own, &stream, objective.reading(), seed);
            let groups = |rows: usize| -> Result<Vec<Group>> {
                let groups = (0..).step_by(rows).zip(windows.chunks(rows));
                groups.map(|(first, windows)| objective.batch(&reader.segments(windows, first)?)).collect()
            };
            let (groups, windows) = (groups(settings.rows()).map_err(named)?, groups(1).map_err(named)?);
            sets.push(Set { name: name.clone(), groups, windows, before: Vec::new() });
        }
        Ok(Self {
            sets,
            every,
            steps: settings.steps,
            tokens_per_step: (settings.sequences * settings.context) as u64,
            precision: settings.precision.into(),
            path: work.join(VALIDATION_FILE),
            file: None,
            records: Vec::new(),
            spent: Duration::ZERO,
        })
    }

    fn is_due(&self, step: u64) -> bool {
        step.is_multiple_of(self.every) || step == self.steps
    }

    /// Goes on from what was measured up to a step, and measures there what is missing.
    ///
    /// # Errors
    /// When a line before that step is gone: the weights that it was measured with are, too.
    pub(crate) fn begin(&mut self, decoder: &Decoder, done: u64) -> Result<()> {
        if self.sets.is_empty() {
            return Ok(());
        }
        let text = if done > 0 { std::fs::read_to_string(&self.path).unwrap_or_default() } else { String::new() };
        let records = text.lines().map_while(|line| serde_json::from_str::<ValidationRecord>(line).ok());
        self.records = records.filter(|record| record.step < done).collect();
        let known: BTreeSet<(u64, &str)> =
            self.records.iter().map(|record| (record.step, record.name.as_str())).collect();
        let mut wanted = (0..done).filter(|step| self.is_due(*step));
        if let Some(gone) = wanted.find(|step| self.sets.iter().any(|set| !known.contains(&(*step, &set.name)))) {
            let message = format!("the losses of step {gone} are gone, and cannot be measured again at step {done}");
            return Err(Error::file(&self.path, message).hint("remove the stage's work folder to begin anew"));
        }
        let lines = self.records.iter().map(line).collect::<Result<String>>()?;
        store::write_atomic(&self.path, lines.as_bytes())?;
        let file = OpenOptions::new().append(true).open(&self.path);
        self.file = Some(file.map_err(|error| Error::io(&self.path, "open the validation losses", &error))?);
        self.measure(decoder, done)
    }

    /// Measures each window with the model as it is before the first step. A run that goes on does so again: its model begins the same.
    pub(crate) fn before(&mut self, decoder: &Decoder) -> Result<()> {
        for set in &mut self.sets {
            let windows = set.windows.iter();
            set.before = windows.map(|window| nats(decoder, window, self.precision)).collect::<Result<_>>()?;
        }
        Ok(())
    }

    /// Measures each window with the model that is kept.
    pub(crate) fn after(&self, decoder: &Decoder) -> Result<Vec<HeldOut>> {
        let of = |set: &Set| {
            let windows = set.windows.iter().zip(&set.before);
            let nats = windows.map(|(window, before)| Ok([*before, nats(decoder, window, self.precision)?]));
            let predicted = set.windows.iter().map(|window| Causal {}.weight(window) as u64).collect();
            Ok(HeldOut { name: set.name.clone(), nats: nats.collect::<Result<_>>()?, predicted })
        };
        self.sets.iter().map(of).collect()
    }

    /// Measures after a step, if it is one of those to measure after. The lines are on the disk before a checkpoint of the step is.
    pub(crate) fn measure(&mut self, decoder: &Decoder, step: u64) -> Result<()> {
        if self.sets.is_empty() || !self.is_due(step) {
            return Ok(());
        }
        let began = Instant::now();
        let mut lines = String::new();
        for Set { name, groups, .. } in &self.sets {
            let (mut sum, mut predicted) = (0.0, 0.0);
            for group in groups {
                sum += nats(decoder, group, self.precision)?;
                predicted += Causal {}.weight(group);
            }
            let loss = sum / predicted;
            if !loss.is_finite() {
                let message = format!("the loss on `{name}` after step {step} is {loss}");
                return Err(Error::user(Place::key("validation"), message)
                    .hint("lower the optimizer's `rate`; a pack whose windows hold nothing to predict has no loss"));
            }
            let tokens = step * self.tokens_per_step;
            let record = ValidationRecord { step, tokens, name: name.clone(), loss, predicted: predicted as u64 };
            lines.push_str(&line(&record)?);
            self.records.push(record);
        }
        if let Some(file) = &mut self.file {
            let written = file.write_all(lines.as_bytes()).and_then(|()| file.sync_data());
            written.map_err(|error| Error::io(&self.path, "add to the validation losses", &error))?;
        }
        self.spent += began.elapsed();
        Ok(())
    }
}

/// The sum of `-ln p` over the predicted tokens of a group.
fn nats(decoder: &Decoder, group: &Group, precision: Precision) -> Result<f64> {
    let weight = Causal {}.weight(group);
    if weight <= 0.0 {
        return Ok(0.0);
    }
    let mut tape = Tape::inference(&decoder.parameters);
    tape.set_precision(precision);
    let loss = decoder.loss(&mut tape, &group.rows)?;
    Ok(weight * f64::from(tape.value(loss)?.item()?))
}

fn line(record: &ValidationRecord) -> Result<String> {
    let line = serde_json::to_string(record);
    Ok(line.map_err(|error| Error::program(format!("a validation record does not serialize: {error}")))? + "\n")
}

/// Reads the `validation.jsonl` of a finished run.
///
/// # Errors
/// When it is not there, or a line is not one of it, with the line.
pub fn read_validation(path: &Path) -> Result<Vec<ValidationRecord>> {
    let text = std::fs::read_to_string(path).map_err(|error| Error::io(path, "read the validation losses", &error))?;
    let record = |(number, line): (usize, &str)| {
        let fault =
            |error: serde_json::Error| Error::user(Place::file(path).at(number + 1, error.column()), error.to_string());
        serde_json::from_str(line).map_err(fault)
    };
    text.lines().enumerate().map(record).collect()
}

/// Tokens of windows that a run of these settings measures on for each pack, all its measurements together.
pub fn validation_tokens(settings: &TrainSettings) -> u64 {
    let Validate { every, windows } = settings.validate.unwrap_or_default();
    // Before the first step and at the end each window is measured by itself, too.
    let times = settings.steps / every.max(1) + 3 + u64::from(!settings.steps.is_multiple_of(every.max(1)));
    times.saturating_mul(windows as u64).saturating_mul(settings.context as u64)
}
