//! `balance`: what models that follow each other won in a trade, and what they lost elsewhere.

use super::eval::{sets_of, windows_file};
use super::{Context, Faults, Flow, InputSlot, Kind, Machine, Outcome, Verb, Work, named};
use metier_core::fault::near_miss;
use metier_core::page::{self, Row, Waterfall};
use metier_core::settings::Table;
use metier_core::store::{Counts, Estimate, write_atomic};
use metier_core::{Error, Fault, Place, Result};
use metier_eval::Evaluation;
use metier_eval::report::{AXES, Balance, Interval, Step, Weighed, balance, balance_table};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// The record of `balance`.
pub static VERB: Verb = Verb {
    name: "balance",
    version: 1,
    summary: "weigh what models won in the trade against what they lost elsewhere, from one to the next",
    makes: Kind::Report,
    inputs: &[InputSlot {
        key: "evaluations",
        kind: Kind::Evaluation,
        required: true,
        many: true,
        text: "evaluations of models on the same texts and questions, by the name that the model gets in the report",
    }],
    parts: &[],
    settings: <BalanceSettings as JsonSchema>::json_schema,
    read: read_settings,
};

/// The score of questions is the share of right answers, that of texts the probability of a byte (2 to the power of minus the bits a
/// byte), so that more is better for both. Speciality and versatility are means over sets, the unified score is the mean of
/// the two (Zhang et al. 2024, CoFiTune, arXiv:2404.10306).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct BalanceSettings {
    /// The names under `evaluations` in the order in which one model was made of another; the first is the base.
    steps: Vec<String>,
    /// Names of texts or questions that belong to the trade.
    speciality: Vec<String>,
    /// Names of texts or questions that do not.
    versatility: Vec<String>,
    /// Times the documents are drawn anew to find the 95 % intervals.
    #[schemars(range(min = 100, max = 1_000_000))]
    #[serde(default = "usual_resamples")]
    resamples: usize,
}

fn usual_resamples() -> usize {
    2000
}

struct Weigh(BalanceSettings);

fn read_settings(table: &Table) -> Result<Box<dyn Work>> {
    let settings: BalanceSettings = table.read()?;
    let mut faults = Vec::new();
    let mut refuse = |key: &str, message: String, hint: &str| {
        faults.push(Fault::new(table.place_of(key), message).hint(hint));
    };
    if settings.steps.len() < 2 {
        refuse(
            "steps",
            "one model cannot be weighed alone".to_owned(),
            "name the base first, then what was made of it",
        );
    }
    if let Some(name) = twice(settings.steps.iter()) {
        refuse("steps", format!("`{name}` stands there twice"), "name each evaluation once");
    }
    for (key, sets) in [("speciality", &settings.speciality), ("versatility", &settings.versatility)] {
        if sets.is_empty() {
            refuse(key, "no set is named".to_owned(), "name `texts` or `questions` of the evaluations");
        }
    }
    if let Some(name) = twice(settings.speciality.iter().chain(&settings.versatility)) {
        refuse("versatility", format!("`{name}` counts twice"), "a set belongs to the trade or it does not");
    }
    if !(100..=1_000_000).contains(&settings.resamples) {
        refuse("resamples", format!("{} is out of range", settings.resamples), "write a number from 100 to 1000000");
    }
    Error::collect(Box::new(Weigh(settings)) as Box<dyn Work>, faults)
}

/// A name that comes again.
fn twice<'a>(mut names: impl Iterator<Item = &'a String>) -> Option<&'a String> {
    let mut seen = BTreeSet::new();
    names.find(|name| !seen.insert(*name))
}

impl Work for Weigh {
    fn settings(&self) -> serde_json::Value {
        json!({ "settings": self.0 })
    }

    fn check(&self, inputs: &BTreeMap<String, String>) -> Result<()> {
        let known: Vec<&str> = named(inputs, "evaluations").map(|(name, _)| name).collect();
        let mut faults = Faults::default();
        for step in self.0.steps.iter().filter(|step| !known.contains(&step.as_str())) {
            let near = near_miss(step, known.iter().copied());
            let hint = near.map_or(format!("known: {}", known.join(", ")), |near| format!("did you mean `{near}`?"));
            let message = format!("no evaluation is called `{step}`");
            faults.0.push(Fault::new(Place::key("steps"), message).hint(hint));
        }
        for name in known.iter().filter(|name| !self.0.steps.iter().any(|step| step == *name)) {
            let message = format!("`{name}` is none of the `steps`");
            let hint = "name it there, after the model that it was made of, or leave it out here";
            faults.0.push(Fault::new(Place::key("evaluations"), message).hint(hint));
        }
        Error::collect((), faults.0)
    }

    fn figures(&self, _: &BTreeMap<String, String>) -> Vec<String> {
        let ends = ["", "_low", "_high", "_change", "_change_low", "_change_high"];
        let of_step = |(number, step): (usize, &String)| {
            let ends = if number == 0 { &ends[..3] } else { &ends[..] };
            AXES.iter()
                .flat_map(|axis| ends.iter().map(|end| format!("{step}.{axis}{end}")).collect::<Vec<_>>())
                .collect::<Vec<_>>()
        };
        self.0.steps.iter().enumerate().flat_map(of_step).collect()
    }

    fn plan(&self, _: &BTreeMap<String, Flow>, _: &Machine) -> Result<(Estimate, Flow)> {
        Ok((Estimate { rows: Some(self.0.steps.len() as u64), ..Estimate::default() }, Flow::default()))
    }

    fn run(&self, context: &Context) -> Result<Outcome> {
        context.start_over()?;
        let settings = &self.0;
        let (mut steps, mut faults) = (Vec::new(), Vec::new());
        for name in &settings.steps {
            let folder = &context.input(&format!("evaluations.{name}"))?.path;
            let known = sets_of(folder)?;
            let mut sets = BTreeMap::new();
            for (key, wanted) in [("speciality", &settings.speciality), ("versatility", &settings.versatility)] {
                for set in wanted {
                    if known.contains(set) {
                        sets.insert(set.clone(), Evaluation::read(folder.join(windows_file(set)))?);
                        continue;
                    }
                    let near = near_miss(set, known.iter().map(String::as_str));
                    let hint = near.map_or(format!("measured were: {}", known.join(", ")), |near| {
                        format!("did you mean `{near}`?")
                    });
                    let message = format!("`{name}` was not measured on `{set}`");
                    faults.push(Fault::new(Place::key(key), message).hint(hint));
                }
            }
            steps.push(Step { name: name.clone(), sets });
        }
        Error::collect((), faults)?;
        let weighed = Weighed { speciality: &settings.speciality, versatility: &settings.versatility };
        let rows = balance(&steps, weighed, settings.resamples, context.seed)?;
        write_atomic(context.work.join("report.json"), format!("{:#}\n", json!({ "steps": rows })))?;
        write_atomic(context.work.join("report.html"), report(&rows))?;
        let mut figures = BTreeMap::new();
        for row in &rows {
            for (axis, score) in row.scores() {
                let mut add = |end: &str, Interval { value, low, high }: Interval| {
                    for (bound, value) in [("", value), ("_low", low), ("_high", high)] {
                        figures.insert(format!("{}.{axis}{end}{bound}", row.step), value);
                    }
                };
                add("", score.score);
                score.from_first.into_iter().for_each(|change| add("_change", change));
            }
        }
        let count = rows.len() as u64;
        Ok(Outcome {
            counts: Counts { read: count, out: count, ..Counts::default() },
            figures,
            table: Some(balance_table(&rows)),
        })
    }
}

/// The page: where points were won and lost, and every figure.
fn report(rows: &[Balance]) -> String {
    let mut body = String::from(
        "<p>Points of 100; more is better. Of questions the share of right answers, of texts the probability of a byte. \
         <i>Speciality</i> is the mean over the sets of the trade, <i>versatility</i> over the others, <i>unified</i> the mean of \
         both. Intervals hold 95 % of the draws.</p>\n",
    );
    let mut water = Vec::new();
    for row in rows {
        water.extend(row.won.iter().map(|(set, by)| Row::Change(set, by * 100.0)));
        water.push(Row::Level(&row.step, row.unified.score.value * 100.0));
    }
    body += &Waterfall { title: "Unified score: where points were won and lost", rows: &water }.svg();
    let told = |Interval { value, low, high }: Interval| {
        format!("{:+.2} ({:+.2} to {:+.2})", value * 100.0, low * 100.0, high * 100.0)
    };
    let mut cells = Vec::new();
    for row in rows {
        for (axis, score) in row.scores() {
            let from = |change: Option<Interval>| change.map_or("–".to_owned(), told);
            cells.push(vec![
                row.step.clone(),
                axis.to_owned(),
                format!("{:.2}", score.score.value * 100.0),
                from(score.from_first),
                from(score.from_last),
            ]);
        }
        for (set, score) in &row.sets {
            let none = || "–".to_owned();
            let won = row.won.get(set).map_or_else(none, |won| format!("{:+.2} of the unified score", won * 100.0));
            cells.push(vec![row.step.clone(), set.clone(), format!("{:.2}", score * 100.0), none(), won]);
        }
    }
    body += "<h2>All figures</h2>\n";
    body += &page::table(&["model", "score", "points", "from the first", "from the one before"], &cells, 2);
    body += &page::data("numbers", &json!({ "steps": rows }));
    page::frame("Speciality and versatility", &body)
}
