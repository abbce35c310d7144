//! Has this been seen before?

pub mod bloom;
mod exact;
mod groups;
mod minhash;
pub mod semantic;
pub mod substring;

pub use exact::Exact;
pub use minhash::Minhash;

use crate::curate::Texts;
use crate::document_file::{DocumentWriter, HELD_OUT, HELD_OUT_ATTRIBUTES, TRAIN, TRAIN_ATTRIBUTES};
use crate::mix::{Beside, Entry};
use metier_core::data::Document;
use metier_core::part::{Part, Record};
use metier_core::seed::Seed;
use metier_core::{Error, Fault, Place, Result};
use serde::Serialize;
use serde_json::{Map, Value};
use std::path::Path;

/// Drops documents that say the same as another.
pub trait Deduplicate: Send + Sync {
    /// Begins to gather what documents are compared by, on the disk in a folder that it may use alone, or goes on where it had the
    /// given [state](Gather::state). `seed` decides hash functions.
    ///
    /// # Errors
    /// When the folder cannot be used, or is not as it was.
    fn start(&self, seed: Seed, scratch: &Path, state: Option<&Value>) -> Result<Box<dyn Gather>>;

    /// What it is called in drop tables.
    fn reason(&self) -> &'static str;
}

/// What documents are compared by.
pub trait Gather: Send {
    /// Takes in the next documents; the first of all has the number 0.
    ///
    /// # Errors
    /// When the disk is full.
    fn add(&mut self, documents: &[Document]) -> Result<()>;

    /// Brings all that was added to the disk, and says from where to go on after an interruption.
    ///
    /// # Errors
    /// When the disk is full.
    fn state(&mut self) -> Result<Value>;

    /// For each document the one that stays in its place, itself where it repeats none. It depends neither on the order of the
    /// documents nor on the number of threads: of documents that say the same the longest stays, of equally long ones that with
    /// the least id.
    ///
    /// # Errors
    /// When the documents cannot be read again.
    fn stay(self: Box<Self>, texts: &Texts) -> Result<Vec<u32>>;
}

/// Every member, in alphabetical order.
#[rustfmt::skip]
pub static DEDUP: &[&Part<dyn Deduplicate>] = &[
    &exact::PART,
    &minhash::PART,
];

/// The records of all members.
pub fn records() -> Vec<Record> {
    DEDUP.iter().map(|part| part.record()).collect()
}

/// What is said of a document, as a line.
#[derive(Serialize)]
pub(crate) struct Said {
    attributes: Map<String, Value>,
    id: Value,
}

impl Said {
    /// What was said of it already, taken out of it.
    pub(crate) fn of(document: &mut Value) -> Self {
        let attributes = match document.get_mut("attributes").map(Value::take) {
            Some(Value::Object(said)) => said,
            _ => Map::new(),
        };
        Self { attributes, id: document["id"].take() }
    }

    /// The spans of one attribute, and nothing else.
    pub(crate) fn only(self, attribute: &str, spans: Vec<Value>) -> Self {
        Self { attributes: Map::from_iter([(attribute.to_owned(), Value::Array(spans))]), id: self.id }
    }

    /// Says the spans of one more attribute.
    pub(crate) fn add(&mut self, attribute: &str, spans: Vec<Value>) -> Result<()> {
        if self.attributes.insert(attribute.to_owned(), Value::Array(spans)).is_some() {
            let message = format!("documents have an attribute `{attribute}` already");
            return Err(Fault::new(Place::key("attribute"), message).hint("give this one another name").into());
        }
        Ok(())
    }
}

/// Writes the documents of the curated folder `from` into `out`, with what was said of them already and one more attribute, whose spans `work` tells
/// on all threads, given the file, the line, the number of the document among all, those to learn from first, and its text. What else it tells goes to
/// `take`, with whether the document is held out.
pub(crate) fn tagged<T: Send>(
    from: &Path,
    out: &Path,
    attribute: &str,
    work: impl Fn(&Beside, &Entry, usize, &str) -> Result<(Vec<Value>, T)> + Sync,
    mut take: impl FnMut(usize, T),
) -> Result<()> {
    let mut before = 0;
    for (held_out, (file, attributes)) in
        [(TRAIN, TRAIN_ATTRIBUTES), (HELD_OUT, HELD_OUT_ATTRIBUTES)].into_iter().enumerate()
    {
        let beside = Some(from.join(attributes)).filter(|path| path.exists());
        let input = Beside { documents: from.join(file), attributes: beside.into_iter().collect() };
        let mut writer = DocumentWriter::create(&out.join(attributes))?;
        let mut documents = 0;
        let of = |entry: &Entry, mut document: Value| {
            let text = document["text"].as_str().unwrap_or_default();
            let (spans, more) = work(&input, entry, before + entry.line - 1, text)?;
            let mut said = Said::of(&mut document);
            said.add(attribute, spans)?;
            Ok((said, more))
        };
        input.each(0, of, |group| {
            documents += group.len();
            for (said, more) in group {
                writer.write(&said)?;
                take(held_out, more);
            }
            Ok(())
        })?;
        writer.finish()?;
        let copy = out.join(file);
        std::fs::copy(&input.documents, &copy).map_err(|error| Error::io(&copy, "write", &error))?;
        before += documents;
    }
    Ok(())
}

/// ASCII letters in lower case and digits; 0 for all others.
static LOWER: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 128 {
        if (byte as u8).is_ascii_alphanumeric() {
            table[byte] = (byte as u8).to_ascii_lowercase();
        }
        byte += 1;
    }
    table
};

/// A hash for each word, in lower case and without the marks around it.
pub(crate) fn words(text: &str) -> Vec<u64> {
    const START: u64 = 0xcbf2_9ce4_8422_2325;
    let add = |hash: u64, letter: u32| (hash ^ u64::from(letter)).wrapping_mul(0x100_0000_01b3);
    let bytes = text.as_bytes();
    let mut words = Vec::with_capacity(text.len() / 6);
    let (mut at, mut hash, mut inside) = (0, START, false);
    while let Some(byte) = bytes.get(at) {
        at += 1;
        let lower = LOWER[usize::from(*byte)];
        if lower != 0 {
            (hash, inside) = (add(hash, lower.into()), true);
            continue;
        }
        if !byte.is_ascii()
            && let Some(letter) = text[at - 1..].chars().next()
        {
            at += letter.len_utf8() - 1;
            if letter.is_alphanumeric() {
                (hash, inside) = (letter.to_lowercase().fold(hash, |hash, letter| add(hash, letter.into())), true);
                continue;
            }
        }
        if inside {
            words.push(mix(hash));
            (hash, inside) = (START, false);
        }
    }
    if inside {
        words.push(mix(hash));
    }
    words
}

/// The finalizer of `SplitMix64` (Steele, Lea and Flood 2014).
fn mix(mut value: u64) -> u64 {
    value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// One hash for a sequence of them.
pub(crate) fn mixed(hashes: &[u64]) -> u64 {
    mix(hashes.iter().fold(0, |sum: u64, hash| sum.wrapping_mul(0x2545_f491_4f6c_dd1d).wrapping_add(*hash)))
}

#[cfg(test)]
fn document(id: &str, text: &str) -> Document {
    Document {
        id: id.into(),
        text: text.into(),
        source: String::new(),
        source_sha256: String::new(),
        license: String::new(),
        pieces: metier_core::data::Pieces::default(),
        partial: Vec::new(),
        metadata: metier_core::data::Metadata::new(),
    }
}

/// For each document the number of the one that stays.
#[cfg(test)]
fn stay(part: &dyn Deduplicate, documents: &[Document]) -> Vec<u32> {
    let folder = tempfile::tempdir().unwrap();
    let mut kept = crate::curate::Kept::resume(&folder.path().join("kept"), &[]).unwrap();
    let mut gather = part.start(Seed::new(1), &folder.path().join("scratch"), None).unwrap();
    for some in documents.chunks(7) {
        gather.add(some).unwrap();
        // Interrupted, after something that does not count.
        let state = gather.state().unwrap();
        gather.add(some).unwrap();
        drop(gather);
        gather = part.start(Seed::new(1), &folder.path().join("scratch"), Some(&state)).unwrap();
        for document in some {
            kept.add(&crate::curate::Written::new(document, None).unwrap(), 0).unwrap();
        }
        if kept.is_full() {
            kept.complete().unwrap();
        }
    }
    gather.stay(&kept.finish().unwrap()).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn words_are_hashed_letter_by_letter_in_lower_case(text in "[a-zA-Z0-9 .,\n\u{c4}\u{e9}\u{130}\u{2014}-]{0,80}") {
            let expected: Vec<u64> = text
                .split(|letter: char| !letter.is_alphanumeric())
                .filter(|word| !word.is_empty())
                .map(|word| {
                    let lower = word.chars().flat_map(char::to_lowercase);
                    mix(lower.fold(0xcbf2_9ce4_8422_2325, |hash, letter| (hash ^ u64::from(letter)).wrapping_mul(0x100_0000_01b3)))
                })
                .collect();
            prop_assert_eq!(words(&text), expected);
        }
    }
}
