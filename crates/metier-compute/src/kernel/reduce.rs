//! Sums in a fixed order.

use super::threads::{chunks, piece};

/// Rows that one partial sum covers.
pub(crate) const ROWS: usize = 64;
/// Sums that run side by side.
pub(super) const LANES: usize = 16;
/// Elements of one partial sum of [`sum_of_squares`].
const PIECE: usize = 1 << 16;

leveled! {
    /// `sum a b`, in sixteen lanes that are added pairwise at the end.
    pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
        let length = a.len().min(b.len());
        let (a, b) = (&a[..length], &b[..length]);
        let mut lanes = [0.0_f32; LANES];
        let (a, a_rest) = a.as_chunks::<LANES>();
        let (b, b_rest) = b.as_chunks::<LANES>();
        for (a, b) in a.iter().zip(b) {
            for lane in 0..LANES {
                lanes[lane] += a[lane] * b[lane];
            }
        }
        for (lane, (a, b)) in lanes.iter_mut().zip(a_rest.iter().zip(b_rest)) {
            *lane += a * b;
        }
        fold(&lanes)
    }
}

leveled! {
    /// `sum a`, as [`dot`].
    pub(crate) fn sum(a: &[f32]) -> f32 {
        let mut lanes = [0.0_f32; LANES];
        let (a, rest) = a.as_chunks::<LANES>();
        for a in a {
            for lane in 0..LANES {
                lanes[lane] += a[lane];
            }
        }
        for (lane, a) in lanes.iter_mut().zip(rest) {
            *lane += a;
        }
        fold(&lanes)
    }
}

leveled! {
    fn squares(a: &[f32]) -> f64 {
        let mut lanes = [0.0_f64; LANES];
        let (a, rest) = a.as_chunks::<LANES>();
        for a in a {
            for lane in 0..LANES {
                lanes[lane] += f64::from(a[lane]) * f64::from(a[lane]);
            }
        }
        for (lane, a) in lanes.iter_mut().zip(rest) {
            *lane += f64::from(*a) * f64::from(*a);
        }
        lanes.iter().sum()
    }
}

leveled! {
    /// The sum of `a` in `f64`, on one thread.
    pub(crate) fn wide_sum(a: &[f32]) -> f64 {
        let mut lanes = [0.0_f64; LANES];
        let (a, rest) = a.as_chunks::<LANES>();
        for a in a {
            for lane in 0..LANES {
                lanes[lane] += f64::from(a[lane]);
            }
        }
        for (lane, a) in lanes.iter_mut().zip(rest) {
            *lane += f64::from(*a);
        }
        lanes.iter().sum()
    }
}

/// The sum of all lanes, added pairwise.
#[expect(clippy::inline_always, reason = "must be compiled with the instruction set of its caller")]
#[inline(always)]
pub(super) fn fold(lanes: &[f32; LANES]) -> f32 {
    pairwise(lanes, |a, b| a + b)
}

/// All lanes taken together, pairwise.
#[expect(clippy::inline_always, reason = "must be compiled with the instruction set of its caller")]
#[inline(always)]
pub(super) fn pairwise(lanes: &[f32; LANES], together: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = *lanes;
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] = together(lanes[lane], lanes[lane + width]);
        }
        width /= 2;
    }
    lanes[0]
}

/// The sum of the squares of `values` in `f64`.
pub(crate) fn sum_of_squares(values: &[f32]) -> f64 {
    in_pieces(values, squares)
}

/// The sum of `values` in `f64`.
pub(crate) fn sum_wide(values: &[f32]) -> f64 {
    in_pieces(values, wide_sum)
}

fn in_pieces(values: &[f32], partial: fn(&[f32]) -> f64) -> f64 {
    /// Partial sums that are held at once.
    const HELD: usize = 64;
    let mut sum = 0.0;
    for values in values.chunks(HELD * PIECE) {
        let mut held = [0.0_f64; HELD];
        chunks(&mut held[..values.len().div_ceil(PIECE)], 1, values.len(), |index, held| {
            held[0] = partial(&values[piece(index, PIECE, values.len())]);
        });
        sum = held.iter().fold(sum, |sum, partial| sum + partial);
    }
    sum
}

/// Adds `parts` rows of `width` into `out` in their order, after zeroing `out` unless `add`.
pub(crate) fn add_rows(out: &mut [f32], parts: &[f32], add: bool) {
    if !add {
        out.fill(0.0);
    }
    if out.is_empty() {
        return;
    }
    for part in parts.chunks_exact(out.len()) {
        super::elementwise::add_scaled(out, part, 1.0);
    }
}
