//! 5 bits above a minimum: `d`, `m`, 4 bytes of fifth bits, then 16 bytes.

use super::nibbles::{self, VALUES};
use super::{Block, Codes, Coding, Writer};

/// The type.
pub(super) struct Q5_1;

impl Block for Q5_1 {
    fn name(&self) -> &'static str {
        "Q5_1"
    }

    fn gguf_type(&self) -> u32 {
        7
    }

    fn values(&self) -> usize {
        VALUES
    }

    fn bytes(&self) -> usize {
        24
    }

    fn coding(&self) -> Option<Coding> {
        Some(Coding { step: VALUES, bits: 5, center: 0, has_minimum: true })
    }

    fn codes(&self, block: &[u8], out: &mut Codes) {
        (out.scales[0], out.minima[0]) = (nibbles::half_at(block, 0), nibbles::half_at(block, 2));
        let fifth = u32::from_le_bytes([block[4], block[5], block[6], block[7]]);
        nibbles::read(&block[8..24], &mut out.codes);
        nibbles::add_fifth(fifth, &mut out.codes);
    }

    fn writer(&self) -> Option<Writer> {
        Some(write)
    }
}

fn write(values: &[f32], out: &mut [u8]) {
    let (low, high) = nibbles::bounds(values);
    let d = (high - low) / 31.0;
    let inverse = nibbles::inverse(d);
    nibbles::put_half(out, 0, d);
    nibbles::put_half(out, 2, low);
    let fifth = nibbles::write(values, &mut out[8..], |x| (((x - low) * inverse + 0.5) as u8).min(31));
    out[4..8].copy_from_slice(&fifth.to_le_bytes());
}
