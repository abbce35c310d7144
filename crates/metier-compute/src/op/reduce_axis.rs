use metier_core::Result;

use super::{along, broadcast, refuse};
use crate::kernel::axis::{self, Axis};
use crate::kernel::elementwise::scale_in_place;
use crate::kernel::walk::apply;
use crate::tape::{Pass, Record, Tape, Var};
use crate::tensor::Tensor;

#[derive(Clone, Copy)]
enum Kind {
    Sum,
    Mean,
    Extreme { largest: bool },
    LogSum,
    Variance,
}

struct Reduce {
    x: Var,
    shape: Vec<usize>,
    axis: Axis,
    kind: Kind,
    /// `x`, and the output or, for a variance, the mean; not kept for sums.
    values: Option<[Tensor; 2]>,
}

/// `y = sum x` along `axis`, or over all elements where it is `None`; 0 where there are none. Added up in `f64`.
///
/// A dimension that was summed over stays with a size of one, so that the output stretches to `x` again.
/// Backward: `dx = dy`, stretched. Refused for an axis that `x` does not have.
pub fn sum_axis(tape: &mut Tape<'_>, x: Var, axis: impl Into<Option<usize>>) -> Result<Var> {
    forward(tape, "sum_axis", x, axis.into(), Kind::Sum)
}

/// `y = (sum x) / n` along `axis` of `n` elements; axis and shapes as [`sum_axis`].
///
/// Backward: `dx = dy / n`, stretched. Refused also where `n` is zero.
pub fn mean_axis(tape: &mut Tape<'_>, x: Var, axis: impl Into<Option<usize>>) -> Result<Var> {
    forward(tape, "mean_axis", x, axis.into(), Kind::Mean)
}

/// `y = max x` along `axis`, NaN where there is one; axis and shapes as [`sum_axis`].
///
/// Backward: `dy` goes to the first element that is the largest. Refused also where there are no elements.
pub fn max_axis(tape: &mut Tape<'_>, x: Var, axis: impl Into<Option<usize>>) -> Result<Var> {
    forward(tape, "max_axis", x, axis.into(), Kind::Extreme { largest: true })
}

/// `y = min x` along `axis`, NaN where there is one; axis and shapes as [`sum_axis`].
///
/// Backward: `dy` goes to the first element that is the smallest. Refused also where there are no elements.
pub fn min_axis(tape: &mut Tape<'_>, x: Var, axis: impl Into<Option<usize>>) -> Result<Var> {
    forward(tape, "min_axis", x, axis.into(), Kind::Extreme { largest: false })
}

/// `y = ln sum e^x` along `axis`, negative infinity where there is nothing; axis and shapes as [`sum_axis`].
///
/// The largest element is taken away first, so nothing overflows. Backward: `dx = e^(x - y) dy`, 0 where `y` is
/// an infinity.
pub fn log_sum_exp(tape: &mut Tape<'_>, x: Var, axis: impl Into<Option<usize>>) -> Result<Var> {
    forward(tape, "log_sum_exp", x, axis.into(), Kind::LogSum)
}

/// `y = mean((x - m)^2)` with `m = mean(x)` along `axis` of `n` elements; axis and shapes as [`sum_axis`].
///
/// The divisor is `n`, not `n - 1`. Backward: `dx = 2 (x - m) dy / n`. Refused also where `n` is zero.
pub fn variance_axis(tape: &mut Tape<'_>, x: Var, axis: impl Into<Option<usize>>) -> Result<Var> {
    forward(tape, "variance_axis", x, axis.into(), Kind::Variance)
}

fn forward(tape: &mut Tape<'_>, op: &'static str, x: Var, axis: Option<usize>, kind: Kind) -> Result<Var> {
    let value = tape.value(x)?.clone();
    let mut shape = value.shape().to_vec();
    let along = match axis {
        Some(at) => along(op, &shape, at)?,
        None => Axis { outer: 1, size: value.len(), inner: 1 },
    };
    if along.size == 0 && !matches!(kind, Kind::Sum | Kind::LogSum) {
        let place = axis.map_or_else(String::new, |axis| format!(" along axis {axis}"));
        return Err(refuse(op, format!("x {shape:?} has no elements{place}")));
    }
    match axis {
        Some(at) => shape[at] = 1,
        None => shape.fill(1),
    }
    let mut out = Tensor::stale(&shape)?;
    let count = along.size as f64;
    let mut second = None;
    match kind {
        Kind::Sum => axis::sums(out.data_mut(), value.data(), along, 1.0),
        Kind::Mean => axis::sums(out.data_mut(), value.data(), along, 1.0 / count),
        Kind::Extreme { largest } => axis::extremes(out.data_mut(), value.data(), along, largest),
        Kind::LogSum => axis::log_sums(out.data_mut(), value.data(), along),
        Kind::Variance => {
            let mut mean = Tensor::stale(&shape)?;
            axis::sums(mean.data_mut(), value.data(), along, 1.0 / count);
            let mut squares = Tensor::stale(value.shape())?;
            let walk = broadcast::walk([&value, &mean], value.shape());
            apply(squares.data_mut(), &walk, [value.data(), mean.data()], axis::squares_about);
            axis::sums(out.data_mut(), squares.data(), along, 1.0 / count);
            second = Some(mean);
        }
    }
    let second = second.unwrap_or_else(|| out.clone());
    tape.push(op, out, &[x], || {
        let shape = value.shape().to_vec();
        let values = (!matches!(kind, Kind::Sum | Kind::Mean)).then_some([value, second]);
        Reduce { x, shape, axis: along, kind, values }
    })
}

impl Record<'_> for Reduce {
    fn backward(self, mut gradient: Tensor, pass: &mut Pass<'_, '_>) -> Result<()> {
        let mut dx = Tensor::stale(&self.shape)?;
        let out = dx.data_mut();
        let count = self.axis.size as f32;
        let Some([x, second]) = &self.values else {
            if matches!(self.kind, Kind::Mean) {
                scale_in_place(gradient.data_mut(), 1.0 / count);
            }
            let walk = broadcast::walk([&gradient], &self.shape);
            apply(out, &walk, [gradient.data()], |out, [dy]| out.copy_from_slice(dy));
            return pass.accumulate(self.x, dx);
        };
        let walk = broadcast::walk([x, second, &gradient], x.shape());
        let operands = [x.data(), second.data(), gradient.data()];
        match self.kind {
            Kind::LogSum => apply(out, &walk, operands, axis::log_sum_gradients),
            Kind::Variance => {
                apply(out, &walk, operands, |out, operands| axis::square_gradients(out, operands, 2.0 / count));
            }
            Kind::Extreme { .. } | Kind::Sum | Kind::Mean => axis::extreme_gradients(out, operands, self.axis),
        }
        pass.accumulate(self.x, dx)
    }
}
