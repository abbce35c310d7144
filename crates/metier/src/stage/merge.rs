//! `merge`: several adapters of one base made into one.

use super::export::read_base;
use super::train::{ADAPTER_FOLDER, BASE_FILE};
use super::{Context, Faults, Flow, InputSlot, Kind, Machine, Outcome, Verb, Work};
use metier_core::fault::near_miss;
use metier_core::settings::Table;
use metier_core::store::{Counts, Estimate, write_atomic};
use metier_core::{Error, Fault, Place, Result};
use metier_peft::combine::{Combine, Member};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;

/// What each adapter counts, and how they become one.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct MergeSettings {
    /// How much each adapter counts, by the name it has under `adapters`: 1 where nothing is written, below 0 to take it away.
    weights: BTreeMap<String, f64>,
    /// How they become one.
    combine: Combine,
}

/// The record of `merge`.
pub static VERB: Verb = Verb {
    name: "merge",
    version: 1,
    summary: "make one adapter of several that were trained on the same model",
    makes: Kind::Training,
    inputs: &[InputSlot {
        key: "adapters",
        kind: Kind::Training,
        required: true,
        many: true,
        text: "training results of `lora` on one model, by the name they get here",
    }],
    parts: &[],
    settings: <MergeSettings as JsonSchema>::json_schema,
    read: read_settings,
};

fn read_settings(table: &Table) -> Result<Box<dyn Work>> {
    let settings: MergeSettings = table.read()?;
    let mut faults = Faults::default();
    faults.take(settings.combine.check(&table.place_of("combine")));
    for (name, weight) in settings.weights.iter().filter(|(_, weight)| !weight.is_finite()) {
        let place = table.place_of(&format!("weights.{name}"));
        faults.0.push(Fault::new(place, format!("{weight} is no weight")).hint("write a number, such as 0.5"));
    }
    Error::collect((), faults.0)?;
    Ok(Box::new(settings))
}

/// The adapters among a stage's inputs, by their names here.
fn adapters<T>(inputs: &BTreeMap<String, T>) -> impl Iterator<Item = (&str, &T)> {
    inputs.iter().filter_map(|(key, value)| Some((key.strip_prefix("adapters.")?, value)))
}

impl Work for MergeSettings {
    fn settings(&self) -> serde_json::Value {
        json!({ "settings": self })
    }

    fn check(&self, inputs: &BTreeMap<String, String>) -> Result<()> {
        let known: Vec<&str> = adapters(inputs).map(|(name, _)| name).collect();
        let mut faults = Vec::new();
        for name in self.weights.keys().filter(|name| !known.contains(&name.as_str())) {
            let hint = match near_miss(name, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("`adapters` has {}", known.join(", ")),
            };
            let message = format!("no adapter is called `{name}` here");
            faults.push(Fault::new(Place::key("weights"), message).hint(hint));
        }
        Error::collect((), faults)
    }

    fn figures(&self, _: &BTreeMap<String, String>) -> Vec<String> {
        ["rank", "sites", "trainable"].map(str::to_owned).to_vec()
    }

    fn plan(&self, inputs: &BTreeMap<String, Flow>, _: &Machine) -> Result<(Estimate, Flow)> {
        let model = adapters(inputs).next().map(|(_, flow)| flow.clone()).unwrap_or_default();
        Ok((Estimate { rows: Some(adapters(inputs).count() as u64), ..Estimate::default() }, model))
    }

    fn run(&self, context: &Context) -> Result<Outcome> {
        context.start_over()?;
        let mut first = None;
        let mut faults = Vec::new();
        let mut folders = Vec::new();
        for (name, input) in adapters(context.inputs) {
            let base = read_base(&input.path)?;
            folders.push((name, input.path.join(ADAPTER_FOLDER)));
            if !input.path.join(ADAPTER_FOLDER).exists() {
                let message = format!("`{name}` changed the whole model, and only adapters are merged");
                faults.push(
                    Fault::new(Place::file(&input.path), message).hint("train it with `adapter.method = \"lora\"`"),
                );
            }
            let (first_name, first) = first.get_or_insert_with(|| (name, base.clone()));
            if (&base.id, base.quantized) != (&first.id, first.quantized) {
                let in_4_bits = |quantized| if quantized { " in 4 bits" } else { "" };
                let message = format!(
                    "`{name}` was trained on `{}`{}, and `{first_name}` on `{}`{}",
                    base.name,
                    in_4_bits(base.quantized),
                    first.name,
                    in_4_bits(first.quantized)
                );
                faults.push(Fault::new(Place::file(&input.path), message).hint("merge adapters of one model"));
            }
        }
        Error::collect((), faults)?;
        let Some((_, base)) = first else {
            return Err(Error::user(Place::key("adapters"), "there is no adapter to merge"));
        };
        let members: Vec<Member<'_>> = folders
            .iter()
            .map(|(name, folder)| Member { name, folder, weight: self.weights.get(*name).copied().unwrap_or(1.0) })
            .collect();
        let combined = self.combine.run(&members, context.seed, &context.work.join(ADAPTER_FOLDER))?;
        write_atomic(context.work.join(BASE_FILE), format!("{:#}\n", json!(base)))?;
        let read = members.len() as u64;
        Ok(Outcome {
            counts: Counts { read, out: 1, ..Counts::default() },
            figures: BTreeMap::from([
                ("rank".to_owned(), combined.rank as f64),
                ("sites".to_owned(), combined.sites as f64),
                ("trainable".to_owned(), combined.numbers as f64),
            ]),
            table: None,
        })
    }
}
