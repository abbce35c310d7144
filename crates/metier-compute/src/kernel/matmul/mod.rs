//! Matrix products.

pub(crate) mod bf16;
mod few;
#[cfg(target_arch = "x86_64")]
pub(crate) mod lines;
mod micro;
mod packed;

use std::ops::Range;

use super::Precision;
use super::threads::{self, piece};
use crate::tensor::Buffer;
use micro::{Kernel, Left};
pub(crate) use packed::{PackedRight, multiply_packed};

/// Rows and columns that one tile of the output has at most, so that its inputs stay near while it is computed.
const TILE: (usize, usize) = (192, 1024);
/// Steps of depth that are packed at once at most, so that a panel of columns stays in the nearest cache.
const DEPTH: usize = 192;
/// Blocks of depth that are packed before they are used: they bound the memory of the panels to 12 MiB.
const BLOCKS: usize = 16;
/// Tiles are cut smaller than that until there are this many, so that several threads have work.
const WANTED: usize = 8;
/// ... but not below this many rows or columns.
const LEAST: usize = 96;
/// Rows and columns of tiles are multiples of these, which the innermost loops of all instruction sets divide.
const STEP: (usize, usize) = (12, 32);
/// Numbers in a line of the cache.
const LINE: usize = 16;

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

    /// A full matrix of this size, which lies transposed when it is `turned`.
    pub fn laid(data: &'a [f32], rows: usize, columns: usize, turned: bool) -> Self {
        if turned { Self::new(data, columns, rows).transposed() } else { Self::new(data, rows, columns) }
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

    /// The same matrix with its rows or its columns side by side, in `storage` when they were not.
    fn beside(self, storage: &'a mut Vec<f32>) -> Self {
        if self.row_step == 1 || self.column_step == 1 {
            return self;
        }
        let row = |row: usize| (0..self.columns).map(move |column| row * self.row_step + column * self.column_step);
        *storage = (0..self.rows).flat_map(row).map(|at| self.data[at]).collect();
        Self::new(storage, self.rows, self.columns)
    }

    /// The same matrix with rows and columns exchanged.
    pub fn transposed(self) -> Self {
        Self { rows: self.columns, columns: self.rows, row_step: self.column_step, column_step: self.row_step, ..self }
    }

    pub fn rows(self) -> usize {
        self.rows
    }

    pub fn columns(self) -> usize {
        self.columns
    }

    /// Some rows and columns of it.
    pub fn part(self, rows: Range<usize>, columns: Range<usize>) -> Self {
        let start = rows.start * self.row_step + columns.start * self.column_step;
        Self { data: &self.data[start.min(self.data.len())..], rows: rows.len(), columns: columns.len(), ..self }
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

    /// Copies `values` to the elements from `at` on, or adds them to what is there.
    ///
    /// # Safety
    /// As for [`Output::write`].
    #[expect(unsafe_code, reason = "writes one piece through the shared pointer")]
    pub unsafe fn merge(self, at: usize, values: &[f32], add: bool) {
        assert!(at <= self.length && values.len() <= self.length - at, "a piece reaches past its output");
        // SAFETY: the assertion keeps it inside the slice; the caller promises the rest.
        let out = unsafe { std::slice::from_raw_parts_mut(self.start.add(at), values.len()) };
        for (out, value) in out.iter_mut().zip(values) {
            *out = if add { *out + value } else { *value };
        }
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
    let mut storage = Vec::new();
    let a = a.beside(&mut storage);
    if rows <= few::FEW {
        return few::multiply_few(out, a, b, alpha, add);
    }
    let kernel = micro::kernel(super::level());
    let output = Output::new(out);
    let chunk = chunk(depth);
    let chunks =
        (0..columns).step_by(TILE.1).flat_map(|first| (0..depth).step_by(chunk).map(move |deep| (first, deep)));
    for (first, deep) in chunks {
        let here = first..(first + TILE.1).min(columns);
        let steps = deep..(deep + chunk).min(depth);
        let add = add || deep > 0;
        let (left, right) = (a.part(0..rows, steps.clone()), b.part(steps.clone(), here.clone()));
        let (length, count) = Panels::size(kernel, steps.len(), here.len());
        let mut packed = Buffer::scratch(length * count + LINE);
        let panels = aligned(packed.as_mut_slice(), length * count);
        threads::chunks(panels, length, 2 * length * count, |index, panel| Panels::fill(kernel, panel, right, index));
        let panels = Panels { kernel, data: panels, columns: here.len() };
        let (tile_rows, tile_columns) = tile_size(rows, here.len());
        let across = here.len().div_ceil(tile_columns);
        let count = rows.div_ceil(tile_rows) * across;
        threads::for_each(count, rows * here.len() * steps.len() / 8, |index| {
            let row = piece(index / across, tile_rows, rows);
            let column = piece(index % across, tile_columns, here.len());
            let output = &output;
            #[expect(unsafe_code, reason = "writes one tile through the shared pointer")]
            // SAFETY: the tile lies inside `out`, no other index covers any of its elements, and `out` is
            // borrowed for the whole call.
            unsafe {
                let start = output.start.add(row.start * columns + first + column.start);
                tile(start, columns, left.part(row, 0..steps.len()), &panels, column, alpha, add);
            }
        });
    }
}

/// As [`multiply`], with the inputs seen as `precision` says.
pub(crate) fn multiply_as(precision: Precision, out: &mut [f32], a: Matrix<'_>, b: Matrix<'_>, alpha: f32, add: bool) {
    match precision {
        Precision::F32 => multiply(out, a, b, alpha, add),
        Precision::Bf16 => bf16::multiply(out, a, b, alpha, add),
    }
}

/// As [`multiply`] on the calling thread, into rows that start `row_step` elements apart.
pub(crate) fn multiply_here(out: &mut [f32], row_step: usize, a: Matrix<'_>, b: Matrix<'_>, alpha: f32, add: bool) {
    multiply_with(micro::kernel(super::level()), out, row_step, a, b, alpha, add);
}

fn multiply_with(
    kernel: Kernel,
    out: &mut [f32],
    row_step: usize,
    a: Matrix<'_>,
    b: Matrix<'_>,
    alpha: f32,
    add: bool,
) {
    let (rows, columns, depth) = (a.rows, b.columns, a.columns);
    assert!(b.rows == depth && fits(out.len(), rows, columns, row_step), "the matrices of a product do not fit");
    if rows == 0 || columns == 0 {
        return;
    }
    if depth == 0 {
        if !add {
            out.chunks_mut(row_step.max(1)).take(rows).for_each(|row| row[..columns].fill(0.0));
        }
        return;
    }
    let mut storage = Vec::new();
    let a = a.beside(&mut storage);
    let (length, count) = Panels::size(kernel, depth, columns);
    let mut packed = Buffer::scratch(length * count + LINE);
    let panels = aligned(packed.as_mut_slice(), length * count);
    for (index, panel) in panels.chunks_exact_mut(length).enumerate() {
        Panels::fill(kernel, panel, b, index);
    }
    let panels = Panels { kernel, data: panels, columns };
    #[expect(unsafe_code, reason = "calls the product of a tile")]
    // SAFETY: `fits` holds, so every element of the tile lies inside `out`, which is borrowed.
    unsafe {
        tile(out.as_mut_ptr(), row_step, a, &panels, 0..columns, alpha, add);
    }
}

/// `length` elements of memory that is at least a line longer, from the start of a line on, so that no load crosses
/// two lines of the cache.
fn aligned(memory: &mut [f32], length: usize) -> &mut [f32] {
    let start = first_line(memory);
    &mut memory[start..][..length]
}

/// Where the first line of the cache begins.
pub(crate) fn first_line(memory: &[f32]) -> usize {
    memory.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE)
}

/// True when there is nothing left to do.
fn prepared(out: &mut [f32], depth: usize, add: bool) -> bool {
    if depth == 0 && !add {
        out.fill(0.0);
    }
    out.is_empty() || depth == 0
}

/// Steps of depth in one block: all blocks are equal but for the last.
fn block(depth: usize) -> usize {
    depth.div_ceil(depth.div_ceil(DEPTH))
}

/// Steps of depth whose panels are packed together.
fn chunk(depth: usize) -> usize {
    block(depth) * BLOCKS
}

/// A right matrix in panels: for each block of depth, one for each [`Kernel::columns`] columns.
struct Panels<'a> {
    kernel: Kernel,
    data: &'a [f32],
    columns: usize,
}

impl Panels<'_> {
    /// Elements of one panel, and the number of panels.
    fn size(kernel: Kernel, depth: usize, columns: usize) -> (usize, usize) {
        (kernel.columns * block(depth), depth.div_ceil(block(depth)) * columns.div_ceil(kernel.columns))
    }

    /// Packs one panel of `from`.
    fn fill(kernel: Kernel, panel: &mut [f32], from: Matrix<'_>, index: usize) {
        let across = from.columns.div_ceil(kernel.columns);
        let steps = piece(index / across, block(from.rows), from.rows);
        let columns = piece(index % across, kernel.columns, from.columns);
        micro::pack(kernel, panel, from.part(steps, columns));
    }

    /// The panel of a block of depth that begins with `column`.
    fn panel(&self, number: usize, column: usize, depth: usize) -> *const f32 {
        let across = self.columns.div_ceil(self.kernel.columns);
        let index = number * across + column / self.kernel.columns;
        self.data[index * self.kernel.columns * block(depth)..].as_ptr()
    }
}

/// Asks for a matrix to be fetched into the second cache while something else is computed.
fn ahead(matrix: Matrix<'_>) {
    let (outer, inner, step) = if matrix.column_step == 1 {
        (matrix.rows, matrix.columns, matrix.row_step)
    } else {
        (matrix.columns, matrix.rows, matrix.column_step)
    };
    for line in (0..outer).flat_map(|outer| (0..inner).step_by(LINE).map(move |inner| outer * step + inner)) {
        micro::prefetch(&matrix.data[line..]);
    }
}

/// # Safety
/// `out` points at the first element of a tile of `a.rows` by `column.len()` elements whose rows are `row_step` apart,
/// all of them valid to read and write and touched by nobody else. `column` begins with a panel and lies inside `b`,
/// which is as deep as `a`. The rows or the columns of `a` lie side by side.
#[expect(unsafe_code, reason = "the product is a raw routine")]
unsafe fn tile(
    out: *mut f32,
    row_step: usize,
    a: Matrix<'_>,
    b: &Panels<'_>,
    column: Range<usize>,
    alpha: f32,
    add: bool,
) {
    let (kernel, depth) = (b.kernel, a.columns);
    for number in 0..depth.div_ceil(block(depth)) {
        let steps = piece(number, block(depth), depth);
        let add = add || number > 0;
        let a = a.part(0..a.rows, steps);
        for across in column.clone().step_by(kernel.columns) {
            let width = kernel.columns.min(column.end - across);
            let right = b.panel(number, across, depth);
            // SAFETY: the panel is as deep as the block; the caller vouches for the output.
            unsafe {
                let out = out.add(across - column.start);
                rows_of_tiles(kernel, out, row_step, a, right, width, alpha, add, across == column.start);
            }
        }
    }
}

/// All rows of `a` by one panel, of which `width` columns are wanted. With `fetch` the rows are asked for ahead of their
/// turn.
///
/// # Safety
/// As for [`tile`]; `right` is a panel as deep as `a`.
#[expect(unsafe_code, reason = "the product is a raw routine")]
#[expect(clippy::too_many_arguments, reason = "a product has that many")]
unsafe fn rows_of_tiles(
    kernel: Kernel,
    out: *mut f32,
    row_step: usize,
    a: Matrix<'_>,
    right: *const f32,
    width: usize,
    alpha: f32,
    add: bool,
    fetch: bool,
) {
    for down in (0..a.rows).step_by(kernel.rows) {
        let count = kernel.rows.min(a.rows - down);
        let along = a.column_step == 1;
        let start = a.data[down * a.row_step..].as_ptr();
        let left = Left { start, step: if along { a.row_step } else { a.column_step }, along };
        let next = down + kernel.rows;
        if fetch && next < a.rows {
            ahead(a.part(next..(next + kernel.rows).min(a.rows), 0..a.columns));
        }
        // SAFETY: the rows are as deep as the panel; the caller vouches for the rest.
        unsafe {
            (kernel.tile)(count, width, a.columns, left, right, out.add(down * row_step), row_step, alpha, add);
        }
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

    #[test]
    fn matrices_with_gaps_both_ways_are_multiplied() {
        let data: Vec<f32> = (0..200).map(|at| (at % 13) as f32).collect();
        let (a, b) = (Matrix::spread(&data, 5, 6, 20, 3), Matrix::spread(&data, 6, 7, 2, 9));
        let (mut out, mut here) = (vec![0.0; 35], vec![0.0; 35]);
        multiply(&mut out, a, b, 1.0, false);
        multiply_here(&mut here, 7, a, b, 1.0, false);
        assert_eq!(out, here);
        for (at, out) in out.iter().enumerate() {
            let terms = (0..6).map(|step| data[at / 7 * 20 + step * 3] * data[step * 2 + at % 7 * 9]);
            assert!((terms.sum::<f32>() - out).abs() < 1e-3, "{at}");
        }
    }

    #[test]
    fn a_product_deeper_than_one_chunk_is_whole() {
        let (rows, columns, depth) = (7, 5, DEPTH * BLOCKS + 300);
        let a: Vec<f32> = (0..rows * depth).map(|at| (at % 5) as f32 - 2.0).collect();
        let b: Vec<f32> = (0..depth * columns).map(|at| (at % 7) as f32 - 3.0).collect();
        let mut out = vec![1.0; rows * columns];
        multiply(&mut out, Matrix::new(&a, rows, depth), Matrix::new(&b, depth, columns), 1.0, true);
        for (at, out) in out.iter().enumerate() {
            let terms = (0..depth).map(|step| a[at / columns * depth + step] * b[step * columns + at % columns]);
            assert!((1.0 + terms.sum::<f32>() - out).abs() < 0.5, "{at}: small whole numbers add up exactly");
        }
    }

    /// Every instruction set of this machine, at sizes around those of tiles and blocks, rows and columns either way.
    #[test]
    fn every_kernel_agrees_with_sums_in_f64() {
        use crate::kernel::{Level, level};
        let sizes =
            [(1, 1, 1), (3, 17, 5), (12, 32, 16), (13, 33, 17), (25, 70, 40), (7, 5, 300), (40, 31, 513), (2, 100, 0)];
        for (rows, columns, depth) in sizes {
            let noise = |count: usize, salt: usize| -> Vec<f32> {
                (0..count).map(|at| ((at * 7919 + salt * 104_729) % 1009) as f32 / 504.5 - 1.0).collect()
            };
            let (left, right) = (noise(rows * depth, 1), noise(depth * columns, 2));
            let before = noise(rows * (columns + 3), 3);
            let matrix = |data: &[f32], step: usize, turned: bool, row: usize, column: usize| {
                f64::from(data[if turned { column * step + row } else { row * step + column }])
            };
            for (turn_left, turn_right, add) in
                [(false, false, false), (false, true, true), (true, false, true), (true, true, false)]
            {
                let (left_step, right_step) =
                    (if turn_left { rows } else { depth }, if turn_right { depth } else { columns });
                let a = Matrix::laid(&left, rows, depth, turn_left);
                let b = Matrix::laid(&right, depth, columns, turn_right);
                for kernel in [Level::Portable, Level::Avx2, Level::Avx512].into_iter().filter(|at| *at <= level()) {
                    let mut out = before.clone();
                    multiply_with(micro::kernel(kernel), &mut out, columns + 3, a, b, 0.5, add);
                    for row in 0..rows {
                        for column in 0..columns + 3 {
                            let at = row * (columns + 3) + column;
                            let untouched = column >= columns || (depth == 0 && add);
                            let products = (0..if untouched { 0 } else { depth }).map(|step| {
                                matrix(&left, left_step, turn_left, row, step)
                                    * matrix(&right, right_step, turn_right, step, column)
                            });
                            let (sum, size) = products
                                .fold((0.0, 0.0), |(sum, size), product: f64| (sum + product, size + product.abs()));
                            let kept = if add || untouched { f64::from(before[at]) } else { 0.0 };
                            let error = (f64::from(out[at]) - (kept + 0.5 * sum)).abs();
                            let bound = 1e-6 * (kept.abs() + 0.5 * size);
                            assert!(error <= bound, "{kernel:?} {rows} {columns} {depth} at {row} {column}: {error}");
                        }
                    }
                }
            }
        }
    }
}
