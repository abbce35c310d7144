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

/// Eight bytes at a time.
#[derive(Debug, Default)]
pub(crate) struct ByEights(u64);

impl Hasher for ByEights {
    fn write(&mut self, bytes: &[u8]) {
        let (chunks, rest) = bytes.as_chunks::<8>();
        let mut add = |word: u64| self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0xff51_afd7_ed55_8ccd);
        for chunk in chunks {
            add(u64::from_le_bytes(*chunk));
        }
        let mut last = 0;
        for byte in rest {
            last = last << 8 | u64::from(*byte);
        }
        add(last);
    }

    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 29
    }
}
