//! Stage verbs: what a recipe can do, what each needs, and what it makes.
//!
//! A verb is one file: its record, the reading of its settings, its plan and its work. The runner
//! knows verbs only by [`VERBS`].

use crate::fetch::AssetKind;
use metier_core::memory::Budget;
use metier_core::part::{Chosen, Part, Record as PartRecord, choose};
use metier_core::seed::Seed;
use metier_core::settings::Table;
use metier_core::store::{Counts, Estimate, Record};
use metier_core::{Error, Fault, Place, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

mod advise;
mod balance;
mod blend;
mod compare;
mod create;
mod curate;
mod dedupe;
mod diversity;
mod encipher;
mod eval;
mod export;
mod extend;
mod fit;
mod held_out;
mod importance;
mod judge;
mod merge;
mod mine;
mod mix;
mod model;
mod pack;
mod plant;
mod quota;
mod repeats;
mod semantic;
mod subset;
mod synthesize;
mod tokenizer;
mod train;
mod train_tagger;

pub use compare::{comparison_table, domain};
pub use model::{calling_model, load_model_as_stored, open_checkpoint, open_tokenizer};
pub use train::{NUMBERS, objective_of};

/// Share of the measured peak that training and scoring reach, for plans; measured on the quickstart.
const SHARE_OF_PEAK: f64 = 0.6;

/// Every stage verb, in alphabetical order.
pub static VERBS: &[&Verb] = &[
    &advise::VERB,
    &balance::VERB,
    &blend::VERB,
    &compare::VERB,
    &create::VERB,
    &curate::VERB,
    &dedupe::VERB,
    &diversity::VERB,
    &encipher::VERB,
    &eval::VERB,
    &export::VERB,
    &extend::VERB,
    &fit::VERB,
    &importance::VERB,
    &judge::VERB,
    &merge::VERB,
    &mine::VERB,
    &mix::VERB,
    &pack::VERB,
    &plant::VERB,
    &quota::VERB,
    &repeats::VERB,
    &semantic::VERB,
    &subset::VERB,
    &synthesize::VERB,
    &tokenizer::VERB,
    &train::VERB,
    &train_tagger::VERB,
];

/// What a stage makes, or an asset is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file or folder of raw data.
    Data,
    /// Curated documents, train and held out.
    Documents,
    /// Questions with their answers, in a file or beside documents.
    Questions,
    /// A vocabulary with what it needs to encode.
    Tokenizer,
    /// Token shards with provenance.
    Shards,
    /// What training changed: an adapter or all weights.
    Training,
    /// A model folder or file that can be loaded.
    Model,
    /// Measured windows and figures.
    Evaluation,
    /// Fitted laws of mixing.
    Law,
    /// How much each unit of a model matters for a text.
    Importance,
    /// Figures for people and checks.
    Report,
    /// A classifier of texts.
    Tagger,
}

impl From<AssetKind> for Kind {
    fn from(kind: AssetKind) -> Self {
        match kind {
            AssetKind::Data => Self::Data,
            AssetKind::Model => Self::Model,
        }
    }
}

impl Kind {
    /// Whether it can be taken where `wanted` is: a model has a tokenizer, and questions lie beside documents or in a file.
    pub fn serves_as(self, wanted: Self) -> bool {
        match wanted {
            Self::Tokenizer => matches!(self, Self::Tokenizer | Self::Model),
            Self::Questions => matches!(self, Self::Questions | Self::Documents | Self::Data),
            _ => self == wanted,
        }
    }

    /// The word used in messages.
    pub fn word(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Documents => "documents",
            Self::Questions => "questions",
            Self::Tokenizer => "a tokenizer",
            Self::Shards => "shards",
            Self::Training => "a training result",
            Self::Model => "a model",
            Self::Evaluation => "an evaluation",
            Self::Law => "a fitted law",
            Self::Importance => "importances of units",
            Self::Report => "a report",
            Self::Tagger => "a classifier of texts",
        }
    }
}

/// A key of a stage that names other stages or assets.
pub struct InputSlot {
    /// The key.
    pub key: &'static str,
    /// What it must name.
    pub kind: Kind,
    /// Whether it may be left out.
    pub required: bool,
    /// A table of names (`{ domain = "documents" }`); one name alone is called like the key.
    pub many: bool,
    /// What it is for.
    pub text: &'static str,
}

/// A key of a stage that names members of a family.
pub struct PartSlot {
    /// The key.
    pub key: &'static str,
    /// What the family is called in messages.
    pub family: &'static str,
    /// A list of members, applied in order.
    pub many: bool,
    /// The member taken when the key, or its `method`, is left out; `None` makes a single slot required.
    pub default: Option<&'static str>,
    /// The members.
    pub members: fn() -> Vec<PartRecord>,
}

/// The record of one stage verb.
pub struct Verb {
    /// What a recipe writes after `do`.
    pub name: &'static str,
    /// Raised whenever its output changes for the same settings and inputs.
    pub version: u32,
    /// One line for `list` and `--help`.
    pub summary: &'static str,
    /// What it makes.
    pub makes: Kind,
    /// Keys that name stages or assets.
    pub inputs: &'static [InputSlot],
    /// Keys that name parts.
    pub parts: &'static [PartSlot],
    /// The schema of its own settings.
    pub settings: fn(&mut schemars::SchemaGenerator) -> schemars::Schema,
    /// Reads its own settings and parts; the table has no `name`, `do`, input or unknown keys left.
    pub read: fn(&Table) -> Result<Box<dyn Work>>,
}

impl Verb {
    /// Every key that a stage of this verb may have: inputs and parts first, then its own settings.
    pub fn keys(&self) -> Vec<String> {
        let schema = (self.settings)(&mut schemars::SchemaGenerator::default());
        let own = schema.get("properties").and_then(|properties| properties.as_object());
        let slots = self.inputs.iter().map(|slot| slot.key).chain(self.parts.iter().map(|slot| slot.key));
        let own = own.into_iter().flat_map(|properties| properties.keys().cloned());
        slots.map(str::to_owned).chain(own).collect()
    }
}

/// A stage as it was asked for.
pub trait Work: Send + Sync {
    /// Everything that decides the output besides the inputs: settings, and parts with their versions.
    fn settings(&self) -> serde_json::Value;

    /// Refuses inputs that do not go together, given their names by key; the key of a fault's place is one of the stage.
    fn check(&self, _inputs: &BTreeMap<String, String>) -> Result<()> {
        Ok(())
    }

    /// The figures it will report, given the names of its inputs.
    fn figures(&self, inputs: &BTreeMap<String, String>) -> Vec<String>;

    /// What it will cost and make.
    fn plan(&self, inputs: &BTreeMap<String, Flow>, machine: &Machine) -> Result<(Estimate, Flow)>;

    /// Does it. `context.work` survives an interruption; the same call on what is left there resumes.
    fn run(&self, context: &Context) -> Result<Outcome>;
}

/// What passes from stage to stage, as far as it is known before running.
#[derive(Debug, Clone, Default)]
pub struct Flow {
    /// Documents to train on.
    pub documents: Option<u64>,
    /// Bytes of text to train on.
    pub bytes: Option<u64>,
    /// Bytes of text held out.
    pub held_out_bytes: Option<u64>,
    /// Tokens.
    pub tokens: Option<u64>,
    /// Where the data or model lies, when it is here already.
    pub path: Option<PathBuf>,
    /// What a person should know before the stage runs.
    pub notes: Vec<String>,
}

/// What this machine can do, measured in half a second.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Machine {
    /// f32 multiply-adds of a matrix product with all threads, FLOP/s.
    pub flop_per_second: f64,
    /// Bytes a second copied in memory.
    pub copy_bytes_per_second: f64,
    /// Bytes a second written to the store's disk and synced.
    pub disk_bytes_per_second: f64,
    /// Threads in use.
    pub threads: usize,
}

/// One input as it lies on disk.
pub struct Input {
    /// The stage's or asset's name.
    pub name: String,
    /// The artifact's id or the asset's content hash.
    pub id: String,
    /// Where it lies.
    pub path: PathBuf,
    /// What the recipe says about the asset's license.
    pub license: Option<String>,
}

/// What a stage is given to work with.
pub struct Context<'a> {
    /// The stage's name.
    pub stage: &'a str,
    /// By key (`from`, `texts.domain`).
    pub inputs: &'a BTreeMap<String, Input>,
    /// The folder to write into.
    pub work: &'a Path,
    /// The stage's own seed.
    pub seed: Seed,
    /// How much memory may be used.
    pub budget: &'a Budget,
    /// What this machine can do.
    pub machine: Machine,
    /// Whether what happens is to be told as lines of JSON on standard output.
    pub events: bool,
    /// The scheduler of a cluster that works on documents.
    pub cluster: Option<&'a str>,
}

impl Context<'_> {
    /// The input under a key that the verb requires.
    pub fn input(&self, key: &str) -> Result<&Input> {
        self.inputs.get(key).ok_or_else(|| {
            Fault::new(Place::key(format!("stage `{}`", self.stage)), format!("input `{key}` is missing")).into()
        })
    }

    /// Empties the work folder: for stages that start over rather than resume.
    pub fn start_over(&self) -> Result<()> {
        self.empty_but(&[metier_core::store::KEY_FILE])
    }

    /// A folder in the work folder that outlives an interruption, and is removed in the end. All else is removed now: for
    /// stages that go on from what lies there and write their result anew.
    pub fn scratch(&self) -> Result<PathBuf> {
        self.empty_but(&[metier_core::store::KEY_FILE, metier_core::store::SCRATCH])?;
        let path = self.work.join(metier_core::store::SCRATCH);
        metier_core::store::create_folder(&path)?;
        Ok(path)
    }

    fn empty_but(&self, kept: &[&str]) -> Result<()> {
        let failed = |error: std::io::Error| Error::io(self.work, "empty the folder", &error);
        for entry in std::fs::read_dir(self.work).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if kept.iter().any(|name| entry.file_name() == *name) {
                continue;
            }
            let path = entry.path();
            if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) }.map_err(failed)?;
        }
        Ok(())
    }
}

/// What a stage has to say when it is done.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Rows in, out and dropped by reason.
    pub counts: Counts,
    /// Named numbers that checks and reports use.
    pub figures: BTreeMap<String, f64>,
    /// A table for people.
    pub table: Option<String>,
}

/// What is named under a key: by its name in the key's table, or by the key where there is no table.
pub(super) fn named<'a, T>(inputs: &'a BTreeMap<String, T>, key: &'a str) -> impl Iterator<Item = (&'a str, &'a T)> {
    inputs.iter().filter_map(move |(slot, value)| {
        let rest = slot.strip_prefix(key)?;
        Some((if rest.is_empty() { key } else { rest.strip_prefix('.')? }, value))
    })
}

/// The record of what an input is.
fn record_of(input: &Input) -> Result<Record> {
    let path = input.path.join("record.json");
    let text = std::fs::read(&path).map_err(|error| Error::io(&path, "read the record", &error))?;
    serde_json::from_slice(&text).map_err(|error| Error::file(&path, format!("the record is broken: {error}")))
}

/// The same faults; those at a key are at its place in the table.
fn placed(table: &Table, mut error: Error) -> Error {
    for fault in &mut error.faults {
        if let Some(key) = &fault.place.key {
            fault.place = table.place_of(key);
        }
    }
    error
}

/// The verb called `name`.
pub fn find(name: &str) -> Option<&'static Verb> {
    VERBS.iter().copied().find(|verb| verb.name == name)
}

/// The member under a single-part key; the default one where none is named.
fn one<F: ?Sized + 'static>(table: &Table, slot: &PartSlot, members: &[&'static Part<F>]) -> Result<Chosen<F>> {
    let mut chosen = match (table.table(slot.key)?, slot.default) {
        (Some(chosen), _) => chosen,
        (None, Some(_)) => Table::empty(slot.key),
        (None, None) => {
            let hint =
                format!("write `{} = {{ method = \"...\" }}`; `metier list` shows every {}", slot.key, slot.family);
            return Err(Fault::new(table.place(), format!("no `{}` is given", slot.key)).hint(hint).into());
        }
    };
    if let Some(default) = slot.default
        && !chosen.contains("method")
    {
        chosen.set("method", default)?;
    }
    choose(slot.family, members, &chosen)
}

/// The members under a list key, in order; none when it is left out.
fn many<F: ?Sized + 'static>(table: &Table, slot: &PartSlot, members: &[&'static Part<F>]) -> Result<Vec<Chosen<F>>> {
    let mut faults = Vec::new();
    let mut out = Vec::new();
    for entry in table.tables(slot.key)? {
        match choose(slot.family, members, &entry) {
            Ok(chosen) => out.push(chosen),
            Err(error) => faults.extend(error.faults),
        }
    }
    Error::collect(out, faults)
}

/// Joins the faults of several readings, so that they are reported together.
#[derive(Default)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    /// The value, or `None` with the faults kept.
    pub fn take<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.0.extend(error.faults)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_are_listed_once_in_order() {
        let names: Vec<_> = VERBS.iter().map(|verb| verb.name).collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(names, sorted);
    }

    #[test]
    fn no_setting_of_a_part_has_the_name_that_chooses_the_part() {
        let mut parts = 0;
        for slot in VERBS.iter().flat_map(|verb| verb.parts) {
            for record in (slot.members)() {
                let schema = record.schema();
                assert!(schema.pointer("/properties/method").is_none(), "{} {}", slot.family, record.name);
                parts += 1;
            }
        }
        assert!(parts > 50);
    }
}
