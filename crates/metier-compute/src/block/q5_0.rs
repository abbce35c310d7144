//! 5 bits around zero: `d`, 4 bytes of fifth bits, then 16 bytes.

use super::Block;
use super::nibbles::{self, VALUES};

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

    fn read(&self, block: &[u8], out: &mut [f32]) {
        let d = nibbles::half_at(block, 0);
        let fifth = u32::from_le_bytes([block[2], block[3], block[4], block[5]]);
        nibbles::read(&block[6..], fifth, out, |q| (q - 16.0) * d);
    }

    fn write(&self, values: &[f32], out: &mut [u8]) {
        let d = nibbles::extreme(values) / -16.0;
        let inverse = nibbles::inverse(d);
        nibbles::put_half(out, 0, d);
        let fifth = nibbles::write(values, &mut out[6..], |x| ((x * inverse + 16.5) as u8).min(31));
        out[2..6].copy_from_slice(&fifth.to_le_bytes());
    }
}
