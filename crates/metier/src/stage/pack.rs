//! `pack`: documents to memory-mapped token shards that remember where each token came from.

use super::model::open_tokenizer;
use super::{Context, Flow, InputSlot, Kind, Machine, Outcome, Verb, Work};
use metier_core::Result;
use metier_core::progress::Progress;
use metier_core::settings::Table;
use metier_core::store::{Counts, Estimate};
use metier_tokenizer::pack::{self, PackSettings};
use schemars::JsonSchema;
use serde_json::json;
use std::collections::BTreeMap;

/// Bytes of English-like text a token stands for, for plans made before tokenizing.
pub const BYTES_PER_TOKEN: f64 = 3.3;
/// Bytes tokenized in a second; measured on the quickstart.
const BYTES_PER_SECOND: f64 = 2.5e6;

/// The record of `pack`.
pub static VERB: Verb = Verb {
    name: "pack",
    version: 1,
    summary: "tokenize documents into shards that remember where each token came from",
    makes: Kind::Shards,
    inputs: &[
        InputSlot {
            key: "from",
            kind: Kind::Documents,
            required: true,
            many: false,
            text: "the documents to tokenize",
        },
        InputSlot {
            key: "tokenizer",
            kind: Kind::Tokenizer,
            required: true,
            many: false,
            text: "the tokenizer, or the model whose tokenizer is used",
        },
    ],
    parts: &[],
    settings: <PackSettings as JsonSchema>::json_schema,
    read: read_settings,
};

struct Pack(PackSettings);

fn read_settings(table: &Table) -> Result<Box<dyn Work>> {
    Ok(Box::new(Pack(table.read()?)))
}

impl Work for Pack {
    fn settings(&self) -> serde_json::Value {
        json!({ "settings": self.0 })
    }

    fn figures(&self, _: &BTreeMap<String, String>) -> Vec<String> {
        ["bytes", "documents", "shards", "tokens"].map(str::to_owned).to_vec()
    }

    fn plan(&self, inputs: &BTreeMap<String, Flow>, _: &Machine) -> Result<(Estimate, Flow)> {
        let Some(Flow { documents, bytes: Some(bytes), .. }) = inputs.get("from") else {
            return Ok((Estimate::default(), Flow::default()));
        };
        let tokens = (*bytes as f64 / BYTES_PER_TOKEN) as u64;
        let estimate = Estimate {
            rows: *documents,
            tokens: Some(tokens),
            memory_bytes: Some(200 << 20),
            disk_bytes: Some(tokens * 6),
            seconds: Some(*bytes as f64 / BYTES_PER_SECOND),
            ..Estimate::default()
        };
        Ok((estimate, Flow { documents: *documents, bytes: Some(*bytes), tokens: Some(tokens), ..Flow::default() }))
    }

    fn run(&self, context: &Context) -> Result<Outcome> {
        context.start_over()?;
        let tokenizer = open_tokenizer(&context.input("tokenizer")?.path)?;
        let documents = metier_corpus::read_documents(&context.input("from")?.path.join(metier_corpus::TRAIN))?;
        let progress = Progress::new("tokens", None, "documents");
        let documents = documents.inspect(|_| progress.add(1));
        let summary = pack::pack(documents, tokenizer.as_ref(), &self.0, context.work)?;
        progress.finish();
        Ok(Outcome {
            counts: Counts { read: summary.documents, out: summary.documents, ..Counts::default() },
            figures: BTreeMap::from([
                ("documents".to_owned(), summary.documents as f64),
                ("tokens".to_owned(), summary.tokens as f64),
                ("bytes".to_owned(), summary.bytes as f64),
                ("shards".to_owned(), f64::from(summary.shards)),
            ]),
            table: None,
        })
    }
}
