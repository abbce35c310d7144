use metier_core::Result;

use super::{linear, mismatch};
use crate::kernel::matmul::{Matrix, multiply};
use crate::tape::{Pass, Record, Tape, Var};
use crate::tensor::Tensor;

struct LowRankLinear {
    x: (Var, Tensor),
    weight: (Var, Tensor),
    a: (Var, Tensor),
    b: (Var, Tensor),
    /// `x A^T`, `[N, R]`.
    inner: Tensor,
    factor: f32,
}

/// `y = x W^T + scale (x A^T) B^T`: a projection and a correction of rank `R`.
///
/// `x` is `[N, I]`, `weight` `[O, I]`, `a` `[R, I]`, `b` `[O, R]`, the output `[N, O]`.
/// Backward, with `u = x A^T` and `du = scale dy B`: `dx = dy W + du A`, `dA = du^T x`,
/// `dB = scale dy^T u`, and `dW = dy^T x` when the weight is trained too.
pub fn low_rank_linear(tape: &mut Tape<'_>, x: Var, weight: Var, a: Var, b: Var, scale: f32) -> Result<Var> {
    const OP: &str = "low_rank_linear";
    let (outputs, inputs) = tape.matrix(OP, "weight", weight)?;
    let (rank, a_inputs) = tape.matrix(OP, "a", a)?;
    if a_inputs != inputs {
        let shapes = (("weight", tape.shape(weight)?), ("a", tape.shape(a)?));
        return Err(mismatch(OP, shapes.0, shapes.1, "a is [rank, inputs]"));
    }
    if tape.matrix(OP, "b", b)? != (outputs, rank) {
        let shapes = (("a", tape.shape(a)?), ("b", tape.shape(b)?));
        return Err(mismatch(OP, shapes.0, shapes.1, "b is [outputs of the weight, rank of a]"));
    }
    let mut out = linear::forward(tape, OP, x, weight)?;
    let inner = linear::forward(tape, OP, x, a)?;
    let rows = out.shape()[0];
    let up = Matrix::new(tape.value(b)?.data(), outputs, rank).transposed();
    multiply(out.data_mut(), Matrix::new(inner.data(), rows, rank), up, scale, true);
    let keep = |var: Var| -> Result<(Var, Tensor)> { Ok((var, tape.value(var)?.clone())) };
    let kept = (keep(x)?, keep(weight)?, keep(a)?, keep(b)?);
    tape.push(OP, out, &[x, weight, a, b], || {
        let (x, weight, a, b) = kept;
        LowRankLinear { x, weight, a, b, inner, factor: scale }
    })
}

impl Record<'_> for LowRankLinear {
    fn backward(self, gradient: Tensor, pass: &mut Pass<'_, '_>) -> Result<()> {
        let (x, weight, a, b) = (&self.x, &self.weight, &self.a, &self.b);
        let (outputs, inputs) = (weight.1.shape()[0], weight.1.shape()[1]);
        let (rows, rank) = (gradient.shape()[0], a.1.shape()[0]);
        let dy = Matrix::new(gradient.data(), rows, outputs);
        let x_matrix = Matrix::new(x.1.data(), rows, inputs);

        pass.accumulate_with(b.0, |out, add| {
            multiply(out, dy.transposed(), Matrix::new(self.inner.data(), rows, rank), self.factor, add);
            Ok(())
        })?;
        let mut d_inner = Tensor::stale(&[rows, rank])?;
        multiply(d_inner.data_mut(), dy, Matrix::new(b.1.data(), outputs, rank), self.factor, false);
        let d_inner = Matrix::new(d_inner.data(), rows, rank);
        pass.accumulate_with(a.0, |out, add| {
            multiply(out, d_inner.transposed(), x_matrix, 1.0, add);
            Ok(())
        })?;
        pass.accumulate_with(weight.0, |out, add| {
            multiply(out, dy.transposed(), x_matrix, 1.0, add);
            Ok(())
        })?;
        pass.accumulate_with(x.0, |out, add| {
            multiply(out, dy, Matrix::new(weight.1.data(), outputs, inputs), 1.0, add);
            multiply(out, d_inner, Matrix::new(a.1.data(), rank, inputs), 1.0, true);
            Ok(())
        })
    }
}
