//! `train`: continued pretraining of a model on token shards, whole or through an adapter.

use super::{Context, Faults, Flow, InputSlot, Kind, Machine, Outcome, PartSlot, Verb, Work, one, open_checkpoint};
use metier_core::part::Chosen;
use metier_core::settings::Table;
use metier_core::store::{Counts, Estimate, write_atomic};
use metier_core::{Error, Result};
use metier_model::Decoder;
use metier_peft::adapter::{self, Adapter};
use metier_tokenizer::pack::Shards;
use metier_train::{Parts, TrainSettings, objective, optimizer, sampler, schedule};
use schemars::JsonSchema;
use serde_json::json;
use std::collections::BTreeMap;

/// The file of a training result that says what it was trained on top of.
pub const BASE_FILE: &str = "base.json";

const OBJECTIVE: PartSlot =
    PartSlot { key: "objective", family: "objective", many: false, default: Some("causal"), members: objective::records };
const OPTIMIZER: PartSlot =
    PartSlot { key: "optimizer", family: "optimizer", many: false, default: Some("adamw"), members: optimizer::records };
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
