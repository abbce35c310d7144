//! `importance`: which units of a model matter for a text.

use super::model::open_decoder;
use super::{Context, Flow, InputSlot, Kind, Machine, Outcome, Verb, Work};
use crate::command::table;
use metier_core::settings::Table;
use metier_core::store::{Counts, Estimate};
use metier_core::{Error, Result, stop};
use metier_model::Decoder;
use metier_tokenizer::pack::Shards;
use metier_train::{Family, Importance, ImportanceSettings, normalized};
use schemars::JsonSchema;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;

/// What was measured.
const IMPORTANCE_FILE: &str = "importance.safetensors";

/// The record of `importance`.
pub static VERB: Verb = Verb {
    name: "importance",
    version: 2,
    summary: "find which units of a model matter for a text, for `train` to change them less",
    makes: Kind::Importance,
    inputs: &[
        InputSlot {
            key: "from",
            kind: Kind::Shards,
            required: true,
            many: false,
            text: "the shards whose text the model is to remain good at; no labels are needed",
        },
        InputSlot { key: "model", kind: Kind::Model, required: true, many: false, text: "the model, before training" },
    ],
    parts: &[],
    settings: <ImportanceSettings as JsonSchema>::json_schema,
    read: read_settings,
};

struct Measure(ImportanceSettings);

fn read_settings(table: &Table) -> Result<Box<dyn Work>> {
    let settings: ImportanceSettings = table.read()?;
    settings.check(&table.place())?;
    Ok(Box::new(Measure(settings)))
}

impl Work for Measure {
    fn settings(&self) -> serde_json::Value {
        json!({ "settings": self.0 })
    }

    fn figures(&self, _: &BTreeMap<String, String>) -> Vec<String> {
        Family::ALL.map(Family::word).into_iter().chain(["divergence", "tokens"]).map(str::to_owned).collect()
    }

    fn plan(&self, inputs: &BTreeMap<String, Flow>, machine: &Machine) -> Result<(Estimate, Flow)> {
        let Some(path) = inputs.get("model").and_then(|flow| flow.path.as_deref()) else {
            return Ok((Estimate::default(), Flow::default()));
        };
        let decoder = open_decoder(path)?;
        let tokens = self.0.windows.saturating_mul(self.0.context as u64);
        // Two passes, and both of them back.
        let flop = 2.0 * decoder.flop_per_token(true, self.0.context) * tokens as f64;
        let estimate = Estimate {
            rows: Some(self.0.windows),
            tokens: Some(tokens),
            flop: Some(flop),
            memory_bytes: Some(self.memory(&decoder)),
            seconds: Some(flop / (machine.flop_per_second * super::SHARE_OF_PEAK)),
            ..Estimate::default()
        };
        Ok((estimate, Flow::default()))
    }

    fn run(&self, context: &Context) -> Result<Outcome> {
        context.start_over()?;
        let model = context.input("model")?;
        let checkpoint = super::open_checkpoint(&model.path)?;
        let shards = Shards::open(&context.input("from")?.path)?;
        shards.check_tokenizer(checkpoint.tokenizer.as_ref())?;
        let mut decoder = Decoder::from_checkpoint(&checkpoint)?;
        let _held = context.budget.reserve(self.memory(&decoder), "two passes through the model")?;
        let (importance, measured) =
            Importance::measure(&mut decoder, &shards, &self.0, context.seed, &stop::requested)?;
        importance.save(&context.work.join(IMPORTANCE_FILE))?;
        let mut sums: BTreeMap<Family, (f64, usize)> = BTreeMap::new();
        let mut rows = Vec::new();
        for block in 0..decoder.config().layers {
            let mut row = vec![block.to_string()];
            for family in Family::ALL {
                let raw = importance.units.get(&(block, family)).map_or(&[][..], Vec::as_slice);
                let all = normalized(raw).unwrap_or_else(|| vec![0.0; raw.len()]);
                let sum = all.iter().copied().map(f64::from).sum::<f64>();
                let total = sums.entry(family).or_default();
                *total = (total.0 + sum, total.1 + all.len());
                row.push(format!("{:.3}", sum / all.len() as f64));
            }
            rows.push(row);
        }
        let mut figures = BTreeMap::from([
            ("divergence".to_owned(), measured.divergence),
            ("tokens".to_owned(), measured.tokens as f64),
        ]);
        figures.extend(sums.iter().map(|(family, (sum, count))| (family.word().to_owned(), sum / *count as f64)));
        let mut text = table(&["block", "inner", "output", "heads"], &rows, &[true; 4]);
        text += "mean importance of units, from 0 to 1: the part of their gradients that a soft mask takes away\n";
        Ok(Outcome {
            counts: Counts { read: measured.tokens, out: measured.tokens, ..Counts::default() },
            figures,
            table: Some(text),
        })
    }
}

impl Measure {
    /// Of the weights, and of what two passes keep.
    fn memory(&self, decoder: &Decoder) -> u64 {
        decoder.memory_plan(self.0.context.saturating_mul(2)).total()
    }
}

/// The importances that stages found for the units of a model.
///
/// # Errors
/// Those of [`Importance::read`], of all of them together.
pub(super) fn read<'a>(folders: impl Iterator<Item = &'a Path>, decoder: &Decoder) -> Result<Vec<Importance>> {
    let mut faults = super::Faults::default();
    let found: Vec<_> =
        folders.filter_map(|folder| faults.take(Importance::read(&folder.join(IMPORTANCE_FILE), decoder))).collect();
    Error::collect(found, faults.0)
}
