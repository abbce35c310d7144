//! `dedupe`: documents with a tag on what was seen before.

use super::{Context, Flow, InputSlot, Kind, Machine, Outcome, Verb, Work};
use metier_core::progress::Progress;
use metier_core::settings::Table;
use metier_core::store::{Counts, Estimate};
use metier_core::{Error, Place, Result};
use metier_corpus::dedup::bloom::{DedupeSettings, FILTER};
use schemars::JsonSchema;
use serde_json::json;
use std::collections::BTreeMap;

/// Bytes of text looked up in a second on one thread, by paragraph.
const BYTES_PER_SECOND: f64 = 20e6;

/// The record of `dedupe`.
pub static VERB: Verb = Verb {
    name: "dedupe",
    version: 1,
    summary: "tag documents, paragraphs or sequences of words that were seen before, by a Bloom filter",
    makes: Kind::Documents,
    inputs: &[
        InputSlot {
            key: "from",
            kind: Kind::Documents,
            required: true,
            many: false,
            text: "curated documents; those to learn from come before those that are held out",
        },
        InputSlot {
            key: "after",
            kind: Kind::Documents,
            required: false,
            many: false,
            text: "what another `dedupe` made: its filter is gone on with",
        },
        InputSlot {
            key: "filter",
            kind: Kind::Data,
            required: false,
            many: false,
            text: "in place of `after`: the file of a filter, of Dolma's too",
        },
    ],
    parts: &[],
    settings: <DedupeSettings as JsonSchema>::json_schema,
    read: read_settings,
};

struct Dedupe(DedupeSettings);

fn read_settings(table: &Table) -> Result<Box<dyn Work>> {
    let settings: DedupeSettings = table.read()?;
    settings.check(|key| table.place_of(key))?;
    Ok(Box::new(Dedupe(settings)))
}

impl Work for Dedupe {
    fn settings(&self) -> serde_json::Value {
        json!({ "settings": self.0 })
    }

    fn check(&self, inputs: &BTreeMap<String, String>) -> Result<()> {
        let given = ["after", "filter"].iter().filter(|key| inputs.contains_key(**key)).count();
        let (message, hint) = match (given, self.0.read_only) {
            (2, _) => ("there are two filters to go on with", "leave out `after` or `filter`"),
            (0, true) => ("an empty filter that stays as it is has seen nothing", "name one under `after` or `filter`"),
            _ => return Ok(()),
        };
        Err(Error::user(Place::key("from"), message).hint(hint))
    }

    fn figures(&self, _: &BTreeMap<String, String>) -> Vec<String> {
        ["documents", "held_out_documents", "held_out_tagged", "inserted", "spans", "tagged"]
            .map(str::to_owned)
            .to_vec()
    }

    fn plan(&self, inputs: &BTreeMap<String, Flow>, machine: &Machine) -> Result<(Estimate, Flow)> {
        let flow = inputs.get("from").cloned().unwrap_or_default();
        let all = flow.bytes.map(|bytes| bytes + flow.held_out_bytes.unwrap_or_default());
        let filter = self.0.size().bytes;
        let estimate = Estimate {
            rows: flow.documents,
            memory_bytes: Some((256 << 20) + filter),
            disk_bytes: all.map(|all| all + 2 * filter),
            seconds: all.map(|bytes| bytes as f64 / BYTES_PER_SECOND / machine.threads as f64),
            ..Estimate::default()
        };
        Ok((estimate, Flow { path: None, ..flow }))
    }

    fn run(&self, context: &Context) -> Result<Outcome> {
        let from = context.input("from")?;
        let after = context.inputs.get("after").map(|input| input.path.join(FILTER));
        let before = after.or_else(|| context.inputs.get("filter").map(|input| input.path.clone()));
        let bytes = match &before {
            Some(path) => path.metadata().map_err(|error| Error::io(path, "read", &error))?.len(),
            None => self.0.size().bytes,
        };
        let _filter = context.budget.reserve(bytes, "the Bloom filter")?;
        let progress = Progress::new("documents", None, "documents");
        let report = metier_corpus::dedup::bloom::dedupe(
            &self.0,
            &from.path,
            before.as_deref(),
            context.seed,
            context.work,
            &progress,
        )?;
        progress.finish();
        let [documents, held_out] = report.documents;
        let figures = [
            ("documents", documents),
            ("held_out_documents", held_out),
            ("held_out_tagged", report.tagged[1]),
            ("inserted", report.inserted),
            ("spans", report.spans),
            ("tagged", report.tagged[0]),
        ];
        Ok(Outcome {
            counts: Counts { read: documents + held_out, out: documents + held_out, ..Counts::default() },
            figures: figures.into_iter().map(|(name, value)| (name.to_owned(), value as f64)).collect(),
            table: None,
        })
    }
}
