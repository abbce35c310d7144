//! Products of inputs rounded to `bf16`, summed in `f32`.
//!
//! Both matrices are packed alike: 32 lines (rows of the left, columns of the right matrix) make a panel, which is cut
//! into steps of 32 elements of depth. A step is two tiles of 16 lines; a tile is 16 x 16 pairs of elements that follow
//! each other in depth, filled up with zeros. Tiles of the left matrix have a row for each line, those of the right one
//! a row for each pair, which is what AMX and the dot products of AVX-512 take.

use std::ops::Range;
use std::sync::OnceLock;

use super::{Matrix, Output};
use crate::block::{self, Weight};
use crate::kernel::threads::{self, piece};
use crate::kernel::{Level, level};
use crate::tensor::{Buffer, Counted, Spare};

mod pack;
mod tile;

/// Lines of a panel, and elements of depth in a step.
const LINES: usize = 32;
/// Words of 32 bits, each a pair of elements, in the two tiles of a step.
const STEP: usize = 512;
/// Steps of depth after which the other panels are visited: fewer would pass over the output more often, which costs
/// more than panels that leave the nearest cache.
const DEPTH: usize = 32;
/// Rows and columns that one piece of work has at most.
const TILE: (usize, usize) = (256, 1024);
/// Columns and depth that are packed at once at most when the caller packs nothing: they bound the memory.
const CHUNK: (usize, usize) = (2048, 4096);
/// Rows that are packed at once at most.
const ROWS: usize = 4096;

/// Which of the two dimensions of a tile is a row of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Side {
    /// For the left of a product: a row holds pairs of one line.
    #[default]
    Left,
    /// For the right of a product: a row holds one pair of each line.
    Right,
}

/// A matrix rounded to `bf16` and packed for one side of a product.
#[derive(Default)]
pub(crate) struct Packed {
    buffer: Buffer,
    side: Side,
    /// Rows of a left matrix, columns of a right one.
    lines: usize,
    depth: usize,
    /// Made when it is first asked for: several projections read one input.
    turned: OnceLock<crate::tensor::Shared<Packed>>,
}

impl Counted for Packed {
    fn spare() -> &'static Spare<Self> {
        static SPARE: Spare<Packed> = Spare::new();
        &SPARE
    }
}

impl Packed {
    /// The left matrix of a product.
    pub fn left(matrix: Matrix<'_>) -> Self {
        Self::lines(matrix, Side::Left)
    }

    /// The right matrix of a product.
    pub fn right(matrix: Matrix<'_>) -> Self {
        Self::lines(matrix.transposed(), Side::Right)
    }

    /// A matrix that holds whatever its buffer held before; the caller writes all of it.
    pub fn stale(side: Side, lines: usize, depth: usize) -> Self {
        Self {
            buffer: Buffer::scratch(panel_words(lines, depth) + super::LINE),
            side,
            lines,
            depth,
            turned: OnceLock::new(),
        }
    }

    fn lines(matrix: Matrix<'_>, side: Side) -> Self {
        let mut packed = Self::stale(side, matrix.rows, matrix.columns);
        let (lines, depth) = (matrix.rows, matrix.columns);
        // Several panels together read whole lines of the cache, and a few pages, at a time.
        let together = (lines.div_ceil(LINES) / 4).clamp(1, 8);
        let length = packed.panel_length() * together;
        threads::chunks(packed.words_mut(), length, lines * depth, |index, panels| {
            pack::panels(panels, matrix.part(piece(index, together * LINES, lines), 0..depth), side);
        });
        packed
    }

    /// The right matrix of a product with the transposed of a weight in blocks.
    pub fn stored(weight: &Weight<'_>) -> Self {
        let (lines, depth) = (weight.rows, weight.columns);
        let mut packed = Self::stale(Side::Right, lines, depth);
        let length = packed.panel_length();
        threads::chunks(packed.words_mut(), length, lines * depth, |index, panel| {
            let mine = piece(index, LINES, lines);
            let mut numbers = Buffer::scratch(mine.len() * depth);
            for (row, numbers) in mine.clone().zip(numbers.as_mut_slice().chunks_exact_mut(depth.max(1))) {
                block::decode(weight.block, weight.row(row), numbers);
            }
            pack::panels(panel, Matrix::new(numbers.as_slice(), mine.len(), depth), Side::Right);
        });
        packed
    }

    /// The lines of `matrix`, its rows, for `side`, packed on the calling thread.
    pub fn here(matrix: Matrix<'_>, side: Side) -> Self {
        let mut packed = Self::stale(side, matrix.rows, matrix.columns);
        pack::panels(packed.words_mut(), matrix, side);
        packed
    }

    /// The same matrix for the right side of a product with the transposed: its lines are the depth of the new one.
    ///
    /// # Panics
    /// When this one is not of the left side.
    pub fn turned(&self) -> &Self {
        self.turned.get_or_init(|| crate::tensor::Shared::new(self.turn()))
    }

    fn turn(&self) -> Self {
        assert!(self.side == Side::Left, "only a left matrix has pairs of lines side by side");
        let mut packed = Self::stale(Side::Right, self.depth, self.lines);
        let (length, from_length) = (packed.panel_length(), self.panel_length());
        let from = self.words();
        threads::chunks(packed.words_mut(), length, self.lines * self.depth, |index, panel| {
            pack::turned(panel, &from[index * STEP..], from_length);
        });
        packed
    }

    /// A way to write parts of it from several threads.
    pub fn shared(&mut self) -> Shared {
        let (side, lines, depth) = (self.side, self.lines, self.depth);
        Shared { output: Output::new(self.words_mut()), side, lines, depth }
    }

    /// Rows of a left matrix, columns of a right one.
    pub fn line_count(&self) -> usize {
        self.lines
    }

    /// Columns of a left matrix, rows of a right one.
    pub fn depth(&self) -> usize {
        self.depth
    }

    fn panel_length(&self) -> usize {
        (self.depth.div_ceil(LINES) * STEP).max(1)
    }

    fn panels(&self) -> Panels<'_> {
        Panels { words: self.words(), steps: self.depth.div_ceil(LINES) }
    }

    fn start(&self) -> usize {
        super::first_line(self.buffer.as_slice())
    }

    fn words(&self) -> &[f32] {
        let start = self.start();
        &self.buffer.as_slice()[start..][..panel_words(self.lines, self.depth)]
    }

    fn words_mut(&mut self) -> &mut [f32] {
        let (start, length) = (self.start(), self.words().len());
        &mut self.buffer.as_mut_slice()[start..][..length]
    }
}

/// A packed matrix that pieces of work write to at places that do not overlap.
#[derive(Clone, Copy)]
pub(crate) struct Shared {
    output: Output,
    side: Side,
    lines: usize,
    depth: usize,
}

impl Shared {
    /// Packs a part whose rows are lines from `line` on and whose columns are depth from `deep` on. Both are multiples
    /// of 32, and so are the sizes of the part unless it ends where the matrix ends.
    ///
    /// # Safety
    /// The matrix that this was made of is still borrowed, and nobody else reads or writes this part meanwhile.
    #[expect(unsafe_code, reason = "writes one part through the shared pointer")]
    pub unsafe fn write(self, part: Matrix<'_>, (line, deep): (usize, usize)) {
        let ends = |start: usize, count: usize, all: usize| {
            start.is_multiple_of(LINES) && (start + count == all || start + count < all && count.is_multiple_of(LINES))
        };
        assert!(ends(line, part.rows, self.lines) && ends(deep, part.columns, self.depth), "a part does not fit");
        let steps = self.depth.div_ceil(LINES);
        // SAFETY: the part's panels and steps lie inside the matrix, and the caller vouches for the rest.
        unsafe {
            let start = self.output.start.add((line / LINES * steps + deep / LINES) * STEP);
            pack::panels_at(start, steps * STEP, part, self.side);
        }
    }
}

/// `out = alpha a b`, or `out += alpha a b`, of inputs rounded to `bf16`, on all threads; `out` is row-major and full.
///
/// Packs both matrices a part at a time.
pub(crate) fn multiply(out: &mut [f32], a: Matrix<'_>, b: Matrix<'_>, alpha: f32, add: bool) {
    let (rows, columns, depth) = (a.rows, b.columns, a.columns);
    assert!(b.rows == depth && out.len() == rows * columns, "the matrices of a product do not fit");
    if super::prepared(out, depth, add) {
        return;
    }
    let (mut first_storage, mut second_storage) = (Vec::new(), Vec::new());
    let (a, b) = (a.beside(&mut first_storage), b.beside(&mut second_storage));
    let output = Output::new(out);
    for deep in (0..depth).step_by(CHUNK.1) {
        let steps = deep..(deep + CHUNK.1).min(depth);
        for row in (0..rows).step_by(ROWS) {
            let here = row..(row + ROWS).min(rows);
            let left = Packed::left(a.part(here, steps.clone()));
            for column in (0..columns).step_by(CHUNK.0) {
                let across = column..(column + CHUNK.0).min(columns);
                let right = Packed::right(b.part(steps.clone(), across));
                let place = Place { start: row * columns + column, step: columns };
                #[expect(unsafe_code, reason = "writes a part of the output by pointer")]
                // SAFETY: the part lies inside `out`, which is borrowed for the whole call.
                unsafe {
                    multiply_parts(&output, place, &left, &right, alpha, add || deep > 0);
                }
            }
        }
    }
}

/// As [`multiply`] of matrices that are packed already.
pub(crate) fn multiply_packed(out: &mut [f32], left: &Packed, right: &Packed, alpha: f32, add: bool) {
    assert!(out.len() == left.lines * right.lines, "the output of a product does not fit");
    if super::prepared(out, left.depth, add) {
        return;
    }
    let output = Output::new(out);
    #[expect(unsafe_code, reason = "writes the output by pointer")]
    // SAFETY: the product fills `out`, which is borrowed for the whole call.
    unsafe {
        multiply_parts(&output, Place { start: 0, step: right.lines }, left, right, alpha, add);
    }
}

/// `out = a b`, or `+=`, on the calling thread, for some lines of both matrices: `place` is the first element of the
/// output and the distance of its rows.
pub(crate) fn multiply_here(output: Output, place: (usize, usize), left: Lines<'_>, right: Lines<'_>, add: bool) {
    multiply_some(output, place, left, right, 0, add);
}

/// As [`multiply_here`] for all of `left`, whose depth is a part of that of `right` from element `.1` on, a multiple
/// of 32.
pub(crate) fn multiply_steps(
    output: Output,
    place: (usize, usize),
    left: &Packed,
    (right, deep): (&Packed, usize),
    add: bool,
) {
    multiply_some(output, place, (left, 0..left.lines), (right, 0..right.lines), deep, add);
}

fn multiply_some(
    output: Output,
    (start, step): (usize, usize),
    (left, rows): Lines<'_>,
    (right, columns): Lines<'_>,
    deep: usize,
    add: bool,
) {
    assert!(left.side == Side::Left && right.side == Side::Right, "a matrix is packed for the other side");
    assert!(
        [rows.start, columns.start, deep].iter().all(|start| start.is_multiple_of(LINES)),
        "a part does not begin with a panel"
    );
    let fits = left.depth + deep <= right.depth && rows.end <= left.lines && columns.end <= right.lines;
    assert!(fits, "the matrices of a product do not fit");
    if rows.is_empty() || columns.is_empty() {
        return;
    }
    assert!(start + (rows.len() - 1) * step + columns.len() <= output.length, "a product reaches past its output");
    #[expect(unsafe_code, reason = "writes a tile by pointer")]
    // SAFETY: the last element lies inside the output; the slice it was made of is the caller's, who gives each place
    // to one thread.
    unsafe {
        let steps = (left.depth.div_ceil(LINES), deep / LINES);
        tile(level(), output.start.add(start), step, (left.panels(), rows), (right.panels(), columns), steps, 1.0, add);
    }
}

/// Where in an output a product lies.
#[derive(Clone, Copy)]
struct Place {
    start: usize,
    /// Elements from row to row.
    step: usize,
}

/// # Safety
/// The product lies inside the output, which is borrowed and touched by nobody else meanwhile.
#[expect(unsafe_code, reason = "writes tiles through the shared pointer")]
unsafe fn multiply_parts(output: &Output, place: Place, left: &Packed, right: &Packed, alpha: f32, add: bool) {
    assert!(left.side == Side::Left && right.side == Side::Right, "a matrix is packed for the other side");
    assert!(left.depth == right.depth, "the matrices of a product do not fit");
    let (rows, columns) = (left.lines, right.lines);
    let (tile_rows, tile_columns) = tile_size(rows, columns);
    let across = columns.div_ceil(tile_columns);
    let count = rows.div_ceil(tile_rows) * across;
    threads::for_each(count, rows * columns * left.depth / 8, |index| {
        let row = piece(index / across, tile_rows, rows);
        let column = piece(index % across, tile_columns, columns);
        // SAFETY: the tile lies inside the product, and no other index covers any of its elements.
        unsafe {
            let start = output.start.add(place.start + row.start * place.step + column.start);
            let steps = (left.depth.div_ceil(LINES), 0);
            tile(level(), start, place.step, (left.panels(), row), (right.panels(), column), steps, alpha, add);
        }
    });
}

/// Rows and columns of a piece of work: even in number where they can be, whole panels.
fn tile_size(rows: usize, columns: usize) -> (usize, usize) {
    /// Pieces that are enough for the threads.
    const WANTED: usize = 8;
    let across = columns.div_ceil(TILE.1).max(1);
    let mut down = rows.div_ceil(TILE.0).max(1);
    while (down * across < WANTED || !(down * across).is_multiple_of(2)) && rows.div_ceil(down) > 2 * LINES {
        down += 1;
    }
    let across = if down * across < WANTED { across.max((columns / 64).min(WANTED.div_ceil(down))) } else { across };
    (rows.div_ceil(down).next_multiple_of(LINES), columns.div_ceil(across.max(1)).next_multiple_of(LINES))
}

/// Some lines of a matrix; they begin with a panel.
type Lines<'a> = (&'a Packed, Range<usize>);

/// Panels in memory.
#[derive(Clone, Copy)]
pub(super) struct Panels<'a> {
    pub words: &'a [f32],
    /// Steps of each panel.
    pub steps: usize,
}

/// Words of the panels of so many lines of such a depth.
pub(super) fn panel_words(lines: usize, depth: usize) -> usize {
    lines.div_ceil(LINES) * depth.div_ceil(LINES) * STEP
}

/// Packs the rows of `from` as lines into `words`, which has [`panel_words`] of them.
pub(super) fn pack_into<'a>(words: &'a mut [f32], from: Matrix<'_>, side: Side) -> Panels<'a> {
    pack::panels(words, from, side);
    Panels { words, steps: from.columns.div_ceil(LINES) }
}

/// One piece of a product, on the calling thread: the first `steps` steps of `left`, and as many of `right` from step
/// `deep` on.
///
/// # Safety
/// `out` points at the first element of a tile of that many rows and columns whose rows are `row_step` apart, all of
/// them valid to read and write and touched by nobody else.
#[expect(unsafe_code, reason = "the product is a raw routine")]
#[expect(clippy::too_many_arguments, reason = "two matrices, a place and what to do with it")]
pub(super) unsafe fn tile(
    level: Level,
    out: *mut f32,
    row_step: usize,
    (left, row): (Panels<'_>, Range<usize>),
    (right, column): (Panels<'_>, Range<usize>),
    (steps, deep): (usize, usize),
    alpha: f32,
    add: bool,
) {
    // Equal blocks of depth, not a short one at the end.
    let block = steps.div_ceil(steps.div_ceil(DEPTH).max(1)).max(1);
    let kernel = tile::kernel(level);
    for first in (0..steps).step_by(block) {
        let count = block.min(steps - first);
        let add = add || first > 0;
        for across in column.clone().step_by(LINES) {
            let columns = LINES.min(column.end - across);
            let right = right.words[(across / LINES * right.steps + deep + first) * STEP..][..count * STEP].as_ptr();
            for down in row.clone().step_by(LINES) {
                // The output of the next product is fetched during this one.
                let next = down + LINES;
                for below in next..(next + LINES).min(row.end) {
                    let at = (below - row.start) * row_step + across - column.start;
                    tile::fetch(out.wrapping_add(at), columns);
                }
                let left = left.words[(down / LINES * left.steps + first) * STEP..][..count * STEP].as_ptr();
                let rows = LINES.min(row.end - down);
                // SAFETY: the panels are `count` steps long; the caller vouches for the output.
                unsafe {
                    let out = out.add((down - row.start) * row_step + across - column.start);
                    kernel.multiply((rows, columns), left, right, count, out, row_step, alpha, add);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::bf16;

    fn noise(count: usize, salt: usize) -> Vec<f32> {
        (0..count).map(|at| ((at * 7919 + salt * 104_729) % 1009) as f32 / 504.5 - 1.0).collect()
    }

    fn rounded(value: f32) -> f64 {
        f64::from(bf16::from_f32(value).to_f32())
    }

    /// The levels of this machine; says which it has not.
    fn levels() -> Vec<Level> {
        let all = [Level::Portable, Level::Avx2, Level::Avx512, Level::Avx512Bf16, Level::Amx];
        let (here, missing): (Vec<Level>, Vec<Level>) = all.into_iter().partition(|at| *at <= level());
        if !missing.is_empty() {
            println!("not tested, since this processor has none of it or METIER_KERNEL says so: {missing:?}");
        }
        here
    }

    #[test]
    fn every_kernel_agrees_with_sums_in_f64() {
        let sizes = [(1, 1, 1), (3, 17, 5), (32, 32, 32), (33, 31, 65), (70, 100, 40), (7, 5, 1100), (16, 48, 513)];
        for (rows, columns, depth) in sizes {
            let (left, right) = (noise(rows * depth, 1), noise(depth * columns, 2));
            let before = noise(rows * columns, 3);
            for (turn_left, turn_right, add, alpha) in [
                (false, false, false, 1.0),
                (false, true, true, 1.0),
                (true, false, true, 0.5),
                (true, true, false, 1.0),
            ] {
                let a = Matrix::laid(&left, rows, depth, turn_left);
                let b = Matrix::laid(&right, depth, columns, turn_right);
                for level in levels() {
                    let mut out = before.clone();
                    let pack = |matrix: Matrix<'_>, side| pack::with(level, || Packed::lines(matrix, side));
                    let (packed_a, packed_b) = (pack(a, Side::Left), pack(b.transposed(), Side::Right));
                    #[expect(unsafe_code, reason = "the product is a raw routine")]
                    // SAFETY: the tile is the whole output.
                    unsafe {
                        let lines = ((packed_a.panels(), 0..rows), (packed_b.panels(), 0..columns));
                        let steps = (depth.div_ceil(LINES), 0);
                        tile(level, out.as_mut_ptr(), columns, lines.0, lines.1, steps, alpha, add);
                    }
                    for (at, out) in out.iter().enumerate() {
                        let (row, column) = (at / columns, at % columns);
                        let products = (0..depth).map(|step| {
                            let a = if turn_left { left[step * rows + row] } else { left[row * depth + step] };
                            let b =
                                if turn_right { right[column * depth + step] } else { right[step * columns + column] };
                            rounded(a) * rounded(b)
                        });
                        let (sum, size) =
                            products.fold((0.0, 0.0), |(sum, size), product| (sum + product, size + product.abs()));
                        let kept = if add { f64::from(before[at]) } else { 0.0 };
                        let error = (f64::from(*out) - (kept + f64::from(alpha) * sum)).abs();
                        // What adding so many numbers in f32 can be off by; a lost product is off by far more.
                        let bound = f64::from(f32::EPSILON) / 2.0 * (depth as f64 + 2.0) * (kept.abs() + size);
                        assert!(error <= bound, "{level:?} {rows} {columns} {depth} at {at}: {error} over {bound}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_left_matrix_turned_is_the_right_one_of_the_transposed() {
        for (lines, depth) in [(1, 1), (5, 33), (70, 40), (64, 96), (31, 100)] {
            let values = noise(lines * depth, 4);
            let matrix = Matrix::new(&values, lines, depth);
            let (left, packed) = (Packed::left(matrix), Packed::right(matrix));
            let turned = left.turned();
            assert_eq!((turned.lines, turned.depth), (packed.lines, packed.depth));
            let bits = |packed: &Packed| packed.words().iter().map(|word| word.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(turned), bits(&packed), "{lines} {depth}");
        }
    }

    #[test]
    fn parts_and_wholes_agree() {
        let (rows, columns, depth) = (ROWS + 40, 70, CHUNK.1 + 33);
        let (a, b) = (noise(rows * depth, 5), noise(depth * columns, 6));
        let (a, b) = (Matrix::new(&a, rows, depth), Matrix::new(&b, depth, columns));
        let mut parts = vec![1.0; rows * columns];
        multiply(&mut parts, a, b, 1.0, true);
        let mut whole = vec![1.0; rows * columns];
        multiply_packed(&mut whole, &Packed::left(a), &Packed::right(b), 1.0, true);
        for (part, whole) in parts.iter().zip(&whole) {
            assert!((part - whole).abs() < 2e-3, "{part} {whole}");
        }
    }

    #[test]
    fn what_is_no_number_stays_so() {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::from_bits(0x7f80_0001), 3.4e38] {
            let mut out = [0.0];
            multiply(&mut out, Matrix::new(&[value], 1, 1), Matrix::new(&[1.0], 1, 1), 1.0, false);
            let right = bf16::from_f32(value).to_f32();
            assert!(out[0].to_bits() == right.to_bits() || out[0].is_nan() && right.is_nan(), "{value}: {}", out[0]);
        }
    }
}
