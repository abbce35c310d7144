//! 5 bits above a minimum, in 8 parts of 32: `d`, `m`, 12 bytes of scales and minima of 6 bits, 32 bytes of fifth bits,
//! 128 bytes of the lower four.

use super::superblock::{self, VALUES};
use super::{Block, Codes, Coding};

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
        Some(Coding { step: 32, center: 0, has_minimum: true })
    }

    fn codes(&self, block: &[u8], out: &mut Codes) {
        superblock::scales_and_minima(block, out);
        superblock::halves(&block[48..], &mut out.codes);
        superblock::add_bits(&block[16..48], 4, &mut out.codes);
    }
}
