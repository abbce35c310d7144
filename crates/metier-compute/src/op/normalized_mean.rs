use metier_core::Result;
use std::ops::Range;

use super::refuse;
use crate::tape::{Pass, Record, Tape, Var};
use crate::tensor::Tensor;

struct NormalizedMean {
    x: Var,
    texts: Vec<Range<usize>>,
    y: Tensor,
    /// Of each text, 1 / (the length of the sum of its rows), or 0.
    scales: Vec<f64>,
}

/// `y[t] = m / |m|` with `m` the mean of the rows `texts[t]` of `x`: `[rows, width]` to `[texts, width]`; 0 where `m` is 0. Summed in
/// `f64`.
///
/// Backward: with `s` the sum of a text's rows, each of them gets `(dy[t] - y[t] (y[t] · dy[t])) / |s|`. Refused for an `x` that is no
/// matrix, and for a text without rows or with rows that `x` does not have.
pub fn normalized_mean(tape: &mut Tape<'_>, x: Var, texts: &[Range<usize>]) -> Result<Var> {
    const OP: &str = "normalized_mean";
    let value = tape.value(x)?;
    let &[rows, width] = value.shape() else {
        return Err(refuse(OP, format!("x {:?} is no matrix", value.shape())));
    };
    if let Some(text) = texts.iter().find(|text| text.is_empty() || text.end > rows) {
        return Err(refuse(OP, format!("x {:?} has no rows {text:?} to take the mean of", value.shape())));
    }
    let mut y = Tensor::stale(&[texts.len(), width])?;
    let mut scales = Vec::with_capacity(texts.len());
    let mut sums = vec![0.0; width];
    for (text, out) in texts.iter().zip(y.data_mut().chunks_exact_mut(width.max(1))) {
        sums.fill(0.0);
        for row in value.data()[text.start * width..text.end * width].chunks_exact(width.max(1)) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += f64::from(*value);
            }
        }
        let length = sums.iter().map(|sum| sum * sum).sum::<f64>().sqrt();
        let scale = if length > 0.0 { 1.0 / length } else { 0.0 };
        for (out, sum) in out.iter_mut().zip(&sums) {
            *out = (sum * scale) as f32;
        }
        scales.push(scale);
    }
    let kept = y.clone();
    tape.push(OP, y, &[x], || NormalizedMean { x, texts: texts.to_vec(), y: kept, scales })
}

impl Record<'_> for NormalizedMean {
    fn backward(self, gradient: Tensor, pass: &mut Pass<'_, '_>) -> Result<()> {
        let width = self.y.shape().last().copied().unwrap_or(0);
        let (y, gradient) = (self.y.data(), gradient.data());
        pass.accumulate_with(self.x, |out, add| {
            if !add {
                out.fill(0.0);
            }
            for (number, (text, scale)) in self.texts.iter().zip(&self.scales).enumerate() {
                let own = number * width..(number + 1) * width;
                let (y, gradient) = (&y[own.clone()], &gradient[own]);
                let along: f64 = y.iter().zip(gradient).map(|(y, dy)| f64::from(*y) * f64::from(*dy)).sum();
                let each: Vec<f32> = (y.iter().zip(gradient))
                    .map(|(y, dy)| (scale * (f64::from(*dy) - f64::from(*y) * along)) as f32)
                    .collect();
                for row in out[text.start * width..text.end * width].chunks_exact_mut(width.max(1)) {
                    row.iter_mut().zip(&each).for_each(|(out, each)| *out += each);
                }
            }
            Ok(())
        })
    }
}
