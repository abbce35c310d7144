//! `train`: a model learns from token shards, whole or through an adapter: documents, replies, preferences or pairs of texts.

use super::model::{open_base, open_checkpoint, open_decoder};
use super::{
    Context, Faults, Flow, Input, InputSlot, Kind, Machine, Outcome, PartSlot, Verb, Work, fit, held_out, importance,
    named, one, placed,
};
use crate::command::print_line;
use crate::recipe::set_each;
use metier_compute::kernel;
use metier_core::memory::{Budget, Reservation};
use metier_core::part::Chosen;
use metier_core::settings::Table;
use metier_core::store::{Counts, Estimate, write_atomic};
use metier_core::{Error, Fault, Place, Result, page as html};
use metier_model::Decoder;
use metier_peft::adapter::{self, Adapter};
use metier_tokenizer::pack::{Lesson, Shards};
use metier_train::objective::Objective;
use metier_train::page::Told;
use metier_train::{Event, Numbers, Parts, SoftMask, Sources, TrainSettings, objective, optimizer, sampler, schedule};
use schemars::JsonSchema;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// The file of a training result that says what it was trained on top of.
pub const BASE_FILE: &str = "base.json";
/// The file of a training result that shows its curves.
const PAGE_FILE: &str = "report.html";
/// What the numbers of a page are called in it.
pub const NUMBERS: &str = "numbers";
/// The folder of a training result that holds an adapter in PEFT's layout.
pub const ADAPTER_FOLDER: &str = "adapter";
/// The folder of a training result that holds all weights, when all were trained.
pub const MODEL_FOLDER: &str = "model";

const OBJECTIVE: PartSlot = PartSlot {
    key: "objective",
    family: "objective",
    many: false,
    default: Some("causal"),
    members: objective::records,
};
const OPTIMIZER: PartSlot = PartSlot {
    key: "optimizer",
    family: "optimizer",
    many: false,
    default: Some("adamw"),
    members: optimizer::records,
};
const SCHEDULE: PartSlot =
    PartSlot { key: "schedule", family: "schedule", many: false, default: Some("cosine"), members: schedule::records };
const SAMPLER: PartSlot =
    PartSlot { key: "sampler", family: "sampler", many: false, default: Some("packed"), members: sampler::records };
const ADAPTER: PartSlot =
    PartSlot { key: "adapter", family: "adapter", many: false, default: Some("lora"), members: adapter::records };

/// The record of `train`.
pub static VERB: Verb = Verb {
    name: "train",
    version: 3,
    summary: "train a model on token shards, whole or through an adapter",
    makes: Kind::Training,
    inputs: &[
        InputSlot {
            key: "from",
            kind: Kind::Shards,
            required: true,
            many: true,
            text: "the shards to learn from: of one stage, or of several by name, for `mixture` or `curriculum` to take shares of",
        },
        InputSlot {
            key: "validation",
            kind: Kind::Shards,
            required: false,
            many: true,
            text: "held-out shards to measure the loss on meanwhile, packed with `held_out = true`",
        },
        InputSlot {
            key: "law",
            kind: Kind::Law,
            required: false,
            many: false,
            text: "the stage `fit` whose critical ratio the sampler `mixture` takes as `critical`",
        },
        InputSlot { key: "model", kind: Kind::Model, required: true, many: false, text: "the model to start from" },
        InputSlot {
            key: "soft_mask",
            kind: Kind::Importance,
            required: false,
            many: true,
            text: "stages `importance` that measured this model: the more a unit matters, the less its gradient counts",
        },
        InputSlot {
            key: "teacher",
            kind: Kind::Model,
            required: false,
            many: false,
            text: "the model that `distill` learns from, or that `dpo` and `kto` refer to in place of the model itself",
        },
    ],
    parts: &[ADAPTER, OBJECTIVE, OPTIMIZER, SAMPLER, SCHEDULE],
    settings: <TrainSettings as JsonSchema>::json_schema,
    read: read_settings,
};

struct Train {
    settings: TrainSettings,
    parts: Parts,
    adapter: Chosen<dyn Adapter>,
    table: Table,
}

fn read_settings(table: &Table) -> Result<Box<dyn Work>> {
    let mut faults = Faults::default();
    let own = table.without(&["adapter", "objective", "optimizer", "sampler", "schedule"]);
    let settings = faults.take(own.read::<TrainSettings>());
    let adapter = faults.take(one(table, &ADAPTER, adapter::ADAPTERS));
    let objective = faults.take(one(table, &OBJECTIVE, objective::OBJECTIVES));
    let optimizer = faults.take(one(table, &OPTIMIZER, optimizer::OPTIMIZERS));
    let sampler = faults.take(one(table, &SAMPLER, sampler::SAMPLERS));
    let schedule = faults.take(one(table, &SCHEDULE, schedule::SCHEDULES));
    match (settings, adapter, objective, optimizer, sampler, schedule) {
        (Some(settings), Some(adapter), Some(objective), Some(optimizer), Some(sampler), Some(schedule)) => {
            settings.check(&table.place())?;
            let parts = Parts { objective, optimizer, schedule, sampler };
            Ok(Box::new(Train { settings, parts, adapter, table: table.clone() }))
        }
        _ => Err(Error { faults: faults.0, blame: metier_core::Blame::User }),
    }
}

/// What a training result was made with, for whoever folds it.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Base {
    /// The content hash or artifact id of the model it was trained on top of.
    pub id: String,
    /// What the recipe calls that model.
    pub name: String,
    /// Whether its linear layers were in NF4 then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub quantized: bool,
}

impl Work for Train {
    fn settings(&self) -> serde_json::Value {
        json!({
            "settings": self.settings.identity(),
            "adapter": self.adapter.identity(),
            "parts": self.parts.identity(),
        })
    }

    fn check(&self, inputs: &BTreeMap<String, String>) -> Result<()> {
        let sampler = &self.parts.sampler.part;
        let mut faults = Faults::default();
        let sources: Vec<_> = named(inputs, "from").map(|(name, _)| name).collect();
        faults.take(sampler.check_sources(&sources, self.settings.steps));
        let mut refuse = |key: &str, message: &str, hint: &str| {
            faults.0.push(Fault::new(Place::key(key), message).hint(hint));
        };
        match (inputs.contains_key("law"), sampler.critical().is_some()) {
            (true, false) => refuse("law", "the sampler takes nothing from a law", "choose `mixture` with `critical`"),
            (false, true) => refuse("sampler", "no stage gives the critical ratio", "name a stage `fit` under `law`"),
            _ => {}
        }
        if self.settings.validate.is_some() && named(inputs, "validation").next().is_none() {
            refuse("validate", "there is nothing to measure on", "name held-out shards under `validation`");
        }
        faults.take(self.settings.check_guard(&named(inputs, "validation").map(|(name, _)| name).collect::<Vec<_>>()));
        Error::collect((), faults.0)
    }

    fn figures(&self, inputs: &BTreeMap<String, String>) -> Vec<String> {
        let own =
            ["epochs", "loss_first", "loss_last", "share_of_peak", "steps", "tokens", "tokens_per_second", "trainable"];
        let shares = named(inputs, "from").filter(|_| !inputs.contains_key("from")).map(|(name, _)| share_figure(name));
        let kinds = ["first", "last", "change", "change_low", "change_high"];
        let validation =
            named(inputs, "validation").flat_map(|(name, _)| kinds.map(|which| validation_figure(name, which)));
        let guard = self.settings.guard.keys().map(|name| guard_figure(name));
        let guarded = (!self.settings.guard.is_empty()).then(|| GUARDED.to_owned());
        own.into_iter().map(str::to_owned).chain(shares).chain(validation).chain(guard).chain(guarded).collect()
    }

    fn plan(&self, inputs: &BTreeMap<String, Flow>, machine: &Machine) -> Result<(Estimate, Flow)> {
        let Some(path) = inputs.get("model").and_then(|flow| flow.path.as_deref()) else {
            return Ok((Estimate::default(), Flow::default()));
        };
        let mut decoder = open_base(&open_checkpoint(path)?, self.adapter.part.quantizes())?;
        self.adapter.part.attach(&mut decoder, metier_core::seed::Seed::new(0))?;
        let plan = metier_train::plan(&decoder, None, &self.settings, &self.parts)
            .map_err(|error| placed(&self.table, error))?;
        let (mut flop, mut memory) = (plan.flop, plan.memory_bytes());
        if let Some(path) = inputs.get("teacher").and_then(|flow| flow.path.as_deref()) {
            let teacher = open_decoder(path)?;
            flop += teacher.flop_per_token(false, self.settings.context) * plan.tokens as f64;
            memory += teacher.memory_plan(0).weights;
        }
        let measured = metier_train::validation_tokens(&self.settings) as f64;
        let forward = decoder.flop_per_token(false, self.settings.context);
        flop += forward * measured * named(inputs, "validation").count() as f64;
        let estimate = Estimate {
            rows: Some(plan.steps.saturating_mul(self.settings.sequences as u64)),
            tokens: Some(plan.tokens),
            flop: Some(flop),
            memory_bytes: Some(memory),
            disk_bytes: Some(plan.checkpoint_bytes + 4 * plan.trainable),
            seconds: Some(flop / (machine.flop_per_second * super::SHARE_OF_PEAK)),
        };
        Ok((estimate, Flow { path: None, ..inputs.get("model").cloned().unwrap_or_default() }))
    }

    fn run(&self, context: &Context) -> Result<Outcome> {
        let model = context.input("model")?;
        let checkpoint = open_checkpoint(&model.path)?;
        let open = |(name, input): (&str, &Input)| Ok((name.to_owned(), Shards::open(&input.path)?));
        let packs = named(context.inputs, "from").map(open).collect::<Result<Vec<_>>>()?;
        let validation = named(context.inputs, "validation").map(open).collect::<Result<Vec<_>>>()?;
        let (_, first) = packs.first().ok_or_else(|| Error::program("training was given no shards"))?;
        first.check_tokenizer(checkpoint.tokenizer.as_ref())?;
        let sources = || Sources::new(&packs, &validation);
        note_what_is_trained_on(&packs, &validation);
        if self.settings.precision == Numbers::Bf16 && kernel::level() < kernel::Level::Avx512Bf16 {
            metier_core::progress::say(
                "this processor has no instructions for bf16: it saves memory here, and f32 is faster",
            );
        }
        let bound = context.inputs.get("law").map(|law| self.bound(&packs, law)).transpose()?;
        let parts = bound.as_ref().unwrap_or(&self.parts);
        let mut decoder = open_base(&checkpoint, self.adapter.part.quantizes())?;
        if parts.objective.part.learns(Lesson::Pairs) {
            decoder.set_pooling(checkpoint.pooling()?.mode);
        }
        let teacher = context.inputs.get("teacher").map(|input| teacher_of(&input.path, context.budget, first));
        let (teacher, _held) = teacher.transpose()?.unzip();
        let tell = |event: &Event<'_>| {
            let mut line = json!(event);
            line["stage"] = json!(context.stage);
            print_line(&line)
        };
        let mut run = metier_train::Run {
            settings: &self.settings,
            parts,
            teacher: teacher.as_ref(),
            soft_mask: None,
            seed: context.seed,
            work: context.work,
            budget: context.budget,
            peak: Some(context.machine.flop_per_second),
            stop: &metier_core::stop::requested,
            tell: if context.events { Some(&tell) } else { None },
            tokenizer: Some(checkpoint.tokenizer.as_ref()),
        };
        let (adapter, seed) = (&self.adapter.part, context.seed.derive("adapter"));
        let attached = match adapter.measures() {
            None => adapter.attach(&mut decoder, seed)?,
            Some(windows) => {
                let squares = metier_train::squared_gradients(&mut decoder, sources()?, &run, windows)?;
                adapter.attach_measured(&mut decoder, seed, &squares)?
            }
        };
        let soft_mask = soft_mask(context, &decoder)?;
        run.soft_mask = soft_mask.as_ref();
        let report = metier_train::train(&mut decoder, sources()?, &run)?;
        for note in soft_mask.iter().flat_map(|mask| &mask.notes).chain(&report.notes) {
            metier_core::progress::say(note);
        }
        if attached.form.is_none() {
            super::export::write_model(&checkpoint, &decoder, &context.work.join(MODEL_FOLDER))?;
        } else {
            metier_peft::folder::save(&decoder, &attached, &model.name, &context.work.join(ADAPTER_FOLDER))?;
        }
        let base =
            json!(Base { id: model.id.clone(), name: model.name.clone(), quantized: self.adapter.part.quantizes() });
        write_atomic(context.work.join(BASE_FILE), format!("{base:#}\n"))?;
        write_atomic(context.work.join(PAGE_FILE), page(context.work, &self.settings())?)?;
        let mut figures = BTreeMap::from([
            ("steps".to_owned(), report.steps as f64),
            ("tokens".to_owned(), report.tokens as f64),
            ("trainable".to_owned(), report.trainable as f64),
            ("loss_first".to_owned(), f64::from(report.loss_first)),
            ("loss_last".to_owned(), f64::from(report.loss_last)),
            ("tokens_per_second".to_owned(), report.tokens_per_second),
        ]);
        if !context.inputs.contains_key("from") {
            figures.extend(report.shares.iter().map(|(name, share)| (share_figure(name), *share)));
        }
        for record in report.validation.iter().filter(|record| record.step <= report.steps) {
            // The first stays; the last one is overwritten until the end.
            figures.entry(validation_figure(&record.name, "first")).or_insert(record.loss);
            figures.insert(validation_figure(&record.name, "last"), record.loss);
        }
        if let Some(guarded) = &report.guarded {
            figures.insert(GUARDED.to_owned(), f64::from(guarded.breach.is_some()));
            figures.extend(guarded.rises.iter().map(|(name, rise)| (guard_figure(name), *rise)));
        }
        let held_out = held_out::Told::new(&report.held_out, context.seed.derive("held out"))?;
        figures.extend(held_out.figures);
        figures.extend(report.epochs.map(|epochs| ("epochs".to_owned(), epochs)));
        figures.extend(report.share_of_peak.map(|share| ("share_of_peak".to_owned(), share)));
        let windows = report.steps * self.settings.sequences as u64;
        Ok(Outcome {
            counts: Counts { read: windows, out: windows, ..Counts::default() },
            figures,
            table: held_out.table,
        })
    }
}

impl Train {
    /// The parts, where the critical ratio that a law found is the sampler's share.
    fn bound(&self, packs: &[(String, Shards)], law: &Input) -> Result<Parts> {
        let ratio = fit::critical_ratio(&law.path).map_err(|error| error.in_file(&law.path))?;
        let (critical, times) = self.parts.sampler.part.critical().unwrap_or_default();
        let share = (ratio * times).min(1.0);
        let shares: BTreeMap<&str, f64> =
            packs.iter().map(|(name, _)| (name.as_str(), if name == critical { share } else { 1.0 - share })).collect();
        let mut table = self.table.clone();
        let shares = shares.iter().map(|(name, share)| format!("{name} = {share:?}")).collect::<Vec<_>>().join(", ");
        table.set("sampler", &format!("{{ method = \"mixture\", shares = {{ {shares} }} }}"))?;
        metier_core::progress::say(&format!("shares by the law of `{}`: {shares}", law.name));
        Ok(Parts {
            objective: one(&table, &OBJECTIVE, objective::OBJECTIVES)?,
            optimizer: one(&table, &OPTIMIZER, optimizer::OPTIMIZERS)?,
            schedule: one(&table, &SCHEDULE, schedule::SCHEDULES)?,
            sampler: one(&table, &SAMPLER, sampler::SAMPLERS)?,
        })
    }
}

/// The objective that settings of the command line choose, such as `objective.method=span`.
///
/// # Errors
/// Those of its settings, and a key of anything else.
pub fn objective_of(settings: &[String]) -> Result<Chosen<dyn Objective>> {
    let mut table = Table::empty("");
    set_each(&mut table, settings)?;
    let mut faults = Faults::default();
    for key in table.keys().into_iter().filter(|key| *key != OBJECTIVE.key) {
        let fault = Fault::new(table.place_of(key), format!("a preview has no key `{key}`"));
        faults.0.push(fault.hint("write `objective.method=NAME`, and `objective.KEY=VALUE` for its settings"));
    }
    let objective = faults.take(one(&table, &OBJECTIVE, objective::OBJECTIVES));
    Error::collect(objective, faults.0)?.ok_or_else(|| Error::program("no objective was chosen"))
}

/// What the stages under `soft_mask` leave of the gradients, if there are any.
fn soft_mask(context: &Context, decoder: &Decoder) -> Result<Option<SoftMask>> {
    let folders: Vec<&Path> = named(context.inputs, "soft_mask").map(|(_, input)| input.path.as_path()).collect();
    if folders.is_empty() {
        return Ok(None);
    }
    SoftMask::new(&importance::read(folders.into_iter(), decoder)?, decoder).map(Some)
}

/// The figure of a source's share of the tokens.
pub(super) fn share_figure(name: &str) -> String {
    format!("share.{name}")
}

/// The figure that says whether a guarded loss ended the training.
const GUARDED: &str = "guarded";

/// The figure of how much a guarded loss rose, as a share.
fn guard_figure(name: &str) -> String {
    format!("guard.{name}.rise")
}

/// The figure of a loss on held-out windows: the `first`, the `last` or a bound of the `change`.
pub(super) fn validation_figure(name: &str, which: &str) -> String {
    format!("validation.{name}.{which}")
}

/// Says when texts that are measured on are trained on too.
fn note_what_is_trained_on(packs: &[(String, Shards)], held_out: &[(String, Shards)]) {
    let all = packs.iter().flat_map(|(_, shards)| shards.documents());
    let trained: BTreeSet<&str> = all.map(|document| document.text_blake3.as_str()).collect();
    for (name, shards) in held_out {
        let both = shards.documents().iter().filter(|document| trained.contains(document.text_blake3.as_str())).count();
        if both > 0 {
            metier_core::progress::say(&format!("`{name}`: {both} of its documents are trained on too"));
        }
    }
}

/// The page of a run that ended in `folder`, with settings as in its key. It holds no time and no name, so that equal runs
/// have equal pages.
fn page(folder: &Path, settings: &serde_json::Value) -> Result<String> {
    let told = Told::read(folder)?;
    let numbers = json!({ "runs": [told.numbers()] });
    Ok(html::frame("Training", &(told.section(settings) + &html::data(NUMBERS, &numbers))))
}

/// The model that another learns from, with the same tokenizer as the text, and the memory that it takes.
fn teacher_of(path: &Path, budget: &Budget, shards: &Shards) -> Result<(Arc<Decoder>, Reservation)> {
    let checkpoint = open_checkpoint(path)?;
    shards.check_tokenizer(checkpoint.tokenizer.as_ref()).map_err(|error| error.in_file(path))?;
    let mut numbers = 0;
    for name in checkpoint.names() {
        numbers += checkpoint.shape(&name)?.iter().product::<usize>() as u64;
    }
    let held = budget.reserve(4 * numbers, "the teacher")?;
    Ok((Arc::new(Decoder::from_checkpoint(&checkpoint)?), held))
}
