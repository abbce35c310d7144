//! Adam with the decay of weights taken out of the gradient, and what it keeps in 8 bits.

use super::{Adamw, Optimizer, Update, Weights};
use metier_compute::op;
use metier_core::part::{Build, Part};
use metier_core::{Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// # What it does
/// The same as `adamw` with about a quarter of the memory for the running means.
///
/// # How
/// Both means are kept as one byte a weight: a code for a number between -1 and 1 (0 and 1 for the mean of squares),
/// multiplied by a scale that 256 weights share, their greatest magnitude. The 256 numbers lie dense near 0: twice as many in each of
/// seven decades as in the one below it. A step reads the bytes, does in `f32` what `adamw` does, and writes the nearest
/// codes. A weight costs 6 bytes and 2 scales each 256 weights besides its gradient, where `adamw` takes 12.
///
/// # When to use
/// All weights of a model are trained and memory is short. Adapters have too few weights for it to matter.
///
/// # Differs from the paper in
/// Blocks of 256 instead of 2,048 weights; embeddings and small tensors are in 8 bits too; and a mean of squares above 0 never
/// becomes 0, so that what is left of a mean is never divided by `epsilon` alone. Decay is that of `adamw`.
///
/// # Source
/// Dettmers, Lewis, Shleifer and Zettlemoyer, *8-bit Optimizers via Block-wise Quantization*, arXiv:2110.02861, section 2.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Adamw8bit(pub Adamw);

impl Optimizer for Adamw8bit {
    fn rate(&self) -> f64 {
        self.0.rate
    }

    fn state(&self, weights: Weights<'_>) -> Vec<usize> {
        vec![op::adamw_8bit_state(weights.len()); 2]
    }

    fn step(&self, update: Update<'_>) -> Result<()> {
        self.0.step_by(op::adamw_8bit_step, update)
    }
}

impl Build<dyn Optimizer> for Adamw8bit {
    fn build(self, place: &Place) -> Result<Box<dyn Optimizer>> {
        self.0.check(place)?;
        Ok(Box::new(self))
    }
}

/// The record of `adamw_8bit`.
pub static PART: Part<dyn Optimizer> = Part::of::<Adamw8bit>("adamw_8bit", 1);
