//! Rounding to `bf16` and putting pairs where tiles want them.

use half::bf16;

use super::super::Matrix;
use super::{LINES, STEP, Side};
use crate::kernel::{Level, level};

/// Lines of a tile, and pairs in each.
const SIDE: usize = 16;
/// Elements of a line in a tile.
const DEEP: usize = 2 * SIDE;

/// What one tile is packed of.
struct Source {
    start: *const f32,
    /// Elements from line to line when lines lie along the depth, from element to element of a line otherwise.
    step: usize,
    /// Whether the elements of a line lie side by side.
    along: bool,
    lines: usize,
    depth: usize,
}

/// Packs the lines, the rows of `from`, into `panels`, which has a panel for every 32 of them.
pub(super) fn panels(panels: &mut [f32], from: Matrix<'_>, side: Side) {
    let length = from.columns.div_ceil(LINES) * STEP;
    assert!(panels.len() == from.rows.div_ceil(LINES) * length, "panels do not fit");
    #[expect(unsafe_code, reason = "panels of a larger matrix are not one slice")]
    // SAFETY: every panel lies in the slice.
    unsafe {
        panels_at(panels.as_mut_ptr(), length, from, side);
    }
}

/// As [`panels`], for panels that begin `length` words apart from `start` on.
///
/// # Safety
/// For every 32 lines of `from` a panel with a step for every 32 elements of depth may be written.
#[expect(unsafe_code, reason = "panels of a larger matrix are not one slice")]
pub(super) unsafe fn panels_at(start: *mut f32, length: usize, from: Matrix<'_>, side: Side) {
    let (count, steps) = (from.rows.div_ceil(LINES), from.columns.div_ceil(LINES));
    let along = from.column_step == 1;
    assert!(along || from.row_step == 1, "neither lines nor steps of depth lie side by side");
    let pack = packer();
    // Memory is read in the order it lies in.
    for index in 0..count * steps {
        let (panel, step) = if along { (index / steps, index % steps) } else { (index % count, index / count) };
        // SAFETY: as the caller promises.
        let to = unsafe { std::slice::from_raw_parts_mut(start.add(panel * length + step * STEP), STEP) };
        for (half, to) in to.as_chunks_mut::<{ SIDE * SIDE }>().0.iter_mut().enumerate() {
            let (deep, line) = (step * DEEP, panel * LINES + half * SIDE);
            let lines = from.rows.saturating_sub(line).min(SIDE);
            if lines == 0 {
                to.fill(0.0);
                continue;
            }
            let source = Source {
                start: from.data[line * from.row_step + deep * from.column_step..].as_ptr(),
                step: if along { from.row_step } else { from.column_step },
                along,
                lines,
                depth: (from.columns - deep).min(DEEP),
            };
            // Along the depth a tile of the left side comes out as it is, across it one of the right side.
            let turn = along == (side == Side::Right);
            // SAFETY: the packer is of this machine; the lines and the depth of the source lie in the matrix.
            unsafe {
                pack(to, &source, turn);
            }
        }
    }
}

type Packer = unsafe fn(&mut [f32; SIDE * SIDE], &Source, bool);

fn packer() -> Packer {
    match here() {
        #[cfg(target_arch = "x86_64")]
        level if level >= Level::Avx512Bf16 => wide::bf16::tile,
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => wide::integer::tile,
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => wide::narrow::tile,
        _ => tile,
    }
}

#[cfg(not(test))]
fn here() -> Level {
    level()
}

#[cfg(test)]
thread_local! {
    static LEVEL: std::cell::Cell<Option<Level>> = const { std::cell::Cell::new(None) };
}

#[cfg(test)]
fn here() -> Level {
    LEVEL.get().unwrap_or_else(level)
}

/// Runs `work` with the packer of `level` on this thread.
#[cfg(test)]
pub(super) fn with<T>(level: Level, work: impl FnOnce() -> T) -> T {
    LEVEL.set(Some(level));
    let result = work();
    LEVEL.set(None);
    result
}

/// A tile on any processor.
#[expect(unsafe_code, reason = "reads lines by pointer")]
unsafe fn tile(to: &mut [f32; SIDE * SIDE], from: &Source, turn: bool) {
    to.fill(0.0);
    let line_major = from.along != turn;
    for line in 0..from.lines {
        for pair in 0..from.depth.div_ceil(2) {
            let bits = [2 * pair, 2 * pair + 1].map(|deep| {
                if deep >= from.depth {
                    return 0;
                }
                let at = if from.along { line * from.step + deep } else { deep * from.step + line };
                // SAFETY: the caller vouches for this line and this depth.
                u32::from(bf16::from_f32(unsafe { *from.start.add(at) }).to_bits())
            });
            let at = if line_major { line * SIDE + pair } else { pair * SIDE + line };
            to[at] = f32::from_bits(bits[0] | bits[1] << 16);
        }
    }
}

leveled! {
    /// Fills a panel of the right side whose depth is the lines of a left matrix: `from` is the step of its first
    /// panel, and its panels lie `length` words apart.
    pub(super) fn turned(panel: &mut [f32], from: &[f32], length: usize) {
        for (step, to) in panel.as_chunks_mut::<STEP>().0.iter_mut().enumerate() {
            // Lines 2p and 2p + 1 of the left matrix are the pair p: two tiles of 16 lines are the 16 pairs.
            let lines = from[step * length..][..STEP].as_chunks::<{ 2 * SIDE }>().0;
            let (first, second) = to.split_at_mut(SIDE * SIDE);
            let rows = first.as_chunks_mut::<SIDE>().0.iter_mut().zip(second.as_chunks_mut::<SIDE>().0);
            for ((first, second), lines) in rows.zip(lines) {
                let (even, odd) = lines.split_at(SIDE);
                for at in 0..SIDE / 2 {
                    for (to, from) in [(&mut *first, at), (&mut *second, at + SIDE / 2)] {
                        let (even, odd) = (even[from].to_bits(), odd[from].to_bits());
                        to[2 * at] = f32::from_bits(even & 0xffff | odd << 16);
                        to[2 * at + 1] = f32::from_bits(even >> 16 | odd & 0xffff_0000);
                    }
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod wide {
    use super::{SIDE, Source};
    #[allow(clippy::wildcard_imports, reason = "the names of instructions; quiet in tests, so no expectation")]
    use std::arch::x86_64::*;

    /// The packer of a module that has `adjacent`, 32 elements as 16 pairs that follow each other, and `paired`, pairs
    /// of the elements of two vectors.
    macro_rules! packer {
        ($features:literal) => {
            /// As [`super::Packer`].
            #[expect(unsafe_code, reason = "reads lines by pointer")]
            pub(in super::super) unsafe fn tile(to: &mut [f32; SIDE * SIDE], from: &Source, turn: bool) {
                // SAFETY: as the caller promises; chosen only where the processor has the features.
                unsafe {
                    match (from.along, turn, from.lines == SIDE && from.depth == 2 * SIDE) {
                        (true, true, true) => vectors::<true, true, true>(to, from),
                        (true, true, false) => vectors::<true, true, false>(to, from),
                        (true, false, true) => vectors::<true, false, true>(to, from),
                        (true, false, false) => vectors::<true, false, false>(to, from),
                        (false, true, true) => vectors::<false, true, true>(to, from),
                        (false, true, false) => vectors::<false, true, false>(to, from),
                        (false, false, true) => vectors::<false, false, true>(to, from),
                        (false, false, false) => vectors::<false, false, false>(to, from),
                    }
                }
            }

            #[expect(unsafe_code, reason = "reads lines by pointer")]
            #[target_feature(enable = $features)]
            unsafe fn vectors<const ALONG: bool, const TURN: bool, const FULL: bool>(
                to: &mut [f32; SIDE * SIDE],
                from: &Source,
            ) {
                let lines = if FULL { SIDE } else { from.lines };
                let depth = if FULL { 2 * SIDE } else { from.depth };
                let mut rows = [_mm512_setzero_ps(); SIDE];
                for (at, row) in rows.iter_mut().enumerate() {
                    // SAFETY: the caller vouches for the lines and the depth, and the masks have no more.
                    unsafe {
                        let (start, low, high) = if ALONG {
                            let here = if at < lines { depth } else { 0 };
                            (at * from.step, first(here.min(SIDE)), first(here.saturating_sub(SIDE)))
                        } else {
                            let here = |deep| if deep < depth { first(lines) } else { 0 };
                            (2 * at * from.step, here(2 * at), here(2 * at + 1))
                        };
                        let start = from.start.wrapping_add(start);
                        let next = start.wrapping_add(if ALONG { SIDE } else { from.step });
                        let (low, high) = if FULL {
                            (_mm512_loadu_ps(start), _mm512_loadu_ps(next))
                        } else {
                            (_mm512_maskz_loadu_ps(low, start), _mm512_maskz_loadu_ps(high, next))
                        };
                        *row = if ALONG { adjacent(low, high) } else { paired(low, high) };
                    }
                }
                if TURN {
                    rows = crate::kernel::matmul::micro::transposed(rows);
                }
                for (row, to) in rows.into_iter().zip(to.as_chunks_mut::<SIDE>().0) {
                    // SAFETY: a row of the tile is one vector.
                    unsafe { _mm512_storeu_ps(to.as_mut_ptr(), row) };
                }
            }
        };
    }

    pub(super) mod integer {
        #[allow(clippy::wildcard_imports, reason = "the names of instructions; quiet in tests, so no expectation")]
        use super::*;

        /// The upper halves of the rounded elements, to nearest and ties to even; what is no number stays none.
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw")]
        fn rounded(values: __m512) -> __m512i {
            let bits = _mm512_castps_si512(values);
            let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
            let sum = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
            let strange = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(values, values);
            _mm512_mask_or_epi32(sum, strange, bits, _mm512_set1_epi32(0x0040_0000))
        }

        #[inline]
        #[target_feature(enable = "avx512f,avx512bw")]
        fn adjacent(low: __m512, high: __m512) -> __m512 {
            let low = _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(rounded(low)));
            let high = _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(rounded(high)));
            _mm512_castsi512_ps(_mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high))
        }

        #[inline]
        #[target_feature(enable = "avx512f,avx512bw")]
        fn paired(even: __m512, odd: __m512) -> __m512 {
            let odd = _mm512_and_si512(rounded(odd), _mm512_set1_epi32(-0x1_0000));
            _mm512_castsi512_ps(_mm512_or_si512(_mm512_srli_epi32::<16>(rounded(even)), odd))
        }

        packer!("avx512f,avx512bw");
    }

    pub(super) mod bf16 {
        #[allow(clippy::wildcard_imports, reason = "the names of instructions; quiet in tests, so no expectation")]
        use super::*;

        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
        #[expect(unsafe_code, reason = "the same 512 bits under another type")]
        fn adjacent(low: __m512, high: __m512) -> __m512 {
            // SAFETY: both are 512 bits, and every pattern is a value.
            unsafe { std::mem::transmute::<__m512bh, __m512>(_mm512_cvtne2ps_pbh(high, low)) }
        }

        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
        #[expect(unsafe_code, reason = "the same 256 bits under another type")]
        fn paired(even: __m512, odd: __m512) -> __m512 {
            // SAFETY: all are 256 bits, and every pattern is a value.
            let (even, odd) = unsafe {
                let even = std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(even));
                (even, std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(odd)))
            };
            let odd = _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(odd));
            _mm512_castsi512_ps(_mm512_or_si512(_mm512_cvtepu16_epi32(even), odd))
        }

        packer!("avx512f,avx512bw,avx512bf16");
    }

    /// With AVX2: whole tiles, of which nearly all are.
    pub(super) mod narrow {
        #[allow(clippy::wildcard_imports, reason = "the names of instructions; quiet in tests, so no expectation")]
        use super::*;

        const LANES: usize = 8;

        /// As [`super::Packer`].
        #[expect(unsafe_code, reason = "reads lines by pointer")]
        pub(in super::super) unsafe fn tile(to: &mut [f32; SIDE * SIDE], from: &Source, turn: bool) {
            // SAFETY: as the caller promises; chosen only where the processor has the features. A tile to be turned is whole.
            unsafe {
                if from.lines < SIDE || from.depth < 2 * SIDE {
                    return super::super::tile(to, from, turn);
                }
                let mut straight = [0.0; SIDE * SIDE];
                let rows = if turn { &mut straight } else { &mut *to };
                if from.along {
                    vectors::<true>(rows, from);
                } else {
                    vectors::<false>(rows, from);
                }
                if turn {
                    crate::kernel::matmul::micro::transpose(straight.as_ptr(), SIDE, SIDE, to.as_mut_ptr(), SIDE);
                }
            }
        }

        #[expect(unsafe_code, reason = "reads lines by pointer")]
        #[target_feature(enable = "avx2")]
        unsafe fn vectors<const ALONG: bool>(to: &mut [f32; SIDE * SIDE], from: &Source) {
            for (row, to) in to.as_chunks_mut::<SIDE>().0.iter_mut().enumerate() {
                for (half, to) in to.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
                    let (start, next) = if ALONG {
                        (row * from.step + half * 2 * LANES, LANES)
                    } else {
                        (2 * row * from.step + half * LANES, from.step)
                    };
                    // SAFETY: the caller vouches for the lines and the depth of a whole tile; half a row is one vector.
                    unsafe {
                        let start = from.start.add(start);
                        let (first, second) = (_mm256_loadu_ps(start), _mm256_loadu_ps(start.add(next)));
                        let (first, second) = (rounded(first), rounded(second));
                        let words = if ALONG {
                            let pairs =
                                _mm256_packus_epi32(_mm256_srli_epi32::<16>(first), _mm256_srli_epi32::<16>(second));
                            _mm256_permute4x64_epi64::<0b11_01_10_00>(pairs)
                        } else {
                            let second = _mm256_and_si256(second, _mm256_set1_epi32(-0x1_0000));
                            _mm256_or_si256(_mm256_srli_epi32::<16>(first), second)
                        };
                        _mm256_storeu_si256(to.as_mut_ptr().cast(), words);
                    }
                }
            }
        }

        /// The upper halves are the rounded elements, to nearest and ties to even; what is no number stays none.
        #[inline]
        #[target_feature(enable = "avx2")]
        fn rounded(values: __m256) -> __m256i {
            let bits = _mm256_castps_si256(values);
            let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
            let sum = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
            let strange = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(values, values));
            let none = _mm256_or_si256(bits, _mm256_set1_epi32(0x0040_0000));
            _mm256_blendv_epi8(sum, none, strange)
        }
    }

    /// A mask of the first `count` lanes.
    fn first(count: usize) -> __mmask16 {
        ((1_u32 << count) - 1) as __mmask16
    }
}
