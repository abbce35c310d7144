use super::{Initialize, Known, Made, Rows};
use metier_core::part::{Build, Part};
use metier_core::seed::Seed;
use metier_core::{Error, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// # What it does
/// Begins every new token with small random numbers.
///
/// # How
/// Each number of a row is drawn from the normal distribution of mean 0 and standard deviation `deviation`.
///
/// # When to use
/// As a baseline: it is what model libraries do when a vocabulary grows.
///
/// # Differs from the paper in
/// Nothing.
///
/// # Source
/// Mundra et al., arXiv 2407.05841, section 4.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Random {
    /// Standard deviation.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub deviation: f64,
}

impl Default for Random {
    fn default() -> Self {
        Self { deviation: 0.02 }
    }
}

impl Build<dyn Initialize> for Random {
    fn build(self, place: &Place) -> Result<Box<dyn Initialize>> {
        if (0.0..=10.0).contains(&self.deviation) {
            return Ok(Box::new(self));
        }
        let message = format!("{} is out of range", self.deviation);
        Err(Error::user(place.clone().with_key("deviation"), message).hint("it is in 0..=10"))
    }
}

impl Initialize for Random {
    fn rows(&self, known: Known<'_>, seed: Seed) -> Result<Made> {
        known.apart(|old, purpose| {
            let seed = seed.derive(purpose);
            let rows = (0..known.parts.len() as u64).flat_map(|row| {
                let mut stream = seed.at(row);
                (0..old.width).map(move |_| (stream.normal() * self.deviation) as f32)
            });
            Rows { values: rows.collect(), width: old.width }
        })
    }
}

/// The part's record.
pub static PART: Part<dyn Initialize> = Part::of::<Random>("random", 1);
