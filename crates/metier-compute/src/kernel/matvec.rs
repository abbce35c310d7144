//! Products of a few rows with a large matrix, which cost what reading the matrix costs.

use super::matmul::{Matrix, Output};
use super::reduce::{LANES, fold};
use super::threads::{for_each, piece};

/// Rows for which reading the matrix takes longer than the arithmetic.
pub(super) const FEW: usize = 4;
/// Numbers of the matrix in one piece of work, about.
const PIECE: usize = 1 << 15;
/// Rows of the matrix that are read side by side: more streams than one fill the memory's queue.
const SIDE: usize = 4;

leveled! {
    /// The products of `x` with each of four rows.
    fn four(x: &[f32], rows: [&[f32]; SIDE]) -> [f32; SIDE] {
        let length = x.len();
        let rows = rows.map(|row| &row[..length]);
        let mut sums = [[0.0_f32; LANES]; SIDE];
        let (whole, rest) = x.as_chunks::<LANES>();
        let wide = rows.map(|row| row.as_chunks::<LANES>().0);
        for (step, x) in whole.iter().enumerate() {
            for side in 0..SIDE {
                let row = &wide[side][step];
                for lane in 0..LANES {
                    sums[side][lane] += x[lane] * row[lane];
                }
            }
        }
        let done = length - rest.len();
        for side in 0..SIDE {
            for (lane, x) in rest.iter().enumerate() {
                sums[side][lane] += x * rows[side][done + lane];
            }
        }
        sums.map(|lanes| fold(&lanes))
    }
}

leveled! {
    /// `out[i] = scale x . row i`; the rows begin `step` elements apart.
    pub(super) fn row_products(out: &mut [f32], x: &[f32], data: &[f32], step: usize, scale: f32) {
        let (wide, rest) = x.as_chunks::<LANES>();
        for (index, out) in out.iter_mut().enumerate() {
            let (row, end) = data[index * step..][..x.len()].as_chunks::<LANES>();
            let mut sums = [0.0_f32; LANES];
            for (x, row) in wide.iter().zip(row) {
                for lane in 0..LANES {
                    sums[lane] += x[lane] * row[lane];
                }
            }
            for (lane, (x, row)) in rest.iter().zip(end).enumerate() {
                sums[lane] += x * row;
            }
            *out = scale * fold(&sums);
        }
    }
}

leveled! {
    /// `out += sum over i of weights[i] row i`; the rows begin `step` elements apart.
    pub(super) fn add_weighted_rows(out: &mut [f32], weights: &[f32], data: &[f32], step: usize) {
        for (index, weight) in weights.iter().enumerate() {
            let row = &data[index * step..][..out.len()];
            for (out, value) in out.iter_mut().zip(row) {
                *out += weight * value;
            }
        }
    }
}

/// `out = alpha x weight^T`, or `+=`, where the rows of both lie along the depth and `x` has at most [`FEW`].
pub(super) fn multiply_few(out: &mut [f32], x: Matrix<'_>, weight: Matrix<'_>, alpha: f32, add: bool) {
    let (rows, columns, depth) = (x.rows(), weight.rows(), x.columns());
    let step = (PIECE / depth.max(1)).next_multiple_of(SIDE);
    let output = Output::new(out);
    for_each(columns.div_ceil(step), columns * depth * SIDE, |index| {
        let mine = piece(index, step, columns);
        for first in mine.clone().step_by(SIDE) {
            let count = SIDE.min(mine.end - first);
            // A row past the end is one that is there: its product is thrown away.
            let sides = std::array::from_fn(|side| weight.row(first + side.min(count - 1)));
            for row in 0..rows {
                let sums = four(x.row(row), sides).map(|sum| alpha * sum);
                #[expect(unsafe_code, reason = "pieces write columns of one row, which are not one slice")]
                // SAFETY: each column belongs to one piece, and `out` is borrowed throughout.
                unsafe {
                    output.merge(row * columns + first, &sums[..count], add);
                }
            }
        }
    });
}
