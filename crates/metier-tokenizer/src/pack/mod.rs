//! Token shards: memory-mapped ids with the way back from every token to its document, and forth.
//!
//! A packed folder holds
//!
//! | file | content |
//! |---|---|
//! | `shard-00000.tokens` | 16 bytes of header, then one id after the other, 2 or 4 bytes each, little endian |
//! | `shard-00000.spans` | 16 bytes of header, then for each token one past its last byte in its document's text, 4 bytes |
//! | `documents.jsonl` | one [`DocumentEntry`] a line, in the order of their tokens |
//! | `pack.json` | the tokenizer's fingerprint, counts, and size and BLAKE3 of every other file; written last |
//!
//! Documents are texts, or examples: a conversation or a prompt with its reply. Of an example `documents.jsonl` says which tokens
//! are the model's to write ([`DocumentEntry::learned`]), and what is said of its reply.
//!
//! A document never lies in two shards, so its tokens are one range; a shard may be longer than asked for
//! when a single document is.

mod dialogue;
mod entry;
mod examples;
mod read;
mod rows;
#[cfg(test)]
mod tests;
mod write;

pub use dialogue::{Dialogue, Render};
pub use entry::{DocumentEntry, ExampleSummary, PackSummary, TokenOrigin, TokenRange};
pub use examples::{Origin, pack_endings, pack_examples};
pub use read::Shards;
pub use rows::{Lesson, Verdict};
pub use write::pack;

use metier_core::{Error, Fault, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How documents become shards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PackSettings {
    /// Put the tokenizer's begin-of-text token before every document.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub begin_of_document: bool,
    /// Put the tokenizer's end-of-text token after every document.
    pub end_of_document: bool,
    /// Begin another shard before one would hold more tokens than this. A longer document gets a shard of
    /// its own.
    #[schemars(range(min = 1))]
    pub shard_tokens: u64,
    /// Pack the documents that were held out, to validate on, instead of those to train on.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub held_out: bool,
    /// What of a document is learned.
    #[serde(skip_serializing_if = "Learn::is_all")]
    pub learn: Learn,
    /// Most tokens of an example, for training with a `context` of as many. Not for documents, which training goes
    /// through window by window.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2))]
    pub longest: Option<u64>,
    /// What becomes of an example with more than `longest` tokens.
    #[serde(skip_serializing_if = "Longer::is_refused")]
    pub longer: Longer,
    /// Keys of examples that are not read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<String>,
}

/// What of a document is learned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Learn {
    /// All of it.
    #[default]
    All,
    /// What follows its opening, where that is known, as in documents of a world. Each document is an example then, and is not cut.
    Endings,
}

impl Learn {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    fn is_all(&self) -> bool {
        *self == Self::All
    }
}

/// What becomes of an example that is too long.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Longer {
    /// Nothing is packed, and all such examples are named.
    #[default]
    Refuse,
    /// It is left out, and counted.
    Drop,
    /// Its end is cut off, and it is counted.
    Cut,
}

impl Longer {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    fn is_refused(&self) -> bool {
        *self == Self::Refuse
    }
}

impl Default for PackSettings {
    fn default() -> Self {
        Self {
            begin_of_document: false,
            end_of_document: true,
            shard_tokens: 1 << 24,
            held_out: false,
            learn: Learn::All,
            longest: None,
            longer: Longer::Refuse,
            ignore: Vec::new(),
        }
    }
}

impl PackSettings {
    /// Refuses what fits neither documents nor a file of examples, whichever is packed.
    pub fn check(&self, file: bool) -> Result<()> {
        let mut faults = Vec::new();
        let mut refuse = |key: &str, is_bad: bool, message: &str, hint: &str| {
            if is_bad {
                faults.push(Fault::new(Place::key(key), message).hint(hint));
            }
        };
        refuse(
            "longest",
            self.longest.is_some_and(|longest| longest < 2),
            "an example has two tokens at least",
            "write at least 2",
        );
        refuse(
            "longer",
            self.longer != Longer::Refuse && self.longest.is_none(),
            "no example is too long without `longest`",
            "write `longest` too",
        );
        refuse(
            "held_out",
            file && self.held_out,
            "no example is held out",
            "leave it out, and name the file of other examples",
        );
        refuse(
            "learn",
            file && self.learn != Learn::All,
            "examples have no openings: what is learned of them is the replies",
            "leave it out, or name documents under `from`",
        );
        let only = !file && (self.longest.is_some() && self.learn == Learn::All || !self.ignore.is_empty());
        refuse(
            "from",
            only,
            "`longest`, `longer` and `ignore` are for examples",
            "leave them out, or name `examples` in place of `from`",
        );
        Error::collect((), faults)
    }
}

pub(crate) const TOKENS_MAGIC: [u8; 8] = *b"METIERT1";
pub(crate) const SPANS_MAGIC: [u8; 8] = *b"METIERS1";
pub(crate) const HEADER_BYTES: usize = 16;
pub(crate) const DOCUMENTS_FILE: &str = "documents.jsonl";
pub(crate) const MANIFEST_FILE: &str = "pack.json";

/// Bytes before the first number of a shard's file: 8 of magic, the width of a number and the shard's own
/// number, 4 bytes each.
pub(crate) fn header(magic: [u8; 8], width: u32, shard: u32) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..8].copy_from_slice(&magic);
    bytes[8..12].copy_from_slice(&width.to_le_bytes());
    bytes[12..].copy_from_slice(&shard.to_le_bytes());
    bytes
}

pub(crate) fn tokens_file(shard: u32) -> String {
    format!("shard-{shard:05}.tokens")
}

pub(crate) fn spans_file(shard: u32) -> String {
    format!("shard-{shard:05}.spans")
}
