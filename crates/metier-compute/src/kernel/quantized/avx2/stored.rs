//! Codes and scales in registers of AVX2, read from blocks as they lie in memory.

#[allow(clippy::wildcard_imports, reason = "the names of instructions; quiet in tests, so no expectation")]
use std::arch::x86_64::*;

use super::PAIR;
use crate::block::IQ4_NL_LEVELS;
use crate::kernel::quantized::few::scales_of_q4_k;

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

pub(super) struct Q4_0;
pub(super) struct Q4_1;
pub(super) struct Q4K;
pub(super) struct Q5_0;
pub(super) struct Q5_1;
pub(super) struct Q5K;
pub(super) struct Q6K;
pub(super) struct Q8_0;
pub(super) struct Iq4Nl;

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

/// Codes of 4 bits with their fifth ones, which stand for the 32 numbers of a block in 32 bits.
#[expect(unsafe_code, reason = "reads blocks by address")]
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn with_fifths([[a, b], [c, d]]: [[__m256i; 2]; 2], first: *const u8, bytes: usize) -> [[__m256i; 2]; 2] {
    // SAFETY: the caller vouches for four blocks.
    let ([e, g], [f, h]) = unsafe {
        (
            fifths([word(first), word(first.add(bytes))]),
            fifths([word(first.add(2 * bytes)), word(first.add(3 * bytes))]),
        )
    };
    [[_mm256_or_si256(a, e), _mm256_or_si256(b, f)], [_mm256_or_si256(c, g), _mm256_or_si256(d, h)]]
}

/// 16 where a bit is set: of the low 16 bits of two words, then of the high ones.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn fifths([a, b]: [i32; 2]) -> [__m256i; 2] {
    let words = _mm256_setr_m128i(_mm_cvtsi32_si128(a), _mm_cvtsi32_si128(b));
    let low = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1));
    let high = _mm256_or_si256(low, _mm256_set1_epi8(2));
    let bits = _mm256_set1_epi64x(i64::from_le_bytes([1, 2, 4, 8, 16, 32, 64, 128]));
    let sixteen = _mm256_set1_epi8(16);
    let (low, high) = (_mm256_shuffle_epi8(words, low), _mm256_shuffle_epi8(words, high));
    let (low, high) = (_mm256_and_si256(low, bits), _mm256_and_si256(high, bits));
    [_mm256_and_si256(_mm256_cmpeq_epi8(low, bits), sixteen), _mm256_and_si256(_mm256_cmpeq_epi8(high, bits), sixteen)]
}

/// What codes of `IQ4_NL` stand for.
#[expect(unsafe_code, reason = "reads levels by address")]
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn leveled(codes: __m256i) -> __m256i {
    // SAFETY: there are sixteen levels of a byte.
    let levels = unsafe { _mm_loadu_si128(IQ4_NL_LEVELS.as_ptr().cast()) };
    _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(levels), codes)
}

of_blocks!(Q4_0, 18, minimum: false, center: true, signed: false, |line| nibbles(line.add(2), 18));
of_blocks!(Q4_1, 20, minimum: true, center: false, signed: false, |line| nibbles(line.add(4), 20));
of_blocks!(Q5_0, 22, minimum: false, center: true, signed: false, |line| {
    with_fifths(nibbles(line.add(6), 22), line.add(2), 22)
});
of_blocks!(Q5_1, 24, minimum: true, center: false, signed: false, |line| {
    with_fifths(nibbles(line.add(8), 24), line.add(4), 24)
});
of_blocks!(Iq4Nl, 18, minimum: false, center: false, signed: true, |line| {
    let [[a, b], [c, d]] = nibbles(line.add(2), 18);
    [[leveled(a), leveled(b)], [leveled(c), leveled(d)]]
});
of_blocks!(Q8_0, 34, minimum: false, center: false, signed: true, |line| {
    let (a, b, c, d) = (line.add(2), line.add(36), line.add(70), line.add(104));
    [[two_runs(a, b), two_runs(c, d)], [two_runs(a.add(16), b.add(16)), two_runs(c.add(16), d.add(16))]]
});

/// Scales and minima, in the order of [`across`](super::across), of the first or the second half of two blocks of `Q4_K` or `Q5_K`.
///
/// # Safety
/// The processor has AVX2 and F16C, and the blocks can be read.
#[expect(unsafe_code, reason = "reads blocks by address")]
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn above_minimum(blocks: [*const u8; PAIR], half: usize) -> (__m256, __m256) {
    // SAFETY: the caller vouches for the lines.
    let [a, b] = unsafe { [scales_of_q4_k(blocks[0], half), scales_of_q4_k(blocks[1], half)] };
    let scales = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(turned([a.0, b.0])));
    let depths = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(turned([a.1, b.1])));
    // SAFETY: the caller vouches for the lines.
    let (d, m) = unsafe { (half_of_lines(blocks, 0), half_of_lines(blocks, 2)) };
    let below = _mm256_mul_ps(m, depths);
    (_mm256_mul_ps(d, scales), _mm256_xor_ps(below, _mm256_set1_ps(-0.0)))
}

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
        by_runs([a, b, c, d])
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn scales(lines: [*const u8; PAIR], group: usize) -> (__m256, __m256) {
        // SAFETY: the caller vouches for the lines.
        unsafe { above_minimum(lines.map(|line| line.wrapping_add(group / 2 * 144)), group % 2) }
    }
}

/// Steps of 32 codes as [`Stored::codes`] gives them.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn by_runs([a, b, c, d]: [__m256i; 4]) -> [[__m256i; 2]; 2] {
    [
        [_mm256_permute2x128_si256::<0x20>(a, b), _mm256_permute2x128_si256::<0x20>(c, d)],
        [_mm256_permute2x128_si256::<0x31>(a, b), _mm256_permute2x128_si256::<0x31>(c, d)],
    ]
}

#[expect(unsafe_code, reason = "reads blocks by address")]
impl Stored for Q5K {
    const STEP: usize = 32;
    const GROUP: usize = 0;
    const GROUP_BYTES: usize = 88;
    const HAS_MINIMUM: bool = true;
    const HAS_CENTER: bool = false;
    const SIGNED: bool = false;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn codes(line: *const u8, group: usize) -> [[__m256i; 2]; 2] {
        let block = line.wrapping_add(group / 2 * 176);
        // SAFETY: the caller vouches for the line.
        let ([[a, b], [c, d]], fifths) = unsafe {
            let low = block.add(48 + group % 2 * 64);
            (
                [halves(_mm256_loadu_si256(low.cast())), halves(_mm256_loadu_si256(low.add(32).cast()))],
                _mm256_loadu_si256(block.add(16).cast()),
            )
        };
        // Step `s` of the block has bit `s` of each of the 32 bytes.
        let fifths = if group.is_multiple_of(2) { fifths } else { _mm256_srli_epi16::<4>(fifths) };
        let sixteen = _mm256_set1_epi8(16);
        by_runs([
            _mm256_or_si256(a, _mm256_and_si256(_mm256_slli_epi16::<4>(fifths), sixteen)),
            _mm256_or_si256(b, _mm256_and_si256(_mm256_slli_epi16::<3>(fifths), sixteen)),
            _mm256_or_si256(c, _mm256_and_si256(_mm256_slli_epi16::<2>(fifths), sixteen)),
            _mm256_or_si256(d, _mm256_and_si256(_mm256_slli_epi16::<1>(fifths), sixteen)),
        ])
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn scales(lines: [*const u8; PAIR], group: usize) -> (__m256, __m256) {
        // SAFETY: the caller vouches for the lines.
        unsafe { above_minimum(lines.map(|line| line.wrapping_add(group / 2 * 176)), group % 2) }
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
