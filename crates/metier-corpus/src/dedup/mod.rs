//! Has this been seen before?

mod exact;
mod minhash;

pub use exact::Exact;
pub use minhash::Minhash;

use metier_core::data::Document;
use metier_core::part::{Part, Record};

/// Drops documents that say the same as an earlier one.
pub trait Deduplicate: Send + Sync {
    /// An empty memory of documents. `seed` decides hash functions.
    fn start(&self, seed: metier_core::seed::Seed) -> Box<dyn Seen>;
}

/// Documents seen so far. The first of two duplicates is the one that is kept.
pub trait Seen: Send {
    /// The id of the earlier document that this one repeats; a document that repeats none is remembered.
    fn repeats(&mut self, document: &Document) -> Option<String>;

    /// What it is called in drop tables.
    fn reason(&self) -> &'static str;
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

/// Words in lower case, without the marks around them.
fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase)
}
