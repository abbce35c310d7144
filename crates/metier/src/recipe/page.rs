//! A run as one HTML page: its stages, its checks, what was measured, the curves of its trainings.

use super::run::{CheckReport, HEADINGS, StageReport, stage_rows};
use crate::stage::NUMBERS;
use metier_core::Result;
use metier_core::page::{data, escaped, figure, frame, table};
use metier_core::store::Record;
use metier_train::page::Told;
use serde_json::json;
use std::fmt::Write;

/// The page of stages that ended, and of the checks on them. Unlike the page that a training result keeps, it tells times.
pub fn page(title: &str, stages: &[StageReport], checks: &[CheckReport]) -> Result<String> {
    let mut out = "<h2>Plan against what happened</h2>\n".to_owned() + &table(&HEADINGS, &stage_rows(stages), 2);
    if !checks.is_empty() {
        let row = |check: &CheckReport| {
            vec![check.text.clone(), if check.holds { "holds" } else { "fails" }.to_owned(), check.values_text()]
        };
        out += "<h2>Checks</h2>\n";
        out += &table(&["check", "", "values"], &checks.iter().map(row).collect::<Vec<_>>(), 2);
    }
    let measured: Vec<_> = stages.iter().flat_map(|stage| measured(&stage.name, &stage.artifact.record)).collect();
    if !measured.is_empty() {
        let headings = ["stage", "texts", "metric", "value", "95 % interval", "base", "difference", "95 % interval"];
        out += "<h2>What models were measured</h2>\n";
        out += &table(&headings, &measured, 2);
    }
    let mut runs = Vec::new();
    for stage in stages.iter().filter(|stage| stage.artifact.record.verb == "train") {
        let told = Told::read(&stage.artifact.path)?;
        let _ = writeln!(out, "<h2>Training: {}</h2>", escaped(&stage.name));
        out += &told.section(&stage.artifact.record.settings);
        let mut numbers = told.numbers();
        numbers["stage"] = json!(stage.name);
        runs.push(numbers);
    }
    out += "<h2>All figures</h2>\n";
    for stage in stages.iter().filter(|stage| !stage.artifact.record.figures.is_empty()) {
        let figures = stage.artifact.record.figures.iter().map(|(name, value)| vec![name.clone(), figure(*value)]);
        let _ = writeln!(out, "<details><summary>{}</summary>", escaped(&stage.name));
        out += &table(&["figure", "value"], &figures.collect::<Vec<_>>(), 1);
        out += "</details>\n";
    }
    let stages: Vec<_> = stages
        .iter()
        .map(|stage| {
            let record = &stage.artifact.record;
            json!({
                "name": stage.name, "verb": record.verb, "id": record.id, "figures": record.figures,
                "plan": record.plan, "real": record.real,
            })
        })
        .collect();
    out += &data(NUMBERS, &json!({ "runs": runs, "stages": stages }));
    Ok(frame(title, &out))
}

/// A row for each set of texts that a stage measured a model on.
fn measured(stage: &str, record: &Record) -> Vec<Vec<String>> {
    let metric = record.settings.pointer("/metric/method").and_then(|name| name.as_str()).unwrap_or_default();
    let sets = record.figures.keys().filter_map(|name| name.strip_suffix(".value"));
    sets.filter(|set| record.figures.contains_key(&format!("{set}.low")))
        .map(|set| {
            let known = |name: &str| record.figures.get(&format!("{set}.{name}")).map(|value| figure(*value));
            let one = |name: &str| known(name).unwrap_or_else(|| "–".to_owned());
            let range = |low: &str, high: &str| {
                known(low).zip(known(high)).map_or_else(|| "–".to_owned(), |(low, high)| format!("{low} to {high}"))
            };
            vec![
                stage.to_owned(),
                set.to_owned(),
                metric.to_owned(),
                one("value"),
                range("low", "high"),
                one("base"),
                one("difference"),
                range("difference_low", "difference_high"),
            ]
        })
        .collect()
}
