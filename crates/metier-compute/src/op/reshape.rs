use metier_core::Result;

use crate::tape::{Pass, Record, Tape, Var};
use crate::tensor::Tensor;

struct Reshape {
    x: Var,
    shape: Vec<usize>,
}

/// The same values under another shape; nothing is copied.
///
/// Backward: `dy` under the shape of `x`. Refused when the number of elements differs.
pub fn reshape(tape: &mut Tape<'_>, x: Var, shape: &[usize]) -> Result<Var> {
    let value = tape.value(x)?;
    let (out, shape) = (value.reshape(shape)?, value.shape().to_vec());
    tape.push("reshape", out, &[x], || Reshape { x, shape })
}

impl Record<'_> for Reshape {
    fn backward(self, gradient: Tensor, pass: &mut Pass<'_, '_>) -> Result<()> {
        pass.accumulate(self.x, gradient.reshape(&self.shape)?)
    }
}
