use metier_core::Result;

use super::{refuse, sum};
use crate::kernel::reduce;
use crate::tape::{Tape, Var};

/// `y = (sum x) / n`, a scalar; refused for an empty `x`. Added up in `f64`.
///
/// Backward: every element of `dx` is `dy / n`.
pub fn mean(tape: &mut Tape<'_>, x: Var) -> Result<Var> {
    let value = tape.value(x)?;
    if value.is_empty() {
        return Err(refuse("mean", format!("{:?} has no elements", value.shape())));
    }
    let count = value.len() as f64;
    let total = reduce::sum_wide(value.data());
    sum::push(tape, "mean", x, (total / count) as f32, (1.0 / count) as f32)
}
