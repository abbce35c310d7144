//! `eval`: what a model knows of held-out texts, answers to questions and finds among passages, alone and against another evaluation.

use super::model::{local_model, open_checkpoint};
use super::{Context, Faults, Flow, InputSlot, Kind, Machine, Outcome, PartSlot, Verb, Work, named, one};
use metier_core::data::Document;
use metier_core::part::{Chosen, choose};
use metier_core::progress::Progress;
use metier_core::settings::Table;
use metier_core::store::{Estimate, write_atomic};
use metier_core::{Error, Fault, Place, Result};
use metier_eval::metric::{self, Accuracy, Metric, Mrr, NdcgAt10, RecallAt1, RecallAt10, Subject};
use metier_eval::report::{Paired, Single, bootstrap, comparison_table, paired_bootstrap, single_table};
use metier_eval::scenario::{self, Scenario};
use metier_eval::{EvaluateSettings, Evaluation, Retrieval, read_questions};
use metier_model::Decoder;
use schemars::JsonSchema;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;

const METRIC: PartSlot =
    PartSlot { key: "metric", family: "metric", many: false, default: Some("bits_per_byte"), members: metric::records };

const ASK: PartSlot =
    PartSlot { key: "ask", family: "scenario", many: false, default: Some("choice"), members: scenario::records };

/// The metric of questions, whatever texts are measured by.
const QUESTIONS_METRIC: Accuracy = Accuracy {};

/// The metrics of pairs; the last one is that of `value` and its interval.
const PAIRS_METRICS: [&dyn Metric; 4] = [&RecallAt1 {}, &RecallAt10 {}, &Mrr {}, &NdcgAt10 {}];

/// The record of `eval`.
pub static VERB: Verb = Verb {
    name: "eval",
    version: 4,
    summary: "measure a model on held-out texts, questions and pairs of texts, alone or against an earlier evaluation",
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
            required: false,
            many: true,
            text: "held-out documents, by the name they get in the report",
        },
        InputSlot {
            key: "questions",
            kind: Kind::Questions,
            required: false,
            many: true,
            text: "questions, by the name they get in the report: a stage that wrote some, or a JSONL file with rows of `question`, `answer` and, to choose from, `choices`",
        },
        InputSlot {
            key: "pairs",
            kind: Kind::Data,
            required: false,
            many: true,
            text: "pairs of texts, by the name they get in the report: a JSONL file with rows of `anchor`, `positive` and perhaps `negative`; each anchor is looked for among all positives and negatives",
        },
        InputSlot {
            key: "against",
            kind: Kind::Evaluation,
            required: false,
            many: false,
            text: "the evaluation of the model to compare with",
        },
    ],
    parts: &[METRIC, ASK],
    settings: <EvaluateSettings as JsonSchema>::json_schema,
    read: read_settings,
};

struct Eval {
    settings: EvaluateSettings,
    metric: Chosen<dyn Metric>,
    scenario: Chosen<dyn Scenario>,
}

fn read_settings(table: &Table) -> Result<Box<dyn Work>> {
    let mut faults = Faults::default();
    let settings = faults.take(table.without(&["metric", "ask"]).read::<EvaluateSettings>());
    let metric = faults.take(one(table, &METRIC, metric::METRICS));
    let scenario = faults.take(one(table, &ASK, scenario::SCENARIOS));
    match (settings, metric, scenario) {
        (Some(settings), Some(metric), Some(scenario)) => Ok(Box::new(Eval { settings, metric, scenario })),
        _ => Err(Error { faults: faults.0, blame: metier_core::Blame::User }),
    }
}

pub(super) fn windows_file(set: &str) -> String {
    format!("windows-{set}.jsonl")
}

/// The texts and questions that an evaluation measured, by name.
pub(super) fn sets_of(folder: &Path) -> Result<Vec<String>> {
    let failed = |error: std::io::Error| Error::io(folder, "list the evaluation", &error);
    let mut sets = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let set = name.to_str().and_then(|name| name.strip_prefix("windows-")?.strip_suffix(".jsonl"));
        sets.extend(set.map(str::to_owned));
    }
    sets.sort();
    Ok(sets)
}

impl Work for Eval {
    fn settings(&self) -> serde_json::Value {
        json!({ "settings": self.settings, "metric": self.metric.identity(), "ask": self.scenario.identity() })
    }

    fn check(&self, inputs: &BTreeMap<String, String>) -> Result<()> {
        let mut sets: BTreeMap<&str, &str> = BTreeMap::new();
        for key in ["texts", "questions", "pairs"] {
            for (set, _) in named(inputs, key) {
                if let Some(other) = sets.insert(set, key) {
                    let error = Error::user(Place::key(key), format!("{other} and {key} are both called `{set}`"));
                    return Err(error.hint("give each a name of its own"));
                }
            }
        }
        if sets.is_empty() {
            let error = Error::user(Place::key("texts"), "there is nothing to measure on");
            return Err(error.hint(
                "name held-out documents under `texts`, questions under `questions`, or pairs of texts under `pairs`",
            ));
        }
        let wrong = match self.metric.part.subject() {
            Subject::Texts => return Ok(()),
            Subject::Questions => ("texts have no right answers", "questions are measured by `accuracy`"),
            Subject::Queries => ("texts have no passages to find", "pairs are measured by `ndcg_at_10`"),
        };
        if named(inputs, "texts").next().is_some() {
            let error = Error::user(Place::key("metric"), wrong.0);
            return Err(error.hint(format!("{} whatever `metric` says", wrong.1)));
        }
        Ok(())
    }

    fn figures(&self, inputs: &BTreeMap<String, String>) -> Vec<String> {
        let mut names = vec!["value", "low", "high", "windows", "documents", "bytes"];
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
        let every = every_metric().unwrap_or_default();
        let of = |subjects: &[Subject]| -> Vec<&'static str> {
            let metrics = every.iter().filter(|(_, metric)| subjects.contains(&metric.subject()));
            metrics.map(|(name, _)| *name).collect()
        };
        // Of the right answers to questions it is told how likely they are, too.
        let keys = [
            ("texts", of(&[Subject::Texts])),
            ("questions", of(&[Subject::Texts, Subject::Questions])),
            ("pairs", of(&[Subject::Queries])),
        ];
        let mut out = Vec::new();
        for (key, metrics) in keys {
            for (set, _) in named(inputs, key) {
                out.extend(names.iter().chain(&metrics).map(|name| format!("{set}.{name}")));
            }
        }
        out
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
        let mut report = Report { eval: self, context, outcome: Outcome::default(), single: vec![], paired: vec![] };
        for (set, input) in named(context.inputs, "texts") {
            let documents = held_out(&input.path, &input.name)?;
            report.outcome.counts.read += documents.len() as u64;
            let bytes = documents.iter().map(|document| document.text.len() as u64).sum();
            let planned = metier_eval::plan(bytes, &self.settings);
            let progress = Progress::new(set, Some(planned.windows), "windows");
            let file = context.work.join(windows_file(set));
            let documents = documents.into_iter().map(Ok);
            let evaluation = metier_eval::evaluate(&model, documents, &self.settings, context.seed, &progress, &file)?;
            progress.finish();
            report.add(set, &evaluation, self.metric.part.as_ref())?;
        }
        let texts = report.table(self.metric.part.as_ref(), 0)?;
        let sets = report.single.len() + report.paired.len();
        for (set, input) in named(context.inputs, "questions") {
            let questions = read_questions(&input.path)?;
            report.outcome.counts.read += questions.len() as u64;
            let progress = Progress::new(set, Some(questions.len() as u64), "questions");
            let file = context.work.join(windows_file(set));
            let scenario = self.scenario.part.as_ref();
            let evaluation =
                metier_eval::evaluate_questions(&model, scenario, &questions, &self.settings, &progress, &file)?;
            progress.finish();
            report.add(set, &evaluation, &QUESTIONS_METRIC)?;
        }
        let questions = report.table(&QUESTIONS_METRIC, sets)?;
        let mut retrieved = Vec::new();
        for (set, input) in named(context.inputs, "pairs") {
            let retrieval = Retrieval::read(&input.path)?;
            report.outcome.counts.read += retrieval.queries() as u64;
            let progress = Progress::new(set, Some(retrieval.queries() as u64), "queries");
            let file = context.work.join(windows_file(set));
            let evaluation = metier_eval::evaluate_retrieval(&model, &retrieval, &self.settings, &progress, &file)?;
            progress.finish();
            report.outcome.counts.out += evaluation.windows.len() as u64;
            retrieved.push((set, evaluation));
        }
        let mut pairs = String::new();
        for metric in PAIRS_METRICS {
            let first = report.single.len() + report.paired.len();
            for (set, evaluation) in &retrieved {
                report.sum_up(set, evaluation, metric)?;
            }
            pairs += &report.table(metric, first)?;
        }
        let written = json!({ "single": report.single, "paired": report.paired });
        write_atomic(context.work.join("report.json"), format!("{written:#}\n"))?;
        report.outcome.table = Some(texts + &questions + &pairs);
        Ok(report.outcome)
    }
}

/// What is to be said of sets, as it comes in.
struct Report<'a> {
    eval: &'a Eval,
    context: &'a Context<'a>,
    outcome: Outcome,
    single: Vec<(String, Single)>,
    paired: Vec<(String, Paired)>,
}

impl Report<'_> {
    fn add(&mut self, set: &str, evaluation: &Evaluation, metric: &dyn Metric) -> Result<()> {
        self.outcome.counts.out += evaluation.windows.len() as u64;
        self.sum_up(set, evaluation, metric)
    }

    fn sum_up(&mut self, set: &str, evaluation: &Evaluation, metric: &dyn Metric) -> Result<()> {
        let seed = self.context.seed.derive("bootstrap");
        let resamples = self.eval.settings.resamples;
        let figures = if let Some(against) = self.context.inputs.get("against") {
            let base = base(&against.path, set)?;
            let report = paired_bootstrap(&base, evaluation, metric, resamples, seed)?;
            let figures = report.figures();
            self.paired.push((set.to_owned(), report));
            figures
        } else {
            let report = bootstrap(evaluation, metric, resamples, seed)?;
            let figures = report.figures();
            self.single.push((set.to_owned(), report));
            figures
        };
        // Texts have no accuracy, and so on.
        let every =
            every_metric()?.into_iter().map(|(name, metric)| (name.to_owned(), evaluation.value(metric.as_ref())));
        let figures = every.filter(|(_, value)| value.is_finite()).chain(figures);
        self.outcome.figures.extend(figures.map(|(name, value)| (format!("{set}.{name}"), value)));
        Ok(())
    }

    /// The table of all sets but the first ones, if there are any.
    fn table(&self, metric: &dyn Metric, first: usize) -> Result<String> {
        let (single, paired) = (self.single.get(first..).unwrap_or(&[]), self.paired.get(first..).unwrap_or(&[]));
        Ok(match (single, paired) {
            ([], []) => String::new(),
            (single, []) => single_table(metric, single),
            (_, paired) => comparison_table(metric, "base", &self.context.input("model")?.name, paired),
        })
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
        return Err(Fault::new(Place::file(folder), format!("that evaluation measured nothing called `{set}`"))
            .hint("give both evaluations the same `texts` and `questions`")
            .into());
    }
    Evaluation::read(&path)
}
