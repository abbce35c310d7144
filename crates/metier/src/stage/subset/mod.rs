//! `subset`: documents that stand for all.

mod gains;
mod settings;
pub(super) mod states;

use super::model::{load_model, open_decoder};
use super::{Context, Flow, InputSlot, Kind, Machine, Outcome, Verb, Work, pack, placed};
use metier_core::progress::Progress;
use metier_core::settings::Table;
use metier_core::store::{Counts, Estimate, create_folder};
use metier_core::{Error, Fault, Place, Result, stop};
use metier_corpus::select::submodular::{self, Features, Part, first};
use metier_corpus::{TRAIN, pick, read_documents};
use metier_model::LocalModel;
use schemars::JsonSchema;
use serde_json::json;
pub(super) use settings::Compared;
use settings::{Choose, SubsetSettings, Worth};
use states::Pass;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

/// Bytes of text read and written in a second.
const BYTES_PER_SECOND: f64 = 20e6;
/// Similarities of documents, a thousand numbers each, that a thread computes and uses in a second.
const SIMILARITIES_PER_SECOND: f64 = 1e6;

/// The record of `subset`.
pub static VERB: Verb = Verb {
    name: "subset",
    version: 1,
    summary: "choose documents that stand for all, by what a model knows of them",
    makes: Kind::Documents,
    inputs: &[
        InputSlot {
            key: "from",
            kind: Kind::Documents,
            required: true,
            many: false,
            text: "the documents to choose from; those that are held out stay held out, all of them",
        },
        InputSlot {
            key: "model",
            kind: Kind::Model,
            required: false,
            many: false,
            text: "the model whose hidden states say how similar documents are: one that was trained on all of them for a while",
        },
        InputSlot {
            key: "after",
            kind: Kind::Documents,
            required: false,
            many: false,
            text: "in place of `model`: another `subset` of the same documents, whose order is drawn from anew",
        },
        InputSlot {
            key: "core",
            kind: Kind::Documents,
            required: false,
            many: false,
            text: "documents that are there already: chosen are those that add most to them, and none of them",
        },
    ],
    parts: &[],
    settings: <SubsetSettings as JsonSchema>::json_schema,
    read: read_settings,
};

struct Subset {
    settings: SubsetSettings,
    table: Table,
}

fn read_settings(table: &Table) -> Result<Box<dyn Work>> {
    let settings: SubsetSettings = table.read()?;
    settings.check(table)?;
    Ok(Box::new(Subset { settings, table: table.clone() }))
}

impl Work for Subset {
    fn settings(&self) -> serde_json::Value {
        json!({ "settings": self.settings })
    }

    fn check(&self, inputs: &BTreeMap<String, String>) -> Result<()> {
        let (model, after) = (inputs.contains_key("model"), inputs.contains_key("after"));
        let refuse = |key: &str, message: &str, hint: &str| Err(Error::user(Place::key(key), message).hint(hint));
        let even = self.settings.choose == Choose::Even;
        let beside = inputs.contains_key("core");
        let near = self.settings.function == Worth::FacilityLocation && self.settings.features == Compared::States;
        match (model, after) {
            (false, _) if beside => {
                refuse("core", "no model says what documents add to these", "name one under `model`")
            }
            (true, false) if beside && !near => refuse(
                "core",
                "only documents near one of a set, by what the model knows, can be near one of these",
                "leave out `core`, or `function` and `features`",
            ),
            (true, true) => refuse("after", "there are a model and an order", "leave out `model` or `after`"),
            (true, false) if even => refuse("model", "no model is asked for an even choice", "leave it out"),
            (false, true) if even => refuse("after", "an even choice follows no order", "leave it out"),
            (false, false) if !even => refuse(
                "model",
                "nothing says how similar documents are",
                "name a model, or under `after` a stage that had one; `choose = \"even\"` needs none",
            ),
            (true, false) => Ok(()),
            _ => match SubsetSettings::ordering(&self.table) {
                Some(key) => refuse(key, "no order is made here that it could decide", "leave it out"),
                None => Ok(()),
            },
        }
    }

    fn figures(&self, inputs: &BTreeMap<String, String>) -> Vec<String> {
        let mut names = vec!["bytes", "documents", "held_out_bytes", "held_out_documents", "parts"];
        if self.settings.choose != Choose::Even {
            names.push("gain_share");
        }
        if inputs.contains_key("model") {
            names.extend(["selection_seconds", "states_seconds", "tokens"]);
        }
        names.into_iter().map(str::to_owned).collect()
    }

    fn plan(&self, inputs: &BTreeMap<String, Flow>, machine: &Machine) -> Result<(Estimate, Flow)> {
        let flow = inputs.get("from").cloned().unwrap_or_default();
        let share = |count: Option<u64>| count.map(|count| (count as f64 * self.settings.fraction).ceil() as u64);
        let out = Flow {
            documents: share(flow.documents),
            bytes: share(flow.bytes),
            path: None,
            tokens: None,
            ..flow.clone()
        };
        let mut estimate = Estimate {
            rows: flow.documents,
            memory_bytes: Some((64 << 20) + lists(flow.documents.unwrap_or_default())),
            disk_bytes: out.bytes.map(|bytes| bytes + flow.held_out_bytes.unwrap_or_default()),
            seconds: flow.bytes.map(|bytes| 2.0 * bytes as f64 / BYTES_PER_SECOND),
            ..Estimate::default()
        };
        let model = inputs.get("model").and_then(|flow| flow.path.as_deref());
        if let (Some(path), Some(documents), Some(bytes)) = (model, flow.documents, flow.bytes) {
            let decoder = open_decoder(path)?;
            let (layers, width) = (decoder.config().layers, decoder.config().hidden_size as u64);
            let layer = states::layer_of(self.settings.layer, layers).map_err(|error| placed(&self.table, error))?;
            let tokens = bytes as f64 / pack::BYTES_PER_TOKEN;
            let length = (tokens / documents.max(1) as f64) as usize;
            let passed = layer as f64 / layers.max(1) as f64;
            let flop =
                decoder.flop_per_token(false, length.clamp(1, decoder.config().context_length)) * tokens * passed;
            let partitions = self.settings.of(documents).partitions as u64;
            let similarities = documents as f64 * documents.div_ceil(partitions.max(1)) as f64;
            let selection = similarities * (width as f64 / 1000.0) / SIMILARITIES_PER_SECOND / machine.threads as f64;
            estimate.tokens = Some(tokens as u64);
            estimate.flop = Some(flop);
            estimate.memory_bytes =
                Some(states::memory(&decoder).max(self.memory_of_selection(documents, width, machine.threads)));
            estimate.disk_bytes = estimate.disk_bytes.map(|bytes| bytes + documents * (4 * width + 200));
            let passing = flop / (machine.flop_per_second * super::SHARE_OF_PEAK);
            estimate.seconds = estimate.seconds.map(|seconds| seconds + passing + selection);
        }
        Ok((estimate, out))
    }

    fn run(&self, context: &Context) -> Result<Outcome> {
        let scratch = context.scratch()?;
        let from = context.input("from")?;
        let file = from.path.join(TRAIN);
        let mut figures: BTreeMap<String, f64> = BTreeMap::new();
        let mut note = |name: &str, value: f64| figures.insert(name.to_owned(), value);
        let parts = match (context.inputs.get("model"), context.inputs.get("after")) {
            (Some(model), _) => {
                let documents = counted(&file)?;
                // Known before the pass, and so said before it.
                self.settings
                    .of(documents.into())
                    .check(documents as usize)
                    .map_err(|error| placed(&self.table, error))?;
                let began = Instant::now();
                let model = load_model(&model.path)?;
                let (features, mut tokens) = self.features(context, &model, &file, documents, &scratch)?;
                let mut nearest = None;
                if let Some(core) = context.inputs.get("core") {
                    let (file, scratch) = (core.path.join(TRAIN), scratch.join("core"));
                    create_folder(&scratch)?;
                    let (core, more) = self.features(context, &model, &file, counted(&file)?, &scratch)?;
                    nearest = Some(features.nearest(&core));
                    tokens += more;
                }
                note("states_seconds", began.elapsed().as_secs_f64());
                note("tokens", tokens as f64);
                let began = Instant::now();
                let parts = self.ordered(context, &features, nearest.as_deref(), documents)?;
                note("selection_seconds", began.elapsed().as_secs_f64());
                parts
            }
            (None, Some(after)) => gains::read(&from.path, &after.path, self.settings.temperature)?,
            (None, None) => {
                let rows = counted(&file)?;
                let alike = vec![1.0 / f64::from(rows); rows as usize];
                vec![Part { rows: (0..rows).collect(), gains: vec![0.0; rows as usize], weights: alike }]
            }
        };
        let documents: u64 = parts.iter().map(|part| part.rows.len() as u64).sum();
        let _held = context.budget.reserve(lists(documents), "what is known of each document")?;
        let (fraction, seed) = (self.settings.fraction, context.seed.derive("draw"));
        let chosen = match self.settings.choose {
            Choose::First => first(&parts, fraction)?,
            Choose::Weighted | Choose::Even => submodular::subset(&parts, fraction, seed, self.settings.round)?,
        };
        let [train, held_out] = pick(&from.path, &chosen, context.work)?;
        note("bytes", train.bytes as f64);
        note("documents", train.documents as f64);
        note("held_out_bytes", held_out.bytes as f64);
        note("held_out_documents", held_out.documents as f64);
        note("parts", parts.len() as f64);
        let mut table = None;
        if self.settings.choose != Choose::Even {
            let told = gains::write(&from.path, context.work, &parts, &chosen)?;
            note("gain_share", told.gain_share);
            table = Some(told.table);
        }
        let mut counts = Counts {
            read: documents + held_out.documents,
            out: train.documents + held_out.documents,
            ..Counts::default()
        };
        counts.dropped.insert("not chosen".to_owned(), documents - train.documents);
        Ok(Outcome { counts, figures, table })
    }
}

impl Subset {
    /// What documents are compared by, and how many tokens were read for it.
    fn features(
        &self,
        context: &Context,
        model: &LocalModel,
        file: &Path,
        documents: u32,
        scratch: &Path,
    ) -> Result<(Features, u64)> {
        let layer = states::layer_of(self.settings.layer, model.decoder().config().layers)
            .map_err(|error| placed(&self.table, error))?;
        let width = model.decoder().config().hidden_size;
        let _held = context.budget.reserve(states::memory(model.decoder()), "the pass through the model")?;
        let (compared, seed) = (self.settings.features, context.seed);
        let pass = Pass { model, layer, compared, seed, file, documents: documents as usize };
        let (values, tokens) = pass.run(width, scratch)?;
        Ok((Features::new(values, width)?, tokens))
    }

    fn ordered(
        &self,
        context: &Context,
        features: &Features,
        nearest: Option<&[f32]>,
        documents: u32,
    ) -> Result<Vec<Part>> {
        let settings = self.settings.of(documents.into());
        let width = (features.dimension()) as u64;
        let memory = self.memory_of_selection(documents.into(), width, context.machine.threads);
        let _held = context.budget.reserve(memory, "the similarities of parts")?;
        let progress = Progress::new("orders", Some(settings.partitions as u64), "parts");
        let parts = submodular::parts(features, &settings, nearest, context.seed, &|| {
            progress.add(1);
            stop::check()
        })?;
        progress.finish();
        Ok(parts)
    }

    /// Of all features, of the similarities of one part for each thread, and of lists of documents.
    fn memory_of_selection(&self, documents: u64, width: u64, threads: usize) -> u64 {
        let partitions = self.settings.of(documents).partitions as u64;
        // Features are read from the disk as a whole before they are taken apart.
        documents * 8 * width + lists(documents) + submodular::planned_memory(documents, partitions, threads as u64)
    }
}

/// Bytes of what is held of documents: their parts, gains and weights, and which are chosen.
fn lists(documents: u64) -> u64 {
    documents * 200
}

/// How many documents there are to choose from.
pub(super) fn counted(file: &Path) -> Result<u32> {
    let mut documents = 0_u64;
    for document in read_documents(file)? {
        document?;
        documents += 1;
        stop::check()?;
    }
    if let Ok(number @ 2..) = u32::try_from(documents) {
        return Ok(number);
    }
    let fault = Fault::new(Place::file(file), format!("there are {documents} documents to choose from"));
    Err(fault.hint("a subset is one of two documents or more, and of fewer than four billion").into())
}
