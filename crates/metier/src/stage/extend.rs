//! `extend`: a model and documents to the model with tokens that serve them.

use super::model::open_checkpoint;
use super::{Context, Faults, Flow, InputSlot, Kind, Machine, Outcome, PartSlot, Verb, Work, one};
use metier_core::part::Chosen;
use metier_core::seam::Tokenize;
use metier_core::settings::Table;
use metier_core::store::{self, Counts, Estimate};
use metier_core::{Error, Fault, Result};
use metier_model::checkpoint::Dtype;
use metier_tokenizer::extend::{Allowed, Extended, Growth, extend, split_of};
use metier_tokenizer::scheme::HuggingFace;
use metier_tokenizer::train::Counting;
use metier_weights::initialize::{self, Initialize};
use metier_weights::vocabulary;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Bytes of documents counted and encoded twice in a second on one thread.
const BYTES_PER_SECOND: f64 = 5e6;
/// What counting may use when nothing else is said.
const MEMORY: u64 = 2 << 30;
/// Files of a count under way.
const COUNTS: &str = "counts";
/// For each new token: its id, what it is made of, and where its row comes from.
const MANIFEST: &str = "new_tokens.json";

const INITIALIZE: PartSlot = PartSlot {
    key: "initialize",
    family: "initialize",
    many: false,
    default: Some("subword_mean"),
    members: initialize::records,
};

/// The record of `extend`.
pub static VERB: Verb = Verb {
    name: "extend",
    version: 1,
    summary: "learn new tokens from documents and give a model rows for them",
    makes: Kind::Model,
    inputs: &[
        InputSlot {
            key: "from",
            kind: Kind::Documents,
            required: true,
            many: false,
            text: "the documents that the new tokens are to serve",
        },
        InputSlot { key: "model", kind: Kind::Model, required: true, many: false, text: "the model to extend" },
    ],
    parts: &[INITIALIZE],
    settings: <ExtendSettings as JsonSchema>::json_schema,
    read: read_settings,
};

/// How the vocabulary grows.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct ExtendSettings {
    /// New tokens.
    #[schemars(range(min = 1, max = 16_777_216))]
    tokens: u32,
    /// Merge only pairs that are met at least this often.
    #[schemars(range(min = 1))]
    minimum_count: u64,
    /// Which tokens may be made.
    allowed: Allowed,
}

impl Default for ExtendSettings {
    fn default() -> Self {
        Self { tokens: 4096, minimum_count: 2, allowed: Allowed::default() }
    }
}

struct Extend(ExtendSettings, Chosen<dyn Initialize>);

fn read_settings(table: &Table) -> Result<Box<dyn Work>> {
    let mut faults = Faults::default();
    let settings = faults.take(table.without(&["initialize"]).read::<ExtendSettings>());
    let initialize = faults.take(one(table, &INITIALIZE, initialize::INITIALIZERS));
    if let Some(settings) = &settings {
        if !(1..=1 << 24).contains(&settings.tokens) {
            let message = format!("{} is out of range", settings.tokens);
            faults.0.push(Fault::new(table.place_of("tokens"), message).hint("it is in 1..=16777216"));
        }
        if settings.minimum_count == 0 {
            let fault = Fault::new(table.place_of("minimum_count"), "0 is out of range");
            faults.0.push(fault.hint("it is at least 1"));
        }
    }
    match (settings, initialize) {
        (Some(settings), Some(initialize)) if faults.0.is_empty() => Ok(Box::new(Extend(settings, initialize))),
        _ => Err(Error { faults: faults.0, blame: metier_core::Blame::User }),
    }
}

impl Work for Extend {
    fn settings(&self) -> serde_json::Value {
        json!({ "settings": self.0, "initialize": self.1.identity() })
    }

    fn figures(&self, _: &BTreeMap<String, String>) -> Vec<String> {
        ["bytes", "bytes_per_token_after", "bytes_per_token_before", "rarest_merge", "tokens_after", "tokens_before"]
            .map(str::to_owned)
            .to_vec()
    }

    fn plan(&self, inputs: &BTreeMap<String, Flow>, machine: &Machine) -> Result<(Estimate, Flow)> {
        let Some(path) = inputs.get("model").and_then(|flow| flow.path.as_deref()) else {
            return Ok((Estimate::default(), Flow::default()));
        };
        let checkpoint = open_checkpoint(path)?;
        let mut numbers = 0;
        for name in checkpoint.names() {
            numbers += checkpoint.shape(&name)?.iter().product::<usize>() as u64;
        }
        let documents = inputs.get("from");
        let bytes = documents.and_then(|flow| flow.bytes).unwrap_or_default();
        let estimate = Estimate {
            rows: documents.and_then(|flow| flow.documents),
            memory_bytes: Some(numbers * 4 + bytes + (200 << 20)),
            disk_bytes: Some(numbers * 4),
            seconds: Some(bytes as f64 / BYTES_PER_SECOND + numbers as f64 * 4.0 / machine.disk_bytes_per_second),
            ..Estimate::default()
        };
        Ok((estimate, Flow::default()))
    }

    fn run(&self, context: &Context) -> Result<Outcome> {
        context.start_over()?;
        let checkpoint = open_checkpoint(&context.input("model")?.path)?;
        let documents = metier_corpus::read_documents(&context.input("from")?.path.join(metier_corpus::TRAIN))?;
        let texts = documents.map(|document| Ok(document?.text)).collect::<Result<Vec<String>>>()?;
        let extended = self.learn(context, &checkpoint.tokenizer_json, &texts)?;
        let lines: Vec<&str> = texts.iter().flat_map(|text| text.lines()).collect();
        let bytes: usize = texts.iter().map(String::len).sum();
        let per_token = |tokenizer: &dyn Tokenize| -> Result<f64> {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let tokens: usize = tokenizer.encode(&texts, false)?.iter().map(|encoded| encoded.ids.len()).sum();
            Ok(bytes as f64 / (tokens as f64).max(1.0))
        };
        let before = per_token(&*checkpoint.tokenizer)?;
        let after = HuggingFace::from_json(&extended.json)?;
        let made = (&*self.1.part, &lines[..], context.seed.derive("initialize"));
        let report = vocabulary::write(checkpoint, &extended, made, Dtype::F32, context.work)?;
        write_manifest(context, &extended, &after, &report)?;
        let documents = texts.len() as u64;
        Ok(Outcome {
            counts: Counts { read: documents, out: documents, ..Counts::default() },
            figures: BTreeMap::from([
                ("bytes".to_owned(), bytes as f64),
                ("bytes_per_token_before".to_owned(), before),
                ("bytes_per_token_after".to_owned(), per_token(&after)?),
                ("rarest_merge".to_owned(), extended.rarest as f64),
                ("tokens_before".to_owned(), report.tokens[0] as f64),
                ("tokens_after".to_owned(), report.tokens[1] as f64),
            ]),
            table: None,
        })
    }
}

impl Extend {
    fn learn(&self, context: &Context, json: &str, texts: &[String]) -> Result<Extended> {
        let counts = context.work.join(COUNTS);
        let memory = context.budget.limit().unwrap_or(MEMORY);
        let mut counting = Counting::start(split_of(json)?, &counts, memory)?;
        counting.add(texts.iter().map(|text| Ok(Cow::Borrowed(text.as_str()))))?;
        let words = counting.finish()?;
        std::fs::remove_dir_all(&counts).map_err(|error| Error::io(&counts, "remove the folder", &error))?;
        let ExtendSettings { tokens, minimum_count, allowed } = self.0;
        extend(json, &words, Growth { tokens: tokens as usize, minimum_count, allowed })
    }
}

fn write_manifest(
    context: &Context,
    extended: &Extended,
    tokenizer: &HuggingFace,
    report: &vocabulary::Report,
) -> Result<()> {
    let tokens: Vec<serde_json::Value> = (extended.first..)
        .zip(&extended.parts)
        .enumerate()
        .map(|(at, (id, parts))| {
            let bytes = tokenizer.bytes_of(id).unwrap_or_default();
            json!({
                "id": id,
                "text": String::from_utf8_lossy(&bytes),
                "parts": parts,
                "sources": report.sources.as_ref().map(|sources| &sources[at]),
            })
        })
        .collect();
    let text = serde_json::to_string_pretty(&json!({ "tokens": tokens }))
        .map_err(|error| Error::program(format!("the list of tokens does not serialize: {error}")))?;
    store::write_atomic(context.work.join(MANIFEST), text + "\n")
}
