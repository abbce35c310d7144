use metier_core::Result;

use super::mismatch;
use crate::kernel::reduce::{self, ROWS};
use crate::kernel::threads::{chunks, chunks2, piece};
use crate::tape::{Pass, Record, Tape, Var};
use crate::tensor::Tensor;

struct RmsNorm {
    x: (Var, Tensor),
    weight: (Var, Tensor),
    epsilon: f32,
}

leveled! {
    fn write_row(out: &mut [f32], x: &[f32], weight: &[f32], inverse: f32) {
        for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
            *out = x * inverse * weight;
        }
    }
}

leveled! {
    /// Writes `dx` of one row and adds `dy x r` to the gradient of the weight.
    fn row_gradient(dx: &mut [f32], dw: &mut [f32], x: &[f32], weight: &[f32], dy: &[f32], inverse: f32) {
        let width = x.len();
        let (dx, dw, weight, dy) = (&mut dx[..width], &mut dw[..width], &weight[..width], &dy[..width]);
        for at in 0..width {
            dx[at] = dy[at] * weight[at];
            dw[at] += dy[at] * x[at] * inverse;
        }
        let along = reduce::dot(dx, x) * inverse * inverse / width as f32;
        for at in 0..width {
            dx[at] = inverse * (dx[at] - x[at] * along);
        }
    }
}

/// `y = x r w` with `r = 1 / sqrt(mean(x^2) + epsilon)` of each row.
///
/// `x` is `[N, D]`, `weight` `[D]`, the output `[N, D]`.
/// Backward, with `g = dy w`: `dx = r (g - x r^2 mean(g x))`, `dw = sum over rows of dy x r`.
pub fn rms_norm(tape: &mut Tape<'_>, x: Var, weight: Var, epsilon: f32) -> Result<Var> {
    let (rows, width) = tape.matrix("rms_norm", "x", x)?;
    let (value, scale) = (tape.value(x)?.clone(), tape.value(weight)?.clone());
    if *scale.shape() != [width] {
        let shapes = (("x", value.shape()), ("weight", scale.shape()));
        return Err(mismatch("rms_norm", shapes.0, shapes.1, "the weight has one element for each column"));
    }
    let mut out = Tensor::stale(&[rows, width])?;
    chunks(out.data_mut(), ROWS * width, rows * width * 2, |index, out| {
        let x = &value.data()[piece(index, ROWS * width, rows * width)];
        for (out, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
            write_row(out, x, scale.data(), inverse(x, epsilon));
        }
    });
    tape.push("rms_norm", out, &[x, weight], || RmsNorm { x: (x, value), weight: (weight, scale), epsilon })
}

fn inverse(row: &[f32], epsilon: f32) -> f32 {
    1.0 / (reduce::dot(row, row) / row.len() as f32 + epsilon).sqrt()
}

impl Record<'_> for RmsNorm {
    fn backward(self, gradient: Tensor, pass: &mut Pass<'_, '_>) -> Result<()> {
        let ((x, value), (weight, scale)) = (&self.x, &self.weight);
        let (rows, width) = (value.shape()[0], value.shape()[1]);
        let total = rows * width;
        let mut dx = Tensor::stale(&[rows, width])?;
        let mut partial = Tensor::stale(&[rows.div_ceil(ROWS), width])?;
        let outputs = ((dx.data_mut(), ROWS * width), (partial.data_mut(), width));
        chunks2(outputs.0, outputs.1, total * 4, |index, dx, dw| {
            let at = piece(index, ROWS * width, total);
            dw.fill(0.0);
            let rows = value.data()[at.clone()].chunks_exact(width).zip(gradient.data()[at].chunks_exact(width));
            for (dx, (x, dy)) in dx.chunks_exact_mut(width).zip(rows) {
                row_gradient(dx, dw, x, scale.data(), dy, inverse(x, self.epsilon));
            }
        });
        drop(gradient);
        pass.accumulate(*x, dx)?;
        pass.accumulate_with(*weight, |out, add| {
            reduce::add_rows(out, partial.data(), add);
            Ok(())
        })
    }
}
