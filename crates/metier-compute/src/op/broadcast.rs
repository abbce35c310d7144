//! Shapes that stretch to fit each other, by NumPy's rules: sizes are compared from the last dimension on, and a
//! size of one or a dimension that is not there goes with any size.

use metier_core::Result;

use super::mismatch;
use crate::kernel::axis::{Axis, sums};
use crate::kernel::walk::{Walk, count, row_major};
use crate::tensor::{Sizes, Tensor};

/// The shape that both stretch to.
pub(super) fn stretched(op: &'static str, a: (&str, &[usize]), b: (&str, &[usize])) -> Result<Sizes> {
    let rank = a.1.len().max(b.1.len());
    let sizes = (0..rank).map(|at| match (size(a.1, rank, at), size(b.1, rank, at)) {
        (a, b) if a == b || b == 1 => Some(a),
        (1, b) => Some(b),
        _ => None,
    });
    let rule = "counted from the last, each dimension needs equal sizes, or a size of one in either";
    sizes.collect::<Option<_>>().ok_or_else(|| mismatch(op, a, b, rule))
}

/// The size of `shape` at dimension `at` of `rank`.
fn size(shape: &[usize], rank: usize, at: usize) -> usize {
    (at + shape.len()).checked_sub(rank).map_or(1, |at| shape[at])
}

/// A walk over the shape `out`, which every operand stretches to.
pub(super) fn walk<const N: usize>(operands: [&Tensor; N], out: &[usize]) -> Walk<N> {
    let steps = operands.map(|operand| steps(operand.shape(), out));
    Walk::new(out, steps.each_ref().map(Sizes::as_slice))
}

/// For each element of `out` in order, the element of a tensor of `shape` that is stretched to it.
pub(super) fn sources(shape: &[usize], out: &[usize]) -> Vec<usize> {
    let mut sources = vec![0];
    for (step, &size) in steps(shape, out).into_iter().zip(out) {
        sources = sources.iter().flat_map(|from| (0..size).map(move |at| from + at * step)).collect();
    }
    sources
}

/// How far a row-major tensor of `shape` moves along each dimension of `out`, which it stretches to.
fn steps(shape: &[usize], out: &[usize]) -> Sizes {
    let own = row_major(shape);
    let lead = out.len() - shape.len();
    (0..out.len()).map(|at| if size(shape, out.len(), at) == 1 { 0 } else { own[at - lead] }).collect()
}

/// The sum of a stretched gradient over all that one element of `shape` was stretched to.
pub(super) fn reduced(mut gradient: Tensor, shape: &[usize]) -> Result<Tensor> {
    let full = Sizes::from_slice(gradient.shape());
    let stretched = |at: usize| size(shape, full.len(), at) == 1;
    let (mut at, mut outer) = (0, 1);
    while at < full.len() {
        let end = (at..full.len()).find(|&end| stretched(end) != stretched(at)).unwrap_or(full.len());
        let size = count(&full[at..end]);
        if !stretched(at) {
            outer *= size;
        } else if size != 1 {
            let axis = Axis { outer, size, inner: count(&full[end..]) };
            let mut out = Tensor::stale(&[outer, axis.inner])?;
            sums(out.data_mut(), gradient.data(), axis, 1.0);
            gradient = out;
        }
        at = end;
    }
    gradient.reshape(shape)
}
