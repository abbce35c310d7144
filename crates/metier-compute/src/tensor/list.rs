//! Short lists that come and go with every step.

use std::cell::RefCell;
use std::ops::Deref;
use std::thread::LocalKey;

use crate::op::Sequence;

/// A list whose memory the next list of its kind on the thread uses again, so that a training step does not allocate it.
#[derive(Debug)]
pub struct List<T: Listed>(Vec<T>);

/// What a [`List`] can hold.
pub trait Listed: Clone + 'static {
    /// Memory of lists that are gone.
    #[doc(hidden)]
    fn spare() -> &'static LocalKey<RefCell<Vec<Vec<Self>>>>;
}

macro_rules! listed {
    ($($kind:ty),*) => {$(
        impl Listed for $kind {
            fn spare() -> &'static LocalKey<RefCell<Vec<Vec<Self>>>> {
                thread_local! { static SPARE: RefCell<Vec<Vec<$kind>>> = const { RefCell::new(Vec::new()) }; }
                &SPARE
            }
        }
    )*};
}

listed!(u32, usize, (usize, f32), Sequence);

impl<T: Listed> FromIterator<T> for List<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let mut list = T::spare().with_borrow_mut(Vec::pop).unwrap_or_default();
        list.extend(values);
        Self(list)
    }
}

impl<T: Listed> From<&[T]> for List<T> {
    fn from(values: &[T]) -> Self {
        values.iter().cloned().collect()
    }
}

impl<T: Listed> Clone for List<T> {
    fn clone(&self) -> Self {
        self[..].into()
    }
}

impl<T: Listed> Deref for List<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Listed> Drop for List<T> {
    fn drop(&mut self) {
        let mut list = std::mem::take(&mut self.0);
        list.clear();
        // When the thread ends there is nowhere to put it.
        T::spare().try_with(|spare| spare.borrow_mut().push(list)).unwrap_or(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again_and_clones_are_lists_of_their_own() {
        let first: List<u32> = (0..100).collect();
        let (memory, copy) = (first.as_ptr(), first.clone());
        drop(first);
        let second = List::from(&[7, 8][..]);
        assert_eq!((second.as_ptr(), &second[..]), (memory, &[7, 8][..]));
        assert!(copy.iter().copied().eq(0..100));
    }
}
