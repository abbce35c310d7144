//! What the 4 and 5 bit types share: two numbers a byte, scale and minimum of half precision.

use half::f16;

/// Numbers in a block.
pub(super) const VALUES: usize = 32;

/// A number of half precision at `place`.
pub(super) fn half_at(bytes: &[u8], place: usize) -> f32 {
    f16::from_le_bytes([bytes[place], bytes[place + 1]]).to_f32()
}

/// Puts `value`, rounded to half precision, at `place`.
pub(super) fn put_half(bytes: &mut [u8], place: usize, value: f32) {
    bytes[place..place + 2].copy_from_slice(&f16::from_f32(value).to_le_bytes());
}

/// Reads 32 codes out of 16 bytes and, where there are fifth bits, 4 bytes of them.
pub(super) fn read(low: &[u8], fifth: u32, codes: &mut [u8]) {
    for (i, &byte) in low.iter().enumerate() {
        let high_bit = |place: usize| (((fifth >> place) & 1) << 4) as u8;
        codes[i] = (byte & 15) | high_bit(i);
        codes[i + 16] = (byte >> 4) | high_bit(i + 16);
    }
}

/// Writes 32 numbers into 16 bytes and returns their fifth bits; `code` makes the stored number, below 32.
pub(super) fn write(values: &[f32], low: &mut [u8], code: impl Fn(f32) -> u8) -> u32 {
    let mut fifth = 0;
    for (i, byte) in low.iter_mut().enumerate() {
        let (first, second) = (code(values[i]), code(values[i + 16]));
        *byte = (first & 15) | ((second & 15) << 4);
        fifth |= u32::from(first >> 4) << i;
        fifth |= u32::from(second >> 4) << (i + 16);
    }
    fifth
}

/// The number of largest magnitude with its sign; the first of equals.
pub(super) fn extreme(values: &[f32]) -> f32 {
    values.iter().fold(0.0_f32, |best, &value| if value.abs() > best.abs() { value } else { best })
}

/// Smallest and largest number.
pub(super) fn bounds(values: &[f32]) -> (f32, f32) {
    values.iter().fold((f32::MAX, f32::MIN), |(low, high), &value| (low.min(value), high.max(value)))
}

/// The nearest whole number, of two the even one.
pub(super) fn nearest(value: f32) -> i32 {
    // At this size the last bit of a number is 1.
    const WHOLE: f32 = 12_582_912.0;
    ((value + WHOLE) - WHOLE) as i32
}

/// `1 / scale`, or 0 for a block of zeros.
pub(super) fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}
