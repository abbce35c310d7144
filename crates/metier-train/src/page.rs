//! A run as a part of an HTML page: its curves, its settings, the documents it learned from most.

use crate::guard::Guarded;
use crate::run::{StepRecord, ends};
use crate::validation::{VALIDATION_FILE, ValidationRecord, read_validation};
use metier_core::page::{Plot, escaped, table};
use metier_core::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// The file that holds a [`StepRecord`] a line.
pub const LOSS_FILE: &str = "loss.jsonl";
/// The file that holds a list of [`Sampled`].
pub const SAMPLED_FILE: &str = "sampled.json";

/// Documents that are listed.
const LISTED: usize = 20;
/// Steps whose numbers a page holds at most; of a longer run it holds every second, third ... one, and the last.
const HELD: usize = 10_000;

/// A document, and how much of it was learned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampled {
    /// Its id.
    pub document: String,
    /// Tokens of it that were predicted, in all steps.
    pub tokens: u64,
    /// The source it is from, where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

impl Sampled {
    /// Its id, with its source where there are several.
    fn name(&self) -> String {
        self.source.as_ref().map_or_else(|| self.document.clone(), |source| format!("{source}: {}", self.document))
    }
}

/// What a run left in its folder.
pub struct Told {
    /// The steps.
    pub history: Vec<StepRecord>,
    /// The documents.
    pub sampled: Vec<Sampled>,
    /// The losses on held-out windows, where any were measured.
    pub validation: Vec<ValidationRecord>,
}

impl Told {
    /// Reads what a finished run left in `folder`.
    ///
    /// # Errors
    /// When a file is missing or was changed, with its line.
    pub fn read(folder: &Path) -> Result<Self> {
        let text =
            |path: &Path| std::fs::read_to_string(path).map_err(|error| Error::io(path, "read the file", &error));
        let [losses, sampled, validation] = [LOSS_FILE, SAMPLED_FILE, VALIDATION_FILE].map(|name| folder.join(name));
        let lines = text(&losses)?;
        let records = (1..).zip(lines.lines()).map(|(number, line)| {
            serde_json::from_str(line)
                .map_err(|error| Error::file(&losses, format!("line {number} is no step of a run: {error}")))
        });
        let history = records.collect::<Result<_>>()?;
        let validation = if validation.is_file() { read_validation(&validation)? } else { Vec::new() };
        let sampled = serde_json::from_str(&text(&sampled)?)
            .map_err(|error| Error::file(&sampled, format!("this is no list of documents: {error}")))?;
        Ok(Self { history, sampled, validation })
    }

    /// The run as HTML: its result, its curves and those of held-out windows, its settings, and the documents it learned most of. `settings` are as in the
    /// key of its result.
    pub fn section(&self, settings: &Value) -> String {
        let history = &self.history;
        let guard: BTreeMap<String, f64> = settings
            .pointer("/settings/guard")
            .and_then(|guard| serde_json::from_value(guard.clone()).ok())
            .unwrap_or_default();
        let guarded = Guarded::new(&guard, &self.validation);
        let kept = guarded.as_ref().map_or(history.len(), |guarded| history.len().min(guarded.kept as usize));
        let kept = &history[..kept];
        let (first, last) = ends(kept);
        let tokens: u64 = kept.iter().map(|record| record.tokens).sum();
        let mut out = format!(
            "<p>{} steps, {tokens} tokens predicted. Mean loss of the first tenth of the steps (at most 20): {first:.4}, \
             of the last: {last:.4}.</p>\n",
            kept.len(),
        );
        write_guarded(&guard, guarded.as_ref(), &mut out);
        let clip = settings.pointer("/settings/clip").and_then(Value::as_f64).filter(|clip| *clip > 0.0);
        let mut plot = |title, figure: fn(&StepRecord) -> f32, smooth, mark| {
            let points: Vec<_> = history.iter().map(|record| (record.step, f64::from(figure(record)))).collect();
            out += &Plot { title, points: &points, smooth, ratios: smooth, mark }.svg();
        };
        plot("Loss", |record| record.loss, true, None);
        plot("Rate", |record| record.rate, false, None);
        let mark = clip.map(|clip| (clip, "longer ones were clipped to this"));
        plot("Length of the gradient", |record| record.gradient_norm, true, mark);
        self.write_validation(&mut out);
        out += "<h3>Settings</h3>\n";
        let mut rows = Vec::new();
        settings_rows(settings, "", &mut rows);
        out += &table(&["setting", "value"], &rows, 2);
        self.write_sampled(&mut out);
        out
    }

    /// The names of the held-out windows, each with its losses.
    fn held_out(&self) -> BTreeMap<&str, Vec<&ValidationRecord>> {
        let mut all = BTreeMap::<_, Vec<_>>::new();
        for record in &self.validation {
            all.entry(record.name.as_str()).or_default().push(record);
        }
        all
    }

    fn write_validation(&self, out: &mut String) {
        let mut rows = Vec::new();
        for (name, records) in self.held_out() {
            let points: Vec<_> = records.iter().map(|record| (record.step, record.loss)).collect();
            let title = format!("Loss on held-out windows: {name}");
            *out += &Plot { title: &title, points: &points, smooth: false, ratios: true, mark: None }.svg();
            if let (Some(first), Some(last)) = (records.first(), records.last()) {
                let [begun, ended] = [first.loss, last.loss].map(|loss| format!("{loss:.4}"));
                rows.push(vec![name.to_owned(), begun, ended, last.predicted.to_string()]);
            }
        }
        if !rows.is_empty() {
            *out += &table(&["held-out windows", "first loss", "last loss", "tokens predicted"], &rows, 1);
        }
    }

    fn write_sampled(&self, out: &mut String) {
        let all: u64 = self.sampled.iter().map(|sampled| sampled.tokens).sum();
        let mut most: Vec<&Sampled> = self.sampled.iter().collect();
        most.sort_by(|one, other| (other.tokens, &one.document).cmp(&(one.tokens, &other.document)));
        let rows: Vec<_> = most
            .iter()
            .take(LISTED)
            .map(|sampled| {
                let share = 100.0 * sampled.tokens as f64 / all.max(1) as f64;
                vec![sampled.name(), sampled.tokens.to_string(), format!("{share:.2} %")]
            })
            .collect();
        let _ = writeln!(out, "<h3>Documents it learned most of, {} of {}</h3>", rows.len(), most.len());
        *out += &table(&["document", "tokens predicted", "share"], &rows, 1);
    }

    /// The numbers of the steps, a list each.
    pub fn numbers(&self) -> Value {
        let every = self.history.len().div_ceil(HELD).max(1);
        let last = self.history.len().saturating_sub(1);
        let held = (0..).zip(&self.history).filter(|(at, _)| at % every == 0 || *at == last);
        let held: Vec<_> = held.map(|(_, record)| record).collect();
        let mut numbers = json!({
            "every": every,
            "step": held.iter().map(|record| record.step).collect::<Vec<_>>(),
            "loss": held.iter().map(|record| decimal(record.loss)).collect::<Vec<_>>(),
            "rate": held.iter().map(|record| decimal(record.rate)).collect::<Vec<_>>(),
            "gradient_norm": held.iter().map(|record| decimal(record.gradient_norm)).collect::<Vec<_>>(),
            "tokens": held.iter().map(|record| record.tokens).collect::<Vec<_>>(),
        });
        if !self.validation.is_empty() {
            numbers["validation"] = json!(self.held_out());
        }
        numbers
    }
}

/// The most by which losses may rise, and by how much they did.
fn write_guarded(guard: &BTreeMap<String, f64>, guarded: Option<&Guarded>, out: &mut String) {
    let Some(guarded) = guarded else { return };
    if let Some(breach) = &guarded.breach {
        let told = escaped(&breach.told());
        let _ = writeln!(out, "<p>Ended early: {told}. The weights of step {} are kept.</p>", guarded.kept);
    }
    let percent = |share: f64| format!("{:.2} %", 100.0 * share);
    let most = |name: &str| guard.get(name).map_or_else(String::new, |most| percent(*most));
    let rows: Vec<_> =
        guarded.rises.iter().map(|(name, rise)| vec![name.clone(), percent(*rise), most(name)]).collect();
    *out += &table(&["guarded loss", "risen by, at the step that is kept", "allowed"], &rows, 1);
}

/// A number that is written with the few digits that tell an `f32` from its neighbors, as in [`LOSS_FILE`].
pub(crate) fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

/// Each setting with its value, as a recipe writes it.
fn settings_rows(settings: &Value, before: &str, rows: &mut Vec<Vec<String>>) {
    let Value::Object(map) = settings else {
        rows.push(vec![before.to_owned(), settings.as_str().map_or_else(|| settings.to_string(), str::to_owned)]);
        return;
    };
    for (key, value) in map.iter().filter(|(_, value)| !value.is_null()) {
        // What a part or the loop is set to stands a level deeper in a key than in a recipe.
        let name = match (before, key.as_str()) {
            (before, "settings" | "parts") if value.is_object() => before.to_owned(),
            ("", key) => key.to_owned(),
            (before, key) => format!("{before}.{key}"),
        };
        settings_rows(value, &name, rows);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(steps: u64) -> Told {
        let record = |step| StepRecord { step, loss: 1.0 / step as f32, rate: 1e-3, gradient_norm: 2.0, tokens: 3 };
        Told {
            history: (1..=steps).map(record).collect(),
            sampled: vec![
                Sampled { document: "a<b".into(), tokens: 1, source: None },
                Sampled { document: "long".into(), tokens: 3 * steps - 1, source: Some("old".into()) },
            ],
            validation: Vec::new(),
        }
    }

    #[test]
    fn a_long_run_holds_fewer_numbers_and_its_last_step() {
        let numbers = told(25_001).numbers();
        let steps = numbers["step"].as_array().unwrap();
        assert_eq!((numbers["every"].as_u64(), steps.len()), (Some(3), 8335));
        assert_eq!((steps[1].as_u64(), steps.last().unwrap().as_u64()), (Some(4), Some(25_001)));
        assert_eq!(numbers["loss"].as_array().unwrap().len(), steps.len());
    }

    #[test]
    fn settings_are_named_as_in_a_recipe() {
        let settings = json!({
            "settings": { "steps": 3, "clip": 1.0 },
            "parts": { "optimizer": { "method": "adamw", "settings": { "rate": 0.5 } } },
        });
        let mut rows = Vec::new();
        settings_rows(&settings, "", &mut rows);
        rows.sort();
        let rows: Vec<_> = rows.iter().map(|row| row.join("=")).collect();
        assert_eq!(rows, ["clip=1.0", "optimizer.method=adamw", "optimizer.rate=0.5", "steps=3"]);
        let section = told(40).section(&settings);
        assert!(section.contains("Length of the gradient"), "{section}");
        assert!(section.contains("old: long"), "{section}");
        assert!(section.find("long").unwrap() < section.find("a&lt;b").unwrap());
    }
}
