//! `synthesize`: documents out of a seeded world, with what is known of them.

use super::{Context, Faults, Flow, Kind, Machine, Outcome, PartSlot, Verb, Work, one};
use metier_core::data::{Document, Metadata, Pieces};
use metier_core::part::Chosen;
use metier_core::progress::Progress;
use metier_core::settings::Table;
use metier_core::store::{Counts, Estimate};
use metier_core::{Error, Fault, Place, Result, stop};
use metier_corpus::{DocumentWriter, HELD_OUT, TRAIN};
use metier_eval::QUESTIONS;
use metier_synthetic::world::{self, Grade, World};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::BufRead;
use std::path::Path;

/// What is known of each document, a line for each.
pub const GOLD: &str = "gold.jsonl";

/// Bytes written in a second; measured on stories.
const BYTES_PER_SECOND: f64 = 5e6;

/// The slot of a world.
pub const WORLD: PartSlot =
    PartSlot { key: "world", family: "world", many: false, default: Some("agglutination"), members: world::records };

/// The record of `synthesize`.
pub static VERB: Verb = Verb {
    name: "synthesize",
    version: 3,
    summary: "write documents out of a seeded world, with what is known of them and questions about it",
    makes: Kind::Documents,
    inputs: &[],
    parts: &[WORLD],
    settings: <SynthesizeSettings as JsonSchema>::json_schema,
    read: read_settings,
};

/// How much is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct SynthesizeSettings {
    /// Characters of the documents to train on, reached by the last of them.
    #[schemars(range(min = 1, max = 100_000_000_000_u64))]
    characters: u64,
    /// Documents held out beside them.
    #[schemars(range(max = 10_000_000))]
    held_out: u64,
    /// What the documents say about their license.
    license: String,
}

impl Default for SynthesizeSettings {
    fn default() -> Self {
        Self { characters: 1_000_000, held_out: 100, license: "CC0-1.0".to_owned() }
    }
}

/// What is known of a document. A line of [`GOLD`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gold {
    /// The document's id.
    pub id: String,
    /// The ISO 639-3 code of its language.
    pub language: String,
    /// Bytes of its opening.
    pub opening: usize,
    /// Bytes at which a morpheme ends inside a word.
    pub boundaries: Vec<usize>,
    /// Words that were asked for and are in it.
    #[serde(default)]
    pub words: Vec<String>,
    /// What else was asked for and is in it.
    #[serde(default)]
    pub features: Vec<String>,
    /// What it states, in order: who or what, what of it, and which.
    #[serde(default)]
    pub facts: Vec<[String; 3]>,
}

/// What is known of a stage's documents, by id; empty where nothing is.
pub fn read_gold(folder: &Path) -> Result<BTreeMap<String, Gold>> {
    gold_of(folder)?.map(|gold| gold.map(|gold| (gold.id.clone(), gold))).collect()
}

/// What is known of a stage's documents, in their order: those to train on, then those held out. Nothing where nothing is.
pub fn gold_of(folder: &Path) -> Result<impl Iterator<Item = Result<Gold>>> {
    let path = folder.join(GOLD);
    let file = path.exists().then(|| std::fs::File::open(&path)).transpose();
    let file = file.map_err(|error| Error::io(&path, "open", &error))?;
    let lines = file.into_iter().flat_map(|file| std::io::BufReader::new(file).lines()).enumerate();
    Ok(lines.map(move |(index, line)| {
        let line = line.map_err(|error| Error::io(&path, "read", &error))?;
        serde_json::from_str(&line)
            .map_err(|error| Error::user(Place::file(&path).at(index + 1, error.column()), error.to_string()))
    }))
}

/// Bytes of a document's opening, at a character of it, by what is known of it. `folder` is where the document comes from.
pub fn opening_of(gold: Option<&Gold>, document: &Document, folder: &Path) -> Result<usize> {
    let opening = gold.map(|gold| gold.opening);
    opening.filter(|opening| document.text.is_char_boundary(*opening)).ok_or_else(|| {
        let place = Place::file(folder).with_key(&document.id);
        Fault::new(place, "it is not said where its opening ends").hint("name what a stage `synthesize` wrote").into()
    })
}

struct Synthesize(SynthesizeSettings, Chosen<dyn World>);

fn read_settings(table: &Table) -> Result<Box<dyn Work>> {
    let mut faults = Faults::default();
    let settings = faults.take(table.without(&["world"]).read::<SynthesizeSettings>());
    let world = faults.take(one(table, &WORLD, world::WORLDS));
    if settings.as_ref().is_some_and(|settings| settings.characters == 0) {
        faults.0.push(Fault::new(table.place_of("characters"), "0 is out of range").hint("it is at least 1"));
    }
    match (settings, world) {
        (Some(settings), Some(world)) if faults.0.is_empty() => Ok(Box::new(Synthesize(settings, world))),
        _ => Err(Error { faults: faults.0, blame: metier_core::Blame::User }),
    }
}

impl Work for Synthesize {
    fn settings(&self) -> serde_json::Value {
        json!({ "settings": self.0, "world": self.1.identity() })
    }

    fn figures(&self, _: &BTreeMap<String, String>) -> Vec<String> {
        [
            "boundaries",
            "bytes",
            "characters",
            "documents",
            "grammar",
            "held_out_bytes",
            "held_out_documents",
            "questions",
        ]
        .map(str::to_owned)
        .to_vec()
    }

    fn plan(&self, _: &BTreeMap<String, Flow>, _: &Machine) -> Result<(Estimate, Flow)> {
        // One document says how long they are.
        let sample = self.1.part.write(metier_core::seed::Seed::new(0), 0).text;
        let characters = sample.chars().count().max(1) as u64;
        let documents = self.0.characters.div_ceil(characters);
        let bytes = documents.saturating_mul(sample.len() as u64);
        let held_out = self.0.held_out.saturating_mul(sample.len() as u64);
        let estimate = Estimate {
            rows: Some(documents.saturating_add(self.0.held_out)),
            memory_bytes: Some(64 << 20),
            disk_bytes: Some(bytes.saturating_add(held_out).saturating_mul(2)),
            seconds: Some(bytes.saturating_add(held_out) as f64 / BYTES_PER_SECOND),
            ..Estimate::default()
        };
        let flow =
            Flow { documents: Some(documents), bytes: Some(bytes), held_out_bytes: Some(held_out), ..Flow::default() };
        Ok((estimate, flow))
    }

    fn run(&self, context: &Context) -> Result<Outcome> {
        context.start_over()?;
        let settings = &self.0;
        let progress = Progress::new("documents", None, "documents");
        let mut gold = DocumentWriter::create(&context.work.join(GOLD))?;
        let mut write = |file: &str, part: &str, enough: &dyn Fn(Written) -> bool| -> Result<Written> {
            let mut documents = DocumentWriter::create(&context.work.join(file))?;
            let mut so_far = Written::default();
            // Each part has numbers of its own, so that more of one changes nothing in the other.
            let seed = context.seed.derive(part);
            while !enough(so_far) {
                stop::check()?;
                let text = self.1.part.write(seed, so_far.documents);
                let id = format!("{}-{part}-{}", self.1.name, so_far.documents);
                gold.write(&Gold {
                    id: id.clone(),
                    language: text.language.to_owned(),
                    opening: text.opening,
                    boundaries: text.boundaries.clone(),
                    words: text.words,
                    features: text.features.into_iter().map(str::to_owned).collect(),
                    facts: text.facts,
                })?;
                so_far = Written {
                    grade: so_far.grade.plus(self.1.part.grade("", &text.text)),
                    documents: so_far.documents + 1,
                    bytes: so_far.bytes + text.text.len() as u64,
                    characters: so_far.characters + text.text.chars().count() as u64,
                    boundaries: so_far.boundaries + text.boundaries.len() as u64,
                };
                documents.write(&Document {
                    source: format!("world:{}/{id}", self.1.name),
                    source_sha256: sha256(&text.text),
                    license: settings.license.clone(),
                    pieces: Pieces::whole(text.text.len()),
                    partial: Vec::new(),
                    metadata: Metadata::new(),
                    text: text.text,
                    id,
                })?;
                progress.add(1);
            }
            documents.finish()?;
            Ok(so_far)
        };
        let train = write(TRAIN, "train", &|so_far| so_far.characters >= settings.characters)?;
        let held_out = write(HELD_OUT, "held_out", &|so_far| so_far.documents >= settings.held_out)?;
        gold.finish()?;
        let questions = self.1.part.questions(context.seed);
        if !questions.is_empty() {
            let mut file = DocumentWriter::create(&context.work.join(QUESTIONS))?;
            questions.iter().try_for_each(|question| file.write(question))?;
            file.finish()?;
        }
        progress.finish();
        let documents = train.documents + held_out.documents;
        Ok(Outcome {
            counts: Counts { read: documents, out: documents, ..Counts::default() },
            figures: BTreeMap::from([
                ("boundaries".to_owned(), train.boundaries as f64),
                ("bytes".to_owned(), train.bytes as f64),
                ("characters".to_owned(), train.characters as f64),
                ("documents".to_owned(), train.documents as f64),
                ("grammar".to_owned(), train.grade.agreeing as f64 / train.grade.sentences as f64),
                ("held_out_bytes".to_owned(), held_out.bytes as f64),
                ("held_out_documents".to_owned(), held_out.documents as f64),
                ("questions".to_owned(), questions.len() as f64),
            ]),
            table: None,
        })
    }
}

/// In hexadecimal.
fn sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// How much was written, and how right it is.
#[derive(Clone, Copy, Default)]
struct Written {
    grade: Grade,
    documents: u64,
    bytes: u64,
    characters: u64,
    boundaries: u64,
}
