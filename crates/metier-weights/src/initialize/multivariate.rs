use super::{Initialize, Known, Made, Rows};
use metier_core::part::{Build, Part};
use metier_core::seed::Seed;
use metier_core::{Error, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// # What it does
/// Draws new rows from a narrow normal distribution of the mean and shape of the old rows.
///
/// # How
/// `e ~ N(m, scale S)` with `m` the mean and `S` the covariance of the `n` old rows:
/// `e = m + sqrt(scale / n) sum over i of z_i (e_i - m)` with `z_i` standard normal, which has just this covariance. At the
/// default scale this is the mean with very little noise, and lies in the convex hull but for rare draws.
///
/// # When to use
/// A good default: as good as learned rows once enough training follows, and costs nothing.
///
/// # Differs from the paper in
/// The rows are drawn without making or factoring the covariance.
///
/// # Source
/// Mundra et al., arXiv 2407.05841, section 4; the scale of 1e-5 is that of the authors' code.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Multivariate {
    /// What the covariance is multiplied by.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub scale: f64,
}

impl Default for Multivariate {
    fn default() -> Self {
        Self { scale: 1e-5 }
    }
}

impl Build<dyn Initialize> for Multivariate {
    fn build(self, place: &Place) -> Result<Box<dyn Initialize>> {
        if (0.0..=1.0).contains(&self.scale) {
            return Ok(Box::new(self));
        }
        let message = format!("{} is out of range", self.scale);
        Err(Error::user(place.clone().with_key("scale"), message).hint("it is in 0..=1"))
    }
}

impl Initialize for Multivariate {
    fn rows(&self, known: Known<'_>, seed: Seed) -> Result<Made> {
        known.apart(|old, purpose| {
            let (mean, seed) = (old.mean(), seed.derive(purpose));
            let factor = (self.scale / old.count() as f64).sqrt();
            let mut values = Vec::with_capacity(known.parts.len() * old.width);
            for row in 0..known.parts.len() as u64 {
                let mut stream = seed.at(row);
                let (mut sum, mut total) = (vec![0.0_f32; old.width], 0.0);
                for old in old.iter() {
                    let z = stream.normal();
                    total += z;
                    let z = z as f32;
                    sum.iter_mut().zip(old).for_each(|(sum, x)| *sum += z * x);
                }
                values.extend(
                    mean.iter().zip(&sum).map(|(mean, sum)| (mean + factor * (f64::from(*sum) - total * mean)) as f32),
                );
            }
            Rows { values, width: old.width }
        })
    }
}

/// The part's record.
pub static PART: Part<dyn Initialize> = Part::of::<Multivariate>("multivariate", 1);
