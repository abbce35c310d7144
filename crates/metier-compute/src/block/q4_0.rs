//! 4 bits around zero: `d`, then 16 bytes.

use super::nibbles::{self, VALUES};
use super::{Block, Codes, Coding, Writer};

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

    fn coding(&self) -> Option<Coding> {
        Some(Coding { step: VALUES, bits: 4, center: 8, has_minimum: false })
    }

    fn codes(&self, block: &[u8], out: &mut Codes) {
        out.scales[0] = nibbles::half_at(block, 0);
        nibbles::read(&block[2..18], &mut out.codes);
    }

    fn writer(&self) -> Option<Writer> {
        Some(write)
    }
}

fn write(values: &[f32], out: &mut [u8]) {
    let d = nibbles::extreme(values) / -8.0;
    let inverse = nibbles::inverse(d);
    nibbles::put_half(out, 0, d);
    nibbles::write(values, &mut out[2..], |x| ((x * inverse + 8.5) as u8).min(15));
}
