//! 4 bits that choose among 16 uneven levels: `d`, then 16 bytes.

use super::nibbles::{self, VALUES};
use super::{Block, Codes, Coding};

/// The type.
pub(super) struct Iq4Nl;

/// What the codes stand for: ggml's levels, which lie closer around zero as weights do.
pub(crate) const LEVELS: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

impl Block for Iq4Nl {
    fn name(&self) -> &'static str {
        "IQ4_NL"
    }

    fn gguf_type(&self) -> u32 {
        20
    }

    fn values(&self) -> usize {
        VALUES
    }

    fn bytes(&self) -> usize {
        18
    }

    fn coding(&self) -> Option<Coding> {
        Some(Coding { step: 32, bits: 8, center: 128, has_minimum: false })
    }

    fn codes(&self, block: &[u8], out: &mut Codes) {
        out.scales[0] = nibbles::half_at(block, 0);
        nibbles::read(&block[2..18], &mut out.codes);
        for code in &mut out.codes[..VALUES] {
            *code = LEVELS[usize::from(*code & 15)].wrapping_add(-128).to_le_bytes()[0];
        }
    }
}
