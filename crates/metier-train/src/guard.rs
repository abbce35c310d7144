//! Held-out losses that may not rise: what they say of a run, and the weights that are kept by them.

use crate::checkpoint::{Checkpoints, Found};
use crate::run::Run;
use crate::trainer::Trainer;
use crate::validation::ValidationRecord;
use metier_core::{Error, Place, Result};
use std::collections::BTreeMap;

/// What the guarded losses of a run say of it. It follows from the measurements alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Guarded {
    /// Steps of the weights that are kept: those of the last measurement at which every loss was within its bound.
    pub kept: u64,
    /// How much each guarded loss had risen then over the first measurement, as a share of that.
    pub rises: Vec<(String, f64)>,
    /// The loss that ended the run, if one did.
    pub breach: Option<Breach>,
}

/// A loss that rose by more than it may.
#[derive(Debug, Clone, PartialEq)]
pub struct Breach {
    /// The pack.
    pub name: String,
    /// Steps done at the measurement.
    pub step: u64,
    /// Its loss before the first step, in nats per token.
    pub first: f64,
    /// Its loss now.
    pub loss: f64,
    /// The most by which it may rise, as a share.
    pub most: f64,
}

impl Breach {
    /// What happened, in words.
    pub fn told(&self) -> String {
        let Self { name, step, first, loss, most } = self;
        let rise = 100.0 * (loss / first - 1.0);
        // 0.07 times 100 is a little more than 7.
        let most = (1e6 * most).round() / 1e4;
        format!(
            "after step {step} the loss on `{name}` had risen from {first:.4} to {loss:.4}, by {rise:.2} % where at most {most} % is allowed"
        )
    }
}

impl Guarded {
    /// What the measurements of a run say, with the most by which each guarded loss may rise; nothing where none is guarded.
    pub fn new(guard: &BTreeMap<String, f64>, records: &[ValidationRecord]) -> Option<Self> {
        let bounds: Vec<_> =
            guard.iter().filter_map(|(name, most)| Some((name, *most, of(records, name).next()?.loss))).collect();
        let mut steps: Vec<u64> =
            bounds.iter().flat_map(|(name, ..)| of(records, name)).map(|record| record.step).collect();
        steps.sort_unstable();
        steps.dedup();
        let mut guarded = None;
        for step in steps {
            let measured: Vec<_> = bounds
                .iter()
                .filter_map(|bound| Some((bound, of(records, bound.0).find(|record| record.step == step)?.loss)))
                .collect();
            let breach = measured.iter().find(|((_, most, first), loss)| *loss > first * (1.0 + most));
            if let Some(((name, most, first), loss)) = breach {
                let breach = Breach { name: (*name).clone(), step, first: *first, loss: *loss, most: *most };
                return guarded.map(|guarded| Self { breach: Some(breach), ..guarded });
            }
            let rises = measured.iter().map(|((name, _, first), loss)| ((*name).clone(), loss / first - 1.0));
            guarded = Some(Self { kept: step, rises: rises.collect(), breach: None });
        }
        guarded
    }
}

/// The measurements of a pack.
fn of<'r>(records: &'r [ValidationRecord], name: &'r str) -> impl Iterator<Item = &'r ValidationRecord> {
    records.iter().filter(move |record| record.name == name)
}

/// Looks at each measurement of a run, and has on the disk what the last good one was made with.
pub(crate) struct Guard<'a> {
    bounds: &'a BTreeMap<String, f64>,
    kept: Option<Checkpoints>,
    pub(crate) guarded: Option<Guarded>,
}

impl<'a> Guard<'a> {
    /// Of the run with this fingerprint.
    pub(crate) fn open(run: &'a Run<'_>, fingerprint: String) -> Result<Self> {
        let bounds = &run.settings.guard;
        let folder = run.work.join("scratch").join("kept");
        let kept = if bounds.is_empty() { None } else { Some(Checkpoints::open(&folder, fingerprint)?) };
        Ok(Self { bounds, kept, guarded: None })
    }

    /// Looks at what was measured so far, and keeps the weights of a measurement of this step if it was good. They are on the disk before
    /// a checkpoint of the step is.
    pub(crate) fn look(&mut self, records: &[ValidationRecord], trainer: &mut Trainer<'_>) -> Result<()> {
        let Some(kept) = &self.kept else { return Ok(()) };
        self.guarded = Guarded::new(self.bounds, records);
        match &self.guarded {
            Some(Guarded { kept: step, breach: None, .. }) if *step > 0 && *step == trainer.done() => {
                trainer.save_weights(kept)
            }
            _ => Ok(()),
        }
    }

    /// Whether a loss rose by more than it may.
    pub(crate) fn ends(&self) -> bool {
        self.breach().is_some()
    }

    fn breach(&self) -> Option<&Breach> {
        self.guarded.as_ref()?.breach.as_ref()
    }

    /// The weights to go back to, where the run was ended, and in words why.
    ///
    /// # Errors
    /// When no measurement after the first step was good, or the weights are gone.
    pub(crate) fn back(&self) -> Result<Option<(Found, String)>> {
        let (Some(checkpoints), Some(breach), Some(guarded)) = (&self.kept, self.breach(), &self.guarded) else {
            return Ok(None);
        };
        if guarded.kept == 0 {
            let message = format!(
                "{}; no measurement before it but that of step 0 was good, so nothing was learned",
                breach.told()
            );
            return Err(Error::user(Place::key(format!("guard.{}", breach.name)), message).hint(
                "lower the optimizer's `rate`, replay old text with the sampler `mixture`, or measure more often with `validate.every`",
            ));
        }
        let step = guarded.kept;
        match checkpoints.newest()?.0.filter(|found| found.step() == step) {
            Some(found) => {
                Ok(Some((found, format!("{}: training ended, and the weights of step {step} are kept", breach.told()))))
            }
            None => Err(Error::user(Place::key("guard"), format!("the weights of step {step} are gone"))
                .hint("remove the stage's work folder to begin anew")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Measurements every ten steps.
    fn records(losses: &[(&str, &[f64])]) -> Vec<ValidationRecord> {
        let of = |(name, losses): &(&str, &[f64])| {
            let record = |(at, loss): (u64, &f64)| ValidationRecord {
                step: 10 * at,
                tokens: 0,
                name: (*name).to_owned(),
                loss: *loss,
                predicted: 1,
            };
            (0..).zip(*losses).map(record).collect::<Vec<_>>()
        };
        losses.iter().flat_map(of).collect()
    }

    fn guard(bounds: &[(&str, f64)]) -> BTreeMap<String, f64> {
        bounds.iter().map(|(name, most)| ((*name).to_owned(), *most)).collect()
    }

    #[test]
    fn the_last_measurement_within_all_bounds_is_kept() {
        let records = records(&[("a", &[2.0, 2.03, 2.01, 2.05, 1.0]), ("b", &[4.0, 3.0, 3.5, 3.0, 3.0])]);
        let guarded = Guarded::new(&guard(&[("a", 0.02), ("b", 0.0)]), &records).unwrap();
        assert_eq!(guarded.kept, 20);
        let breach = guarded.breach.unwrap();
        assert_eq!((breach.step, breach.name.as_str()), (30, "a"));
        assert!(breach.told().contains("from 2.0000 to 2.0500, by 2.50 % where at most 2 % is"), "{}", breach.told());
        assert!((guarded.rises[0].1 - 0.005).abs() < 1e-12 && (guarded.rises[1].1 + 0.125).abs() < 1e-12);
        let within = Guarded::new(&guard(&[("a", 0.025), ("b", 0.0)]), &records).unwrap();
        assert_eq!((within.kept, within.breach), (40, None));
        assert_eq!(Guarded::new(&guard(&[("a", 0.01)]), &records).unwrap().kept, 0);
        assert_eq!(Guarded::new(&guard(&[]), &records), None);
    }
}
