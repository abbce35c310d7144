//! 8 bits around zero: `d`, then 32 signed bytes.

use super::Block;
use super::nibbles::{self, VALUES};

/// The type.
pub(super) struct Q8_0;

impl Block for Q8_0 {
    fn name(&self) -> &'static str {
        "Q8_0"
    }

    fn gguf_type(&self) -> u32 {
        8
    }

    fn values(&self) -> usize {
        VALUES
    }

    fn bytes(&self) -> usize {
        34
    }

    fn read(&self, block: &[u8], out: &mut [f32]) {
        let d = nibbles::half_at(block, 0);
        for (out, &q) in out.iter_mut().zip(&block[2..]) {
            *out = f32::from(i8::from_le_bytes([q])) * d;
        }
    }

    fn write(&self, values: &[f32], out: &mut [u8]) {
        let d = nibbles::extreme(values).abs() / 127.0;
        let inverse = nibbles::inverse(d);
        nibbles::put_half(out, 0, d);
        for (out, &x) in out[2..].iter_mut().zip(values) {
            *out = ((x * inverse).round() as i8).to_le_bytes()[0];
        }
    }
}
