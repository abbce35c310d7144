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
//! | `IQ4_NL` | 32 | 4.5 | `x = d level(q)`, 16 uneven levels |
//! | `Q2_K` | 256 | 2.6 | `x = d s q - m t`, `q` in 0..4, `s` and `t` in 0..16 for each 16 |
//! | `Q3_K` | 256 | 3.4 | `x = d s (q - 4)`, `q` in 0..8, `s` in -32..32 for each 16 |
//! | `Q4_0` | 32 | 4.5 | `x = d (q - 8)`, `q` in 0..16 |
//! | `Q4_1` | 32 | 5 | `x = d q + m`, `q` in 0..16 |
//! | `Q4_K` | 256 | 4.5 | `x = d s q - m t`, `q` in 0..16, `s` and `t` in 0..64 for each 32 |
//! | `Q5_0` | 32 | 5.5 | `x = d (q - 16)`, `q` in 0..32 |
//! | `Q5_1` | 32 | 6 | `x = d q + m`, `q` in 0..32 |
//! | `Q5_K` | 256 | 5.5 | `x = d s q - m t`, `q` in 0..32, `s` and `t` in 0..64 for each 32 |
//! | `Q6_K` | 256 | 6.6 | `x = d s (q - 32)`, `q` in 0..64, `s` in -128..128 for each 16 |
//! | `Q8_0` | 32 | 8.5 | `x = d q`, `q` in -127..=127 |
//!
//! `d` and `m` are of half precision and belong to the block. In the types of 4 and 5 bits and 32 numbers, byte `i` of the 16
//! holds number `i` in its low half and number `i + 16` in its high half. `Q2_K`, `Q3_K` and `IQ4_NL` are read only.
//!
//! [`Nf4`] is no type of ggml and none of these: its scales belong to the tensor, not to blocks that stand alone.

mod bf16;
mod f16;
mod f32;
mod iq4_nl;
mod nf4;
mod nibbles;
mod plain;
mod q2_k;
mod q3_k;
mod q4_0;
mod q4_1;
mod q4_k;
mod q5_0;
mod q5_1;
mod q5_k;
mod q6_k;
mod q8_0;
mod superblock;
#[cfg(test)]
mod tests;

use crate::kernel::quantized;
#[cfg(target_arch = "x86_64")]
pub(crate) use iq4_nl::LEVELS as IQ4_NL_LEVELS;
use metier_core::{Error, Place, Result};
pub use nf4::Nf4;
pub(crate) use nf4::{BLOCK as NF4_BLOCK, LEVELS};
pub use plain::Numbers;

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

    /// How its numbers are whole ones on a scale; `None` where they are stored as they are.
    fn coding(&self) -> Option<Coding> {
        None
    }

    /// What its numbers are where they are stored as they are; `None` with [`Self::coding`].
    fn numbers(&self) -> Option<Numbers> {
        None
    }

    /// Reads the codes and scales of one block of [`Self::bytes`] bytes; nothing without [`Self::coding`].
    fn codes(&self, _block: &[u8], _out: &mut Codes) {}

    /// Reads one block of [`Self::bytes`] bytes into [`Self::values`] numbers.
    fn read(&self, block: &[u8], out: &mut [f32]) {
        let Some(coding) = self.coding() else { return };
        let mut coded = Codes::default();
        self.codes(block, &mut coded);
        quantized::unfold(&coded, coding, out);
    }

    /// What writes one block; `None` for a type that is read only.
    fn writer(&self) -> Option<Writer> {
        None
    }
}

/// Writes one block of [`Block::values`] numbers into [`Block::bytes`] bytes.
pub type Writer = fn(&[f32], &mut [u8]);

/// Most numbers in a block.
const MOST_VALUES: usize = 256;
/// Fewest numbers that share a scale.
const LEAST_STEP: usize = 16;

/// How numbers are whole ones: `x = scale (code - center) + minimum`, with a scale and a minimum for each `step` of
/// them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coding {
    /// Numbers that share a scale: 16 or 32.
    pub step: usize,
    /// Bits that the largest code has.
    pub bits: u8,
    /// The code of zero, or of the minimum.
    pub center: u8,
    /// Whether there are minima.
    pub has_minimum: bool,
}

/// The codes of one block. What lies beyond the block's numbers keeps what it was.
#[derive(Debug, Clone)]
pub struct Codes {
    /// In the order of the numbers.
    pub codes: [u8; MOST_VALUES],
    /// One for each step.
    pub scales: [f32; MOST_VALUES / LEAST_STEP],
    /// One for each step, where there are any.
    pub minima: [f32; MOST_VALUES / LEAST_STEP],
}

impl Default for Codes {
    fn default() -> Self {
        Self {
            codes: [0; MOST_VALUES],
            scales: [0.0; MOST_VALUES / LEAST_STEP],
            minima: [0.0; MOST_VALUES / LEAST_STEP],
        }
    }
}

/// A matrix in blocks.
#[derive(Clone, Copy)]
pub(crate) struct Weight<'a> {
    pub block: &'static dyn Block,
    /// Row after row.
    pub bytes: &'a [u8],
    pub rows: usize,
    pub columns: usize,
}

impl<'a> Weight<'a> {
    /// The bytes of a row.
    pub fn row(&self, row: usize) -> &'a [u8] {
        let length = self.columns / self.block.values() * self.block.bytes();
        &self.bytes[row * length..][..length]
    }
}

/// All block types, alphabetical.
pub static BLOCKS: &[&dyn Block] = &[
    &bf16::Bf16,
    &f16::F16,
    &f32::F32,
    &iq4_nl::Iq4Nl,
    &q2_k::Q2K,
    &q3_k::Q3K,
    &q4_0::Q4_0,
    &q4_1::Q4_1,
    &q4_k::Q4K,
    &q5_0::Q5_0,
    &q5_1::Q5_1,
    &q5_k::Q5K,
    &q6_k::Q6K,
    &q8_0::Q8_0,
];

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
    decode(block, bytes, &mut out);
    Ok(out)
}

/// Writes the numbers that `bytes` hold to `out`, as many as both have.
pub(crate) fn decode(block: &dyn Block, bytes: &[u8], out: &mut [f32]) {
    if let Some(numbers) = block.numbers() {
        return plain::read(numbers, bytes, out);
    }
    for (bytes, values) in bytes.chunks_exact(block.bytes()).zip(out.chunks_exact_mut(block.values())) {
        block.read(bytes, values);
    }
}

/// The blocks that hold `values` as nearly as the reference program of ggml would. Refused for a type that is read only.
pub fn quantize(block: &dyn Block, values: &[f32]) -> Result<Vec<u8>> {
    let Some(write) = block.writer() else {
        let known: Vec<&str> =
            BLOCKS.iter().filter(|block| block.writer().is_some()).map(|block| block.name()).collect();
        let message = format!("{} is read and not written", block.name());
        return Err(Error::user(Place::default(), message).hint(format!("known: {}", known.join(", "))));
    };
    let Some(bytes) = bytes_for(block, values.len()) else {
        return Err(Error::user(
            Place::default(),
            format!("{} numbers are no whole number of {} blocks of {}", values.len(), block.name(), block.values()),
        ));
    };
    let mut out = vec![0; bytes];
    for (values, block_bytes) in values.chunks_exact(block.values()).zip(out.chunks_exact_mut(block.bytes())) {
        write(values, block_bytes);
    }
    Ok(out)
}
