use metier_core::Result;

use super::mismatch;
use crate::block::Weight;
use crate::kernel::matmul::bf16::{Packed, multiply_packed};
use crate::kernel::matmul::{Matrix, multiply, multiply_as};
use crate::kernel::quantized::{self, nf4};
use crate::kernel::threads::{chunks, piece};
use crate::kernel::{Precision, reduce};
use crate::tape::{Pass, Record, Tape, Var};
use crate::tensor::{Shared, Tensor};

/// What shapes have to be.
pub(super) const RULE: &str = "x is [rows, inputs], the weight [outputs, inputs]";

struct Linear {
    x: Var,
    weight: Var,
    bias: Option<Var>,
    precision: Precision,
    /// Kept only when the weight wants a gradient.
    x_value: Option<Input>,
    weight_value: Tensor,
}

/// An input of a projection as its backward keeps it.
pub(super) enum Input {
    Whole(Tensor),
    /// Rounded to `bf16` and packed for the left of a product.
    Rounded(Shared<Packed>),
}

impl Input {
    /// `x`, a matrix, as products of the tape's precision read it.
    pub fn new(tape: &mut Tape<'_>, op: &'static str, x: Var) -> Result<Self> {
        tape.matrix(op, "x", x)?;
        Ok(match tape.precision() {
            Precision::F32 => Self::Whole(tape.value(x)?.clone()),
            Precision::Bf16 => Self::Rounded(tape.packed(op, "x", x)?),
        })
    }

    /// Rows and columns.
    fn size(&self) -> (usize, usize) {
        match self {
            Self::Whole(x) => (x.shape()[0], x.shape()[1]),
            Self::Rounded(x) => (x.line_count(), x.depth()),
        }
    }

    /// `out = alpha x right`, or `+=`.
    pub fn multiply(&self, out: &mut [f32], right: Matrix<'_>, alpha: f32, add: bool) {
        match self {
            Self::Whole(x) => multiply(out, Matrix::new(x.data(), x.shape()[0], x.shape()[1]), right, alpha, add),
            Self::Rounded(x) => multiply_packed(out, x, &Packed::right(right), alpha, add),
        }
    }

    /// `out = alpha left x`, or `+=`.
    fn multiply_after(&self, out: &mut [f32], left: Matrix<'_>, alpha: f32, add: bool) {
        match self {
            Self::Whole(x) => multiply(out, left, Matrix::new(x.data(), x.shape()[0], x.shape()[1]), alpha, add),
            Self::Rounded(x) => multiply_packed(out, &Packed::left(left), x.turned(), alpha, add),
        }
    }
}

/// `y = x W^T + b`.
///
/// `x` is `[N, I]`, `weight` `[O, I]`, `bias` `[O]`, the output `[N, O]`.
/// Backward: `dx = dy W`, `dW = dy^T x`, `db = sum over rows of dy`, each only when wanted.
/// On a tape that records nothing, a weight in blocks is read where it lies, and `x` is rounded to 8 bits for it; in `bf16`
/// both are rounded to that. A weight in NF4 becomes numbers a tile at a time, forward and backward.
pub fn linear(tape: &mut Tape<'_>, x: Var, weight: Var, bias: Option<Var>) -> Result<Var> {
    let input = Input::new(tape, "linear", x)?;
    let mut out = forward(tape, "linear", &input, weight)?;
    if let Some(bias) = bias {
        let value = tape.value(bias)?;
        let outputs = out.shape()[1];
        if *value.shape() != [outputs] {
            let shapes = (("weight", tape.shape(weight)?), ("bias", value.shape()));
            return Err(mismatch("linear", shapes.0, shapes.1, "the bias needs one element for each output"));
        }
        let bias = value.data();
        add_to_rows(out.data_mut(), bias);
    }
    let weight_value = tape.value(weight)?.clone();
    let x_value = tape.needs_gradient(weight).then_some(input);
    let precision = tape.precision();
    let inputs = [x, weight, bias.unwrap_or(x)];
    tape.push("linear", out, &inputs[..if bias.is_some() { 3 } else { 2 }], || Linear {
        x,
        weight,
        bias,
        precision,
        x_value,
        weight_value,
    })
}

/// `x W^T`, checked.
fn forward(tape: &Tape<'_>, op: &'static str, x: &Input, weight: Var) -> Result<Tensor> {
    let (rows, inputs) = x.size();
    let (outputs, width) = tape.matrix(op, "weight", weight)?;
    if inputs != width {
        let shapes = (("x", &[rows, inputs][..]), ("weight", tape.shape(weight)?));
        return Err(mismatch(op, shapes.0, shapes.1, RULE));
    }
    let mut out = Tensor::stale(&[rows, outputs])?;
    let weight = tape.value(weight)?;
    if let Some(weight) = weight.nf4() {
        nf4::multiply(out.data_mut(), rows, weight, |out, right, add| x.multiply(out, right, 1.0, add));
        return Ok(out);
    }
    match (x, stored(tape, weight)) {
        (Input::Whole(x), Some(weight)) => quantized::multiply(out.data_mut(), x.data(), &weight),
        (Input::Rounded(x), Some(weight)) => {
            multiply_packed(out.data_mut(), x, &Packed::stored(&weight), 1.0, false);
        }
        (_, None) => x.multiply(out.data_mut(), Matrix::new(weight.data(), outputs, inputs).transposed(), 1.0, false),
    }
    Ok(out)
}

/// The blocks of a weight that a product on this tape reads where they lie: none while it trains, so that forward and
/// backward see the same numbers.
pub(super) fn stored<'w>(tape: &Tape<'_>, weight: &'w Tensor) -> Option<Weight<'w>> {
    if tape.is_training() { None } else { weight.weight() }
}

/// `out = dy W`, or `+=`, with inputs as `precision` says.
pub(super) fn multiply_back(precision: Precision, out: &mut [f32], dy: Matrix<'_>, weight: &Tensor, add: bool) {
    if let Some(weight) = weight.nf4() {
        return nf4::multiply_back(out, dy.rows(), weight, add, |out, right, add| {
            multiply_as(precision, out, dy, right, 1.0, add);
        });
    }
    let right = Matrix::new(weight.data(), weight.shape()[0], weight.shape()[1]);
    multiply_as(precision, out, dy, right, 1.0, add);
}

/// Adds `bias` to every row of `out`.
pub(super) fn add_to_rows(out: &mut [f32], bias: &[f32]) {
    if bias.is_empty() {
        return;
    }
    let total = out.len();
    chunks(out, bias.len() * reduce::ROWS, total, |_, rows| {
        for row in rows.chunks_exact_mut(bias.len()) {
            crate::kernel::elementwise::add_scaled(row, bias, 1.0);
        }
    });
}

/// The sum over the rows of `values`, written to or added to `out`.
pub(super) fn sum_of_rows(out: &mut [f32], values: &[f32], add: bool) -> Result<()> {
    let width = out.len();
    if width == 0 {
        return Ok(());
    }
    let rows = values.len() / width;
    let parts = rows.div_ceil(reduce::ROWS);
    let mut partial = Tensor::stale(&[parts, width])?;
    chunks(partial.data_mut(), width, values.len(), |index, part| {
        part.fill(0.0);
        for row in piece(index, reduce::ROWS, rows) {
            crate::kernel::elementwise::add_scaled(part, &values[row * width..(row + 1) * width], 1.0);
        }
    });
    reduce::add_rows(out, partial.data(), add);
    Ok(())
}

impl Record<'_> for Linear {
    fn backward(self, gradient: Tensor, pass: &mut Pass<'_, '_>) -> Result<()> {
        let dy = Matrix::new(gradient.data(), gradient.shape()[0], gradient.shape()[1]);
        pass.accumulate_with(self.x, |out, add| {
            multiply_back(self.precision, out, dy, &self.weight_value, add);
            Ok(())
        })?;
        if let Some(x) = &self.x_value {
            pass.accumulate_with(self.weight, |out, add| {
                x.multiply_after(out, dy.transposed(), 1.0, add);
                Ok(())
            })?;
        }
        let Some(bias) = self.bias else { return Ok(()) };
        pass.accumulate_with(bias, |out, add| sum_of_rows(out, gradient.data(), add))
    }
}
