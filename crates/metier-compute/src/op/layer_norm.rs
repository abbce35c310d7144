use metier_core::Result;

use super::{linear, mismatch};
use crate::kernel::reduce::{self, ROWS};
use crate::kernel::threads::{chunks, chunks2, piece};
use crate::tape::{Pass, Record, Tape, Var};
use crate::tensor::Tensor;

struct LayerNorm {
    x: (Var, Tensor),
    weight: (Var, Tensor),
    bias: Option<Var>,
    epsilon: f32,
}

/// The mean and the inverse deviation of a row.
#[derive(Clone, Copy)]
struct Spread {
    mean: f32,
    inverse: f32,
}

leveled! {
    fn spread(row: &[f32], epsilon: f32) -> Spread {
        let mean = reduce::sum(row) / row.len() as f32;
        let mut lanes = [0.0_f32; 16];
        let (full, rest) = row.as_chunks::<16>();
        for x in full {
            for lane in 0..16 {
                lanes[lane] += (x[lane] - mean) * (x[lane] - mean);
            }
        }
        for (lane, x) in lanes.iter_mut().zip(rest) {
            *lane += (x - mean) * (x - mean);
        }
        let variance = reduce::sum(&lanes) / row.len() as f32;
        Spread { mean, inverse: 1.0 / (variance + epsilon).sqrt() }
    }
}

leveled! {
    fn write_row(out: &mut [f32], x: &[f32], weight: &[f32], spread: Spread) {
        for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
            *out = (x - spread.mean) * spread.inverse * weight;
        }
    }
}

leveled! {
    fn row_gradient(dx: &mut [f32], dw: &mut [f32], x: &[f32], weight: &[f32], dy: &[f32], spread: Spread) {
        let width = x.len();
        let (dx, dw, weight, dy) = (&mut dx[..width], &mut dw[..width], &weight[..width], &dy[..width]);
        for at in 0..width {
            dx[at] = dy[at] * weight[at];
            dw[at] += dy[at] * (x[at] - spread.mean) * spread.inverse;
        }
        let mean = reduce::sum(dx) / width as f32;
        let along = (reduce::dot(dx, x) / width as f32 - mean * spread.mean) * spread.inverse;
        for at in 0..width {
            let normal = (x[at] - spread.mean) * spread.inverse;
            dx[at] = spread.inverse * (dx[at] - mean - normal * along);
        }
    }
}

/// `y = (x - m) r w + b` with `m = mean(x)` and `r = 1 / sqrt(mean((x - m)^2) + epsilon)` of each row.
///
/// `x` is `[N, D]`, `weight` and `bias` `[D]`, the output `[N, D]`.
/// Backward, with `z = (x - m) r` and `g = dy w`: `dx = r (g - mean(g) - z mean(g z))`,
/// `dw = sum over rows of dy z`, `db = sum over rows of dy`.
pub fn layer_norm(tape: &mut Tape<'_>, x: Var, weight: Var, bias: Option<Var>, epsilon: f32) -> Result<Var> {
    let (rows, width) = tape.matrix("layer_norm", "x", x)?;
    let (value, scale) = (tape.value(x)?.clone(), tape.value(weight)?.clone());
    let rule = "weight and bias have one element for each column";
    if *scale.shape() != [width] {
        return Err(mismatch("layer_norm", ("x", value.shape()), ("weight", scale.shape()), rule));
    }
    let mut out = Tensor::stale(&[rows, width])?;
    chunks(out.data_mut(), ROWS * width, rows * width * 3, |index, out| {
        let x = &value.data()[piece(index, ROWS * width, rows * width)];
        for (out, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
            write_row(out, x, scale.data(), spread(x, epsilon));
        }
    });
    if let Some(bias) = bias {
        let bias = tape.value(bias)?;
        if *bias.shape() != [width] {
            return Err(mismatch("layer_norm", ("x", value.shape()), ("bias", bias.shape()), rule));
        }
        linear::add_to_rows(out.data_mut(), bias.data());
    }
    let inputs = [x, weight, bias.unwrap_or(x)];
    tape.push("layer_norm", out, &inputs[..if bias.is_some() { 3 } else { 2 }], || LayerNorm {
        x: (x, value),
        weight: (weight, scale),
        bias,
        epsilon,
    })
}

impl Record<'_> for LayerNorm {
    fn backward(self, gradient: Tensor, pass: &mut Pass<'_, '_>) -> Result<()> {
        let ((x, value), (weight, scale)) = (&self.x, &self.weight);
        let (rows, width) = (value.shape()[0], value.shape()[1]);
        let total = rows * width;
        let mut dx = Tensor::stale(&[rows, width])?;
        let mut partial = Tensor::stale(&[rows.div_ceil(ROWS), width])?;
        let outputs = ((dx.data_mut(), ROWS * width), (partial.data_mut(), width));
        chunks2(outputs.0, outputs.1, total * 6, |index, dx, dw| {
            let at = piece(index, ROWS * width, total);
            dw.fill(0.0);
            let rows = value.data()[at.clone()].chunks_exact(width).zip(gradient.data()[at].chunks_exact(width));
            for (dx, (x, dy)) in dx.chunks_exact_mut(width).zip(rows) {
                row_gradient(dx, dw, x, scale.data(), dy, spread(x, self.epsilon));
            }
        });
        if let Some(bias) = self.bias {
            pass.accumulate_with(bias, |out, add| linear::sum_of_rows(out, gradient.data(), add))?;
        }
        drop(gradient);
        pass.accumulate(*x, dx)?;
        pass.accumulate_with(*weight, |out, add| {
            reduce::add_rows(out, partial.data(), add);
            Ok(())
        })
    }
}
