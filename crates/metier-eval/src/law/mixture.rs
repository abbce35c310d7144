//! How much domain text continued pretraining can take.
//!
//! A few short runs at several shares of domain text are measured on general and on domain text every so many tokens. Their
//! losses follow sums of powers; from these come the largest share that keeps the general loss within a tolerance, and how that
//! share moves with the tokens that are trained on.
//!
//! Source: Gu et al., "CMR Scaling Law: Predicting Critical Mixture Ratios for Continual Pre-training of Language Models",
//! arXiv 2407.17467. The fitting is ours, as the paper does not say how it fits.

use super::power::PowerLaw;
use crate::report::{Interval, interval};
use metier_core::seed::Seed;
use metier_core::{Error, Fault, Place, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Least shares for a law over shares.
const FEWEST_SHARES: usize = 3;

/// One row of the table: a run's losses after some tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measurement {
    /// Which run.
    pub run: String,
    /// Domain tokens among all tokens, from 0 to 1; the same in a whole run.
    pub ratio: f64,
    /// Tokens trained on so far, 0 before training. The unit is free.
    pub tokens: f64,
    /// Loss on held-out general text, in nats per token.
    #[serde(alias = "gen_loss")]
    pub general_loss: f64,
    /// Loss on held-out domain text, in nats per token.
    #[serde(alias = "dom_loss")]
    pub domain_loss: f64,
    /// Where the row was read.
    #[serde(skip)]
    pub place: Place,
}

impl Measurement {
    fn is_start(&self) -> bool {
        self.tokens <= 0.0
    }
}

/// What is asked of the fit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// By how much the general loss may be higher at the end than before, in nats.
    pub tolerance: f64,
    /// The weight of the general loss against the domain's; as it grows, the critical point comes to the general loss's peak.
    pub multiplier: f64,
    /// How often residuals are drawn anew for intervals; none at 0.
    pub resamples: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { tolerance: 0.05, multiplier: 1000.0, resamples: 200 }
    }
}

/// When a run's losses begin to fall together.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Critical {
    /// From the start: the general loss never rises.
    AtOnce,
    /// After so many tokens.
    After(f64),
    /// Never, as far as the law reaches.
    Never,
}

impl Critical {
    /// Whether it has come after so many tokens.
    pub fn by(self, tokens: f64) -> bool {
        match self {
            Self::AtOnce => true,
            Self::After(at) => at <= tokens,
            Self::Never => false,
        }
    }
}

/// What the fit says of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunFit {
    /// Its name.
    pub run: String,
    /// Its share of domain text.
    pub ratio: f64,
    /// The change of its general loss with tokens (item 4 of the method: two powers).
    pub general: PowerLaw,
    /// The change of its domain loss with tokens (one power).
    pub domain: PowerLaw,
    /// Where the weighted sum of both losses begins to fall.
    pub critical: Critical,
    /// Where the general loss alone does.
    pub peak: Critical,
    /// Whether its general loss ends within the tolerance.
    pub acceptable: bool,
    /// Whether it is acceptable and its critical point lies within the run.
    pub feasible: bool,
}

/// What the fit says of the mix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixtureFit {
    /// Tokens of each run.
    pub tokens: f64,
    /// Every run, by its share.
    pub runs: Vec<RunFit>,
    /// The general loss at the end over shares; none with fewer than three of them.
    pub general: Option<PowerLaw>,
    /// The domain loss at the end over shares.
    pub domain: Option<PowerLaw>,
    /// The critical ratio over tokens.
    pub law: Option<PowerLaw>,
    /// The largest share that keeps the general loss; none when no share does.
    pub critical_ratio: Option<f64>,
    /// Its interval by drawing residuals anew: 95 % of the draws that gave a ratio.
    pub interval: Option<Interval>,
    /// Runs that learned nothing of the domain, or unlearned it; they are left out of the fit.
    pub diverged: Vec<String>,
    /// What must be said beside the figures.
    pub notes: Vec<String>,
}

impl MixtureFit {
    /// The critical ratio at another budget; 0 when no share is feasible there.
    pub fn ratio_at(&self, tokens: f64) -> Option<f64> {
        self.law.as_ref().map(|law| law.at(tokens).clamp(0.0, 1.0))
    }
}

/// A run's points, with what it began at.
struct Points {
    run: String,
    ratio: f64,
    /// `(tokens, change of the general loss, change of the domain loss)`, from the first tokens on.
    changes: Vec<(f64, f64, f64)>,
    general_before: f64,
    general_after: f64,
    domain_before: f64,
    domain_after: f64,
}

impl Points {
    fn general(&self) -> Vec<(f64, f64)> {
        self.changes.iter().map(|change| (change.0, change.1)).collect()
    }

    /// Whether domain text was learned from and yet the domain loss did not fall.
    fn has_diverged(&self) -> bool {
        self.ratio > 0.0 && self.domain_after >= self.domain_before
    }

    fn domain(&self) -> Vec<(f64, f64)> {
        self.changes.iter().map(|change| (change.0, change.2)).collect()
    }
}

/// Fits the laws to a table of measurements. A run with nothing but its row at 0 tokens is the start of the runs that have none.
pub fn fit_mixture(rows: &[Measurement], limits: &Limits, seed: Seed) -> Result<MixtureFit> {
    let (diverged, runs): (Vec<Points>, Vec<Points>) = runs_of(rows)?.into_iter().partition(Points::has_diverged);
    if runs.is_empty() {
        let names: Vec<_> = diverged.iter().map(|run| run.run.as_str()).collect();
        let message = format!("no run learned the domain: {}", names.join(", "));
        return Err(Fault::new(Place::default(), message).hint("lower the rate, or train for longer").into());
    }
    let tokens = runs.first().and_then(|run| run.changes.last()).map_or(0.0, |change| change.0);
    let mut fits = Vec::new();
    for run in &runs {
        let fitted = |points: &[(f64, f64)], powers: usize| {
            PowerLaw::fit(points, powers).map_err(|mut error| {
                error
                    .faults
                    .iter_mut()
                    .for_each(|fault| fault.message = format!("run `{}`: {}", run.run, fault.message));
                error
            })
        };
        fits.push(run_fit(run, fitted(&run.general(), 2)?, fitted(&run.domain(), 1)?, limits, tokens));
    }
    let mut fit = mixture_of(&runs, fits, limits, tokens);
    fit.diverged = diverged.into_iter().map(|run| run.run).collect();
    if !fit.diverged.is_empty() {
        fit.notes.push(format!("left out, as their domain loss did not fall: {}", fit.diverged.join(", ")));
    }
    let draws: Vec<f64> = (0..limits.resamples)
        .filter_map(|draw| {
            let mut random = seed.derive("mixture").at(draw as u64);
            let drawn: Vec<Points> =
                runs.iter().zip(&fit.runs).map(|(run, fit)| redrawn(run, fit, &mut random)).collect();
            let refitted = drawn.iter().zip(&fit.runs).map(|(run, fit)| {
                run_fit(run, fit.general.refitted(&run.general()), fit.domain.refitted(&run.domain()), limits, tokens)
            });
            mixture_of(&drawn, refitted.collect(), limits, tokens).critical_ratio
        })
        .collect();
    if let (Some(ratio), false) = (fit.critical_ratio, draws.is_empty()) {
        fit.interval = Some(interval(ratio, draws)?);
    }
    Ok(fit)
}

fn runs_of(rows: &[Measurement]) -> Result<Vec<Points>> {
    let mut by_run: BTreeMap<&str, Vec<&Measurement>> = BTreeMap::new();
    for row in rows {
        by_run.entry(&row.run).or_default().push(row);
    }
    let fault = |message: String| Fault::new(Place::default(), message);
    let at = |row: &Measurement, key: &str, message: String| Fault::new(row.place.clone().with_key(key), message);
    let starts: Vec<&Measurement> = rows.iter().filter(|row| row.is_start()).collect();
    let shared = by_run.values().find(|rows| rows.len() == 1 && rows[0].is_start()).map(|rows| rows[0]);
    let (mut runs, mut faults) = (Vec::new(), Vec::new());
    for (run, rows) in &by_run {
        if rows.len() == 1 && shared.is_some_and(|shared| std::ptr::eq(shared, rows[0])) {
            continue;
        }
        if let Some(row) = rows.iter().find(|row| row.ratio.to_bits() != rows[0].ratio.to_bits()) {
            faults.push(at(row, "ratio", format!("run `{run}` has rows of several ratios")));
        }
        if let Some(pair) = rows.windows(2).find(|pair| pair[0].tokens >= pair[1].tokens) {
            faults.push(at(pair[1], "tokens", format!("run `{run}`: tokens do not grow from row to row")));
        }
        let Some(start) = starts.iter().find(|start| start.run == **run).copied().or(shared) else {
            let hint = "add the losses before training, for the run or once for all";
            faults.push(at(rows[0], "tokens", format!("run `{run}` has no row at 0 tokens")).hint(hint));
            continue;
        };
        let later: Vec<_> = rows.iter().filter(|row| !row.is_start()).collect();
        let Some(last) = later.last() else { continue };
        runs.push(Points {
            run: (*run).to_owned(),
            ratio: rows[0].ratio,
            changes: later
                .iter()
                .map(|row| (row.tokens, row.general_loss - start.general_loss, row.domain_loss - start.domain_loss))
                .collect(),
            general_before: start.general_loss,
            general_after: last.general_loss,
            domain_before: start.domain_loss,
            domain_after: last.domain_loss,
        });
    }
    runs.sort_by(|a, b| a.ratio.total_cmp(&b.ratio));
    let ends: Vec<f64> = runs.iter().filter_map(|run| run.changes.last()).map(|change| change.0).collect();
    if ends.iter().any(|end| end.to_bits() != ends[0].to_bits()) {
        faults.push(fault(format!("runs end at different tokens: {ends:?}")).hint("let all train on the same number"));
    }
    if runs.is_empty() && faults.is_empty() {
        faults.push(fault("the table has no run with rows after 0 tokens".to_owned()));
    }
    Error::collect(runs, faults)
}

fn run_fit(run: &Points, general: PowerLaw, domain: PowerLaw, limits: &Limits, tokens: f64) -> RunFit {
    let first = run.changes.first().map_or(tokens, |change| change.0);
    let critical = critical_point(|at| domain.slope(at) + limits.multiplier * general.slope(at), first, tokens);
    let peak = critical_point(|at| general.slope(at), first, tokens);
    let acceptable = run.general_after <= run.general_before + limits.tolerance;
    RunFit {
        run: run.run.clone(),
        ratio: run.ratio,
        acceptable,
        feasible: acceptable && critical.by(tokens),
        general,
        domain,
        critical,
        peak,
    }
}

/// Where a slope first turns from above 0 to 0 or below, from the first measured tokens on.
fn critical_point(slope: impl Fn(f64) -> f64, first: f64, tokens: f64) -> Critical {
    const POINTS: i32 = 4000;
    /// The law is followed to so many times the tokens that were measured.
    const REACH: f64 = 1e4;
    let step = (tokens * REACH / first).powf(1.0 / f64::from(POINTS));
    let mut low = None;
    for point in 0..=POINTS {
        let at = first * step.powi(point);
        if at > tokens && low.is_none() {
            // It never rose where it was measured; what the law does beyond is a guess.
            return Critical::AtOnce;
        }
        match (slope(at) > 0.0, low) {
            (true, _) => low = Some(at),
            (false, Some(mut low)) => {
                let mut high = at;
                for _ in 0..60 {
                    let middle = (low * high).sqrt();
                    if slope(middle) > 0.0 { low = middle } else { high = middle }
                }
                return Critical::After(high);
            }
            (false, None) => {}
        }
    }
    if low.is_none() { Critical::AtOnce } else { Critical::Never }
}

fn mixture_of(runs: &[Points], fits: Vec<RunFit>, limits: &Limits, tokens: f64) -> MixtureFit {
    let mut notes = Vec::new();
    let over = |loss: fn(&Points) -> f64| {
        let points: Vec<_> = runs.iter().filter(|run| run.ratio > 0.0).map(|run| (run.ratio, loss(run))).collect();
        PowerLaw::fit(&points, 1).ok()
    };
    let (general, domain) = (over(|run| run.general_after), over(|run| run.domain_after));
    let turns: Vec<(f64, f64)> = fits
        .iter()
        .filter_map(|fit| match fit.critical {
            Critical::After(at) => Some((at, fit.ratio)),
            Critical::AtOnce | Critical::Never => None,
        })
        .collect();
    let law = PowerLaw::fit(&turns, 1).ok();
    if runs.len() < FEWEST_SHARES {
        notes.push(format!("fewer than {FEWEST_SHARES} shares: what is said holds of the measured ones only"));
    }
    let measured = fits.iter().filter(|fit| fit.feasible).map(|fit| fit.ratio).max_by(f64::total_cmp);
    let start = runs.first().map_or(0.0, |run| run.general_before);
    let acceptable = general.as_ref().map(|general| largest(|ratio| general.at(ratio) <= start + limits.tolerance));
    let critical_ratio = if let (Some(law), Some(acceptable)) = (&law, acceptable) {
        let ratio = law.at(tokens);
        if !(0.0..=1.0).contains(&ratio) {
            notes.push(format!("the law gives {ratio:.3} at {tokens} tokens, which is put to the nearest of 0 and 1"));
        }
        let ratio = ratio.clamp(0.0, 1.0).min(acceptable.unwrap_or(0.0));
        (ratio > 0.0).then_some(ratio)
    } else {
        if fits.iter().all(|fit| fit.feasible) && !fits.is_empty() {
            notes.push("every measured share is feasible, so the largest may lie above: not bracketed".to_owned());
        }
        measured
    };
    if critical_ratio.is_none() {
        notes.push(format!("no share is feasible within {tokens} tokens"));
    }
    MixtureFit { tokens, runs: fits, general, domain, law, critical_ratio, interval: None, diverged: Vec::new(), notes }
}

/// The largest ratio from 0.1 % to 100 % for which something holds.
fn largest(holds: impl Fn(f64) -> bool) -> Option<f64> {
    (1..=1000).rev().map(|step| f64::from(step) / 1000.0).find(|ratio| holds(*ratio))
}

/// The run with the residuals of its fit drawn anew.
fn redrawn(run: &Points, fit: &RunFit, random: &mut metier_core::seed::Stream) -> Points {
    let residuals: Vec<(f64, f64)> = run
        .changes
        .iter()
        .map(|(tokens, general, domain)| (general - fit.general.at(*tokens), domain - fit.domain.at(*tokens)))
        .collect();
    let changes: Vec<_> = run
        .changes
        .iter()
        .map(|(tokens, ..)| {
            let (general, domain) = residuals[random.below(residuals.len() as u64) as usize];
            (*tokens, fit.general.at(*tokens) + general, fit.domain.at(*tokens) + domain)
        })
        .collect();
    let (general, domain) = changes.last().map_or((0.0, 0.0), |last| (last.1, last.2));
    let (general_before, domain_before) = (run.general_before, run.domain_before);
    Points {
        run: run.run.clone(),
        ratio: run.ratio,
        changes,
        general_before,
        general_after: general_before + general,
        domain_before,
        domain_after: domain_before + domain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The paper's fitted laws of the critical ratio, in units of 0.2 billion tokens, with the ratio that it prints for 100 units.
    const PUBLISHED: [(f64, f64, f64, f64); 4] = [
        (0.225_247_61, 0.269_443_45, -0.481_399_82, 0.298),
        (0.752_062_7, 0.137_202_45, -1.065_819_37, 0.349),
        (-2.363_848_31, -0.151_255_69, 1.592_236_49, 0.414),
        (-2.536_819_7, -0.420_714_23, 0.843_753_68, 0.478),
    ];

    #[test]
    fn the_published_laws_give_the_published_ratios() {
        for (factor, exponent, offset, ratio) in PUBLISHED {
            let law = PowerLaw::known(&[(factor, exponent)], offset);
            assert!((law.at(100.0) - ratio).abs() < 5e-4, "{} for {ratio}", law.at(100.0));
        }
    }

    /// Curves whose general loss rises and falls: `b t^0.5 - c t`, which peaks at `(b / 2 c)²`.
    fn curves(noise: f64) -> (Vec<Measurement>, impl Fn(f64) -> f64) {
        let peak = |ratio: f64| 25.0 + 150.0 * ratio * ratio;
        let mut random = Seed::new(7).at(0);
        let mut rows = vec![row("before", 0.0, 0.0, 3.0, 4.0)];
        for ratio in [0.125, 0.25, 0.5, 0.65, 0.75] {
            let fall = 0.01 * ratio;
            for step in 1..=25 {
                let tokens = f64::from(step) * 4.0;
                let general = 3.0 + fall * (2.0 * (tokens * peak(ratio)).sqrt() - tokens) / 25.0;
                let domain = 4.0 + 2.0 * ratio.powf(0.2) * (tokens.powf(-0.3) - 1.0);
                rows.push(row(
                    &format!("{ratio}"),
                    ratio,
                    tokens,
                    general + noise * random.normal(),
                    domain + noise * random.normal(),
                ));
            }
        }
        (rows, peak)
    }

    fn row(run: &str, ratio: f64, tokens: f64, general_loss: f64, domain_loss: f64) -> Measurement {
        Measurement { run: run.to_owned(), ratio, tokens, general_loss, domain_loss, place: Place::default() }
    }

    #[test]
    fn the_critical_ratio_of_known_curves_is_found() {
        let (rows, peak) = curves(1e-5);
        let limits = Limits { tolerance: 1.0, multiplier: 1e6, resamples: 20 };
        let fit = fit_mixture(&rows, &limits, Seed::new(1)).unwrap();
        for run in &fit.runs {
            let Critical::After(at) = run.critical else { panic!("{run:?}") };
            assert!((at / peak(run.ratio) - 1.0).abs() < 0.03, "{} at {at}, not {}", run.ratio, peak(run.ratio));
            let Critical::After(alone) = run.peak else { panic!("{run:?}") };
            assert!((at / alone - 1.0).abs() < 0.01);
        }
        // 25 + 150 r² = 100.
        let truth = 0.5_f64.sqrt();
        let ratio = fit.critical_ratio.unwrap();
        assert!((ratio - truth).abs() < 0.01, "{ratio} for {truth}");
        let interval = fit.interval.unwrap();
        assert!(interval.low <= ratio && ratio <= interval.high && interval.high - interval.low < 0.05, "{interval:?}");
        assert!(fit.ratio_at(50.0).unwrap() < ratio);
    }

    #[test]
    fn the_tolerance_bounds_the_ratio() {
        let (rows, _) = curves(0.0);
        let limits = Limits { tolerance: 0.02, multiplier: 1e6, resamples: 0 };
        let fit = fit_mixture(&rows, &limits, Seed::new(1)).unwrap();
        // 0.01 r (20 √(25 + 150 r²) - 100) / 25 = 0.02
        let ratio = fit.critical_ratio.unwrap();
        assert!((ratio - 0.6169).abs() < 0.003 && fit.general.unwrap().at(ratio) <= 3.0 + 0.02 + 1e-9, "{ratio}");
        assert!(fit.runs.iter().any(|run| !run.acceptable) && fit.runs.iter().any(|run| run.acceptable));
    }

    #[test]
    fn a_table_that_cannot_be_fitted_is_refused_with_the_run() {
        let grown = |run: &str, ratio: f64| {
            (1..=8).map(move |step| row(run, ratio, f64::from(step), 3.0, 4.0)).collect::<Vec<_>>()
        };
        let message =
            |rows: &[Measurement]| fit_mixture(rows, &Limits::default(), Seed::new(1)).unwrap_err().to_string();
        assert!(message(&grown("a", 0.5)).contains("`a` has no row at 0 tokens"));
        let mut mixed = grown("a", 0.5);
        mixed.push(row("a", 0.25, 9.0, 3.0, 4.0));
        mixed.push(row("a", 0.5, 2.0, 3.0, 4.0));
        let text = message(&mixed);
        assert!(text.contains("several ratios") && text.contains("do not grow"), "{text}");
        assert!(message(&[]).contains("no run"));
    }

    #[test]
    fn a_run_that_diverged_is_left_out_and_listed() {
        let (mut rows, _) = curves(0.0);
        let limits = Limits { tolerance: 1.0, multiplier: 1e6, resamples: 0 };
        let without = fit_mixture(&rows, &limits, Seed::new(1)).unwrap();
        rows.extend((1..=25).map(|step| row("wild", 0.9, f64::from(step) * 4.0, 3.0 + f64::from(step), 5.0)));
        let fit = fit_mixture(&rows, &limits, Seed::new(1)).unwrap();
        assert_eq!((fit.critical_ratio, &fit.diverged[..]), (without.critical_ratio, &["wild".to_owned()][..]));
        assert!(fit.notes.iter().any(|note| note.contains("wild")));
        rows.retain(|row| row.run == "wild" || row.run == "before");
        assert!(fit_mixture(&rows, &limits, Seed::new(1)).unwrap_err().to_string().contains("no run learned"));
    }
}
