//! Memory for things of unlike types that come and go together, used again for the next ones.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::rc::Rc;

/// Words of a block.
const WORDS: usize = 1 << 10;

type Block = UnsafeCell<[MaybeUninit<u128>; WORDS]>;

/// Blocks of memory that are filled one after another. A block is used again when nothing in it is left.
#[derive(Default)]
pub(crate) struct Arena {
    blocks: Vec<Rc<Block>>,
    /// The block that is being filled, and how many of its words are taken.
    current: usize,
    taken: usize,
}

/// Something in an arena, which is dropped with this. It keeps its block from being used again.
pub(crate) struct Kept<T: ?Sized> {
    value: NonNull<T>,
    _block: Rc<Block>,
}

impl Arena {
    /// Begins with the first block again.
    pub fn rewind(&mut self) {
        (self.current, self.taken) = (0, 0);
    }

    /// Moves `value` to the arena and gives it as what `seen_as` makes of it.
    pub fn keep<T, U: ?Sized>(&mut self, value: T, seen_as: impl FnOnce(&mut T) -> &mut U) -> Kept<U> {
        const { assert!(align_of::<T>() <= align_of::<u128>() && size_of::<T>() <= size_of::<[u128; WORDS]>()) };
        let words = size_of::<T>().div_ceil(size_of::<u128>());
        if self.taken + words > WORDS {
            self.current += 1;
            self.taken = 0;
        }
        while self.taken == 0 && self.blocks.get(self.current).is_some_and(|block| Rc::strong_count(block) > 1) {
            self.current += 1;
        }
        if self.current >= self.blocks.len() {
            self.current = self.blocks.len();
            self.blocks.push(Rc::new(UnsafeCell::new([MaybeUninit::uninit(); WORDS])));
        }
        let block = &self.blocks[self.current];
        let start = self.taken;
        self.taken += words;
        #[expect(unsafe_code, reason = "puts a value into raw memory")]
        // SAFETY: the words from `start` on lie inside the block, are aligned for any `T`, and belong to nothing else:
        // a block is begun at its first word only when nothing holds it, and then filled word after word.
        let value = unsafe {
            let place = block.get().cast::<u128>().add(start).cast::<T>();
            place.write(value);
            &mut *place
        };
        Kept { value: NonNull::from(seen_as(value)), _block: Rc::clone(block) }
    }
}

impl<T: ?Sized> Deref for Kept<T> {
    type Target = T;

    #[expect(unsafe_code, reason = "the value lies in raw memory")]
    fn deref(&self) -> &T {
        // SAFETY: the value is there until this is dropped, its block is held, and only this points at it.
        unsafe { self.value.as_ref() }
    }
}

impl<T: ?Sized> DerefMut for Kept<T> {
    #[expect(unsafe_code, reason = "the value lies in raw memory")]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and this is borrowed for it alone.
        unsafe { self.value.as_mut() }
    }
}

impl<T: ?Sized> Drop for Kept<T> {
    #[expect(unsafe_code, reason = "the value lies in raw memory")]
    fn drop(&mut self) {
        // SAFETY: as above; nothing uses the value after this.
        unsafe { self.value.drop_in_place() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_are_whole_and_dropped_once_and_their_memory_is_used_again() {
        let alive = Rc::new(());
        let mut arena = Arena::default();
        for round in 0..4 {
            arena.rewind();
            let text: Kept<String> = arena.keep(format!("{round}"), |text| text);
            let many: Vec<Kept<(Rc<()>, [u8; 100])>> =
                (0..1000).map(|at| arena.keep((alive.clone(), [at as u8; 100]), |value| value)).collect();
            assert_eq!(Rc::strong_count(&alive), 1001);
            assert!((0..1000).zip(&many).all(|(at, value)| value.1 == [at as u8; 100]));
            assert_eq!(*text, format!("{round}"));
        }
        assert_eq!(Rc::strong_count(&alive), 1);
        assert_eq!(arena.blocks.len(), 7, "2 and 1000 times 7 words, 1024 in a block");
        // A block of which something is left is passed over.
        arena.rewind();
        let left = arena.keep(7_u8, |value| value);
        arena.rewind();
        let other = arena.keep(9_u8, |value| value);
        assert_eq!((*left, *other), (7, 9));
    }
}
