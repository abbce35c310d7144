use metier_core::Result;

use super::refuse;
use crate::kernel::walk::{Walk, apply, row_major};
use crate::tape::{Pass, Record, Tape, Var};
use crate::tensor::Tensor;

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
    tape.push("permute", out, &[x], || Permute { x, order: order.to_vec() })
}

fn permuted(x: &Tensor, order: &[usize]) -> Result<Tensor> {
    let steps = row_major(x.shape());
    let shape: Vec<usize> = order.iter().map(|&at| x.shape()[at]).collect();
    let steps: Vec<usize> = order.iter().map(|&at| steps[at]).collect();
    let mut out = Tensor::stale(&shape)?;
    apply(out.data_mut(), &Walk::new(&shape, [&steps]), [x.data()], |out, [x]| out.copy_from_slice(x));
    Ok(out)
}

impl Record<'_> for Permute {
    fn backward(self, gradient: Tensor, pass: &mut Pass<'_, '_>) -> Result<()> {
        let mut inverse = vec![0; self.order.len()];
        for (to, &from) in self.order.iter().enumerate() {
            inverse[from] = to;
        }
        pass.accumulate(self.x, permuted(&gradient, &inverse)?)
    }
}
