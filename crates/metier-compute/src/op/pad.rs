use metier_core::Result;

use super::refuse;
use super::slice::Part;
use crate::tape::{Pass, Record, Tape, Var};
use crate::tensor::Tensor;

struct Pad {
    x: Var,
    part: Part,
}

/// `x` with elements of `value` around it: `widths` says for each axis how many before and behind; axes behind the
/// last of them get none.
///
/// Backward: the part of `dy` that is `x`. Refused for more widths than axes, and for more elements than can be.
pub fn pad(tape: &mut Tape<'_>, x: Var, widths: &[(usize, usize)], value: f32) -> Result<Var> {
    let inside = tape.value(x)?;
    let mut shape = inside.shape().to_vec();
    if widths.len() > shape.len() {
        return Err(refuse("pad", format!("{} widths are more than x {shape:?} has axes", widths.len())));
    }
    let mut spans = Vec::with_capacity(widths.len());
    for (size, &(before, behind)) in shape.iter_mut().zip(widths) {
        let Some((end, full)) = before.checked_add(*size).and_then(|end| Some((end, end.checked_add(behind)?))) else {
            let message = format!("x {:?} with {before} before and {behind} behind is too large", inside.shape());
            return Err(refuse("pad", message));
        };
        spans.push((before..end).into());
        *size = full;
    }
    let part = Part::new(&shape, spans);
    let mut out = Tensor::full(&shape, value)?;
    part.put(out.data_mut(), inside.data(), false);
    tape.push("pad", out, &[x], || Pad { x, part })
}

impl Record<'_> for Pad {
    fn backward(self, gradient: Tensor, pass: &mut Pass<'_, '_>) -> Result<()> {
        pass.accumulate(self.x, self.part.of(&gradient)?)
    }
}
