use metier_core::Result;

use super::{linear, mismatch, refuse};
use crate::kernel::matmul::{Matrix, multiply};
use crate::kernel::threads::{chunks, chunks2, piece};
use crate::kernel::{quantized, softmax};
use crate::tensor::Tensor;

/// Logits that exist at one time, about: 64 MiB.
const LOGITS: usize = 1 << 24;

/// An output head: the logits of a row `x` are `cap(x weight^T + bias)`.
///
/// A weight alone becomes one by `into`.
#[derive(Debug, Clone, Copy)]
pub struct Head<T> {
    /// `[V, D]`.
    pub weight: T,
    /// `[V]`.
    pub bias: Option<T>,
    /// With `Some(c)` a logit `l` becomes `c tanh(l / c)`, which lies between `-c` and `c`; `c` is above 0.
    pub softcap: Option<f32>,
}

impl<T> From<T> for Head<T> {
    fn from(weight: T) -> Self {
        Self { weight, bias: None, softcap: None }
    }
}

/// How many rows have their logits at one time: 64 to 1024, and about the same number each time.
pub(super) fn chunk(rows: usize, vocabulary: usize) -> usize {
    let most = (LOGITS / vocabulary.max(1)).clamp(64, 1024);
    rows.div_ceil(rows.div_ceil(most).max(1)).max(1)
}

/// Rows, width and vocabulary of an output head, or an error that names the operation.
pub(super) fn check(op: &'static str, x: &Tensor, head: Head<&Tensor>) -> Result<(usize, usize, usize)> {
    let weight = head.weight.shape();
    let (rows, width, vocabulary) = match (x.matrix(), head.weight.matrix()) {
        (Some((rows, width)), Some((vocabulary, inputs))) if width == inputs => (rows, width, vocabulary),
        _ => {
            return Err(mismatch(
                op,
                ("x", x.shape()),
                ("head", weight),
                "x is [rows, width], head [vocabulary, width]",
            ));
        }
    };
    if let Some(bias) = head.bias.filter(|bias| *bias.shape() != [vocabulary]) {
        let rule = "the bias needs one element for each token";
        return Err(mismatch(op, ("head", weight), ("bias", bias.shape()), rule));
    }
    match head.softcap.filter(|cap| !(cap.is_finite() && *cap > 0.0)) {
        Some(cap) => Err(refuse(op, format!("logits cannot be capped at {cap}")).hint("a soft cap is above 0")),
        None => Ok((rows, width, vocabulary)),
    }
}

/// Adds the bias to products of rows and weight, and caps them; the slope of the cap at each goes to `slopes`.
pub(super) fn finish(logits: &mut [f32], head: Head<&Tensor>, slopes: Option<&mut [f32]>) {
    /// Elements in one piece of work.
    const PIECE: usize = 1 << 14;
    if let Some(bias) = head.bias {
        linear::add_to_rows(logits, bias.data());
    }
    let Some(cap) = head.softcap else { return };
    let steps = logits.len() * 8;
    match slopes {
        None => chunks(logits, PIECE, steps, |_, logits| softmax::soft_cap(logits, cap)),
        Some(slopes) => chunks2((logits, PIECE), (slopes, PIECE), steps, |_, logits, slopes| {
            softmax::soft_cap_slopes(logits, slopes, cap);
        }),
    }
}

/// Refuses a target outside the vocabulary, and lists of the wrong length.
pub(super) fn check_targets(op: &'static str, rows: usize, vocabulary: usize, targets: &[u32]) -> Result<()> {
    if targets.len() != rows {
        return Err(refuse(op, format!("{rows} rows need as many targets, not {}", targets.len())));
    }
    match targets.iter().position(|&target| target as usize >= vocabulary) {
        Some(row) => Err(refuse(
            op,
            format!("the target {} of row {row} is outside the vocabulary of {vocabulary}", targets[row]),
        )),
        None => Ok(()),
    }
}

/// Writes the logits of `head`, read where it lies when it is in blocks; `x` has rows of `width` numbers.
fn write_logits(out: &mut [f32], x: &[f32], width: usize, head: Head<&Tensor>) {
    if let Some(weight) = head.weight.weight() {
        quantized::multiply(out, x, &weight);
    } else {
        let rows = x.len().checked_div(width).unwrap_or(0);
        let weight = Matrix::new(head.weight.data(), head.weight.shape()[0], width).transposed();
        multiply(out, Matrix::new(x, rows, width), weight, 1.0, false);
    }
    finish(out, head, None);
}

/// The logits of a [`Head`]: `x` is `[N, D]`, the result `[N, V]`.
pub fn head_logits<'a>(x: &Tensor, head: impl Into<Head<&'a Tensor>>) -> Result<Tensor> {
    let head = head.into();
    let (rows, width, vocabulary) = check("head_logits", x, head)?;
    let mut out = Tensor::stale(&[rows, vocabulary])?;
    write_logits(out.data_mut(), x.data(), width, head);
    Ok(out)
}

/// For each row of logits `[N, V]` what turns them into log-probabilities: `ln sum e^l`.
pub fn logit_normalizers(logits: &Tensor) -> Result<Vec<f32>> {
    let Some((rows, vocabulary)) = logits.matrix() else {
        return Err(refuse("logit_normalizers", format!("{:?} are no rows of logits", logits.shape())));
    };
    let mut found = vec![0.0_f32; rows];
    chunks(&mut found, 1, logits.len() * 8, |row, found| {
        let logits = &logits.data()[piece(row, vocabulary, logits.len())];
        let largest = softmax::largest(logits);
        found[0] = largest + softmax::sum_of_exponentials(logits, largest).ln();
    });
    Ok(found)
}

/// How likely each of some tokens is, relative to the likeliest: `e^((l - max l) / temperature)`.
pub fn logit_weights(logits: &[f32], temperature: f32) -> Vec<f32> {
    let largest = softmax::largest(logits);
    let mut weights: Vec<f32> = logits.iter().map(|logit| logit - largest).collect();
    softmax::exponentials(&mut weights, (1.0 / temperature).min(f32::MAX), 0.0);
    weights
}

/// For each row the natural logarithm of the probability of its target under the softmax of a [`Head`]'s logits, and
/// whether the target has the largest logit (of equal ones, the lowest id).
///
/// `x` is `[N, D]`, `targets` has `N` ids below `V`. Logits exist for some rows at a time, about 64 MiB of them.
pub fn head_log_probabilities<'a>(
    x: &Tensor,
    head: impl Into<Head<&'a Tensor>>,
    targets: &[u32],
) -> Result<Vec<(f32, bool)>> {
    const OP: &str = "head_log_probabilities";
    let head = head.into();
    let (rows, width, vocabulary) = check(OP, x, head)?;
    check_targets(OP, rows, vocabulary, targets)?;
    let chunk = chunk(rows, vocabulary);
    let mut logits = Tensor::stale(&[chunk.min(rows), vocabulary])?;
    let mut found = vec![0.0_f32; rows * 2];
    for first in (0..rows).step_by(chunk) {
        let count = chunk.min(rows - first);
        let logits = &mut logits.data_mut()[..count * vocabulary];
        write_logits(logits, &x.data()[first * width..][..count * width], width, head);
        let found = &mut found[first * 2..][..count * 2];
        chunks(found, 2, count * vocabulary * 8, |row, found| {
            let target = targets[first + row] as usize;
            let logits = &logits[piece(row, vocabulary, count * vocabulary)];
            let largest = softmax::largest(logits);
            let sum = softmax::sum_of_exponentials(logits, largest);
            found[0] = logits[target] - largest - sum.ln();
            let best = logits.iter().position(|&logit| logit >= largest);
            found[1] = if best == Some(target) { 1.0 } else { 0.0 };
        });
    }
    Ok(found.chunks_exact(2).map(|pair| (pair[0], pair[1] > 0.5)).collect())
}

/// Turns logits into `share (p - [j = target])` in place and writes each row's loss `-ln p[target]`.
pub(super) fn loss_and_gradient(logits: &mut [f32], losses: &mut [f32], vocabulary: usize, rows: &[(usize, f32)]) {
    let steps = logits.len() * 8;
    chunks2((logits, vocabulary), (losses, 1), steps, |row, logits, loss| {
        let (target, share) = rows[row];
        let largest = softmax::largest(logits);
        let at_target = logits[target];
        let sum = softmax::exponentials(logits, 1.0, largest);
        loss[0] = sum.ln() + largest - at_target;
        softmax::scale_row(logits, share / sum);
        logits[target] -= share;
    });
}

/// Writes each row's loss `-ln p[target]` and leaves the logits as they are.
pub(super) fn loss_only(logits: &[f32], losses: &mut [f32], vocabulary: usize, rows: &[(usize, f32)]) {
    chunks(losses, 1, logits.len() * 8, |row, loss| {
        let logits = &logits[piece(row, vocabulary, logits.len())];
        let largest = softmax::largest(logits);
        loss[0] = softmax::sum_of_exponentials(logits, largest).ln() + largest - logits[rows[row].0];
    });
}
