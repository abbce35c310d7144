//! Blocks: how weights are stored in fewer bits, and read back as `f32`.
//!
//! A row of weights is cut into blocks of [`Block::values`] numbers; a block is [`Block::bytes`] bytes. The
//! layouts are those of ggml, little endian, so that a GGUF file's tensors are rows of these blocks. `x` is a
//! number of the block, `q` what is stored for it.
//!
//! | name | block | bits a number | formula |
//! |---|---|---|---|
//! | `BF16` | 1 | 16 | the upper half of `x` |
//! | `F16` | 1 | 16 | half precision |
//! | `F32` | 1 | 32 | `x` |
//! | `Q4_0` | 32 | 4.5 | `x = d (q - 8)`, `q` in 0..16 |
//! | `Q4_1` | 32 | 5 | `x = d q + m`, `q` in 0..16 |
//! | `Q5_0` | 32 | 5.5 | `x = d (q - 16)`, `q` in 0..32 |
//! | `Q5_1` | 32 | 6 | `x = d q + m`, `q` in 0..32 |
//! | `Q8_0` | 32 | 8.5 | `x = d q`, `q` in -127..=127 |
//!
//! `d` and `m` are of half precision and belong to the block. In the types of 4 and 5 bits, byte `i` of the 16
//! holds number `i` in its low half and number `i + 16` in its high half.

mod bf16;
mod f16;
mod f32;
mod nibbles;
mod q4_0;
mod q4_1;
mod q5_0;
mod q5_1;
mod q8_0;
#[cfg(test)]
mod tests;

use metier_core::{Error, Place, Result};

/// A way to store numbers.
pub trait Block: Sync {
    /// Its name in ggml.
    fn name(&self) -> &'static str;

    /// The number that stands for it in a GGUF file.
    fn gguf_type(&self) -> u32;

    /// Numbers in a block.
    fn values(&self) -> usize;

    /// Bytes of a block.
    fn bytes(&self) -> usize;

    /// Reads one block of [`Self::bytes`] bytes into [`Self::values`] numbers.
    fn read(&self, block: &[u8], out: &mut [f32]);

    /// Writes one block of [`Self::values`] numbers into [`Self::bytes`] bytes.
    fn write(&self, values: &[f32], out: &mut [u8]);
}

/// All block types, alphabetical.
pub static BLOCKS: &[&dyn Block] =
    &[&bf16::Bf16, &f16::F16, &f32::F32, &q4_0::Q4_0, &q4_1::Q4_1, &q5_0::Q5_0, &q5_1::Q5_1, &q8_0::Q8_0];

/// The block type that a GGUF file writes as `number`.
pub fn of_gguf_type(number: u32) -> Option<&'static dyn Block> {
    BLOCKS.iter().copied().find(|block| block.gguf_type() == number)
}

/// The block type called `name` in ggml.
pub fn of_name(name: &str) -> Option<&'static dyn Block> {
    BLOCKS.iter().copied().find(|block| block.name() == name)
}

/// Bytes of `values` numbers, or `None` when they are no whole number of blocks or too many to count.
pub fn bytes_for(block: &dyn Block, values: usize) -> Option<usize> {
    if values.is_multiple_of(block.values()) { (values / block.values()).checked_mul(block.bytes()) } else { None }
}

/// The numbers that `bytes` hold.
pub fn dequantize(block: &dyn Block, bytes: &[u8]) -> Result<Vec<f32>> {
    if !bytes.len().is_multiple_of(block.bytes()) {
        return Err(Error::user(
            Place::default(),
            format!("{} bytes are no whole number of {} blocks of {} bytes", bytes.len(), block.name(), block.bytes()),
        ));
    }
    let mut out = vec![0.0; bytes.len() / block.bytes() * block.values()];
    for (block_bytes, values) in bytes.chunks_exact(block.bytes()).zip(out.chunks_exact_mut(block.values())) {
        block.read(block_bytes, values);
    }
    Ok(out)
}

/// The blocks that hold `values` as nearly as the reference program of ggml would.
pub fn quantize(block: &dyn Block, values: &[f32]) -> Result<Vec<u8>> {
    let Some(bytes) = bytes_for(block, values.len()) else {
        return Err(Error::user(
            Place::default(),
            format!("{} numbers are no whole number of {} blocks of {}", values.len(), block.name(), block.values()),
        ));
    };
    let mut out = vec![0; bytes];
    for (values, block_bytes) in values.chunks_exact(block.values()).zip(out.chunks_exact_mut(block.bytes())) {
        block.write(values, block_bytes);
    }
    Ok(out)
}
