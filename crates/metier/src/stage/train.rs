//! `train`: a model learns from token shards, whole or through an adapter: documents, replies or preferences.

use super::model::{open_base, open_checkpoint, open_decoder};
use super::{Context, Faults, Flow, InputSlot, Kind, Machine, Outcome, PartSlot, Verb, Work, one};
use crate::command::print_line;
use metier_core::memory::{Budget, Reservation};
use metier_core::part::Chosen;
use metier_core::settings::Table;
use metier_core::store::{Counts, Estimate, write_atomic};
use metier_core::{Error, Result, page as html};
use metier_model::Decoder;
use metier_peft::adapter::{self, Adapter};
use metier_tokenizer::pack::Shards;
use metier_train::page::Told;
use metier_train::{Event, Parts, TrainSettings, objective, optimizer, sampler, schedule};
use schemars::JsonSchema;
use serde_json::json;
use std::collections::BTreeMap;
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
    version: 1,
    summary: "train a model on token shards, whole or through an adapter",
    makes: Kind::Training,
    inputs: &[
        InputSlot { key: "from", kind: Kind::Shards, required: true, many: false, text: "the shards to learn from" },
        InputSlot { key: "model", kind: Kind::Model, required: true, many: false, text: "the model to start from" },
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
            Ok(Box::new(Train { settings, parts: Parts { objective, optimizer, schedule, sampler }, adapter }))
        }
        _ => Err(Error { faults: faults.0, blame: metier_core::Blame::User }),
    }
}

/// What a training result was made with, for whoever folds it.
#[derive(serde::Serialize, serde::Deserialize)]
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

    fn figures(&self, _: &BTreeMap<String, String>) -> Vec<String> {
        ["epochs", "loss_first", "loss_last", "share_of_peak", "steps", "tokens", "tokens_per_second", "trainable"]
            .map(str::to_owned)
            .to_vec()
    }

    fn plan(&self, inputs: &BTreeMap<String, Flow>, machine: &Machine) -> Result<(Estimate, Flow)> {
        let Some(path) = inputs.get("model").and_then(|flow| flow.path.as_deref()) else {
            return Ok((Estimate::default(), Flow::default()));
        };
        let mut decoder = open_base(&open_checkpoint(path)?, self.adapter.part.quantizes())?;
        self.adapter.part.attach(&mut decoder, metier_core::seed::Seed::new(0))?;
        let plan = metier_train::plan(&decoder, None, &self.settings, &self.parts)?;
        let (mut flop, mut memory) = (plan.flop, plan.memory_bytes());
        if let Some(path) = inputs.get("teacher").and_then(|flow| flow.path.as_deref()) {
            let teacher = open_decoder(path)?;
            flop += teacher.flop_per_token(false, self.settings.context) * plan.tokens as f64;
            memory += teacher.memory_plan(0).weights;
        }
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
        let (from, model) = (context.input("from")?, context.input("model")?);
        let checkpoint = open_checkpoint(&model.path)?;
        let shards = Shards::open(&from.path)?;
        shards.check_tokenizer(checkpoint.tokenizer.as_ref())?;
        let mut decoder = open_base(&checkpoint, self.adapter.part.quantizes())?;
        let teacher = context.inputs.get("teacher").map(|input| teacher_of(&input.path, context.budget, &shards));
        let (teacher, _held) = teacher.transpose()?.unzip();
        let tell = |event: &Event<'_>| {
            let mut line = json!(event);
            line["stage"] = json!(context.stage);
            print_line(&line)
        };
        let run = metier_train::Run {
            settings: &self.settings,
            parts: &self.parts,
            teacher: teacher.as_ref(),
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
                let squares = metier_train::squared_gradients(&mut decoder, &shards, &run, windows)?;
                adapter.attach_measured(&mut decoder, seed, &squares)?
            }
        };
        let report = metier_train::train(&mut decoder, &shards, &run)?;
        for note in &report.notes {
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
        figures.extend(report.epochs.map(|epochs| ("epochs".to_owned(), epochs)));
        figures.extend(report.share_of_peak.map(|share| ("share_of_peak".to_owned(), share)));
        let windows = report.steps * self.settings.sequences as u64;
        Ok(Outcome { counts: Counts { read: windows, out: windows, ..Counts::default() }, figures, table: None })
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
