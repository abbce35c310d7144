use metier_core::Result;

use crate::kernel::elementwise;
use crate::tape::{Pass, Record, Tape, Var};
use crate::tensor::Tensor;

struct Scale {
    x: Var,
    factor: f32,
}

/// `y = factor x`, any shape.
///
/// Backward: `dx = factor dy`.
pub fn scale(tape: &mut Tape<'_>, x: Var, factor: f32) -> Result<Var> {
    let value = tape.value(x)?;
    let mut out = Tensor::stale(value.shape())?;
    elementwise::scaled(out.data_mut(), value.data(), factor, false);
    tape.push("scale", out, &[x], || Scale { x, factor })
}

impl Record<'_> for Scale {
    fn backward(self, gradient: Tensor, pass: &mut Pass<'_, '_>) -> Result<()> {
        pass.accumulate_with(self.x, |out, add| {
            elementwise::scaled(out, gradient.data(), self.factor, add);
            Ok(())
        })
    }
}
