//! 4 bits around zero: `d`, then 16 bytes.

use super::Block;
use super::nibbles::{self, VALUES};

/// The type.
pub(super) struct Q4_0;

impl Block for Q4_0 {
    fn name(&self) -> &'static str {
        "Q4_0"
    }

    fn gguf_type(&self) -> u32 {
        2
    }

    fn values(&self) -> usize {
        VALUES
    }

    fn bytes(&self) -> usize {
        18
    }

    fn read(&self, block: &[u8], out: &mut [f32]) {
        let d = nibbles::half_at(block, 0);
        nibbles::read(&block[2..], 0, out, |q| (q - 8.0) * d);
    }

    fn write(&self, values: &[f32], out: &mut [u8]) {
        let d = nibbles::extreme(values) / -8.0;
        let inverse = nibbles::inverse(d);
        nibbles::put_half(out, 0, d);
        nibbles::write(values, &mut out[2..], |x| ((x * inverse + 8.5) as u8).min(15));
    }
}
