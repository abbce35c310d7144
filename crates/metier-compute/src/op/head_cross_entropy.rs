use metier_core::Result;

use super::head;
use super::refuse;
use crate::kernel::Precision;
use crate::kernel::elementwise;
use crate::kernel::head::Head;
use crate::kernel::matmul::{Matrix, multiply};
use crate::tape::{Pass, Record, Tape, Var};
use crate::tensor::{List, Tensor};

const OP: &str = "head_cross_entropy";

struct HeadCrossEntropy {
    x: Var,
    head: Var,
    /// For a loss whose own gradient is 1, and only of the rows that count.
    dx: Option<Tensor>,
    dhead: Option<Tensor>,
    rows: List<usize>,
}

/// `y = sum over n of weights[n] (-ln softmax(x[n] head^T)[targets[n]]) / sum of weights`, a scalar.
///
/// `x` is `[N, D]`, `head` `[V, D]`; `targets` and `weights` have `N` elements. Logits exist for
/// some rows at a time, about 64 MiB of them, or with `bf16` for a tile of rows and tokens; rows of weight 0 cost nothing. Weights must be finite, not negative and not all 0.
/// Backward is computed with the forward while the logits are there, and only for inputs that want it:
/// with `P = weights / sum of weights (softmax - target)`, `dx = P head` and `dhead = P^T x`.
pub fn head_cross_entropy(tape: &mut Tape<'_>, x: Var, head: Var, targets: &[u32], weights: &[f32]) -> Result<Var> {
    let (value, table) = (tape.value(x)?.clone(), tape.value(head)?.clone());
    let (rows, width, vocabulary) = head::check(OP, &value, &table)?;
    head::check_targets(OP, rows, vocabulary, targets)?;
    let total = check_weights(rows, weights)?;

    let counted: List<usize> = (0..rows).filter(|&row| weights[row] > 0.0).collect();
    let (wants_x, wants_head) = (tape.needs_gradient(x), tape.needs_gradient(head));
    let mut dx = if wants_x { Some(Tensor::stale(&[counted.len(), width])?) } else { None };
    let mut dhead = if wants_head { Some(Tensor::stale(&[vocabulary, width])?) } else { None };
    let share = |&row: &usize| (targets[row] as usize, (f64::from(weights[row]) / total) as f32);
    let shares: List<(usize, f32)> = counted.iter().map(share).collect();
    let mut losses = Tensor::zeros(&[counted.len()])?;
    let by_output = Matrix::new(table.data(), vocabulary, width);
    // In f32 computing the logits twice costs more than passing over them again.
    let chunk = match tape.precision() {
        Precision::F32 => head::chunk(counted.len(), vocabulary),
        Precision::Bf16 => counted.len().max(1),
    };
    let mut logits = Tensor::stale(&[if tape.precision() == Precision::F32 { chunk } else { 0 }, vocabulary])?;
    let mut gathered = Tensor::stale(&[chunk, width])?;

    for (index, picked) in counted.chunks(chunk).enumerate() {
        let count = picked.len();
        let gathered = &mut gathered.data_mut()[..count * width];
        for (into, &row) in gathered.chunks_exact_mut(width.max(1)).zip(picked) {
            into.copy_from_slice(&value.data()[row * width..][..width]);
        }
        let x_matrix = Matrix::new(gathered, count, width);
        let shares = &shares[index * chunk..][..count];
        let losses = &mut losses.data_mut()[index * chunk..][..count];
        if tape.precision() == Precision::Bf16 {
            let head = Head { x: x_matrix, table: by_output, rows: shares };
            let (dx, dhead) = (dx.as_mut().map(Tensor::data_mut), dhead.as_mut().map(Tensor::data_mut));
            crate::kernel::head::loss(&head, losses, dx, dhead);
            continue;
        }
        let logits = &mut logits.data_mut()[..count * vocabulary];
        multiply(logits, x_matrix, by_output.transposed(), 1.0, false);
        if !wants_x && !wants_head {
            head::loss_only(logits, losses, vocabulary, shares);
            continue;
        }
        head::loss_and_gradient(logits, losses, vocabulary, shares);
        let p = Matrix::new(logits, count, vocabulary);
        if let Some(dx) = &mut dx {
            let out = &mut dx.data_mut()[index * chunk * width..][..count * width];
            multiply(out, p, by_output, 1.0, false);
        }
        if let Some(dhead) = &mut dhead {
            multiply(dhead.data_mut(), p.transposed(), x_matrix, 1.0, index > 0);
        }
    }
    let losses = counted.iter().zip(losses.data());
    let loss: f64 = losses.map(|(&row, &loss)| f64::from(weights[row]) * f64::from(loss)).sum();
    let loss = Tensor::scalar((loss / total) as f32)?;
    tape.push(OP, loss, &[x, head], || HeadCrossEntropy { x, head, dx, dhead, rows: counted })
}

fn check_weights(rows: usize, weights: &[f32]) -> Result<f64> {
    if weights.len() != rows {
        return Err(refuse(OP, format!("{rows} rows need as many weights, not {}", weights.len())));
    }
    if let Some(row) = weights.iter().position(|weight| !weight.is_finite() || *weight < 0.0) {
        return Err(refuse(OP, format!("the weight of row {row} is {}", weights[row])).hint("weights are 0 or more"));
    }
    let total: f64 = weights.iter().copied().map(f64::from).sum();
    if total > 0.0 {
        return Ok(total);
    }
    Err(refuse(OP, format!("none of {rows} rows has a weight above 0")).hint("leave out batches without a target"))
}

impl Record<'_> for HeadCrossEntropy {
    fn backward(self, gradient: Tensor, pass: &mut Pass<'_, '_>) -> Result<()> {
        let factor = gradient.item()?;
        let Self { x, head, dx, dhead, rows } = self;
        if let Some(mut dhead) = dhead {
            if factor.to_bits() != 1.0_f32.to_bits() {
                elementwise::scale_in_place(dhead.data_mut(), factor);
            }
            pass.accumulate(head, dhead)?;
        }
        let Some(dx) = dx else { return Ok(()) };
        let width = dx.shape()[1];
        pass.accumulate_with(x, |out, add| {
            if !add {
                out.fill(0.0);
            }
            for (from, row) in dx.data().chunks_exact(width.max(1)).zip(&*rows) {
                elementwise::add_scaled(&mut out[*row * width..][..width], from, factor);
            }
            Ok(())
        })
    }
}
