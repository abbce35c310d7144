//! How long, how much at a time, and which parts.

use crate::objective::{Causal, Objective};
use crate::optimizer::{Adamw, Optimizer};
use crate::rates::OwnRate;
use crate::sampler::{Packed, Sampler};
use crate::schedule::{Cosine, Schedule};
use crate::sources::known;
use metier_compute::kernel::Precision;
use metier_core::part::{Build, Chosen};
use metier_core::{Error, Fault, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The loop's own settings. What it learns from, and how, is said by the [`Parts`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrainSettings {
    /// Number of times the weights are changed.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub steps: u64,
    /// Tokens in a window.
    #[schemars(range(min = 2, max = 16_777_216))]
    pub context: usize,
    /// Windows a step learns from.
    #[schemars(range(min = 1, max = 65_536))]
    pub sequences: usize,
    /// Windows computed at once; a step goes through its windows in groups of this many and adds up their
    /// gradients. Fewer need less memory; the result changes only by rounding.
    #[schemars(range(min = 1))]
    pub micro_batch: usize,
    /// Keep less of the forward pass and compute it again for the gradient: about a third slower, in a fraction of
    /// the memory.
    pub recompute: bool,
    /// How products see their inputs: `f32` as they are, `bf16` rounded to 8 bits of precision, which is several times
    /// as fast on a processor with AMX and keeps less of the forward pass. Weights, sums and everything else are `f32`
    /// all the same.
    pub precision: Numbers,
    /// Largest length (Euclidean norm) of a step's whole gradient; a longer one is scaled down to it. 0 leaves
    /// every gradient as it is.
    #[schemars(range(min = 0.0))]
    pub clip: f64,
    /// How slowly the moving average of the weights follows them, such as 0.999; that average is then what is measured on the packs under
    /// `validation` and what is kept at the end. After step `t` the average moves by `1 - min(average, (1 + t) / (10 + t))` of the way
    /// to the weights. 0 keeps the weights themselves.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub average: f64,
    /// Weights that learn faster or slower than the optimizer's rate; the first entry that names a weight decides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rates: Vec<OwnRate>,
    /// How often the loss on the packs under `validation` is measured, and on how much of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validate: Option<Validate>,
    /// Packs under `validation`, each with the most by which its loss may rise over that before the first step, as a share of it:
    /// `{ general = 0.02 }`. A measurement at which one has risen by more ends the training, and the weights of the last measurement at
    /// which none had are kept.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub guard: BTreeMap<String, f64>,
    /// Steps between two checkpoints at most. Does not change the result.
    #[schemars(range(min = 1))]
    pub checkpoint_every: u64,
    /// Seconds between two checkpoints at most, 0 for no such limit. Does not change the result.
    pub checkpoint_seconds: u64,
}

/// When the loss on held-out windows is measured: before the first step, after every so many, and at the end. The windows are
/// the same in every run with the same packs and `context`, and training is the same with them and without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Validate {
    /// Steps between two measurements.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub every: u64,
    /// Windows of each pack at most.
    #[schemars(range(min = 1, max = 65_536))]
    pub windows: usize,
}

impl Default for Validate {
    fn default() -> Self {
        Self { every: 100, windows: 32 }
    }
}

/// How products see their inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Numbers {
    /// As they are.
    #[default]
    F32,
    /// Rounded to `bf16`, summed in `f32`.
    Bf16,
}

impl From<Numbers> for Precision {
    fn from(numbers: Numbers) -> Self {
        match numbers {
            Numbers::F32 => Self::F32,
            Numbers::Bf16 => Self::Bf16,
        }
    }
}

impl Default for TrainSettings {
    fn default() -> Self {
        Self {
            steps: 200,
            context: 512,
            sequences: 8,
            micro_batch: 2,
            recompute: false,
            precision: Numbers::F32,
            clip: 1.0,
            average: 0.0,
            rates: Vec::new(),
            validate: None,
            guard: BTreeMap::new(),
            checkpoint_every: 100,
            checkpoint_seconds: 60,
        }
    }
}

impl TrainSettings {
    /// Refuses values out of range, all of them together; `place` is where the settings were written.
    pub fn check(&self, place: &Place) -> Result<()> {
        let mut faults = Vec::new();
        let mut within = |key: &str, value: u64, least: u64, most: u64| {
            if !(least..=most).contains(&value) {
                faults.push(
                    Fault::new(key_place(place, key), format!("{value} is out of range"))
                        .hint(format!("write a whole number from {least} to {most}")),
                );
            }
        };
        within("steps", self.steps, 1, 1_000_000_000);
        within("context", self.context as u64, 2, 1 << 24);
        within("sequences", self.sequences as u64, 1, 1 << 16);
        within("micro_batch", self.micro_batch as u64, 1, u64::MAX);
        if let Some(validate) = self.validate {
            within("validate.every", validate.every, 1, 1_000_000_000);
            within("validate.windows", validate.windows as u64, 1, 1 << 16);
        }
        within("checkpoint_every", self.checkpoint_every, 1, u64::MAX);
        if !(self.clip >= 0.0 && self.clip.is_finite()) {
            faults.push(
                Fault::new(key_place(place, "clip"), format!("{} is no length", self.clip))
                    .hint("write a number from 0 on; 0 turns clipping off"),
            );
        }
        if !(0.0..1.0).contains(&self.average) {
            faults.push(
                Fault::new(key_place(place, "average"), format!("{} is out of range", self.average))
                    .hint("write a number from 0 to below 1, such as 0.999; 0 keeps the weights themselves"),
            );
        }
        for (name, most) in self.guard.iter().filter(|(_, most)| !(**most >= 0.0 && most.is_finite())) {
            faults.push(
                Fault::new(key_place(place, &format!("guard.{name}")), format!("{most} is no share"))
                    .hint("write a number from 0 on, such as 0.02 for two percent"),
            );
        }
        Error::collect((), faults)
    }

    /// Refuses to guard a loss that is not measured; `names` are those of the packs under `validation`.
    ///
    /// # Errors
    /// Each name that is not one of them.
    pub fn check_guard(&self, names: &[&str]) -> Result<()> {
        if names.is_empty() && !self.guard.is_empty() {
            return Err(Error::user(Place::key("guard"), "there is nothing to measure on")
                .hint("name held-out shards under `validation`"));
        }
        let unknown = self.guard.keys().filter(|name| !names.contains(&name.as_str()));
        let fault = |name: &String| {
            let message = format!("no pack under `validation` is called `{name}`");
            Fault::new(Place::key(format!("guard.{name}")), message).hint(known(name, names))
        };
        Error::collect((), unknown.map(fault).collect())
    }

    /// Windows computed at once: never more than a step has.
    pub fn rows(&self) -> usize {
        self.micro_batch.min(self.sequences).max(1)
    }

    /// Everything here that decides the result.
    pub fn identity(&self) -> serde_json::Value {
        let mut identity = serde_json::json!({
            "steps": self.steps,
            "context": self.context,
            "sequences": self.sequences,
            "micro_batch": self.rows(),
            "recompute": self.recompute,
            "precision": self.precision,
            "clip": self.clip,
        });
        // What came later is named only where it is used, so that results from before keep their names.
        if self.average > 0.0 {
            identity["average"] = serde_json::json!(self.average);
        }
        if !self.rates.is_empty() {
            identity["rates"] = serde_json::json!(self.rates);
        }
        if let Some(validate) = self.validate {
            identity["validate"] = serde_json::json!(validate);
        }
        if !self.guard.is_empty() {
            identity["guard"] = serde_json::json!(self.guard);
        }
        identity
    }
}

/// The four parts the loop joins.
pub struct Parts {
    /// What is the loss.
    pub objective: Chosen<dyn Objective>,
    /// How weights follow the gradient.
    pub optimizer: Chosen<dyn Optimizer>,
    /// How fast, at this step.
    pub schedule: Chosen<dyn Schedule>,
    /// Which tokens next.
    pub sampler: Chosen<dyn Sampler>,
}

impl Parts {
    /// What the parts are and how they are set, for a fingerprint or an artifact's key.
    pub fn identity(&self) -> serde_json::Value {
        serde_json::json!({
            "objective": self.objective.identity(),
            "optimizer": self.optimizer.identity(),
            "schedule": self.schedule.identity(),
            "sampler": self.sampler.identity(),
        })
    }

    /// Next-token loss, AdamW, cosine and packed windows, each with its defaults.
    pub fn defaults() -> Result<Self> {
        Ok(Self {
            objective: chosen("causal", Causal::default())?,
            optimizer: chosen("adamw", Adamw::default())?,
            schedule: chosen("cosine", Cosine::default())?,
            sampler: chosen("packed", Packed::default())?,
        })
    }
}

/// A part as a recipe that names it with these settings would choose it.
pub fn chosen<F: ?Sized, S: Build<F>>(name: &'static str, settings: S) -> Result<Chosen<F>> {
    let value = serde_json::to_value(&settings)
        .map_err(|error| Error::program(format!("settings of `{name}` do not serialize: {error}")))?;
    Ok(Chosen { name, version: 1, settings: value, part: settings.build(&Place::key(name))? })
}

/// The place of `key` in the table at `place`.
pub(crate) fn key_place(place: &Place, key: &str) -> Place {
    let key = place.key.as_ref().map_or_else(|| key.to_owned(), |table| format!("{table}.{key}"));
    place.clone().with_key(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_told_at_once() {
        let settings = TrainSettings {
            steps: 0,
            context: 1,
            clip: f64::NAN,
            average: 1.0,
            guard: [("old".to_owned(), -0.1)].into(),
            ..TrainSettings::default()
        };
        let error = settings.check(&Place::key("stage.train")).unwrap_err();
        let keys: Vec<_> = error.faults.iter().filter_map(|fault| fault.place.key.as_deref()).collect();
        assert_eq!(keys, ["steps", "context", "clip", "average", "guard.old"].map(|key| format!("stage.train.{key}")));
    }

    #[test]
    fn how_often_to_checkpoint_is_no_part_of_the_identity() {
        let often = TrainSettings { checkpoint_every: 1, checkpoint_seconds: 0, ..TrainSettings::default() };
        assert_eq!(often.identity(), TrainSettings::default().identity());
        let wide = TrainSettings { micro_batch: 99, ..TrainSettings::default() };
        assert_eq!(wide.rows(), wide.sequences);
    }
}
