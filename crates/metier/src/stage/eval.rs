//! `eval`: what a model knows of held-out texts, alone and against another evaluation.

use super::model::{local_model, open_checkpoint};
use super::{Context, Faults, Flow, InputSlot, Kind, Machine, Outcome, PartSlot, Verb, Work, named, one};
use metier_core::data::Document;
use metier_core::part::{Chosen, choose};
use metier_core::progress::Progress;
use metier_core::settings::Table;
use metier_core::store::{Counts, Estimate, write_atomic};
use metier_core::{Error, Fault, Place, Result};
use metier_eval::metric::{self, Metric};
use metier_eval::report::{bootstrap, comparison_table, paired_bootstrap, single_table};
use metier_eval::{EvaluateSettings, Evaluation};
use metier_model::Decoder;
use schemars::JsonSchema;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;

const METRIC: PartSlot =
    PartSlot { key: "metric", family: "metric", many: false, default: Some("bits_per_byte"), members: metric::records };

/// The record of `eval`.
pub static VERB: Verb = Verb {
    name: "eval",
    version: 2,
    summary: "measure a model on held-out texts, alone or against an earlier evaluation",
    makes: Kind::Evaluation,
    inputs: &[
        InputSlot { key: "model", kind: Kind::Model, required: true, many: false, text: "the model to measure" },
        InputSlot {
            key: "adapter",
            kind: Kind::Training,
            required: false,
            many: false,
            text: "what training on top of the model gave, to measure both together",
        },
        InputSlot {
            key: "texts",
            kind: Kind::Documents,
            required: true,
            many: true,
            text: "held-out documents, by the name they get in the report",
        },
        InputSlot {
            key: "against",
            kind: Kind::Evaluation,
            required: false,
            many: false,
            text: "the evaluation of the model to compare with",
        },
    ],
    parts: &[METRIC],
    settings: <EvaluateSettings as JsonSchema>::json_schema,
    read: read_settings,
};

struct Eval {
    settings: EvaluateSettings,
    metric: Chosen<dyn Metric>,
}

fn read_settings(table: &Table) -> Result<Box<dyn Work>> {
    let mut faults = Faults::default();
    let settings = faults.take(table.without(&["metric"]).read::<EvaluateSettings>());
    let metric = faults.take(one(table, &METRIC, metric::METRICS));
    match (settings, metric) {
        (Some(settings), Some(metric)) => Ok(Box::new(Eval { settings, metric })),
        _ => Err(Error { faults: faults.0, blame: metier_core::Blame::User }),
    }
}

fn windows_file(set: &str) -> String {
    format!("windows-{set}.jsonl")
}

impl Work for Eval {
    fn settings(&self) -> serde_json::Value {
        json!({ "settings": self.settings, "metric": self.metric.identity() })
    }

    fn figures(&self, inputs: &BTreeMap<String, String>) -> Vec<String> {
        let mut names = vec!["value", "low", "high", "windows", "documents", "bytes"];
        names.extend(metric::METRICS.iter().map(|metric| metric.name));
        if inputs.contains_key("against") {
            names.extend([
                "base",
                "difference",
                "difference_low",
                "difference_high",
                "change_percent",
                "change_percent_low",
                "change_percent_high",
            ]);
        }
        named(inputs, "texts").flat_map(|(set, _)| names.iter().map(move |name| format!("{set}.{name}"))).collect()
    }

    fn plan(&self, inputs: &BTreeMap<String, Flow>, machine: &Machine) -> Result<(Estimate, Flow)> {
        let Some(path) = inputs.get("model").and_then(|flow| flow.path.as_deref()) else {
            return Ok((Estimate::default(), Flow::default()));
        };
        let decoder = super::model::open_decoder(path)?;
        let (mut rows, mut bytes) = (0, 0);
        for (_, flow) in named(inputs, "texts") {
            let planned = metier_eval::plan(flow.held_out_bytes.unwrap_or_default(), &self.settings);
            rows += planned.windows;
            bytes += planned.bytes;
        }
        let tokens = (bytes as f64 / super::pack::BYTES_PER_TOKEN) as u64;
        let window = (self.settings.window_bytes as f64 / super::pack::BYTES_PER_TOKEN) as usize;
        let flop = decoder.flop_per_token(false, window) * tokens as f64;
        let memory = decoder.memory_plan(window.saturating_mul(self.settings.batch));
        let estimate = Estimate {
            rows: Some(rows),
            tokens: Some(tokens),
            flop: Some(flop),
            memory_bytes: Some(memory.weights.saturating_add(memory.head).saturating_add(64 << 20)),
            disk_bytes: Some(rows * 200),
            seconds: Some(flop / (machine.flop_per_second * super::SHARE_OF_PEAK)),
        };
        Ok((estimate, Flow::default()))
    }

    fn run(&self, context: &Context) -> Result<Outcome> {
        let model = context.input("model")?;
        let checkpoint = open_checkpoint(&model.path)?;
        let decoder = match context.inputs.get("adapter") {
            Some(adapter) => super::export::adapted(adapter, model, &checkpoint)?,
            None => Decoder::from_checkpoint(&checkpoint)?,
        };
        let model = local_model(decoder, &checkpoint).map_err(|error| error.in_file(&model.path))?;
        let metric = self.metric.part.as_ref();
        let seed = context.seed.derive("bootstrap");
        let mut outcome = Outcome { counts: Counts::default(), figures: BTreeMap::new(), table: None };
        let (mut single, mut paired) = (Vec::new(), Vec::new());
        for (set, input) in named(context.inputs, "texts") {
            let documents = held_out(&input.path, &input.name)?;
            outcome.counts.read += documents.len() as u64;
            let bytes = documents.iter().map(|document| document.text.len() as u64).sum();
            let planned = metier_eval::plan(bytes, &self.settings);
            let progress = Progress::new(set, Some(planned.windows), "windows");
            let file = context.work.join(windows_file(set));
            let evaluation = metier_eval::evaluate(
                &model,
                documents.into_iter().map(Ok),
                &self.settings,
                context.seed,
                &progress,
                &file,
            )?;
            progress.finish();
            outcome.counts.out += evaluation.windows.len() as u64;
            let figures = if let Some(against) = context.inputs.get("against") {
                let base = base(&against.path, set)?;
                let report = paired_bootstrap(&base, &evaluation, metric, self.settings.resamples, seed)?;
                let figures = report.figures();
                paired.push((set.to_owned(), report));
                figures
            } else {
                let report = bootstrap(&evaluation, metric, self.settings.resamples, seed)?;
                let figures = report.figures();
                single.push((set.to_owned(), report));
                figures
            };
            for (name, metric) in every_metric()? {
                outcome.figures.insert(format!("{set}.{name}"), evaluation.value(metric.as_ref()));
            }
            outcome.figures.extend(figures.into_iter().map(|(name, value)| (format!("{set}.{name}"), value)));
        }
        let report = json!({ "single": single, "paired": paired });
        write_atomic(context.work.join("report.json"), format!("{report:#}\n"))?;
        outcome.table = Some(if paired.is_empty() {
            single_table(metric, &single)
        } else {
            let other = context.input("model")?.name.as_str();
            comparison_table(metric, "base", other, &paired)
        });
        Ok(outcome)
    }
}

/// Every metric with its usual settings: what was measured is summed up by each of them.
fn every_metric() -> Result<Vec<(&'static str, Box<dyn Metric>)>> {
    let usual = |name: &str| {
        let mut table = Table::empty("metric");
        table.set("method", name)?;
        choose(METRIC.family, metric::METRICS, &table).map(|chosen| (chosen.name, chosen.part))
    };
    metric::METRICS.iter().map(|metric| usual(metric.name)).collect()
}

/// The documents that a stage holds out.
pub(super) fn held_out(folder: &Path, name: &str) -> Result<Vec<Document>> {
    let path = folder.join(metier_corpus::HELD_OUT);
    let documents: Vec<Document> = metier_corpus::read_documents(&path)?.collect::<Result<_>>()?;
    if documents.is_empty() {
        return Err(Fault::new(
            Place::file(&path),
            format!("`{name}` holds no document out, so there is nothing to measure on"),
        )
        .hint("give its `select` part a larger `fraction`")
        .into());
    }
    Ok(documents)
}

fn base(folder: &Path, set: &str) -> Result<Evaluation> {
    let path = folder.join(windows_file(set));
    if !path.exists() {
        return Err(Fault::new(
            Place::file(folder),
            format!("that evaluation measured no set of texts called `{set}`"),
        )
        .hint("give both evaluations the same `texts`")
        .into());
    }
    Evaluation::read(&path)
}
