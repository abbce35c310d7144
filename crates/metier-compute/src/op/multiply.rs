use metier_core::Result;

use super::mismatch;
use crate::kernel::elementwise;
use crate::tape::{Pass, Record, Tape, Var};
use crate::tensor::Tensor;

struct Multiply {
    a: (Var, Tensor),
    b: (Var, Tensor),
}

/// `y = a b` element by element, both of one shape.
///
/// Backward: `da = b dy`, `db = a dy`.
pub fn multiply(tape: &mut Tape<'_>, a: Var, b: Var) -> Result<Var> {
    let (left, right) = (tape.value(a)?.clone(), tape.value(b)?.clone());
    if left.shape() != right.shape() {
        return Err(mismatch("multiply", ("a", left.shape()), ("b", right.shape()), "the shapes must be equal"));
    }
    let mut out = Tensor::stale(left.shape())?;
    elementwise::multiply(out.data_mut(), left.data(), right.data(), false);
    tape.push("multiply", out, &[a, b], || Box::new(Multiply { a: (a, left), b: (b, right) }))
}

impl Record<'_> for Multiply {
    fn backward(self: Box<Self>, gradient: Tensor, pass: &mut Pass<'_, '_>) -> Result<()> {
        for ((var, _), (_, other)) in [(&self.a, &self.b), (&self.b, &self.a)] {
            pass.accumulate_with(*var, |out, add| {
                elementwise::multiply(out, other.data(), gradient.data(), add);
                Ok(())
            })?;
        }
        Ok(())
    }
}
