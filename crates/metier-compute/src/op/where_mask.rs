use metier_core::Result;

use super::{broadcast, mismatch};
use crate::kernel::walk::apply;
use crate::tape::{Pass, Record, Tape, Var};
use crate::tensor::Tensor;

struct WhereMask {
    mask: Tensor,
    /// Each with its shape.
    operands: [(Var, Vec<usize>); 2],
}

leveled! {
    fn select(out: &mut [f32], operands: [&[f32]; 3]) {
        let [mask, a, b] = operands;
        for (((out, mask), a), b) in out.iter_mut().zip(mask).zip(a).zip(b) {
            *out = if *mask == 0.0 { *b } else { *a };
        }
    }
}

leveled! {
    fn keep_where(out: &mut [f32], operands: [&[f32]; 2], zero: bool) {
        let [mask, dy] = operands;
        for ((out, mask), dy) in out.iter_mut().zip(mask).zip(dy) {
            *out = if (*mask == 0.0) == zero { *dy } else { 0.0 };
        }
    }
}

/// `y = a` where `mask` is not zero, else `b`; the three shapes stretch to fit each other as in `add`.
///
/// Backward: `da` is `dy` where the mask is not zero and `db` where it is, each 0 elsewhere, also where the other
/// operand is not finite, and summed over what it was stretched to. The mask gets no gradient. Refused for shapes
/// that do not stretch.
pub fn where_mask(tape: &mut Tape<'_>, mask: &Tensor, a: Var, b: Var) -> Result<Var> {
    forward(tape, "where_mask", mask, [a, b])
}

/// `y = value` where `mask` is not zero, else `x`; the mask stretches to the shape of `x`.
///
/// Before a softmax a large negative `value` hides scores as well as negative infinity, and stays finite.
/// Backward: `dx` is `dy` where the mask is zero, 0 elsewhere. Refused for a mask that does not stretch to `x`.
pub fn masked_fill(tape: &mut Tape<'_>, x: Var, mask: &Tensor, value: f32) -> Result<Var> {
    let shape = tape.shape(x)?;
    if broadcast::stretched("masked_fill", ("x", shape), ("the mask", mask.shape()))?.as_slice() != shape {
        return Err(mismatch(
            "masked_fill",
            ("x", shape),
            ("the mask", mask.shape()),
            "the mask stretches, x does not",
        ));
    }
    let value = tape.constant(Tensor::scalar(value)?);
    forward(tape, "masked_fill", mask, [value, x])
}

fn forward(tape: &mut Tape<'_>, op: &'static str, mask: &Tensor, operands: [Var; 2]) -> Result<Var> {
    let [a, b] = [tape.value(operands[0])?, tape.value(operands[1])?];
    let shape = broadcast::stretched(op, ("a", a.shape()), ("b", b.shape()))?;
    let shape = broadcast::stretched(op, ("a and b", &shape), ("the mask", mask.shape()))?;
    let mut out = Tensor::stale(&shape)?;
    let walk = broadcast::walk([mask, a, b], &shape);
    apply(out.data_mut(), &walk, [mask.data(), a.data(), b.data()], select);
    let kept = [(operands[0], a.shape().to_vec()), (operands[1], b.shape().to_vec())];
    tape.push(op, out, &operands, || WhereMask { mask: mask.clone(), operands: kept })
}

impl Record<'_> for WhereMask {
    fn backward(self, gradient: Tensor, pass: &mut Pass<'_, '_>) -> Result<()> {
        let walk = broadcast::walk([&self.mask, &gradient], gradient.shape());
        for (zero, (operand, shape)) in [false, true].into_iter().zip(&self.operands) {
            if pass.needs(*operand) {
                let mut out = Tensor::stale(gradient.shape())?;
                apply(out.data_mut(), &walk, [self.mask.data(), gradient.data()], |out, operands| {
                    keep_where(out, operands, zero);
                });
                pass.accumulate(*operand, broadcast::reduced(out, shape)?)?;
            }
        }
        Ok(())
    }
}
