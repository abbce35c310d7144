//! SentencePiece's compiled table of characters that are replaced.
//!
//! Four bytes of length, a double-array trie of so many bytes, and the replacements, each with a zero after it; a leaf of
//! the trie is where its replacement begins.
//!
//! Source: `Normalizer::DecodePrecompiledCharsMap` and `third_party/darts_clone` of SentencePiece.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// The table.
pub(in crate::scheme) struct Charsmap {
    units: Vec<u32>,
    replacements: String,
    /// ASCII characters that begin no key.
    free: [bool; 128],
}

/// The end of a key and where its replacement begins.
type Leaf = (usize, usize);

impl Charsmap {
    /// The table in a file; `None` when it is none.
    pub(in crate::scheme) fn of(bytes: &[u8]) -> Option<Self> {
        let (length, rest) = bytes.split_at_checked(4)?;
        let length = u32::from_le_bytes(length.try_into().ok()?) as usize;
        let (units, replacements) = rest.split_at_checked(length)?;
        let units = units.as_chunks::<4>().0.iter().map(|unit| u32::from_le_bytes(*unit)).collect::<Vec<_>>();
        if units.is_empty() {
            return None;
        }
        let replacements = String::from_utf8(replacements.to_vec()).ok()?;
        let mut map = Self { units, replacements, free: [false; 128] };
        for byte in 0..128_u8 {
            map.free[usize::from(byte)] = map.step(0, byte).is_none();
        }
        map.is_sound().then_some(map)
    }

    /// Whether no text leads out of the table, or to a replacement that is none: the `tokenizers` crate does not look.
    fn is_sound(&self) -> bool {
        let mut known = vec![false; self.units.len()];
        let mut open = vec![0];
        while let Some(place) = open.pop() {
            let unit = self.units[place];
            let base = place ^ offset(unit);
            if base | 0xff >= self.units.len()
                || (has_leaf(unit) && self.replacement(value(self.units[base])).is_none())
            {
                return false;
            }
            for next in (1..=255).filter_map(|byte| self.step(place, byte)) {
                if !std::mem::replace(&mut known[next], true) {
                    open.push(next);
                }
            }
        }
        true
    }

    pub(in crate::scheme) fn of_base64(text: &str) -> Option<Self> {
        Self::of(&BASE64_STANDARD.decode(text).ok()?)
    }

    /// Whether no key stands anywhere in the text.
    pub(super) fn keeps(&self, text: &str) -> bool {
        let bytes = text.as_bytes();
        (0..bytes.len()).all(|at| match self.free.get(usize::from(bytes[at])) {
            Some(true) => true,
            // Keys begin where characters do.
            _ => !text.is_char_boundary(at) || self.keys(&bytes[at..]).next().is_none(),
        })
    }

    /// The longest key that the text begins with, and its replacement.
    pub(super) fn longest(&self, text: &[u8]) -> Option<(usize, &str)> {
        let (end, start) = self.keys(text).last()?;
        Some((end, self.replacement(start)?))
    }

    fn replacement(&self, start: usize) -> Option<&str> {
        let rest = self.replacements.get(start..)?;
        rest.split('\0').next()
    }

    /// The keys that the text begins with, shortest first.
    fn keys<'a>(&'a self, text: &'a [u8]) -> impl Iterator<Item = Leaf> + 'a {
        let mut place = 0;
        let reached = text.iter().map_while(move |&byte| {
            place = self.step(place, byte)?;
            Some(place)
        });
        reached.enumerate().filter_map(|(at, place)| {
            let unit = *self.units.get(place)?;
            let leaf = self.units.get(place ^ offset(unit)).filter(|_| has_leaf(unit))?;
            Some((at + 1, value(*leaf)))
        })
    }

    /// The unit that a byte leads to.
    fn step(&self, place: usize, byte: u8) -> Option<usize> {
        let next = place ^ offset(*self.units.get(place)?) ^ usize::from(byte);
        self.units.get(next).filter(|unit| **unit & (1 << 31 | 0xff) == u32::from(byte)).map(|_| next)
    }
}

fn has_leaf(unit: u32) -> bool {
    unit >> 8 & 1 == 1
}

fn value(unit: u32) -> usize {
    (unit & 0x7fff_ffff) as usize
}

fn offset(unit: u32) -> usize {
    ((unit >> 10) << ((unit & 1 << 9) >> 6)) as usize
}
