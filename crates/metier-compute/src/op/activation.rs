use metier_core::Result;

use crate::kernel::activation::{self, Activation};
use crate::tape::{Pass, Record, Tape, Var};
use crate::tensor::Tensor;

struct Activate {
    x: Var,
    value: Tensor,
    kind: Activation,
}

/// `y = f(x)` element by element, any shape; `f` is `kind`.
///
/// Backward: `dx = dy f'(x)`, with `f'` computed again from `x`.
pub fn activation(tape: &mut Tape<'_>, x: Var, kind: Activation) -> Result<Var> {
    let value = tape.value(x)?.clone();
    let mut out = Tensor::stale(value.shape())?;
    activation::values(out.data_mut(), value.data(), kind);
    tape.push(kind.name(), out, &[x], || Activate { x, value, kind })
}

impl Record<'_> for Activate {
    fn backward(self, mut gradient: Tensor, pass: &mut Pass<'_, '_>) -> Result<()> {
        activation::multiply_by_slopes(gradient.data_mut(), self.value.data(), self.kind);
        pass.accumulate(self.x, gradient)
    }
}
