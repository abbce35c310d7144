//! The same with AVX-512 and its products of fours of 8-bit integers.

#[allow(clippy::wildcard_imports, reason = "the names of instructions; quiet in tests, so no expectation")]
use std::arch::x86_64::*;
use std::ops::Range;

use super::activations::{ActivationRow, ActivationTile, Activations};
use super::few::{AHEAD, Few, LARGEST_GROUP, SIDE, fetch, few_of, last_group};
use super::panel::{FOUR, LINES, Panel, TILE};
use super::{FEW, RUN, TURNS};
use crate::block::{Coding, Weight};
use crate::kernel::matmul::Output;
use crate::kernel::{Level, level};
use stored::{Q4_0, Q4_1, Q4K, Q6K, Q8_0, Stored};

mod stored;

fn available() -> bool {
    level() >= Level::Avx512 && is_x86_feature_detected!("avx512vnni")
}

few_of! {
    "Q4_0": Q4_0, "Q4_1": Q4_1, "Q4_K": Q4K, "Q6_K": Q6K, "Q8_0": Q8_0;
    0 | 1 => 1, 2 => 2, 3 => 3, 4 => 4, 5 => 5, 6 => 6, 7 => 7, _ => 8
}

/// # Safety
/// The processor has the features; each of the columns `mine` of `out` belongs to the caller.
#[expect(unsafe_code, reason = "reads blocks by address, writes columns")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,fma")]
unsafe fn few_rows<S: Stored, const N: usize>(
    out: Output,
    (x, some): (&Activations, Range<usize>),
    weight: &Weight<'_>,
    mine: Range<usize>,
) {
    let rows: [ActivationRow<'_>; N] = std::array::from_fn(|row| x.row((some.start + row).min(some.end - 1)));
    let whole = weight.columns / (TURNS * S::STEP);
    let cut = !weight.columns.is_multiple_of(TURNS * S::STEP);
    let length = weight.row(0).len();
    for first in mine.clone().step_by(SIDE) {
        let count = SIDE.min(mine.end - first);
        // A line past the end is one that is there: its product is thrown away.
        let lines: [&[u8]; SIDE] = std::array::from_fn(|side| weight.row(first + side.min(count - 1)));
        let at = lines.map(<[u8]>::as_ptr);
        let places = S::places(at);
        let mut sums = [_mm512_setzero_ps(); N];
        let next = at[0].wrapping_add(SIDE * length + AHEAD);
        for group in 0..whole {
            fetch(next, SIDE * S::GROUP_BYTES, group);
            // SAFETY: each line has `whole` groups.
            unsafe {
                join::<S, N>(&mut sums, (at, places, group), u16::MAX, &rows, group);
            }
        }
        if cut {
            let mut spare = [[0_u8; LARGEST_GROUP]; SIDE];
            let (at, last) = last_group(lines, weight, first + count, (S::GROUP, whole), &mut spare);
            let group = (at, S::places(at), last);
            let valid = (1 << (weight.columns / S::STEP % TURNS * SIDE)) - 1;
            // SAFETY: a group can be read at each line, or at its copy.
            unsafe {
                join::<S, N>(&mut sums, group, valid, &rows, whole);
            }
        }
        for (row, sums) in some.clone().zip(&sums) {
            let turns = [
                _mm512_extractf32x4_ps::<0>(*sums),
                _mm512_extractf32x4_ps::<1>(*sums),
                _mm512_extractf32x4_ps::<2>(*sums),
                _mm512_extractf32x4_ps::<3>(*sums),
            ];
            let total = _mm_add_ps(_mm_add_ps(turns[0], turns[1]), _mm_add_ps(turns[2], turns[3]));
            let mut four = [0.0_f32; SIDE];
            // SAFETY: there is room for four, and the columns are the caller's.
            unsafe {
                _mm_storeu_ps(four.as_mut_ptr(), total);
                out.write(row * weight.rows + first, &four[..count]);
            }
        }
    }
}

/// Adds the products of one group of four lines with `N` rows: lane `4 turn + line` of each sum.
///
/// # Safety
/// The processor has the features; at each of `lines` group `stored` can be read, and each row has group `group`. Lanes
/// that are not `valid` have no scales.
#[expect(unsafe_code, reason = "reads blocks by address")]
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,fma")]
unsafe fn join<S: Stored, const N: usize>(
    sums: &mut [__m512; N],
    (lines, places, stored): ([*const u8; SIDE], __m512i, usize),
    valid: __mmask16,
    rows: &[ActivationRow<'_>; N],
    group: usize,
) {
    let spread = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    // SAFETY: the caller vouches for the lines, and each row has the group.
    unsafe {
        let codes = [
            S::codes(lines[0], stored),
            S::codes(lines[1], stored),
            S::codes(lines[2], stored),
            S::codes(lines[3], stored),
        ];
        let (scales, minima) = S::scales(lines, places, stored);
        let (scales, minima) = (_mm512_maskz_mov_ps(valid, scales), _mm512_maskz_mov_ps(valid, minima));
        for (sum, row) in sums.iter_mut().zip(rows) {
            let values = row.codes.as_ptr().add(group * TURNS * S::STEP);
            let low = _mm512_loadu_si512(values.cast());
            // No `map`: a function without the features would stand between.
            let mut whole = [_mm512_setzero_si512(); SIDE];
            for (whole, codes) in whole.iter_mut().zip(codes) {
                *whole = _mm512_dpbusd_epi32(*whole, codes[0], low);
            }
            if S::STEP > RUN {
                let high = _mm512_loadu_si512(values.add(TURNS * RUN).cast());
                for (whole, codes) in whole.iter_mut().zip(codes) {
                    *whole = _mm512_dpbusd_epi32(*whole, codes[1], high);
                }
            }
            let index = group * TURNS;
            let starts = _mm_loadu_si128(row.starts.as_ptr().add(index).cast());
            let starts = _mm512_permutexvar_epi32(spread, _mm512_castsi128_si512(starts));
            let whole = _mm512_cvtepi32_ps(_mm512_add_epi32(across(whole), starts));
            let scale = _mm_loadu_ps(row.scales.as_ptr().add(index));
            let scale = _mm512_permutexvar_ps(spread, _mm512_castps128_ps512(scale));
            *sum = _mm512_add_ps(*sum, _mm512_mul_ps(whole, _mm512_mul_ps(scales, scale)));
            if S::HAS_MINIMUM {
                let total = _mm_loadu_ps(row.sums.as_ptr().add(index));
                let total = _mm512_permutexvar_ps(spread, _mm512_castps128_ps512(total));
                *sum = _mm512_add_ps(*sum, _mm512_mul_ps(minima, total));
            }
        }
    }
}

/// The sums of each four lanes of four registers: lane `4 i + j` is the sum of the lanes `4 i ..` of register `j`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,fma")]
fn across([a, b, c, d]: [__m512i; 4]) -> __m512i {
    let left = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let right = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    _mm512_add_epi32(_mm512_unpacklo_epi64(left, right), _mm512_unpackhi_epi64(left, right))
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
    let run = match (coding.step, coding.has_minimum) {
        (16, false) => meet_tile::<16, false>,
        (16, true) => meet_tile::<16, true>,
        (32, false) => meet_tile::<32, false>,
        (32, true) => meet_tile::<32, true>,
        _ => return false,
    };
    #[expect(unsafe_code, reason = "a function for an instruction set can only be called so")]
    // SAFETY: the processor has the features; panel and rows were made for these groups.
    unsafe {
        run(out, panel, tile, groups);
    }
    true
}

/// # Safety
/// The processor has the features; panel and rows have `groups` groups of steps of `STEP`.
#[expect(unsafe_code, reason = "reads by address")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,fma")]
unsafe fn meet_tile<const STEP: usize, const HAS_MINIMUM: bool>(
    out: &mut [[f32; LINES]; TILE],
    panel: &Panel,
    tile: ActivationTile<'_>,
    groups: usize,
) {
    let values: [*const i8; TILE] = std::array::from_fn(|row| tile.row(row).as_ptr());
    let mut kept = [[_mm512_setzero_ps(); TILE]; TURNS];
    for (turn, kept) in kept.iter_mut().enumerate() {
        let mut sums = [_mm512_setzero_ps(); TILE];
        for group in 0..groups {
            let (index, from) = (group * TURNS + turn, turn * groups + group);
            // SAFETY: the caller vouches for the sizes.
            unsafe {
                let codes = panel.codes.as_ptr().add(from * STEP * LINES);
                let mut whole = tile.starts.get_unchecked(index).map(|start| _mm512_set1_epi32(start));
                for four in 0..STEP / FOUR {
                    let (run, within) = (four / (RUN / FOUR), four % (RUN / FOUR) * FOUR);
                    let place = (group * STEP / RUN + run) * (TURNS * RUN) + turn * RUN + within;
                    let codes = _mm512_loadu_si512(codes.add(four * LINES * FOUR).cast());
                    for (whole, values) in whole.iter_mut().zip(values) {
                        let values = _mm512_set1_epi32(values.add(place).cast::<i32>().read_unaligned());
                        *whole = _mm512_dpbusd_epi32(*whole, codes, values);
                    }
                }
                let scales = _mm512_loadu_ps(panel.scales.as_ptr().add(from).cast());
                let minima = _mm512_loadu_ps(panel.minima.as_ptr().add(from).cast());
                let (row_scales, totals) = (tile.scales.get_unchecked(index), tile.sums.get_unchecked(index));
                for (row, (sum, whole)) in sums.iter_mut().zip(whole).enumerate() {
                    let scale = _mm512_mul_ps(scales, _mm512_set1_ps(row_scales[row]));
                    *sum = _mm512_add_ps(*sum, _mm512_mul_ps(_mm512_cvtepi32_ps(whole), scale));
                    if HAS_MINIMUM {
                        *sum = _mm512_add_ps(*sum, _mm512_mul_ps(minima, _mm512_set1_ps(totals[row])));
                    }
                }
            }
        }
        *kept = sums;
    }
    for (row, out) in out.iter_mut().enumerate() {
        let total = _mm512_add_ps(_mm512_add_ps(kept[0][row], kept[1][row]), _mm512_add_ps(kept[2][row], kept[3][row]));
        // SAFETY: there is room for sixteen.
        unsafe {
            _mm512_storeu_ps(out.as_mut_ptr(), total);
        }
    }
}
