use metier_core::Result;

use super::slice::{Part, Span};
use super::{along, mismatch, refuse};
use crate::tape::{Pass, Record, Tape, Var};
use crate::tensor::Tensor;

struct Concat {
    parts: Vec<(Var, Part)>,
}

/// The `parts` one behind the other along `axis`; elsewhere their shapes are equal.
///
/// Backward: each part gets its own piece of `dy`. Refused for no parts, an axis that the first does not have, and
/// shapes that differ elsewhere.
pub fn concat(tape: &mut Tape<'_>, parts: &[Var], axis: usize) -> Result<Var> {
    let Some(&first) = parts.first() else { return Err(refuse("concat", "there are no parts")) };
    let mut shape = tape.shape(first)?.to_vec();
    along("concat", &shape, axis)?;
    let (mut ends, mut total) = (Vec::with_capacity(parts.len()), 0_usize);
    for (index, &part) in parts.iter().enumerate() {
        let own = tape.shape(part)?;
        let size = own.get(axis).copied().unwrap_or(0);
        shape[axis] = size;
        if own != shape {
            let name = format!("part {index}");
            let rule = format!("the shapes must be equal but for axis {axis}");
            return Err(mismatch("concat", ("part 0", tape.shape(first)?), (&name, own), &rule));
        }
        total = total.saturating_add(size);
        ends.push(total);
    }
    shape[axis] = total;
    let mut out = Tensor::stale(&shape)?;
    let mut start = 0;
    let mut pieces = Vec::with_capacity(parts.len());
    for (&part, end) in parts.iter().zip(ends) {
        let spans =
            shape.iter().enumerate().map(|(at, &size)| Span::from(if at == axis { start..end } else { 0..size }));
        let piece = Part::new(&shape, spans);
        piece.put(out.data_mut(), tape.value(part)?.data(), false);
        pieces.push((part, piece));
        start = end;
    }
    tape.push("concat", out, parts, || Concat { parts: pieces })
}

impl Record<'_> for Concat {
    fn backward(self, gradient: Tensor, pass: &mut Pass<'_, '_>) -> Result<()> {
        for (part, piece) in &self.parts {
            if pass.needs(*part) {
                pass.accumulate(*part, piece.of(&gradient)?)?;
            }
        }
        Ok(())
    }
}
