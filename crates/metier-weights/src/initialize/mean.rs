use super::{Initialize, Known, Made, Rows};
use metier_core::part::{Build, Part};
use metier_core::seed::Seed;
use metier_core::{Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// # What it does
/// Begins every new token with the mean of all old rows.
///
/// # How
/// `e = (1 / n) sum over i of e_i`, in the embedding and in the head apart. The mean lies in the convex hull of the old rows.
///
/// # When to use
/// When nothing is known of the new tokens. They begin alike, so the first steps of training must tell them apart.
///
/// # Differs from the paper in
/// Nothing.
///
/// # Source
/// Mundra et al., "An Empirical Comparison of Vocabulary Expansion and Initialization Approaches for Language Models",
/// arXiv 2407.05841, section 4; Hewitt, "Initializing New Word Embeddings for Pretrained Language Models", 2021.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Mean {}

impl Build<dyn Initialize> for Mean {
    fn build(self, _: &Place) -> Result<Box<dyn Initialize>> {
        Ok(Box::new(self))
    }
}

impl Initialize for Mean {
    fn rows(&self, known: Known<'_>, _: Seed) -> Result<Made> {
        known.apart(|old, _| {
            let mean: Vec<f32> = old.mean().into_iter().map(|mean| mean as f32).collect();
            Rows { values: mean.repeat(known.parts.len()), width: old.width }
        })
    }
}

/// The part's record.
pub static PART: Part<dyn Initialize> = Part::of::<Mean>("mean", 1);
