//! Products with weights in NF4, a tile at a time.

use super::tiles::{PIECE, by_columns, by_lines};
use crate::block::{LEVELS, NF4_BLOCK, Nf4};
use crate::kernel::matmul::Matrix;
use crate::kernel::threads::{chunks, piece};
use crate::tensor::Buffer;

/// A matrix in NF4.
#[derive(Clone, Copy)]
pub(crate) struct Nf4Weight<'a> {
    pub numbers: &'a Nf4,
    pub rows: usize,
    pub columns: usize,
}

/// `out = x weight^T`; `out` is `[count, rows]`. `product(out, right)` writes the product of `x` with `right`, which is `[columns, some
/// rows]`.
pub(crate) fn multiply(
    out: &mut [f32],
    count: usize,
    weight: Nf4Weight<'_>,
    product: impl FnMut(&mut [f32], Matrix<'_>, bool),
) {
    let Nf4Weight { numbers, rows, columns } = weight;
    by_lines(out, count, (rows, columns), |at, part| numbers.read(at, part), product);
}

/// `out = dy weight`, or `+=`; `out` is `[count, columns]`. `product(out, right, add)` writes or adds the product of `dy` with `right`, which
/// is `[rows, some columns]`.
pub(crate) fn multiply_back(
    out: &mut [f32],
    count: usize,
    weight: Nf4Weight<'_>,
    add: bool,
    mut product: impl FnMut(&mut [f32], Matrix<'_>, bool),
) {
    let (rows, columns) = (weight.rows, weight.columns);
    by_columns(out, count, columns, rows, add, |out, here, add| {
        let mut tile = Buffer::scratch(rows * here.len());
        let together = (PIECE / here.len().max(1)).max(1);
        chunks(tile.as_mut_slice(), together * here.len(), rows * here.len(), |index, part| {
            for (row, part) in piece(index, together, rows).zip(part.chunks_exact_mut(here.len())) {
                weight.numbers.read(row * columns + here.start, part);
            }
        });
        product(out, Matrix::new(tile.as_slice(), rows, here.len()), add);
    });
}

/// The numbers of one block: 32 bytes of codes, the upper half of each first.
pub(crate) fn unfold(codes: &[u8], scale: f32, out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if crate::kernel::level() >= crate::kernel::Level::Avx512
        && let (Some(codes), Some(out)) = (codes.first_chunk(), out.first_chunk_mut())
    {
        #[expect(unsafe_code, reason = "a function for an instruction set can only be called so")]
        // SAFETY: the level is only reached when the processor was seen to have AVX-512 F, BW, DQ and VL.
        return unsafe { unfold_avx512(codes, scale, out) };
    }
    unfold_portable(codes, scale, out);
}

fn unfold_portable(codes: &[u8], scale: f32, out: &mut [f32]) {
    for (pair, both) in out.as_chunks_mut::<2>().0.iter_mut().zip(codes) {
        *pair = [LEVELS[usize::from(both >> 4)] * scale, LEVELS[usize::from(both & 15)] * scale];
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn unfold_avx512(codes: &[u8; NF4_BLOCK / 2], scale: f32, out: &mut [f32; NF4_BLOCK]) {
    use std::arch::x86_64::{
        _mm_and_si128, _mm_cvtsi64_si128, _mm_set1_epi8, _mm_srli_epi16, _mm_unpacklo_epi8, _mm512_cvtepu8_epi32,
        _mm512_loadu_ps, _mm512_mul_ps, _mm512_permutexvar_ps, _mm512_set1_ps, _mm512_storeu_ps,
    };
    #[expect(unsafe_code, reason = "reads 16 numbers by address")]
    // SAFETY: the table has 16 numbers.
    let levels = unsafe { _mm512_loadu_ps(LEVELS.as_ptr()) };
    let scale = _mm512_set1_ps(scale);
    let low = _mm_set1_epi8(15);
    for (out, codes) in out.as_chunks_mut::<16>().0.iter_mut().zip(codes.as_chunks::<8>().0) {
        let codes = _mm_cvtsi64_si128(i64::from_le_bytes(*codes));
        let both = _mm_unpacklo_epi8(_mm_and_si128(_mm_srli_epi16::<4>(codes), low), _mm_and_si128(codes, low));
        let numbers = _mm512_mul_ps(_mm512_permutexvar_ps(_mm512_cvtepu8_epi32(both), levels), scale);
        #[expect(unsafe_code, reason = "writes 16 numbers by address")]
        // SAFETY: the piece has 16 numbers.
        unsafe {
            _mm512_storeu_ps(out.as_mut_ptr(), numbers);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::matmul;

    #[test]
    fn every_level_unfolds_the_same_bits() {
        let codes: Vec<u8> = (0..32).map(|at| (at * 37 + 11) as u8).collect();
        let (mut plain, mut fast) = ([0.0; 64], [0.0; 64]);
        unfold_portable(&codes, 0.37, &mut plain);
        unfold(&codes, 0.37, &mut fast);
        assert_eq!(plain.map(f32::to_bits), fast.map(f32::to_bits));
    }

    #[test]
    fn products_equal_those_of_the_whole_weight_to_the_bit() {
        let noise = |count: usize, salt: usize| -> Vec<f32> {
            (0..count).map(|at| ((at * 7919 + salt * 104_729) % 1009) as f32 / 504.5 - 1.0).collect()
        };
        for (count, rows, columns) in [(1, 5, 7), (3, 33, 129), (40, 1500, 700), (2, 900, 1300)] {
            let numbers = Nf4::quantize(&noise(rows * columns, 1));
            let mut whole = vec![0.0; rows * columns];
            numbers.read(0, &mut whole);
            let whole = Matrix::new(&whole, rows, columns);
            let weight = Nf4Weight { numbers: &numbers, rows, columns };
            let (x, dy) = (noise(count * columns, 2), noise(count * rows, 3));
            let (x, dy) = (Matrix::new(&x, count, columns), Matrix::new(&dy, count, rows));
            let (mut got, mut want) = (vec![f32::NAN; count * rows], vec![0.0; count * rows]);
            multiply(&mut got, count, weight, |out, right, add| matmul::multiply(out, x, right, 1.0, add));
            matmul::multiply(&mut want, x, whole.transposed(), 1.0, false);
            assert_eq!(got, want, "{count} {rows} {columns}");
            let (mut got, mut want) = (vec![0.0; count * columns], vec![0.0; count * columns]);
            multiply_back(&mut got, count, weight, true, |out, right, add| matmul::multiply(out, dy, right, 1.0, add));
            matmul::multiply(&mut want, dy, whole, 1.0, true);
            assert_eq!(got, want, "{count} {rows} {columns} back");
        }
    }
}
