//! Codes and scales in registers of AVX-512, read from blocks as they lie in memory.

#[allow(clippy::wildcard_imports, reason = "the names of instructions; quiet in tests, so no expectation")]
use std::arch::x86_64::*;

use crate::kernel::quantized::few::{SIDE, scales_of_q4_k};

/// How a group, four steps, of a line is read. Blocks of 32 numbers are a step each; those of 256 are whole groups.
pub(super) trait Stored {
    /// Numbers of a step.
    const STEP: usize;
    /// Bytes of a group whose steps are blocks.
    const GROUP: usize;
    /// Bytes of four steps, about.
    const GROUP_BYTES: usize;
    /// Whether there are minima.
    const HAS_MINIMUM: bool;

    /// Where the scales of the first group of four lines lie, counted from the first line: lane `4 step + line`. Zero where
    /// scales are not read so.
    fn places(lines: [*const u8; SIDE]) -> __m512i;

    /// The codes of a group: 16 numbers of each step in the first register, the other 16, if any, in the second.
    ///
    /// # Safety
    /// The processor has AVX-512 F, BW, DQ and VL; the line has the group.
    #[expect(unsafe_code, reason = "reads blocks by address")]
    unsafe fn codes(line: *const u8, group: usize) -> [__m512i; 2];

    /// Scales and minima of a group of four lines: lane `4 step + line`.
    ///
    /// # Safety
    /// As above, for each line; `places` is of these lines.
    #[expect(unsafe_code, reason = "reads blocks by address")]
    unsafe fn scales(lines: [*const u8; SIDE], places: __m512i, group: usize) -> (__m512, __m512);
}

pub(super) struct Q4_0;
pub(super) struct Q4_1;
pub(super) struct Q4K;
pub(super) struct Q6K;
pub(super) struct Q8_0;

/// [`Stored::places`] of blocks of `bytes` bytes.
#[expect(unsafe_code, reason = "a function for an instruction set can only be called so")]
fn places_of_blocks(lines: [*const u8; SIDE], bytes: i32) -> __m512i {
    #[target_feature(enable = "avx512f")]
    fn places([a, b, c, d]: [i32; SIDE], bytes: i32) -> __m512i {
        let steps = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
        let lines = _mm512_broadcast_i32x4(_mm_setr_epi32(a, b, c, d));
        _mm512_add_epi32(lines, _mm512_mullo_epi32(steps, _mm512_set1_epi32(bytes)))
    }
    let offsets = lines.map(|line| (line.addr().wrapping_sub(lines[0].addr())) as i32);
    // SAFETY: kernels of AVX-512 alone call this.
    unsafe { places(offsets, bytes) }
}

/// Four runs of 16 bytes, `apart` bytes from each other.
///
/// # Safety
/// The processor has AVX-512 F, and the bytes can be read.
#[expect(unsafe_code, reason = "reads blocks by address")]
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn four_runs(first: *const u8, apart: usize) -> __m512i {
    // SAFETY: the caller says so.
    unsafe {
        let run = |number: usize| _mm_loadu_si128(first.add(number * apart).cast());
        let runs = _mm512_castsi128_si512(run(0));
        let runs = _mm512_inserti32x4::<1>(runs, run(1));
        let runs = _mm512_inserti32x4::<2>(runs, run(2));
        _mm512_inserti32x4::<3>(runs, run(3))
    }
}

/// The low and the high halves of bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn halves(bytes: __m512i) -> [__m512i; 2] {
    let mask = _mm512_set1_epi8(15);
    [_mm512_and_si512(bytes, mask), _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), mask)]
}

/// The 32 bits at each of `places` behind `base`.
///
/// # Safety
/// The processor has AVX-512 F, and the bytes can be read.
#[expect(unsafe_code, reason = "reads blocks by address")]
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn words(base: *const u8, places: __m512i) -> __m512i {
    // SAFETY: the caller says so.
    unsafe { _mm512_i32gather_epi32::<1>(places, base.cast()) }
}

/// The lower 16 bits of each lane as a number of half precision.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn half(words: __m512i) -> __m512 {
    _mm512_cvtph_ps(_mm512_cvtepi32_epi16(words))
}

/// The number of half precision at `place` of each line, four times over.
///
/// # Safety
/// The processor has AVX-512 F, and the bytes can be read.
#[expect(unsafe_code, reason = "reads blocks by address")]
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,f16c")]
unsafe fn half_of_lines(lines: [*const u8; SIDE], place: usize) -> __m512 {
    // SAFETY: the caller says so.
    let [a, b, c, d] = lines.map(|line| unsafe { i64::from(line.add(place).cast::<u16>().read_unaligned()) });
    _mm512_broadcast_f32x4(_mm_cvtph_ps(_mm_cvtsi64_si128(a | (b << 16) | (c << 32) | (d << 48))))
}

/// Four bytes of each line turned: lane `4 byte + line`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn turned([a, b, c, d]: [u32; SIDE]) -> __m128i {
    let lines = _mm_setr_epi32(a as i32, b as i32, c as i32, d as i32);
    _mm_shuffle_epi8(lines, _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15))
}

/// A [`Stored`] whose blocks are steps of 32: bytes of a block, whether there are minima, where the codes begin, and how
/// they are read from four runs of 16 bytes.
macro_rules! of_blocks {
    ($name:ident, $bytes:literal, $has_minimum:literal, |$line:ident| $codes:expr) => {
        #[expect(unsafe_code, reason = "reads blocks by address")]
        impl Stored for $name {
            const STEP: usize = 32;
            const GROUP: usize = 4 * $bytes;
            const GROUP_BYTES: usize = Self::GROUP;
            const HAS_MINIMUM: bool = $has_minimum;

            #[inline]
            fn places(lines: [*const u8; SIDE]) -> __m512i {
                places_of_blocks(lines, $bytes)
            }

            #[inline]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
            unsafe fn codes(line: *const u8, group: usize) -> [__m512i; 2] {
                // SAFETY: the caller vouches for the line.
                unsafe {
                    let $line = line.add(group * Self::GROUP);
                    $codes
                }
            }

            #[inline]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
            unsafe fn scales(lines: [*const u8; SIDE], places: __m512i, group: usize) -> (__m512, __m512) {
                // SAFETY: the caller vouches for the lines; a block is longer than its scales.
                let words = unsafe { words(lines[0].add(group * Self::GROUP), places) };
                (half(words), if $has_minimum { half(_mm512_srli_epi32::<16>(words)) } else { _mm512_setzero_ps() })
            }
        }
    };
}

of_blocks!(Q4_0, 18, false, |line| halves(four_runs(line.add(2), 18)));
of_blocks!(Q4_1, 20, true, |line| halves(four_runs(line.add(4), 20)));
of_blocks!(Q8_0, 34, false, |line| {
    let sign = _mm512_set1_epi8(i8::MIN);
    [_mm512_xor_si512(four_runs(line.add(2), 34), sign), _mm512_xor_si512(four_runs(line.add(18), 34), sign)]
});

#[expect(unsafe_code, reason = "reads blocks by address")]
impl Stored for Q4K {
    const STEP: usize = 32;
    const GROUP: usize = 0;
    const GROUP_BYTES: usize = 72;
    const HAS_MINIMUM: bool = true;

    #[inline]
    fn places(_lines: [*const u8; SIDE]) -> __m512i {
        places_of_blocks([std::ptr::null(); SIDE], 0)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn codes(line: *const u8, group: usize) -> [__m512i; 2] {
        // Low halves are steps 0 and 2, high halves steps 1 and 3, 16 numbers of a step after the other.
        // SAFETY: the caller vouches for the line.
        let bytes = unsafe { _mm512_loadu_si512(line.add(group / 2 * 144 + 16 + group % 2 * 64).cast()) };
        let [low, high] = halves(bytes);
        let first = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13);
        let second = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
        [_mm512_permutex2var_epi64(low, first, high), _mm512_permutex2var_epi64(low, second, high)]
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,f16c")]
    unsafe fn scales(lines: [*const u8; SIDE], _places: __m512i, group: usize) -> (__m512, __m512) {
        let blocks = lines.map(|line| line.wrapping_add(group / 2 * 144));
        // SAFETY: the caller vouches for the lines.
        let [a, b, c, d] = unsafe {
            let half = group % 2;
            [
                scales_of_q4_k(blocks[0], half),
                scales_of_q4_k(blocks[1], half),
                scales_of_q4_k(blocks[2], half),
                scales_of_q4_k(blocks[3], half),
            ]
        };
        let scales = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(turned([a.0, b.0, c.0, d.0])));
        let depths = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(turned([a.1, b.1, c.1, d.1])));
        // SAFETY: the caller vouches for the lines.
        let (d, m) = unsafe { (half_of_lines(blocks, 0), half_of_lines(blocks, 2)) };
        let below = _mm512_mul_ps(m, depths);
        (_mm512_mul_ps(d, scales), _mm512_xor_ps(below, _mm512_set1_ps(-0.0)))
    }
}

#[expect(unsafe_code, reason = "reads blocks by address")]
impl Stored for Q6K {
    const STEP: usize = 16;
    const GROUP: usize = 0;
    const GROUP_BYTES: usize = 53;
    const HAS_MINIMUM: bool = false;

    #[inline]
    fn places(_lines: [*const u8; SIDE]) -> __m512i {
        places_of_blocks([std::ptr::null(); SIDE], 0)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn codes(line: *const u8, group: usize) -> [__m512i; 2] {
        let block = line.wrapping_add(group / 4 * 210);
        let (half, high) = (group % 4 / 2, group % 2 == 1);
        // SAFETY: the caller vouches for the line.
        let (low, upper) = unsafe {
            (
                _mm512_loadu_si512(block.add(64 * half).cast()),
                _mm512_broadcast_i64x4(_mm256_loadu_si256(block.add(128 + 32 * half).cast())),
            )
        };
        let low = halves(low)[usize::from(high)];
        // The first 32 numbers have bits 0 and 1 of 32 bytes, the next 32 bits 2 and 3, and so on.
        let shift = if high { [4, 6] } else { [0, 2] };
        let shift = _mm512_inserti64x4::<1>(_mm512_set1_epi16(shift[0]), _mm256_set1_epi16(shift[1]));
        let upper = _mm512_and_si512(_mm512_srlv_epi16(upper, shift), _mm512_set1_epi8(3));
        let codes = _mm512_or_si512(low, _mm512_slli_epi16::<4>(upper));
        [codes, codes]
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,f16c")]
    unsafe fn scales(lines: [*const u8; SIDE], _places: __m512i, group: usize) -> (__m512, __m512) {
        let blocks = lines.map(|line| line.wrapping_add(group / 4 * 210));
        let parts =
            // SAFETY: the caller vouches for the line.
            blocks.map(|block| unsafe { block.add(192 + group % 4 * 4).cast::<u32>().read_unaligned() });
        let scales = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(turned(parts)));
        // SAFETY: the caller vouches for the lines.
        let d = unsafe { half_of_lines(blocks, 208) };
        (_mm512_mul_ps(d, scales), _mm512_setzero_ps())
    }
}
