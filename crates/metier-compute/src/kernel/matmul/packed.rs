//! A right matrix that is packed once and multiplied by several left ones.

use std::ops::Range;

use super::micro::{self, Kernel};
use super::{Matrix, fits, rows_of_tiles};

/// A right matrix, or a part of one, in the order in which the products of this machine read it.
#[derive(Clone, Copy)]
pub(crate) struct PackedRight<'a> {
    kernel: Kernel,
    /// One panel for each [`Kernel::columns`] columns, as deep as all that was packed.
    panels: &'a [f32],
    /// Of the panels.
    depth: usize,
    rows: (usize, usize),
    columns: (usize, usize),
}

/// Panels begin with a line of the cache, so that no load crosses two.
const LINE: usize = 16;

impl<'a> PackedRight<'a> {
    /// Parts begin at multiples of this.
    pub const STEP: usize = 32;

    /// Elements of the memory that a packed matrix of `rows` by `columns` takes at most.
    pub fn size(rows: usize, columns: usize) -> usize {
        columns.next_multiple_of(Self::STEP) * rows + LINE
    }

    /// Packs `from` into `memory`, which has at least [`PackedRight::size`] elements.
    pub fn new(memory: &'a mut [f32], from: Matrix<'_>) -> Self {
        let kernel = micro::kernel(crate::kernel::level());
        let length = kernel.columns * from.rows;
        let aligned = memory.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
        let panels = &mut memory[aligned..][..from.columns.div_ceil(kernel.columns) * length];
        for (index, panel) in panels.chunks_exact_mut(length.max(1)).enumerate() {
            let start = index * kernel.columns;
            let columns = start..(start + kernel.columns).min(from.columns);
            micro::pack(kernel, panel, from.part(0..from.rows, columns));
        }
        Self { kernel, panels, depth: from.rows, rows: (0, from.rows), columns: (0, from.columns) }
    }

    /// Some rows and columns of it; both begin at a multiple of [`PackedRight::STEP`].
    pub fn part(self, rows: Range<usize>, columns: Range<usize>) -> Self {
        let inside = rows.end <= self.rows.1 - self.rows.0 && columns.end <= self.columns.1 - self.columns.0;
        let aligned = rows.start.is_multiple_of(Self::STEP) && columns.start.is_multiple_of(Self::STEP);
        assert!(inside && aligned, "{rows:?} and {columns:?} are no part of a packed matrix");
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
    let PackedRight { kernel, rows: (top, bottom), columns: (left, right), .. } = b;
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
    for column in (left..right).step_by(kernel.columns) {
        let width = kernel.columns.min(right - column);
        let panel = b.panels[(column / kernel.columns * b.depth + top) * kernel.columns..].as_ptr();
        #[expect(unsafe_code, reason = "calls the product of a tile")]
        // SAFETY: `fits` holds, so these columns of every row lie inside `out`, which is borrowed; `part` keeps the rows
        // inside the panels.
        unsafe {
            rows_of_tiles(kernel, out.as_mut_ptr().add(column - left), row_step, a, panel, width, alpha, add, false);
        }
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
            let mut memory = vec![f32::NAN; PackedRight::size(from.rows(), from.columns())];
            let packed = PackedRight::new(&mut memory, from);
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
                    assert_eq!(out, want, "{steps:?} {here:?} {add}");
                }
            }
        }
    }
}
