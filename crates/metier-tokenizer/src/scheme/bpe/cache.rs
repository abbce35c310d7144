//! Words that were encoded before, with their ids.

use metier_core::data::TokenId;
use std::collections::HashMap;

/// Bytes of a word that a slot holds.
pub(super) const SHORT: usize = 15;
/// Ids that a slot holds.
pub(super) const INLINE: usize = 3;
/// Longer words are not kept.
const LONGEST: usize = 128;
const FEWEST_SLOTS: usize = 1 << 14;
/// Slots of the small table: 1 MiB, which a core's own cache holds.
const HOT_SLOTS: usize = 1 << 15;
const HOT_SHIFT: u32 = 64 - HOT_SLOTS.trailing_zeros();
/// With more the table is emptied: 32 MiB.
const MOST_SLOTS: usize = 1 << 20;
const MOST_LONG: usize = 1 << 16;
const MOST_IDS: usize = 1 << 22;

/// A word of up to [`SHORT`] bytes as a number: its bytes, zeros, its length.
pub(super) type Key = u128;

/// The bytes of a key that belong to a word of each length.
const BYTES: [u128; SHORT + 1] = {
    let mut masks = [0; SHORT + 1];
    let mut length = 0;
    while length <= SHORT {
        masks[length] = (1 << (8 * length)) - 1;
        length += 1;
    }
    masks
};

/// The key of a word that is longer: that of no word in the table.
const LONG: Key = u128::MAX;

/// The key of the word at `from..to`.
#[inline]
pub(super) fn key(text: &[u8], from: usize, to: usize) -> Key {
    let length = to - from;
    let Some(mask) = BYTES.get(length) else { return LONG };
    let bytes = text.get(from..from + 16).and_then(|bytes| <[u8; 16]>::try_from(bytes).ok()).unwrap_or_else(|| {
        let mut bytes = [0; 16];
        bytes[..length].copy_from_slice(&text[from..to]);
        bytes
    });
    (u128::from_le_bytes(bytes) & mask) | (length as u128) << 120
}

/// A word with its ids. Aligned, so that it lies in one line of a processor's cache.
#[derive(Clone, Copy, Default)]
#[repr(align(32))]
struct Slot {
    key: Key,
    few: Few,
}

/// Up to three ids; of a word that has more, their number and where among all ids they begin.
#[derive(Clone, Copy, Default)]
pub(super) struct Few {
    pub(super) ids: [TokenId; INLINE],
    pub(super) count: u32,
}

/// A table that grows with the words, up to a limit at which it begins anew. What it answers never changes.
///
/// Most words of a text are a few thousand. They are also in a small table, where a word displaces another, so that
/// they are found without a walk through memory.
pub(super) struct Cache {
    hot: Vec<Slot>,
    slots: Vec<Slot>,
    shift: u32,
    used: usize,
    long: HashMap<Box<[u8]>, (u32, u32)>,
    /// The ids of words that have more than a slot holds.
    ids: Vec<TokenId>,
}

impl Cache {
    pub(super) fn new() -> Self {
        let shift = 64 - FEWEST_SLOTS.trailing_zeros();
        Self {
            hot: vec![Slot::default(); HOT_SLOTS],
            slots: vec![Slot::default(); FEWEST_SLOTS],
            shift,
            used: 0,
            long: HashMap::new(),
            ids: Vec::new(),
        }
    }

    /// A table without room, for a moment in which none is used.
    pub(super) fn empty() -> Self {
        Self { hot: Vec::new(), slots: Vec::new(), shift: 0, used: 0, long: HashMap::new(), ids: Vec::new() }
    }

    /// The ids of a word among those met most often; when it is not there its place in the large table is asked for,
    /// and what is read of it given to `touched`.
    #[inline]
    pub(super) fn hot(&self, key: Key, touched: &mut u64) -> Few {
        let hash = hash(key);
        match self.hot.get((hash >> HOT_SHIFT) as usize) {
            Some(slot) if slot.key == key => slot.few,
            _ => {
                *touched ^= self.slots.get((hash >> self.shift) as usize).map_or(0, |slot| slot.key as u64);
                Few::default()
            }
        }
    }

    /// The ids of any word in the large table, none when it is not there; a word that is asked for is then one of those
    /// met most often.
    pub(super) fn short(&mut self, key: Key) -> Few {
        let slot = self.slots[self.place(key)];
        if (1..=INLINE).contains(&(slot.few.count as usize))
            && let Some(hot) = self.hot.get_mut((hash(key) >> HOT_SHIFT) as usize)
        {
            *hot = slot;
        }
        slot.few
    }

    /// The ids of a word that has more than [`INLINE`].
    pub(super) fn many(&self, few: Few) -> &[TokenId] {
        let from = few.ids[0] as usize;
        self.ids.get(from..from + few.count as usize).unwrap_or_default()
    }

    pub(super) fn long(&self, word: &[u8]) -> Option<&[TokenId]> {
        let &(from, count) = self.long.get(word)?;
        self.ids.get(from as usize..(from + count) as usize)
    }

    /// Where a word is in the large table, or would be.
    fn place(&self, key: Key) -> usize {
        let mask = self.slots.len() - 1;
        let mut place = (hash(key) >> self.shift) as usize;
        loop {
            let found = self.slots[place & mask].key;
            if found == key || found == 0 {
                return place & mask;
            }
            place += 1;
        }
    }

    pub(super) fn keep_short(&mut self, key: Key, ids: &[TokenId]) {
        if self.used * 8 >= self.slots.len() * 5 {
            self.grow();
        }
        let few = match *ids {
            [] => return,
            [one] => Few { ids: [one, 0, 0], count: 1 },
            [one, two] => Few { ids: [one, two, 0], count: 2 },
            [one, two, three] => Few { ids: [one, two, three], count: 3 },
            _ => {
                let Some(from) = self.keep(ids) else { return };
                Few { ids: [from, 0, 0], count: ids.len() as u32 }
            }
        };
        let slot = Slot { key, few };
        let place = self.place(key);
        self.slots[place] = slot;
        self.used += 1;
    }

    pub(super) fn keep_long(&mut self, word: &[u8], ids: &[TokenId]) {
        if word.len() <= LONGEST
            && self.long.len() < MOST_LONG
            && let Some(from) = self.keep(ids)
        {
            self.long.insert(word.into(), (from, ids.len() as u32));
        }
    }

    fn keep(&mut self, ids: &[TokenId]) -> Option<u32> {
        let from = self.ids.len();
        (from + ids.len() <= MOST_IDS).then(|| {
            self.ids.extend_from_slice(ids);
            from as u32
        })
    }

    fn grow(&mut self) {
        if self.slots.len() == MOST_SLOTS {
            self.slots.fill(Slot::default());
            self.used = 0;
            self.long.clear();
            self.ids.clear();
            return;
        }
        let larger = vec![Slot::default(); self.slots.len() * 2];
        let old = std::mem::replace(&mut self.slots, larger);
        self.shift -= 1;
        for slot in old.into_iter().filter(|slot| slot.key != 0) {
            let place = self.place(slot.key);
            self.slots[place] = slot;
        }
    }
}

#[inline]
fn hash(key: Key) -> u64 {
    let (low, high) = (key as u64, (key >> 64) as u64);
    (low ^ high.rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
