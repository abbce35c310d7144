//! `semantic`: documents with a tag on how near the nearest of those before them is, as a model sees them.

use super::model::{load_model, open_decoder};
use super::{Context, Flow, InputSlot, Kind, Machine, Outcome, Verb, Work, pack, placed};
use metier_core::Result;
use metier_core::seam::Tokenize;
use metier_core::settings::Table;
use metier_core::store::{Counts, Estimate};
use metier_corpus::dedup::semantic::{ABOVE, SemanticSettings, planned_memory, semantic};
use metier_model::Decoder;
use schemars::JsonSchema;
use serde_json::json;
use std::collections::BTreeMap;

/// Rows that the model computes at once, if no text is longer.
const ROWS: usize = 2048;

/// The record of `semantic`.
pub static VERB: Verb = Verb {
    name: "semantic",
    version: 1,
    summary: "tag documents with how near the nearest of those before them is, as a model sees them",
    makes: Kind::Documents,
    inputs: &[
        InputSlot {
            key: "from",
            kind: Kind::Documents,
            required: true,
            many: false,
            text: "curated documents; those that are held out are compared too",
        },
        InputSlot {
            key: "model",
            kind: Kind::Model,
            required: true,
            many: false,
            text: "the model whose vectors say how near documents are",
        },
    ],
    parts: &[],
    settings: <SemanticSettings as JsonSchema>::json_schema,
    read: read_settings,
};

struct Semantic {
    settings: SemanticSettings,
    table: Table,
}

fn read_settings(table: &Table) -> Result<Box<dyn Work>> {
    Ok(Box::new(Semantic { settings: table.read()?, table: table.clone() }))
}

/// Most memory that the pass through the model holds.
fn memory_of_pass(decoder: &Decoder) -> u64 {
    let plan = decoder.memory_plan(ROWS.max(decoder.config().context_length));
    plan.weights + plan.activations / decoder.config().layers.max(1) as u64 + (64 << 20)
}

impl Work for Semantic {
    fn settings(&self) -> serde_json::Value {
        json!({ "settings": self.settings })
    }

    fn figures(&self, _: &BTreeMap<String, String>) -> Vec<String> {
        let above = ABOVE.map(|bound| format!("above_{bound}"));
        let own = ["clusters", "documents", "held_out_documents", "iterations", "largest_cluster", "tokens"];
        above.into_iter().chain(own.map(str::to_owned)).collect()
    }

    fn plan(&self, inputs: &BTreeMap<String, Flow>, machine: &Machine) -> Result<(Estimate, Flow)> {
        let flow = inputs.get("from").cloned().unwrap_or_default();
        let mut estimate = Estimate { rows: flow.documents, ..Estimate::default() };
        let model = inputs.get("model").and_then(|flow| flow.path.as_deref());
        if let (Some(path), Some(documents), Some(bytes)) = (model, flow.documents, flow.bytes) {
            let decoder = open_decoder(path)?;
            let width = decoder.config().hidden_size as u64;
            let all = bytes + flow.held_out_bytes.unwrap_or_default();
            let tokens = all as f64 / pack::BYTES_PER_TOKEN;
            let length = (tokens / documents.max(1) as f64) as usize;
            let flop = decoder.flop_per_token(false, length.clamp(1, decoder.config().context_length)) * tokens;
            estimate.tokens = Some(tokens as u64);
            estimate.flop = Some(flop);
            estimate.memory_bytes = Some(memory_of_pass(&decoder) + planned_memory(&self.settings, documents, width));
            estimate.disk_bytes = Some(all + documents * 4 * (width + 1));
            estimate.seconds = Some(flop / (machine.flop_per_second * super::SHARE_OF_PEAK));
        }
        Ok((estimate, Flow { path: None, ..flow }))
    }

    fn run(&self, context: &Context) -> Result<Outcome> {
        let scratch = context.scratch()?;
        let model = load_model(&context.input("model")?.path)?;
        let _held = context.budget.reserve(memory_of_pass(model.decoder()), "the pass through the model")?;
        let limit = model.longest_embedded().saturating_sub(model.tokens_around()).max(1);
        let report = semantic(
            &self.settings,
            &context.input("from")?.path,
            &model,
            &|text| pieces(model.tokenizer().as_ref(), limit, text),
            context.budget,
            context.seed,
            context.work,
            &scratch,
        )
        .map_err(|error| placed(&self.table, error))?;
        let [documents, held_out] = report.documents;
        let mut figures: BTreeMap<String, f64> =
            ABOVE.iter().zip(report.above).map(|(bound, count)| (format!("above_{bound}"), count as f64)).collect();
        figures.extend(
            [
                ("clusters", report.clusters),
                ("documents", documents),
                ("held_out_documents", held_out),
                ("iterations", report.iterations),
                ("largest_cluster", report.largest),
                ("tokens", report.tokens),
            ]
            .map(|(name, value)| (name.to_owned(), value as f64)),
        );
        let counts = Counts { read: documents + held_out, out: documents + held_out, ..Counts::default() };
        Ok(Outcome { counts, figures, table: None })
    }
}

/// Halves of a text, and halves of these, until each has no more tokens than the limit.
fn pieces(tokenizer: &dyn Tokenize, limit: usize, text: &str) -> Result<Vec<String>> {
    let (mut out, mut left) = (Vec::new(), vec![text]);
    while let Some(text) = left.pop() {
        let ends = tokenizer.encode(&[text], false)?.pop().unwrap_or_default().ends;
        let half = text.floor_char_boundary(ends.get(ends.len() / 2).copied().unwrap_or_default());
        if ends.len() <= limit || half == 0 || half == text.len() {
            if !ends.is_empty() {
                out.push(text.to_owned());
            }
        } else {
            left.extend([&text[half..], &text[..half]]);
        }
    }
    Ok(out)
}
