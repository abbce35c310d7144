//! The same with AVX2, which has products of pairs of 8-bit integers that fit in 16 bits.
//!
//! One factor is without a sign. Codes of up to 6 bits are that factor as they are, and some of their products are added
//! in 16 bits. Codes of 8 bits lose their center and give their sign to the other factor.

#[allow(clippy::wildcard_imports, reason = "the names of instructions; quiet in tests, so no expectation")]
use std::arch::x86_64::*;
use std::ops::Range;

use super::activations::{ActivationRow, ActivationTile, Activations};
use super::few::{AHEAD, Few, LARGEST_GROUP, fetch, few_of, last_group};
use super::panel::{FOUR, LINES, Panel, TILE};
use super::{FEW, RUN, TURNS};
use crate::block::{Coding, Weight};
use crate::kernel::matmul::Output;
use crate::kernel::{Level, level};
use stored::{Iq4Nl, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0, Stored};

mod stored;

/// Lines whose sums share a register.
const PAIR: usize = 2;
/// Lines of half a panel, as many as a register has sums.
const HALF: usize = LINES / 2;

fn available() -> bool {
    level() >= Level::Avx2 && is_x86_feature_detected!("f16c")
}

few_of! {
    "Q4_0": Q4_0, "Q4_1": Q4_1, "Q4_K": Q4K, "Q5_0": Q5_0, "Q5_1": Q5_1, "Q5_K": Q5K, "Q6_K": Q6K, "Q8_0": Q8_0, "IQ4_NL": Iq4Nl;
    0 | 1 => 1, 2 => 2, 3 | 4 => 4, 5 | 6 => 6, _ => 8
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
                out.write(row * weight.rows + first, &four[..count]);
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
