//! `mix`: documents chosen, and changed, by what was said of them.

use super::{Context, Flow, InputSlot, Kind, Machine, Outcome, Verb, Work};
use metier_core::progress::Progress;
use metier_core::settings::Table;
use metier_core::store::{Counts, Estimate};
use metier_core::{Error, Place, Result};
use metier_corpus::mix::{MixSettings, Rules, Source};
use schemars::JsonSchema;
use serde_json::json;
use std::collections::BTreeMap;

/// Bytes of text and attributes read, asked and written in a second on one thread; measured with the rules of Dolma v1.5.
const BYTES_PER_SECOND: f64 = 20e6;

/// The record of `mix`.
pub static VERB: Verb = Verb {
    name: "mix",
    version: 1,
    summary: "choose documents, and change their text, by what taggers said of them",
    makes: Kind::Documents,
    inputs: &[
        InputSlot {
            key: "from",
            kind: Kind::Documents,
            required: false,
            many: false,
            text: "curated documents that were tagged; those that are held out stay held out",
        },
        InputSlot {
            key: "folder",
            kind: Kind::Data,
            required: false,
            many: false,
            text: "in place of `from`: a folder in Dolma's layout, `documents/` beside `attributes/NAME/`; none of it is held out",
        },
    ],
    parts: &[],
    settings: <MixSettings as JsonSchema>::json_schema,
    read: read_settings,
};

struct Mix {
    settings: MixSettings,
    rules: Rules,
}

fn read_settings(table: &Table) -> Result<Box<dyn Work>> {
    let settings: MixSettings = table.read()?;
    let rules = settings.rules(|key| table.place_of(key))?;
    Ok(Box::new(Mix { settings, rules }))
}

impl Work for Mix {
    fn settings(&self) -> serde_json::Value {
        json!({ "settings": self.settings })
    }

    fn check(&self, inputs: &BTreeMap<String, String>) -> Result<()> {
        let message = match (inputs.contains_key("from"), inputs.contains_key("folder")) {
            (true, true) => "there are curated documents and a folder",
            (false, false) => "there is nothing to mix",
            _ => return Ok(()),
        };
        Err(Error::user(Place::key("from"), message)
            .hint("name curated documents under `from`, or a folder in Dolma's layout under `folder`"))
    }

    fn figures(&self, _: &BTreeMap<String, String>) -> Vec<String> {
        ["bytes", "changed", "documents", "held_out_bytes", "held_out_documents"].map(str::to_owned).to_vec()
    }

    fn plan(&self, inputs: &BTreeMap<String, Flow>, machine: &Machine) -> Result<(Estimate, Flow)> {
        let flow = inputs.get("from").cloned().unwrap_or_default();
        let all = flow.bytes.map(|bytes| bytes + flow.held_out_bytes.unwrap_or_default());
        let estimate = Estimate {
            rows: flow.documents,
            memory_bytes: Some(256 << 20),
            disk_bytes: all,
            seconds: all.map(|bytes| bytes as f64 / BYTES_PER_SECOND / machine.threads as f64),
            ..Estimate::default()
        };
        // How many of them stay is not known before they are asked.
        Ok((estimate, Flow { path: None, ..flow }))
    }

    fn run(&self, context: &Context) -> Result<Outcome> {
        let source = match context.inputs.get("folder") {
            Some(folder) => Source::Dolma(&folder.path, folder.license.as_deref().unwrap_or_default()),
            None => Source::Curated(&context.input("from")?.path),
        };
        let progress = Progress::new("documents", None, "documents");
        let report = metier_corpus::mix::mix(&self.settings, &self.rules, source, context.work, &progress)?;
        progress.finish();
        let [kept, held_out] = report.documents;
        let figures = [
            ("bytes", report.bytes[0]),
            ("changed", report.changed),
            ("documents", kept),
            ("held_out_bytes", report.bytes[1]),
            ("held_out_documents", held_out),
        ];
        Ok(Outcome {
            counts: Counts { read: report.read, out: kept + held_out, dropped: report.dropped(&self.rules) },
            figures: figures.into_iter().map(|(name, value)| (name.to_owned(), value as f64)).collect(),
            table: report.samples(&self.rules),
        })
    }
}
