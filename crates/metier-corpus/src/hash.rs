//! Fast hashes of short runs of bytes. Whoever looks one up compares the bytes.

use std::hash::{BuildHasherDefault, Hasher};

/// What [`std::collections::HashMap`] takes to hash keys with it.
pub(crate) type Build = BuildHasherDefault<ByEights>;

/// A hash of a word or line.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = ByEights(bytes.len() as u64);
    hasher.write(bytes);
    hasher.finish()
}

/// The first eight bytes, or 0.
fn first_of(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// Eight bytes at a time.
#[derive(Debug, Default)]
pub(crate) struct ByEights(u64);

impl ByEights {
    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0xff51_afd7_ed55_8ccd);
    }
}

impl Hasher for ByEights {
    fn write(&mut self, bytes: &[u8]) {
        if let [first @ .., _, _, _, _, _, _, _, _] = bytes {
            // The last eight overlap with those before.
            for at in (0..first.len()).step_by(8) {
                self.add(first_of(&bytes[at..]));
            }
            self.add(first_of(&bytes[first.len()..]));
        } else if let [_, _, _, _, last @ ..] = bytes {
            let half = |bytes: &[u8]| u64::from(bytes.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes)));
            self.add(half(bytes) << 32 | half(&bytes[last.len()..]));
        } else {
            self.add(bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.add(u64::from(number));
    }

    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 40
    }
}
