//! What a run tells while it lasts: events for programs, a panel for people. None of it changes the result.

use crate::dashboard;
use crate::page::decimal;
use crate::plan::Plan;
use crate::run::{Run, StepRecord, TrainReport, mean};
use crate::sources::Sources;
use crate::trainer::Work;
use metier_core::Result;
use metier_core::data::TokenId;
use metier_core::memory;
use metier_core::progress::{Progress, short, width};
use metier_core::seam::Tokenize;
use metier_model::Decoder;
use metier_model::decode::Session;
use serde::Serialize;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Speeds are those of the last so many steps.
const RECENT: usize = 20;
/// The panel is drawn anew this often.
const REDRAW: Duration = Duration::from_millis(100);
/// Tokens a sample begins with, those of the first document, and tokens it goes on for.
const PROMPT: u64 = 16;
const CONTINUATION: usize = 24;
/// Samples are at least so far apart, and take at most this share of the time.
const BETWEEN_SAMPLES: Duration = Duration::from_secs(20);
const SAMPLE_SHARE: u32 = 50;

/// What is told of a run, in this order: [`Begin`](Event::Begin), a [`Step`](Event::Step) each with checkpoints and samples in
/// between, and [`End`](Event::End). A run that does not reach its end tells none.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event<'a> {
    /// The first step of this process is about to begin.
    Begin {
        /// Steps done before, when the run goes on from a checkpoint.
        step: u64,
        /// Steps in all.
        steps: u64,
        /// Tokens that all steps will go through.
        tokens: u64,
        /// Number of weights.
        parameters: u64,
        /// Number of weights that will be changed.
        trainable: u64,
        /// Memory that the run is expected to hold at most.
        memory_bytes: u64,
    },
    /// A step was done.
    Step(Step),
    /// The run can go on from here after a kill.
    Checkpoint {
        /// Steps done.
        step: u64,
    },
    /// How the model goes on with the beginning of the first document, taking the likeliest token each time.
    Sample(&'a Sample),
    /// The last step was done.
    End(&'a TrainReport),
}

/// Who is told.
pub type Tell<'a> = dyn Fn(&Event<'_>) -> Result<()> + 'a;

/// A step, and how the run is at it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// Number of the step, counted from 1.
    pub step: u64,
    /// Steps in all.
    pub steps: u64,
    /// Mean loss over the step's targets.
    pub loss: f64,
    /// The optimizer's rate.
    pub rate: f64,
    /// Length of the gradient before clipping.
    pub gradient_norm: f64,
    /// Tokens that the step predicted.
    pub tokens: u64,
    /// Tokens a second over the last 20 steps of this process.
    pub tokens_per_second: f64,
    /// Floating-point operations a second over the same steps, as a share of the measured peak.
    pub share_of_peak: Option<f64>,
    /// Memory the process holds, where the system says it.
    pub memory_bytes: Option<u64>,
    /// Seconds until the last step at this speed.
    pub seconds_left: f64,
}

/// What the model wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// Steps done.
    pub step: u64,
    /// What it was given.
    pub prompt: String,
    /// What it wrote.
    pub text: String,
}

/// How long the last steps took, and what they did.
#[derive(Default)]
struct Pace(VecDeque<(f64, Work)>);

impl Pace {
    fn add(&mut self, seconds: f64, work: Work) {
        self.0.truncate(RECENT - 1);
        self.0.push_front((seconds, work));
    }

    /// What the steps did in a second: steps, tokens and operations.
    fn per_second(&self) -> (f64, f64, f64) {
        let seconds = self.0.iter().map(|(seconds, _)| seconds).sum::<f64>().max(1e-9);
        let tokens = self.0.iter().map(|(_, work)| work.tokens).sum::<u64>() as f64;
        let flop = self.0.iter().map(|(_, work)| work.flop).sum::<f64>();
        (self.0.len() as f64 / seconds, tokens / seconds, flop / seconds)
    }
}

/// Looks on while a run lasts.
pub(crate) struct Watch<'a> {
    run: &'a Run<'a>,
    progress: Progress,
    pace: Pace,
    drawn: Option<Instant>,
    prompt: Vec<TokenId>,
    sample: Option<Sample>,
    next_sample: Instant,
    sampling: Duration,
}

impl<'a> Watch<'a> {
    /// Begins at `done` steps.
    pub(crate) fn new(run: &'a Run<'a>, plan: &Plan, sources: &Sources<'_>, done: u64) -> Result<Self> {
        let progress = Progress::new("train", Some(plan.steps), "step");
        progress.resume_at(done);
        let mut prompt = Vec::new();
        if let (Some(first), true) = (sources.documents().next(), run.tell.is_some() || progress.is_drawn()) {
            prompt = sources.read(0, 0..first.tokens().min(PROMPT))?;
        }
        let watch = Self {
            run,
            progress,
            pace: Pace::default(),
            drawn: None,
            prompt,
            sample: None,
            next_sample: Instant::now() + BETWEEN_SAMPLES,
            sampling: Duration::ZERO,
        };
        watch.tell(&Event::Begin {
            step: done,
            steps: plan.steps,
            tokens: plan.tokens,
            parameters: plan.parameters,
            trainable: plan.trainable,
            memory_bytes: plan.memory_bytes(),
        })?;
        Ok(watch)
    }

    pub(crate) fn tell(&self, event: &Event<'_>) -> Result<()> {
        self.run.tell.map_or(Ok(()), |tell| tell(event))
    }

    /// The last step of `history` took so many seconds.
    pub(crate) fn step(&mut self, history: &[StepRecord], seconds: f64, work: Work, decoder: &Decoder) -> Result<()> {
        let Some(record) = history.last() else { return Ok(()) };
        let steps = self.run.settings.steps;
        self.pace.add(seconds, work);
        let (steps_per_second, tokens_per_second, flop_per_second) = self.pace.per_second();
        self.progress.set(record.step);
        if !self.progress.is_drawn() {
            let loss = mean(&history[history.len().saturating_sub(10)..]);
            self.progress.note(&format!("loss {loss:.2}  {} tok/s", short(tokens_per_second)));
        }
        let is_due = self.progress.is_drawn() && self.drawn.is_none_or(|drawn| drawn.elapsed() >= REDRAW);
        if self.run.tell.is_none() && !is_due {
            return Ok(());
        }
        let now = Step {
            step: record.step,
            steps,
            loss: decimal(record.loss),
            rate: decimal(record.rate),
            gradient_norm: decimal(record.gradient_norm),
            tokens: record.tokens,
            tokens_per_second,
            share_of_peak: self.run.peak.map(|peak| flop_per_second / peak),
            memory_bytes: memory::resident_bytes(),
            seconds_left: steps.saturating_sub(record.step) as f64 / steps_per_second,
        };
        if is_due {
            self.drawn = Some(Instant::now());
            self.progress.panel(&dashboard::rows(history, &now, self.sample.as_ref(), width()));
        }
        self.tell(&Event::Step(now))?;
        if record.step == steps || Instant::now() >= self.next_sample {
            self.take_sample(record.step, decoder)?;
        }
        Ok(())
    }

    /// Lets the model write. One that cannot, because of its attention, its adapter or its context, writes nothing.
    fn take_sample(&mut self, step: u64, decoder: &Decoder) -> Result<()> {
        let writes = decoder.is_causal() && !self.prompt.is_empty();
        let Some(tokenizer) = self.run.tokenizer.filter(|_| writes) else { return Ok(()) };
        let began = Instant::now();
        if let Ok(written) = continuation(decoder, &self.prompt, &tokenizer.end_of_text()) {
            let sample = Sample { step, prompt: words(tokenizer, &self.prompt), text: words(tokenizer, &written) };
            self.tell(&Event::Sample(&sample))?;
            self.sample = Some(sample);
        }
        let took = began.elapsed();
        self.sampling += took;
        self.next_sample = Instant::now() + BETWEEN_SAMPLES.max(took * SAMPLE_SHARE);
        Ok(())
    }

    /// How long all samples took.
    pub(crate) fn sampling(&self) -> Duration {
        self.sampling
    }

    /// Ends the bar with one line that sums it up.
    pub(crate) fn finish(self, report: &TrainReport) -> Result<()> {
        let (loss, speed) = (report.loss_last, short(report.tokens_per_second));
        self.progress.note(&format!("loss {loss:.2}  {speed} tok/s"));
        self.progress.finish();
        self.tell(&Event::End(report))
    }
}

/// The likeliest tokens after a prompt, one by one, until the text ends.
fn continuation(decoder: &Decoder, prompt: &[TokenId], ends: &[TokenId]) -> Result<Vec<TokenId>> {
    let mut session = Session::new(decoder);
    let mut logits = session.feed(prompt)?;
    let mut written = Vec::new();
    while written.len() < CONTINUATION {
        let likeliest = (0..).zip(&logits).max_by(|one, other| one.1.total_cmp(other.1)).map(|(id, _)| id);
        let Some(id) = likeliest.filter(|id| !ends.contains(id)) else { break };
        written.push(id);
        logits = session.feed(&[id])?;
    }
    Ok(written)
}

/// The text of tokens as it can be shown on one line of a terminal.
fn words(tokenizer: &dyn Tokenize, ids: &[TokenId]) -> String {
    let bytes: Vec<u8> = ids.iter().flat_map(|id| tokenizer.bytes_of(*id).unwrap_or_default()).collect();
    String::from_utf8_lossy(&bytes).replace(char::is_control, " ")
}
