//! A Bloom filter, and its file, which Dolma reads and writes too.

use super::hash::hash;
use metier_core::seed::Seed;
use metier_core::{Error, Result, store};
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::Path;

const MAGIC: u32 = 0x81f0_f117;
const VERSION: u32 = 1;
/// Bytes of the smallest filter that is made without being asked for its size.
const SMALLEST: u64 = 1 << 20;
/// The largest number of hashes and of bytes that a filter may have.
const MOST_HASHES: u32 = 1 << 16;
const LARGEST: u64 = 1 << 40;

/// How large a filter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Bytes of its bits, a multiple of four.
    pub bytes: u64,
    /// Hash functions.
    pub hashes: u32,
}

impl Size {
    /// Of a filter for so many items that says of another item with the given probability that it has it: of the bytes given, or
    /// else the first of 1 MiB, 2 MiB, 4 MiB and so on that can. It has the least number of hashes that are enough, or the best
    /// number, `ceil(bits / items ln 2)`, where none is.
    #[must_use]
    pub fn new(items: u64, false_positives: f64, bytes: Option<u64>) -> Self {
        let best = |bytes: u64| {
            let hashes = (bytes as f64 * 8.0 / items.max(1) as f64 * std::f64::consts::LN_2).ceil();
            Self { bytes: bytes / 4 * 4, hashes: hashes.clamp(1.0, f64::from(MOST_HASHES)) as u32 }
        };
        let serves = |size: &Self| size.false_positives(items) <= false_positives;
        let doubled =
            || std::iter::successors(Some(SMALLEST), |bytes| Some(bytes * 2).filter(|bytes| *bytes <= LARGEST));
        let best = match bytes {
            Some(bytes) => best(bytes.max(4)),
            None => doubled().map(best).find(serves).unwrap_or(best(LARGEST)),
        };
        (1..best.hashes).map(|hashes| Self { hashes, ..best }).find(serves).unwrap_or(best)
    }

    /// The probability that a filter of this size has an item that was not inserted, after so many others were:
    /// `(1 - (1 - 1/m)^(kn))^k` with `m` bits, `k` hashes and `n` items.
    #[must_use]
    pub fn false_positives(self, items: u64) -> f64 {
        let hashes = f64::from(self.hashes);
        let unset = (hashes * items as f64 * (-1.0 / (self.bytes as f64 * 8.0)).ln_1p()).exp();
        (1.0 - unset).powf(hashes)
    }
}

/// The hash functions of a filter, by their seeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hashes(Vec<[u64; 4]>);

impl Hashes {
    /// Their number.
    #[must_use]
    pub fn number(&self) -> usize {
        self.0.len()
    }

    /// What they say of an item, a text or a list of texts.
    pub fn of<'a>(&'a self, item: &'a [&'a str]) -> impl Iterator<Item = u64> + 'a {
        self.0.iter().map(|seeds| hash(*seeds, item))
    }
}

/// A set of texts, and of lists of texts, that may have more than was inserted and never less.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    hashes: Hashes,
    words: Vec<u32>,
}

impl Filter {
    /// An empty filter. The seed decides its hash functions.
    #[must_use]
    pub fn new(size: Size, seed: Seed) -> Self {
        let mut stream = seed.derive("bloom").at(0);
        let seeds = (0..size.hashes).map(|_| std::array::from_fn(|_| stream.bits())).collect();
        Self { hashes: Hashes(seeds), words: vec![0; (size.bytes / 4).max(1) as usize] }
    }

    /// Its size.
    #[must_use]
    pub fn size(&self) -> Size {
        Size { bytes: self.words.len() as u64 * 4, hashes: self.hashes.number() as u32 }
    }

    /// The probability that it has an item that was not inserted, as it is now.
    #[must_use]
    pub fn false_positives(&self) -> f64 {
        let set: u64 = self.words.iter().map(|word| u64::from(word.count_ones())).sum();
        (set as f64 / (self.words.len() as f64 * 32.0)).powi(self.hashes.number() as i32)
    }

    /// Its hash functions, by which items are looked up.
    #[must_use]
    pub fn hashes(&self) -> &Hashes {
        &self.hashes
    }

    /// Whether an item of these hashes was inserted, most likely.
    #[must_use]
    pub fn has(&self, hashes: &[u64]) -> bool {
        hashes.iter().all(|hash| self.words[self.place(*hash)] >> (hash % 32) & 1 == 1)
    }

    /// Inserts an item of these hashes.
    pub fn insert(&mut self, hashes: &[u64]) {
        for hash in hashes {
            let place = self.place(*hash);
            self.words[place] |= 1 << (hash % 32);
        }
    }

    fn place(&self, hash: u64) -> usize {
        (hash / 32 % self.words.len() as u64) as usize
    }

    /// Reads a file, all numbers with their lowest byte first: a mark and a version of four bytes, the number of hashes in four, for each
    /// hash four seeds of eight, the number of words in eight, and the words of four.
    ///
    /// # Errors
    /// A file that is not such a filter, or not whole.
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => Error::file(path, "the filter is cut off"),
            _ => Error::io(path, "read", &error),
        };
        let file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let mut file = BufReader::new(file);
        let [magic, version, hashes] = [number(&mut file, 4), number(&mut file, 4), number(&mut file, 4)];
        let wrong = |message: String| Err(Error::file(path, message));
        if magic.map_err(failed)? != u64::from(MAGIC) {
            return wrong("this is no Bloom filter".to_owned());
        }
        match version.map_err(failed)? {
            1 => {}
            other => return wrong(format!("the filter is of version {other}, and {VERSION} is known here")),
        }
        let hashes = hashes.map_err(failed)?;
        if !(1..=u64::from(MOST_HASHES)).contains(&hashes) {
            return wrong(format!("the filter has {hashes} hashes"));
        }
        let mut seeds = Vec::new();
        for _ in 0..hashes {
            let mut four = [0; 4];
            for seed in &mut four {
                *seed = number(&mut file, 8).map_err(failed)?;
            }
            seeds.push(four);
        }
        let words = number(&mut file, 8).map_err(failed)?;
        if words == 0 || words > LARGEST / 4 || length != 20 + 32 * hashes + 4 * words {
            return wrong(format!(
                "the filter should have {words} words behind its head, and the file has {length} bytes"
            ));
        }
        let words = (0..words).map(|_| number(&mut file, 4).map(|word| word as u32)).collect::<std::io::Result<_>>();
        Ok(Self { hashes: Hashes(seeds), words: words.map_err(failed)? })
    }

    /// Writes the file, all of it or nothing.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn save(&self, path: &Path) -> Result<()> {
        store::write_atomic_with(path, |file| {
            let head = [MAGIC, VERSION, self.hashes.number() as u32].into_iter().flat_map(u32::to_le_bytes);
            let seeds = self.hashes.0.iter().flatten().flat_map(|seed| seed.to_le_bytes());
            let length = (self.words.len() as u64).to_le_bytes();
            let head: Vec<u8> = head.chain(seeds).chain(length).collect();
            let mut written = file.write_all(&head);
            for word in &self.words {
                written = written.and_then(|()| file.write_all(&word.to_le_bytes()));
            }
            written.map_err(|error| Error::io(path, "write", &error))
        })
    }
}

/// A number of so many bytes, at most eight.
fn number(file: &mut impl Read, width: usize) -> std::io::Result<u64> {
    let mut bytes = [0; 8];
    file.read_exact(&mut bytes[..width])?;
    Ok(u64::from_le_bytes(bytes))
}
