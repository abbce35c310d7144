use std::ops::Range;

use metier_core::Result;

use super::refuse;
use crate::kernel::walk::{Walk, apply, place, row_major};
use crate::tape::{Pass, Record, Tape, Var};
use crate::tensor::{Sizes, Tensor};

/// The elements `start`, `start + step`, .. below `end` of one axis. A range is a span of step 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first.
    pub start: usize,
    /// Behind the last.
    pub end: usize,
    /// From one to the next, at least 1.
    pub step: usize,
}

impl From<Range<usize>> for Span {
    fn from(range: Range<usize>) -> Self {
        Self { start: range.start, end: range.end, step: 1 }
    }
}

/// A regular part of a row-major tensor.
pub(super) struct Part {
    /// The shape of the part.
    pub shape: Sizes,
    steps: Sizes,
    offset: usize,
}

impl Part {
    /// `spans` lie inside the shape `full`, one for each of the first axes; the other axes are whole.
    pub fn new(full: &[usize], spans: impl IntoIterator<Item = Span>) -> Self {
        let mut part = Self { shape: Sizes::from_slice(full), steps: row_major(full), offset: 0 };
        for ((size, steps), span) in part.shape.iter_mut().zip(&mut part.steps).zip(spans) {
            *size = (span.end - span.start).div_ceil(span.step);
            part.offset = part.offset.saturating_add(span.start.saturating_mul(*steps));
            *steps = steps.saturating_mul(span.step);
        }
        part
    }

    /// The part of `full`, by itself.
    pub fn of(&self, full: &Tensor) -> Result<Tensor> {
        let mut out = Tensor::stale(&self.shape)?;
        // An empty part may start behind the end.
        let values = full.data().get(self.offset..).unwrap_or_default();
        apply(out.data_mut(), &Walk::new(&self.shape, [&self.steps]), [values], |out, [x]| out.copy_from_slice(x));
        Ok(out)
    }

    /// Writes `values` to the part of `full`, or adds them there.
    pub fn put(&self, full: &mut [f32], values: &[f32], add: bool) {
        let full = full.get_mut(self.offset..).unwrap_or_default();
        place(full, &Walk::new(&self.shape, [&self.steps]), values, add);
    }
}

struct Slice {
    x: Var,
    part: Part,
}

/// The elements of `x` that lie in the span of each axis; axes behind the last span are whole.
///
/// Backward: `dy` goes to the elements that were taken, zero to the others. Refused for more spans than axes, a span
/// that ends before its start or behind its axis, and a step of 0.
pub fn slice(tape: &mut Tape<'_>, x: Var, spans: &[Span]) -> Result<Var> {
    let value = tape.value(x)?;
    let shape = value.shape();
    if spans.len() > shape.len() {
        return Err(refuse("slice", format!("{} spans are more than x {shape:?} has axes", spans.len())));
    }
    for (axis, (span, &size)) in spans.iter().zip(shape).enumerate() {
        if span.start > span.end || span.end > size || span.step == 0 {
            let Span { start, end, step } = span;
            let message = format!("{start}..{end} in steps of {step} is no span of axis {axis} of x {shape:?}");
            return Err(
                refuse("slice", message).hint("start <= end <= the size of the axis, and the step is at least 1")
            );
        }
    }
    let part = Part::new(shape, spans.iter().copied());
    let out = part.of(value)?;
    tape.push("slice", out, &[x], || Slice { x, part })
}

impl Record<'_> for Slice {
    fn backward(self, gradient: Tensor, pass: &mut Pass<'_, '_>) -> Result<()> {
        pass.accumulate_with(self.x, |out, add| {
            if !add {
                out.fill(0.0);
            }
            self.part.put(out, gradient.data(), add);
            Ok(())
        })
    }
}
