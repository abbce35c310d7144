use metier_core::Result;

use super::refuse;
use crate::kernel::threads::chunks;
use crate::kernel::{reduce, softmax as kernel};
use crate::tape::{Pass, Record, Tape, Var};
use crate::tensor::Tensor;

struct Softmax {
    x: Var,
    y: Tensor,
    log: bool,
}

/// `y = e^x / sum e^x` over the last dimension, any shape of at least one dimension.
///
/// The largest element of a row is taken away first, so no row overflows; a row of negative infinities
/// is NaN. Backward: `dx = y (dy - sum y dy)`. Refused for a scalar.
pub fn softmax(tape: &mut Tape<'_>, x: Var) -> Result<Var> {
    forward(tape, x, false)
}

/// `y = x - ln sum e^x` over the last dimension, any shape of at least one dimension.
///
/// Backward: `dx = dy - e^y sum dy`. Refused for a scalar.
pub fn log_softmax(tape: &mut Tape<'_>, x: Var) -> Result<Var> {
    forward(tape, x, true)
}

fn forward(tape: &mut Tape<'_>, x: Var, log: bool) -> Result<Var> {
    let op = if log { "log_softmax" } else { "softmax" };
    let value = tape.value(x)?;
    let Some(&width) = value.shape().last() else {
        return Err(refuse(op, "x has the shape [] and no last dimension to go over"));
    };
    let mut out = Tensor::stale(value.shape())?;
    let total = out.len();
    let values = value.data();
    chunks(out.data_mut(), width * reduce::ROWS, total * 8, |index, out| {
        let from = index * width * reduce::ROWS;
        out.copy_from_slice(&values[from..from + out.len()]);
        for row in out.chunks_exact_mut(width.max(1)) {
            let shift = kernel::largest(row);
            if log {
                let shift = shift + kernel::sum_of_exponentials(row, shift).ln();
                for x in row {
                    *x -= shift;
                }
            } else {
                let sum = kernel::exponentials(row, 1.0, shift);
                kernel::scale_row(row, 1.0 / sum);
            }
        }
    });
    let y = out.clone();
    tape.push(op, out, &[x], || Softmax { x, y, log })
}

impl Record<'_> for Softmax {
    fn backward(self, mut gradient: Tensor, pass: &mut Pass<'_, '_>) -> Result<()> {
        let width = gradient.shape().last().copied().unwrap_or(0);
        let (total, y) = (gradient.len(), self.y.data());
        chunks(gradient.data_mut(), width * reduce::ROWS, total * 8, |index, gradient| {
            let y = &y[index * width * reduce::ROWS..];
            for (gradient, y) in gradient.chunks_exact_mut(width.max(1)).zip(y.chunks_exact(width.max(1))) {
                if self.log {
                    kernel::log_probability_gradient(gradient, y, reduce::sum(gradient));
                } else {
                    kernel::probability_gradient(gradient, y, reduce::dot(gradient, y), 1.0);
                }
            }
        });
        pass.accumulate(self.x, gradient)
    }
}
