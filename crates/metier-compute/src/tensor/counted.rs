//! Values that clones share, whose counts are used again.

use std::ops::Deref;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

/// A value that clones share.
///
/// What counts the clones is kept for the next value, as memory is by the pool, so that sharing allocates nothing
/// once as many values have been shared.
pub(crate) struct Shared<T: Counted>(Arc<T>);

/// What can be shared: it has a place for the counts that wait, and its default holds no memory.
pub(crate) trait Counted: Default + 'static {
    fn spare() -> &'static Spare<Self>;
}

/// Counts that wait, each of a default value.
pub(crate) struct Spare<T> {
    waiting: Mutex<Vec<Arc<T>>>,
    /// What a handle holds after its count was taken.
    empty: LazyLock<Arc<T>>,
}

impl<T: Default> Spare<T> {
    pub const fn new() -> Self {
        Self { waiting: Mutex::new(Vec::new()), empty: LazyLock::new(Arc::default) }
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Arc<T>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Counted> Shared<T> {
    pub fn new(value: T) -> Self {
        let mut counted = T::spare().waiting().pop().unwrap_or_default();
        match Arc::get_mut(&mut counted) {
            Some(empty) => *empty = value,
            None => counted = Arc::new(value),
        }
        Self(counted)
    }
}

impl<T: Counted + Clone> Shared<T> {
    /// The value to change; copied first when a clone shares it.
    pub fn to_mut(&mut self) -> &mut T {
        if Arc::get_mut(&mut self.0).is_none() {
            *self = Self::new(T::clone(&self.0));
        }
        Arc::make_mut(&mut self.0)
    }
}

impl<T: Counted> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Counted> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Counted> Drop for Shared<T> {
    fn drop(&mut self) {
        if let Some(last) = Arc::get_mut(&mut self.0) {
            *last = T::default();
            let counted = std::mem::replace(&mut self.0, Arc::clone(&T::spare().empty));
            T::spare().waiting().push(counted);
        }
    }
}
