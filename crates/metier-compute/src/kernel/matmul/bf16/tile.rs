//! The innermost products of panels of `bf16`, one for each instruction set.

use super::{LINES, STEP};
use crate::kernel::Level;
#[cfg(target_arch = "x86_64")]
use crate::kernel::amx::Tiles;

const SIDE: usize = 16;
/// Elements of a product of two panels.
const AREA: usize = LINES * LINES;

/// What multiplies two panels; made for one piece of work on one thread.
pub(super) enum Kernel {
    #[cfg(target_arch = "x86_64")]
    Amx(Tiles),
    Wide(Sums),
}

/// Writes 32 rows of 32 sums: the left and the right panel, steps, sums.
type Sums = unsafe fn(*const f32, *const f32, usize, &mut [f32; AREA]);

/// The kernel of an instruction set, which the machine must have.
pub(super) fn kernel(level: Level) -> Kernel {
    match level {
        #[cfg(target_arch = "x86_64")]
        #[expect(unsafe_code, reason = "sets up the tiles of this thread")]
        // SAFETY: the level is reached only when tiles are allowed; a piece of work has one kernel, dropped at its end.
        Level::Amx => Kernel::Amx(unsafe { Tiles::new() }),
        #[cfg(target_arch = "x86_64")]
        Level::Avx512Bf16 => Kernel::Wide(wide::dotted),
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => Kernel::Wide(wide::halves),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => Kernel::Wide(wide::narrow),
        _ => Kernel::Wide(portable),
    }
}
impl Kernel {
    /// `out = alpha left right`, or `+=`, of at most 32 rows and columns.
    ///
    /// # Safety
    /// The panels are `steps` long, at least 1, and `size.0` rows of `size.1` elements, `row_step` apart from `out`
    /// on, may be read and written.
    #[expect(unsafe_code, reason = "reads panels and writes a tile by pointer")]
    #[expect(clippy::too_many_arguments, reason = "a tile has that many")]
    #[inline]
    pub unsafe fn multiply(
        &self,
        size: (usize, usize),
        left: *const f32,
        right: *const f32,
        steps: usize,
        out: *mut f32,
        row_step: usize,
        alpha: f32,
        add: bool,
    ) {
        #[cfg(target_arch = "x86_64")]
        if let Self::Amx(tiles) = self
            && size == (LINES, LINES)
            && alpha.to_bits() == 1.0_f32.to_bits()
        {
            // SAFETY: as the caller promises, the tile is whole.
            return unsafe { Tiles::multiply(tiles, left, right, steps, out, row_step, add) };
        }
        let mut sums = Sheet([0.0; AREA]);
        // SAFETY: the panels are as long as the caller says; the sums are 32 rows of 32.
        unsafe {
            match self {
                #[cfg(target_arch = "x86_64")]
                Self::Amx(tiles) => Tiles::multiply(tiles, left, right, steps, sums.0.as_mut_ptr(), LINES, false),
                Self::Wide(multiply) => multiply(left, right, steps, &mut sums.0),
            }
        }
        for (row, sums) in sums.0.as_chunks::<LINES>().0.iter().enumerate().take(size.0) {
            // SAFETY: the caller vouches for this row.
            let out = unsafe { std::slice::from_raw_parts_mut(out.add(row * row_step), size.1) };
            write(out, sums, alpha, add);
        }
    }
}

/// Asks for `count` elements from `at` on, to be written to soon.
#[cfg(target_arch = "x86_64")]
#[inline]
pub(super) fn fetch(at: *const f32, count: usize) {
    use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
    for line in (0..count).step_by(SIDE) {
        #[expect(unsafe_code, reason = "a hint by pointer")]
        // SAFETY: a hint touches nothing, and processors without this one ignore it.
        unsafe {
            _mm_prefetch::<_MM_HINT_ET0>(at.wrapping_add(line).cast());
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn fetch(_: *const f32, _: usize) {}

/// Sums that begin with a line of the cache.
#[repr(align(64))]
struct Sheet([f32; AREA]);

leveled! {
    fn write(out: &mut [f32], sums: &[f32; LINES], alpha: f32, add: bool) {
        if add {
            for (out, sum) in out.iter_mut().zip(sums) {
                *out += alpha * sum;
            }
        } else {
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = alpha * sum;
            }
        }
    }
}

/// The elements of a pair.
fn both(word: f32) -> [f32; 2] {
    let bits = word.to_bits();
    [f32::from_bits(bits << 16), f32::from_bits(bits & 0xffff_0000)]
}

#[expect(unsafe_code, reason = "reads panels by pointer")]
unsafe fn portable(left: *const f32, right: *const f32, steps: usize, sums: &mut [f32; AREA]) {
    // SAFETY: as the caller promises.
    let (left, right) =
        unsafe { (std::slice::from_raw_parts(left, steps * STEP), std::slice::from_raw_parts(right, steps * STEP)) };
    for (left, right) in left.as_chunks::<STEP>().0.iter().zip(right.as_chunks::<STEP>().0) {
        let (first, second) = right.split_at(SIDE * SIDE);
        for (line, sums) in sums.as_chunks_mut::<LINES>().0.iter_mut().enumerate() {
            let pairs = &left[line * SIDE..][..SIDE];
            for (half, right) in sums.as_chunks_mut::<SIDE>().0.iter_mut().zip([first, second]) {
                for (pair, columns) in pairs.iter().zip(right.as_chunks::<SIDE>().0) {
                    let [even, odd] = both(*pair);
                    for (sum, column) in half.iter_mut().zip(columns) {
                        let [even_column, odd_column] = both(*column);
                        *sum += even * even_column;
                        *sum += odd * odd_column;
                    }
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod wide {
    use super::{AREA, LINES, SIDE, STEP};
    #[allow(clippy::wildcard_imports, reason = "the names of instructions; quiet in tests, so no expectation")]
    use std::arch::x86_64::*;

    /// Lines whose sums are in registers at a time.
    const TOGETHER: usize = 8;

    /// By AVX2: fewer lines with half of their columns at a time, as it has fewer registers.
    #[expect(unsafe_code, reason = "reads panels by pointer")]
    pub(super) unsafe fn narrow(left: *const f32, right: *const f32, steps: usize, sums: &mut [f32; AREA]) {
        const TOGETHER: usize = 4;
        const LANES: usize = 8;
        #[expect(unsafe_code, reason = "reads panels by pointer")]
        #[target_feature(enable = "avx2,fma")]
        unsafe fn run(left: *const f32, right: *const f32, steps: usize, sums: &mut [f32; AREA]) {
            for (group, out) in sums.as_chunks_mut::<{ TOGETHER * LINES }>().0.iter_mut().enumerate() {
                for half in 0..2 {
                    let mut sums = [[_mm256_setzero_ps(); 2]; TOGETHER];
                    // No iterator over both: it would stay a call.
                    for step in 0..steps {
                        for pair in 0..SIDE {
                            // SAFETY: the panels are `steps` long.
                            unsafe {
                                let right = right.add(step * STEP + (half * SIDE + pair) * SIDE);
                                let [even, odd] = both(_mm256_loadu_si256(right.cast()));
                                let [next_even, next_odd] = both(_mm256_loadu_si256(right.add(LANES).cast()));
                                let left = left.add(step * STEP + group * TOGETHER * SIDE + pair);
                                for (line, [first, second]) in sums.iter_mut().enumerate() {
                                    let [low, high] =
                                        both(_mm256_set1_epi32((*left.add(line * SIDE)).to_bits() as i32));
                                    *first = _mm256_fmadd_ps(high, odd, _mm256_fmadd_ps(low, even, *first));
                                    *second = _mm256_fmadd_ps(high, next_odd, _mm256_fmadd_ps(low, next_even, *second));
                                }
                            }
                        }
                    }
                    for (sums, out) in sums.into_iter().zip(out.as_chunks_mut::<LINES>().0) {
                        let out = &mut out.as_chunks_mut::<SIDE>().0[half];
                        for (sum, out) in sums.into_iter().zip(out.as_chunks_mut::<LANES>().0) {
                            // SAFETY: a quarter of a line is one vector.
                            unsafe { _mm256_storeu_ps(out.as_mut_ptr(), sum) };
                        }
                    }
                }
            }
        }
        /// The elements of each pair.
        #[inline]
        #[target_feature(enable = "avx2,fma")]
        fn both(words: __m256i) -> [__m256; 2] {
            let odd = _mm256_and_si256(words, _mm256_set1_epi32(-0x1_0000));
            [_mm256_castsi256_ps(_mm256_slli_epi32::<16>(words)), _mm256_castsi256_ps(odd)]
        }
        // SAFETY: as the caller promises; chosen only where the processor has the features.
        unsafe { run(left, right, steps, sums) }
    }

    /// The kernel of a module that has `dot`: adds the products of a pair, given as one word, and pairs of 16 columns.
    macro_rules! sums {
        ($name:ident, $features:literal, $prepare:expr, $dot:expr) => {
            #[expect(unsafe_code, reason = "reads panels by pointer")]
            pub(super) unsafe fn $name(left: *const f32, right: *const f32, steps: usize, sums: &mut [f32; AREA]) {
                #[expect(unsafe_code, reason = "reads panels by pointer")]
                #[target_feature(enable = $features)]
                unsafe fn run(left: *const f32, right: *const f32, steps: usize, sums: &mut [f32; AREA]) {
                    for (group, out) in sums.as_chunks_mut::<{ TOGETHER * LINES }>().0.iter_mut().enumerate() {
                        let mut sums = [[_mm512_setzero_ps(); 2]; TOGETHER];
                        for step in 0..steps {
                            for pair in 0..SIDE {
                                // SAFETY: the panels are `steps` long.
                                unsafe {
                                    let right = right.add(step * STEP + pair * SIDE);
                                    let columns = [0, SIDE * SIDE]
                                        .map(|half| $prepare(_mm512_castps_si512(_mm512_loadu_ps(right.add(half)))));
                                    let left = left.add(step * STEP + group * TOGETHER * SIDE + pair);
                                    for (line, sums) in sums.iter_mut().enumerate() {
                                        let word = _mm512_set1_epi32((*left.add(line * SIDE)).to_bits() as i32);
                                        let word = $prepare(word);
                                        for (sum, columns) in sums.iter_mut().zip(columns) {
                                            *sum = $dot(*sum, word, columns);
                                        }
                                    }
                                }
                            }
                        }
                        for (sums, out) in sums.into_iter().zip(out.as_chunks_mut::<LINES>().0) {
                            for (sum, out) in sums.into_iter().zip(out.as_chunks_mut::<SIDE>().0) {
                                // SAFETY: half a line is one vector.
                                unsafe { _mm512_storeu_ps(out.as_mut_ptr(), sum) };
                            }
                        }
                    }
                }
                // SAFETY: as the caller promises; chosen only where the processor has the features.
                unsafe { run(left, right, steps, sums) }
            }
        };
    }

    // Without an instruction for pairs: the two elements one after the other.
    sums!(
        halves,
        "avx512f",
        |word: __m512i| {
            let odd = _mm512_and_si512(word, _mm512_set1_epi32(-0x1_0000));
            [_mm512_castsi512_ps(_mm512_slli_epi32::<16>(word)), _mm512_castsi512_ps(odd)]
        },
        |sum: __m512, word: [__m512; 2], columns: [__m512; 2]| {
            _mm512_fmadd_ps(word[1], columns[1], _mm512_fmadd_ps(word[0], columns[0], sum))
        }
    );

    sums!(
        dotted,
        "avx512f,avx512bf16",
        |word: __m512i| {
            // SAFETY: both are 512 bits, and every pattern is a value.
            std::mem::transmute::<__m512i, __m512bh>(word)
        },
        |sum: __m512, word: __m512bh, columns: __m512bh| _mm512_dpbf16_ps(sum, word, columns)
    );
}
