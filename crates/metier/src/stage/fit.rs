//! `fit`: how much domain text continued pretraining can take, from a few short runs.

use super::train::share_figure;
use super::{Context, Flow, Input, InputSlot, Kind, Machine, Outcome, Verb, Work, named, record_of};
use crate::command::table;
use metier_core::settings::Table;
use metier_core::store::{Counts, Estimate, write_atomic};
use metier_core::{Error, Fault, Place, Result};
use metier_eval::law::mixture::{Critical, Limits, Measurement, MixtureFit, fit_mixture};
use metier_eval::law::{PowerLaw, read_measurements};
use metier_train::{VALIDATION_FILE, ValidationRecord, read_validation};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// What was fitted.
const FIT_FILE: &str = "mixture.json";

/// The record of `fit`.
pub static VERB: Verb = Verb {
    name: "fit",
    version: 1,
    summary: "find the largest share of domain text that keeps the general loss, from a few runs",
    makes: Kind::Law,
    inputs: &[
        InputSlot {
            key: "runs",
            kind: Kind::Training,
            required: false,
            many: true,
            text: "runs of `train` from the same model at several shares, validated on general and on domain text",
        },
        InputSlot {
            key: "table",
            kind: Kind::Data,
            required: false,
            many: false,
            text: "a CSV or JSONL file of such runs: `run`, `ratio`, `tokens`, `gen_loss`, `dom_loss`; a row at 0 tokens for each, or one for all",
        },
    ],
    parts: &[],
    settings: <FitSettings as JsonSchema>::json_schema,
    read: read_settings,
};

/// The laws are those of Gu et al., *CMR Scaling Law*, arXiv:2407.17467: sums of powers of the tokens for each run's losses,
/// and of the domain's share for the losses at the end. The critical ratio is the largest share whose general loss ends within
/// `tolerance` and begins to fall before the end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct FitSettings {
    /// What the runs call the domain, under `from` and under `validation`.
    domain: String,
    /// What the runs call general text under `validation`.
    general: String,
    /// By how much the general loss may be higher at the end than before, in nats per token.
    #[schemars(range(min = 0.0, max = 100.0))]
    tolerance: f64,
    /// The weight of the general loss against the domain's. As it grows, a run's critical point comes to the peak of its general loss.
    #[schemars(range(min = 0.0))]
    multiplier: f64,
    /// Draws of residuals for the interval of the critical ratio; 0 for none.
    #[schemars(range(max = 100_000))]
    resamples: usize,
    /// A share to say the losses of, that no run needs to have had.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.001, max = 1.0))]
    forecast: Option<f64>,
    /// Budgets to say the critical ratio for, as multiples of the runs' tokens.
    budgets: Vec<f64>,
}

impl Default for FitSettings {
    fn default() -> Self {
        let Limits { tolerance, multiplier, resamples } = Limits::default();
        Self {
            domain: "domain".to_owned(),
            general: "general".to_owned(),
            tolerance,
            multiplier,
            resamples,
            forecast: None,
            budgets: vec![0.5, 1.0, 2.0, 4.0],
        }
    }
}

struct Fit(FitSettings);

fn read_settings(table: &Table) -> Result<Box<dyn Work>> {
    let settings: FitSettings = table.read()?;
    let odd = settings.budgets.iter().find(|budget| !(**budget > 0.0 && budget.is_finite()));
    if let Some(budget) = odd {
        return Err(Fault::new(table.value_place_of("budgets"), format!("{budget} is no multiple of a budget")).into());
    }
    Ok(Box::new(Fit(settings)))
}

/// The figures, where the runs allow each.
const FIGURES: [&str; 15] = [
    "diverged",
    "domain_mse",
    "domain_r_squared",
    "feasible",
    "forecast_domain",
    "forecast_general",
    "general_limit",
    "general_mse",
    "general_r_squared",
    "least_r_squared",
    "ratio",
    "ratio_high",
    "ratio_low",
    "runs",
    "tokens",
];

impl Work for Fit {
    fn settings(&self) -> serde_json::Value {
        json!({ "settings": self.0 })
    }

    fn check(&self, inputs: &BTreeMap<String, String>) -> Result<()> {
        let message = match (named(inputs, "runs").next(), inputs.get("table")) {
            (Some(_), Some(_)) => "there are runs and a table",
            (None, None) => "there is nothing to fit to",
            _ => return Ok(()),
        };
        Err(Error::user(Place::key("runs"), message)
            .hint("name stages of `train` under `runs`, or a file of measurements under `table`"))
    }

    fn figures(&self, _: &BTreeMap<String, String>) -> Vec<String> {
        let forecast = |name: &&str| self.0.forecast.is_some() || !name.starts_with("forecast");
        FIGURES.into_iter().filter(forecast).map(str::to_owned).collect()
    }

    fn plan(&self, _: &BTreeMap<String, Flow>, _: &Machine) -> Result<(Estimate, Flow)> {
        Ok((Estimate { memory_bytes: Some(64 << 20), ..Estimate::default() }, Flow::default()))
    }

    fn run(&self, context: &Context) -> Result<Outcome> {
        context.start_over()?;
        let settings = &self.0;
        let rows = match context.inputs.get("table") {
            Some(table) => read_measurements(&table.path)?,
            None => self.rows(context)?,
        };
        let FitSettings { tolerance, multiplier, resamples, .. } = *settings;
        let limits = Limits { tolerance, multiplier, resamples };
        let fit = fit_mixture(&rows, &limits, context.seed)?;
        let start = rows.iter().find(|row| row.tokens <= 0.0).map_or(0.0, |row| row.general_loss);
        let budgets: Vec<(f64, Option<f64>)> =
            settings.budgets.iter().map(|times| (times * fit.tokens, fit.ratio_at(times * fit.tokens))).collect();
        let saved = json!({
            "fit": fit,
            "budgets": budgets.iter().map(|(tokens, ratio)| json!({ "tokens": tokens, "ratio": ratio })).collect::<Vec<_>>(),
        });
        write_atomic(context.work.join(FIT_FILE), format!("{saved:#}\n"))?;
        let count = rows.len() as u64;
        Ok(Outcome {
            counts: Counts { read: count, out: count, ..Counts::default() },
            figures: figures_of(&fit, start + tolerance, settings.forecast),
            table: Some(text_of(&fit, start + tolerance, settings.forecast, &budgets)),
        })
    }
}

impl Fit {
    /// The losses of the runs that the stage names, as rows of a table.
    fn rows(&self, context: &Context) -> Result<Vec<Measurement>> {
        let (mut rows, mut predicted) = (Vec::new(), BTreeMap::new());
        for (run, input) in named(context.inputs, "runs") {
            let records = read_validation(&input.path.join(VALIDATION_FILE))
                .map_err(|error| error.hint("give the run held-out shards under `validation`"))?;
            let ratio = self.ratio_of(input)?;
            for set in [&self.0.general, &self.0.domain] {
                let place = || Place::file(input.path.join(VALIDATION_FILE)).with_key(set);
                let Some(record) = records.iter().find(|record| record.name == *set) else {
                    let message = format!("`{}` was not validated on anything called `{set}`", input.name);
                    return Err(Error::user(place(), message)
                        .hint("set `general` and `domain` to the names under `validation`"));
                };
                let before = *predicted.entry(set).or_insert(record.predicted);
                if before != record.predicted {
                    let message = format!(
                        "`{}` predicts {} tokens of `{set}`, and another run {before}",
                        input.name, record.predicted
                    );
                    return Err(Error::user(place(), message)
                        .hint("give all runs the same tokenizer, held-out shards, `context` and `validate.windows`"));
                }
            }
            let of = |set: &str, step: u64| -> Option<&ValidationRecord> {
                records.iter().find(|record| record.name == set && record.step == step)
            };
            for general in records.iter().filter(|record| record.name == self.0.general) {
                let Some(domain) = of(&self.0.domain, general.step) else { continue };
                rows.push(Measurement {
                    run: run.to_owned(),
                    ratio,
                    tokens: general.tokens as f64,
                    general_loss: general.loss,
                    domain_loss: domain.loss,
                    place: Place::file(input.path.join(VALIDATION_FILE)),
                });
            }
        }
        Ok(rows)
    }

    /// The domain's share of what a run went through.
    fn ratio_of(&self, input: &Input) -> Result<f64> {
        record_of(input)?.figures.get(&share_figure(&self.0.domain)).copied().ok_or_else(|| {
            let message = format!("`{}` learned from nothing called `{}`", input.name, self.0.domain);
            Error::file(&input.path, message).hint("name its shards: `from = { general = \"...\", domain = \"...\" }`")
        })
    }
}

/// The critical ratio that a stage `fit` found.
///
/// # Errors
/// When it found none, with its reasons.
pub(super) fn critical_ratio(folder: &Path) -> Result<f64> {
    #[derive(Deserialize)]
    struct Saved {
        fit: MixtureFit,
    }
    let path = folder.join(FIT_FILE);
    let text = std::fs::read(&path).map_err(|error| Error::io(&path, "read the fitted law", &error))?;
    let Saved { fit } = serde_json::from_slice(&text)
        .map_err(|error| Error::file(&path, format!("the fitted law is broken: {error}")))?;
    fit.critical_ratio.ok_or_else(|| {
        Error::file(&path, format!("the law found no critical ratio: {}", fit.notes.join("; ")))
            .hint("measure smaller shares, allow more `tolerance`, or lower the rate")
    })
}

fn figures_of(fit: &MixtureFit, limit: f64, forecast: Option<f64>) -> BTreeMap<String, f64> {
    let mut figures = BTreeMap::from([
        ("runs", fit.runs.len() as f64),
        ("feasible", fit.runs.iter().filter(|run| run.feasible).count() as f64),
        ("diverged", fit.diverged.len() as f64),
        ("tokens", fit.tokens),
        ("general_limit", limit),
    ]);
    let fits = fit.runs.iter().flat_map(|run| [&run.general, &run.domain]);
    figures.extend(fits.map(|law| law.r_squared).reduce(f64::min).map(|least| ("least_r_squared", least)));
    figures.extend(fit.critical_ratio.map(|ratio| ("ratio", ratio)));
    figures
        .extend(fit.interval.iter().flat_map(|interval| [("ratio_low", interval.low), ("ratio_high", interval.high)]));
    let quality = |law: &Option<PowerLaw>, names: [&'static str; 3]| {
        let numbers =
            law.iter().map(|law| [Some(law.r_squared), Some(law.mean_squared_error), forecast.map(|at| law.at(at))]);
        numbers.flat_map(move |numbers| names.into_iter().zip(numbers)).collect::<Vec<_>>()
    };
    for (name, value) in quality(&fit.general, ["general_r_squared", "general_mse", "forecast_general"])
        .into_iter()
        .chain(quality(&fit.domain, ["domain_r_squared", "domain_mse", "forecast_domain"]))
    {
        figures.extend(value.map(|value| (name, value)));
    }
    figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The fit for people.
fn text_of(fit: &MixtureFit, limit: f64, forecast: Option<f64>, budgets: &[(f64, Option<f64>)]) -> String {
    let point = |critical: Critical| match critical {
        Critical::AtOnce => "at once".to_owned(),
        Critical::After(tokens) if tokens > fit.tokens => format!("{tokens:.4e} (after the end)"),
        Critical::After(tokens) => format!("{tokens:.4e}"),
        Critical::Never => "never".to_owned(),
    };
    let yes = |holds: bool| if holds { "yes" } else { "no" }.to_owned();
    let rows: Vec<Vec<String>> = fit
        .runs
        .iter()
        .map(|run| {
            vec![
                run.run.clone(),
                format!("{:.4}", run.ratio),
                format!("{:+.4}", run.general.at(fit.tokens)),
                format!("{:+.4}", run.domain.at(fit.tokens)),
                point(run.critical),
                point(run.peak),
                yes(run.acceptable),
                yes(run.feasible),
                format!("{:.4}", run.general.r_squared),
                format!("{:.4}", run.domain.r_squared),
            ]
        })
        .collect();
    let headings = [
        "run",
        "share",
        "general change",
        "domain change",
        "both fall after",
        "general peak",
        "within tolerance",
        "feasible",
        "general R²",
        "domain R²",
    ];
    let mut right = [true; 10];
    right[0] = false;
    let mut out = table(&headings, &rows, &right);
    let mut line = |text: String| {
        let _ = writeln!(out, "{text}");
    };
    for (what, law) in [("general", &fit.general), ("domain", &fit.domain)] {
        let Some(law) = law else { continue };
        let exact = if law.points == 3 { "; three points fix it, so R² says nothing" } else { "" };
        line(format!(
            "{what} loss at the end over shares: {}, R² {:.5}, MSE {:.2e}{exact}",
            formula(law, 'R'),
            law.r_squared,
            law.mean_squared_error
        ));
        if let Some(at) = forecast {
            line(format!("{what} loss forecast at a share of {at}: {:.4}", law.at(at)));
        }
    }
    line(
        match (fit.critical_ratio, &fit.interval) {
            (Some(ratio), Some(interval)) => {
                format!("critical ratio: {ratio:.4}, 95 % of draws {:.4} to {:.4}", interval.low, interval.high)
            }
            (Some(ratio), None) => format!("critical ratio: {ratio:.4}"),
            (None, _) => "critical ratio: none".to_owned(),
        } + &format!(" (general loss at most {limit:.4} after {} tokens)", fit.tokens),
    );
    if let Some(law) = &fit.law {
        line(format!("critical ratio over tokens: {}, R² {:.5}", formula(law, 'T'), law.r_squared));
        for (tokens, ratio) in budgets {
            let beyond = if *tokens > fit.tokens { " (beyond the longest run: a guess)" } else { "" };
            line(format!("  {tokens:.4e} tokens: {:.4}{beyond}", ratio.unwrap_or(0.0)));
        }
    }
    for note in &fit.notes {
        line(format!("note: {note}"));
    }
    out
}

fn formula(law: &PowerLaw, of: char) -> String {
    let terms = law.terms.iter().map(|term| format!("{:.5} {of}^{:.5}", term.factor, term.exponent));
    terms.chain([format!("{:.5}", law.offset)]).collect::<Vec<_>>().join(" + ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_is_declared() {
        let rows: Vec<Measurement> = [0.1, 0.3, 0.5, 0.7]
            .into_iter()
            .flat_map(|ratio: f64| (0..=12).map(move |step| (ratio, f64::from(step))))
            .map(|(ratio, tokens)| Measurement {
                run: ratio.to_string(),
                ratio,
                tokens,
                general_loss: 3.0 + 0.01 * ratio * (2.0 * (tokens * 20.0 * ratio).sqrt() - tokens),
                domain_loss: 4.0 - ratio.powf(0.3) * tokens.powf(0.4),
                place: Place::default(),
            })
            .collect();
        let fit = fit_mixture(&rows, &Limits { resamples: 5, ..Limits::default() }, metier_core::seed::Seed::new(1));
        let figures = figures_of(&fit.unwrap(), 3.05, Some(0.9));
        assert_eq!(figures.keys().map(String::as_str).collect::<Vec<_>>(), FIGURES);
    }
}
