//! `repeats`: documents with a tag on passages that stood before.

use super::{Context, Flow, InputSlot, Kind, Machine, Outcome, Verb, Work};
use metier_core::Result;
use metier_core::progress::Progress;
use metier_core::settings::Table;
use metier_core::store::{Counts, Estimate};
use metier_corpus::dedup::substring::{RepeatsSettings, least_memory, repeats};
use schemars::JsonSchema;
use serde_json::json;
use std::collections::BTreeMap;

/// Bytes of text that one thread looks up in a second; measured beside other work.
const BYTES_PER_SECOND: f64 = 2.5e6;

/// The record of `repeats`.
pub static VERB: Verb = Verb {
    name: "repeats",
    version: 1,
    summary: "tag passages that stood in the documents before, byte for byte",
    makes: Kind::Documents,
    inputs: &[InputSlot {
        key: "from",
        kind: Kind::Documents,
        required: true,
        many: false,
        text: "curated documents; those to learn from come before those that are held out",
    }],
    parts: &[],
    settings: <RepeatsSettings as JsonSchema>::json_schema,
    read: read_settings,
};

struct Repeats(RepeatsSettings);

fn read_settings(table: &Table) -> Result<Box<dyn Work>> {
    Ok(Box::new(Repeats(table.read()?)))
}

impl Work for Repeats {
    fn settings(&self) -> serde_json::Value {
        json!({ "settings": self.0 })
    }

    fn figures(&self, _: &BTreeMap<String, String>) -> Vec<String> {
        ["documents", "held_out_documents", "held_out_tagged", "repeated_share", "spans", "tagged"]
            .map(str::to_owned)
            .to_vec()
    }

    fn plan(&self, inputs: &BTreeMap<String, Flow>, machine: &Machine) -> Result<(Estimate, Flow)> {
        let flow = inputs.get("from").cloned().unwrap_or_default();
        let all = flow.bytes.map(|bytes| bytes + flow.held_out_bytes.unwrap_or_default());
        let threads = machine.threads as u64;
        let estimate = Estimate {
            rows: flow.documents,
            memory_bytes: all.map(|all| least_memory(all, flow.documents.unwrap_or_default(), threads)),
            disk_bytes: all,
            seconds: all.map(|bytes| bytes as f64 / BYTES_PER_SECOND / machine.threads as f64),
            ..Estimate::default()
        };
        Ok((estimate, Flow { path: None, ..flow }))
    }

    fn run(&self, context: &Context) -> Result<Outcome> {
        context.start_over()?;
        let progress = Progress::new("passages", None, "bytes");
        let from = &context.input("from")?.path;
        let report = repeats(&self.0, from, context.budget, context.seed, context.work, &progress)?;
        progress.finish();
        let [documents, held_out] = report.documents;
        let figures = [
            ("documents", documents as f64),
            ("held_out_documents", held_out as f64),
            ("held_out_tagged", report.tagged[1] as f64),
            ("repeated_share", report.bytes[1] as f64 / report.bytes[0].max(1) as f64),
            ("spans", report.spans as f64),
            ("tagged", report.tagged[0] as f64),
        ];
        Ok(Outcome {
            counts: Counts { read: documents + held_out, out: documents + held_out, ..Counts::default() },
            figures: figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            table: None,
        })
    }
}
