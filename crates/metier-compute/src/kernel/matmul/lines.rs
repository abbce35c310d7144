//! Products of a few rows with lines that are read where they lie: a vector of each of eight lines is turned in
//! registers, and nothing is packed. A line is a column of the right matrix that lies along the depth, as the rows of a
//! weight do. Each product is summed in the order of [`super::multiply`], so it is the same to the bit.
//!
//! The eight lines are far apart: each lane goes through a stretch of the memory of its own, from its first byte to its
//! last, which is what processors fetch ahead best.

use std::arch::x86_64::{
    __m256, _MM_HINT_T0, _mm_loadu_si128, _mm_prefetch, _mm256_castsi256_ps, _mm256_cvtepu16_epi32, _mm256_cvtph_ps,
    _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_mul_ps, _mm256_set1_ps, _mm256_setzero_ps, _mm256_slli_epi32,
    _mm256_storeu_ps,
};
use std::marker::PhantomData;
use std::ops::Range;

use super::micro::avx2::{LANES, turned};
use super::{Matrix, Output, block, chunk};
use crate::block::Numbers;
use crate::kernel::threads::{self, for_each, piece};
use crate::kernel::{Level, level};

/// Rows that meet a line together. With more the lines are turned again, from the nearest cache.
const TOGETHER: usize = 4;
/// Rows up to which that is faster than packing.
pub(crate) const FEW: usize = 8;
/// Bytes ahead that memory is asked for.
const AHEAD: usize = 256;
/// Bytes of the lines in one piece of work, at least.
const PIECE: usize = 1 << 17;
/// Bytes that the processor fetches together.
const FETCHED: usize = 64;

/// Lines one after another.
#[derive(Clone, Copy)]
pub(crate) struct Lines<'a> {
    start: *const u8,
    numbers: Numbers,
    count: usize,
    depth: usize,
    /// Bytes from line to line.
    step: usize,
    memory: PhantomData<&'a [u8]>,
}

#[expect(unsafe_code, reason = "a shared slice of bytes by its pointer")]
// SAFETY: it is only read, and borrows what it reads.
unsafe impl Sync for Lines<'_> {}

impl<'a> Lines<'a> {
    /// Lines of `depth` numbers that follow each other in `bytes`. `None` where the processor lacks the instructions.
    pub fn new(bytes: &'a [u8], numbers: Numbers, depth: usize) -> Option<Self> {
        let step = depth * numbers.bytes();
        let count = bytes.len().checked_div(step)?;
        let start = bytes.as_ptr();
        (level() >= Level::Avx2).then_some(Self { start, numbers, count, depth, step, memory: PhantomData })
    }

    /// The columns of a matrix; `None` where they do not lie along the depth, or the processor lacks the instructions.
    pub fn of(matrix: Matrix<'a>) -> Option<Self> {
        let Matrix { data, rows: depth, columns: count, row_step, column_step } = matrix;
        let (start, step) = (data.as_ptr().cast(), column_step * size_of::<f32>());
        let numbers = Numbers::F32;
        let lies = row_step == 1 && level() >= Level::Avx2;
        lies.then_some(Self { start, numbers, count, depth, step, memory: PhantomData })
    }
}

/// `out = alpha a lines^T`, or `+=`, where `out` is row-major and full and the rows of `a` lie along the depth.
pub(crate) fn multiply(out: &mut [f32], a: Matrix<'_>, lines: Lines<'_>, alpha: f32, add: bool) {
    let (rows, count) = (a.rows, lines.count);
    let fits = a.columns == lines.depth && a.column_step == 1 && out.len() == rows * count;
    assert!(fits, "the matrices of a product do not fit");
    if super::prepared(out, lines.depth, add) {
        return;
    }
    let bytes = count * lines.step;
    let together = (PIECE.max(bytes / (8 * threads::threads())) / lines.step).max(1).next_multiple_of(LANES);
    let output = Output::new(out);
    for_each(count.div_ceil(together), bytes, |index| {
        let output = &output;
        let lines = (&lines, piece(index, together, count));
        #[expect(unsafe_code, reason = "calls the product of an instruction set")]
        // SAFETY: `Lines` are only made where the processor has the instructions. These lines of all rows lie inside
        // `out`, which is borrowed, and belong to one piece.
        unsafe {
            match lines.0.numbers {
                Numbers::F32 => some::<F32>(output.start, a, lines, alpha, add),
                Numbers::Bf16 => some::<BF16>(output.start, a, lines, alpha, add),
                Numbers::F16 => some::<F16>(output.start, a, lines, alpha, add),
            }
        }
    });
}

const F32: u8 = 0;
const BF16: u8 = 1;
const F16: u8 = 2;

/// All rows by some lines.
///
/// # Safety
/// The processor has the instructions; `a` has rows along the depth of the lines; `out` may be written at the places of
/// the lines in as many rows, each as long as there are lines in all.
#[expect(unsafe_code, reason = "reads lines and writes rows by pointer")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn some<const NUMBERS: u8>(
    out: *mut f32,
    a: Matrix<'_>,
    (lines, mine): (&Lines<'_>, Range<usize>),
    alpha: f32,
    add: bool,
) {
    let each = mine.len() / LANES;
    for line in mine.start..mine.start + each {
        for first in (0..a.rows).step_by(TOGETHER) {
            let a = a.part(first..(first + TOGETHER).min(a.rows), 0..a.columns);
            // SAFETY: as the caller promises; the lines of all lanes are `mine`.
            unsafe {
                let out = out.add(first * lines.count + line);
                match a.rows {
                    1 => eight::<NUMBERS, 1>(out, a, lines, (line, each), alpha, add),
                    2 => eight::<NUMBERS, 2>(out, a, lines, (line, each), alpha, add),
                    3 => eight::<NUMBERS, 3>(out, a, lines, (line, each), alpha, add),
                    _ => eight::<NUMBERS, TOGETHER>(out, a, lines, (line, each), alpha, add),
                }
            }
        }
    }
    for line in mine.start + each * LANES..mine.end {
        for row in 0..a.rows {
            // SAFETY: as above.
            unsafe {
                one::<NUMBERS>(out.add(row * lines.count + line), &a.data[row * a.row_step..], lines, line, alpha, add);
            }
        }
    }
}

/// Where the steps of the depth begin that are summed together, and how many they are.
fn blocks(depth: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..depth).step_by(chunk(depth)).flat_map(move |deep| {
        let end = (deep + chunk(depth)).min(depth);
        let step = block(end - deep);
        (deep..end).step_by(step).map(move |top| (top, step.min(end - top)))
    })
}

/// As [`some`], of `ROWS` rows and eight lines, the first and those that follow so many lines apart.
#[inline]
#[expect(unsafe_code, reason = "reads lines and writes rows by pointer")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn eight<const NUMBERS: u8, const ROWS: usize>(
    out: *mut f32,
    a: Matrix<'_>,
    lines: &Lines<'_>,
    (first, apart): (usize, usize),
    alpha: f32,
    add: bool,
) {
    let (size, step) = (if NUMBERS == F32 { 4 } else { 2 }, apart * lines.step);
    let start = lines.start.wrapping_add(first * lines.step);
    let scaled = _mm256_set1_ps(alpha);
    let mut totals = [_mm256_setzero_ps(); ROWS];
    let mut values = [0.0_f32; LANES];
    if add {
        for (row, total) in totals.iter_mut().enumerate() {
            for (lane, value) in values.iter_mut().enumerate() {
                // SAFETY: the caller vouches for the places of these lines.
                *value = unsafe { *out.add(row * lines.count + lane * apart) };
            }
            // SAFETY: these are eight.
            *total = unsafe { _mm256_loadu_ps(values.as_ptr()) };
        }
    }
    for (top, count) in blocks(lines.depth) {
        let mut sums = [_mm256_setzero_ps(); ROWS];
        let mut from = top;
        while from < top + count {
            // A line of the cache is read whole before the next: lines a power of two apart lie in one set of it.
            let until = (from + FETCHED / size).min(top + count);
            for lane in 0..LANES {
                // A hint reads nothing.
                _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(lane * step + from * size + AHEAD).cast());
            }
            while from < until {
                let steps = (until - from).min(LANES);
                let here = start.wrapping_add(from * size);
                let mut r = [_mm256_setzero_ps(); LANES];
                // SAFETY: the caller vouches for the lines. A vector may reach past the block, not past its line.
                unsafe {
                    if from + LANES <= lines.depth {
                        for (lane, r) in r.iter_mut().enumerate() {
                            *r = load::<NUMBERS>(here.add(lane * step));
                        }
                    } else {
                        for (lane, r) in r.iter_mut().enumerate() {
                            let mut values = [0.0_f32; LANES];
                            for (number, value) in values.iter_mut().enumerate().take(steps) {
                                *value = single::<NUMBERS>(here.add(lane * step + number * size));
                            }
                            *r = _mm256_loadu_ps(values.as_ptr());
                        }
                    }
                }
                let r = turned(r);
                if steps == LANES {
                    for (number, vector) in r.iter().enumerate() {
                        // SAFETY: the rows are as deep as the lines.
                        unsafe { meet(&mut sums, a, from + number, *vector) };
                    }
                } else {
                    for (number, vector) in r.into_iter().enumerate().take(steps) {
                        // SAFETY: as above.
                        unsafe { meet(&mut sums, a, from + number, vector) };
                    }
                }
                from += steps;
            }
        }
        for (total, sum) in totals.iter_mut().zip(sums) {
            let is_first = top == 0 && !add;
            *total = if is_first { _mm256_mul_ps(scaled, sum) } else { _mm256_fmadd_ps(scaled, sum, *total) };
        }
    }
    for (row, total) in totals.into_iter().enumerate() {
        // SAFETY: these are eight; the caller vouches for the places of these lines.
        unsafe {
            _mm256_storeu_ps(values.as_mut_ptr(), total);
            for (lane, value) in values.into_iter().enumerate() {
                *out.add(row * lines.count + lane * apart) = value;
            }
        }
    }
}

/// Adds the products of a step of each row.
#[inline]
#[expect(unsafe_code, reason = "reads rows by pointer")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn meet<const ROWS: usize>(sums: &mut [__m256; ROWS], a: Matrix<'_>, step: usize, vector: __m256) {
    for (row, sum) in sums.iter_mut().enumerate() {
        // SAFETY: the caller vouches for the step of each row.
        let value = unsafe { *a.data.as_ptr().add(row * a.row_step + step) };
        *sum = _mm256_fmadd_ps(_mm256_set1_ps(value), vector, *sum);
    }
}

/// One row by one line.
///
/// # Safety
/// As for [`some`]; `row` is as deep as the line.
#[expect(unsafe_code, reason = "reads a line and writes a number by pointer")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn one<const NUMBERS: u8>(out: *mut f32, row: &[f32], lines: &Lines<'_>, line: usize, alpha: f32, add: bool) {
    let size = if NUMBERS == F32 { 4 } else { 2 };
    for (top, count) in blocks(lines.depth) {
        let mut sum = 0.0_f32;
        for (at, value) in row.iter().enumerate().take(top + count).skip(top) {
            // SAFETY: the number is one of the line's, which the caller vouches for.
            let number = unsafe { single::<NUMBERS>(lines.start.add(line * lines.step + at * size)) };
            sum = value.mul_add(number, sum);
        }
        // SAFETY: the caller vouches for this place.
        unsafe {
            *out = if add || top > 0 { alpha.mul_add(sum, *out) } else { alpha * sum };
        }
    }
}

/// Eight numbers.
#[inline]
#[expect(unsafe_code, reason = "a load by pointer")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn load<const NUMBERS: u8>(from: *const u8) -> __m256 {
    // SAFETY: the caller vouches for eight numbers.
    unsafe {
        match NUMBERS {
            F32 => _mm256_loadu_ps(from.cast()),
            BF16 => {
                let halves = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast()));
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(halves))
            }
            _ => _mm256_cvtph_ps(_mm_loadu_si128(from.cast())),
        }
    }
}

/// One number.
#[inline]
#[expect(unsafe_code, reason = "a load by pointer")]
unsafe fn single<const NUMBERS: u8>(from: *const u8) -> f32 {
    // SAFETY: the caller vouches for the number.
    unsafe {
        match NUMBERS {
            F32 => from.cast::<f32>().read_unaligned(),
            BF16 => half::bf16::from_bits(from.cast::<u16>().read_unaligned()).to_f32(),
            _ => half::f16::from_bits(from.cast::<u16>().read_unaligned()).to_f32(),
        }
    }
}
