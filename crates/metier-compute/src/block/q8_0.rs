//! 8 bits around zero: `d`, then 32 signed bytes.

use super::nibbles::{self, VALUES};
use super::{Block, Codes, Coding, Writer};

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

    fn coding(&self) -> Option<Coding> {
        Some(Coding { step: VALUES, bits: 8, center: 128, has_minimum: false })
    }

    fn codes(&self, block: &[u8], out: &mut Codes) {
        out.scales[0] = nibbles::half_at(block, 0);
        for (code, &q) in out.codes.iter_mut().zip(&block[2..34]) {
            *code = q ^ 0x80;
        }
    }

    fn writer(&self) -> Option<Writer> {
        Some(write)
    }
}

fn write(values: &[f32], out: &mut [u8]) {
    let d = nibbles::extreme(values).abs() / 127.0;
    let inverse = nibbles::inverse(d);
    nibbles::put_half(out, 0, d);
    for (out, &x) in out[2..].iter_mut().zip(values) {
        *out = ((x * inverse).round() as i8).to_le_bytes()[0];
    }
}
