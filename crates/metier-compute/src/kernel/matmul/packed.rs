//! A right matrix that is packed once and multiplied by several left ones.

use std::ops::Range;

use super::micro::{self, Kernel};
use super::{LINE, Matrix, aligned, bf16, fits, rows_of_tiles};
use crate::kernel::Precision;
use crate::tensor::Buffer;

/// A right matrix, or a part of one, in the order in which the products of this machine read it.
#[derive(Clone, Copy)]
pub(crate) struct PackedRight<'a> {
    panels: Panels<'a>,
    rows: (usize, usize),
    columns: (usize, usize),
}

/// What the products of a precision read.
#[derive(Clone, Copy)]
enum Panels<'a> {
    F32 {
        kernel: Kernel,
        /// One for each [`Kernel::columns`] columns, as deep as all that was packed.
        panels: &'a [f32],
        /// Of the panels.
        depth: usize,
    },
    Bf16(bf16::Panels<'a>),
}

impl<'a> PackedRight<'a> {
    /// Parts begin at multiples of this.
    pub const STEP: usize = 32;

    /// Elements of the memory that a packed matrix of `rows` by `columns` takes at most.
    pub fn size(rows: usize, columns: usize) -> usize {
        columns.next_multiple_of(Self::STEP) * rows.max(rows.next_multiple_of(Self::STEP) / 2) + LINE
    }

    /// Packs `from`, seen as `precision` says, into `memory`, which has at least [`PackedRight::size`] elements.
    pub fn new(memory: &'a mut [f32], from: Matrix<'_>, precision: Precision) -> Self {
        let panels = match precision {
            Precision::F32 => {
                let kernel = micro::kernel(crate::kernel::level());
                let length = kernel.columns * from.rows;
                let panels = aligned(memory, from.columns.div_ceil(kernel.columns) * length);
                for (index, panel) in panels.chunks_exact_mut(length.max(1)).enumerate() {
                    let start = index * kernel.columns;
                    let columns = start..(start + kernel.columns).min(from.columns);
                    micro::pack(kernel, panel, from.part(0..from.rows, columns));
                }
                Panels::F32 { kernel, panels, depth: from.rows }
            }
            Precision::Bf16 => {
                let words = aligned(memory, bf16::panel_words(from.columns, from.rows));
                let mut storage = Vec::new();
                let from = from.beside(&mut storage);
                Panels::Bf16(bf16::pack_into(words, from.transposed(), bf16::Side::Right))
            }
        };
        Self { panels, rows: (0, from.rows), columns: (0, from.columns) }
    }

    /// Columns of a panel of `f32` on this machine; a divisor of [`PackedRight::STEP`].
    pub fn panel_columns() -> usize {
        micro::kernel(crate::kernel::level()).columns
    }

    /// What lies in panels of [`PackedRight::panel_columns`] columns and `rows` rows already.
    pub fn packed(panels: &'a [f32], rows: usize, columns: usize) -> Self {
        let kernel = micro::kernel(crate::kernel::level());
        let length = kernel.columns * rows * columns.div_ceil(kernel.columns);
        assert!(panels.len() >= length, "packed panels reach past their memory");
        Self { panels: Panels::F32 { kernel, panels, depth: rows }, rows: (0, rows), columns: (0, columns) }
    }

    /// Some rows and columns of it; both begin at a multiple of [`PackedRight::STEP`].
    pub fn part(self, rows: Range<usize>, columns: Range<usize>) -> Self {
        let inside = rows.end <= self.rows.1 - self.rows.0 && columns.end <= self.columns.1 - self.columns.0;
        let whole = rows.start.is_multiple_of(Self::STEP) && columns.start.is_multiple_of(Self::STEP);
        assert!(inside && whole, "{rows:?} and {columns:?} are no part of a packed matrix");
        let shifted = |start: usize, range: Range<usize>| (start + range.start, start + range.end);
        Self { rows: shifted(self.rows.0, rows), columns: shifted(self.columns.0, columns), ..self }
    }
}

/// `out = alpha a b`, or `+=`, on the calling thread; the rows of `out` start `row_step` elements apart, and the rows
/// or the columns of `a` lie side by side.
pub(crate) fn multiply_packed(
    out: &mut [f32],
    row_step: usize,
    a: Matrix<'_>,
    b: PackedRight<'_>,
    alpha: f32,
    add: bool,
) {
    let PackedRight { panels, rows: (top, bottom), columns: (left, right) } = b;
    let beside = a.row_step == 1 || a.column_step == 1;
    assert!(
        beside && a.columns == bottom - top && fits(out.len(), a.rows, right - left, row_step),
        "the matrices of a packed product do not fit"
    );
    if a.columns == 0 && !add {
        out.chunks_mut(row_step.max(1)).take(a.rows).for_each(|row| row[..right - left].fill(0.0));
    }
    if a.rows == 0 || a.columns == 0 {
        return;
    }
    let (kernel, panels, depth) = match panels {
        Panels::F32 { kernel, panels, depth } => (kernel, panels, depth),
        Panels::Bf16(panels) => {
            if left < right {
                multiply_rounded(out, row_step, a, (panels, left..right), top, alpha, add);
            }
            return;
        }
    };
    for column in (left..right).step_by(kernel.columns) {
        let width = kernel.columns.min(right - column);
        let panel = panels[(column / kernel.columns * depth + top) * kernel.columns..].as_ptr();
        #[expect(unsafe_code, reason = "calls the product of a tile")]
        // SAFETY: `fits` holds, so these columns of every row lie inside `out`, which is borrowed; `part` keeps the rows
        // inside the panels.
        unsafe {
            rows_of_tiles(kernel, out.as_mut_ptr().add(column - left), row_step, a, panel, width, alpha, add, false);
        }
    }
}

/// As [`multiply_packed`], checked: the columns `right.1` of panels, whose depth begins at `top`.
fn multiply_rounded(
    out: &mut [f32],
    row_step: usize,
    a: Matrix<'_>,
    right: (bf16::Panels<'_>, Range<usize>),
    top: usize,
    alpha: f32,
    add: bool,
) {
    let mut buffer = Buffer::scratch(bf16::panel_words(a.rows, a.columns) + LINE);
    let words = aligned(buffer.as_mut_slice(), bf16::panel_words(a.rows, a.columns));
    let left = bf16::pack_into(words, a, bf16::Side::Left);
    let steps = (left.steps, top / PackedRight::STEP);
    #[expect(unsafe_code, reason = "calls the product of a tile")]
    // SAFETY: the caller has checked that all rows and columns lie inside `out`, which is borrowed.
    unsafe {
        bf16::tile(crate::kernel::level(), out.as_mut_ptr(), row_step, (left, 0..a.rows), right, steps, alpha, add);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::matmul::multiply_here;

    /// Small whole numbers, so that every order of summing gives the same.
    #[test]
    fn parts_of_a_packed_matrix_multiply_like_the_parts() {
        let (rows, depth, columns) = (29, 70, 103);
        let a: Vec<f32> = (0..rows * depth).map(|at| (at % 7) as f32 - 3.0).collect();
        let b: Vec<f32> = (0..depth * columns).map(|at| (at % 11) as f32 - 5.0).collect();
        for from in [
            Matrix::new(&b, depth, columns),
            Matrix::new(&b, columns, depth).transposed(),
            Matrix::spread(&b, 35, 34, 34 * 2, 2),
        ] {
            for precision in [Precision::F32, Precision::Bf16] {
                let mut memory = vec![f32::NAN; PackedRight::size(from.rows(), from.columns())];
                let packed = PackedRight::new(&mut memory, from, precision);
                for (steps, here) in [
                    (0..from.rows(), 0..from.columns()),
                    (32..from.rows(), 0..from.columns().min(40)),
                    (0..0, 0..from.columns()),
                    (0..33, 32..32),
                    (32..35, 32..from.columns()),
                ] {
                    for add in [false, true] {
                        let a = Matrix::strided(&a, rows, steps.len(), depth);
                        let (mut out, mut want) = (vec![1.0; rows * 110], vec![1.0; rows * 110]);
                        let part = packed.part(steps.clone(), here.clone());
                        multiply_packed(&mut out, 110, a, part, 0.5, add);
                        multiply_here(&mut want, 110, a, from.part(steps.clone(), here.clone()), 0.5, add);
                        assert_eq!(out, want, "{precision:?} {steps:?} {here:?} {add}");
                    }
                }
            }
        }
    }
}
