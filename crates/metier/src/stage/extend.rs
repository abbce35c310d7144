//! `extend`: a model and documents to the model with a vocabulary that serves them.

use super::model::open_checkpoint;
use super::{Context, Faults, Flow, InputSlot, Kind, Machine, Outcome, PartSlot, Verb, Work, one};
use metier_core::part::Chosen;
use metier_core::progress::Progress;
use metier_core::seam::Tokenize;
use metier_core::settings::Table;
use metier_core::store::{self, Counts, Estimate};
use metier_core::{Error, Fault, Place, Result, stop};
use metier_model::checkpoint::{Checkpoint, Dtype};
use metier_tokenizer::extend::{self, Extend, Extended, Given, Origin};
use metier_tokenizer::scheme::HuggingFace;
use metier_tokenizer::train::Counting;
use metier_weights::initialize::{self, Initialize};
use metier_weights::lines::{Lines, LinesWriter};
use metier_weights::vocabulary::{self, Source, ids_for};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

/// Bytes of documents counted and encoded twice in a second on one thread.
const BYTES_PER_SECOND: f64 = 5e6;
/// What counting may use when nothing else is said.
const MEMORY: u64 = 2 << 30;
/// Documents that are encoded at one time, and bytes of them.
const TOGETHER: usize = 1024;
const TOGETHER_BYTES: usize = 8 << 20;
/// For each new token: its id, what it is made of, and where its row comes from.
const MANIFEST: &str = "new_tokens.json";
/// Between interruptions: words counted, the vocabulary, what was seen of the texts with their lines in ids.
const COUNTS: &str = "counts";
const CHANGED: &str = "vocabulary.json";
const SEEN: &str = "seen.json";

const VOCABULARY: PartSlot =
    PartSlot { key: "vocabulary", family: "vocabulary", many: false, default: Some("learn"), members: extend::records };
const INITIALIZE: PartSlot = PartSlot {
    key: "initialize",
    family: "initializer",
    many: false,
    default: Some("subword_mean"),
    members: initialize::records,
};

/// The record of `extend`.
pub static VERB: Verb = Verb {
    name: "extend",
    version: 2,
    summary: "change a model's vocabulary for documents, with rows for new tokens",
    makes: Kind::Model,
    inputs: &[
        InputSlot {
            key: "from",
            kind: Kind::Documents,
            required: false,
            many: false,
            text: "the documents that the vocabulary is to serve",
        },
        InputSlot { key: "model", kind: Kind::Model, required: true, many: false, text: "the model to change" },
        InputSlot {
            key: "donor",
            kind: Kind::Tokenizer,
            required: false,
            many: false,
            text: "another model, or its tokenizer, to take tokens or rows from",
        },
    ],
    parts: &[VOCABULARY, INITIALIZE],
    settings: <ExtendSettings as JsonSchema>::json_schema,
    read: read_settings,
};

/// How the model is written.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct ExtendSettings {
    /// The type that weights are stored in.
    dtype: StoredAs,
}

/// The type that weights are stored in.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum StoredAs {
    /// That of the model, where all its weights have one of 16 bits; else 32 bits.
    #[default]
    AsBefore,
    /// 32 bits.
    F32,
    /// 16 bits with the range of 32. Rows that were mixtures of others are then so up to rounding.
    Bf16,
    /// 16 bits with more digits and less range.
    F16,
}

impl StoredAs {
    fn dtype(self, model: &Checkpoint) -> Dtype {
        match self {
            Self::AsBefore => model.dtype(),
            Self::F32 => Dtype::F32,
            Self::Bf16 => Dtype::BF16,
            Self::F16 => Dtype::F16,
        }
    }
}

struct Extending {
    settings: ExtendSettings,
    vocabulary: Chosen<dyn Extend>,
    initialize: Chosen<dyn Initialize>,
}

/// What the texts came to, in the old tokens and the new ones.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
struct Seen {
    documents: u64,
    bytes: u64,
    before: u64,
    after: u64,
}

fn read_settings(table: &Table) -> Result<Box<dyn Work>> {
    let mut faults = Faults::default();
    let settings = faults.take(table.without(&["initialize", "vocabulary"]).read::<ExtendSettings>());
    let vocabulary = faults.take(one(table, &VOCABULARY, extend::EXTEND));
    let initialize = faults.take(one(table, &INITIALIZE, initialize::INITIALIZERS));
    match (settings, vocabulary, initialize) {
        (Some(settings), Some(vocabulary), Some(initialize)) if faults.0.is_empty() => {
            Ok(Box::new(Extending { settings, vocabulary, initialize }))
        }
        _ => Err(Error { faults: faults.0, blame: metier_core::Blame::User }),
    }
}

impl Work for Extending {
    fn settings(&self) -> serde_json::Value {
        json!({
            "settings": self.settings,
            "vocabulary": self.vocabulary.identity(),
            "initialize": self.initialize.identity(),
        })
    }

    fn figures(&self, inputs: &BTreeMap<String, String>) -> Vec<String> {
        let mut names = vec!["rarest_merge", "tokens_after", "tokens_before", "unseen_tokens"];
        if inputs.contains_key("from") {
            names.extend(["bytes", "bytes_per_token_after", "bytes_per_token_before", "token_ratio"]);
        }
        names.into_iter().map(str::to_owned).collect()
    }

    fn plan(&self, inputs: &BTreeMap<String, Flow>, machine: &Machine) -> Result<(Estimate, Flow)> {
        for (key, wanted, by) in [
            ("from", self.vocabulary.part.reads_text(), self.vocabulary.name),
            ("from", self.initialize.part.reads_text(), self.initialize.name),
            ("donor", self.vocabulary.part.takes_donor(), self.vocabulary.name),
            ("donor", self.initialize.part.takes_donor(), self.initialize.name),
        ] {
            if wanted && !inputs.contains_key(key) {
                let what = if key == "from" { "documents" } else { "another model" };
                let fault = Fault::new(Place::key(key), format!("`{by}` works on {what}, and none are given"));
                return Err(fault.hint(format!("write `{key} = \"NAME\"`")).into());
            }
        }
        let Some(path) = inputs.get("model").and_then(|flow| flow.path.as_deref()) else {
            return Ok((Estimate::default(), Flow::default()));
        };
        let checkpoint = open_checkpoint(path)?;
        let (mut numbers, mut largest) = (0, 0);
        for name in checkpoint.names() {
            let count = checkpoint.shape(&name)?.iter().product::<usize>() as u64;
            numbers += count;
            largest = largest.max(count);
        }
        let documents = inputs.get("from");
        let bytes = documents.and_then(|flow| flow.bytes).unwrap_or_default();
        let stored = if self.settings.dtype.dtype(&checkpoint) == Dtype::F32 { 4 } else { 2 };
        let estimate = Estimate {
            rows: documents.and_then(|flow| flow.documents),
            // Words counted, and the embedding as it was, as an initializer sees it, and as it is written.
            memory_bytes: Some(bytes.clamp(200 << 20, MEMORY) + largest * 12),
            disk_bytes: Some(numbers * stored),
            seconds: Some(bytes as f64 / BYTES_PER_SECOND + (numbers * stored) as f64 / machine.disk_bytes_per_second),
            ..Estimate::default()
        };
        Ok((estimate, Flow::default()))
    }

    fn run(&self, context: &Context) -> Result<Outcome> {
        let scratch = context.scratch()?;
        let checkpoint = open_checkpoint(&context.input("model")?.path)?;
        let extended = self.change(context, &checkpoint.tokenizer_json, &scratch)?;
        let after = HuggingFace::from_json(&extended.json)?;
        let seen = context.inputs.get("from").map(|_| self.see(context, &checkpoint, (&extended, &after), &scratch));
        let seen = seen.transpose()?;
        let lines = if self.initialize.part.reads_text() { Lines::open(&scratch)? } else { Lines::default() };
        let donor = context.inputs.get("donor").filter(|_| self.initialize.part.takes_donor());
        let donor = donor.map(|donor| open_checkpoint(&donor.path)).transpose()?;
        let source = Source {
            initialize: &*self.initialize.part,
            lines: &lines,
            donor: donor.as_ref(),
            seed: context.seed.derive("initialize"),
            work: Some(&scratch),
        };
        let dtype = self.settings.dtype.dtype(&checkpoint);
        let report = vocabulary::write(checkpoint, &extended, source, dtype, context.work)?;
        write_manifest(context, &extended, &after, &report, self.initialize.name)?;
        let mut figures = BTreeMap::from([
            ("rarest_merge".to_owned(), extended.rarest.unwrap_or_default() as f64),
            ("tokens_before".to_owned(), report.tokens[0] as f64),
            ("tokens_after".to_owned(), report.tokens[1] as f64),
            ("unseen_tokens".to_owned(), report.unseen.len() as f64),
        ]);
        let seen = seen.unwrap_or_default();
        if context.inputs.contains_key("from") {
            let (before, after) = (seen.before.max(1) as f64, seen.after.max(1) as f64);
            figures.extend([
                ("bytes".to_owned(), seen.bytes as f64),
                ("bytes_per_token_before".to_owned(), seen.bytes as f64 / before),
                ("bytes_per_token_after".to_owned(), seen.bytes as f64 / after),
                ("token_ratio".to_owned(), before / after),
            ]);
        }
        let counts = Counts { read: seen.documents, out: seen.documents, ..Counts::default() };
        Ok(Outcome { counts, figures, table: None })
    }
}

impl Extending {
    /// The changed vocabulary; that of an interrupted call if it had come so far.
    fn change(&self, context: &Context, json: &str, scratch: &Path) -> Result<Extended> {
        let done = scratch.join(CHANGED);
        if let Some(extended) = read(&done)? {
            return Ok(extended);
        }
        let words = if self.vocabulary.part.reads_text() {
            let memory = context.budget.limit().unwrap_or(MEMORY);
            let mut counting = Counting::start(self.vocabulary.part.cut(json)?, &scratch.join(COUNTS), memory)?;
            let progress = Progress::new("words", None, "documents");
            counting.add(texts(context)?.map(|text| {
                progress.add(1);
                Ok(Cow::Owned(text?))
            }))?;
            progress.finish();
            Some(counting.finish()?)
        } else {
            None
        };
        let donor = context.inputs.get("donor").map(|donor| tokenizer_json(&donor.path)).transpose()?;
        let given = Given { json, words: words.as_ref(), donor: donor.as_deref() };
        let extended = self.vocabulary.part.extend(given)?;
        write(&done, &extended)?;
        Ok(extended)
    }

    /// Encodes the texts, and keeps their lines when the initializer reads them.
    fn see(
        &self,
        context: &Context,
        checkpoint: &Checkpoint,
        (extended, after): (&Extended, &HuggingFace),
        scratch: &Path,
    ) -> Result<Seen> {
        let done = scratch.join(SEEN);
        if let Some(seen) = read(&done)? {
            return Ok(seen);
        }
        let before = &*checkpoint.tokenizer;
        let ids = ids_for(extended, before.vocabulary_size());
        let mut writer = if self.initialize.part.reads_text() { Some(LinesWriter::create(scratch)?) } else { None };
        let mut seen = Seen::default();
        let progress = Progress::new("tokens", None, "documents");
        let mut take = |texts: &mut Vec<String>| -> Result<()> {
            let all: Vec<&str> = texts.iter().map(String::as_str).collect();
            let count = |tokenizer: &dyn Tokenize| -> Result<u64> {
                Ok(tokenizer.encode(&all, false)?.iter().map(|encoded| encoded.ids.len() as u64).sum())
            };
            seen.documents += all.len() as u64;
            seen.bytes += all.iter().map(|text| text.len() as u64).sum::<u64>();
            seen.before += count(before)?;
            seen.after += count(after)?;
            if let Some(writer) = &mut writer {
                let lines: Vec<&str> = all.iter().flat_map(|text| text.lines()).collect();
                for line in after.encode(&lines, false)? {
                    let line: Vec<u32> = line.ids.iter().map(|id| ids[*id as usize]).collect();
                    writer.push(&line)?;
                }
            }
            progress.add(all.len() as u64);
            texts.clear();
            Ok(())
        };
        let (mut some, mut bytes) = (Vec::new(), 0);
        for text in texts(context)? {
            stop::check()?;
            let text = text?;
            bytes += text.len();
            some.push(text);
            if some.len() == TOGETHER || bytes >= TOGETHER_BYTES {
                take(&mut some)?;
                bytes = 0;
            }
        }
        take(&mut some)?;
        progress.finish();
        writer.map_or(Ok(()), LinesWriter::finish)?;
        write(&done, &seen)?;
        Ok(seen)
    }
}

/// The texts of the documents, one at a time.
fn texts(context: &Context) -> Result<impl Iterator<Item = Result<String>>> {
    let documents = metier_corpus::read_documents(&context.input("from")?.path.join(metier_corpus::TRAIN))?;
    Ok(documents.map(|document| Ok(document?.text)))
}

/// The `tokenizer.json` of a model, or of one that lies alone.
fn tokenizer_json(path: &Path) -> Result<String> {
    if Checkpoint::is_at(path) {
        return Ok(open_checkpoint(path)?.tokenizer_json);
    }
    let file = if path.is_dir() { path.join("tokenizer.json") } else { path.to_path_buf() };
    metier_tokenizer::scheme::json_of_file(&file)
}

/// What an interrupted call left in a file, if it did.
fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match std::fs::read_to_string(path) {
        Ok(text) => serde_json::from_str(&text).map(Some).map_err(|error| {
            let message = format!("what an interrupted run left is damaged: {error}");
            Error::file(path, message).hint("remove the folder `work` of the store")
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(path, "read the file", &error)),
    }
}

fn write(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string(value)
        .map_err(|error| Error::program(format!("{} does not serialize: {error}", path.display())))?;
    store::write_atomic(path, text)
}

fn write_manifest(
    context: &Context,
    extended: &Extended,
    tokenizer: &HuggingFace,
    report: &vocabulary::Report,
    by: &str,
) -> Result<()> {
    let new = (0_u32..).zip(&extended.tokens).filter_map(|(id, origin)| match origin {
        Origin::Kept(_) => None,
        Origin::Made(parts) => Some((id, parts)),
    });
    let tokens: Vec<serde_json::Value> = new
        .enumerate()
        .map(|(at, (id, parts))| {
            let bytes = tokenizer.bytes_of(id).unwrap_or_default();
            json!({
                "id": id,
                "text": String::from_utf8_lossy(&bytes),
                "parts": parts,
                "by": if report.unseen.contains(&at) { "subword_mean" } else { by },
                "sources": report.sources.as_ref().and_then(|sources| sources.get(at)),
            })
        })
        .collect();
    let text = serde_json::to_string_pretty(&json!({ "tokens": tokens }))
        .map_err(|error| Error::program(format!("the list of tokens does not serialize: {error}")))?;
    store::write_atomic(context.work.join(MANIFEST), text + "\n")
}
