use super::{Initialize, Known, Made, mixtures};
use metier_core::data::TokenId;
use metier_core::part::{Build, Part};
use metier_core::seed::Seed;
use metier_core::{Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// # What it does
/// Begins every new token with the mean of the rows of the tokens that its text was written in before.
///
/// # How
/// A token that was written as `k` old ones is their mean, each as often as it stands there, in the embedding and in the
/// head apart. A token without parts is the mean of all old rows. Both lie in the convex hull.
///
/// # When to use
/// When the parts mean something, as in words of a domain: the model begins by reading the word much as it did.
///
/// # Differs from the paper in
/// Nothing.
///
/// # Source
/// Mundra et al., arXiv 2407.05841, section 4; Gee et al., "Fast Vocabulary Transfer for Language Model Compression",
/// arXiv 2402.09977, section 3.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SubwordMean {}

impl Build<dyn Initialize> for SubwordMean {
    fn build(self, _: &Place) -> Result<Box<dyn Initialize>> {
        Ok(Box::new(self))
    }
}

impl Initialize for SubwordMean {
    fn rows(&self, known: Known<'_>, _: Seed) -> Result<Made> {
        known.check()?;
        Ok(mixtures(known, &known.parts.iter().map(|parts| part_shares(parts)).collect::<Vec<_>>()))
    }
}

/// How much of its parts each of them is.
pub(super) fn part_shares(parts: &[TokenId]) -> Vec<(TokenId, f64)> {
    let mut counts: BTreeMap<TokenId, usize> = BTreeMap::new();
    for part in parts {
        *counts.entry(*part).or_default() += 1;
    }
    counts.into_iter().map(|(part, count)| (part, count as f64 / parts.len() as f64)).collect()
}

/// The part's record.
pub static PART: Part<dyn Initialize> = Part::of::<SubwordMean>("subword_mean", 2);
