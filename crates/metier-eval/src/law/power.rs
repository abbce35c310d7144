//! Least squares of sums of powers.

use metier_core::{Error, Fault, Place, Result};
use serde::{Deserialize, Serialize};

/// Exponents are looked for between these, 0 left out.
const EXPONENTS: f64 = 3.0;
/// Steps of the first look on each side of 0, for laws of one and of two powers.
const STEPS: [usize; 2] = [300, 60];
/// Least rows for a law of each number of powers: as many as it has parameters.
const PARAMETERS: [usize; 2] = [3, 5];

/// `y(x) = Σ factor · x^exponent + offset`, fitted to points.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PowerLaw {
    /// The powers.
    pub terms: Vec<Term>,
    /// What is added to them.
    pub offset: f64,
    /// Mean of the squared distances of the points.
    pub mean_squared_error: f64,
    /// The share of the points' variance that the law explains.
    pub r_squared: f64,
    /// How many points it was fitted to. With as many as parameters it passes through all of them, and its error says nothing.
    pub points: usize,
}

/// One power.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Term {
    /// What the power is multiplied by.
    pub factor: f64,
    /// The power.
    pub exponent: f64,
}

impl PowerLaw {
    /// A law that is known.
    pub fn known(terms: &[(f64, f64)], offset: f64) -> Self {
        let terms = terms.iter().map(|&(factor, exponent)| Term { factor, exponent }).collect();
        Self { terms, offset, mean_squared_error: 0.0, r_squared: 1.0, points: 0 }
    }

    /// Fits the law of one or two powers to points `(x, y)` with `x > 0`: exponents are looked for on a grid, where factors and
    /// offset follow in closed form, and the best are moved by Levenberg and Marquardt's method on all parameters.
    pub fn fit(points: &[(f64, f64)], powers: usize) -> Result<Self> {
        let (Some(&parameters), Some(&steps)) =
            (PARAMETERS.get(powers.wrapping_sub(1)), STEPS.get(powers.wrapping_sub(1)))
        else {
            return Err(Error::program(format!("a law of {powers} powers was asked for; there are those of 1 and 2")));
        };
        let mut places: Vec<f64> = points.iter().map(|point| point.0).collect();
        places.sort_by(f64::total_cmp);
        places.dedup();
        if places.len() < parameters {
            let message = format!(
                "a law with {parameters} parameters needs as many points with different values, and there are {}",
                places.len()
            );
            return Err(Fault::new(Place::default(), message).into());
        }
        if points.iter().any(|(x, y)| !(x.is_finite() && *x > 0.0 && y.is_finite())) {
            return Err(
                Fault::new(Place::default(), "a law of powers is fitted to finite numbers at places above 0").into()
            );
        }
        // Powers of what is about 1 stay about 1.
        let scale = places[places.len() - 1];
        let scaled: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x / scale, *y)).collect();
        let exponents = grid(steps);
        let starts: Vec<Vec<f64>> = if powers == 1 {
            exponents.iter().map(|exponent| vec![*exponent]).collect()
        } else {
            let pairs = |(at, first): (usize, &f64)| {
                exponents[at + 1..].iter().map(|second| vec![*first, *second]).collect::<Vec<_>>()
            };
            exponents.iter().enumerate().flat_map(pairs).collect()
        };
        let solved = starts.iter().filter_map(|exponents| Some((linear(&scaled, exponents)?, exponents)));
        let mut best: Vec<(f64, Vec<f64>)> = solved
            .map(|(factors, exponents)| {
                let parameters = [&factors[..], exponents].concat();
                (squares(&scaled, &parameters), parameters)
            })
            .filter(|(error, _)| error.is_finite())
            .collect();
        best.sort_by(|a, b| a.0.total_cmp(&b.0));
        let refined = best.into_iter().take(8).map(|(_, parameters)| refine(&scaled, parameters));
        let best = refined
            .min_by(|a, b| a.0.total_cmp(&b.0))
            .ok_or_else(|| Error::from(Fault::new(Place::default(), "no law of powers fits the points")))?;
        Ok(Self::of(best, &scaled, scale))
    }

    /// The law of the same form that fits other points best, looked for from this one on.
    #[must_use]
    pub fn refitted(&self, points: &[(f64, f64)]) -> Self {
        let scale = points.iter().map(|point| point.0).fold(f64::MIN_POSITIVE, f64::max);
        let scaled: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x / scale, *y)).collect();
        let factors = self.terms.iter().map(|term| term.factor * scale.powf(term.exponent));
        let parameters = factors.chain([self.offset]).chain(self.terms.iter().map(|term| term.exponent)).collect();
        Self::of(refine(&scaled, parameters), &scaled, scale)
    }

    /// `[factors.., offset, exponents..]` of places that were divided by `scale`, with their squared error.
    fn of((error, parameters): (f64, Vec<f64>), scaled: &[(f64, f64)], scale: f64) -> Self {
        let powers = parameters.len() / 2;
        let mean = scaled.iter().map(|(_, y)| y).sum::<f64>() / scaled.len() as f64;
        let variance: f64 = scaled.iter().map(|(_, y)| (y - mean).powi(2)).sum();
        let terms = (0..powers).map(|power| {
            let exponent = parameters[powers + 1 + power];
            Term { factor: parameters[power] * scale.powf(-exponent), exponent }
        });
        Self {
            terms: terms.collect(),
            offset: parameters[powers],
            mean_squared_error: error / scaled.len() as f64,
            r_squared: if variance > 0.0 { 1.0 - error / variance } else { 1.0 },
            points: scaled.len(),
        }
    }

    /// The law at a place.
    pub fn at(&self, x: f64) -> f64 {
        self.terms.iter().map(|term| term.factor * x.powf(term.exponent)).sum::<f64>() + self.offset
    }

    /// Its slope there.
    pub fn slope(&self, x: f64) -> f64 {
        self.terms.iter().map(|term| term.factor * term.exponent * x.powf(term.exponent - 1.0)).sum()
    }
}

/// Exponents on both sides of 0.
fn grid(steps: usize) -> Vec<f64> {
    let half = (1..=steps).map(|step| EXPONENTS * step as f64 / steps as f64);
    half.clone().rev().map(|exponent| -exponent).chain(half).collect()
}

/// Factors and offset for given exponents: `[factors.., offset]`; nothing when they are not determined.
fn linear(points: &[(f64, f64)], exponents: &[f64]) -> Option<Vec<f64>> {
    let size = exponents.len() + 1;
    let mut system = vec![vec![0.0; size + 1]; size];
    for (x, y) in points {
        let row: Vec<f64> = exponents.iter().map(|exponent| x.powf(*exponent)).chain([1.0]).collect();
        accumulate(&mut system, &row, *y);
    }
    solve(system)
}

/// Adds one row of a least-squares problem to its normal equations `[A | b]`.
pub(super) fn accumulate(system: &mut [Vec<f64>], row: &[f64], value: f64) {
    for (equation, left) in system.iter_mut().zip(row) {
        for (cell, right) in equation.iter_mut().zip(row.iter().chain([&value])) {
            *cell += left * right;
        }
    }
}

/// Gauss's elimination with the largest pivot of each column.
pub(super) fn solve(mut system: Vec<Vec<f64>>) -> Option<Vec<f64>> {
    let size = system.len();
    for column in 0..size {
        let pivot = (column..size).max_by(|a, b| system[*a][column].abs().total_cmp(&system[*b][column].abs()))?;
        system.swap(column, pivot);
        let lead = system[column].clone();
        if lead[column].abs() < f64::MIN_POSITIVE || !lead[column].is_finite() {
            return None;
        }
        for (row, equation) in system.iter_mut().enumerate() {
            if row != column {
                let share = equation[column] / lead[column];
                for (cell, from) in equation.iter_mut().zip(&lead) {
                    *cell -= share * from;
                }
            }
        }
    }
    Some((0..size).map(|row| system[row][size] / system[row][row]).collect())
}

/// `[factors.., offset, exponents..]` at a place.
fn value(parameters: &[f64], x: f64) -> f64 {
    let powers = parameters.len() / 2;
    (0..powers).map(|power| parameters[power] * x.powf(parameters[powers + 1 + power])).sum::<f64>()
        + parameters[powers]
}

fn squares(points: &[(f64, f64)], parameters: &[f64]) -> f64 {
    points.iter().map(|(x, y)| (value(parameters, *x) - y).powi(2)).sum()
}

/// Levenberg's and Marquardt's method, from parameters near the best.
fn refine(points: &[(f64, f64)], mut parameters: Vec<f64>) -> (f64, Vec<f64>) {
    const ROUNDS: usize = 400;
    let powers = parameters.len() / 2;
    let (mut error, mut damping) = (squares(points, &parameters), 1e-3);
    for _ in 0..ROUNDS {
        let mut system = vec![vec![0.0; parameters.len() + 1]; parameters.len()];
        for (x, y) in points {
            let power = |index: usize| x.powf(parameters[powers + 1 + index]);
            let slopes: Vec<f64> = (0..powers)
                .map(power)
                .chain([1.0])
                .chain((0..powers).map(|index| parameters[index] * power(index) * x.ln()))
                .collect();
            accumulate(&mut system, &slopes, y - value(&parameters, *x));
        }
        for (index, equation) in system.iter_mut().enumerate() {
            equation[index] += damping * equation[index].max(1e-30);
        }
        let Some(step) = solve(system) else { break };
        let moved: Vec<f64> = parameters.iter().zip(&step).map(|(parameter, step)| parameter + step).collect();
        let after = squares(points, &moved);
        let within = moved[powers + 1..].iter().all(|exponent| exponent.abs() <= 2.0 * EXPONENTS);
        if after.is_finite() && after < error && within {
            let gained = error - after;
            (parameters, error, damping) = (moved, after, (damping / 3.0).max(1e-12));
            if gained <= 1e-14 * error {
                break;
            }
        } else {
            damping *= 4.0;
            if damping > 1e12 {
                break;
            }
        }
    }
    (error, parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Table 5 of the paper: domain losses at 100, 75, 50 and 33 % of domain text, and the measured one at 25 %, for 460M, 940M,
    /// 1.6B and 3.1B weights.
    const PUBLISHED: [([f64; 4], f64); 4] = [
        ([1.4628, 1.4844, 1.5122, 1.5387], 1.5561),
        ([1.3723, 1.3910, 1.4155, 1.4385], 1.4538),
        ([1.3242, 1.3416, 1.3643, 1.3854], 1.3994),
        ([1.2585, 1.2750, 1.2965, 1.3170], 1.3305),
    ];

    #[test]
    fn the_published_losses_forecast_the_measured_one() {
        for (losses, measured) in PUBLISHED {
            let points: Vec<_> = [1.0, 0.75, 0.5, 1.0 / 3.0].into_iter().zip(losses).collect();
            let law = PowerLaw::fit(&points, 1).unwrap();
            let forecast = law.at(0.25);
            assert!((forecast / measured - 1.0).abs() < 5e-4, "{forecast} for {measured}: {law:?}");
        }
    }

    #[test]
    fn known_laws_are_found_again() {
        for (terms, offset) in
            [(vec![(-0.426, 0.178)], 1.889), (vec![(2.0, -0.5)], -1.0), (vec![(-1.5, 0.9), (1.6, 0.4)], 0.1)]
        {
            let known = PowerLaw::known(&terms, offset);
            let points: Vec<_> = (1..=20).map(|x| (f64::from(x) * 5.0, known.at(f64::from(x) * 5.0))).collect();
            let law = PowerLaw::fit(&points, terms.len()).unwrap();
            assert!(law.r_squared > 1.0 - 1e-9, "{law:?}");
            for x in [3.0, 60.0, 120.0] {
                assert!((law.at(x) - known.at(x)).abs() < 1e-3, "{x}: {} for {}", law.at(x), known.at(x));
            }
        }
    }

    #[test]
    fn points_that_determine_nothing_are_refused() {
        for points in [
            vec![(1.0, 2.0), (2.0, 3.0), (2.0, 3.1)],
            vec![(0.0, 1.0), (1.0, 2.0), (2.0, 3.0)],
            vec![(1.0, f64::NAN), (2.0, 1.0), (3.0, 1.0)],
        ] {
            assert!(PowerLaw::fit(&points, 1).is_err(), "{points:?}");
        }
    }
}
