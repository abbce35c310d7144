//! Intervals by drawing documents anew.

use crate::evaluate::{Amount, Evaluation};
use crate::metric::Metric;
use metier_core::seed::Seed;
use metier_core::{Error, Fault, Place, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Below this many documents, windows are drawn instead of documents.
const FEW_DOCUMENTS: usize = 8;
/// The share of draws inside an interval.
const CONFIDENCE: f64 = 0.95;

/// A number with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interval {
    /// The number itself, from all windows.
    pub value: f64,
    /// 2.5 % of the draws lie below.
    pub low: f64,
    /// 2.5 % of the draws lie above.
    pub high: f64,
}

/// What is drawn anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resampled {
    /// Whole documents, because windows of one document are alike.
    Documents,
    /// Single windows, because there are fewer than eight documents; the interval may be too narrow.
    Windows,
}

/// One evaluation's number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Single {
    /// The metric's name.
    pub metric: String,
    /// The number.
    pub value: Interval,
    /// Windows measured.
    pub windows: usize,
    /// Documents they come from.
    pub documents: usize,
    /// Bytes of text scored.
    pub bytes: u64,
    /// What was drawn anew.
    pub resampled: Resampled,
    /// How many times.
    pub resamples: usize,
}

/// Two evaluations of the same windows, compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Paired {
    /// The metric's name.
    pub metric: String,
    /// The first model's number.
    pub base: Interval,
    /// The second model's number.
    pub other: Interval,
    /// Second minus first; the metric says which sign is better.
    pub difference: Interval,
    /// The difference in percent of the first; nothing when that is 0.
    pub change_percent: Option<Interval>,
    /// Windows measured.
    pub windows: usize,
    /// Documents they come from.
    pub documents: usize,
    /// Bytes of text scored by the second model.
    pub bytes: u64,
    /// What was drawn anew.
    pub resampled: Resampled,
    /// How many times.
    pub resamples: usize,
    /// Each document's own numbers (first, second), in the order of their ids.
    pub by_document: BTreeMap<String, (f64, f64)>,
}

impl Single {
    /// The numbers by name: `value` (also under the metric's own name), `low`, `high`, `windows`, `documents`, `bytes`.
    pub fn figures(&self) -> BTreeMap<String, f64> {
        let Interval { value, low, high } = self.value;
        BTreeMap::from(
            [
                ("value", value),
                (self.metric.as_str(), value),
                ("low", low),
                ("high", high),
                ("windows", self.windows as f64),
                ("documents", self.documents as f64),
                ("bytes", self.bytes as f64),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        )
    }
}

impl Paired {
    /// The numbers by name: those of [`Single::figures`] for the second model, `base`, and `difference` and
    /// `change_percent` each with `_low` and `_high`, the last only where there is one.
    pub fn figures(&self) -> BTreeMap<String, f64> {
        let mut figures = self.single().figures();
        figures.insert("base".to_owned(), self.base.value);
        let change = self.change_percent.map(|change| ("change_percent", change));
        for (name, interval) in change.into_iter().chain([("difference", self.difference)]) {
            figures.insert(name.to_owned(), interval.value);
            figures.insert(format!("{name}_low"), interval.low);
            figures.insert(format!("{name}_high"), interval.high);
        }
        figures
    }

    /// The second model's number alone.
    pub fn single(&self) -> Single {
        Single {
            metric: self.metric.clone(),
            value: self.other,
            windows: self.windows,
            documents: self.documents,
            bytes: self.bytes,
            resampled: self.resampled,
            resamples: self.resamples,
        }
    }
}

/// An evaluation's number with its interval: documents (windows when there are fewer than eight documents) are
/// drawn with replacement `resamples` times, and 2.5 % of the results are cut off at either end.
///
/// Efron 1979, *Bootstrap methods: another look at the jackknife*.
pub fn bootstrap(evaluation: &Evaluation, metric: &dyn Metric, resamples: usize, seed: Seed) -> Result<Single> {
    let (resampled, groups) = groups(evaluation)?;
    let amounts = sums(evaluation, &groups);
    let mut values = Vec::with_capacity(resamples);
    draw(groups.len(), resamples, seed, |drawn| values.push(metric.value(added(&amounts, drawn))));
    let total = evaluation.total();
    Ok(Single {
        metric: metric.name().to_owned(),
        value: interval(metric.value(total), values)?,
        windows: evaluation.windows.len(),
        documents: evaluation.documents(),
        bytes: total.bytes as u64,
        resampled,
        resamples,
    })
}

/// The difference between two evaluations with its interval. Both see the same draws, so that what makes a
/// document hard for both cancels out.
///
/// Evaluations of different windows are refused. Otherwise as [`bootstrap`]; paired as in Koehn 2004,
/// *Statistical significance tests for machine translation evaluation*.
pub fn paired_bootstrap(
    base: &Evaluation,
    other: &Evaluation,
    metric: &dyn Metric,
    resamples: usize,
    seed: Seed,
) -> Result<Paired> {
    same_windows(base, other)?;
    let (resampled, groups) = groups(other)?;
    let (first, second) = (sums(base, &groups), sums(other, &groups));
    let mut values: [Vec<f64>; 4] = Default::default();
    draw(groups.len(), resamples, seed, |drawn| {
        let (first, second) = (metric.value(added(&first, drawn)), metric.value(added(&second, drawn)));
        for (values, value) in values.iter_mut().zip(compared(first, second)) {
            values.push(value);
        }
    });
    let total = other.total();
    let whole = compared(base.value(metric), other.value(metric));
    let [bases, others, differences, changes] = values;
    let by_document = other
        .by_document()
        .into_iter()
        .map(|(document, windows)| {
            let value = |evaluation: &Evaluation| {
                let amounts = windows.iter().map(|&window| Amount::from(&evaluation.windows[window]));
                metric.value(amounts.fold(Amount::default(), Amount::plus))
            };
            (document.to_owned(), (value(base), value(other)))
        })
        .filter(|(_, (base, other))| base.is_finite() && other.is_finite())
        .collect();
    Ok(Paired {
        metric: metric.name().to_owned(),
        base: interval(whole[0], bases)?,
        other: interval(whole[1], others)?,
        difference: interval(whole[2], differences)?,
        change_percent: whole[3].is_finite().then(|| interval(whole[3], changes)).transpose()?,
        windows: other.windows.len(),
        documents: other.documents(),
        bytes: total.bytes as u64,
        resampled,
        resamples,
        by_document,
    })
}

fn compared(first: f64, second: f64) -> [f64; 4] {
    [first, second, second - first, (second / first - 1.0) * 100.0]
}

pub(super) fn same_windows(base: &Evaluation, other: &Evaluation) -> Result<()> {
    let place = || Place::key("the two evaluations");
    let hint = "compare evaluations of the same texts with the same `window_bytes`, `max_windows` and seed";
    if base.windows.len() != other.windows.len() {
        let message = format!("one has {} windows and the other {}", base.windows.len(), other.windows.len());
        return Err(Fault::new(place(), message).hint(hint).into());
    }
    match base.windows.iter().zip(&other.windows).position(|(base, other)| !base.same_window(other)) {
        None => Ok(()),
        Some(at) => {
            let (base, other) = (&base.windows[at], &other.windows[at]);
            let message = if (&base.document, base.start, base.end) == (&other.document, other.start, other.end) {
                format!("the text of `{}` from byte {} to {} differs", base.document, base.start, base.end)
            } else {
                format!(
                    "window {} is `{}` from byte {} to {} in one and `{}` from byte {} to {} in the other",
                    at + 1,
                    base.document,
                    base.start,
                    base.end,
                    other.document,
                    other.start,
                    other.end
                )
            };
            Err(Fault::new(place(), message).hint(hint).into())
        }
    }
}

/// The windows' numbers, grouped by what is drawn together.
pub(super) fn groups(evaluation: &Evaluation) -> Result<(Resampled, Vec<Vec<usize>>)> {
    let documents = evaluation.by_document();
    if documents.len() >= FEW_DOCUMENTS {
        return Ok((Resampled::Documents, documents.into_values().collect()));
    }
    if evaluation.windows.len() < 2 {
        return Err(Error::user(Place::default(), "an interval cannot be told from a single window")
            .hint("measure more text, or lower `window_bytes`"));
    }
    Ok((Resampled::Windows, (0..evaluation.windows.len()).map(|window| vec![window]).collect()))
}

pub(super) fn sums(evaluation: &Evaluation, groups: &[Vec<usize>]) -> Vec<Amount> {
    groups
        .iter()
        .map(|group| {
            group.iter().map(|&window| Amount::from(&evaluation.windows[window])).fold(Amount::default(), Amount::plus)
        })
        .collect()
}

pub(super) fn added(amounts: &[Amount], drawn: &[usize]) -> Amount {
    drawn.iter().fold(Amount::default(), |sum, &group| sum.plus(amounts[group]))
}

/// Draws `count` of `count` groups with replacement, `resamples` times.
pub(super) fn draw(count: usize, resamples: usize, seed: Seed, mut each: impl FnMut(&[usize])) {
    let seed = seed.derive("bootstrap");
    let mut drawn = vec![0; count];
    for resample in 0..resamples {
        let mut random = seed.at(resample as u64);
        for group in &mut drawn {
            *group = random.below(count as u64) as usize;
        }
        each(&drawn);
    }
}

/// The middle 95 % of the draws that are finite.
pub(crate) fn interval(value: f64, mut draws: Vec<f64>) -> Result<Interval> {
    draws.retain(|draw| draw.is_finite());
    draws.sort_by(f64::total_cmp);
    if draws.is_empty() || !value.is_finite() {
        return Err(Error::user(Place::default(), "too little was scored for an interval")
            .hint("measure more text, and draw at least once"));
    }
    let tail = (1.0 - CONFIDENCE) / 2.0;
    Ok(Interval { value, low: quantile(&draws, tail), high: quantile(&draws, 1.0 - tail) })
}

/// The `share` quantile of sorted numbers, linear between neighbors.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    let below = at.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (sorted[above] - sorted[below]) * (at - below as f64)
}
