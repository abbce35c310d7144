//! 2 bits above a minimum, in 16 parts of 16: 16 bytes of scales and minima of 4 bits each, 64 bytes of codes, `d`, `m`.

use super::superblock::{self, VALUES};
use super::{Block, Codes, Coding, nibbles};

/// The type.
pub(super) struct Q2K;

impl Block for Q2K {
    fn name(&self) -> &'static str {
        "Q2_K"
    }

    fn gguf_type(&self) -> u32 {
        10
    }

    fn values(&self) -> usize {
        VALUES
    }

    fn bytes(&self) -> usize {
        84
    }

    fn coding(&self) -> Option<Coding> {
        Some(Coding { step: 16, bits: 2, center: 0, has_minimum: true })
    }

    fn codes(&self, block: &[u8], out: &mut Codes) {
        let (d, m) = (nibbles::half_at(block, 80), nibbles::half_at(block, 82));
        for (part, &packed) in block[..16].iter().enumerate() {
            out.scales[part] = d * f32::from(packed & 15);
            out.minima[part] = -(m * f32::from(packed >> 4));
        }
        superblock::pairs_of_bits(&block[16..80], &mut out.codes);
    }
}
