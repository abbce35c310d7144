//! One buffer of `f32`, taken from the pool and given back when dropped.

use metier_core::Result;

use super::pool;

/// The storage behind a tensor. `storage` may be longer than what the tensor uses.
pub(crate) struct Buffer {
    storage: Vec<f32>,
    length: usize,
}

impl Buffer {
    /// A buffer of `length` elements with whatever values it last held.
    pub fn stale(length: usize) -> Result<Self> {
        Ok(Self { storage: pool::take(length)?, length })
    }

    /// A buffer made of values that exist already.
    pub fn adopt(values: Vec<f32>) -> Result<Self> {
        let length = values.len();
        Ok(Self { storage: pool::adopt(values)?, length })
    }

    pub fn as_slice(&self) -> &[f32] {
        &self.storage[..self.length]
    }

    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        &mut self.storage[..self.length]
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Self {
        let mut storage = pool::take_past_limit(self.length);
        storage[..self.length].copy_from_slice(self.as_slice());
        Self { storage, length: self.length }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        pool::give_back(std::mem::take(&mut self.storage));
    }
}
