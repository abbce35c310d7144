//! Single precision, as it is.

use super::{Block, Numbers, Writer};

/// The type.
pub(super) struct F32;

impl Block for F32 {
    fn name(&self) -> &'static str {
        "F32"
    }

    fn gguf_type(&self) -> u32 {
        0
    }

    fn values(&self) -> usize {
        1
    }

    fn bytes(&self) -> usize {
        4
    }

    fn numbers(&self) -> Option<Numbers> {
        Some(Numbers::F32)
    }

    fn read(&self, block: &[u8], out: &mut [f32]) {
        out[0] = f32::from_le_bytes([block[0], block[1], block[2], block[3]]);
    }

    fn writer(&self) -> Option<Writer> {
        Some(write)
    }
}

fn write(values: &[f32], out: &mut [u8]) {
    out.copy_from_slice(&values[0].to_le_bytes());
}
