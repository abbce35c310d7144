//! `curate`: raw files to chosen documents.

use super::model::{load_model, open_decoder};
use super::{Context, Faults, Flow, InputSlot, Kind, Machine, Outcome, PartSlot, Verb, Work, many, named, one, pack};
use crate::cluster::Cluster;
use metier_core::memory::Reservation;
use metier_core::part::Chosen;
use metier_core::progress::Progress;
use metier_core::seam::Score;
use metier_core::settings::Table;
use metier_core::store::{Counts, Estimate};
use metier_core::{Error, Fault, Place, Result};
use metier_corpus::read::store::is_address;
use metier_corpus::{CurateSettings, Parts, Task, dedup, filter, read, select, tag};
use metier_model::Decoder;
use schemars::JsonSchema;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// Bytes of text read, cleaned and compared in a second on one thread; measured on the quickstart.
const BYTES_PER_SECOND: f64 = 12e6;

const READ: PartSlot =
    PartSlot { key: "read", family: "read", many: false, default: Some("text"), members: read::records };
const FILTER: PartSlot =
    PartSlot { key: "filter", family: "filter", many: true, default: None, members: filter::records };
const TAG: PartSlot = PartSlot { key: "tag", family: "tag", many: true, default: None, members: tag::records };
const DEDUP: PartSlot = PartSlot { key: "dedup", family: "dedup", many: true, default: None, members: dedup::records };
const SELECT: PartSlot =
    PartSlot { key: "select", family: "select", many: false, default: Some("hold_out"), members: select::records };

/// The record of `curate`.
pub static VERB: Verb = Verb {
    name: "curate",
    version: 2,
    summary: "read raw files, clean, tag, drop duplicates, and hold documents out",
    makes: Kind::Documents,
    inputs: &[
        InputSlot { key: "from", kind: Kind::Data, required: true, many: false, text: "the folder or file to read" },
        InputSlot {
            key: "model",
            kind: Kind::Model,
            required: false,
            many: true,
            text: "models that the tagger `perplexity` asks; each is asked by one",
        },
    ],
    parts: &[READ, FILTER, TAG, DEDUP, SELECT],
    settings: <CurateSettings as JsonSchema>::json_schema,
    read: read_settings,
};

struct Curate {
    settings: CurateSettings,
    read: Chosen<dyn read::Read>,
    filters: Vec<Chosen<dyn filter::Filter>>,
    tags: Vec<Chosen<dyn tag::Tag>>,
    dedups: Vec<Chosen<dyn dedup::Deduplicate>>,
    select: Chosen<dyn select::Select>,
}

fn read_settings(table: &Table) -> Result<Box<dyn Work>> {
    let mut faults = Faults::default();
    let settings = faults.take(table.without(&["read", "filter", "tag", "dedup", "select"]).read::<CurateSettings>());
    let read = faults.take(one(table, &READ, read::READ));
    let filters = faults.take(many(table, &FILTER, filter::FILTER));
    let tags = faults.take(many(table, &TAG, tag::TAG));
    let dedups = faults.take(many(table, &DEDUP, dedup::DEDUP));
    let select = faults.take(one(table, &SELECT, select::SELECT));
    match (settings, read, filters, tags, dedups, select) {
        (Some(settings), Some(read), Some(filters), Some(tags), Some(dedups), Some(select)) => {
            Ok(Box::new(Curate { settings, read, filters, tags, dedups, select }))
        }
        _ => Err(Error { faults: faults.0, blame: metier_core::Blame::User }),
    }
}

/// Tokens that a tagger gives a model at once, about.
const ASKED_TOKENS: usize = 2048;

/// Of the weights, and of what each thread computes of a batch.
fn asked_memory(decoder: &Decoder, machine: &Machine) -> u64 {
    let plan = decoder.memory_plan(ASKED_TOKENS);
    let passing = plan.activations / decoder.config().layers.max(1) as u64;
    plan.weights + passing * machine.threads as u64
}

impl Curate {
    /// Loads the models that taggers ask, and gives them to these.
    fn give_models(&self, context: &Context) -> Result<Vec<Reservation>> {
        let mut held = Vec::new();
        for (name, input) in named(context.inputs, "model") {
            if context.cluster.is_some() {
                let message = format!("the model `{name}` cannot be asked on a cluster");
                return Err(Error::user(Place::key("model"), message).hint("run this stage without `--cluster`"));
            }
            let memory = asked_memory(&open_decoder(&input.path)?, &context.machine);
            held.push(context.budget.reserve(memory, "a model that taggers ask")?);
            let model: Arc<dyn Score> = Arc::new(load_model(&input.path)?);
            let asking = self.tags.iter().filter(|tag| tag.part.asks() == Some(name));
            asking.for_each(|tag| tag.part.give(Arc::clone(&model)));
        }
        Ok(held)
    }

    /// What other machines have to know.
    fn task(&self, path: &Path, settings: &CurateSettings) -> Result<Task> {
        if is_address(path) {
            let fault = Fault::new(Place::file(path), "a cluster reads folders that all its machines see, not stores");
            return Err(fault.hint("leave out `--cluster`, or copy the files to such a folder").into());
        }
        let path = std::path::absolute(path).map_err(|error| Error::io(path, "find", &error))?;
        let filters = self.filters.iter().map(|filter| (filter.identity(), filter.part.data())).collect();
        let tags = self.tags.iter().map(|tag| (tag.identity(), tag.part.model())).collect();
        Ok(Task { path, settings: settings.clone(), read: self.read.identity(), filters, tags })
    }
}

impl Work for Curate {
    fn settings(&self) -> serde_json::Value {
        json!({
            "settings": self.settings,
            "read": self.read.identity(),
            "filter": self.filters.iter().map(Chosen::identity).collect::<Vec<_>>(),
            "filter_data": self.filters.iter().filter_map(|chosen| chosen.part.data()).collect::<Vec<_>>(),
            "tag": self.tags.iter().map(Chosen::identity).collect::<Vec<_>>(),
            "tag_models": self.tags.iter().map(|chosen| chosen.part.model()).collect::<Vec<_>>(),
            "dedup": self.dedups.iter().map(Chosen::identity).collect::<Vec<_>>(),
            "select": self.select.identity(),
        })
    }

    fn check(&self, inputs: &BTreeMap<String, String>) -> Result<()> {
        let asked: BTreeSet<&str> = self.tags.iter().filter_map(|tag| tag.part.asks()).collect();
        let given: BTreeSet<&str> = named(inputs, "model").map(|(name, _)| name).collect();
        if let Some(lacking) = asked.difference(&given).next() {
            return Err(Error::user(Place::key("tag"), format!("a tagger asks a model called `{lacking}`"))
                .hint("give the stage one: `model = \"...\"`, or several by their names"));
        }
        if let Some(idle) = given.difference(&asked).next() {
            return Err(Error::user(Place::key("model"), format!("no tagger asks the model `{idle}`"))
                .hint("leave it out, or let `perplexity` ask it"));
        }
        Ok(())
    }

    fn figures(&self, _: &BTreeMap<String, String>) -> Vec<String> {
        let own =
            ["bytes", "documents", "held_out_bytes", "held_out_documents", "partial_documents"].map(str::to_owned);
        own.into_iter().chain(self.filters.iter().flat_map(|filter| filter.part.figure_names())).collect()
    }

    fn plan(&self, inputs: &BTreeMap<String, Flow>, machine: &Machine) -> Result<(Estimate, Flow)> {
        let Some(path) = inputs.get("from").and_then(|flow| flow.path.as_deref()) else {
            return Ok((Estimate::default(), Flow::default()));
        };
        let size = self.read.part.size(path)?;
        let held_out = self.select.part.expected_share(size.documents);
        let text = size.text_bytes as f64;
        let mut seconds = text / BYTES_PER_SECOND / machine.threads as f64 + 2.0 * text / machine.disk_bytes_per_second;
        let mut memory = metier_corpus::planned_memory(size);
        for path in named(inputs, "model").filter_map(|(_, flow)| flow.path.as_deref()) {
            let decoder = open_decoder(path)?;
            let context = ASKED_TOKENS.min(decoder.config().context_length);
            // With what comes before, each token is computed about twice.
            let flop = 2.0 * decoder.flop_per_token(false, context) * text / pack::BYTES_PER_TOKEN;
            seconds += flop / (machine.flop_per_second * super::SHARE_OF_PEAK);
            memory += asked_memory(&decoder, machine);
        }
        let estimate = Estimate {
            rows: Some(size.documents),
            memory_bytes: Some(memory),
            disk_bytes: Some(size.text_bytes),
            seconds: Some(seconds),
            ..Estimate::default()
        };
        let flow = Flow {
            documents: Some(((1.0 - held_out) * size.documents as f64).round() as u64),
            bytes: Some(((1.0 - held_out) * text) as u64),
            held_out_bytes: Some((held_out * text) as u64),
            ..Flow::default()
        };
        Ok((estimate, flow))
    }

    fn run(&self, context: &Context) -> Result<Outcome> {
        let from = context.input("from")?;
        let progress = Progress::new("documents", None, "documents");
        let mut settings = self.settings.clone();
        settings.license = settings.license.or_else(|| from.license.clone());
        let cluster = match context.cluster {
            Some(scheduler) => {
                Some(Cluster { scheduler: scheduler.to_owned(), task: self.task(&from.path, &settings)? })
            }
            None => None,
        };
        let parts = Parts {
            read: self.read.part.as_ref(),
            filters: self.filters.iter().map(|chosen| chosen.part.as_ref()).collect(),
            tags: self.tags.iter().map(|chosen| chosen.part.as_ref()).collect(),
            dedups: self.dedups.iter().map(|chosen| chosen.part.as_ref()).collect(),
            select: self.select.part.as_ref(),
            cluster: cluster.as_ref().map(|cluster| cluster as &dyn metier_corpus::Cluster),
        };
        let _held = self.give_models(context)?;
        let report = metier_corpus::curate(&settings, &parts, &from.path, context.seed, context.work, &progress)?;
        progress.finish();
        let mut figures: BTreeMap<String, f64> = parts.filters.iter().flat_map(|filter| filter.figures()).collect();
        figures.extend([
            ("documents".to_owned(), report.kept as f64),
            ("bytes".to_owned(), report.bytes as f64),
            ("held_out_documents".to_owned(), report.held_out as f64),
            ("held_out_bytes".to_owned(), report.held_out_bytes as f64),
            ("partial_documents".to_owned(), report.partial as f64),
        ]);
        Ok(Outcome {
            counts: Counts { read: report.read, out: report.kept + report.held_out, dropped: report.dropped },
            figures,
            table: None,
        })
    }
}
