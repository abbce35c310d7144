//! The parts of a softmax over one row.

use super::math::{exp, exp_of_small, tanh};
use super::reduce::{LANES, fold, pairwise};

/// The larger one; `b` when `a` is not a number.
#[expect(clippy::inline_always, reason = "must be compiled with the instruction set of its caller")]
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

leveled! {
    /// The largest element; negative infinity for none. NaN elements are passed over.
    pub(crate) fn largest(row: &[f32]) -> f32 {
        let mut lanes = [f32::NEG_INFINITY; LANES];
        let (row, rest) = row.as_chunks::<LANES>();
        for row in row {
            for lane in 0..LANES {
                lanes[lane] = larger(row[lane], lanes[lane]);
            }
        }
        for (lane, value) in lanes.iter_mut().zip(rest) {
            *lane = larger(*value, *lane);
        }
        pairwise(&lanes, larger)
    }
}

leveled! {
    /// Replaces each element `x` by `e^(scale x - shift)` and returns their sum.
    pub(crate) fn exponentials(row: &mut [f32], scale: f32, shift: f32) -> f32 {
        let mut lanes = [0.0_f32; LANES];
        let (row, rest) = row.as_chunks_mut::<LANES>();
        for row in row {
            for lane in 0..LANES {
                row[lane] = exp(row[lane] * scale - shift);
                lanes[lane] += row[lane];
            }
        }
        for (lane, value) in lanes.iter_mut().zip(rest) {
            *value = exp(*value * scale - shift);
            *lane += *value;
        }
        fold(&lanes)
    }
}

leveled! {
    /// The sum of `e^(x - shift)`.
    pub(crate) fn sum_of_exponentials(row: &[f32], shift: f32) -> f32 {
        let mut lanes = [0.0_f32; LANES];
        let (row, rest) = row.as_chunks::<LANES>();
        for row in row {
            for lane in 0..LANES {
                lanes[lane] += exp(row[lane] - shift);
            }
        }
        for (lane, value) in lanes.iter_mut().zip(rest) {
            *lane += exp(*value - shift);
        }
        lanes.iter().sum()
    }
}

leveled! {
    /// Replaces each pair of a probability `p` and its gradient `d` by `(p, p (d - shift) scale)`.
    pub(crate) fn probability_gradient(gradient: &mut [f32], probability: &[f32], shift: f32, scale: f32) {
        for (gradient, probability) in gradient.iter_mut().zip(probability) {
            *gradient = probability * (*gradient - shift) * scale;
        }
    }
}

leveled! {
    /// Takes `e^y total` from each gradient, where `y` is the log-probability.
    pub(crate) fn log_probability_gradient(gradient: &mut [f32], log_probability: &[f32], total: f32) {
        for (gradient, y) in gradient.iter_mut().zip(log_probability) {
            *gradient -= exp(*y) * total;
        }
    }
}

leveled! {
    /// `row *= factor`.
    pub(crate) fn scale_row(row: &mut [f32], factor: f32) {
        for value in row {
            *value *= factor;
        }
    }
}

leveled! {
    /// Replaces each element `x` by `cap tanh(x / cap)`.
    pub(crate) fn soft_cap(row: &mut [f32], cap: f32) {
        let inverse = 1.0 / cap;
        for value in row {
            *value = cap * tanh(*value * inverse);
        }
    }
}

leveled! {
    /// The same, and the slope `1 - tanh(x / cap)^2` at each element goes to `slopes`.
    pub(crate) fn soft_cap_slopes(row: &mut [f32], slopes: &mut [f32], cap: f32) {
        let inverse = 1.0 / cap;
        for (value, slope) in row.iter_mut().zip(slopes) {
            let t = tanh(*value * inverse);
            *value = cap * t;
            *slope = 1.0 - t * t;
        }
    }
}

/// Which columns of a tile each of its rows sees: row `i` those of `start + i .. end + i` that are among the first `columns`.
#[derive(Clone, Copy)]
pub(super) struct Band {
    pub start: isize,
    pub end: isize,
    pub columns: usize,
}

impl Band {
    #[expect(clippy::inline_always, reason = "must be compiled with the instruction set of its caller")]
    #[inline(always)]
    fn row(self, row: usize) -> (usize, usize) {
        let place = |at: isize| (at.saturating_add_unsigned(row)).clamp(0, self.columns as isize) as usize;
        (place(self.start), place(self.end).max(place(self.start)))
    }
}

leveled! {
    /// One step of a softmax over rows that come in tiles. Each row of `width` scores becomes `e^(score - top)`, 0 for
    /// those that it does not see, where `top` is the largest score of the row so far. When a row's `top` rises, what was
    /// summed up before, in `sums` and in the row of `result`, is scaled down.
    pub(super) fn online(
        scores: &mut [f32],
        width: usize,
        band: Band,
        tops: &mut [f32],
        sums: &mut [f32],
        result: &mut [f32],
    ) {
        let columns = result.len() / tops.len();
        for (row, scores) in scores.chunks_exact_mut(width).enumerate() {
            let (start, end) = band.row(row);
            scores[..start].fill(f32::NEG_INFINITY);
            scores[end..].fill(f32::NEG_INFINITY);
            let (wide, _) = scores.as_chunks_mut::<LANES>();
            if start == end {
                wide.as_flattened_mut().fill(0.0);
                continue;
            }
            let mut lanes = [tops[row]; LANES];
            for scores in &*wide {
                for lane in 0..LANES {
                    lanes[lane] = larger(scores[lane], lanes[lane]);
                }
            }
            let top = pairwise(&lanes, larger);
            let correction = exp_of_small(tops[row] - top);
            if correction < 1.0 {
                result[row * columns..(row + 1) * columns].iter_mut().for_each(|value| *value *= correction);
            }
            let mut lanes = [0.0_f32; LANES];
            for scores in wide {
                for lane in 0..LANES {
                    scores[lane] = exp_of_small(scores[lane] - top);
                    lanes[lane] += scores[lane];
                }
            }
            sums[row] = sums[row] * correction + fold(&lanes);
            tops[row] = top;
        }
    }
}

leveled! {
    /// Turns scores into probabilities `p = e^(score - normalizer)` and gradients `d` of those into gradients of the
    /// scores, `p (d - along) scale`; both are 0 where a row sees nothing.
    pub(super) fn online_gradient(
        scores: &mut [f32],
        gradients: &mut [f32],
        width: usize,
        band: Band,
        normalizers: &[f32],
        along: &[f32],
        scale: f32,
    ) {
        let rows = scores.chunks_exact_mut(width).zip(gradients.chunks_exact_mut(width));
        for (row, (scores, gradients)) in rows.enumerate() {
            let (start, end) = band.row(row);
            for (row, unseen) in [(&mut *scores, f32::NEG_INFINITY), (&mut *gradients, 0.0)] {
                row[..start].fill(unseen);
                row[end..].fill(unseen);
            }
            let (normalizer, along) = (normalizers[row], along[row]);
            let pairs = scores.as_chunks_mut::<LANES>().0.iter_mut().zip(gradients.as_chunks_mut::<LANES>().0);
            for (scores, gradients) in pairs {
                for lane in 0..LANES {
                    scores[lane] = exp_of_small(scores[lane] - normalizer);
                    gradients[lane] = scores[lane] * (gradients[lane] - along) * scale;
                }
            }
        }
    }
}
