use metier_core::Result;

use super::mismatch;
use crate::kernel::elementwise;
use crate::tape::{Pass, Record, Tape, Var};
use crate::tensor::Tensor;

struct Swiglu {
    gate: (Var, Tensor),
    up: (Var, Tensor),
}

/// `y = silu(gate) up` with `silu(g) = g s(g)` and `s(g) = 1 / (1 + e^-g)`, all of one shape.
///
/// Backward: `dgate = dy up s (1 + g (1 - s))`, `dup = dy g s`; `s` is computed again.
pub fn swiglu(tape: &mut Tape<'_>, gate: Var, up: Var) -> Result<Var> {
    let (g, u) = (tape.value(gate)?.clone(), tape.value(up)?.clone());
    if g.shape() != u.shape() {
        return Err(mismatch("swiglu", ("gate", g.shape()), ("up", u.shape()), "the shapes must be equal"));
    }
    let mut out = Tensor::stale(g.shape())?;
    elementwise::swiglu(out.data_mut(), g.data(), u.data());
    tape.push("swiglu", out, &[gate, up], || Swiglu { gate: (gate, g), up: (up, u) })
}

impl Record<'_> for Swiglu {
    fn backward(self, gradient: Tensor, pass: &mut Pass<'_, '_>) -> Result<()> {
        let ((gate, g), (up, u)) = (&self.gate, &self.up);
        let mut d_gate = Tensor::stale(g.shape())?;
        let mut d_up = Tensor::stale(u.shape())?;
        elementwise::swiglu_both(d_gate.data_mut(), d_up.data_mut(), g.data(), u.data(), gradient.data());
        drop(gradient);
        pass.accumulate(*gate, d_gate)?;
        pass.accumulate(*up, d_up)
    }
}
