//! 4 bits above a minimum, in 8 parts of 32: `d`, `m`, 12 bytes of scales and minima of 6 bits, 128 bytes of codes.

use super::superblock::{self, VALUES};
use super::{Block, Codes, Coding, Writer, nibbles};

/// The type.
pub(super) struct Q4K;

/// The largest code.
const LARGEST: f32 = 15.0;

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
        Some(Coding { step: 32, center: 0, has_minimum: true })
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
    let mut codes = [0_u8; VALUES];
    let (mut scales, mut depths) = ([0.0_f32; 8], [0.0_f32; 8]);
    for (part, (values, codes)) in values.chunks_exact(32).zip(codes.chunks_exact_mut(32)).enumerate() {
        (scales[part], depths[part]) = superblock::scale_above_minimum(values, codes, LARGEST);
    }
    let (scales, depths) = superblock::put_scales_and_minima(&scales, &depths, out);
    for (part, (values, codes)) in values.chunks_exact(32).zip(codes.chunks_exact_mut(32)).enumerate() {
        let (scale, depth) = (scales[part], depths[part]);
        // A part whose scale was rounded to nothing keeps the codes of the search.
        if scale != 0.0 {
            for (code, value) in codes.iter_mut().zip(values) {
                *code = nibbles::nearest((value + depth) / scale).clamp(0, 15) as u8;
            }
        }
    }
    for (packed, codes) in out[16..].chunks_exact_mut(32).zip(codes.chunks_exact(64)) {
        for (at, packed) in packed.iter_mut().enumerate() {
            *packed = codes[at] | (codes[at + 32] << 4);
        }
    }
}
