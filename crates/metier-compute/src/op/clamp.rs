use metier_core::Result;

use super::refuse;
use crate::kernel::walk::{Walk, apply};
use crate::tape::{Pass, Record, Tape, Var};
use crate::tensor::Tensor;

struct Clamp {
    x: Var,
    value: Tensor,
    low: f32,
    high: f32,
}

leveled! {
    fn clamped(out: &mut [f32], x: &[f32], low: f32, high: f32) {
        for (out, x) in out.iter_mut().zip(x) {
            let above = if *x < low { low } else { *x };
            *out = if above > high { high } else { above };
        }
    }
}

leveled! {
    fn keep_inside(out: &mut [f32], x: &[f32], dy: &[f32], low: f32, high: f32) {
        for ((out, x), dy) in out.iter_mut().zip(x).zip(dy) {
            *out = if *x >= low && *x <= high { *dy } else { 0.0 };
        }
    }
}

/// `y = min(max(x, low), high)`, any shape; NaN stays. An infinity leaves a side open.
///
/// Backward: `dx` is `dy` where `low <= x <= high`, 0 elsewhere. Refused unless `low <= high`.
pub fn clamp(tape: &mut Tape<'_>, x: Var, low: f32, high: f32) -> Result<Var> {
    let value = tape.value(x)?.clone();
    if low.is_nan() || high.is_nan() || low > high {
        return Err(refuse("clamp", format!("x {:?} has no place between {low} and {high}", value.shape())));
    }
    let mut out = Tensor::stale(value.shape())?;
    let walk = Walk::new(&[value.len()], [&[1]]);
    apply(out.data_mut(), &walk, [value.data()], |out, [x]| clamped(out, x, low, high));
    tape.push("clamp", out, &[x], || Clamp { x, value, low, high })
}

impl Record<'_> for Clamp {
    fn backward(self, gradient: Tensor, pass: &mut Pass<'_, '_>) -> Result<()> {
        let mut out = Tensor::stale(gradient.shape())?;
        let walk = Walk::new(&[gradient.len()], [&[1], &[1]]);
        apply(out.data_mut(), &walk, [self.value.data(), gradient.data()], |out, [x, dy]| {
            keep_inside(out, x, dy, self.low, self.high);
        });
        pass.accumulate(self.x, out)
    }
}
