use metier_core::Result;

use super::linear::{self, Input, linear};
use super::mismatch;
use crate::kernel::Precision;
use crate::kernel::matmul::bf16::{Packed, multiply_packed};
use crate::kernel::matmul::{Matrix, multiply, multiply_as};
use crate::kernel::quantized::{self, nf4};
use crate::tape::{Pass, Record, Tape, Var};
use crate::tensor::{Shared, Tensor};

struct LowRankLinear {
    x: (Var, Tensor),
    weight: (Var, Tensor),
    a: (Var, Tensor),
    b: (Var, Tensor),
    /// `x A^T`, `[N, R]`.
    inner: Tensor,
    factor: f32,
    /// Of the product with a weight in NF4; all others are in `f32` here.
    precision: Precision,
}

/// With inputs rounded to `bf16`: the addition is added to the weight first.
struct Merged {
    x: (Var, Shared<Packed>),
    whole: Kept,
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
/// `dB = scale dy^T u`, and `dW = dy^T x` when the weight is trained too. In `bf16` the sum `W + scale B A` is rounded,
/// not its parts, and `dA = scale B^T dW`, `dB = scale dW A^T`: products of a few large matrices in place of many thin
/// ones. A weight in NF4 is never added to: it becomes numbers a tile at a time, and the products of the correction are in `f32`.
pub fn low_rank_linear(tape: &mut Tape<'_>, x: Var, weight: Var, a: Var, b: Var, scale: f32) -> Result<Var> {
    const OP: &str = "low_rank_linear";
    let whole = Kept::new(tape, OP, Projection { weight, low_rank: Some(LowRank { a, b, scale }) })?;
    let (rows, inputs) = tape.matrix(OP, "x", x)?;
    let (outputs, width) = whole.size();
    if inputs != width {
        let shapes = (("x", tape.shape(x)?), ("weight", tape.shape(weight)?));
        return Err(mismatch(OP, shapes.0, shapes.1, linear::RULE));
    }
    let mut out = Tensor::stale(&[rows, outputs])?;
    let is_rounded = tape.precision() == Precision::Bf16;
    let keep = |tape: &Tape<'_>, var: Var| -> Result<(Var, Tensor)> { Ok((var, tape.value(var)?.clone())) };
    let weight = keep(tape, weight)?;
    let stored = linear::stored(tape, &weight.1);
    let in_nf4 = weight.1.nf4();
    if is_rounded && stored.is_none() && in_nf4.is_none() {
        let packed = tape.packed(OP, "x", x)?;
        let merged = whole.whole()?;
        let merged = Matrix::new(merged.data(), outputs, inputs).transposed();
        multiply_packed(out.data_mut(), &packed, &Packed::right(merged), 1.0, false);
        return tape.push(OP, out, &[x, weight.0, a, b], || Merged { x: (x, packed), whole });
    }
    let (x, a, b) = (keep(tape, x)?, keep(tape, a)?, keep(tape, b)?);
    let rank = a.1.shape()[0];
    let mut inner = Tensor::stale(&[rows, rank])?;
    let (x_matrix, a_matrix) = (Matrix::new(x.1.data(), rows, inputs), Matrix::new(a.1.data(), rank, inputs));
    multiply(inner.data_mut(), x_matrix, a_matrix.transposed(), 1.0, false);
    if let Some(in_nf4) = in_nf4 {
        let input = Input::new(tape, OP, x.0)?;
        nf4::multiply(out.data_mut(), rows, in_nf4, |out, right, add| input.multiply(out, right, 1.0, add));
    } else if let Some(stored) = stored {
        if is_rounded {
            let packed = tape.packed(OP, "x", x.0)?;
            multiply_packed(out.data_mut(), &packed, &Packed::stored(&stored), 1.0, false);
        } else {
            quantized::multiply(out.data_mut(), x.1.data(), &stored);
        }
    } else {
        let weight_matrix = Matrix::new(weight.1.data(), outputs, inputs);
        multiply(out.data_mut(), x_matrix, weight_matrix.transposed(), 1.0, false);
    }
    let up = Matrix::new(b.1.data(), outputs, rank).transposed();
    multiply(out.data_mut(), Matrix::new(inner.data(), rows, rank), up, scale, true);
    let inputs = [x.0, weight.0, a.0, b.0];
    let precision = if weight.1.nf4().is_some() { tape.precision() } else { Precision::F32 };
    tape.push(OP, out, &inputs, || LowRankLinear { x, weight, a, b, inner, factor: scale, precision })
}

impl Record<'_> for Merged {
    fn backward(self, gradient: Tensor, pass: &mut Pass<'_, '_>) -> Result<()> {
        let (outputs, inputs) = self.whole.size();
        let dy = Matrix::new(gradient.data(), gradient.shape()[0], outputs);
        if pass.needs(self.x.0) {
            let merged = self.whole.whole()?;
            pass.accumulate_with(self.x.0, |out, add| {
                multiply_as(Precision::Bf16, out, dy, Matrix::new(merged.data(), outputs, inputs), 1.0, add);
                Ok(())
            })?;
        }
        self.whole.accumulate(pass, |out, add| {
            multiply_packed(out, &Packed::left(dy.transposed()), self.x.1.turned(), 1.0, add);
        })
    }
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
            linear::multiply_back(self.precision, out, dy, &weight.1, add);
            multiply(out, d_inner, Matrix::new(a.1.data(), rank, inputs), 1.0, true);
            Ok(())
        })
    }
}
