//! 4 bits above a minimum: `d`, `m`, then 16 bytes.

use super::nibbles::{self, VALUES};
use super::{Block, Codes, Coding, Writer};

/// The type.
pub(super) struct Q4_1;

impl Block for Q4_1 {
    fn name(&self) -> &'static str {
        "Q4_1"
    }

    fn gguf_type(&self) -> u32 {
        3
    }

    fn values(&self) -> usize {
        VALUES
    }

    fn bytes(&self) -> usize {
        20
    }

    fn coding(&self) -> Option<Coding> {
        Some(Coding { step: VALUES, bits: 4, center: 0, has_minimum: true })
    }

    fn codes(&self, block: &[u8], out: &mut Codes) {
        (out.scales[0], out.minima[0]) = (nibbles::half_at(block, 0), nibbles::half_at(block, 2));
        nibbles::read(&block[4..20], &mut out.codes);
    }

    fn writer(&self) -> Option<Writer> {
        Some(write)
    }
}

fn write(values: &[f32], out: &mut [u8]) {
    let (low, high) = nibbles::bounds(values);
    let d = (high - low) / 15.0;
    let inverse = nibbles::inverse(d);
    nibbles::put_half(out, 0, d);
    nibbles::put_half(out, 2, low);
    nibbles::write(values, &mut out[4..], |x| (((x - low) * inverse + 0.5) as u8).min(15));
}
