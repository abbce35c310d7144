//! 5 bits around zero: `d`, 4 bytes of fifth bits, then 16 bytes.

use super::nibbles::{self, VALUES};
use super::{Block, Codes, Coding, Writer};

/// The type.
pub(super) struct Q5_0;

impl Block for Q5_0 {
    fn name(&self) -> &'static str {
        "Q5_0"
    }

    fn gguf_type(&self) -> u32 {
        6
    }

    fn values(&self) -> usize {
        VALUES
    }

    fn bytes(&self) -> usize {
        22
    }

    fn coding(&self) -> Option<Coding> {
        Some(Coding { step: VALUES, bits: 5, center: 16, has_minimum: false })
    }

    fn codes(&self, block: &[u8], out: &mut Codes) {
        out.scales[0] = nibbles::half_at(block, 0);
        let fifth = u32::from_le_bytes([block[2], block[3], block[4], block[5]]);
        nibbles::read(&block[6..22], &mut out.codes);
        nibbles::add_fifth(fifth, &mut out.codes);
    }

    fn writer(&self) -> Option<Writer> {
        Some(write)
    }
}

fn write(values: &[f32], out: &mut [u8]) {
    let d = nibbles::extreme(values) / -16.0;
    let inverse = nibbles::inverse(d);
    nibbles::put_half(out, 0, d);
    let fifth = nibbles::write(values, &mut out[6..], |x| ((x * inverse + 16.5) as u8).min(31));
    out[2..6].copy_from_slice(&fifth.to_le_bytes());
}
