//! Raw files to chosen documents: read, clean, drop duplicates, hold some out.
//!
//! | folder | answers |
//! |---|---|
//! | [`read`] | which documents does this file or folder hold |
//! | [`tag`] | what is to be said about this document, and of which span of it |
//! | [`filter`] | is this document kept, and with which of its text |
//! | [`dedup`] | has this been seen before |
//! | [`select`] | which documents are held out |
//! | [`blend`] | how much of each source is taken |
//! | [`cipher`] | what would this text be in a language that nobody knows |
//! | [`layout`] | what are the words and lines of this text |
//! | [`fasttext`] | which label does this line have |
//! | [`html`] | what does this web page say |
//! | [`latex`] | what does this LaTeX document say |
//! | [`linear`] | which label does this text have, as it was learned from labeled ones |
//! | [`markdown`] | what does this Markdown document say |
//! | [`packing`] | how is this file compressed |
//! | [`pdf`] | what does this PDF say |
//! | [`mix`] | which documents do expressions over what was said of them choose |
//! | [`plant`] | which faults were put into these documents |
//! | [`stats`] | how is what was said of documents spread |
//! | [`wikitext`] | what does this page of a wiki say |
//!
//! [`curate()`] joins them. It streams: documents pass through memory one group at a time, and lie on disk
//! between the passes as JSON lines of [`metier_core::data::Document`].

mod attributes;
pub mod blend;
pub mod cipher;
mod columns;
mod curate;
pub mod dedup;
mod document_file;
pub mod fasttext;
pub mod filter;
mod hash;
pub mod html;
pub mod latex;
pub mod layout;
pub mod linear;
mod list;
pub mod markdown;
pub mod mix;
pub mod packing;
pub mod pdf;
mod pick;
pub mod plant;
pub mod read;
mod scratch;
pub mod select;
pub mod stats;
pub mod tag;
pub mod wikitext;

pub use attributes::Attributes;
pub use curate::{
    Cluster, CurateReport, CurateSettings, Look, Parts, Task, TaskParts, curate, end_of_corpus, fault_line,
    planned_memory,
};
pub use document_file::{
    DROPPED, DocumentWriter, HELD_OUT, HELD_OUT_ATTRIBUTES, QUARANTINED, TRAIN, TRAIN_ATTRIBUTES, read_attributes,
    read_documents, read_values,
};
pub use pick::{Picked, pick};
