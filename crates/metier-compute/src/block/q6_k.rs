//! 6 bits around zero, in 16 parts of 16: 128 bytes of the lower four bits, 64 bytes of the upper two, 16 signed bytes of
//! scales, `d`.

use super::superblock::{self, VALUES};
use super::{Block, Codes, Coding, Writer, nibbles};

/// The type.
pub(super) struct Q6K;

const CENTER: u8 = 32;

impl Block for Q6K {
    fn name(&self) -> &'static str {
        "Q6_K"
    }

    fn gguf_type(&self) -> u32 {
        14
    }

    fn values(&self) -> usize {
        VALUES
    }

    fn bytes(&self) -> usize {
        210
    }

    fn coding(&self) -> Option<Coding> {
        Some(Coding { step: 16, bits: 6, center: CENTER, has_minimum: false })
    }

    fn codes(&self, block: &[u8], out: &mut Codes) {
        let d = nibbles::half_at(block, 208);
        for (scale, &stored) in out.scales.iter_mut().zip(&block[192..208]) {
            *scale = d * f32::from(i8::from_le_bytes([stored]));
        }
        let halves = block[..128].chunks_exact(64).zip(block[128..192].chunks_exact(32));
        for ((low, high), codes) in halves.zip(out.codes.chunks_exact_mut(128)) {
            for (quarter, codes) in codes.chunks_exact_mut(32).enumerate() {
                let low = &low[quarter % 2 * 32..][..32];
                for ((code, low), high) in codes.iter_mut().zip(low).zip(high) {
                    *code = ((low >> (quarter / 2 * 4)) & 15) | (((high >> (quarter * 2)) & 3) << 4);
                }
            }
        }
    }

    fn writer(&self) -> Option<Writer> {
        Some(write)
    }
}

fn write(values: &[f32], out: &mut [u8]) {
    let mut codes = [0_u8; VALUES];
    let mut scales = [0.0_f32; 16];
    for (part, (values, codes)) in values.chunks_exact(16).zip(codes.chunks_exact_mut(16)).enumerate() {
        scales[part] = superblock::scale_around_zero(values, codes, CENTER);
    }
    let widest = nibbles::extreme(&scales);
    if widest.abs() < superblock::NOTHING {
        return out.fill(0);
    }
    let inverse = -128.0 / widest;
    nibbles::put_half(out, 208, 1.0 / inverse);
    let d = nibbles::half_at(out, 208);
    for (part, (values, codes)) in values.chunks_exact(16).zip(codes.chunks_exact_mut(16)).enumerate() {
        let stored = nibbles::nearest(inverse * scales[part]).clamp(-128, 127) as i8;
        out[192 + part] = stored.to_le_bytes()[0];
        let scale = d * f32::from(stored);
        // A part whose scale was rounded to nothing keeps the codes of the search.
        if scale != 0.0 {
            for (code, value) in codes.iter_mut().zip(values) {
                *code = (nibbles::nearest(value / scale).clamp(-32, 31) + i32::from(CENTER)) as u8;
            }
        }
    }
    for (half, codes) in codes.chunks_exact(128).enumerate() {
        for at in 0..64 {
            out[64 * half + at] = (codes[at] & 15) | ((codes[at + 64] & 15) << 4);
        }
        for at in 0..32 {
            let upper = |quarter: usize| (codes[at + 32 * quarter] >> 4) << (2 * quarter);
            out[128 + 32 * half + at] = upper(0) | upper(1) | upper(2) | upper(3);
        }
    }
}
