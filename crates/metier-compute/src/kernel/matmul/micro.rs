//! The innermost tiles of a product, one set for each instruction set, and how the right matrix is packed for them.
//!
//! A panel of the right matrix holds `COLUMNS` columns side by side for each step of depth, filled up with zeros. The
//! left matrix is read where it lies. A tile stays in registers over the whole depth of a block.
//! The scheme is that of Goto and van de Geijn, Anatomy of High-Performance Matrix Multiplication, 2008.

use super::Matrix;
use crate::kernel::Level;

/// One tile: `out = alpha left right`, or `+=`.
///
/// The arguments are the rows of the tile (at most [`Kernel::rows`]), its columns (at most [`Kernel::columns`]),
/// the depth, the left rows, the panel of the right matrix, the first element of the output, the distance of its
/// rows, `alpha`, and whether to add.
type Tile = unsafe fn(usize, usize, usize, Left, *const f32, *mut f32, usize, f32, bool);

/// Where a tile reads the left matrix.
#[derive(Clone, Copy)]
pub(super) struct Left {
    /// Its first element.
    pub start: *const f32,
    /// Elements from row to row when rows lie along the depth, from step to step of depth otherwise.
    pub step: usize,
    /// Whether rows lie along the depth.
    pub along: bool,
}

/// Puts 16 steps of depth of at most 16 rows that lie along the depth side by side: from where, the distance of
/// its rows, how many rows, to where, the distance of the steps there. Each step is written 16 wide.
type Transpose = unsafe fn(*const f32, usize, usize, *mut f32, usize);

/// The tiles of one instruction set.
#[derive(Clone, Copy)]
pub(super) struct Kernel {
    pub rows: usize,
    pub columns: usize,
    pub tile: Tile,
    transpose: Option<Transpose>,
}

/// The tiles of an instruction set, which the machine must have.
pub(super) fn kernel(level: Level) -> Kernel {
    match level {
        #[cfg(target_arch = "x86_64")]
        level if level >= Level::Avx512 => avx512::KERNEL,
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => avx2::KERNEL,
        _ => portable::KERNEL,
    }
}

/// Asks for the line of the cache that `from` begins in.
#[cfg(target_arch = "x86_64")]
pub(super) fn prefetch(from: &[f32]) {
    use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
    #[expect(unsafe_code, reason = "a hint by pointer")]
    // SAFETY: a hint reads nothing, and every processor of this kind has it.
    unsafe {
        _mm_prefetch::<_MM_HINT_T1>(from.as_ptr().cast());
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn prefetch(_: &[f32]) {}

/// Steps of depth in one turn of the innermost loop.
const UNROLLED: usize = 4;

/// Steps of depth that [`Transpose`] takes.
const STEPS: usize = 16;

/// Packs the columns of `from`, at most [`Kernel::columns`] of them, into `panel`.
pub(super) fn pack(kernel: Kernel, panel: &mut [f32], from: Matrix<'_>) {
    let columns = from.transposed();
    assert!(panel.len() >= kernel.columns * from.rows, "a panel reaches past its buffer");
    match (from.row_step, kernel.columns) {
        (1, width) => pack_along(kernel, panel, columns, width),
        (_, 8) => pack_across::<8>(panel, columns),
        (_, 16) => pack_across::<16>(panel, columns),
        (_, 32) => pack_across::<32>(panel, columns),
        (_, width) => unreachable!("no kernel has panels of {width}"),
    }
}

/// A panel of at most `W` rows that lie across the depth.
fn pack_across<const W: usize>(panel: &mut [f32], from: Matrix<'_>) {
    let (steps, _) = panel.as_chunks_mut::<W>();
    for (step, to) in steps.iter_mut().enumerate().take(from.columns) {
        let start = step * from.column_step;
        if from.rows == W
            && from.row_step == 1
            && let Some(whole) = from.data[start..].first_chunk::<W>()
        {
            *to = *whole;
            continue;
        }
        if from.row_step == 1 {
            to[..from.rows].copy_from_slice(&from.data[start..][..from.rows]);
            to[from.rows..].fill(0.0);
            continue;
        }
        for (row, to) in to.iter_mut().enumerate() {
            *to = if row < from.rows { from.data[start + row * from.row_step] } else { 0.0 };
        }
    }
}

/// A panel of at most `width` rows that lie along the depth.
fn pack_along(kernel: Kernel, panel: &mut [f32], from: Matrix<'_>, width: usize) {
    let (rows, depth) = (from.rows, from.columns);
    let whole = if kernel.transpose.is_some() { depth / STEPS * STEPS } else { 0 };
    if let Some(transpose) = kernel.transpose {
        for step in (0..whole).step_by(STEPS) {
            for column in (0..width).step_by(STEPS) {
                let count = rows.saturating_sub(column).min(STEPS);
                let source = from.data[column.min(rows - 1) * from.row_step + step..].as_ptr();
                let target = panel[step * width + column..(step + STEPS) * width].as_mut_ptr();
                #[expect(unsafe_code, reason = "calls the loop of an instruction set")]
                // SAFETY: the kernel is of this machine. `count` rows of `STEPS` elements from `source` on lie in the
                // matrix. The width is a multiple of `STEPS`, so every write ends before the panel's next `STEPS`.
                unsafe {
                    transpose(source, from.row_step, count, target, width);
                }
            }
        }
    }
    for step in whole..depth {
        let to = &mut panel[step * width..][..width];
        for (row, to) in to.iter_mut().enumerate() {
            *to = if row < rows { from.data[row * from.row_step + step] } else { 0.0 };
        }
    }
}

/// The tile of an instruction set whose module has `Vector`, `LANES`, `ROWS`, `COLUMNS`, `zero`, `load`, `splat`,
/// `fma`, `write` and the vectors of a row as `ACROSS`.
macro_rules! tile {
    ($(#[$features:meta])*; $($rows:literal)*) => {
        /// As [`super::Tile`], with the rows known to the compiler.
        #[expect(unsafe_code, reason = "reads panels and writes a tile by pointer")]
        #[expect(clippy::too_many_arguments, reason = "a tile has that many")]
        $(#[$features])*
        unsafe fn rows<const R: usize, const ALONG: bool>(
            columns: usize,
            depth: usize,
            left: Left,
            mut right: *const f32,
            out: *mut f32,
            step: usize,
            alpha: f32,
            add: bool,
        ) {
            let mut sums = [[zero(); ACROSS]; R];
            let step_of_left = left.step;
            // Every third row has a pointer of its own; those between are at one and two steps from it.
            let mut starts = [left.start; ROWS.div_ceil(3)];
            for (number, start) in starts.iter_mut().enumerate() {
                *start = start.wrapping_add(if ALONG { 3 * number * step_of_left } else { 3 * number });
            }
            // Several steps a turn: what counts the turns would take the place of multiplications.
            for turn in [UNROLLED, 1] {
                let turns = if turn == 1 { depth % UNROLLED } else { depth / UNROLLED };
                for _ in 0..turns {
                    // SAFETY: the caller's rows and panel are this deep.
                    unsafe {
                        for step in 0..turn {
                            let mut across = [zero(); ACROSS];
                            for (number, vector) in across.iter_mut().enumerate() {
                                *vector = load(right.add(step * COLUMNS + number * LANES));
                            }
                            for (row, sums) in sums.iter_mut().enumerate() {
                                let between = if ALONG {
                                    row % 3 * step_of_left + step
                                } else {
                                    step * step_of_left + row % 3
                                };
                                let value = splat(*starts[row / 3].add(between));
                                for (sum, vector) in sums.iter_mut().zip(across) {
                                    *sum = fma(value, vector, *sum);
                                }
                            }
                        }
                        let further = if ALONG { turn } else { turn * step_of_left };
                        for start in &mut starts {
                            *start = start.wrapping_add(further);
                        }
                        right = right.add(turn * COLUMNS);
                    }
                }
            }
            for (row, sums) in sums.into_iter().enumerate() {
                for (number, sum) in sums.into_iter().enumerate() {
                    let here = columns.saturating_sub(number * LANES).min(LANES);
                    if here > 0 {
                        // SAFETY: the caller's output has these columns in each row.
                        unsafe {
                            write(out.add(row * step + number * LANES), here, sum, alpha, add);
                        }
                    }
                }
            }
        }

        /// As [`super::Tile`].
        #[expect(unsafe_code, reason = "reads panels and writes a tile by pointer")]
        #[expect(clippy::too_many_arguments, reason = "a tile has that many")]
        unsafe fn tile(
            count: usize,
            columns: usize,
            depth: usize,
            left: Left,
            right: *const f32,
            out: *mut f32,
            step: usize,
            alpha: f32,
            add: bool,
        ) {
            // SAFETY: as the caller promises; this kernel is chosen only where the processor has the features.
            unsafe {
                match (count, left.along) {
                    $(
                        ($rows, true) => rows::<$rows, true>(columns, depth, left, right, out, step, alpha, add),
                        ($rows, false) => rows::<$rows, false>(columns, depth, left, right, out, step, alpha, add),
                    )*
                    _ => unreachable!("a tile has at most {ROWS} rows"),
                }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
pub(super) use {avx2::transpose, avx512::transposed};

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use super::{Left, UNROLLED};
    #[allow(clippy::wildcard_imports, reason = "the names of instructions; quiet in tests, so no expectation")]
    use std::arch::x86_64::*;

    type Vector = __m512;
    const LANES: usize = 16;
    const ACROSS: usize = 2;
    const ROWS: usize = 12;
    const COLUMNS: usize = ACROSS * LANES;
    pub(super) const KERNEL: super::Kernel =
        super::Kernel { rows: ROWS, columns: COLUMNS, tile, transpose: Some(transpose) };

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn zero() -> Vector {
        _mm512_setzero_ps()
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    #[expect(unsafe_code, reason = "a load by pointer")]
    unsafe fn load(from: *const f32) -> Vector {
        // SAFETY: the caller vouches for `LANES` elements.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn splat(value: f32) -> Vector {
        _mm512_set1_ps(value)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn fma(a: Vector, b: Vector, sum: Vector) -> Vector {
        _mm512_fmadd_ps(a, b, sum)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    #[expect(unsafe_code, reason = "a masked store by pointer")]
    unsafe fn write(out: *mut f32, count: usize, sum: Vector, alpha: f32, add: bool) {
        let mask = (0xffff_u32 >> (LANES - count)) as __mmask16;
        // SAFETY: the caller vouches for `count` elements, and the mask has no more.
        unsafe {
            let alpha = _mm512_set1_ps(alpha);
            let value = if add {
                _mm512_fmadd_ps(alpha, sum, _mm512_maskz_loadu_ps(mask, out))
            } else {
                _mm512_mul_ps(alpha, sum)
            };
            _mm512_mask_storeu_ps(out, mask, value);
        }
    }

    tile!(#[target_feature(enable = "avx512f")]; 1 2 3 4 5 6 7 8 9 10 11 12);

    /// As [`super::Transpose`].
    #[expect(unsafe_code, reason = "reads rows and writes steps by pointer")]
    unsafe fn transpose(from: *const f32, row_step: usize, rows: usize, to: *mut f32, to_step: usize) {
        // SAFETY: as the caller promises; this kernel is chosen only where the processor has the features.
        unsafe { transpose_here(from, row_step, rows, to, to_step) }
    }

    #[expect(unsafe_code, reason = "reads rows and writes steps by pointer")]
    #[target_feature(enable = "avx512f")]
    unsafe fn transpose_here(from: *const f32, row_step: usize, rows: usize, to: *mut f32, to_step: usize) {
        let mut r = [_mm512_setzero_ps(); 16];
        for (row, vector) in r.iter_mut().enumerate().take(rows) {
            // SAFETY: the caller vouches for 16 elements of each of the rows.
            *vector = unsafe { _mm512_loadu_ps(from.add(row * row_step)) };
        }
        r = transposed(r);
        for (step, vector) in r.into_iter().enumerate() {
            // SAFETY: the caller vouches for 16 elements at each step.
            unsafe { _mm512_storeu_ps(to.add(step * to_step), vector) };
        }
    }

    /// 16 vectors of the 16 lanes that were in one place.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub(crate) fn transposed(mut r: [Vector; 16]) -> [Vector; 16] {
        // Pairs, then fours within the quarters of the registers, then the quarters themselves.
        let mut t = [_mm512_setzero_ps(); 16];
        for i in 0..8 {
            t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
            t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
        }
        for i in 0..4 {
            let [a, b, c, d] = [4 * i, 4 * i + 1, 4 * i + 2, 4 * i + 3];
            let pair = |x, y| (_mm512_castps_pd(x), _mm512_castps_pd(y));
            let ((p, q), (s, u)) = (pair(t[a], t[c]), pair(t[b], t[d]));
            r[a] = _mm512_castpd_ps(_mm512_unpacklo_pd(p, q));
            r[b] = _mm512_castpd_ps(_mm512_unpackhi_pd(p, q));
            r[c] = _mm512_castpd_ps(_mm512_unpacklo_pd(s, u));
            r[d] = _mm512_castpd_ps(_mm512_unpackhi_pd(s, u));
        }
        for i in 0..4 {
            t[i] = _mm512_shuffle_f32x4::<0x88>(r[i], r[4 + i]);
            t[4 + i] = _mm512_shuffle_f32x4::<0xdd>(r[i], r[4 + i]);
            t[8 + i] = _mm512_shuffle_f32x4::<0x88>(r[8 + i], r[12 + i]);
            t[12 + i] = _mm512_shuffle_f32x4::<0xdd>(r[8 + i], r[12 + i]);
        }
        for i in 0..4 {
            r[i] = _mm512_shuffle_f32x4::<0x88>(t[i], t[8 + i]);
            r[4 + i] = _mm512_shuffle_f32x4::<0x88>(t[4 + i], t[12 + i]);
            r[8 + i] = _mm512_shuffle_f32x4::<0xdd>(t[i], t[8 + i]);
            r[12 + i] = _mm512_shuffle_f32x4::<0xdd>(t[4 + i], t[12 + i]);
        }
        r
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2 {
    use super::{Left, UNROLLED};
    #[allow(clippy::wildcard_imports, reason = "the names of instructions; quiet in tests, so no expectation")]
    use std::arch::x86_64::*;

    type Vector = __m256;
    pub(in super::super) const LANES: usize = 8;
    const ACROSS: usize = 2;
    const ROWS: usize = 6;
    const COLUMNS: usize = ACROSS * LANES;
    pub(super) const KERNEL: super::Kernel =
        super::Kernel { rows: ROWS, columns: COLUMNS, tile, transpose: Some(transpose) };

    #[inline]
    #[target_feature(enable = "avx")]
    fn zero() -> Vector {
        _mm256_setzero_ps()
    }

    #[inline]
    #[target_feature(enable = "avx")]
    #[expect(unsafe_code, reason = "a load by pointer")]
    unsafe fn load(from: *const f32) -> Vector {
        // SAFETY: the caller vouches for `LANES` elements.
        unsafe { _mm256_loadu_ps(from) }
    }

    #[inline]
    #[target_feature(enable = "avx")]
    fn splat(value: f32) -> Vector {
        _mm256_set1_ps(value)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn fma(a: Vector, b: Vector, sum: Vector) -> Vector {
        _mm256_fmadd_ps(a, b, sum)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    #[expect(unsafe_code, reason = "a store by pointer")]
    unsafe fn write(out: *mut f32, count: usize, sum: Vector, alpha: f32, add: bool) {
        let scaled = _mm256_set1_ps(alpha);
        // SAFETY: the caller vouches for `count` elements.
        unsafe {
            if count == LANES {
                let value =
                    if add { _mm256_fmadd_ps(scaled, sum, _mm256_loadu_ps(out)) } else { _mm256_mul_ps(scaled, sum) };
                _mm256_storeu_ps(out, value);
                return;
            }
            let mut values = [0.0_f32; LANES];
            _mm256_storeu_ps(values.as_mut_ptr(), sum);
            for (at, value) in values.into_iter().enumerate().take(count) {
                let out = out.add(at);
                *out = if add { alpha.mul_add(value, *out) } else { alpha * value };
            }
        }
    }

    tile!(#[target_feature(enable = "avx2,fma")]; 1 2 3 4 5 6);

    /// As [`super::Transpose`].
    #[expect(unsafe_code, reason = "reads rows and writes steps by pointer")]
    pub(in super::super) unsafe fn transpose(
        from: *const f32,
        row_step: usize,
        rows: usize,
        to: *mut f32,
        to_step: usize,
    ) {
        for half in [0, LANES] {
            for steps in [0, LANES] {
                // SAFETY: as the caller promises; this kernel is chosen only where the processor has the features.
                unsafe {
                    // Past the last row nothing is read.
                    let from = from.wrapping_add(half * row_step + steps);
                    eight(
                        from,
                        row_step,
                        rows.saturating_sub(half).min(LANES),
                        to.add(steps * to_step + half),
                        to_step,
                    );
                }
            }
        }
    }

    /// Eight steps of at most eight rows, each step written eight wide.
    #[expect(unsafe_code, reason = "reads rows and writes steps by pointer")]
    #[target_feature(enable = "avx2")]
    unsafe fn eight(from: *const f32, row_step: usize, rows: usize, to: *mut f32, to_step: usize) {
        let mut r = [_mm256_setzero_ps(); 8];
        for (row, vector) in r.iter_mut().enumerate().take(rows) {
            // SAFETY: the caller vouches for eight elements of each of the rows.
            *vector = unsafe { _mm256_loadu_ps(from.add(row * row_step)) };
        }
        for (step, vector) in turned(r).into_iter().enumerate() {
            // SAFETY: the caller vouches for eight elements at each step.
            unsafe { _mm256_storeu_ps(to.add(step * to_step), vector) };
        }
    }

    /// Eight vectors of the eight lanes that were in one place.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(in super::super) fn turned(mut r: [Vector; LANES]) -> [Vector; LANES] {
        // Pairs, then fours within the halves of the registers, then the halves themselves.
        let mut t = [_mm256_setzero_ps(); 8];
        for i in 0..4 {
            t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
            t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
        }
        for i in 0..2 {
            let [a, b, c, d] = [4 * i, 4 * i + 1, 4 * i + 2, 4 * i + 3];
            r[a] = _mm256_shuffle_ps::<0x44>(t[a], t[c]);
            r[b] = _mm256_shuffle_ps::<0xee>(t[a], t[c]);
            r[c] = _mm256_shuffle_ps::<0x44>(t[b], t[d]);
            r[d] = _mm256_shuffle_ps::<0xee>(t[b], t[d]);
        }
        for i in 0..4 {
            t[i] = _mm256_permute2f128_ps::<0x20>(r[i], r[4 + i]);
            t[4 + i] = _mm256_permute2f128_ps::<0x31>(r[i], r[4 + i]);
        }
        t
    }
}

mod portable {
    use super::{Left, UNROLLED};

    const LANES: usize = 4;
    const ACROSS: usize = 2;
    const ROWS: usize = 4;
    const COLUMNS: usize = ACROSS * LANES;
    pub(super) const KERNEL: super::Kernel = super::Kernel { rows: ROWS, columns: COLUMNS, tile, transpose: None };

    type Vector = [f32; LANES];

    fn zero() -> Vector {
        [0.0; LANES]
    }

    #[inline]
    #[expect(unsafe_code, reason = "a load by pointer")]
    unsafe fn load(from: *const f32) -> Vector {
        // SAFETY: the caller vouches for `LANES` elements.
        unsafe { from.cast::<Vector>().read_unaligned() }
    }

    #[inline]
    fn splat(value: f32) -> Vector {
        [value; LANES]
    }

    #[inline]
    fn fma(a: Vector, b: Vector, mut sum: Vector) -> Vector {
        for lane in 0..LANES {
            sum[lane] += a[lane] * b[lane];
        }
        sum
    }

    #[inline]
    #[expect(unsafe_code, reason = "a store by pointer")]
    unsafe fn write(out: *mut f32, count: usize, sum: Vector, alpha: f32, add: bool) {
        for (at, value) in sum.into_iter().enumerate().take(count) {
            // SAFETY: the caller vouches for `count` elements.
            unsafe {
                let out = out.add(at);
                *out = if add { alpha * value + *out } else { alpha * value };
            }
        }
    }

    tile!(; 1 2 3 4);
}
