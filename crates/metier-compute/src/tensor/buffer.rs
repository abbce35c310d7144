//! One buffer of `f32`, taken from the pool and given back when dropped.

use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use metier_core::Result;

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

/// A buffer that clones share until one writes to it.
///
/// What counts the clones is kept for the next buffer, as the storage is by the pool, so that making a tensor allocates
/// nothing once there have been as many.
pub(super) struct Shared(Arc<Buffer>);

/// Counts that wait, each of an empty buffer.
fn spare() -> MutexGuard<'static, Vec<Arc<Buffer>>> {
    static SPARE: Mutex<Vec<Arc<Buffer>>> = Mutex::new(Vec::new());
    SPARE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub fn new(buffer: Buffer) -> Self {
        let mut counted = spare().pop().unwrap_or_default();
        match Arc::get_mut(&mut counted) {
            Some(empty) => *empty = buffer,
            None => counted = Arc::new(buffer),
        }
        Self(counted)
    }

    pub fn as_slice(&self) -> &[f32] {
        self.0.as_slice()
    }

    /// Copies first when a clone shares the buffer.
    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        if Arc::get_mut(&mut self.0).is_none() {
            *self = Self::new(Buffer::clone(&self.0));
        }
        Arc::make_mut(&mut self.0).as_mut_slice()
    }
}

impl Clone for Shared {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        static EMPTY: LazyLock<Arc<Buffer>> = LazyLock::new(Arc::default);
        if let Some(last) = Arc::get_mut(&mut self.0) {
            *last = Buffer::default();
            let counted = std::mem::replace(&mut self.0, Arc::clone(&EMPTY));
            spare().push(counted);
        }
    }
}
