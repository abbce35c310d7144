//! `pack`: documents or examples to memory-mapped token shards that remember where each token came from.

use super::model::{open_speaker, open_tokenizer};
use super::synthesize::{gold_of, opening_of};
use super::{Context, Flow, InputSlot, Kind, Machine, Outcome, Verb, Work};
use metier_core::data::{Conversation, Document};
use metier_core::progress::Progress;
use metier_core::settings::Table;
use metier_core::store::{Counts, Estimate};
use metier_core::{Error, Place, Result};
use metier_tokenizer::pack::{self, ExampleSummary, Learn, Origin, PackSettings, PackSummary};
use schemars::JsonSchema;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;

/// Bytes of English-like text a token stands for, for plans made before tokenizing.
pub const BYTES_PER_TOKEN: f64 = 3.3;
/// Bytes tokenized in a second; measured on the quickstart.
const BYTES_PER_SECOND: f64 = 2.5e6;

/// The record of `pack`.
pub static VERB: Verb = Verb {
    name: "pack",
    version: 2,
    summary: "tokenize documents or examples into shards that remember where each token came from",
    makes: Kind::Shards,
    inputs: &[
        InputSlot {
            key: "from",
            kind: Kind::Documents,
            required: false,
            many: false,
            text: "the documents to tokenize",
        },
        InputSlot {
            key: "examples",
            kind: Kind::Data,
            required: false,
            many: false,
            text: "in place of `from`: a JSONL file, or a folder of such, with rows of `messages`, `prompt` and `completion`, `prompt`, `chosen` and `rejected`, `prompt`, `completion` and `label`, or `anchor`, `positive` and perhaps `negative`",
        },
        InputSlot {
            key: "tokenizer",
            kind: Kind::Tokenizer,
            required: true,
            many: false,
            text: "the tokenizer, or the model whose tokenizer is used; with `examples` also its chat template",
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

    fn check(&self, inputs: &BTreeMap<String, String>) -> Result<()> {
        let message = match (inputs.contains_key("from"), inputs.contains_key("examples")) {
            (true, true) => "there are documents and examples",
            (false, false) => "there is nothing to pack",
            (_, examples) => return self.0.check(examples),
        };
        Err(Error::user(Place::key("from"), message)
            .hint("name documents under `from`, or a file of examples under `examples`"))
    }

    fn figures(&self, inputs: &BTreeMap<String, String>) -> Vec<String> {
        let mut figures = vec!["bytes", "documents", "shards", "tokens"];
        if self.endings() || inputs.contains_key("examples") {
            figures.extend(["cut", "learned", "learned_share", "rows"]);
        }
        figures.into_iter().map(str::to_owned).collect()
    }

    fn plan(&self, inputs: &BTreeMap<String, Flow>, _: &Machine) -> Result<(Estimate, Flow)> {
        let (documents, bytes) = match inputs.get("from") {
            Some(Flow { held_out_bytes: Some(bytes), .. }) if self.0.held_out => (&None, bytes),
            Some(Flow { documents, bytes: Some(bytes), .. }) if !self.0.held_out => (documents, bytes),
            _ => return Ok((Estimate::default(), Flow::default())),
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
        if context.inputs.contains_key("examples") {
            return self.pack_examples(context);
        }
        let from = &context.input("from")?.path;
        let file = if self.0.held_out { metier_corpus::HELD_OUT } else { metier_corpus::TRAIN };
        let documents = metier_corpus::read_documents(&from.join(file))?;
        if self.endings() {
            return self.pack_endings(context, documents, from);
        }
        let tokenizer = open_tokenizer(&context.input("tokenizer")?.path)?;
        let progress = Progress::new("tokens", None, "documents");
        let documents = documents.inspect(|_| progress.add(1));
        let summary = pack::pack(documents, tokenizer.as_ref(), &self.0, context.work)?;
        progress.finish();
        Ok(Outcome {
            counts: Counts { read: summary.documents, out: summary.documents, ..Counts::default() },
            figures: figures_of(&summary),
            table: None,
        })
    }
}

impl Pack {
    fn endings(&self) -> bool {
        self.0.learn == Learn::Endings
    }

    fn pack_examples(&self, context: &Context) -> Result<Outcome> {
        let examples = context.input("examples")?;
        let speaker = open_speaker(&context.input("tokenizer")?.path)?;
        let origin = Origin { path: &examples.path, license: examples.license.as_deref().unwrap_or("not stated") };
        let progress = Progress::new("tokens", None, "rows");
        let render = |conversation: &Conversation, prompt: bool| speaker.render(conversation, prompt);
        let packed =
            pack::pack_examples(origin, &speaker.dialogue(&render), &self.0, context.work, &|| progress.add(1))?;
        progress.finish();
        Ok(outcome(packed))
    }

    fn pack_endings(
        &self,
        context: &Context,
        documents: impl Iterator<Item = Result<Document>>,
        from: &Path,
    ) -> Result<Outcome> {
        // Its lines are in the order of the documents, so that none is kept.
        let mut gold = gold_of(from)?;
        let mut with_opening = |document: Document| {
            let known = gold.find(|known| known.as_ref().map_or(true, |known| known.id == document.id)).transpose()?;
            opening_of(known.as_ref(), &document, from).map(|opening| (document, opening))
        };
        let speaker = open_speaker(&context.input("tokenizer")?.path)?;
        let render = |conversation: &Conversation, prompt: bool| speaker.render(conversation, prompt);
        let progress = Progress::new("tokens", None, "documents");
        let packed = pack::pack_endings(
            documents.map(|document| document.and_then(&mut with_opening)),
            from,
            &speaker.dialogue(&render),
            &self.0,
            context.work,
            &|| progress.add(1),
        )?;
        progress.finish();
        Ok(outcome(packed))
    }
}

/// What packing examples came to.
fn outcome((summary, rows): (PackSummary, ExampleSummary)) -> Outcome {
    let mut figures = figures_of(&summary);
    figures.extend([
        ("cut".to_owned(), rows.cut as f64),
        ("learned".to_owned(), rows.learned as f64),
        ("learned_share".to_owned(), rows.learned as f64 / summary.tokens as f64),
        ("rows".to_owned(), rows.rows as f64),
    ]);
    let out = rows.rows - rows.dropped.values().sum::<u64>();
    Outcome { counts: Counts { read: rows.rows, out, dropped: rows.dropped }, figures, table: None }
}

fn figures_of(summary: &PackSummary) -> BTreeMap<String, f64> {
    BTreeMap::from([
        ("documents".to_owned(), summary.documents as f64),
        ("tokens".to_owned(), summary.tokens as f64),
        ("bytes".to_owned(), summary.bytes as f64),
        ("shards".to_owned(), f64::from(summary.shards)),
    ])
}
