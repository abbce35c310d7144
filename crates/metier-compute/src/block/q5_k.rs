//! 5 bits above a minimum, in 8 parts of 32: `d`, `m`, 12 bytes of scales and minima of 6 bits, 32 bytes of fifth bits,
//! 128 bytes of the lower four.

use super::superblock::{self, VALUES};
use super::{Block, Codes, Coding, Writer};

/// The type.
pub(super) struct Q5K;

impl Block for Q5K {
    fn name(&self) -> &'static str {
        "Q5_K"
    }

    fn gguf_type(&self) -> u32 {
        13
    }

    fn values(&self) -> usize {
        VALUES
    }

    fn bytes(&self) -> usize {
        176
    }

    fn coding(&self) -> Option<Coding> {
        Some(Coding { step: 32, bits: 5, center: 0, has_minimum: true })
    }

    fn codes(&self, block: &[u8], out: &mut Codes) {
        superblock::scales_and_minima(block, out);
        superblock::halves(&block[48..], &mut out.codes);
        superblock::add_bits(&block[16..48], 4, &mut out.codes);
    }

    fn writer(&self) -> Option<Writer> {
        Some(write)
    }
}

fn write(values: &[f32], out: &mut [u8]) {
    let codes = superblock::write_above_minimum(values, out, 31.0, (-0.5, 15));
    superblock::put_halves(&codes, &mut out[48..]);
    for at in 0..32 {
        out[16 + at] = (0..8).fold(0, |bits, run| bits | ((codes[32 * run + at] >> 4) << run));
    }
}
