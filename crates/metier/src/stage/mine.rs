//! `mine`: facts out of documents, stated in several wordings and asked for in another.

use super::{Context, Flow, InputSlot, Kind, Machine, Outcome, Verb, Work};
use metier_core::data::{Document, Pieces};
use metier_core::progress::Progress;
use metier_core::settings::Table;
use metier_core::store::{Counts, Estimate};
use metier_core::{Fault, Place, Result, stop};
use metier_corpus::{DocumentWriter, HELD_OUT, TRAIN, read_documents};
use metier_eval::QUESTIONS;
use metier_synthetic::mine::{self, Fact};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;

/// The record of `mine`.
pub static VERB: Verb = Verb {
    name: "mine",
    version: 1,
    summary: "find facts in documents, state each in several wordings, and ask for it in another",
    makes: Kind::Documents,
    inputs: &[InputSlot {
        key: "from",
        kind: Kind::Documents,
        required: true,
        many: false,
        text: "documents whose facts are wanted: sizes of fields, ports, codes, replies, objects; those that are held out are not read",
    }],
    parts: &[],
    settings: <MineSettings as JsonSchema>::json_schema,
    read: read_settings,
};

/// Which facts are wanted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct MineSettings {
    /// Kinds of facts.
    kinds: Vec<mine::Kind>,
    /// Facts of a kind at most, drawn by the seed.
    #[schemars(range(min = 1, max = 1_000_000))]
    most: usize,
}

impl Default for MineSettings {
    fn default() -> Self {
        Self { kinds: mine::Kind::ALL.to_vec(), most: 40 }
    }
}

struct Mine(MineSettings);

fn read_settings(table: &Table) -> Result<Box<dyn Work>> {
    let settings: MineSettings = table.read()?;
    if settings.most == 0 {
        return Err(Fault::new(table.place_of("most"), "0 is out of range").hint("it is at least 1").into());
    }
    Ok(Box::new(Mine(settings)))
}

impl Work for Mine {
    fn settings(&self) -> serde_json::Value {
        json!({ "settings": self.0 })
    }

    fn figures(&self, _: &BTreeMap<String, String>) -> Vec<String> {
        let kinds = mine::Kind::ALL.iter().map(|kind| kind.name());
        kinds.chain(["bytes", "documents", "found", "questions"]).map(str::to_owned).collect()
    }

    fn plan(&self, inputs: &BTreeMap<String, Flow>, _: &Machine) -> Result<(Estimate, Flow)> {
        let bytes = inputs.get("from").and_then(|flow| flow.bytes);
        let seconds = bytes.map(|bytes| bytes as f64 / 50e6);
        let estimate = Estimate { memory_bytes: Some(64 << 20), seconds, ..Estimate::default() };
        Ok((estimate, Flow::default()))
    }

    fn run(&self, context: &Context) -> Result<Outcome> {
        context.start_over()?;
        let from = context.input("from")?;
        let progress = Progress::new("documents", None, "documents");
        let mut facts = Vec::new();
        // What a statement takes over from the document that it is about.
        let mut origins: BTreeMap<String, Document> = BTreeMap::new();
        let mut read = 0;
        for document in read_documents(&from.path.join(TRAIN))? {
            stop::check()?;
            let document = document?;
            let found = mine::find(&document, &self.0.kinds);
            if !found.is_empty() {
                let origin = Document { text: String::new(), pieces: Pieces::whole(0), ..document };
                origins.insert(origin.id.clone(), origin);
            }
            facts.extend(found);
            read += 1;
            progress.add(1);
        }
        progress.finish();
        let asked = mine::choose(&facts, self.0.most, context.seed);
        if asked.is_empty() {
            let fault = Fault::new(Place::file(&from.path), format!("`{}` holds no facts to ask for", from.name));
            return Err(fault
                .hint("a kind needs four different values; `metier explain mine` shows what is found")
                .into());
        }
        let mut questions = DocumentWriter::create(&context.work.join(QUESTIONS))?;
        for question in mine::questions(&asked, &facts, context.seed) {
            questions.write(&question)?;
        }
        questions.finish()?;
        let mut train = DocumentWriter::create(&context.work.join(TRAIN))?;
        let (mut documents, mut bytes) = (0_u32, 0);
        for wording in 0..mine::WORDINGS {
            for (id, origin) in &origins {
                let mut own: Vec<&Fact> = asked.iter().filter(|fact| fact.document == *id).collect();
                if own.is_empty() {
                    continue;
                }
                context.seed.derive(id).at(wording as u64).shuffle(&mut own);
                // Facts that stand side by side have different wordings.
                let said = own.iter().enumerate().map(|(at, fact)| fact.statement(wording + at));
                let text = said.collect::<Vec<_>>().join("\n");
                bytes += text.len();
                documents += 1;
                let pieces = Pieces::whole(text.len());
                train.write(&Document { id: format!("{id}/facts-{wording}"), pieces, text, ..origin.clone() })?;
            }
        }
        train.finish()?;
        DocumentWriter::create(&context.work.join(HELD_OUT))?.finish()?;
        let count = |kind: mine::Kind| asked.iter().filter(|fact| fact.kind == kind).count() as f64;
        let mut figures: BTreeMap<String, f64> =
            mine::Kind::ALL.iter().map(|kind| (kind.name().to_owned(), count(*kind))).collect();
        figures.extend([
            ("bytes".to_owned(), bytes as f64),
            ("documents".to_owned(), f64::from(documents)),
            ("found".to_owned(), facts.len() as f64),
            ("questions".to_owned(), asked.len() as f64),
        ]);
        let counts = Counts { read, out: documents.into(), ..Counts::default() };
        Ok(Outcome { counts, figures, table: None })
    }
}
