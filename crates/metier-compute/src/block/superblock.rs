//! What the K types share: 256 numbers in parts that have scales of their own, stored in few bits.
//!
//! The search for scales is ggml's, step by step and in its order of additions, so that the bytes are equal.

use super::{Codes, nibbles};

/// Numbers in a block.
pub(super) const VALUES: usize = 256;
/// A part below this is taken for zeros.
pub(super) const NOTHING: f32 = 1e-15;

/// The codes of 2 bits in 64 bytes: a byte of each half's 32 has one number of each of four runs of 32.
pub(super) fn pairs_of_bits(packed: &[u8], codes: &mut [u8; VALUES]) {
    for (packed, codes) in packed.chunks_exact(32).zip(codes.chunks_exact_mut(128)) {
        for (run, codes) in codes.chunks_exact_mut(32).enumerate() {
            for (code, &packed) in codes.iter_mut().zip(packed) {
                *code = (packed >> (2 * run)) & 3;
            }
        }
    }
}

/// Adds bit `place` to every code: bit `run` of byte `i` belongs to number `i` of the run of 32.
pub(super) fn add_bits(bits: &[u8], place: u32, codes: &mut [u8; VALUES]) {
    for (run, codes) in codes.chunks_exact_mut(32).enumerate() {
        for (code, &bits) in codes.iter_mut().zip(bits) {
            *code |= ((bits >> run) & 1) << place;
        }
    }
}

/// The codes of 4 bits in 128 bytes: of each 32 bytes, the low halves are 32 numbers and the high halves the next 32.
pub(super) fn halves(packed: &[u8], codes: &mut [u8; VALUES]) {
    for (packed, codes) in packed.chunks_exact(32).zip(codes.chunks_exact_mut(64)) {
        for (at, &packed) in packed.iter().enumerate() {
            codes[at] = packed & 15;
            codes[at + 32] = packed >> 4;
        }
    }
}

/// Scale and minimum of part `part`, 6 bits each, out of 12 bytes.
pub(super) fn six_bits(packed: &[u8], part: usize) -> (u8, u8) {
    if part < 4 {
        return (packed[part] & 63, packed[part + 4] & 63);
    }
    let low = packed[part + 4];
    ((low & 15) | (packed[part - 4] >> 6 << 4), (low >> 4) | (packed[part] >> 6 << 4))
}

/// Scales and minima of 8 parts behind `d` and `m` at the begin of `block`.
pub(super) fn scales_and_minima(block: &[u8], out: &mut Codes) {
    let (d, m) = (nibbles::half_at(block, 0), nibbles::half_at(block, 2));
    for part in 0..8 {
        let (scale, minimum) = six_bits(&block[4..16], part);
        out.scales[part] = d * f32::from(scale);
        out.minima[part] = -(m * f32::from(minimum));
    }
}

/// Writes scales, and how far minima lie below zero, in 6 bits to the first 16 bytes of `out`; gives what they come
/// back as.
pub(super) fn put_scales_and_minima(scales: &[f32; 8], depths: &[f32; 8], out: &mut [u8]) -> ([f32; 8], [f32; 8]) {
    let largest = |all: &[f32; 8]| all.iter().fold(0.0_f32, |most, &one| if one > most { one } else { most });
    let stored = |all: &[f32; 8], most: f32| {
        let inverse = if most > 0.0 { 63.0 / most } else { 0.0 };
        all.map(|one| nibbles::nearest(inverse * one).clamp(0, 63) as u8)
    };
    let (most, deepest) = (largest(scales), largest(depths));
    let (six, below) = (stored(scales, most), stored(depths, deepest));
    nibbles::put_half(out, 0, most / 63.0);
    nibbles::put_half(out, 2, deepest / 63.0);
    for part in 0..4 {
        out[4 + part] = six[part] | (six[part + 4] >> 4 << 6);
        out[8 + part] = below[part] | (below[part + 4] >> 4 << 6);
        out[12 + part] = (six[part + 4] & 15) | ((below[part + 4] & 15) << 4);
    }
    let (d, m) = (nibbles::half_at(out, 0), nibbles::half_at(out, 2));
    (six.map(|six| d * f32::from(six)), below.map(|below| m * f32::from(below)))
}

/// Codes of 8 parts of 32 from 0 to `largest`, behind scales and minima that are written to `out`.
pub(super) fn write_above_minimum(values: &[f32], out: &mut [u8], largest: f32, search: (f32, u8)) -> [u8; VALUES] {
    let mut codes = [0_u8; VALUES];
    let (mut scales, mut depths) = ([0.0_f32; 8], [0.0_f32; 8]);
    for (part, (values, codes)) in values.chunks_exact(32).zip(codes.chunks_exact_mut(32)).enumerate() {
        (scales[part], depths[part]) = scale_above_minimum(values, codes, largest, search);
    }
    let (scales, depths) = put_scales_and_minima(&scales, &depths, out);
    for (part, (values, codes)) in values.chunks_exact(32).zip(codes.chunks_exact_mut(32)).enumerate() {
        let (scale, depth) = (scales[part], depths[part]);
        // A part whose scale was rounded to nothing keeps the codes of the search.
        if scale != 0.0 {
            for (code, value) in codes.iter_mut().zip(values) {
                *code = nibbles::nearest((value + depth) / scale).clamp(0, largest as i32) as u8;
            }
        }
    }
    codes
}

/// Two runs of 32 codes of 4 bits in each 32 bytes: the way back of [`halves`].
pub(super) fn put_halves(codes: &[u8; VALUES], packed: &mut [u8]) {
    for (packed, codes) in packed.chunks_exact_mut(32).zip(codes.chunks_exact(64)) {
        for (at, packed) in packed.iter_mut().enumerate() {
            *packed = (codes[at] & 15) | ((codes[at + 32] & 15) << 4);
        }
    }
}

/// A scale, and how far the minimum lies below zero, for codes from 0 to `largest`, and the codes.
///
/// Of the scales around the plain one, from `first` on in `steps` steps of 0.1, and the least-squares fit of each one's codes, that
/// with the least squared error, where larger numbers weigh more. Each better fit's minimum is where the next codes are counted
/// from.
pub(super) fn scale_above_minimum(
    values: &[f32],
    codes: &mut [u8],
    largest: f32,
    (first, steps): (f32, u8),
) -> (f32, f32) {
    let squares = values.iter().fold(0.0_f32, |sum, x| sum + x * x);
    let typical = (squares / values.len() as f32).sqrt();
    let weight = |x: f32| typical + x.abs();
    let (mut low, high) = nibbles::bounds(values);
    let (mut sum_w, mut sum_x) = (0.0_f32, 0.0_f32);
    for &x in values {
        sum_w += weight(x);
        sum_x += weight(x) * x;
    }
    low = if low > 0.0 { 0.0 } else { low };
    if high <= low {
        codes.fill(0);
        return (0.0, -low);
    }
    let error = |scale: f32, minimum: f32, codes: &[u8]| {
        values.iter().zip(codes).fold(0.0_f32, |sum, (&x, &code)| {
            let off = scale * f32::from(code) + minimum - x;
            sum + weight(x) * (off * off)
        })
    };
    let code = |inverse: f32, low: f32, x: f32| nibbles::nearest(inverse * (x - low)).clamp(0, largest as i32) as u8;
    let inverse = largest / (high - low);
    let mut scale = 1.0 / inverse;
    for (code_of, &x) in codes.iter_mut().zip(values) {
        *code_of = code(inverse, low, x);
    }
    let mut best = error(scale, low, codes);
    let mut tried = [0_u8; 32];
    let tried = &mut tried[..values.len()];
    for step in 0..=steps {
        let inverse = (first + 0.1 * f32::from(step) + largest) / (high - low);
        let (mut sum_l, mut sum_l2, mut sum_xl) = (0.0_f32, 0.0_f32, 0.0_f32);
        for (tried, &x) in tried.iter_mut().zip(values) {
            *tried = code(inverse, low, x);
            let l = f32::from(*tried);
            sum_l += weight(x) * l;
            sum_l2 += weight(x) * l * l;
            sum_xl += weight(x) * l * x;
        }
        let determinant = sum_w * sum_l2 - sum_l * sum_l;
        if determinant > 0.0 {
            let mut fitted = (sum_w * sum_xl - sum_x * sum_l) / determinant;
            let mut minimum = (sum_l2 * sum_x - sum_l * sum_xl) / determinant;
            if minimum > 0.0 {
                (fitted, minimum) = (sum_xl / sum_l2, 0.0);
            }
            let found = error(fitted, minimum, tried);
            if found < best {
                codes.copy_from_slice(tried);
                (best, scale, low) = (found, fitted, minimum);
            }
        }
    }
    (scale, -low)
}

/// A scale for codes from 0 to `2 center - 1` that stand for `code - center`, and the codes.
///
/// Of 19 scales around the plain one, that whose codes fit best in the least-squares sense, where a number weighs its
/// square.
pub(super) fn scale_around_zero(values: &[f32], codes: &mut [u8], center: u8) -> f32 {
    let largest = i32::from(center);
    let extreme = nibbles::extreme(values);
    if extreme.abs() < NOTHING {
        codes.fill(0);
        return 0.0;
    }
    let level = |inverse: f32, x: f32| nibbles::nearest(inverse * x).clamp(-largest, largest - 1);
    let sums = |inverse: f32| {
        values.iter().fold((0.0_f32, 0.0_f32), |(xl, l2), &x| {
            let (weight, l) = (x * x, level(inverse, x) as f32);
            (xl + weight * x * l, l2 + weight * l * l)
        })
    };
    let mut chosen = -(largest as f32) / extreme;
    let (xl, l2) = sums(chosen);
    let mut scale = if l2 > 0.0 { xl / l2 } else { 0.0 };
    let mut best = scale * xl;
    for step in (-9_i8..=9).filter(|&step| step != 0) {
        let inverse = -(largest as f32 + 0.1 * f32::from(step)) / extreme;
        let (xl, l2) = sums(inverse);
        if l2 > 0.0 && xl * xl > best * l2 {
            (chosen, scale) = (inverse, xl / l2);
            best = scale * xl;
        }
    }
    for (code, &x) in codes.iter_mut().zip(values) {
        *code = (level(chosen, x) + largest) as u8;
    }
    scale
}
