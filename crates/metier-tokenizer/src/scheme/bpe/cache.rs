//! Words that were encoded before, with their ids.

use memmap2::MmapMut;
use metier_core::data::TokenId;
use std::collections::HashMap;

/// Bytes of a word that the table holds.
pub(super) const SHORT: usize = 15;
/// Ids that a slot holds.
pub(super) const INLINE: usize = 3;
/// Longer words are not kept.
const LONGEST: usize = 128;
const FEWEST_LINES: usize = 1 << 13;
/// With more the table is emptied: 64 MiB.
const MOST_LINES: usize = 1 << 20;
const MOST_LONG: usize = 1 << 16;
const MOST_IDS: usize = 1 << 22;

/// A word of up to [`SHORT`] bytes as two numbers: its bytes, zeros, its length.
pub(super) type Key = [u64; 2];

/// The bytes of a key that belong to a word of each length.
const BYTES: [Key; SHORT + 1] = {
    let mut masks = [[0; 2]; SHORT + 1];
    let mut length = 0;
    while length <= SHORT {
        let mask = (1_u128 << (8 * length)) - 1;
        masks[length] = [mask as u64, (mask >> 64) as u64];
        length += 1;
    }
    masks
};

/// The key of a word that is longer: that of no word in the table.
const LONG: Key = [u64::MAX; 2];

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
    let bytes = u128::from_le_bytes(bytes);
    [bytes as u64 & mask[0], (bytes >> 64) as u64 & mask[1] | (length as u64) << 56]
}

/// A number to find a word by; its highest bits are as good as random.
#[inline]
pub(super) fn hash(key: Key) -> u64 {
    (key[0] ^ key[1].rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// A line of a processor's cache: two slots of a word's key and its [`Few`] ids, all zero where none is.
type Line = [[u64; 4]; 2];

/// Up to three ids; of a word that has more, their number and where among all ids they begin.
#[derive(Clone, Copy, Default)]
pub(super) struct Few {
    pub(super) ids: [TokenId; INLINE],
    pub(super) count: u32,
}

impl Few {
    #[inline]
    fn of([_, _, first, last]: [u64; 4]) -> Self {
        Self { ids: [first as u32, (first >> 32) as u32, last as u32], count: (last >> 32) as u32 }
    }

    fn slot(self, key: Key) -> [u64; 4] {
        let [first, second, third] = self.ids.map(u64::from);
        [key[0], key[1], first | second << 32, third | u64::from(self.count) << 32]
    }
}

/// What a line has of a word; nothing when it is not there.
#[inline]
pub(super) fn found(line: &Line, key: Key) -> Few {
    let is_other = |slot: &[u64; 4]| (slot[0] ^ key[0]) | (slot[1] ^ key[1]) != 0;
    // No branch: which of the two it is would often be foretold wrongly.
    let slot = &line[usize::from(is_other(&line[0]))];
    if is_other(slot) { Few::default() } else { Few::of(*slot) }
}

/// A table that grows with the words, up to a limit at which it begins anew. What it answers never changes.
pub(super) struct Cache {
    /// The lines, in memory of large pages where the system has such: words are everywhere in it.
    memory: Option<MmapMut>,
    used: usize,
    long: HashMap<Box<[u8]>, (u32, u32)>,
    /// The ids of words that have more than a slot holds.
    ids: Vec<TokenId>,
}

impl Cache {
    pub(super) fn new() -> Self {
        Self { memory: memory(FEWEST_LINES), used: 0, long: HashMap::new(), ids: Vec::new() }
    }

    /// The table, a power of two of lines; none when there was no memory.
    #[inline]
    pub(super) fn lines(&self) -> &[Line] {
        self.memory.as_deref().map_or(&[], bytemuck::cast_slice)
    }

    fn lines_mut(&mut self) -> &mut [Line] {
        self.memory.as_deref_mut().map_or(&mut [], bytemuck::cast_slice_mut)
    }

    /// Adds the ids of a word; none when it is not known. A word that was not in its own line changes places with one
    /// that is.
    pub(super) fn short(&mut self, key: Key, out: &mut Vec<TokenId>) {
        let lines = self.lines_mut();
        let (Some(own), Some((place, slot))) = (place(hash(key), lines.len()), find(lines, key)) else { return };
        let found = lines[place][slot];
        if place != own && found[1] != 0 {
            // All lines from its own to the other are full, so that either word is found from where it belongs.
            lines[place][slot] = lines[own][1];
            lines[own][1] = found;
        }
        let Few { ids, count } = Few::of(found);
        let (from, count) = (ids[0] as usize, count as usize);
        let found = if count > INLINE { self.ids.get(from..from + count) } else { ids.get(..count) };
        out.extend_from_slice(found.unwrap_or_default());
    }

    /// The ids of a word of more than [`SHORT`] bytes; none when it is not known.
    pub(super) fn long(&self, word: &[u8]) -> &[TokenId] {
        let &(from, count) = self.long.get(word).unwrap_or(&(0, 0));
        self.ids.get(from as usize..(from + count) as usize).unwrap_or_default()
    }

    /// Keeps a word that is not in the table.
    pub(super) fn keep_short(&mut self, key: Key, ids: &[TokenId]) {
        if self.used >= self.lines().len() {
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
        if let Some((place, slot)) = find(self.lines(), key) {
            self.lines_mut()[place][slot] = few.slot(key);
            self.used += 1;
        }
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

    /// Doubles the table, or empties it when it is as large as it may be.
    fn grow(&mut self) {
        let count = self.lines().len();
        let larger = if count < MOST_LINES { memory(count * 2) } else { None };
        let Some(larger) = larger else {
            self.lines_mut().fill(Line::default());
            self.used = 0;
            self.long.clear();
            self.ids.clear();
            return;
        };
        let old = self.memory.replace(larger);
        let old: &[Line] = old.as_deref().map_or(&[], bytemuck::cast_slice);
        for word in old.as_flattened().iter().filter(|slot| slot[1] != 0) {
            if let Some((place, slot)) = find(self.lines(), [word[0], word[1]]) {
                self.lines_mut()[place][slot] = *word;
            }
        }
    }
}

/// Memory of zeros for so many lines.
fn memory(lines: usize) -> Option<MmapMut> {
    let memory = MmapMut::map_anon(lines * size_of::<Line>()).ok()?;
    // Without them it is slower and as right.
    #[cfg(target_os = "linux")]
    let _ = memory.advise(memmap2::Advice::HugePage);
    Some(memory)
}

/// The line and slot where a word is, or would be.
fn find(lines: &[Line], key: Key) -> Option<(usize, usize)> {
    let mut place = place(hash(key), lines.len())?;
    loop {
        for (slot, found) in lines.get(place)?.iter().enumerate() {
            if found[..2] == key || found[1] == 0 {
                return Some((place, slot));
            }
        }
        place = (place + 1) % lines.len();
    }
}

/// The line of a hash.
#[inline]
pub(super) fn place(hash: u64, lines: usize) -> Option<usize> {
    hash.checked_shr(64 - lines.checked_ilog2()?).map(|place| place as usize)
}
