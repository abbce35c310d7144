use metier_core::Result;

use super::refuse;
use crate::kernel::threads::chunks;
use crate::tape::{Pass, Record, Tape, Var};
use crate::tensor::Tensor;

/// Elements in one piece of work.
const PIECE: usize = 1 << 13;

struct Permute {
    x: Var,
    order: Vec<usize>,
}

/// The dimensions of `x` in another order: dimension `i` of the output is dimension `order[i]` of `x`.
///
/// `order = [1, 0]` transposes a matrix. Backward: the inverse order. Refused when `order` does not name every
/// dimension once.
pub fn permute(tape: &mut Tape<'_>, x: Var, order: &[usize]) -> Result<Var> {
    let value = tape.value(x)?;
    let rank = value.shape().len();
    let mut sorted = order.to_vec();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..rank) {
        let message = format!("the order {order:?} does not name every dimension of x {:?} once", value.shape());
        return Err(refuse("permute", message).hint("number the dimensions from 0, the outermost"));
    }
    let out = permuted(value, order)?;
    tape.push("permute", out, &[x], || Box::new(Permute { x, order: order.to_vec() }))
}

fn permuted(x: &Tensor, order: &[usize]) -> Result<Tensor> {
    let mut steps = vec![1; order.len()];
    for at in (1..order.len()).rev() {
        steps[at - 1] = steps[at] * x.shape()[at];
    }
    let shape: Vec<usize> = order.iter().map(|&at| x.shape()[at]).collect();
    let steps: Vec<usize> = order.iter().map(|&at| steps[at]).collect();
    let mut out = Tensor::stale(&shape)?;
    let (total, values) = (out.len(), x.data());
    chunks(out.data_mut(), PIECE, total, |index, out| {
        let mut at = index * PIECE;
        let mut place = vec![0; shape.len()];
        for (place, &size) in place.iter_mut().zip(&shape).rev() {
            *place = at % size;
            at /= size;
        }
        let mut from: usize = place.iter().zip(&steps).map(|(place, step)| place * step).sum();
        for out in out {
            *out = values[from];
            for dimension in (0..shape.len()).rev() {
                from += steps[dimension];
                place[dimension] += 1;
                if place[dimension] < shape[dimension] {
                    break;
                }
                from -= steps[dimension] * shape[dimension];
                place[dimension] = 0;
            }
        }
    });
    Ok(out)
}

impl Record<'_> for Permute {
    fn backward(self: Box<Self>, gradient: Tensor, pass: &mut Pass<'_, '_>) -> Result<()> {
        let mut inverse = vec![0; self.order.len()];
        for (to, &from) in self.order.iter().enumerate() {
            inverse[from] = to;
        }
        pass.accumulate(self.x, permuted(&gradient, &inverse)?)
    }
}
