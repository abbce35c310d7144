//! `tokenizer`: documents to a vocabulary that serves them.

use super::{Context, Faults, Flow, InputSlot, Kind, Machine, Outcome, PartSlot, Verb, Work, one};
use metier_core::part::Chosen;
use metier_core::progress::Progress;
use metier_core::settings::Table;
use metier_core::store::{self, Counts, Estimate};
use metier_core::{Error, Result};
use metier_tokenizer::train;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Bytes counted in a second on one thread, and pairs merged in one; measured on 41 MB of English.
const BYTES_PER_SECOND: f64 = 40e6;
const SECONDS_OF_MERGES: f64 = 20.0;
/// What may be used when nothing else is said.
const MEMORY: u64 = 2 << 30;
/// Files of a count under way.
const COUNTS: &str = "counts";

const LEARN: PartSlot =
    PartSlot { key: "learn", family: "train", many: false, default: Some("bpe"), members: train::records };

/// The record of `tokenizer`.
pub static VERB: Verb = Verb {
    name: "tokenizer",
    version: 1,
    summary: "learn a vocabulary from documents",
    makes: Kind::Tokenizer,
    inputs: &[InputSlot {
        key: "from",
        kind: Kind::Documents,
        required: true,
        many: false,
        text: "the documents to learn from",
    }],
    parts: &[LEARN],
    settings: <Settings as JsonSchema>::json_schema,
    read: read_settings,
};

/// Nothing beside the part that learns.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Settings {}

struct Tokenizer(Chosen<dyn train::Learn>);

fn read_settings(table: &Table) -> Result<Box<dyn Work>> {
    let mut faults = Faults::default();
    let settings = faults.take(table.without(&["learn"]).read::<Settings>());
    let learn = faults.take(one(table, &LEARN, train::TRAIN));
    match (settings, learn) {
        (Some(_), Some(learn)) => Ok(Box::new(Tokenizer(learn))),
        _ => Err(Error { faults: faults.0, blame: metier_core::Blame::User }),
    }
}

impl Work for Tokenizer {
    fn settings(&self) -> serde_json::Value {
        json!({ "learn": self.0.identity() })
    }

    fn figures(&self, _: &BTreeMap<String, String>) -> Vec<String> {
        ["bytes", "documents", "left_out_share", "rarest_merge", "tokens", "words"].map(str::to_owned).to_vec()
    }

    fn plan(&self, inputs: &BTreeMap<String, Flow>, machine: &Machine) -> Result<(Estimate, Flow)> {
        let Some(Flow { documents, bytes: Some(bytes), .. }) = inputs.get("from") else {
            return Ok((Estimate::default(), Flow::default()));
        };
        let counting = *bytes as f64 / BYTES_PER_SECOND / machine.threads as f64;
        let estimate = Estimate {
            rows: *documents,
            memory_bytes: Some((*bytes).clamp(200 << 20, MEMORY)),
            disk_bytes: Some(bytes / 4 + (4 << 20)),
            seconds: Some(counting + SECONDS_OF_MERGES),
            ..Estimate::default()
        };
        Ok((estimate, Flow::default()))
    }

    fn run(&self, context: &Context) -> Result<Outcome> {
        let documents = metier_corpus::read_documents(&context.input("from")?.path.join(metier_corpus::TRAIN))?;
        let progress = Progress::new("words", None, "documents");
        let texts = documents.map(|document| {
            progress.add(1);
            Ok(Cow::Owned(document?.text))
        });
        let counts = context.work.join(COUNTS);
        let memory = context.budget.limit().unwrap_or(MEMORY);
        let (learned, words) = train::train(self.0.part.as_ref(), texts, &counts, memory)?;
        progress.finish();
        store::write_atomic(context.work.join("tokenizer.json"), &learned.json)?;
        std::fs::remove_dir_all(&counts).map_err(|error| Error::io(&counts, "remove the folder", &error))?;
        let seen = words.seen;
        let share = seen.left_out_occurrences as f64 / (seen.occurrences as f64).max(1.0);
        Ok(Outcome {
            counts: Counts { read: seen.texts, out: seen.texts, ..Counts::default() },
            figures: BTreeMap::from([
                ("bytes".to_owned(), seen.bytes as f64),
                ("documents".to_owned(), seen.texts as f64),
                ("left_out_share".to_owned(), share),
                ("rarest_merge".to_owned(), learned.rarest.unwrap_or_default() as f64),
                ("tokens".to_owned(), learned.tokens as f64),
                ("words".to_owned(), seen.words as f64),
            ]),
            table: None,
        })
    }
}
