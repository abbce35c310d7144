use metier_core::Result;

use super::refuse;
use crate::kernel::axis::{by_blocks, column_extremes, meets};
use crate::kernel::elementwise;
use crate::tape::{Pass, Record, Tape, Var};
use crate::tensor::Tensor;

struct Pool {
    x: Var,
    shape: Vec<usize>,
    window: usize,
    stride: usize,
    /// `x` and the output of a maximum; an average needs neither.
    values: Option<[Tensor; 2]>,
}

/// `y[.., t] = max of x[.., t stride + w] over w < window`; NaN where there is one.
///
/// The output is `[.., (T - window) / stride + 1]`, rounded down; `pad` with negative infinity comes first where the
/// ends count. Backward: `dy` goes to the first element of the window that is the largest. Refused for a scalar, a
/// window or stride of 0, and a window longer than the last dimension `T` (an empty one gives an empty output).
pub fn max_pool1d(tape: &mut Tape<'_>, x: Var, window: usize, stride: usize) -> Result<Var> {
    forward(tape, "max_pool1d", x, [window, stride], true)
}

/// `y[.., t] = mean of x[.., t stride + w] over w < window`; shapes and refusals as [`max_pool1d`].
///
/// Backward: each element of the window gets `dy / window` added.
pub fn average_pool1d(tape: &mut Tape<'_>, x: Var, window: usize, stride: usize) -> Result<Var> {
    forward(tape, "average_pool1d", x, [window, stride], false)
}

fn forward(tape: &mut Tape<'_>, op: &'static str, x: Var, [window, stride]: [usize; 2], largest: bool) -> Result<Var> {
    let value = tape.value(x)?.clone();
    let mut shape = value.shape().to_vec();
    let positions = match value.shape().last() {
        Some(&length) if window > 0 && stride > 0 && window <= length => (length - window) / stride + 1,
        Some(0) if window > 0 && stride > 0 => 0,
        _ => {
            let message = format!("a window of {window} in steps of {stride} has no place in the last of x {shape:?}");
            return Err(refuse(op, message));
        }
    };
    let length = shape.pop().unwrap_or(0);
    shape.push(positions);
    let mut out = Tensor::stale(&shape)?;
    let steps = out.len().saturating_mul(window);
    let values = value.data();
    by_blocks(out.data_mut(), positions, steps, |row, out| {
        out.fill(if largest { f32::NEG_INFINITY } else { 0.0 });
        let x = &values[row * length..(row + 1) * length];
        for at in 0..window {
            let x = &x[at..];
            match (largest, stride) {
                (true, 1) => column_extremes(out, x, true),
                (true, _) => {
                    for (out, x) in out.iter_mut().zip(x.iter().step_by(stride)) {
                        *out = if *x > *out || x.is_nan() { *x } else { *out };
                    }
                }
                (false, 1) => elementwise::add_scaled(out, x, 1.0),
                (false, _) => out.iter_mut().zip(x.iter().step_by(stride)).for_each(|(out, x)| *out += x),
            }
        }
        if !largest {
            for out in out.iter_mut() {
                *out /= window as f32;
            }
        }
    });
    let kept = out.clone();
    tape.push(op, out, &[x], || {
        let shape = value.shape().to_vec();
        Pool { x, shape, window, stride, values: largest.then_some([value, kept]) }
    })
}

impl Record<'_> for Pool {
    fn backward(self, gradient: Tensor, pass: &mut Pass<'_, '_>) -> Result<()> {
        let Self { window, stride, .. } = self;
        let length = self.shape.last().copied().unwrap_or(0);
        let positions = gradient.shape().last().copied().unwrap_or(0);
        pass.accumulate_with(self.x, |out, add| {
            let steps = gradient.len().saturating_mul(window);
            by_blocks(out, length, steps, |row, out| {
                if !add {
                    out.fill(0.0);
                }
                let own = row * positions..(row + 1) * positions;
                let dy = &gradient.data()[own.clone()];
                if let Some([x, y]) = &self.values {
                    let x = &x.data()[row * length..(row + 1) * length];
                    for (at, (dy, y)) in dy.iter().zip(&y.data()[own]).enumerate() {
                        let x = &x[at * stride..at * stride + window];
                        if let Some(first) = x.iter().position(|x| meets(*x, *y)) {
                            out[at * stride + first] += dy;
                        }
                    }
                    return;
                }
                for at in 0..window {
                    let (out, share) = (&mut out[at..], 1.0 / window as f32);
                    if stride == 1 {
                        elementwise::add_scaled(out, dy, share);
                    } else {
                        out.iter_mut().step_by(stride).zip(dy).for_each(|(out, dy)| *out += dy * share);
                    }
                }
            });
            Ok(())
        })
    }
}
