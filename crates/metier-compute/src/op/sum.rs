use metier_core::Result;

use crate::kernel::reduce;
use crate::tape::{Pass, Record, Tape, Var};
use crate::tensor::Tensor;

struct Sum {
    x: Var,
    factor: f32,
}

/// `y = sum x`, a scalar; 0 for an empty `x`. Added up in `f64`.
///
/// Backward: every element of `dx` is `dy`.
pub fn sum(tape: &mut Tape<'_>, x: Var) -> Result<Var> {
    let total = reduce::sum_wide(tape.value(x)?.data());
    push(tape, "sum", x, total as f32, 1.0)
}

/// Puts a scalar on the tape whose backward gives each element of `x` `factor` times the gradient.
pub(super) fn push(tape: &mut Tape<'_>, op: &'static str, x: Var, value: f32, factor: f32) -> Result<Var> {
    tape.push(op, Tensor::scalar(value)?, &[x], || Sum { x, factor })
}

impl Record<'_> for Sum {
    fn backward(self, gradient: Tensor, pass: &mut Pass<'_, '_>) -> Result<()> {
        let share = gradient.item()? * self.factor;
        pass.accumulate_with(self.x, |out, add| {
            if add {
                for out in out {
                    *out += share;
                }
            } else {
                out.fill(share);
            }
            Ok(())
        })
    }
}
