//! The loop that joins the parts.

use crate::checkpoint::{Checkpoints, Found};
use crate::guard::{Guard, Guarded};
use crate::objective::{Objective, Other, Reading};
use crate::plan::plan;
use crate::sampler::Stream;
use crate::settings::{Parts, TrainSettings};
use crate::soft_mask::SoftMask;
use crate::sources::Sources;
use crate::trainer::{Trainer, Work};
use crate::validation::{HeldOut, Validation, ValidationRecord};
use crate::watch::{Event, Tell, Watch};
use metier_core::memory::Budget;
use metier_core::seam::Tokenize;
use metier_core::seed::Seed;
use metier_core::{Error, Place, Result, stop};
use metier_model::Decoder;
use metier_tokenizer::pack::Lesson;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Everything a run needs besides the model and the tokens.
pub struct Run<'a> {
    /// How long and how much at a time.
    pub settings: &'a TrainSettings,
    /// Objective, optimizer, schedule and sampler.
    pub parts: &'a Parts,
    /// The model that the objective learns from, if it does.
    pub teacher: Option<&'a Arc<Decoder>>,
    /// What damps the gradients of some rows.
    pub soft_mask: Option<&'a SoftMask>,
    /// Decides every random choice.
    pub seed: Seed,
    /// The folder that gets `loss.jsonl`, `sampled.json` and perhaps `validation.jsonl`, and `scratch/` while the run lasts. A checkpoint
    /// found there is gone on from.
    pub work: &'a Path,
    /// What the machine has to spare.
    pub budget: &'a Budget,
    /// Measured `f32` operations a second of this machine, to tell the share that was reached.
    pub peak: Option<f64>,
    /// Asked between groups of windows; true ends the run with a checkpoint. Usually
    /// [`stop::requested`].
    pub stop: &'a dyn Fn() -> bool,
    /// Told each [`Event`] as it happens; an error of it ends the run. The result does not depend on it.
    pub tell: Option<&'a Tell<'a>>,
    /// Puts samples of what the model writes in words; without it, none are taken.
    pub tokenizer: Option<&'a dyn Tokenize>,
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
    /// Steps done, those before a resume included; where a guarded loss ended the run, only those of the weights that are kept. So are
    /// the other numbers of steps.
    pub steps: u64,
    /// Tokens predicted, those before a resume included.
    pub tokens: u64,
    /// Passes over the documents, where the sampler makes any.
    pub epochs: Option<f64>,
    /// The share of each source among the tokens gone through, where there are several.
    pub shares: Vec<(String, f64)>,
    /// What was measured on held-out windows.
    #[serde(skip)]
    pub validation: Vec<ValidationRecord>,
    /// Each held-out window before the first step and with the weights that are kept.
    #[serde(skip)]
    pub held_out: Vec<HeldOut>,
    /// What the guarded losses say, where there are any.
    #[serde(skip)]
    pub guarded: Option<Guarded>,
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
    /// One record a step, of all steps done.
    #[serde(skip)]
    pub history: Vec<StepRecord>,
}

/// Trains the weights of `decoder` that are trainable on the documents of `sources`: a pack, or several.
///
/// `decoder` must be as it was before the first step, also when the run goes on from a checkpoint: its weights
/// are part of what tells one run from another. At the end it holds the trained weights, or their average where [`TrainSettings::average`]
/// asks for it.
///
/// # Errors
/// When there is nothing to train or to train on, memory or disk do not suffice, the loss is no number (with the
/// step and its documents), a guarded loss rose by more than it may before anything was learned,
/// a checkpoint belongs to another run, or [`Run::stop`] asked for the end; in the last case, and after a kill, the same call goes on
/// from the newest checkpoint.
pub fn train<'a>(decoder: &mut Decoder, sources: impl Into<Sources<'a>>, run: &Run<'_>) -> Result<TrainReport> {
    let sources = &sources.into();
    run.settings.check(&Place::default())?;
    let validation: Vec<&str> = sources.validation().iter().map(|(name, _)| name.as_str()).collect();
    run.settings.check_guard(&validation)?;
    check_lesson(sources, run)?;
    let stream = sources.stream(run.settings.context)?;
    let bound = bound(sources, run)?;
    let objective = bound.as_deref().unwrap_or(&*run.parts.objective.part);
    let TrainSettings { context, steps, sequences, .. } = *run.settings;
    run.parts.sampler.part.check(&stream, context, steps, sequences)?;
    check_pairs(sources, &stream, run)?;
    decoder.set_recompute(run.settings.recompute);
    let plan = plan(decoder, Some(&stream), run.settings, run.parts)?;
    if plan.trainable == 0 {
        return Err(Error::program("no weight of the model is trainable: attach an adapter first"));
    }
    check_average(decoder, run.settings)?;
    let other = other_of(decoder, run)?;
    check_context(decoder, sources, objective, context)?;
    let _state =
        run.budget.reserve(plan.state_bytes, "gradients and what is kept beside the weights").map_err(|error| {
            hinted(error, "raise the limit with `--memory`, or train an adapter such as `lora` in place of all weights")
        })?;
    let _activations =
        run.budget.reserve(plan.activation_bytes, "the activations of a group of windows").map_err(|error| {
            hinted(error, "raise the limit with `--memory`, set `recompute = true` or `micro_batch = 1`, or choose a shorter `context`")
        })?;

    let fingerprint = fingerprint(decoder, sources, run);
    let checkpoints = Checkpoints::open(&run.work.join("scratch"), fingerprint.clone())?;
    let mut guard = Guard::open(run, fingerprint)?;
    let mut validation = Validation::new(sources, objective, run.settings, run.work)?;
    let mut trainer = Trainer::new(decoder, sources, &stream, run, objective, other)?;
    validation.before(trainer.decoder())?;
    let (found, mut notes) = checkpoints.newest()?;
    let resumed_from = found.as_ref().map(Found::step);
    if let Some(found) = found {
        trainer.restore(&found)?;
    }
    let mut log = trainer.begin_log()?;
    let done = trainer.done();
    trainer.look(|decoder| validation.begin(decoder, done))?;
    guard.look(&validation.records, &mut trainer)?;
    validation.spent = Duration::ZERO;
    let mut watch = Watch::new(run, &plan, sources, trainer.done())?;
    let started = Instant::now();
    let (mut saved, mut saved_at) = (resumed_from, Instant::now());
    let mut here = Work::default();
    while trainer.done() < run.settings.steps && !guard.ends() {
        let began = Instant::now();
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
        watch.step(&trainer.history, began.elapsed().as_secs_f64(), work, trainer.decoder())?;
        trainer.look(|decoder| validation.measure(decoder, done))?;
        guard.look(&validation.records, &mut trainer)?;
        let seconds = run.settings.checkpoint_seconds;
        if done.is_multiple_of(run.settings.checkpoint_every)
            || (seconds > 0 && saved_at.elapsed() >= Duration::from_secs(seconds))
            || done == run.settings.steps
            || guard.ends()
        {
            trainer.save(&checkpoints)?;
            (saved, saved_at) = (Some(done), Instant::now());
            watch.tell(&Event::Checkpoint { step: done })?;
        }
    }
    let apart = watch.sampling() + validation.spent;
    let seconds = started.elapsed().saturating_sub(apart).as_secs_f64().max(1e-9);
    let (back, why) = guard.back()?.unzip();
    notes.extend(why);
    trainer.keep(back.as_ref())?;
    let steps = back.map_or(trainer.done(), |found| found.step());
    let shares = trainer.write_sampled(steps)?;
    let held_out = validation.after(trainer.decoder())?;

    let history = trainer.history;
    let kept = &history[..steps as usize];
    let (loss_first, loss_last) = ends(kept);
    let part = steps as f64 / run.settings.steps as f64;
    let report = TrainReport {
        steps,
        tokens: kept.iter().map(|record| record.tokens).sum(),
        epochs: plan.epochs.map(|epochs| epochs * part),
        shares,
        validation: validation.records,
        held_out,
        guarded: guard.guarded,
        trainable: plan.trainable,
        loss_first,
        loss_last,
        flop: plan.flop * part,
        resumed_from,
        seconds,
        tokens_per_second: here.tokens as f64 / seconds,
        flop_per_second: here.flop / seconds,
        share_of_peak: run.peak.map(|peak| here.flop / seconds / peak),
        notes,
        history,
    };
    watch.finish(&report)?;
    Ok(report)
}

/// The objective with the tokens of the run's vocabulary that it writes, where it writes any.
///
/// # Errors
/// When the vocabulary lacks them.
pub(crate) fn bound(sources: &Sources<'_>, run: &Run<'_>) -> Result<Option<Box<dyn Objective>>> {
    let Some(tokenizer) = run.tokenizer else { return Ok(None) };
    run.parts.objective.part.bind(tokenizer, sources.longest(run.settings.context))
}

/// Refuses windows that the model cannot attend to, as long as the objective makes them.
fn check_context(decoder: &Decoder, sources: &Sources<'_>, objective: &dyn Objective, context: usize) -> Result<()> {
    let most = decoder.config().context_length as u64;
    let length = |tokens: usize| tokens as u64 + objective.added(tokens as u64);
    // A window of examples may be longer than any of them.
    if length(context) <= most
        || sources.documents().all(|document| document.tokens() <= most && document.learned.is_some())
    {
        return Ok(());
    }
    let fitting = (2..context).rev().find(|tokens| length(*tokens) <= most);
    let (length, added) = (length(context), objective.added(context as u64));
    let more = if added > 0 { format!(", {added} of which the objective adds,") } else { String::new() };
    let message = format!("{length} tokens{more} are more than the {most} the model can attend to");
    let hint = fitting.map_or("take a model that attends to more".to_owned(), |most| format!("write at most {most}"));
    Err(Error::user(Place::key("context"), message).hint(hint))
}

fn hinted(mut error: Error, hint: &str) -> Error {
    for fault in &mut error.faults {
        fault.hint = Some(hint.to_owned());
    }
    error
}

/// Refuses an average of weights that an adapter sets between steps: what it set to 0 would not be 0 in the average.
fn check_average(decoder: &Decoder, settings: &TrainSettings) -> Result<()> {
    if settings.average > 0.0 && decoder.upkeep().is_some() {
        let message = "the adapter drops ranks while it is trained, and an average would bring them back";
        return Err(Error::user(Place::key("average"), message).hint("leave `average` out, or choose `lora`"));
    }
    Ok(())
}

/// Refuses shards that teach something else than the objective learns.
fn check_lesson(sources: &Sources<'_>, run: &Run<'_>) -> Result<()> {
    let objective = &run.parts.objective;
    let mut packs = sources.packs().iter().chain(sources.validation());
    let examples = packs.find(|(_, shards)| shards.examples().is_some());
    if let Some((name, _)) = examples.filter(|_| objective.part.reading() == Reading::Rewritten) {
        let message = format!("`{}` learns from documents, and `{name}` holds examples", objective.name);
        return Err(Error::user(Place::key("objective"), message).hint("choose `causal`, or pack documents"));
    }
    let lesson = sources.examples().map_or(Lesson::Replies, |examples| examples.lesson);
    if objective.part.learns(lesson) {
        return Ok(());
    }
    let (hold, choose) = match (sources.examples(), lesson) {
        (None, _) => ("documents", ""),
        (_, Lesson::Replies) => ("replies without a verdict", "choose `causal`, or "),
        (_, Lesson::Preferences) => ("preferences", "choose `dpo`, `kto`, `orpo` or `simpo`, or "),
        (_, Lesson::Judgments) => ("judgments", "choose `kto`, or "),
        (_, Lesson::Pairs) => ("pairs of texts", "choose `contrastive`, or "),
    };
    let keys: Vec<_> =
        Lesson::ALL.into_iter().filter(|lesson| objective.part.learns(*lesson)).map(Lesson::keys).collect();
    let message = format!("`{}` cannot learn from these shards: they hold {hold}", objective.name);
    let hint = format!("{choose}pack `examples` with {}", keys.join(", or "));
    Err(Error::user(Place::key("objective"), message).hint(hint))
}

/// Refuses steps of a single pair, which nothing is told from.
fn check_pairs(sources: &Sources<'_>, stream: &Stream, run: &Run<'_>) -> Result<()> {
    let windows = stream.windows().filter(|windows| run.settings.sequences == 1 || *windows == 1);
    let mut windows = (0..windows.unwrap_or(0)).filter_map(|number| stream.window(number));
    let single = windows.find_map(|window| match &stream.pieces(&window)[..] {
        [anchor, _] if run.parts.objective.part.joins() => Some(&sources.document(anchor.document).1.id),
        _ => None,
    });
    let Some(id) = single else { return Ok(()) };
    let message = format!("a step would have the pair of `{id}` alone, with nothing to tell it from");
    Err(Error::user(Place::key("sequences"), message).hint("raise `sequences` or `context`, or pack more pairs"))
}

/// The other model that the objective looks at. The model as it is before training shares its weights as long as
/// these do not change.
///
/// # Errors
/// When a teacher cannot teach, is not asked for, or is missing where one is.
pub(crate) fn other_of(decoder: &Decoder, run: &Run<'_>) -> Result<Option<Arc<Decoder>>> {
    let (name, other) = (run.parts.objective.name, run.parts.objective.part.other());
    let refuse = |message: String, hint: &str| Err(Error::user(Place::key("teacher"), message).hint(hint));
    let Some(teacher) = run.teacher else {
        return match other {
            Other::Nobody => Ok(None),
            Other::Reference => Ok(Some(Arc::new(decoder.shared()?))),
            Other::Teacher => {
                let message = format!("`{name}` learns from another model, and none is given");
                refuse(message, "write `teacher = \"NAME\"`")
            }
        };
    };
    if other == Other::Nobody {
        return refuse(format!("`{name}` learns from no other model"), "leave `teacher` out, or choose `distill`");
    }
    if run.parts.objective.part.predicts_next() && !teacher.is_causal() {
        let message = format!("its attention is bidirectional, and `{name}` asks it what follows each token");
        return refuse(message, "take a causal teacher");
    }
    let (theirs, own) = (teacher.config(), decoder.config());
    if theirs.vocabulary_size != own.vocabulary_size {
        let message = format!("it has {} ids where the model has {}", theirs.vocabulary_size, own.vocabulary_size);
        return refuse(message, "take a teacher with the same tokenizer");
    }
    if theirs.context_length < run.settings.context {
        let message =
            format!("it attends to {} tokens, and windows have {}", theirs.context_length, run.settings.context);
        return refuse(message, "choose a shorter `context`");
    }
    Ok(Some(Arc::clone(teacher)))
}

/// The mean losses of the first and of the last tenth of the steps, at most 20.
pub(crate) fn ends(history: &[StepRecord]) -> (f32, f32) {
    let span = (history.len() / 10).clamp(1, 20).min(history.len());
    (mean(&history[..span]), mean(&history[history.len() - span..]))
}

/// The mean loss of steps.
pub(crate) fn mean(records: &[StepRecord]) -> f32 {
    (records.iter().map(|record| f64::from(record.loss)).sum::<f64>() / records.len().max(1) as f64) as f32
}

/// Tells this run from any other: its settings, parts, seed, documents and the model it begins with.
fn fingerprint(decoder: &Decoder, sources: &Sources<'_>, run: &Run<'_>) -> String {
    let mut hash = blake3::Hasher::new();
    let mut seed = run.seed.at(0);
    let identity = serde_json::json!({
        "train": run.settings.identity(),
        "parts": run.parts.identity(),
        "seed": [seed.bits(), seed.bits()],
        "tokenizer": sources.tokenizer_fingerprint(),
        "model": decoder.config().to_json(),
        "adapter": decoder.adapter_identity(),
    });
    hash.update(identity.to_string().as_bytes());
    // A single pack is hashed without its name, as before there were several.
    let named = sources.packs().len() > 1;
    let packs = sources.packs().iter().map(|(name, shards)| (named.then(|| format!("from {name}")), shards));
    let validated = sources.validation().iter().map(|(name, shards)| (Some(format!("validation {name}")), shards));
    for (name, shards) in packs.chain(validated) {
        hash.update(name.map_or_else(String::new, |name| format!("\n{name}")).as_bytes());
        for document in shards.documents() {
            let (id, text) = (&document.id, &document.text_blake3);
            hash.update(format!("\n{id} {text} {}", document.tokens()).as_bytes());
            if let Some(learned) = &document.learned {
                hash.update(format!(" {learned:?} {:?}", document.verdict).as_bytes());
            }
        }
    }
    hash_weights(&mut hash, decoder);
    for (id, rows) in run.soft_mask.map_or(&[][..], SoftMask::left) {
        hash.update(format!("\nsoft mask {}\n", decoder.parameters.name(*id)).as_bytes());
        for row in rows {
            hash.update(&row.to_le_bytes());
        }
    }
    if let Some(teacher) = run.teacher {
        hash.update(format!("\nteacher {}", teacher.config().to_json()).as_bytes());
        hash_weights(&mut hash, teacher);
    }
    hash.finalize().to_hex().to_string()
}

fn hash_weights(hash: &mut blake3::Hasher, decoder: &Decoder) {
    for (_, name, tensor, trainable) in decoder.parameters.iter() {
        hash.update(format!("\n{name} {:?} {trainable}\n", tensor.shape()).as_bytes());
        tensor.stored(|bytes| {
            hash.update(bytes);
        });
    }
}
