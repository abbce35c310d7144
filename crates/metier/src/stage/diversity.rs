//! `diversity`: how different the documents of a set are, as a model sees them and by their words.

use super::model::load_model;
use super::subset::states::{self, Pass};
use super::subset::{Compared, counted};
use super::{Context, Flow, InputSlot, Kind, Machine, Outcome, Verb, Work};
use crate::command::table;
use metier_core::page::short;
use metier_core::settings::Table;
use metier_core::store::{Counts, Estimate};
use metier_core::{Fault, Result, stop};
use metier_corpus::select::diversity::{WordPairs, diversity};
use metier_corpus::select::submodular::Features;
use metier_corpus::{TRAIN, read_documents};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;

const FIGURES: [&str; 7] = ["distance", "documents", "log_det", "tokens", "vendi", "vendi_share", "word_pair_bits"];

/// The record of `diversity`.
pub static VERB: Verb = Verb {
    name: "diversity",
    version: 1,
    summary: "say how different the documents of a set are, as a model sees them and by their words",
    makes: Kind::Report,
    inputs: &[
        InputSlot {
            key: "from",
            kind: Kind::Documents,
            required: true,
            many: false,
            text: "the documents; those that are held out do not count",
        },
        InputSlot {
            key: "model",
            kind: Kind::Model,
            required: true,
            many: false,
            text: "the model whose hidden states say how similar documents are",
        },
    ],
    parts: &[],
    settings: <DiversitySettings as JsonSchema>::json_schema,
    read: read_settings,
};

/// A document is the mean of its hidden states, and two are as similar as the cosine between these. Said are the mean of 1 minus the cosine over all pairs; the Vendi score
/// (Friedman and Dieng 2023, arXiv:2210.02410), as many documents with nothing in common have it; the logarithm of the determinant of the cosines, 10⁻³
/// added to their diagonal, for each document; and the entropy of pairs of neighboring words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct DiversitySettings {
    /// Blocks of the model behind which hidden states are taken; three quarters of all when it is left out.
    #[schemars(range(min = 1))]
    layer: Option<usize>,
}

struct Diversity {
    settings: DiversitySettings,
    table: Table,
}

fn read_settings(table: &Table) -> Result<Box<dyn Work>> {
    let settings: DiversitySettings = table.read()?;
    if settings.layer == Some(0) {
        return Err(Fault::new(table.place_of("layer"), "0 is out of range").hint("it is at least 1").into());
    }
    Ok(Box::new(Diversity { settings, table: table.clone() }))
}

impl Work for Diversity {
    fn settings(&self) -> serde_json::Value {
        json!({ "settings": self.settings })
    }

    fn figures(&self, _: &BTreeMap<String, String>) -> Vec<String> {
        FIGURES.map(str::to_owned).to_vec()
    }

    fn plan(&self, inputs: &BTreeMap<String, Flow>, _: &Machine) -> Result<(Estimate, Flow)> {
        let documents = inputs.get("from").and_then(|flow| flow.documents);
        Ok((Estimate { rows: documents, ..Estimate::default() }, Flow::default()))
    }

    fn run(&self, context: &Context) -> Result<Outcome> {
        let scratch = context.scratch()?;
        let file = context.input("from")?.path.join(TRAIN);
        let documents = counted(&file)?;
        let model = load_model(&context.input("model")?.path)?;
        let config = model.decoder().config();
        let layer = states::layer_of(self.settings.layer, config.layers).map_err(|mut error| {
            error.faults.iter_mut().for_each(|fault| fault.place = self.table.place_of("layer"));
            error
        })?;
        let width = config.hidden_size;
        let _held = context.budget.reserve(states::memory(model.decoder()), "the pass through the model")?;
        let pass = Pass {
            model: &model,
            layer,
            compared: Compared::States,
            seed: context.seed,
            file: &file,
            documents: documents as usize,
        };
        let (values, tokens) = pass.run(width, &scratch)?;
        let square = (documents as usize).min(width) as u64;
        let _measured = context.budget.reserve(4 * values.len() as u64 + 16 * square * square, "the similarities")?;
        let found = diversity(&Features::new(values, width)?)?;
        let mut pairs = WordPairs::default();
        for document in read_documents(&file)? {
            stop::check()?;
            pairs.add(&document?.text);
        }
        let count = f64::from(documents);
        let figures = [
            ("distance", found.distance),
            ("documents", count),
            ("log_det", found.log_det),
            ("tokens", tokens as f64),
            ("vendi", found.vendi),
            ("vendi_share", found.vendi / count),
            ("word_pair_bits", pairs.entropy()),
        ];
        let rows: Vec<Vec<String>> =
            figures.iter().map(|(name, value)| vec![(*name).to_owned(), short(*value)]).collect();
        Ok(Outcome {
            counts: Counts { read: documents.into(), out: documents.into(), ..Counts::default() },
            figures: figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            table: Some(table(&["figure", "value"], &rows, &[false, true])),
        })
    }
}
