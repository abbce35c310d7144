//! Numbers in 4 bits on the levels of a normal distribution, with scales that are in 8 bits themselves.
//!
//! 64 numbers share a scale, their greatest magnitude: `x = level(q) s`. Scales lie around their mean, the offset, and 256 of
//! them share a scale in turn: `s = dynamic(p) t + o`. The blocks go through a tensor from its first number to its last,
//! whatever its shape, so rows need not be whole blocks. In all a number takes 4.127 bits.
//!
//! Bytes and numbers are those of bitsandbytes on a CPU. Source: Dettmers, Pagnoni, Holtzman and Zettlemoyer, `QLoRA`,
//! arXiv 2305.14314, section 3 and appendix E.

use std::sync::OnceLock;

use crate::kernel::quantized::nf4;

/// Numbers that share a scale.
pub(crate) const BLOCK: usize = 64;
/// Scales that share a scale.
const SCALES: usize = 256;
/// What is divided by where all numbers of a block are zero.
const LEAST: f32 = 1e-38;

/// What the codes stand for: the means of equally likely parts of a normal distribution, zero and the ends exact.
pub(crate) const LEVELS: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// The code of zero.
const ZERO: u8 = 7;

/// Numbers stored so.
#[derive(Debug, Clone, PartialEq)]
pub struct Nf4 {
    /// Two numbers a byte, the first in the upper half.
    codes: Vec<u8>,
    /// Of each block.
    scales: Vec<u8>,
    /// Of each 256 of those.
    outer: Vec<f32>,
    offset: f32,
    length: usize,
}

impl Nf4 {
    /// The name of the type.
    pub const NAME: &'static str = "NF4";

    /// The nearest that can be stored.
    ///
    /// The offset is the mean of the scales, summed in `f64`; everything else is in `f32`.
    pub fn quantize(values: &[f32]) -> Self {
        let bounds: [f32; 15] = std::array::from_fn(|at| f32::midpoint(LEVELS[at], LEVELS[at + 1]));
        let mut scales = Vec::with_capacity(values.len().div_ceil(BLOCK));
        let mut codes = Vec::with_capacity(values.len().next_multiple_of(2));
        for block in values.chunks(BLOCK) {
            let greatest = block.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
            let divisor = greatest.max(LEAST);
            // A block that is cut short is divided, others are multiplied by the inverse: so does bitsandbytes.
            let is_whole = block.len() == BLOCK;
            let inverse = 1.0 / divisor;
            codes.extend(block.iter().map(|value| {
                let value = if is_whole { value * inverse } else { value / divisor };
                bounds.iter().filter(|bound| **bound < value.clamp(-1.0, 1.0)).count() as u8
            }));
            scales.push(if is_whole { greatest } else { divisor });
        }
        if !codes.len().is_multiple_of(2) {
            codes.push(ZERO);
        }
        let codes = codes.as_chunks::<2>().0.iter().map(|[first, second]| first << 4 | second).collect();
        let sum: f64 = scales.iter().copied().map(f64::from).sum();
        let offset = if scales.is_empty() { 0.0 } else { sum as f32 / scales.len() as f32 };
        let around: Vec<f32> = scales.iter().map(|scale| scale - offset).collect();
        let (scales, outer) = quantize_scales(&around);
        Self { codes, scales, outer, offset, length: values.len() }
    }

    /// How many numbers there are.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Bytes that they take.
    pub fn bytes(&self) -> usize {
        self.codes.len() + self.scales.len() + size_of_val(&*self.outer) + size_of::<f32>()
    }

    /// Hands out everything that is stored, as bytes: codes, scales, the scales of those, the offset.
    pub fn stored(&self, mut take: impl FnMut(&[u8])) {
        take(&self.codes);
        take(&self.scales);
        self.outer.iter().for_each(|scale| take(&scale.to_le_bytes()));
        take(&self.offset.to_le_bytes());
    }

    /// Reads the numbers from number `first` on, as many as `out` has room for and there are.
    pub fn read(&self, first: usize, out: &mut [f32]) {
        let wanted = out.len().min(self.length.saturating_sub(first));
        let (mut at, mut out) = (first, &mut out[..wanted]);
        while !out.is_empty() {
            let here = (BLOCK - at % BLOCK).min(out.len());
            let (now, rest) = out.split_at_mut(here);
            let scale = self.scale(at / BLOCK);
            if here == BLOCK {
                nf4::unfold(&self.codes[at / 2..][..BLOCK / 2], scale, now);
            } else {
                for (at, value) in (at..).zip(now) {
                    let both = self.codes[at / 2];
                    *value = LEVELS[usize::from(if at.is_multiple_of(2) { both >> 4 } else { both & 15 })] * scale;
                }
            }
            (at, out) = (at + here, rest);
        }
    }

    fn scale(&self, block: usize) -> f32 {
        dynamic()[usize::from(self.scales[block])] * self.outer[block / SCALES] + self.offset
    }
}

/// Codes of numbers around zero, and the scale of each 256.
///
/// The nearest of 65,536 numbers between -1 and 1 decides, as in bitsandbytes; where a number is nearly as far from two codes
/// it may get the farther one.
fn quantize_scales(values: &[f32]) -> (Vec<u8>, Vec<f32>) {
    const STEPS: f32 = 32_767.5;
    let (mut codes, mut scales) = (Vec::with_capacity(values.len()), Vec::new());
    for block in values.chunks(SCALES) {
        let scale = block.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        // Of equal scales, which differ from their mean by nothing, no number comes of this, and the code is 0.
        let inverse = 1.0 / scale;
        codes.extend(block.iter().map(|value| {
            let place = ((value * inverse + 1.0) * STEPS + 0.5).clamp(0.0, 65_535.0).trunc();
            nearest(place / STEPS - 1.0)
        }));
        scales.push(scale);
    }
    (codes, scales)
}

/// The code of the number nearest to one from -1 to 1; of two as near, that of the lower.
fn nearest(value: f32) -> u8 {
    let numbers = dynamic();
    let above = numbers.partition_point(|number| *number <= value).clamp(1, 255);
    let distance = |at: usize| (value - numbers[at]).abs();
    (if distance(above) < distance(above - 1) { above } else { above - 1 }) as u8
}

/// What a code of 8 bits stands for, in order: the middles of equal parts of 0.1 to 1 in each of seven decades, twice as many
/// in each as in the one below, with both signs; 0 and 1. Rounded as bitsandbytes rounds them.
fn dynamic() -> &'static [f32; 256] {
    static NUMBERS: OnceLock<[f32; 256]> = OnceLock::new();
    NUMBERS.get_or_init(|| {
        const DECADES: i32 = 7;
        let (low, high) = (0.1_f32, 1.0_f32);
        let mut numbers = [0.0, 1.0].to_vec();
        for decade in 0..DECADES {
            let parts = 1_usize << decade;
            let step = f64::from((high - low) / parts as f32);
            let edge = |at: usize| {
                if at < parts.div_ceil(2) {
                    (f64::from(low) + step * at as f64) as f32
                } else {
                    (f64::from(high) - step * (parts - at) as f64) as f32
                }
            };
            let unit = 10.0_f64.powi(decade - DECADES + 1) as f32;
            let middles = (0..parts).map(|at| unit * f32::midpoint(edge(at), edge(at + 1)));
            numbers.extend(middles.flat_map(|middle| [middle, -middle]));
        }
        numbers.sort_by(f32::total_cmp);
        std::array::from_fn(|at| numbers[at])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use metier_testkit::{assert_close, fixture, golden, hashed};

    fn bytes_of(hexadecimal: &str) -> Vec<u8> {
        (0..hexadecimal.len()).step_by(2).map(|i| u8::from_str_radix(&hexadecimal[i..i + 2], 16).unwrap()).collect()
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    fn numbers_of(hexadecimal: &str) -> Vec<f32> {
        bytes_of(hexadecimal).as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }

    #[test]
    fn bytes_and_numbers_equal_those_of_bitsandbytes() {
        let golden = golden::read(fixture("golden/nf4.json"));
        assert_eq!(bits(dynamic()), bits(&numbers_of(golden["dynamic"].as_str().unwrap())));
        for (name, case) in golden["cases"].as_object().unwrap() {
            let text = |key: &str| case[key].as_str().unwrap();
            let (count, scale) = (case["count"].as_u64().unwrap() as usize, case["scale"].as_f64().unwrap());
            let is_exact = case["is_exact"].as_bool().unwrap();
            let values = hashed::even(name).take(count).map(|even| {
                let value = even * even * even * scale;
                (if is_exact { (value * 1024.0).floor() / 1024.0 } else { value }) as f32
            });
            let mut made = Nf4::quantize(&values.collect::<Vec<_>>());
            let offset = numbers_of(text("offset"))[0];
            if !is_exact {
                // The reference sums in an order of its own; from the mean on it is the same again.
                assert_close(name, &[made.offset], &[offset], 0.0, 1e-6);
                made = Nf4 { scales: bytes_of(text("scales")), outer: numbers_of(text("outer")), offset, ..made };
            }
            assert_eq!(made.codes, bytes_of(text("codes")), "{name}: codes");
            assert_eq!(made.scales, bytes_of(text("scales")), "{name}: scales");
            assert_eq!(bits(&made.outer), bits(&numbers_of(text("outer"))), "{name}: scales of scales");
            assert_eq!(made.offset.to_bits(), offset.to_bits(), "{name}: offset");
            let mut numbers = vec![f32::NAN; count];
            made.read(0, &mut numbers);
            let picked: Vec<f32> = numbers.iter().step_by(97).chain(numbers.last()).copied().collect();
            assert_eq!(bits(&picked), bits(&numbers_of(text("numbers"))), "{name}: numbers");
        }
    }

    #[test]
    fn any_part_can_be_read_and_nothing_beyond() {
        let values: Vec<f32> = (0..333).map(|at| ((at * 7919) % 1009) as f32 / 504.5 - 1.0).collect();
        let stored = Nf4::quantize(&values);
        let mut whole = vec![0.0; 333];
        stored.read(0, &mut whole);
        for (first, length) in
            [(0, 64), (1, 64), (63, 2), (64, 129), (200, 133), (332, 1), (300, 80), (333, 4), (900, 1)]
        {
            let mut part = vec![f32::NAN; length];
            stored.read(first, &mut part);
            let there = length.min(333_usize.saturating_sub(first));
            assert_eq!(bits(&part[..there]), bits(&whole[first.min(333)..][..there]), "{first} {length}");
            assert!(part[there..].iter().all(|value| value.is_nan()));
        }
        assert_eq!(stored.bytes(), 167 + 6 + 4 + 4);
    }

    #[test]
    fn absurd_numbers_do_no_harm() {
        for value in [f32::NAN, f32::INFINITY, f32::MIN_POSITIVE / 8.0, f32::MAX, 0.0] {
            for length in [0, 1, 64, 130] {
                let stored = Nf4::quantize(&vec![value; length]);
                stored.read(0, &mut vec![0.0; length]);
            }
        }
        let mut zeros = vec![1.0; 130];
        Nf4::quantize(&[0.0; 130]).read(0, &mut zeros);
        assert!(zeros.iter().all(|value| *value == 0.0));
    }
}
