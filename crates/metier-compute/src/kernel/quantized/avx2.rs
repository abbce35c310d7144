//! The same with AVX2, which has products of pairs of 8-bit integers that fit in 16 bits.
//!
//! One factor is without a sign. Codes of up to 6 bits are that factor as they are, and some of their products are added
//! in 16 bits. Codes of 8 bits lose their center and give their sign to the other factor.

#[allow(clippy::wildcard_imports, reason = "the names of instructions; quiet in tests, so no expectation")]
use std::arch::x86_64::*;
use std::ops::Range;

use super::activations::{ActivationRow, ActivationTile, Activations};
use super::few::{AHEAD, Few, fetch, last_group};
use super::panel::{FOUR, LINES, Panel, TILE};
use super::stored::{LARGEST_GROUP, scales_of_q4_k};
use super::{FEW, RUN, TURNS};
use crate::block::{Coding, Weight};
use crate::kernel::matmul::Output;
use crate::kernel::{Level, level};

/// Lines whose sums share a register.
const PAIR: usize = 2;
/// Lines of half a panel, as many as a register has sums.
const HALF: usize = LINES / 2;

fn available() -> bool {
    level() >= Level::Avx2 && is_x86_feature_detected!("f16c")
}

/// How a group, four steps, of a line is read. Blocks of 32 numbers are a step each; those of 256 are whole groups.
trait Stored {
    /// Numbers of a step.
    const STEP: usize;
    /// Bytes of a group whose steps are blocks.
    const GROUP: usize;
    /// Bytes of four steps, about.
    const GROUP_BYTES: usize;
    /// Whether there are minima.
    const HAS_MINIMUM: bool;
    /// Whether a center is taken from the codes when their products are summed.
    const HAS_CENTER: bool;
    /// Whether the codes have signs, and 8 bits.
    const SIGNED: bool;

    /// The codes of a group: 16 numbers of the first two steps, then of the others; behind them the other 16, if any.
    ///
    /// # Safety
    /// The processor has AVX2; the line has the group.
    #[expect(unsafe_code, reason = "reads blocks by address")]
    unsafe fn codes(line: *const u8, group: usize) -> [[__m256i; 2]; 2];

    /// Scales and minima of a group of two lines, in the order of [`across`].
    ///
    /// # Safety
    /// The processor has AVX2 and F16C; each line has the group.
    #[expect(unsafe_code, reason = "reads blocks by address")]
    unsafe fn scales(lines: [*const u8; PAIR], group: usize) -> (__m256, __m256);
}

struct Q4_0;
struct Q4_1;
struct Q4K;
struct Q6K;
struct Q8_0;

/// 16 bytes at each of two places.
///
/// # Safety
/// The processor has AVX2, and the bytes can be read.
#[expect(unsafe_code, reason = "reads blocks by address")]
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn two_runs(first: *const u8, second: *const u8) -> __m256i {
    // SAFETY: the caller says so.
    unsafe { _mm256_loadu2_m128i(second.cast(), first.cast()) }
}

/// The next 32 bits.
///
/// # Safety
/// They can be read.
#[expect(unsafe_code, reason = "reads blocks by address")]
#[inline]
unsafe fn word(at: *const u8) -> i32 {
    // SAFETY: the caller says so.
    unsafe { at.cast::<i32>().read_unaligned() }
}

/// The low and the high halves of bytes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn halves(bytes: __m256i) -> [__m256i; 2] {
    let mask = _mm256_set1_epi8(15);
    [_mm256_and_si256(bytes, mask), _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), mask)]
}

/// The numbers of half precision at `place` of two lines, in the order of [`across`].
///
/// # Safety
/// The processor has AVX2 and F16C, and the bytes can be read.
#[expect(unsafe_code, reason = "reads blocks by address")]
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn half_of_lines(lines: [*const u8; PAIR], place: usize) -> __m256 {
    // SAFETY: the caller says so.
    let halves = lines.map(|line| unsafe { u32::from(line.add(place).cast::<u16>().read_unaligned()) });
    let [a, b] = halves.map(|half| (half << 16 | half).cast_signed());
    _mm256_cvtph_ps(_mm_setr_epi32(a, b, a, b))
}

/// Four bytes of each of two lines, in the order of [`across`].
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn turned([a, b]: [u32; PAIR]) -> __m128i {
    let bytes = _mm_cvtsi64_si128((u64::from(a) | (u64::from(b) << 32)).cast_signed());
    _mm_shuffle_epi8(bytes, _mm_setr_epi8(0, 2, 4, 6, 1, 3, 5, 7, -1, -1, -1, -1, -1, -1, -1, -1))
}

/// A [`Stored`] whose blocks are steps of 32: bytes of a block, what it has, where the codes begin, and how they are read
/// from four blocks.
macro_rules! of_blocks {
    ($name:ident, $bytes:literal, minimum: $has_minimum:literal, center: $has_center:literal, signed: $signed:literal,
     |$line:ident| $codes:expr) => {
        #[expect(unsafe_code, reason = "reads blocks by address")]
        impl Stored for $name {
            const STEP: usize = 32;
            const GROUP: usize = 4 * $bytes;
            const GROUP_BYTES: usize = Self::GROUP;
            const HAS_MINIMUM: bool = $has_minimum;
            const HAS_CENTER: bool = $has_center;
            const SIGNED: bool = $signed;

            #[inline]
            #[target_feature(enable = "avx2,fma,f16c")]
            unsafe fn codes(line: *const u8, group: usize) -> [[__m256i; 2]; 2] {
                // SAFETY: the caller vouches for the line.
                unsafe {
                    let $line = line.add(group * Self::GROUP);
                    $codes
                }
            }

            #[inline]
            #[target_feature(enable = "avx2,fma,f16c")]
            unsafe fn scales(lines: [*const u8; PAIR], group: usize) -> (__m256, __m256) {
                let [a, b] = lines.map(|line| line.wrapping_add(group * Self::GROUP));
                // SAFETY: the caller vouches for the lines; a block is longer than its scales.
                let (even, odd) = unsafe {
                    let (a0, a1, a2, a3) =
                        (word(a), word(a.add($bytes)), word(a.add(2 * $bytes)), word(a.add(3 * $bytes)));
                    let (b0, b1, b2, b3) =
                        (word(b), word(b.add($bytes)), word(b.add(2 * $bytes)), word(b.add(3 * $bytes)));
                    (_mm_setr_epi32(a0, a2, b0, b2), _mm_setr_epi32(a1, a3, b1, b3))
                };
                let low = _mm_set1_epi32(0xffff);
                let scales = _mm_packus_epi32(_mm_and_si128(even, low), _mm_and_si128(odd, low));
                let minima = if $has_minimum {
                    _mm256_cvtph_ps(_mm_packus_epi32(_mm_srli_epi32::<16>(even), _mm_srli_epi32::<16>(odd)))
                } else {
                    _mm256_setzero_ps()
                };
                (_mm256_cvtph_ps(scales), minima)
            }
        }
    };
}

/// Codes of 4 bits: the low halves of a step's 16 bytes are its first 16 numbers.
#[expect(unsafe_code, reason = "reads blocks by address")]
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn nibbles(first: *const u8, bytes: usize) -> [[__m256i; 2]; 2] {
    // SAFETY: the caller vouches for four blocks.
    let [a, b] = unsafe { [two_runs(first, first.add(bytes)), two_runs(first.add(2 * bytes), first.add(3 * bytes))] };
    let ([a, c], [b, d]) = (halves(a), halves(b));
    [[a, b], [c, d]]
}

of_blocks!(Q4_0, 18, minimum: false, center: true, signed: false, |line| nibbles(line.add(2), 18));
of_blocks!(Q4_1, 20, minimum: true, center: false, signed: false, |line| nibbles(line.add(4), 20));
of_blocks!(Q8_0, 34, minimum: false, center: false, signed: true, |line| {
    let (a, b, c, d) = (line.add(2), line.add(36), line.add(70), line.add(104));
    [[two_runs(a, b), two_runs(c, d)], [two_runs(a.add(16), b.add(16)), two_runs(c.add(16), d.add(16))]]
});

#[expect(unsafe_code, reason = "reads blocks by address")]
impl Stored for Q4K {
    const STEP: usize = 32;
    const GROUP: usize = 0;
    const GROUP_BYTES: usize = 72;
    const HAS_MINIMUM: bool = true;
    const HAS_CENTER: bool = false;
    const SIGNED: bool = false;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn codes(line: *const u8, group: usize) -> [[__m256i; 2]; 2] {
        let bytes = line.wrapping_add(group / 2 * 144 + 16 + group % 2 * 64);
        // Low halves are one step, high halves the next.
        // SAFETY: the caller vouches for the line.
        let [[a, b], [c, d]] =
            unsafe { [halves(_mm256_loadu_si256(bytes.cast())), halves(_mm256_loadu_si256(bytes.add(32).cast()))] };
        [
            [_mm256_permute2x128_si256::<0x20>(a, b), _mm256_permute2x128_si256::<0x20>(c, d)],
            [_mm256_permute2x128_si256::<0x31>(a, b), _mm256_permute2x128_si256::<0x31>(c, d)],
        ]
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn scales(lines: [*const u8; PAIR], group: usize) -> (__m256, __m256) {
        let blocks = lines.map(|line| line.wrapping_add(group / 2 * 144));
        // SAFETY: the caller vouches for the lines.
        let parts = blocks.map(|block| unsafe { scales_of_q4_k(block, group % 2) });
        let scales = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(turned(parts.map(|part| part.0))));
        let depths = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(turned(parts.map(|part| part.1))));
        // SAFETY: the caller vouches for the lines.
        let (d, m) = unsafe { (half_of_lines(blocks, 0), half_of_lines(blocks, 2)) };
        let below = _mm256_mul_ps(m, depths);
        (_mm256_mul_ps(d, scales), _mm256_xor_ps(below, _mm256_set1_ps(-0.0)))
    }
}

#[expect(unsafe_code, reason = "reads blocks by address")]
impl Stored for Q6K {
    const STEP: usize = 16;
    const GROUP: usize = 0;
    const GROUP_BYTES: usize = 53;
    const HAS_MINIMUM: bool = false;
    const HAS_CENTER: bool = true;
    const SIGNED: bool = false;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn codes(line: *const u8, group: usize) -> [[__m256i; 2]; 2] {
        let block = line.wrapping_add(group / 4 * 210);
        let (half, high) = (group % 4 / 2, group % 2);
        // SAFETY: the caller vouches for the line.
        let (low, upper) = unsafe {
            let low = block.add(64 * half);
            (
                [_mm256_loadu_si256(low.cast()), _mm256_loadu_si256(low.add(32).cast())],
                _mm256_loadu_si256(block.add(128 + 32 * half).cast()),
            )
        };
        // The first 32 numbers have bits 0 and 1 of 32 bytes, the next 32 bits 2 and 3, and so on.
        let upper = if high == 0 {
            [_mm256_slli_epi16::<4>(upper), _mm256_slli_epi16::<2>(upper)]
        } else {
            [upper, _mm256_srli_epi16::<2>(upper)]
        };
        let mask = _mm256_set1_epi8(0x30);
        let run = [
            _mm256_or_si256(halves(low[0])[high], _mm256_and_si256(upper[0], mask)),
            _mm256_or_si256(halves(low[1])[high], _mm256_and_si256(upper[1], mask)),
        ];
        [run, run]
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn scales(lines: [*const u8; PAIR], group: usize) -> (__m256, __m256) {
        let blocks = lines.map(|line| line.wrapping_add(group / 4 * 210));
        let parts =
            // SAFETY: the caller vouches for the line.
            blocks.map(|block| unsafe { block.add(192 + group % 4 * 4).cast::<u32>().read_unaligned() });
        let scales = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(turned(parts)));
        // SAFETY: the caller vouches for the lines.
        let d = unsafe { half_of_lines(blocks, 208) };
        (_mm256_mul_ps(d, scales), _mm256_setzero_ps())
    }
}

/// The function for lines of `weight` and `rows` rows; none when the processor or the type is none for it.
pub(super) fn few(weight: &Weight<'_>, rows: usize) -> Option<Few> {
    if !available() {
        return None;
    }
    Some(match weight.block.name() {
        "Q4_0" => of_rows::<Q4_0>(rows),
        "Q4_1" => of_rows::<Q4_1>(rows),
        "Q4_K" => of_rows::<Q4K>(rows),
        "Q6_K" => of_rows::<Q6K>(rows),
        "Q8_0" => of_rows::<Q8_0>(rows),
        _ => return None,
    })
}

/// The function for `rows` rows.
fn of_rows<S: Stored>(rows: usize) -> Few {
    const { assert!(FEW == 8) };
    match rows {
        0 | 1 => few_rows::<S, 1>,
        2 => few_rows::<S, 2>,
        3 | 4 => few_rows::<S, 4>,
        5 | 6 => few_rows::<S, 6>,
        _ => few_rows::<S, 8>,
    }
}

/// # Safety
/// The processor has the features; each of the columns `mine` of `out` belongs to the caller.
#[expect(unsafe_code, reason = "reads blocks by address, writes columns")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn few_rows<S: Stored, const N: usize>(
    out: Output,
    (x, some): (&Activations, Range<usize>),
    weight: &Weight<'_>,
    mine: Range<usize>,
    add: bool,
) {
    let rows: [ActivationRow<'_>; N] = std::array::from_fn(|row| x.row((some.start + row).min(some.end - 1)));
    let whole = weight.columns / (TURNS * S::STEP);
    let length = weight.row(0).len();
    for first in mine.clone().step_by(PAIR) {
        let count = PAIR.min(mine.end - first);
        // A line past the end is one that is there: its product is thrown away.
        let bytes = &weight.bytes[first * length..];
        let lines = [&bytes[..length], &bytes[(count - 1) * length..][..length]];
        let at = [lines[0].as_ptr(), lines[1].as_ptr()];
        let mut sums = [_mm256_setzero_ps(); N];
        let next = at[0].wrapping_add(PAIR * length + AHEAD);
        for group in 0..whole {
            fetch(next, PAIR * S::GROUP_BYTES, group);
            // SAFETY: each line has `whole` groups.
            unsafe {
                join::<S, N>(&mut sums, (at, group), TURNS, &rows, group);
            }
        }
        if !weight.columns.is_multiple_of(TURNS * S::STEP) {
            let mut spare = [[0_u8; LARGEST_GROUP]; PAIR];
            let last = last_group(lines, weight, first + count, (S::GROUP, whole), &mut spare);
            // SAFETY: a group can be read at each line, or at its copy.
            unsafe {
                join::<S, N>(&mut sums, last, weight.columns / S::STEP % TURNS, &rows, whole);
            }
        }
        for (row, sums) in some.clone().zip(&sums) {
            let pairs = _mm_add_ps(_mm256_castps256_ps128(*sums), _mm256_extractf128_ps::<1>(*sums));
            let mut four = [0.0_f32; 4];
            // SAFETY: there is room for four, and the columns are the caller's.
            unsafe {
                _mm_storeu_ps(four.as_mut_ptr(), _mm_hadd_ps(pairs, pairs));
                out.merge(row * weight.rows + first, &four[..count], add);
            }
        }
    }
}

/// Adds the products of one group of two lines with `N` rows, in the order of [`across`].
///
/// # Safety
/// The processor has the features; at each of `lines` group `stored` can be read, and each row has group `group`. Steps
/// from `valid` on have no scales.
#[expect(unsafe_code, reason = "reads blocks by address")]
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn join<S: Stored, const N: usize>(
    sums: &mut [__m256; N],
    (lines, stored): ([*const u8; PAIR], usize),
    valid: usize,
    rows: &[ActivationRow<'_>; N],
    group: usize,
) {
    let steps = _mm256_setr_epi32(0, 2, 0, 2, 1, 3, 1, 3);
    // SAFETY: the caller vouches for the lines, and each row has the group.
    unsafe {
        let codes = [S::codes(lines[0], stored), S::codes(lines[1], stored)];
        let (mut scales, mut minima) = S::scales(lines, stored);
        if valid < TURNS {
            let there = _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32(valid as i32), steps));
            (scales, minima) = (_mm256_and_ps(scales, there), _mm256_and_ps(minima, there));
        }
        for (sum, row) in sums.iter_mut().zip(rows) {
            let values = row.codes.as_ptr().add(group * TURNS * S::STEP);
            let low = [_mm256_loadu_si256(values.cast()), _mm256_loadu_si256(values.add(2 * RUN).cast())];
            let high = if S::STEP > RUN {
                [_mm256_loadu_si256(values.add(4 * RUN).cast()), _mm256_loadu_si256(values.add(6 * RUN).cast())]
            } else {
                low
            };
            let [[a, b], [c, d]] = codes;
            let mut whole = across([
                fours::<S>([a[0], b[0]], [low[0], high[0]]),
                fours::<S>([a[1], b[1]], [low[1], high[1]]),
                fours::<S>([c[0], d[0]], [low[0], high[0]]),
                fours::<S>([c[1], d[1]], [low[1], high[1]]),
            ]);
            let index = group * TURNS;
            if S::HAS_CENTER {
                let starts = _mm256_broadcastsi128_si256(_mm_loadu_si128(row.starts.as_ptr().add(index).cast()));
                whole = _mm256_add_epi32(whole, _mm256_permutevar8x32_epi32(starts, steps));
            }
            let scale = _mm256_broadcast_ps(&*row.scales.as_ptr().add(index).cast());
            let scale = _mm256_mul_ps(scales, _mm256_permutevar8x32_ps(scale, steps));
            *sum = _mm256_add_ps(*sum, _mm256_mul_ps(_mm256_cvtepi32_ps(whole), scale));
            if S::HAS_MINIMUM {
                let total = _mm256_broadcast_ps(&*row.sums.as_ptr().add(index).cast());
                *sum = _mm256_add_ps(*sum, _mm256_mul_ps(minima, _mm256_permutevar8x32_ps(total, steps)));
            }
        }
    }
}

/// Products of codes and values, summed by fours: of both runs, where a step has two.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn fours<S: Stored>(codes: [__m256i; 2], values: [__m256i; 2]) -> __m256i {
    let ones = _mm256_set1_epi16(1);
    if S::SIGNED {
        let pairs = [
            _mm256_maddubs_epi16(_mm256_abs_epi8(codes[0]), _mm256_sign_epi8(values[0], codes[0])),
            _mm256_maddubs_epi16(_mm256_abs_epi8(codes[1]), _mm256_sign_epi8(values[1], codes[1])),
        ];
        return _mm256_add_epi32(_mm256_madd_epi16(pairs[0], ones), _mm256_madd_epi16(pairs[1], ones));
    }
    let mut pairs = _mm256_maddubs_epi16(codes[0], values[0]);
    if S::STEP > RUN {
        pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(codes[1], values[1]));
    }
    _mm256_madd_epi16(pairs, ones)
}

/// The sums of each four lanes of four registers that hold steps 0 and 1, then 2 and 3, of one line, then of another: lanes
/// are steps 0 and 2 of the first line, then of the second, and steps 1 and 3 of them.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn across([a, b, c, d]: [__m256i; 4]) -> __m256i {
    _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d))
}

/// The products of a panel with some rows; false when the processor is none for it.
pub(super) fn meet(
    out: &mut [[f32; LINES]; TILE],
    panel: &Panel,
    tile: ActivationTile<'_>,
    coding: Coding,
    groups: usize,
) -> bool {
    if !available() {
        return false;
    }
    // Of codes of so many bits, products with this many fours of values can be added in 16 bits.
    let run = match (coding.step, coding.has_minimum, coding.bits) {
        (16, false, ..=5) => meet_tile::<16, false, 4>,
        (16, false, 6) => meet_tile::<16, false, 2>,
        (16, true, ..=5) => meet_tile::<16, true, 4>,
        (32, false, ..=4) => meet_tile::<32, false, 8>,
        (32, false, 5) => meet_tile::<32, false, 4>,
        (32, false, 8) => meet_tile::<32, false, 1>,
        (32, true, ..=4) => meet_tile::<32, true, 8>,
        (32, true, 5) => meet_tile::<32, true, 4>,
        _ => return false,
    };
    #[expect(unsafe_code, reason = "a function for an instruction set can only be called so")]
    // SAFETY: the processor has the features; panel and rows were made for these groups.
    unsafe {
        run(out, panel, tile, groups);
    }
    true
}

/// `ADDED` fours are added in 16 bits; 1 is for codes of 8 bits around 128.
///
/// # Safety
/// The processor has the features; panel and rows have `groups` groups of steps of `STEP`.
#[expect(unsafe_code, reason = "reads by address")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn meet_tile<const STEP: usize, const HAS_MINIMUM: bool, const ADDED: usize>(
    out: &mut [[f32; LINES]; TILE],
    panel: &Panel,
    tile: ActivationTile<'_>,
    groups: usize,
) {
    let values: [*const i8; TILE] = std::array::from_fn(|row| tile.row(row).as_ptr());
    let ones = _mm256_set1_epi16(1);
    for half in 0..2 {
        let mut kept = [[_mm256_setzero_ps(); TILE]; TURNS];
        for (turn, sums) in kept.iter_mut().enumerate() {
            for group in 0..groups {
                let (index, from) = (group * TURNS + turn, turn * groups + group);
                // SAFETY: the caller vouches for the sizes.
                unsafe {
                    let codes = panel.codes.as_ptr().add(from * STEP * LINES + half * HALF * FOUR);
                    let mut whole = [_mm256_setzero_si256(); TILE];
                    for some in 0..STEP / (FOUR * ADDED) {
                        let mut pairs = [_mm256_setzero_si256(); TILE];
                        for four in some * ADDED..(some + 1) * ADDED {
                            let (run, within) = (four / (RUN / FOUR), four % (RUN / FOUR) * FOUR);
                            let place = (group * STEP / RUN + run) * (TURNS * RUN) + turn * RUN + within;
                            let codes = _mm256_loadu_si256(codes.add(four * LINES * FOUR).cast());
                            let signed = _mm256_xor_si256(codes, _mm256_set1_epi8(i8::MIN));
                            let size = if ADDED == 1 { _mm256_abs_epi8(signed) } else { codes };
                            for (pairs, values) in pairs.iter_mut().zip(values) {
                                let mut values = _mm256_set1_epi32(values.add(place).cast::<i32>().read_unaligned());
                                if ADDED == 1 {
                                    values = _mm256_sign_epi8(values, signed);
                                }
                                *pairs = _mm256_add_epi16(*pairs, _mm256_maddubs_epi16(size, values));
                            }
                        }
                        for (whole, pairs) in whole.iter_mut().zip(pairs) {
                            *whole = _mm256_add_epi32(*whole, _mm256_madd_epi16(pairs, ones));
                        }
                    }
                    let at = panel.scales.as_ptr().add(from).cast::<f32>().add(half * HALF);
                    let scales = _mm256_loadu_ps(at);
                    let at = panel.minima.as_ptr().add(from).cast::<f32>().add(half * HALF);
                    let minima = _mm256_loadu_ps(at);
                    let (row_scales, totals) = (tile.scales.get_unchecked(index), tile.sums.get_unchecked(index));
                    let starts = tile.starts.get_unchecked(index);
                    for (row, (sum, mut whole)) in sums.iter_mut().zip(whole).enumerate() {
                        if ADDED > 1 && !HAS_MINIMUM {
                            whole = _mm256_add_epi32(whole, _mm256_set1_epi32(starts[row]));
                        }
                        let scale = _mm256_mul_ps(scales, _mm256_set1_ps(row_scales[row]));
                        *sum = _mm256_add_ps(*sum, _mm256_mul_ps(_mm256_cvtepi32_ps(whole), scale));
                        if HAS_MINIMUM {
                            *sum = _mm256_add_ps(*sum, _mm256_mul_ps(minima, _mm256_set1_ps(totals[row])));
                        }
                    }
                }
            }
        }
        for (row, out) in out.iter_mut().enumerate() {
            let turns = [kept[0][row], kept[1][row], kept[2][row], kept[3][row]];
            let total = _mm256_add_ps(_mm256_add_ps(turns[0], turns[1]), _mm256_add_ps(turns[2], turns[3]));
            // SAFETY: there is room for eight behind each half.
            unsafe {
                _mm256_storeu_ps(out.as_mut_ptr().add(half * HALF), total);
            }
        }
    }
}
