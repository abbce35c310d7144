use metier_core::Result;
use smallvec::SmallVec;

use super::low_rank_linear::Kept;
use super::{Projection, linear, mismatch, swiglu};
use crate::kernel::Precision;
use crate::kernel::feed_forward::{self, Weights};
use crate::kernel::matmul::Matrix;
use crate::kernel::matmul::bf16::{Packed, multiply_packed};
use crate::tape::{Pass, Record, Tape, Var};
use crate::tensor::{Shared, Tensor};

const OP: &str = "gated_feed_forward";

/// The weights of [`gated_feed_forward`].
#[derive(Debug, Clone, Copy)]
pub struct GatedFeedForward {
    /// `[F, D]`.
    pub gate: Projection,
    /// `[F, D]`.
    pub up: Projection,
    /// `[O, F]`.
    pub down: Projection,
}

struct Fused {
    x: (Var, Shared<Packed>),
    gate: Kept,
    up: Kept,
    down: Kept,
}

/// `y = (silu(x gate^T) (x up^T)) down^T`, with low-rank additions to the weights where they have one.
///
/// `x` is `[N, D]`, the output `[N, O]`. In `f32` it is the composition of [`linear`](super::linear()) or [`low_rank_linear`](super::low_rank_linear()) and
/// [`swiglu`]. In `bf16` the inner values exist for a tile at a time and are computed again by backward, which keeps
/// `x` only; an addition of low rank is added to its weight first, and `dW = dy^T x` gives `da = scale b^T dW` and
/// `db = scale dW a^T`.
pub fn gated_feed_forward(tape: &mut Tape<'_>, x: Var, weights: &GatedFeedForward) -> Result<Var> {
    let GatedFeedForward { gate, up, down } = *weights;
    // Weights in blocks are not made whole only to be read once.
    let weight = tape.value(gate.weight)?;
    let is_stored = linear::stored(tape, weight).is_some() || weight.nf4().is_some();
    if tape.precision() == Precision::F32 || is_stored {
        let gate = gate.forward(tape, x)?;
        let up = up.forward(tape, x)?;
        let inner = swiglu(tape, gate, up)?;
        return down.forward(tape, inner);
    }
    let (rows, inputs) = tape.matrix(OP, "x", x)?;
    let [gate, up, down] = [gate, up, down].map(|projection| Kept::new(tape, OP, projection));
    let (gate, up, down) = (gate?, up?, down?);
    let (inner, outputs) = (gate.size().0, down.size().0);
    for (name, kept, size) in
        [("gate", &gate, (inner, inputs)), ("up", &up, (inner, inputs)), ("down", &down, (outputs, inner))]
    {
        if kept.size() != size {
            let (x, weight) = (tape.shape(x)?, [kept.size().0, kept.size().1]);
            let rule = "x is [rows, inputs], gate and up [inner, inputs], down [outputs, inner]";
            return Err(mismatch(OP, ("x", x), (name, &weight), rule));
        }
    }
    let packed = tape.packed(OP, "x", x)?;
    let mut out = Tensor::stale(&[rows, outputs])?;
    let whole = [gate.whole()?, up.whole()?, down.whole()?];
    feed_forward::forward(out.data_mut(), &packed, matrices(&whole));
    drop(whole);
    let projections = [&gate, &up, &down].into_iter();
    let inputs: SmallVec<[Var; 10]> = std::iter::once(x).chain(projections.flat_map(Kept::vars)).collect();
    tape.push(OP, out, &inputs, || Fused { x: (x, packed), gate, up, down })
}

fn matrices([gate, up, down]: &[Tensor; 3]) -> Weights<'_> {
    let [gate, up, down] =
        [gate, up, down].map(|weight| Matrix::new(weight.data(), weight.shape()[0], weight.shape()[1]));
    Weights { gate, up, down }
}

impl Record<'_> for Fused {
    fn backward(self, gradient: Tensor, pass: &mut Pass<'_, '_>) -> Result<()> {
        let Self { x: (x, packed), gate, up, down } = self;
        let (rows, outputs) = (gradient.shape()[0], gradient.shape()[1]);
        let wanted = [&gate, &up, &down].iter().any(|kept| kept.vars().any(|var| pass.needs(var)));
        let dy = Matrix::new(gradient.data(), rows, outputs);
        let mut dx = Tensor::stale(&[rows, packed.depth()])?;
        let whole = [gate.whole()?, up.whole()?, down.whole()?];
        let inner = feed_forward::backward(dx.data_mut(), &packed, dy, matrices(&whole), wanted);
        drop(whole);
        if let Some(inner) = inner {
            let turned = packed.turned();
            gate.accumulate(pass, |out, add| multiply_packed(out, &inner.gate, turned, 1.0, add))?;
            up.accumulate(pass, |out, add| multiply_packed(out, &inner.up, turned, 1.0, add))?;
            let dy = Packed::left(dy.transposed());
            down.accumulate(pass, |out, add| multiply_packed(out, &dy, &inner.joined, 1.0, add))?;
        }
        drop(gradient);
        pass.accumulate(x, dx)
    }
}
