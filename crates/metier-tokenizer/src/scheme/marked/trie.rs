//! Texts with a number each, found byte by byte.

use metier_core::data::TokenId;

/// No child, and no number.
const NONE: u32 = u32::MAX;
const EMPTY: u64 = u64::MAX;
/// The node that every text begins at.
pub(crate) const ROOT: u32 = 0;

/// A trie in one flat table.
pub(crate) struct Trie {
    slots: Vec<Slot>,
    shift: u32,
    used: usize,
}

/// A step from a node by a byte.
#[derive(Clone, Copy)]
struct Slot {
    key: u64,
    child: u32,
    /// The number of the text that ends at the child.
    value: TokenId,
}

const FREE: Slot = Slot { key: EMPTY, child: NONE, value: NONE };

impl Trie {
    pub(crate) fn new() -> Self {
        Self { slots: vec![FREE; 1 << 10], shift: 64 - 10, used: 0 }
    }

    /// Adds a text; a later number replaces an earlier one.
    pub(crate) fn insert(&mut self, text: &str, value: TokenId) {
        let mut node = ROOT;
        for (at, byte) in (1..).zip(text.bytes()) {
            if self.used * 2 >= self.slots.len() {
                self.grow();
            }
            let key = key(node, byte);
            let place = self.place(key);
            let is_new = self.slots[place].key == EMPTY;
            if is_new {
                self.used += 1;
                self.slots[place] = Slot { key, child: self.used as u32, value: NONE };
            }
            if at == text.len() {
                self.slots[place].value = value;
            }
            node = self.slots[place].child;
        }
    }

    /// The node that a byte leads to from another, and the number of the text that ends there.
    #[inline]
    pub(crate) fn step(&self, node: u32, byte: u8) -> Option<(u32, Option<TokenId>)> {
        let slot = self.slots[self.place(key(node, byte))];
        (slot.key != EMPTY).then_some((slot.child, (slot.value != NONE).then_some(slot.value)))
    }

    /// The node that a text leads to.
    pub(super) fn node(&self, text: &str) -> Option<u32> {
        text.bytes().try_fold(ROOT, |node, byte| Some(self.step(node, byte)?.0))
    }

    /// The number of a text.
    pub(super) fn get(&self, text: &str) -> Option<TokenId> {
        let mut node = ROOT;
        let mut found = None;
        for byte in text.bytes() {
            (node, found) = self.step(node, byte)?;
        }
        found
    }

    #[inline]
    fn place(&self, key: u64) -> usize {
        let mask = self.slots.len() - 1;
        let mut place = (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize;
        while self.slots[place & mask].key != key && self.slots[place & mask].key != EMPTY {
            place += 1;
        }
        place & mask
    }

    fn grow(&mut self) {
        let larger = vec![FREE; self.slots.len() * 2];
        self.shift -= 1;
        for slot in std::mem::replace(&mut self.slots, larger).into_iter().filter(|slot| slot.key != EMPTY) {
            let place = self.place(slot.key);
            self.slots[place] = slot;
        }
    }
}

fn key(node: u32, byte: u8) -> u64 {
    u64::from(node) << 8 | u64::from(byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_and_their_beginnings_are_not() {
        let mut trie = Trie::new();
        let texts: Vec<String> = (0..3000).map(|number| format!("{number} é")).collect();
        for (value, text) in (0..).zip(&texts) {
            trie.insert(text, value);
        }
        trie.insert("7 é", 9000);
        for (value, text) in (0..).zip(&texts) {
            assert_eq!(trie.get(text), Some(if value == 7 { 9000 } else { value }));
            assert_eq!(trie.get(&text[..text.len() - 2]), None);
        }
        assert_eq!(trie.get(""), None);
        assert_eq!(trie.get("3000 é"), None);
    }
}
