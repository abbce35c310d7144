//! `quota`: documents, so many of each cell.

use super::{Context, Flow, InputSlot, Kind, Machine, Outcome, Verb, Work};
use crate::command::{count, table};
use metier_core::Result;
use metier_core::progress::Progress;
use metier_core::settings::Table;
use metier_core::store::{Counts, Estimate};
use metier_corpus::mix::{QuotaReport, QuotaSettings, Rules, quota};
use schemars::JsonSchema;
use serde_json::json;
use std::collections::BTreeMap;

/// Bytes of text and attributes that one thread asks in a second; they are gone through twice.
const BYTES_PER_SECOND: f64 = 20e6;

/// The record of `quota`.
pub static VERB: Verb = Verb {
    name: "quota",
    version: 1,
    summary: "draw so many documents of each cell: a language, a domain, a length",
    makes: Kind::Documents,
    inputs: &[InputSlot {
        key: "from",
        kind: Kind::Documents,
        required: true,
        many: false,
        text: "curated documents; those that are held out stay held out",
    }],
    parts: &[],
    settings: <QuotaSettings as JsonSchema>::json_schema,
    read: read_settings,
};

struct Quota {
    settings: QuotaSettings,
    rules: Rules,
}

fn read_settings(table: &Table) -> Result<Box<dyn Work>> {
    let settings: QuotaSettings = table.read()?;
    let rules = settings.rules(|key| table.place_of(key))?;
    Ok(Box::new(Quota { settings, rules }))
}

impl Work for Quota {
    fn settings(&self) -> serde_json::Value {
        json!({ "settings": self.settings })
    }

    fn figures(&self, _: &BTreeMap<String, String>) -> Vec<String> {
        let own = ["bytes", "documents", "held_out_bytes", "held_out_documents", "of_none"].map(str::to_owned);
        let of = self.settings.cells.iter().map(|cell| format!("{}.documents", cell.name));
        own.into_iter().chain(of).collect()
    }

    fn plan(&self, inputs: &BTreeMap<String, Flow>, machine: &Machine) -> Result<(Estimate, Flow)> {
        let flow = inputs.get("from").cloned().unwrap_or_default();
        let wanted = self.settings.wanted();
        let share = flow.documents.map(|all| wanted as f64 / all.max(wanted).max(1) as f64);
        let written = flow.bytes.zip(share).map(|(bytes, share)| (bytes as f64 * share) as u64);
        let estimate = Estimate {
            rows: flow.documents,
            memory_bytes: Some(self.settings.memory().saturating_add(256 << 20)),
            disk_bytes: written.map(|written| written + flow.held_out_bytes.unwrap_or_default()),
            seconds: flow.bytes.map(|bytes| 2.0 * bytes as f64 / BYTES_PER_SECOND / machine.threads as f64),
            ..Estimate::default()
        };
        Ok((estimate, Flow { path: None, documents: Some(wanted), bytes: written, ..flow }))
    }

    fn run(&self, context: &Context) -> Result<Outcome> {
        context.start_over()?;
        let _held = context.budget.reserve(self.settings.memory(), "the documents that are drawn")?;
        let progress = Progress::new("documents", None, "documents");
        let from = &context.input("from")?.path;
        let report = quota(&self.settings, &self.rules, from, context.seed, context.work, &progress)?;
        progress.finish();
        Ok(self.outcome(&report))
    }
}

impl Quota {
    fn outcome(&self, report: &QuotaReport) -> Outcome {
        let [read, held_out] = report.read;
        let mut figures: BTreeMap<String, f64> = [
            ("bytes", report.taken[1]),
            ("documents", report.taken[0]),
            ("held_out_bytes", report.held_out_bytes),
            ("held_out_documents", held_out),
            ("of_none", report.of_none),
        ]
        .map(|(name, value)| (name.to_owned(), value as f64))
        .into();
        let mut rows = Vec::new();
        for (cell, has) in self.settings.cells.iter().zip(&report.has) {
            figures.insert(format!("{}.documents", cell.name), cell.documents as f64);
            rows.push(vec![cell.name.clone(), count(*has), count(cell.documents)]);
        }
        Outcome {
            counts: Counts { read: read + held_out, out: report.taken[0] + held_out, dropped: report.dropped() },
            figures,
            table: Some(table(&["cell", "has", "documents"], &rows, &[false, true, true])),
        }
    }
}
