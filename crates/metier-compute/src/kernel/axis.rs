//! Loops along one axis of values seen as `[outer, size, inner]`.

use super::math::exp;
use super::threads::{chunks, piece};
use super::{reduce, softmax};

/// Elements of an output that one piece of work covers.
const COLUMNS: usize = 256;
/// Elements that one piece of work of several blocks covers at least.
const PIECE: usize = 1 << 12;
const LANES: usize = 16;

/// The extents before, along and behind one axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Axis {
    pub outer: usize,
    pub size: usize,
    pub inner: usize,
}

leveled! {
    fn add_wide(sums: &mut [f64], row: &[f32]) {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += f64::from(*value);
        }
    }
}

/// `out = factor sum` over the axis, each sum in `f64`.
pub(crate) fn sums(out: &mut [f32], values: &[f32], axis: Axis, factor: f64) {
    let Axis { outer, size, inner } = axis;
    let steps = values.len();
    if inner == 1 && outer == 1 {
        out.fill((reduce::sum_wide(values) * factor) as f32);
    } else if inner == 1 {
        chunks(out, reduce::ROWS, steps, |index, out| {
            let rows = piece(index, reduce::ROWS, outer);
            for (out, row) in out.iter_mut().zip(rows) {
                let row = &values[row * size..(row + 1) * size];
                // A short row is added up before its lanes would be.
                let sum = if size < LANES { row.iter().copied().map(f64::from).sum() } else { reduce::wide_sum(row) };
                *out = (sum * factor) as f32;
            }
        });
    } else {
        by_columns(out, inner, steps, |outer, columns, out| {
            let mut sums = [0.0; COLUMNS];
            let sums = &mut sums[..out.len()];
            for row in outer * size..(outer + 1) * size {
                add_wide(sums, &values[row * inner + columns..][..out.len()]);
            }
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = (*sum * factor) as f32;
            }
        });
    }
}

/// Cuts `out`, seen as rows of `inner`, into pieces of at most [`COLUMNS`] elements, none across two rows, and runs
/// `work` on each with its row and its first column.
fn by_columns(out: &mut [f32], inner: usize, steps: usize, work: impl Fn(usize, usize, &mut [f32]) + Sync) {
    chunks(out, COLUMNS, steps, |index, mut out| {
        let mut at = index * COLUMNS;
        while !out.is_empty() {
            let column = at % inner;
            let (part, rest) = out.split_at_mut((inner - column).min(out.len()));
            work(at / inner, column, part);
            at += part.len();
            out = rest;
        }
    });
}

/// Runs `work` on each block of `length` elements of `out` with its index; small blocks share a piece of work.
pub(crate) fn by_blocks<T: Send>(out: &mut [T], length: usize, steps: usize, work: impl Fn(usize, &mut [T]) + Sync) {
    let length = length.max(1);
    let blocks = PIECE.div_ceil(length);
    chunks(out, length * blocks, steps, |index, out| {
        for (block, out) in out.chunks_mut(length).enumerate() {
            work(index * blocks + block, out);
        }
    });
}

#[expect(clippy::inline_always, reason = "must be compiled with the instruction set of its caller")]
#[inline(always)]
fn keep_extreme(best: &mut [f32], row: &[f32], largest: bool) {
    let keep = |best: &mut [f32], better: fn(&f32, &f32) -> bool| {
        for (best, x) in best.iter_mut().zip(row) {
            *best = if better(x, best) || x.is_nan() { *x } else { *best };
        }
    };
    if largest { keep(best, |x, best| x > best) } else { keep(best, |x, best| x < best) }
}

leveled! {
    /// Replaces each element by that of the row where it is larger, or smaller; NaN wins.
    pub(crate) fn column_extremes(best: &mut [f32], row: &[f32], largest: bool) {
        keep_extreme(best, row, largest);
    }
}

leveled! {
    fn row_extreme(row: &[f32], largest: bool) -> f32 {
        let mut lanes = [if largest { f32::NEG_INFINITY } else { f32::INFINITY }; LANES];
        let (full, rest) = row.as_chunks::<LANES>();
        for row in full {
            keep_extreme(&mut lanes, row, largest);
        }
        keep_extreme(&mut lanes, rest, largest);
        let mut best = [lanes[0]];
        for lane in lanes {
            keep_extreme(&mut best, &[lane], largest);
        }
        best[0]
    }
}

/// The largest or the smallest element along the axis; NaN when there is one.
pub(crate) fn extremes(out: &mut [f32], values: &[f32], axis: Axis, largest: bool) {
    let Axis { size, inner, .. } = axis;
    if inner == 1 {
        by_blocks(out, 1, values.len(), |row, out| {
            out[0] = row_extreme(&values[row * size..(row + 1) * size], largest);
        });
        return;
    }
    by_columns(out, inner, values.len(), |outer, column, out| {
        out.fill(if largest { f32::NEG_INFINITY } else { f32::INFINITY });
        for row in outer * size..(outer + 1) * size {
            column_extremes(out, &values[row * inner + column..][..out.len()], largest);
        }
    });
}

/// True for an element that made an extreme what it is.
#[expect(clippy::inline_always, reason = "must be compiled with the instruction set of its caller")]
#[expect(clippy::float_cmp, reason = "an extreme is one of the elements")]
#[inline(always)]
pub(crate) fn meets(x: f32, extreme: f32) -> bool {
    x == extreme || x.is_nan()
}

leveled! {
    /// Moves the share of each column to the row where it meets its extreme, once.
    fn hand_out(dx: &mut [f32], x: &[f32], y: &[f32], share: &mut [f32]) {
        for (((dx, x), y), share) in dx.iter_mut().zip(x).zip(y).zip(share) {
            let hit = meets(*x, *y);
            *dx = if hit { *share } else { 0.0 };
            *share = if hit { 0.0 } else { *share };
        }
    }
}

/// Gives `dy` to the first element along the axis that equals `y`, or is NaN, and zero to the others.
pub(crate) fn extreme_gradients(dx: &mut [f32], [x, y, dy]: [&[f32]; 3], axis: Axis) {
    let Axis { size, inner, .. } = axis;
    by_blocks(dx, size * inner, x.len(), |outer, dx| {
        let x = &x[outer * size * inner..][..dx.len()];
        let y = &y[outer * inner..(outer + 1) * inner];
        let dy = &dy[outer * inner..(outer + 1) * inner];
        if inner == 1 {
            dx.fill(0.0);
            if let Some(first) = x.iter().position(|x| meets(*x, y[0])) {
                dx[first] = dy[0];
            }
            return;
        }
        let mut share = dy.to_vec();
        for (dx, x) in dx.chunks_exact_mut(inner).zip(x.chunks_exact(inner)) {
            hand_out(dx, x, y, &mut share);
        }
    });
}

leveled! {
    fn add_exponentials(sums: &mut [f64], row: &[f32], shift: &[f32]) {
        for ((sum, x), shift) in sums.iter_mut().zip(row).zip(shift) {
            *sum += f64::from(exp(x - shift));
        }
    }
}

/// `ln sum e^x` along the axis; negative infinity where there is nothing to add.
pub(crate) fn log_sums(out: &mut [f32], values: &[f32], axis: Axis) {
    let Axis { size, inner, .. } = axis;
    // An infinity cannot be taken away from itself.
    let shift = |largest: f32| if largest.is_finite() { largest } else { 0.0 };
    extremes(out, values, axis, true);
    let steps = values.len() * 8;
    if inner == 1 {
        by_blocks(out, 1, steps, |row, out| {
            let shift = shift(out[0]);
            out[0] = shift + softmax::sum_of_exponentials(&values[row * size..(row + 1) * size], shift).ln();
        });
        return;
    }
    by_columns(out, inner, steps, |outer, column, out| {
        let mut sums = [0.0; COLUMNS];
        for out in out.iter_mut() {
            *out = shift(*out);
        }
        for row in outer * size..(outer + 1) * size {
            add_exponentials(&mut sums, &values[row * inner + column..][..out.len()], out);
        }
        for (out, sum) in out.iter_mut().zip(sums) {
            *out += sum.ln() as f32;
        }
    });
}

leveled! {
    /// Takes `e^(x - y) dy`; nothing where `y` is an infinity.
    pub(crate) fn log_sum_gradients(out: &mut [f32], operands: [&[f32]; 3]) {
        let [x, y, dy] = operands;
        for (((out, x), y), dy) in out.iter_mut().zip(x).zip(y).zip(dy) {
            *out = if y.is_finite() { exp(x - y) * dy } else { 0.0 };
        }
    }
}

leveled! {
    /// `out = (x - m)^2`.
    pub(crate) fn squares_about(out: &mut [f32], operands: [&[f32]; 2]) {
        let [x, m] = operands;
        for ((out, x), m) in out.iter_mut().zip(x).zip(m) {
            *out = (x - m) * (x - m);
        }
    }
}

leveled! {
    /// `out = factor (x - m) dy`.
    pub(crate) fn square_gradients(out: &mut [f32], operands: [&[f32]; 3], factor: f32) {
        let [x, m, dy] = operands;
        for (((out, x), m), dy) in out.iter_mut().zip(x).zip(m).zip(dy) {
            *out = factor * (x - m) * dy;
        }
    }
}

leveled! {
    fn add_row(out: &mut [f32], row: &[f32], sums: &mut [f64]) {
        for ((out, x), sum) in out.iter_mut().zip(row).zip(sums) {
            *sum += f64::from(*x);
            *out = *sum as f32;
        }
    }
}

/// The sum of the elements up to each one along the axis, from the end on when `backward`; added up in `f64`.
pub(crate) fn running_sums(out: &mut [f32], values: &[f32], axis: Axis, backward: bool) {
    let Axis { size, inner, .. } = axis;
    by_blocks(out, size * inner, values.len(), |outer, out| {
        let values = &values[outer * size * inner..][..out.len()];
        if inner == 1 {
            let mut sum = 0.0;
            let mut add = |(out, x): (&mut f32, &f32)| {
                sum += f64::from(*x);
                *out = sum as f32;
            };
            let elements = out.iter_mut().zip(values);
            return if backward { elements.rev().for_each(&mut add) } else { elements.for_each(add) };
        }
        let mut sums = vec![0.0; inner];
        let rows = out.chunks_exact_mut(inner).zip(values.chunks_exact(inner));
        if backward {
            rows.rev().for_each(|(out, row)| add_row(out, row, &mut sums));
        } else {
            rows.for_each(|(out, row)| add_row(out, row, &mut sums));
        }
    });
}
