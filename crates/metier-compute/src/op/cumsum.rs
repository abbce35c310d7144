use metier_core::Result;

use super::along;
use crate::kernel::axis::{Axis, running_sums};
use crate::tape::{Pass, Record, Tape, Var};
use crate::tensor::Tensor;

struct Cumsum {
    x: Var,
    axis: Axis,
}

/// `y[.., i, ..] = sum of x[.., j, ..] over j <= i` along `axis`, any shape; added up in `f64`.
///
/// Backward: the same sum from the end on, `dx[i] = sum of dy[j] over j >= i`. Refused for an axis that `x` does
/// not have.
pub fn cumsum(tape: &mut Tape<'_>, x: Var, axis: usize) -> Result<Var> {
    let value = tape.value(x)?;
    let axis = along("cumsum", value.shape(), axis)?;
    let mut out = Tensor::stale(value.shape())?;
    running_sums(out.data_mut(), value.data(), axis, false);
    tape.push("cumsum", out, &[x], || Cumsum { x, axis })
}

impl Record<'_> for Cumsum {
    fn backward(self, gradient: Tensor, pass: &mut Pass<'_, '_>) -> Result<()> {
        let mut out = Tensor::stale(gradient.shape())?;
        running_sums(out.data_mut(), gradient.data(), self.axis, true);
        pass.accumulate(self.x, out)
    }
}
