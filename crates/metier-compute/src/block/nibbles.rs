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

/// Reads 32 codes out of 16 bytes.
pub(super) fn read(low: &[u8], codes: &mut [u8]) {
    let (first, second) = codes[..VALUES].split_at_mut(VALUES / 2);
    for ((first, second), &byte) in first.iter_mut().zip(second).zip(low) {
        *first = byte & 15;
        *second = byte >> 4;
    }
}

/// Adds the fifth bits of 32 codes.
pub(super) fn add_fifth(bits: u32, codes: &mut [u8]) {
    for (place, code) in codes[..VALUES].iter_mut().enumerate() {
        *code |= (((bits >> place) & 1) << 4) as u8;
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
