//! Half precision.

use super::{Block, Numbers, Writer};
use half::f16;

/// The type.
pub(super) struct F16;

impl Block for F16 {
    fn name(&self) -> &'static str {
        "F16"
    }

    fn gguf_type(&self) -> u32 {
        1
    }

    fn values(&self) -> usize {
        1
    }

    fn bytes(&self) -> usize {
        2
    }

    fn numbers(&self) -> Option<Numbers> {
        Some(Numbers::F16)
    }

    fn read(&self, block: &[u8], out: &mut [f32]) {
        out[0] = f16::from_le_bytes([block[0], block[1]]).to_f32();
    }

    fn writer(&self) -> Option<Writer> {
        Some(write)
    }
}

fn write(values: &[f32], out: &mut [u8]) {
    out.copy_from_slice(&f16::from_f32(values[0]).to_le_bytes());
}
