//! `train_tagger`: a classifier of texts, from labeled ones.

use super::{Context, Flow, InputSlot, Kind, Machine, Outcome, Verb, Work};
use crate::command::{count, table};
use metier_core::Result;
use metier_core::settings::Table;
use metier_core::store::{Counts, Estimate};
use metier_corpus::linear::{TAGGER, TrainReport, TrainSettings, memory, train};
use metier_corpus::read::{Jsonl, Read as _};
use schemars::JsonSchema;
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Bytes of text learned from in a second on one thread.
const BYTES_PER_SECOND: f64 = 4e6;
/// Labels that are told one by one.
const TOLD: usize = 40;

/// The record of `train_tagger`.
pub static VERB: Verb = Verb {
    name: "train_tagger",
    version: 1,
    summary: "train a classifier of texts for the tagger `linear`, from labeled texts",
    makes: Kind::Tagger,
    inputs: &[
        InputSlot {
            key: "from",
            kind: Kind::Data,
            required: true,
            many: false,
            text: "a file or folder of JSON lines with a text and its label",
        },
        InputSlot {
            key: "test",
            kind: Kind::Data,
            required: false,
            many: false,
            text: "JSON lines to measure by, in place of a share of `from`",
        },
    ],
    parts: &[],
    settings: <TrainSettings as JsonSchema>::json_schema,
    read: read_settings,
};

struct TrainTagger(TrainSettings);

fn read_settings(table: &Table) -> Result<Box<dyn Work>> {
    let settings: TrainSettings = table.read()?;
    settings.check(|key| table.place_of(key))?;
    Ok(Box::new(TrainTagger(settings)))
}

impl Work for TrainTagger {
    fn settings(&self) -> serde_json::Value {
        json!({ "settings": self.0 })
    }

    fn figures(&self, _: &BTreeMap<String, String>) -> Vec<String> {
        ["accuracy", "baseline", "documents", "held_out_documents", "labels", "macro_f1"].map(str::to_owned).to_vec()
    }

    fn plan(&self, inputs: &BTreeMap<String, Flow>, machine: &Machine) -> Result<(Estimate, Flow)> {
        let Some(path) = inputs.get("from").and_then(|flow| flow.path.as_deref()) else {
            return Ok((Estimate::default(), Flow::default()));
        };
        let size = Jsonl { include: self.0.include.clone(), ..Jsonl::default() }.size(path)?;
        let seconds = size.text_bytes as f64 * self.0.epochs as f64 / BYTES_PER_SECOND / machine.threads as f64;
        let model = memory(self.0.features, 2, 0) - memory(self.0.features, 1, 0);
        let estimate = Estimate {
            rows: Some(size.documents),
            memory_bytes: Some(memory(self.0.features, 2, size.documents)),
            disk_bytes: Some(size.text_bytes + 2 * model),
            seconds: Some(seconds),
            ..Estimate::default()
        };
        let notes = vec![format!("for two labels; each more takes {} of memory", crate::command::size(model))];
        Ok((estimate, Flow { notes, ..Flow::default() }))
    }

    fn run(&self, context: &Context) -> Result<Outcome> {
        let scratch = context.scratch()?;
        let from = context.input("from")?;
        let test = context.inputs.get("test").map(|input| input.path.as_path());
        let mut held = None;
        let report = train(&self.0, (&from.path, test), context.seed, (&scratch, context.work), &mut |bytes| {
            held = Some(context.budget.reserve(bytes, "the numbers of the classifier")?);
            Ok(())
        })?;
        let figures = [
            ("accuracy", report.accuracy()),
            ("baseline", report.baseline()),
            ("documents", report.learned as f64),
            ("held_out_documents", report.held_out as f64),
            ("labels", report.labels.len() as f64),
            ("macro_f1", report.macro_f1()),
        ];
        // What was measured on nothing is no figure.
        let measured = |name: &str| report.held_out > 0 || !matches!(name, "accuracy" | "baseline" | "macro_f1");
        let figures = figures.into_iter().filter(|(name, _)| measured(name));
        let read = report.learned + report.held_out;
        Ok(Outcome {
            counts: Counts { read, out: read, ..Counts::default() },
            figures: figures.map(|(name, value)| (name.to_owned(), value)).collect(),
            table: Some(told(&report)),
        })
    }
}

/// How well each label is told from the others.
fn told(report: &TrainReport) -> String {
    let share = |part: u64, of: u64| if of == 0 { "-".to_owned() } else { format!("{:.4}", part as f64 / of as f64) };
    let rows: Vec<Vec<String>> = report
        .labels
        .iter()
        .take(TOLD)
        .map(|label| {
            let f1 = if label.held_out + label.given == 0 { "-".to_owned() } else { format!("{:.4}", label.f1()) };
            let counts = [count(label.learned), count(label.held_out)];
            let shares = [share(label.right, label.given), share(label.right, label.held_out), f1];
            [label.label.clone()].into_iter().chain(counts).chain(shares).collect()
        })
        .collect();
    let headings = ["label", "learned", "held out", "precision", "recall", "F1"];
    let mut out = table(&headings, &rows, &[false, true, true, true, true, true]);
    if report.labels.len() > TOLD {
        let _ = writeln!(out, "and {} more labels", report.labels.len() - TOLD);
    }
    if report.held_out == 0 {
        out += "nothing was held out to measure by\n";
    } else {
        let (accuracy, baseline) = (report.accuracy(), report.baseline());
        let _ =
            writeln!(out, "accuracy {accuracy:.4} on what was held out; always the most frequent label: {baseline:.4}");
    }
    out + &format!("the classifier is `{TAGGER}`; use it as `tag = [{{ method = \"linear\", model = \"...\" }}]`\n")
}
