//! Matrix products.

use super::threads::{self, piece};

/// Rows and columns that one tile of the output has at most; a wide tile spreads the cost of packing its inputs.
const TILE: (usize, usize) = (528, 192);
/// Tiles are cut smaller than that until there are this many, so that several threads have work.
const WANTED: usize = 8;
/// ... but not below this many rows or columns.
const LEAST: usize = 96;
/// Rows and columns of tiles are multiples of these, which the innermost loops of all instruction sets divide.
const STEP: (usize, usize) = (24, 32);

/// Rows and columns of a tile of an output of this size.
fn tile_size(rows: usize, columns: usize) -> (usize, usize) {
    let across = columns.div_ceil(TILE.1).max(1);
    let least = rows.div_ceil(TILE.0).max(1);
    let most = (rows / LEAST).max(least);
    // Few tiles of equal size share out evenly only when their number is even.
    let enough = |down: &usize| down * across >= WANTED && (down * across).is_multiple_of(4);
    let down = (least..=most).find(enough).unwrap_or(most);
    let across =
        if down * across >= WANTED { across } else { across.max((columns / LEAST).min(WANTED.div_ceil(down))) };
    (rows.div_ceil(down).next_multiple_of(STEP.0), columns.div_ceil(across).next_multiple_of(STEP.1))
}

/// A matrix inside a slice, with any distance between rows and between columns.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_step: usize,
    column_step: usize,
}

impl<'a> Matrix<'a> {
    /// A row-major matrix that fills `data`.
    pub fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::strided(data, rows, columns, columns)
    }

    /// A matrix whose rows start `row_step` elements apart.
    pub fn strided(data: &'a [f32], rows: usize, columns: usize, row_step: usize) -> Self {
        Self::spread(data, rows, columns, row_step, 1)
    }

    /// A matrix whose rows start `row_step` and whose columns `column_step` elements apart.
    pub fn spread(data: &'a [f32], rows: usize, columns: usize, row_step: usize, column_step: usize) -> Self {
        let reach = columns.checked_sub(1).and_then(|last| last.checked_mul(column_step)?.checked_add(1));
        let reach = if columns == 0 { Some(0) } else { reach };
        assert!(reach.is_some_and(|reach| fits(data.len(), rows, reach, row_step)), "a matrix reaches past its data");
        Self { data, rows, columns, row_step, column_step }
    }

    /// The same matrix with rows and columns exchanged.
    pub fn transposed(self) -> Self {
        Self { rows: self.columns, columns: self.rows, row_step: self.column_step, column_step: self.row_step, ..self }
    }
}

fn fits(length: usize, rows: usize, columns: usize, row_step: usize) -> bool {
    rows == 0
        || columns == 0
        || (rows - 1)
            .checked_mul(row_step)
            .is_some_and(|last| last.checked_add(columns).is_some_and(|end| end <= length))
}

/// A slice that pieces of work write to at places that do not overlap.
#[derive(Clone, Copy)]
pub(crate) struct Output {
    start: *mut f32,
    length: usize,
}
#[expect(unsafe_code, reason = "the pieces of one output are not slices, so a pointer crosses threads")]
// SAFETY: the pointer is only written through `Output::write` and `tile`, whose callers promise that no two
// threads touch the same element.
unsafe impl Send for Output {}
#[expect(unsafe_code, reason = "as above")]
// SAFETY: as above.
unsafe impl Sync for Output {}

impl Output {
    pub fn new(slice: &mut [f32]) -> Self {
        Self { start: slice.as_mut_ptr(), length: slice.len() }
    }

    /// Copies `values` to the elements from `at` on.
    ///
    /// # Safety
    /// The slice that this was made of is still borrowed for it, and nobody else reads or writes these
    /// elements meanwhile.
    #[expect(unsafe_code, reason = "writes one piece through the shared pointer")]
    pub unsafe fn write(self, at: usize, values: &[f32]) {
        assert!(at <= self.length && values.len() <= self.length - at, "a piece reaches past its output");
        // SAFETY: the assertion keeps it inside the slice; the caller promises the rest.
        unsafe {
            std::ptr::copy_nonoverlapping(values.as_ptr(), self.start.add(at), values.len());
        }
    }
}

/// `out = alpha a b`, or `out += alpha a b`, on all threads; `out` is row-major and full.
pub(crate) fn multiply(out: &mut [f32], a: Matrix<'_>, b: Matrix<'_>, alpha: f32, add: bool) {
    let (rows, columns, depth) = (a.rows, b.columns, a.columns);
    assert!(b.rows == depth && out.len() == rows * columns, "the matrices of a product do not fit");
    if prepared(out, depth, add) {
        return;
    }
    let (tile_rows, tile_columns) = tile_size(rows, columns);
    let across = columns.div_ceil(tile_columns);
    let count = rows.div_ceil(tile_rows) * across;
    let output = Output::new(out);
    threads::for_each(count, rows * columns * depth / 8, |index| {
        let row = piece(index / across, tile_rows, rows);
        let column = piece(index % across, tile_columns, columns);
        let output = &output;
        #[expect(unsafe_code, reason = "writes one tile through the shared pointer")]
        // SAFETY: the tile lies inside `out`, no other index covers any of its elements, and `out` is
        // borrowed for the whole call.
        unsafe {
            let start = output.start.add(row.start * columns + column.start);
            tile(start, columns, a, b, row, column, alpha, add);
        }
    });
}

/// As [`multiply`] on the calling thread, into rows that start `row_step` elements apart.
pub(crate) fn multiply_here(out: &mut [f32], row_step: usize, a: Matrix<'_>, b: Matrix<'_>, alpha: f32, add: bool) {
    let (rows, columns) = (a.rows, b.columns);
    assert!(b.rows == a.columns && fits(out.len(), rows, columns, row_step), "the matrices of a product do not fit");
    if rows == 0 || columns == 0 {
        return;
    }
    if a.columns == 0 {
        if !add {
            out.chunks_mut(row_step.max(1)).take(rows).for_each(|row| row[..columns].fill(0.0));
        }
        return;
    }
    #[expect(unsafe_code, reason = "calls the product of a tile")]
    // SAFETY: `fits` holds, so every element of the tile lies inside `out`, which is borrowed.
    unsafe {
        tile(out.as_mut_ptr(), row_step, a, b, 0..rows, 0..columns, alpha, add);
    }
}

/// True when there is nothing left to do.
fn prepared(out: &mut [f32], depth: usize, add: bool) -> bool {
    if depth == 0 && !add {
        out.fill(0.0);
    }
    out.is_empty() || depth == 0
}

/// # Safety
/// `out` points at the first element of a tile of `row.len()` by `column.len()` elements whose rows are
/// `row_step` apart, all of them valid to read and write and touched by nobody else. `row` and `column` lie
/// inside `a` and `b`.
#[expect(unsafe_code, reason = "the product is a raw routine")]
#[expect(clippy::too_many_arguments, reason = "a product has that many")]
unsafe fn tile(
    out: *mut f32,
    row_step: usize,
    a: Matrix<'_>,
    b: Matrix<'_>,
    row: std::ops::Range<usize>,
    column: std::ops::Range<usize>,
    alpha: f32,
    add: bool,
) {
    let left = a.data[row.start * a.row_step..].as_ptr();
    let right = b.data[column.start * b.column_step..].as_ptr();
    // SAFETY: the constructors checked that every element of both matrices lies in their slices; the
    // caller vouches for `out`.
    unsafe {
        gemm::gemm(
            row.len(),
            column.len(),
            a.columns,
            out,
            1,
            row_step as isize,
            add,
            left,
            a.column_step as isize,
            a.row_step as isize,
            right,
            b.column_step as isize,
            b.row_step as isize,
            1.0_f32,
            alpha,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_the_output_and_are_enough_for_several_threads() {
        for rows in [1, 5, 95, 96, 192, 256, 576, 1000, 1024, 4096] {
            for columns in [1, 16, 64, 192, 193, 576, 1536, 49152] {
                let (tile_rows, tile_columns) = tile_size(rows, columns);
                assert!(tile_rows <= TILE.0 && tile_columns <= TILE.1);
                let count = rows.div_ceil(tile_rows) * columns.div_ceil(tile_columns);
                assert!(count >= 4 || rows.min(192) * columns.min(192) < 192 * 192, "{rows} {columns}: {count}");
            }
        }
    }

    #[test]
    fn a_product_of_depth_zero_is_zero() {
        let mut out = [3.0; 4];
        multiply(&mut out, Matrix::new(&[], 2, 0), Matrix::new(&[], 0, 2), 1.0, true);
        assert_eq!(out.map(f32::to_bits), [3.0_f32; 4].map(f32::to_bits));
        multiply(&mut out, Matrix::new(&[], 2, 0), Matrix::new(&[], 0, 2), 1.0, false);
        assert_eq!(out.map(f32::to_bits), [0; 4]);
    }
}
