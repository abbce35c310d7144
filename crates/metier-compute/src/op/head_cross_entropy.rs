use metier_core::Result;

use super::head::{self, Head};
use super::{linear, refuse};
use crate::kernel::Precision;
use crate::kernel::elementwise;
use crate::kernel::matmul::{Matrix, multiply_as};
use crate::tape::{Pass, Record, Tape, Var};
use crate::tensor::{List, Tensor};

const OP: &str = "head_cross_entropy";

struct HeadCrossEntropy {
    x: Var,
    head: Head<Var>,
    /// For a loss whose own gradient is 1, and only of the rows that count.
    dx: Option<Tensor>,
    dweight: Option<Tensor>,
    dbias: Option<Tensor>,
    rows: List<usize>,
}

/// `y = sum over n of weights[n] (-ln softmax(logits of x[n])[targets[n]]) / sum of weights`, a scalar.
///
/// `x` is `[N, D]`; the logits are those of a [`Head`]; `targets` and `weights` have `N` elements. Logits exist for
/// some rows at a time, about 64 MiB of them, or with `bf16` and a head that is a weight alone for a tile of rows and tokens; rows of weight 0 cost nothing. Weights must be finite, not negative and not all 0.
/// Backward is computed with the forward while the logits are there, and only for inputs that want it:
/// with `P = weights / sum of weights (softmax - target) cap'`, `dx = P weight`, `dweight = P^T x` and `dbias` the sum of
/// the rows of `P`.
pub fn head_cross_entropy(
    tape: &mut Tape<'_>,
    x: Var,
    head: impl Into<Head<Var>>,
    targets: &[u32],
    weights: &[f32],
) -> Result<Var> {
    let vars = head.into();
    let (value, table) = (tape.value(x)?.clone(), tape.value(vars.weight)?.clone());
    let bias = vars.bias.map(|bias| tape.value(bias).cloned()).transpose()?;
    let head = Head { weight: &table, bias: bias.as_ref(), softcap: vars.softcap };
    let (rows, width, vocabulary) = head::check(OP, &value, head)?;
    head::check_targets(OP, rows, vocabulary, targets)?;
    let total = check_weights(rows, weights)?;

    let counted: List<usize> = (0..rows).filter(|&row| weights[row] > 0.0).collect();
    let (wants_x, wants_weight) = (tape.needs_gradient(x), tape.needs_gradient(vars.weight));
    let wants_bias = vars.bias.is_some_and(|bias| tape.needs_gradient(bias));
    let wants_any = wants_x || wants_weight || wants_bias;
    let mut dx = if wants_x { Some(Tensor::stale(&[counted.len(), width])?) } else { None };
    let mut dweight = if wants_weight { Some(Tensor::stale(&[vocabulary, width])?) } else { None };
    let mut dbias = if wants_bias { Some(Tensor::stale(&[vocabulary])?) } else { None };
    let share = |&row: &usize| (targets[row] as usize, (f64::from(weights[row]) / total) as f32);
    let shares: List<(usize, f32)> = counted.iter().map(share).collect();
    let mut losses = Tensor::zeros(&[counted.len()])?;
    let by_output = Matrix::new(table.data(), vocabulary, width);
    let precision = tape.precision();
    let fused = precision == Precision::Bf16 && bias.is_none() && vars.softcap.is_none();
    // In f32 computing the logits twice costs more than passing over them again.
    let chunk = if fused { counted.len().max(1) } else { head::chunk(counted.len(), vocabulary) };
    let mut logits = Tensor::stale(&[if fused { 0 } else { chunk }, vocabulary])?;
    let capped = wants_any && vars.softcap.is_some();
    let mut slopes = if capped { Some(Tensor::stale(&[chunk, vocabulary])?) } else { None };
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
        if fused {
            let head = crate::kernel::head::Head { x: x_matrix, table: by_output, rows: shares };
            let (dx, dweight) = (dx.as_mut().map(Tensor::data_mut), dweight.as_mut().map(Tensor::data_mut));
            crate::kernel::head::loss(&head, losses, dx, dweight);
            continue;
        }
        let logits = &mut logits.data_mut()[..count * vocabulary];
        let mut slopes = slopes.as_mut().map(|slopes| &mut slopes.data_mut()[..count * vocabulary]);
        multiply_as(precision, logits, x_matrix, by_output.transposed(), 1.0, false);
        head::finish(logits, head, slopes.as_deref_mut());
        if !wants_any {
            head::loss_only(logits, losses, vocabulary, shares);
            continue;
        }
        head::loss_and_gradient(logits, losses, vocabulary, shares);
        if let Some(slopes) = slopes {
            elementwise::multiply_in_place(logits, slopes);
        }
        if let Some(dbias) = &mut dbias {
            linear::sum_of_rows(dbias.data_mut(), logits, index > 0)?;
        }
        let p = Matrix::new(logits, count, vocabulary);
        if let Some(dx) = &mut dx {
            let out = &mut dx.data_mut()[index * chunk * width..][..count * width];
            multiply_as(precision, out, p, by_output, 1.0, false);
        }
        if let Some(dweight) = &mut dweight {
            multiply_as(precision, dweight.data_mut(), p.transposed(), x_matrix, 1.0, index > 0);
        }
    }
    let losses = counted.iter().zip(losses.data());
    let loss: f64 = losses.map(|(&row, &loss)| f64::from(weights[row]) * f64::from(loss)).sum();
    let loss = Tensor::scalar((loss / total) as f32)?;
    let inputs = [x, vars.weight, vars.bias.unwrap_or(x)];
    tape.push(OP, loss, &inputs, || HeadCrossEntropy { x, head: vars, dx, dweight, dbias, rows: counted })
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
        let Self { x, head, dx, dweight, dbias, rows } = self;
        for (var, gradient) in [(Some(head.weight), dweight), (head.bias, dbias)] {
            let (Some(var), Some(mut gradient)) = (var, gradient) else { continue };
            if factor.to_bits() != 1.0_f32.to_bits() {
                elementwise::scale_in_place(gradient.data_mut(), factor);
            }
            pass.accumulate(var, gradient)?;
        }
        let Some(dx) = dx else { return Ok(()) };
        let width = dx.shape()[1];
        pass.accumulate_with(x, |out, add| {
            if !add {
                out.fill(0.0);
            }
            for (from, row) in dx.data().chunks_exact(width.max(1)).zip(&*rows) {
                elementwise::add_scaled(&mut out[row * width..][..width], from, factor);
            }
            Ok(())
        })
    }
}
