use metier_core::Result;

use super::mismatch;
use crate::kernel::elementwise;
use crate::tape::{Pass, Record, Tape, Var};
use crate::tensor::Tensor;

struct Add {
    a: Var,
    b: Var,
}

/// `y = a + b`, both of one shape.
///
/// Backward: `da = dy`, `db = dy`.
pub fn add(tape: &mut Tape<'_>, a: Var, b: Var) -> Result<Var> {
    let (left, right) = (tape.value(a)?, tape.value(b)?);
    if left.shape() != right.shape() {
        return Err(mismatch("add", ("a", left.shape()), ("b", right.shape()), "the shapes must be equal"));
    }
    let mut out = Tensor::stale(left.shape())?;
    elementwise::add(out.data_mut(), left.data(), right.data());
    tape.push("add", out, &[a, b], || Box::new(Add { a, b }))
}

impl Record<'_> for Add {
    fn backward(self: Box<Self>, gradient: Tensor, pass: &mut Pass<'_, '_>) -> Result<()> {
        pass.accumulate(self.a, gradient.clone())?;
        pass.accumulate(self.b, gradient)
    }
}
