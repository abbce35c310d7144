//! 3 bits around zero, in 16 parts of 16: 32 bytes of third bits, 64 bytes of the lower two, 12 bytes of scales of 6
//! bits, `d`.

use super::superblock::{self, VALUES};
use super::{Block, Codes, Coding, nibbles};

/// The type.
pub(super) struct Q3K;

impl Block for Q3K {
    fn name(&self) -> &'static str {
        "Q3_K"
    }

    fn gguf_type(&self) -> u32 {
        11
    }

    fn values(&self) -> usize {
        VALUES
    }

    fn bytes(&self) -> usize {
        110
    }

    fn coding(&self) -> Option<Coding> {
        Some(Coding { step: 16, bits: 3, center: 4, has_minimum: false })
    }

    fn codes(&self, block: &[u8], out: &mut Codes) {
        let d = nibbles::half_at(block, 108);
        let scales = &block[96..108];
        for part in 0..16 {
            let low = (scales[part % 8] >> (part / 8 * 4)) & 15;
            let high = (scales[8 + part % 4] >> (part / 4 * 2)) & 3;
            out.scales[part] = d * (f32::from(low | (high << 4)) - 32.0);
        }
        superblock::pairs_of_bits(&block[32..96], &mut out.codes);
        superblock::add_bits(&block[..32], 2, &mut out.codes);
    }
}
