use metier_core::Result;

use super::mismatch;
use crate::kernel::matmul::{Matrix, multiply};
use crate::kernel::reduce;
use crate::kernel::threads::{chunks, piece};
use crate::tape::{Pass, Record, Tape, Var};
use crate::tensor::Tensor;

struct Linear {
    x: Var,
    weight: Var,
    bias: Option<Var>,
    /// Kept only when the weight wants a gradient.
    x_value: Option<Tensor>,
    weight_value: Tensor,
}

/// `y = x W^T + b`.
///
/// `x` is `[N, I]`, `weight` `[O, I]`, `bias` `[O]`, the output `[N, O]`.
/// Backward: `dx = dy W`, `dW = dy^T x`, `db = sum over rows of dy`, each only when wanted.
pub fn linear(tape: &mut Tape<'_>, x: Var, weight: Var, bias: Option<Var>) -> Result<Var> {
    let mut out = forward(tape, "linear", x, weight)?;
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
    let x_value = if tape.needs_gradient(weight) { Some(tape.value(x)?.clone()) } else { None };
    let inputs = [Some(x), Some(weight), bias];
    let inputs: Vec<Var> = inputs.into_iter().flatten().collect();
    tape.push("linear", out, &inputs, || Linear { x, weight, bias, x_value, weight_value })
}

/// `x W^T`, checked.
pub(super) fn forward(tape: &Tape<'_>, op: &'static str, x: Var, weight: Var) -> Result<Tensor> {
    let (rows, inputs) = tape.matrix(op, "x", x)?;
    let (outputs, width) = tape.matrix(op, "weight", weight)?;
    if inputs != width {
        let shapes = (("x", tape.shape(x)?), ("weight", tape.shape(weight)?));
        return Err(mismatch(op, shapes.0, shapes.1, "x is [rows, inputs], the weight [outputs, inputs]"));
    }
    let mut out = Tensor::stale(&[rows, outputs])?;
    let x = Matrix::new(tape.value(x)?.data(), rows, inputs);
    let weight = Matrix::new(tape.value(weight)?.data(), outputs, inputs);
    multiply(out.data_mut(), x, weight.transposed(), 1.0, false);
    Ok(out)
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
        let (outputs, inputs) = (self.weight_value.shape()[0], self.weight_value.shape()[1]);
        let rows = gradient.shape()[0];
        let dy = Matrix::new(gradient.data(), rows, outputs);
        pass.accumulate_with(self.x, |out, add| {
            multiply(out, dy, Matrix::new(self.weight_value.data(), outputs, inputs), 1.0, add);
            Ok(())
        })?;
        if let Some(x) = &self.x_value {
            pass.accumulate_with(self.weight, |out, add| {
                multiply(out, dy.transposed(), Matrix::new(x.data(), rows, inputs), 1.0, add);
                Ok(())
            })?;
        }
        let Some(bias) = self.bias else { return Ok(()) };
        pass.accumulate_with(bias, |out, add| sum_of_rows(out, gradient.data(), add))
    }
}
