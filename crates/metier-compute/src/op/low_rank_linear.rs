use metier_core::Result;

use super::linear::{self, Input, linear};
use super::mismatch;
use crate::kernel::Precision;
use crate::kernel::matmul::{Matrix, multiply, multiply_as};
use crate::tape::{Pass, Record, Tape, Var};
use crate::tensor::Tensor;

struct LowRankLinear {
    precision: Precision,
    x: (Var, Input),
    weight: (Var, Tensor),
    a: (Var, Tensor),
    b: (Var, Tensor),
    /// `x A^T`, `[N, R]`.
    inner: Tensor,
    factor: f32,
}

/// An addition of low rank to a weight: `scale b a`.
#[derive(Debug, Clone, Copy)]
pub struct LowRank {
    /// `[rank, inputs]`.
    pub a: Var,
    /// `[outputs, rank]`.
    pub b: Var,
    /// Factor of the addition.
    pub scale: f32,
}

/// A projection without bias: a weight, and maybe an addition to it.
#[derive(Debug, Clone, Copy)]
pub struct Projection {
    /// `[outputs, inputs]`.
    pub weight: Var,
    /// What is added.
    pub low_rank: Option<LowRank>,
}

impl Projection {
    /// `x (weight + scale b a)^T`.
    pub fn forward(self, tape: &mut Tape<'_>, x: Var) -> Result<Var> {
        match self.low_rank {
            None => linear(tape, x, self.weight, None),
            Some(LowRank { a, b, scale }) => low_rank_linear(tape, x, self.weight, a, b, scale),
        }
    }
}

/// A projection as a record of a fused operation keeps it.
pub(super) struct Kept {
    weight: (Var, Tensor),
    low_rank: Option<(LowRank, Tensor, Tensor)>,
}

impl Kept {
    /// Checked: the parts are matrices that fit each other.
    pub fn new(tape: &Tape<'_>, op: &'static str, projection: Projection) -> Result<Self> {
        let Projection { weight, low_rank } = projection;
        tape.matrix(op, "weight", weight)?;
        if let Some(LowRank { a, b, .. }) = low_rank {
            check(tape, op, weight, a, b)?;
        }
        let keep =
            |part: LowRank| -> Result<_> { Ok((part, tape.value(part.a)?.clone(), tape.value(part.b)?.clone())) };
        Ok(Self { weight: (weight, tape.value(weight)?.clone()), low_rank: low_rank.map(keep).transpose()? })
    }

    /// Outputs and inputs.
    pub fn size(&self) -> (usize, usize) {
        (self.weight.1.shape()[0], self.weight.1.shape()[1])
    }

    /// The weight with what is added to it.
    pub fn whole(&self) -> Result<Tensor> {
        let Some((LowRank { scale, .. }, a, b)) = &self.low_rank else { return Ok(self.weight.1.clone()) };
        let (outputs, inputs) = self.size();
        let rank = a.shape()[0];
        let mut whole = Tensor::stale(&[outputs, inputs])?;
        whole.data_mut().copy_from_slice(self.weight.1.data());
        let (b, a) = (Matrix::new(b.data(), outputs, rank), Matrix::new(a.data(), rank, inputs));
        multiply(whole.data_mut(), b, a, *scale, true);
        Ok(whole)
    }

    /// Everything that may want a gradient.
    pub fn vars(&self) -> impl Iterator<Item = Var> {
        let parts = self.low_rank.as_ref().map(|(part, ..)| [part.a, part.b]);
        std::iter::once(self.weight.0).chain(parts.into_iter().flatten())
    }

    /// Adds to the gradients of all parts, given what writes or adds `dW`, the gradient of the whole weight:
    /// `da = scale b^T dW` and `db = scale dW a^T`.
    pub fn accumulate(&self, pass: &mut Pass<'_, '_>, write: impl Fn(&mut [f32], bool)) -> Result<()> {
        if let Some((LowRank { a, b, scale }, a_value, b_value)) = &self.low_rank
            && (pass.needs(*a) || pass.needs(*b))
        {
            let (outputs, inputs) = self.size();
            let rank = a_value.shape()[0];
            let mut whole = Tensor::stale(&[outputs, inputs])?;
            write(whole.data_mut(), false);
            let whole = Matrix::new(whole.data(), outputs, inputs);
            pass.accumulate_with(*a, |out, add| {
                multiply(out, Matrix::new(b_value.data(), outputs, rank).transposed(), whole, *scale, add);
                Ok(())
            })?;
            pass.accumulate_with(*b, |out, add| {
                multiply(out, whole, Matrix::new(a_value.data(), rank, inputs).transposed(), *scale, add);
                Ok(())
            })?;
        }
        pass.accumulate_with(self.weight.0, |out, add| {
            write(out, add);
            Ok(())
        })
    }
}

/// Refuses parts of an addition that do not fit their weight.
fn check(tape: &Tape<'_>, op: &'static str, weight: Var, a: Var, b: Var) -> Result<()> {
    let (outputs, inputs) = tape.matrix(op, "weight", weight)?;
    let (rank, a_inputs) = tape.matrix(op, "a", a)?;
    if a_inputs != inputs {
        let shapes = (("weight", tape.shape(weight)?), ("a", tape.shape(a)?));
        return Err(mismatch(op, shapes.0, shapes.1, "a is [rank, inputs]"));
    }
    if tape.matrix(op, "b", b)? != (outputs, rank) {
        let shapes = (("a", tape.shape(a)?), ("b", tape.shape(b)?));
        return Err(mismatch(op, shapes.0, shapes.1, "b is [outputs of the weight, rank of a]"));
    }
    Ok(())
}

/// `y = x W^T + scale (x A^T) B^T`: a projection and a correction of rank `R`.
///
/// `x` is `[N, I]`, `weight` `[O, I]`, `a` `[R, I]`, `b` `[O, R]`, the output `[N, O]`.
/// Backward, with `u = x A^T` and `du = scale dy B`: `dx = dy W + du A`, `dA = du^T x`,
/// `dB = scale dy^T u`, and `dW = dy^T x` when the weight is trained too.
pub fn low_rank_linear(tape: &mut Tape<'_>, x: Var, weight: Var, a: Var, b: Var, scale: f32) -> Result<Var> {
    const OP: &str = "low_rank_linear";
    check(tape, OP, weight, a, b)?;
    let (outputs, rank) = tape.matrix(OP, "b", b)?;
    let input = Input::new(tape, OP, x)?;
    let precision = tape.precision();
    let mut out = linear::forward(tape, OP, &input, weight)?;
    let inner = linear::forward(tape, OP, &input, a)?;
    let rows = out.shape()[0];
    let up = Matrix::new(tape.value(b)?.data(), outputs, rank).transposed();
    multiply_as(precision, out.data_mut(), Matrix::new(inner.data(), rows, rank), up, scale, true);
    let keep = |var: Var| -> Result<(Var, Tensor)> { Ok((var, tape.value(var)?.clone())) };
    let kept = ((x, input), keep(weight)?, keep(a)?, keep(b)?);
    tape.push(OP, out, &[x, weight, a, b], || {
        let (x, weight, a, b) = kept;
        LowRankLinear { precision, x, weight, a, b, inner, factor: scale }
    })
}

impl Record<'_> for LowRankLinear {
    fn backward(self, gradient: Tensor, pass: &mut Pass<'_, '_>) -> Result<()> {
        let (x, weight, a, b) = (&self.x, &self.weight, &self.a, &self.b);
        let (outputs, inputs) = (weight.1.shape()[0], weight.1.shape()[1]);
        let (rows, rank) = (gradient.shape()[0], a.1.shape()[0]);
        let dy = Matrix::new(gradient.data(), rows, outputs);
        let product = |out: &mut [f32], left, right, alpha, add| {
            multiply_as(self.precision, out, left, right, alpha, add);
        };

        pass.accumulate_with(b.0, |out, add| {
            product(out, dy.transposed(), Matrix::new(self.inner.data(), rows, rank), self.factor, add);
            Ok(())
        })?;
        let mut d_inner = Tensor::stale(&[rows, rank])?;
        product(d_inner.data_mut(), dy, Matrix::new(b.1.data(), outputs, rank), self.factor, false);
        let d_inner = Matrix::new(d_inner.data(), rows, rank);
        pass.accumulate_with(a.0, |out, add| {
            x.1.multiply_after(out, d_inner.transposed(), 1.0, add);
            Ok(())
        })?;
        pass.accumulate_with(weight.0, |out, add| {
            x.1.multiply_after(out, dy.transposed(), 1.0, add);
            Ok(())
        })?;
        pass.accumulate_with(x.0, |out, add| {
            product(out, dy, Matrix::new(weight.1.data(), outputs, inputs), 1.0, add);
            product(out, d_inner, Matrix::new(a.1.data(), rank, inputs), 1.0, true);
            Ok(())
        })
    }
}
