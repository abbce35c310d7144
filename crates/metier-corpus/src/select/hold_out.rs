use super::Select;
use metier_core::part::{Build, Part};
use metier_core::seed::Seed;
use metier_core::{Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// # What it does
/// Holds a share of the documents out, whole documents only.
///
/// # How
/// Every document draws a number from the seed and its id. The `round(fraction * n)` documents with the lowest
/// numbers are held out: at least one of several, and never all of them unless `fraction` is 1. A document that
/// is added or taken away leaves the numbers of the others as they are.
///
/// # When to use
/// Whenever a model is to be measured on documents of the kind it learned from.
///
/// # Differs from the paper in
/// Nothing: no paper stands behind it.
///
/// # Source
/// metier.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HoldOut {
    /// Share of documents held out.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub fraction: f64,
}

impl Default for HoldOut {
    fn default() -> Self {
        Self { fraction: 0.1 }
    }
}

impl HoldOut {
    fn count(&self, documents: usize) -> usize {
        if self.fraction <= 0.0 || documents == 0 {
            0
        } else if self.fraction >= 1.0 {
            documents
        } else {
            ((self.fraction * documents as f64).round() as usize).clamp(1, documents.max(2) - 1).min(documents)
        }
    }
}

impl Select for HoldOut {
    fn draw(&self, id: &str, seed: Seed) -> u64 {
        seed.derive("hold_out").derive(id).at(0).bits()
    }

    fn held_out(&self, draws: &[u64]) -> Vec<bool> {
        let mut order: Vec<(u64, usize)> = draws.iter().copied().zip(0..).collect();
        order.sort_unstable();
        let mut out = vec![false; draws.len()];
        for (_, index) in &order[..self.count(draws.len())] {
            out[*index] = true;
        }
        out
    }

    fn expected_share(&self, documents: u64) -> f64 {
        self.count(documents as usize) as f64 / documents.max(1) as f64
    }
}

impl Build<dyn Select> for HoldOut {
    fn build(self, _: &Place) -> Result<Box<dyn Select>> {
        Ok(Box::new(self))
    }
}

/// The record of `hold_out`.
pub static PART: Part<dyn Select> = Part::of::<HoldOut>("hold_out", 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_whole_documents_is_held_out_by_seed() {
        let ids: Vec<String> = (0..100).map(|number| format!("document {number}")).collect();
        let held_out = |fraction: f64, seed| {
            let select = HoldOut { fraction };
            let draws: Vec<u64> = ids.iter().map(|id| select.draw(id, Seed::new(seed))).collect();
            select.held_out(&draws)
        };
        let count = |flags: &[bool]| flags.iter().filter(|flag| **flag).count();
        assert_eq!([0.0, 0.001, 0.1, 0.999, 1.0].map(|fraction| count(&held_out(fraction, 0))), [0, 1, 10, 99, 100]);
        assert_eq!(held_out(0.1, 1), held_out(0.1, 1));
        assert_ne!(held_out(0.1, 1), held_out(0.1, 2));
    }
}
