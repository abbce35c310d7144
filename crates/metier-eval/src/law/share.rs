//! How much of a fixed budget to spend on other data than the trade's own.
//!
//! A model learned from several mixtures of the same size, and was asked the same kind of questions after each. The logit of
//! its accuracy is fitted by a parabola over the share of other data, whose highest point is the advice; where that point
//! can be anywhere, there is none.
//!
//! Source: the question is that of Zhang, Wang and Charton 2024, *Only-IF* (arXiv:2410.04717), who find that a moderate share of other data helps a
//! specialist and too much hurts. The fit is ours.

use super::power::{accumulate, solve};
use crate::report::{Interval, interval};
use metier_core::seed::{Seed, Stream};
use metier_core::{Error, Fault, Place, Result};
use serde::{Deserialize, Serialize};

/// Least different shares: a parabola has three numbers, and a fourth share can speak against it.
const FEWEST_SHARES: usize = 4;
/// Up to so many questions are drawn one by one; above, the normal distribution stands for them.
const ONE_BY_ONE: u64 = 2000;

/// How often a model was right that learned from a mixture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// Other data among all, from 0 to 1.
    pub share: f64,
    /// Questions it answered rightly.
    pub right: u64,
    /// Questions it was asked.
    pub asked: u64,
    /// Where the row was read.
    #[serde(skip)]
    pub place: Place,
}

impl Trial {
    /// Numbers that no trial can have.
    pub(super) fn odd(&self, place: &Place) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut refuse = |key: &str, what: String| faults.push(Fault::new(place.clone().with_key(key), what));
        if !(0.0..=1.0).contains(&self.share) {
            refuse("share", format!("a share lies between 0 and 1, and this is {}", self.share));
        }
        if self.asked == 0 {
            refuse("asked", "nothing was asked".to_owned());
        }
        if self.right > self.asked {
            refuse("right", format!("{} answers are right, and {} questions were asked", self.right, self.asked));
        }
        faults
    }
}

/// The share at which a model is right most often.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Advice {
    /// The highest point of the fitted curve within the shares that were tried, with 95 % of the draws around it.
    pub share: Interval,
    /// The accuracy that the curve has there.
    pub accuracy: f64,
    /// The accuracy that it has at the smallest share tried.
    pub accuracy_at_least: f64,
    /// Whether the draws leave something out: where they reach from the smallest share to the largest one, nothing is advised.
    pub advised: bool,
}

/// Finds the share at which a model is right most often. `seed` decides the draws, of trials of each share and of their answers.
///
/// # Errors
/// The user's, with the trials' places: numbers out of range, and fewer than four different shares.
pub fn advise(trials: &[Trial], resamples: usize, seed: Seed) -> Result<Advice> {
    Error::collect((), trials.iter().flat_map(|trial| trial.odd(&trial.place)).collect())?;
    let mut shares: Vec<f64> = trials.iter().map(|trial| trial.share).collect();
    shares.sort_by(f64::total_cmp);
    shares.dedup();
    let (&[least, .., most], true) = (shares.as_slice(), shares.len() >= FEWEST_SHARES) else {
        let place = trials.first().map(|trial| Place { line: None, ..trial.place.clone() }).unwrap_or_default();
        let message = format!("there are {} different shares, and a curve wants {FEWEST_SHARES}", shares.len());
        return Err(Error::user(place, message).hint("train and ask at more shares"));
    };
    let groups: Vec<Vec<&Trial>> = shares
        .iter()
        .map(|share| trials.iter().filter(|trial| trial.share.total_cmp(share).is_eq()).collect())
        .collect();
    let counts = |trial: &Trial| (trial.share, trial.right as f64, trial.asked as f64);
    let curve = Curve::fit(trials.iter().map(counts), least, most)?;
    let share = curve.highest();
    let mut draws = Vec::with_capacity(resamples);
    for resample in 0..resamples {
        let mut random = seed.at(resample as u64);
        let mut drawn = Vec::with_capacity(trials.len());
        for group in &groups {
            // One run fewer than there are: so the mean of those drawn spreads as that of runs does, where drawing all would make it too sure (Rao and Wu 1988).
            for _ in 0..(group.len() - 1).max(1) {
                let (share, right, asked) = counts(group[random.below(group.len() as u64) as usize]);
                // Half an answer of each kind more, as in the fit: else none right of a few would be none for sure.
                drawn.push((share, binomial(asked, (right + 0.5) / (asked + 1.0), &mut random), asked));
            }
        }
        draws.push(Curve::fit(drawn.into_iter(), least, most)?.highest());
    }
    let share = interval(share, draws)?;
    let whole = share.low <= least && share.high >= most;
    Ok(Advice {
        share,
        accuracy: curve.accuracy(share.value),
        accuracy_at_least: curve.accuracy(least),
        advised: !whole,
    })
}

/// How many of `asked` are right by chance.
fn binomial(asked: f64, probability: f64, random: &mut Stream) -> f64 {
    if asked <= ONE_BY_ONE as f64 {
        return (0..asked as u64).filter(|_| random.unit() < probability).count() as f64;
    }
    let spread = (asked * probability * (1.0 - probability)).sqrt();
    (asked * probability + spread * random.normal()).round().clamp(0.0, asked)
}

/// A parabola over shares, which lie from -1 to 1 in it.
struct Curve {
    factors: Vec<f64>,
    middle: f64,
    half: f64,
}

impl Curve {
    /// Least squares of logits, each weighted by what its questions say.
    fn fit(trials: impl Iterator<Item = (f64, f64, f64)>, least: f64, most: f64) -> Result<Self> {
        let (middle, half) = (least.midpoint(most), (most - least) / 2.0);
        let mut system = vec![vec![0.0; 4]; 3];
        for (share, right, asked) in trials {
            // Half an answer of each kind more, so that none or all right have a logit too (Anscombe 1956).
            let (right, wrong) = (right + 0.5, asked - right + 0.5);
            let (x, weight) = ((share - middle) / half, (right * wrong / (right + wrong)).sqrt());
            accumulate(&mut system, &[weight, weight * x, weight * x * x], weight * (right / wrong).ln());
        }
        let factors = solve(system).ok_or_else(|| Error::program("four different shares fixed no parabola"))?;
        Ok(Self { factors, middle, half })
    }

    fn logit(&self, x: f64) -> f64 {
        self.factors[0] + x * (self.factors[1] + x * self.factors[2])
    }

    /// The share, of those tried, where the curve is highest.
    fn highest(&self) -> f64 {
        let &[_, slope, bend] = self.factors.as_slice() else { return self.middle };
        let x = if bend < 0.0 {
            (-slope / (2.0 * bend)).clamp(-1.0, 1.0)
        } else if self.logit(1.0) > self.logit(-1.0) {
            1.0
        } else {
            -1.0
        };
        self.middle + self.half * x
    }

    fn accuracy(&self, share: f64) -> f64 {
        1.0 / (1.0 + (-self.logit((share - self.middle) / self.half)).exp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a model is asked after learning at six shares, three times each; `bend` is how much the logit falls at a share of 1 from the best one.
    fn trials(best: f64, bend: f64, seed: u64) -> Vec<Trial> {
        let mut random = Seed::new(seed).derive("trials").at(0);
        let mut out = Vec::new();
        for share in [0.0, 0.1, 0.2, 0.3, 0.4, 0.6] {
            for _ in 0..3 {
                // No two runs at a share come out alike.
                let logit = 0.5 - bend * (share - best) * (share - best) + 0.1 * random.normal();
                let right = binomial(400.0, 1.0 / (1.0 + (-logit).exp()), &mut random) as u64;
                out.push(Trial { share, right, asked: 400, place: Place::default() });
            }
        }
        out
    }

    fn advice(trials: &[Trial], seed: u64) -> Advice {
        advise(trials, 500, Seed::new(seed)).unwrap()
    }

    #[test]
    fn the_best_share_is_found_where_there_is_one() {
        let found = (0..10).map(|seed| advice(&trials(0.2, 15.0, seed), seed));
        let near = found.filter(|advice| advice.advised && (advice.share.value - 0.2).abs() <= 0.1).count();
        assert!(near >= 8, "{near} of 10");
    }

    #[test]
    fn nothing_is_advised_where_no_share_is_better() {
        let refused = (0..10).filter(|seed| !advice(&trials(0.2, 0.0, *seed), *seed).advised).count();
        assert!(refused >= 8, "{refused} of 10");
    }

    #[test]
    fn exact_counts_give_the_curve_they_come_from() {
        let logit = |share: f64| 1.0 - 8.0 * (share - 0.3) * (share - 0.3);
        let trials: Vec<Trial> = [0.0, 0.2, 0.5, 0.9]
            .map(|share| {
                let right = (1e9 / (1.0 + (-logit(share)).exp())).round() as u64;
                Trial { share, right, asked: 1_000_000_000, place: Place::default() }
            })
            .to_vec();
        let found = advice(&trials, 1);
        assert!((found.share.value - 0.3).abs() < 1e-6 && found.share.high - found.share.low < 0.001, "{found:?}");
        assert!((found.accuracy - 1.0 / (1.0 + (-1.0_f64).exp())).abs() < 1e-7, "{found:?}");
        assert_eq!(found, advice(&trials, 1));
        // The curve only falls: the least share is the best.
        let falling = [0.0, 0.1, 0.2, 0.3].map(|share| Trial {
            share,
            right: 900 - (share * 1000.0) as u64,
            asked: 1000,
            place: Place::default(),
        });
        let found = advice(&falling, 1);
        assert!(found.advised && found.share.value < 0.05, "{found:?}");
    }

    #[test]
    fn trials_that_say_nothing_are_refused() {
        let said = |trials: &[Trial]| advise(trials, 10, Seed::new(1)).unwrap_err().to_string();
        assert!(said(&[]).contains("0 different shares"));
        let mut trials = trials(0.2, 0.0, 1);
        trials.truncate(9);
        assert!(said(&trials).contains("3 different shares"));
        let odd = Trial { share: f64::NAN, right: 2, asked: 0, place: Place::default() };
        let said = said(&[odd]);
        assert!(["share", "asked", "right"].iter().all(|key| said.contains(key)), "{said}");
    }
}
