//! Walks over the elements of a shape through operands that lie in memory in any regular way.

use std::ops::Range;

use super::threads::chunks;
use crate::tensor::Sizes;
use smallvec::SmallVec;

/// Elements in one piece of work.
const PIECE: usize = 1 << 14;
/// The longest run of an operand that is not contiguous.
const RUN: usize = 1 << 9;
/// Runs below this length are worked on together.
const SHORT: usize = 1 << 6;

/// The number of elements of a shape.
pub(crate) fn count(shape: &[usize]) -> usize {
    shape.iter().fold(1, |product, &size| product.saturating_mul(size))
}

/// The distance between neighbors along each dimension of a row-major tensor.
pub(crate) fn row_major(shape: &[usize]) -> Sizes {
    let mut steps = Sizes::from_elem(1, shape.len());
    for at in (1..shape.len()).rev() {
        steps[at - 1] = steps[at].saturating_mul(shape[at]);
    }
    steps
}

/// A shape, walked the last dimension fastest, and how far `N` operands move along each dimension.
pub(crate) struct Walk<const N: usize> {
    sizes: Sizes,
    steps: SmallVec<[[usize; N]; 6]>,
}

impl<const N: usize> Walk<N> {
    /// Each of `steps` has one distance for each dimension of `shape`; 0 reads the same element again.
    pub fn new(shape: &[usize], steps: [&[usize]; N]) -> Self {
        let mut walk = Self { sizes: Sizes::new(), steps: SmallVec::new() };
        for (at, &size) in shape.iter().enumerate().filter(|(_, size)| **size != 1) {
            let step = steps.map(|steps| steps[at]);
            match walk.steps.last_mut() {
                // The dimension before goes on where this one ends, so that both are one.
                Some(outer) if outer.iter().zip(step).all(|(outer, step)| *outer == step.saturating_mul(size)) => {
                    *outer = step;
                    let last = walk.sizes.len() - 1;
                    walk.sizes[last] = walk.sizes[last].saturating_mul(size);
                }
                _ => {
                    walk.sizes.push(size);
                    walk.steps.push(step);
                }
            }
        }
        if walk.sizes.is_empty() {
            walk.sizes.push(1);
            walk.steps.push([1; N]);
        }
        walk
    }

    /// How far each operand moves from one element of a run to the next.
    fn inner(&self) -> [usize; N] {
        self.steps.last().copied().unwrap_or([1; N])
    }

    /// Cuts the elements `range` into runs and gives `work` each of them with the place of its first element
    /// in each operand.
    fn runs(&self, range: Range<usize>, mut work: impl FnMut(Range<usize>, [usize; N])) {
        if range.is_empty() {
            return;
        }
        // Runs that are copied must fit the buffers.
        let limit = if self.inner() == [1; N] { usize::MAX } else { RUN };
        let last = self.sizes.len() - 1;
        let mut place = Sizes::from_elem(0, last + 1);
        let mut from = [0; N];
        let mut rest = range.start;
        for dimension in (0..=last).rev() {
            place[dimension] = rest % self.sizes[dimension];
            rest /= self.sizes[dimension];
            advance(&mut from, self.steps[dimension], place[dimension]);
        }
        let mut at = range.start;
        while at < range.end {
            let length = (self.sizes[last] - place[last]).min(range.end - at).min(limit);
            work(at..at + length, from);
            at += length;
            place[last] += length;
            advance(&mut from, self.steps[last], length);
            let mut dimension = last;
            while dimension > 0 && place[dimension] == self.sizes[dimension] {
                for (from, step) in from.iter_mut().zip(self.steps[dimension]) {
                    *from -= step * self.sizes[dimension];
                }
                place[dimension] = 0;
                dimension -= 1;
                place[dimension] += 1;
                advance(&mut from, self.steps[dimension], 1);
            }
        }
    }
}

fn advance<const N: usize>(from: &mut [usize; N], step: [usize; N], count: usize) {
    for (from, step) in from.iter_mut().zip(step) {
        *from += step * count;
    }
}

/// Runs `work` on pieces of `out`, which the walk covers, and the elements of the operands that belong to them.
///
/// What is not contiguous in an operand is copied first, so `work` sees slices of one length; short runs are copied
/// together.
pub(crate) fn apply<const N: usize>(
    out: &mut [f32],
    walk: &Walk<N>,
    operands: [&[f32]; N],
    work: impl Fn(&mut [f32], [&[f32]; N]) + Sync,
) {
    let total = out.len();
    let inner = walk.inner();
    let short = walk.sizes.last().is_some_and(|&size| size < SHORT && size < total);
    chunks(out, PIECE, total, |index, out| {
        let start = index * PIECE;
        let mut buffers = [[0.0_f32; RUN]; N];
        if !short {
            walk.runs(start..start + out.len(), |at, from| {
                let length = at.len();
                let mut operand = 0..N;
                let slices = buffers.each_mut().map(|buffer| {
                    let n = operand.next().unwrap_or(0);
                    let values = &operands[n][from[n]..];
                    if inner[n] == 1 { &values[..length] } else { copy(&mut buffer[..length], values, inner[n]) }
                });
                work(&mut out[at.start - start..at.end - start], slices);
            });
            return;
        }
        let (mut done, mut held) = (0, 0);
        walk.runs(start..start + out.len(), |at, from| {
            let length = at.len();
            if held + length > RUN {
                work(&mut out[done..done + held], buffers.each_ref().map(|buffer| &buffer[..held]));
                (done, held) = (done + held, 0);
            }
            for n in 0..N {
                copy(&mut buffers[n][held..held + length], &operands[n][from[n]..], inner[n]);
            }
            held += length;
        });
        work(&mut out[done..done + held], buffers.each_ref().map(|buffer| &buffer[..held]));
    });
}

/// Fills `buffer` with elements of `values` that are `step` apart.
#[inline]
fn copy<'a>(buffer: &'a mut [f32], values: &[f32], step: usize) -> &'a [f32] {
    match step {
        0 => buffer.fill(values[0]),
        1 => buffer.copy_from_slice(&values[..buffer.len()]),
        _ => buffer.iter_mut().zip(values.iter().step_by(step)).for_each(|(buffer, value)| *buffer = *value),
    }
    buffer
}

/// Writes `values`, which the walk covers, to their places in `out`, or adds them there.
pub(crate) fn place(out: &mut [f32], walk: &Walk<1>, values: &[f32], add: bool) {
    let [step] = walk.inner();
    walk.runs(0..values.len(), |at, [to]| {
        let values = &values[at];
        match (step, add) {
            (1, false) => out[to..to + values.len()].copy_from_slice(values),
            (1, true) => super::elementwise::add_scaled(&mut out[to..to + values.len()], values, 1.0),
            (_, false) => out[to..].iter_mut().step_by(step).zip(values).for_each(|(out, value)| *out = *value),
            (_, true) => out[to..].iter_mut().step_by(step).zip(values).for_each(|(out, value)| *out += *value),
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dimensions_that_lie_end_to_end_are_one() {
        assert_eq!(Walk::new(&[2, 3, 4], [&[12, 4, 1], &[12, 4, 1]]).sizes.as_slice(), [24]);
        assert_eq!(Walk::new(&[2, 3, 4], [&[12, 4, 1], &[0, 0, 1]]).sizes.as_slice(), [6, 4]);
        assert_eq!(Walk::new(&[2, 1, 4], [&[4, 4, 1]]).sizes.as_slice(), [8]);
        assert_eq!(Walk::new(&[1, 1], [&[1, 1]]).sizes.as_slice(), [1]);
    }

    #[test]
    fn a_walk_may_start_anywhere() {
        let walk = Walk::new(&[3, 5, 7], [&[1, 3, 15], &[0, 1, 0]]);
        for start in 0..105 {
            let mut found = Vec::new();
            walk.runs(start..105, |at, from| {
                found.extend((0..at.len()).map(|step| [from[0] + 15 * step, from[1]]));
            });
            let want: Vec<_> = (start..105).map(|at| [at / 35 + at / 7 % 5 * 3 + at % 7 * 15, at / 7 % 5]).collect();
            assert_eq!(found, want, "{start}");
        }
    }
}
