//! Numbers that are stored by themselves.

use half::f16;
use half::slice::HalfFloatSliceExt;

/// How a number is stored by itself, little endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// The upper half of single precision.
    Bf16,
    /// Half precision.
    F16,
    /// Single precision.
    F32,
}

impl Numbers {
    /// Bytes of each.
    pub fn bytes(self) -> usize {
        match self {
            Self::Bf16 | Self::F16 => 2,
            Self::F32 => 4,
        }
    }
}

/// Writes the numbers in `bytes` to `out`, as many as both have.
pub(super) fn read(numbers: Numbers, bytes: &[u8], out: &mut [f32]) {
    match numbers {
        Numbers::Bf16 => {
            for (bytes, out) in bytes.as_chunks().0.iter().zip(out) {
                *out = f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
            }
        }
        Numbers::F16 => read_f16(bytes, out),
        Numbers::F32 => {
            for (bytes, out) in bytes.as_chunks().0.iter().zip(out) {
                *out = f32::from_le_bytes(*bytes);
            }
        }
    }
}

fn read_f16(bytes: &[u8], out: &mut [f32]) {
    /// Numbers that are read together.
    const TOGETHER: usize = 64;
    let mut halves = [f16::ZERO; TOGETHER];
    for (bytes, out) in bytes.chunks(2 * TOGETHER).zip(out.chunks_mut(TOGETHER)) {
        let halves = &mut halves[..out.len()];
        for (bytes, half) in bytes.as_chunks().0.iter().zip(&mut *halves) {
            *half = f16::from_le_bytes(*bytes);
        }
        halves.convert_to_f32_slice(out);
    }
}
