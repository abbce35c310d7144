use super::{Initialize, Known, Made, Rows};
use metier_core::part::{Build, Part};
use metier_core::seed::Seed;
use metier_core::{Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// # What it does
/// Draws every number of a new row from the distribution that the old rows have at its place.
///
/// # How
/// Number `d` of a row is normal with the mean and standard deviation of number `d` over all old rows, in the embedding and
/// in the head apart. Places are drawn apart, so rows leave the convex hull: some logit of a new token is above those of
/// all old ones for a good part of hidden states.
///
/// # When to use
/// As a baseline that shows what leaving the hull costs.
///
/// # Differs from the paper in
/// Nothing.
///
/// # Source
/// Mundra et al., arXiv 2407.05841, section 4.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Univariate {}

impl Build<dyn Initialize> for Univariate {
    fn build(self, _: &Place) -> Result<Box<dyn Initialize>> {
        Ok(Box::new(self))
    }
}

impl Initialize for Univariate {
    fn rows(&self, known: Known<'_>, seed: Seed) -> Result<Made> {
        known.apart(|old, purpose| {
            let mean = old.mean();
            let mut deviation = vec![0.0; old.width];
            for row in old.iter() {
                for ((deviation, x), mean) in deviation.iter_mut().zip(row).zip(&mean) {
                    *deviation += (f64::from(*x) - mean).powi(2);
                }
            }
            for square in &mut deviation {
                *square = (*square / old.count() as f64).sqrt();
            }
            let seed = seed.derive(purpose);
            let mut values = Vec::with_capacity(known.parts.len() * old.width);
            for row in 0..known.parts.len() as u64 {
                let mut stream = seed.at(row);
                values.extend(mean.iter().zip(&deviation).map(|(mean, size)| (mean + size * stream.normal()) as f32));
            }
            Rows { values, width: old.width }
        })
    }
}

/// The part's record.
pub static PART: Part<dyn Initialize> = Part::of::<Univariate>("univariate", 1);
