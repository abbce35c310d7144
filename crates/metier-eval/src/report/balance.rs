//! What a model is worth in a trade and elsewhere, from one model to the next.

use super::bootstrap::{added, draw, groups, interval, same_windows, sums};
use super::{Interval, table::align};
use crate::evaluate::{Amount, Evaluation};
use metier_core::seed::Seed;
use metier_core::{Error, Place, Result};
use serde::Serialize;
use std::collections::BTreeMap;

/// What is weighed.
pub const AXES: [&str; 3] = ["speciality", "versatility", "unified"];

/// A model, and what it was measured on: evaluations by the name of the set.
pub struct Step {
    /// What the model is called.
    pub name: String,
    /// Its evaluations.
    pub sets: BTreeMap<String, Evaluation>,
}

/// Which sets say what. None is in both.
#[derive(Debug, Clone, Copy)]
pub struct Weighed<'a> {
    /// Sets of the trade.
    pub speciality: &'a [String],
    /// Sets of everything else.
    pub versatility: &'a [String],
}

/// A score of a step with its distance from others; more is better.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Score {
    /// The score itself, from 0 to 1.
    pub score: Interval,
    /// Minus that of the first step; none for the first itself.
    pub from_first: Option<Interval>,
    /// Minus that of the step before; none for the first.
    pub from_last: Option<Interval>,
}

/// What a step is worth.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Balance {
    /// What the model is called.
    pub step: String,
    /// The mean over the sets of the trade.
    pub speciality: Score,
    /// The mean over the other sets.
    pub versatility: Score,
    /// The mean of both.
    pub unified: Score,
    /// The score of each set alone.
    pub sets: BTreeMap<String, f64>,
    /// How many points of `unified` each set won since the step before, or lost; empty for the first.
    pub won: BTreeMap<String, f64>,
}

impl Balance {
    /// The scores by the names in [`AXES`].
    pub fn scores(&self) -> [(&'static str, &Score); 3] {
        let [speciality, versatility, unified] = AXES;
        [(speciality, &self.speciality), (versatility, &self.versatility), (unified, &self.unified)]
    }
}

/// A set's score: of questions the share of right answers, of queries the normalized gain of the first ten passages, of texts the probability of a byte, `2^-(bits a byte)`, its geometric mean.
fn score(amount: Amount) -> f64 {
    match amount {
        Amount { asked, right, .. } if asked > 0.0 => right / asked,
        Amount { queries, gain_at_10, .. } if queries > 0.0 => gain_at_10 / queries,
        Amount { nats, bytes, .. } => (-nats / bytes).exp(),
    }
}

/// Speciality, versatility and their mean (Zhang et al. 2024, CoFiTune, arXiv:2404.10306, whose weighting is not published: the plain
/// mean) of models that follow each other, with 95 % intervals. Documents and questions of a set are drawn anew as in
/// [`paired_bootstrap`](super::paired_bootstrap), the same ones for all models, and each set by itself.
///
/// # Errors
/// When a model was not measured on a set, or on other windows of it than the first; when a set is too small for an interval.
pub fn balance(steps: &[Step], weighed: Weighed<'_>, resamples: usize, seed: Seed) -> Result<Vec<Balance>> {
    let axes = [weighed.speciality, weighed.versatility];
    let mut scores: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    // Of each axis and draw, the mean over sets of each step's score.
    let mut draws = [(); 2].map(|()| vec![vec![0.0; steps.len()]; resamples]);
    for (sets, draws) in axes.into_iter().zip(&mut draws) {
        for set in sets {
            let measured = steps.iter().map(|step| of(step, set)).collect::<Result<Vec<_>>>()?;
            let [first, others @ ..] = &measured[..] else { continue };
            let named = |error: Error| about(error, set);
            for other in others {
                same_windows(first, other).map_err(named)?;
            }
            let (_, groups) = groups(first).map_err(named)?;
            let amounts: Vec<Vec<Amount>> = measured.iter().map(|evaluation| sums(evaluation, &groups)).collect();
            let mut means = draws.iter_mut();
            draw(groups.len(), resamples, seed.derive(set), |drawn| {
                let Some(means) = means.next() else { return };
                for (mean, amounts) in means.iter_mut().zip(&amounts) {
                    *mean += score(added(amounts, drawn)) / sets.len() as f64;
                }
            });
            scores.insert(set, measured.iter().map(|evaluation| score(evaluation.total())).collect());
        }
    }
    let mean = |sets: &[String], step: usize| {
        sets.iter().map(|set| scores[set.as_str()][step]).sum::<f64>() / sets.len() as f64
    };
    let whole = |axis: usize, step: usize| match axes.get(axis) {
        Some(sets) => mean(sets, step),
        None => f64::midpoint(mean(axes[0], step), mean(axes[1], step)),
    };
    let drawn = |axis: usize, step: usize, at: usize| match draws.get(axis) {
        Some(draws) => draws[at][step],
        None => f64::midpoint(draws[0][at][step], draws[1][at][step]),
    };
    let less = |axis: usize, step: usize, other: Option<usize>| {
        let value = |of: &dyn Fn(usize) -> f64| of(step) - other.map_or(0.0, of);
        let values = (0..resamples).map(|at| value(&|step| drawn(axis, step, at))).collect();
        interval(value(&|step| whole(axis, step)), values)
    };
    let mut rows = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        let score = |axis: usize| -> Result<Score> {
            let from = |other: Option<usize>| other.map(|other| less(axis, number, Some(other))).transpose();
            Ok(Score {
                score: less(axis, number, None)?,
                from_first: from((number > 0).then_some(0))?,
                from_last: from(number.checked_sub(1))?,
            })
        };
        let won = axes.iter().flat_map(|sets| {
            let points = |set: &String| {
                let scores = &scores[set.as_str()];
                Some((set.clone(), (scores[number] - scores[number.checked_sub(1)?]) / (2 * sets.len()) as f64))
            };
            sets.iter().filter_map(points)
        });
        rows.push(Balance {
            step: step.name.clone(),
            speciality: score(0)?,
            versatility: score(1)?,
            unified: score(2)?,
            sets: scores.iter().map(|(set, scores)| ((*set).to_owned(), scores[number])).collect(),
            won: won.collect(),
        });
    }
    Ok(rows)
}

fn of<'a>(step: &'a Step, set: &str) -> Result<&'a Evaluation> {
    step.sets.get(set).ok_or_else(|| {
        let known: Vec<&str> = step.sets.keys().map(String::as_str).collect();
        let error = Error::user(Place::default(), format!("`{}` was not measured on `{set}`", step.name));
        error.hint(format!("measured were: {}", known.join(", ")))
    })
}

/// An error that says which set it is about.
fn about(mut error: Error, set: &str) -> Error {
    for fault in &mut error.faults {
        fault.place.key = Some(format!("`{set}`"));
    }
    error
}

/// The models as a table: each score, and in points of a hundred how far it is from the first model's and from the last one's.
pub fn balance_table(rows: &[Balance]) -> String {
    let headings = ["model", "", "score", "from the first", "95 % interval", "from the last"];
    let mut cells = vec![headings.map(str::to_owned).to_vec()];
    let points = |value: f64| format!("{:+.2}", value * 100.0);
    for row in rows {
        for (number, (axis, score)) in row.scores().into_iter().enumerate() {
            let from = |distance: Option<Interval>| distance.map_or("-".to_owned(), |distance| points(distance.value));
            cells.push(vec![
                if number == 0 { row.step.clone() } else { String::new() },
                axis.to_owned(),
                format!("{:.2}", score.score.value * 100.0),
                from(score.from_first),
                score.from_first.map_or("-".to_owned(), |distance| {
                    format!("{} to {}", points(distance.low), points(distance.high))
                }),
                from(score.from_last),
            ]);
        }
    }
    format!("points of 100, higher is better\n{}", align(&cells))
}
