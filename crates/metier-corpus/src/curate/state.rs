//! How far an interrupted call has come.

use super::CurateReport;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What is on the disk, and from where to go on.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct State {
    /// Whether everything is read.
    pub read: bool,
    /// Documents that were kept, up to the end of each file.
    pub kept: Vec<u32>,
    /// Bytes of the list of dropped documents.
    pub dropped: u64,
    /// Bytes of the list of what cannot be read.
    #[serde(default)]
    pub quarantined: u64,
    /// Of each filter and each duplicate search.
    pub filters: Vec<Value>,
    pub gathers: Vec<Value>,
    pub report: CurateReport,
    /// Files that a cluster has gone through, and documents read up to their end.
    #[serde(default)]
    pub files: [u64; 2],
    pub split: Option<Split>,
}

/// How far documents are split.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Split {
    /// Files of kept documents that are done with.
    pub files: usize,
    /// Bytes of documents to train on and held out, and of what was said of them.
    pub lengths: [u64; 4],
}
