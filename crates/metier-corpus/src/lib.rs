//! Raw files to chosen documents: read, clean, drop duplicates, hold some out.
//!
//! | folder | answers |
//! |---|---|
//! | [`read`] | which documents does this file or folder hold |
//! | [`filter`] | is this document kept, and with which of its text |
//! | [`dedup`] | has this been seen before |
//! | [`select`] | which documents are held out |
//!
//! [`curate()`] joins them. It streams: documents pass through memory one group at a time, and lie on disk
//! between the passes as JSON lines of [`metier_core::data::Document`].

mod curate;
pub mod dedup;
mod document_file;
pub mod filter;
pub mod read;
pub mod select;

pub use curate::{CurateReport, CurateSettings, Parts, curate, planned_memory};
pub use document_file::{DROPPED, DocumentWriter, HELD_OUT, TRAIN, read_documents};
