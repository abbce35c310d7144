//! `plant`: documents with faults in them that are known.

use super::{Context, Flow, InputSlot, Kind, Machine, Outcome, Verb, Work};
use metier_core::progress::Progress;
use metier_core::settings::Table;
use metier_core::store::{Counts, Estimate};
use metier_core::{Result, stop};
use metier_corpus::plant::{PlantSettings, Planter};
use metier_corpus::{TRAIN, plant, read_documents};
use schemars::JsonSchema;
use serde_json::json;
use std::collections::BTreeMap;

/// Bytes written in a second, about.
const BYTES_PER_SECOND: f64 = 50e6;

/// The record of `plant`.
pub static VERB: Verb = Verb {
    name: "plant",
    version: 1,
    summary: "plant copies, boilerplate and personal data into documents, to see what cleaning finds",
    makes: Kind::Data,
    inputs: &[InputSlot {
        key: "from",
        kind: Kind::Documents,
        required: true,
        many: false,
        text: "the documents; those that are held out are left out",
    }],
    parts: &[],
    settings: <PlantSettings as JsonSchema>::json_schema,
    read: read_settings,
};

struct Plant(PlantSettings);

fn read_settings(table: &Table) -> Result<Box<dyn Work>> {
    Ok(Box::new(Plant(table.read()?)))
}

impl Work for Plant {
    fn settings(&self) -> serde_json::Value {
        json!({ "settings": self.0 })
    }

    fn figures(&self, _: &BTreeMap<String, String>) -> Vec<String> {
        ["boilerplate", "bytes", "copies", "originals", "personal"].map(str::to_owned).to_vec()
    }

    fn plan(&self, inputs: &BTreeMap<String, Flow>, _: &Machine) -> Result<(Estimate, Flow)> {
        let flow = inputs.get("from").cloned().unwrap_or_default();
        let bytes = flow.bytes.map(|bytes| (bytes as f64 * (1.0 + self.0.copies)) as u64);
        let estimate = Estimate {
            memory_bytes: Some(64 << 20),
            disk_bytes: bytes,
            seconds: bytes.map(|bytes| bytes as f64 / BYTES_PER_SECOND),
            ..Estimate::default()
        };
        Ok((estimate, Flow::default()))
    }

    fn run(&self, context: &Context) -> Result<Outcome> {
        context.start_over()?;
        let progress = Progress::new("documents", None, "documents");
        let mut planter = Planter::new(&self.0, context.seed, context.work)?;
        let mut read = 0;
        for document in read_documents(&context.input("from")?.path.join(TRAIN))? {
            stop::check()?;
            planter.add(&document?)?;
            read += 1;
            progress.add(1);
        }
        let report = planter.finish()?;
        progress.finish();
        let planted = |kind| report.paragraphs.get(&kind).copied().unwrap_or_default();
        let figures = [
            ("boilerplate", planted(plant::Kind::Boilerplate)),
            ("bytes", report.bytes),
            ("copies", report.copies),
            ("originals", report.originals),
            ("personal", planted(plant::Kind::Personal)),
        ];
        Ok(Outcome {
            counts: Counts { read, out: report.originals + report.copies, ..Counts::default() },
            figures: figures.into_iter().map(|(name, value)| (name.to_owned(), value as f64)).collect(),
            table: None,
        })
    }
}
