//! What is written about documents and shards, and what is answered about tokens.

use super::rows::{Lesson, Verdict};
use metier_core::data::{Pieces, TokenId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;

/// A packed document: where it came from, and where its tokens lie.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DocumentEntry {
    /// Its id, unique in the pack.
    pub id: String,
    /// The file or address its text was read from.
    pub source: String,
    /// SHA-256 of the source's bytes, in hexadecimal.
    pub source_sha256: String,
    /// The license as the corpus states it.
    pub license: String,
    /// Which spans of the source the text consists of.
    pub pieces: Pieces,
    /// The shard its tokens lie in.
    pub shard: u32,
    /// Its first token, counted from the shard's first.
    pub start: u64,
    /// One past its last token, the end-of-text token included.
    pub end: u64,
    /// Bytes of its text.
    pub bytes: u64,
    /// BLAKE3 of its text, in hexadecimal.
    pub text_blake3: String,
    /// The tokens that a model learns to write, counted from its first, where these are not all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learned: Option<Vec<Range<u64>>>,
    /// What is said of its reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
}

impl DocumentEntry {
    /// Number of its tokens, the end-of-text token included.
    pub fn tokens(&self) -> u64 {
        self.end - self.start
    }

    /// Number of the tokens `range`, counted from its first, that a model learns to write.
    pub fn targets(&self, range: Range<u64>) -> u64 {
        let range = range.start..range.end.min(self.tokens());
        let Some(learned) = &self.learned else { return range.end.saturating_sub(range.start) };
        let within = |part: &Range<u64>| part.end.min(range.end).saturating_sub(part.start.max(range.start));
        learned.iter().map(within).sum()
    }
}

/// Tokens of one shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRange {
    /// The shard.
    pub shard: u32,
    /// Offsets in it.
    pub offsets: Range<u64>,
}

/// Where one token comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenOrigin {
    /// The token.
    pub id: TokenId,
    /// The id of the document it belongs to.
    pub document: String,
    /// The file or address the document was read from.
    pub source: String,
    /// The license as the corpus states it.
    pub license: String,
    /// The bytes of the document's text it covers; empty for an end-of-text token.
    pub text: Range<usize>,
    /// The bytes of the source they were taken from, if any were.
    pub source_bytes: Option<Range<usize>>,
}

/// What packing made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackSummary {
    /// Number of documents.
    pub documents: u64,
    /// Number of tokens, end-of-text tokens included.
    pub tokens: u64,
    /// Bytes of text.
    pub bytes: u64,
    /// Number of shards.
    pub shards: u32,
}

/// What packing examples made, besides [`PackSummary`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExampleSummary {
    /// What they ask a model to learn.
    pub lesson: Lesson,
    /// [`Dialogue::fingerprint`](super::Dialogue::fingerprint).
    pub dialogue: String,
    /// Rows that were read.
    pub rows: u64,
    /// Tokens that are learned.
    pub learned: u64,
    /// Texts whose end was cut off.
    pub cut: u64,
    /// Rows that were left out, by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dropped: BTreeMap<String, u64>,
}

/// The content of `pack.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    /// Raised when the files' layout changes.
    pub format: u32,
    pub tokenizer: String,
    pub vocabulary_size: u64,
    pub id_bytes: u32,
    pub begin_of_document: Option<TokenId>,
    pub end_of_document: Option<TokenId>,
    pub counts: PackSummary,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub examples: Option<ExampleSummary>,
    /// Tokens of each shard.
    pub shard_tokens: Vec<u64>,
    pub files: Vec<ManifestFile>,
}

pub(crate) const FORMAT: u32 = 2;

/// A file of the pack as it was when it was complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ManifestFile {
    pub name: String,
    pub bytes: u64,
    pub blake3: String,
}
