use super::{Initialize, Known, Made, Rows};
use metier_core::part::{Build, Part};
use metier_core::seed::Seed;
use metier_core::{Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// # What it does
/// Begins every new token with zeros.
///
/// # How
/// `e = 0`. Its logit is 0 whatever the hidden state, which may be more than those of all old tokens.
///
/// # When to use
/// As a baseline, or for rows that something else fills.
///
/// # Differs from the paper in
/// The paper has no such baseline.
///
/// # Source
/// Mundra et al., arXiv 2407.05841, for what rows outside of the hull do.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Zero {}

impl Build<dyn Initialize> for Zero {
    fn build(self, _: &Place) -> Result<Box<dyn Initialize>> {
        Ok(Box::new(self))
    }
}

impl Initialize for Zero {
    fn rows(&self, known: Known<'_>, _: Seed) -> Result<Made> {
        known.apart(|old, _| Rows { values: vec![0.0; known.parts.len() * old.width], width: old.width })
    }
}

/// The part's record.
pub static PART: Part<dyn Initialize> = Part::of::<Zero>("zero", 1);
