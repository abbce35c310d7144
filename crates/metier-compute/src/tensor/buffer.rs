//! One buffer of `f32`, taken from the pool and given back when dropped.

use metier_core::Result;

use super::counted::{Counted, Spare};
use super::pool::{self, Storage};

/// The storage behind a tensor. `storage` may be longer than what the tensor uses.
#[derive(Default)]
pub(crate) struct Buffer {
    storage: Storage,
    length: usize,
}

impl Buffer {
    /// A buffer of `length` elements with whatever values it last held.
    pub fn stale(length: usize) -> Result<Self> {
        Ok(Self { storage: pool::take(length)?, length })
    }

    /// As [`Buffer::stale`], past the limit where it has to be: for kernels, which have no way to report a refusal.
    pub fn scratch(length: usize) -> Self {
        Self { storage: pool::take_past_limit(length), length }
    }

    /// A buffer made of values that exist already.
    pub fn adopt(values: Vec<f32>) -> Result<Self> {
        let length = values.len();
        Ok(Self { storage: pool::adopt(values)?, length })
    }

    pub fn as_slice(&self) -> &[f32] {
        &self.storage.as_slice()[..self.length]
    }

    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        &mut self.storage.as_mut_slice()[..self.length]
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Self {
        let mut copy = Self::scratch(self.length);
        copy.as_mut_slice().copy_from_slice(self.as_slice());
        copy
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        pool::give_back(std::mem::take(&mut self.storage));
    }
}

impl Counted for Buffer {
    fn spare() -> &'static Spare<Self> {
        static SPARE: Spare<Buffer> = Spare::new();
        &SPARE
    }
}
