//! 4 bits above a minimum, in 8 parts of 32: `d`, `m`, 12 bytes of scales and minima of 6 bits, 128 bytes of codes.

use super::superblock::{self, VALUES};
use super::{Block, Codes, Coding, Writer};

/// The type.
pub(super) struct Q4K;

impl Block for Q4K {
    fn name(&self) -> &'static str {
        "Q4_K"
    }

    fn gguf_type(&self) -> u32 {
        12
    }

    fn values(&self) -> usize {
        VALUES
    }

    fn bytes(&self) -> usize {
        144
    }

    fn coding(&self) -> Option<Coding> {
        Some(Coding { step: 32, bits: 4, center: 0, has_minimum: true })
    }

    fn codes(&self, block: &[u8], out: &mut Codes) {
        superblock::scales_and_minima(block, out);
        superblock::halves(&block[16..], &mut out.codes);
    }

    fn writer(&self) -> Option<Writer> {
        Some(write)
    }
}

fn write(values: &[f32], out: &mut [u8]) {
    let codes = superblock::write_above_minimum(values, out, 15.0, (-1.0, 20));
    superblock::put_halves(&codes, &mut out[16..]);
}
