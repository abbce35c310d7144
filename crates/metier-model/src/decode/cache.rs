//! Keys and values of the rows that came before; an argument of decoding, never a state of the model.

use crate::config::Config;
use metier_compute::Tensor;
use metier_core::Result;

/// The keys and values of one text in one block.
pub struct BlockCache {
    width: usize,
    length: usize,
    keys: Tensor,
    values: Tensor,
}

/// The keys and values of one text in every block.
pub struct Cache {
    pub(crate) blocks: Vec<BlockCache>,
}

/// Rows that an empty cache has room for.
const FIRST_ROWS: usize = 64;

impl Cache {
    /// The cache of a text that has not begun.
    pub fn new(config: &Config) -> Result<Self> {
        let block = |_| BlockCache::new(config.key_width());
        Ok(Self { blocks: (0..config.layers).map(block).collect::<Result<_>>()? })
    }

    /// Tokens seen so far.
    pub fn length(&self) -> usize {
        self.blocks.first().map_or(0, BlockCache::length)
    }

    /// Bytes that a text of `tokens` tokens takes.
    pub fn bytes(config: &Config, tokens: usize) -> u64 {
        let rows = tokens.max(FIRST_ROWS).next_power_of_two();
        2 * (config.layers * rows * config.key_width() * size_of::<f32>()) as u64
    }
}

impl BlockCache {
    fn new(width: usize) -> Result<Self> {
        let empty = || Tensor::zeros(&[FIRST_ROWS, width]);
        Ok(Self { width, length: 0, keys: empty()?, values: empty()? })
    }

    /// Rows in use.
    pub fn length(&self) -> usize {
        self.length
    }

    /// `[capacity, K]`, of which the first [`BlockCache::length`] rows are in use. Shares the buffer: let
    /// go of it before the next [`BlockCache::append`], which otherwise copies.
    pub fn keys(&self) -> Tensor {
        self.keys.clone()
    }

    /// As [`BlockCache::keys`].
    pub fn values(&self) -> Tensor {
        self.values.clone()
    }

    /// Adds the rows `[N, K]` of new tokens.
    pub fn append(&mut self, keys: &Tensor, values: &Tensor) -> Result<()> {
        let rows = keys.len() / self.width;
        let needed = self.length + rows;
        if needed * self.width > self.keys.len() {
            let capacity = needed.next_power_of_two();
            for tensor in [&mut self.keys, &mut self.values] {
                let mut grown = Tensor::zeros(&[capacity, self.width])?;
                grown.data_mut()[..self.length * self.width]
                    .copy_from_slice(&tensor.data()[..self.length * self.width]);
                *tensor = grown;
            }
        }
        let range = self.length * self.width..needed * self.width;
        self.keys.data_mut()[range.clone()].copy_from_slice(keys.data());
        self.values.data_mut()[range].copy_from_slice(values.data());
        self.length = needed;
        Ok(())
    }
}
