//! `advise`: how much other data a fixed budget is best spent on, from a few runs.

use super::{Context, Flow, Input, InputSlot, Kind, Machine, Outcome, Verb, Work, named, record_of};
use crate::command::table;
use metier_core::settings::Table;
use metier_core::store::{Counts, Estimate, write_atomic};
use metier_core::{Error, Fault, Place, Result};
use metier_eval::law::read_trials;
use metier_eval::law::share::{Advice, Trial, advise};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;

/// What is advised.
const ADVICE_FILE: &str = "advice.json";
const FIGURES: [&str; 7] = ["accuracy", "accuracy_at_least", "advised", "share", "share_high", "share_low", "trials"];

/// The record of `advise`.
pub static VERB: Verb = Verb {
    name: "advise",
    version: 1,
    summary: "find the share of other data with which a model is right most often, or say that none is",
    makes: Kind::Law,
    inputs: &[
        InputSlot {
            key: "reports",
            kind: Kind::Report,
            required: false,
            many: true,
            text: "reports of `judge` on models that learned from mixtures of the same size, each called by its share of other data in percent",
        },
        InputSlot {
            key: "table",
            kind: Kind::Data,
            required: false,
            many: false,
            text: "a CSV or JSONL file of such: `share` (0 to 1), `right`, `asked`; several rows of a share are several runs",
        },
    ],
    parts: &[],
    settings: <AdviseSettings as JsonSchema>::json_schema,
    read: read_settings,
};

/// The logit of the accuracy is fitted by a parabola over the share of other data; its highest point is the advice. Runs of each share, and their answers, are drawn
/// anew for an interval. Where that reaches from the smallest share to the largest, nothing is advised. After Zhang, Wang and Charton, *Only-IF*, arXiv:2410.04717.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct AdviseSettings {
    /// Draws for the interval.
    #[schemars(range(min = 100, max = 100_000))]
    resamples: usize,
    /// The figure of the reports that is the share of right answers.
    figure: String,
    /// The figure that says how many questions there were.
    asked: String,
}

impl Default for AdviseSettings {
    fn default() -> Self {
        Self { resamples: 1000, figure: "grammar".to_owned(), asked: "sentences".to_owned() }
    }
}

struct Advise(AdviseSettings);

fn read_settings(table: &Table) -> Result<Box<dyn Work>> {
    let settings: AdviseSettings = table.read()?;
    if !(100..=100_000).contains(&settings.resamples) {
        let message = format!("{} draws are out of range", settings.resamples);
        return Err(Fault::new(table.place_of("resamples"), message).hint("they are 100 to 100000").into());
    }
    Ok(Box::new(Advise(settings)))
}

/// The share that a report is called by.
fn share_of(name: &str) -> Result<f64> {
    let percent = name.split('-').next().and_then(|percent| percent.parse::<f64>().ok());
    let share = percent.map(|percent| percent / 100.0).filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| {
        Fault::new(Place::key(format!("reports.{name}")), "this names no share of other data in percent")
            .hint("call it `20`, or `20-2` for a second run of the same share")
            .into()
    })
}

impl Work for Advise {
    fn settings(&self) -> serde_json::Value {
        json!({ "settings": self.0 })
    }

    fn check(&self, inputs: &BTreeMap<String, String>) -> Result<()> {
        let message = match (named(inputs, "reports").next(), inputs.get("table")) {
            (Some(_), Some(_)) => "there are reports and a table",
            (None, None) => "there is nothing to advise from",
            _ => return named(inputs, "reports").try_for_each(|(name, _)| share_of(name).map(drop)),
        };
        Err(Error::user(Place::key("reports"), message)
            .hint("name stages of `judge` under `reports`, or a file of trials under `table`"))
    }

    fn figures(&self, _: &BTreeMap<String, String>) -> Vec<String> {
        FIGURES.map(str::to_owned).to_vec()
    }

    fn plan(&self, _: &BTreeMap<String, Flow>, _: &Machine) -> Result<(Estimate, Flow)> {
        Ok((Estimate { memory_bytes: Some(64 << 20), ..Estimate::default() }, Flow::default()))
    }

    fn run(&self, context: &Context) -> Result<Outcome> {
        context.start_over()?;
        let trials = match context.inputs.get("table") {
            Some(table) => read_trials(&table.path)?,
            None => named(context.inputs, "reports")
                .map(|(name, input)| self.trial(name, input))
                .collect::<Result<Vec<_>>>()?,
        };
        let advice = advise(&trials, self.0.resamples, context.seed)?;
        let saved = json!({ "advice": advice, "trials": trials });
        write_atomic(context.work.join(ADVICE_FILE), format!("{saved:#}\n"))?;
        let count = trials.len() as u64;
        let figures = [
            ("accuracy", advice.accuracy),
            ("accuracy_at_least", advice.accuracy_at_least),
            ("advised", f64::from(u8::from(advice.advised))),
            ("share", advice.share.value),
            ("share_high", advice.share.high),
            ("share_low", advice.share.low),
            ("trials", count as f64),
        ];
        Ok(Outcome {
            counts: Counts { read: count, out: count, ..Counts::default() },
            figures: figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            table: Some(text_of(&trials, &advice)),
        })
    }
}

impl Advise {
    fn trial(&self, name: &str, input: &Input) -> Result<Trial> {
        let (record, path) = (record_of(input)?, &input.path);
        let figure = |key: &str| {
            record.figures.get(key).copied().ok_or_else(|| {
                let message = format!("`{}` has no figure `{key}`", input.name);
                let known = record.figures.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                Error::file(path, message).hint(format!("it has {known}"))
            })
        };
        let asked = figure(&self.0.asked)?;
        let right = (figure(&self.0.figure)? * asked).round();
        Ok(Trial { share: share_of(name)?, right: right as u64, asked: asked as u64, place: Place::file(path) })
    }
}

/// The advice for people.
fn text_of(trials: &[Trial], advice: &Advice) -> String {
    let row = |trial: &Trial| {
        let accuracy = trial.right as f64 / trial.asked as f64;
        vec![format!("{:.3}", trial.share), format!("{} of {}", trial.right, trial.asked), format!("{accuracy:.3}")]
    };
    let rows: Vec<Vec<String>> = trials.iter().map(row).collect();
    let share = advice.share;
    let draws = format!("95 % of draws {:.3} to {:.3}", share.low, share.high);
    let said = if advice.advised {
        let Advice { accuracy, accuracy_at_least, .. } = advice;
        format!(
            "best share: {:.3}, {draws}; accuracy there {accuracy:.3}, at the smallest share {accuracy_at_least:.3}",
            share.value
        )
    } else {
        format!("no share is advised: {draws}, all that was tried. Ask more questions, or train more often")
    };
    table(&["share", "right", "accuracy"], &rows, &[true; 3]) + &said + "\n"
}
