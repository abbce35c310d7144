//! How well a model does, and whether a difference between two models is more than chance.
//!
//! | folder | answers |
//! |---|---|
//! | [`scenario`] | how is a question put, and when is its answer right |
//! | [`metric`] | which number sums up what was measured |
//! | [`report`] | how sure is it, and how is it shown |
//! | [`law`] | which curve do losses follow, and where does it lead |
//!
//! [`evaluate`] cuts held-out documents into windows, asks a [`Score`](metier_core::seam::Score) for the
//! log-probability of each and writes one line a window, so that an interrupted evaluation goes on where it
//! stopped. Two evaluations of the same windows are compared by [`report::paired_bootstrap`].
//!
//! [`evaluate_questions`] asks questions in the same way, and [`evaluate_retrieval`] looks for the passages of queries by vectors. What a model writes is compared with other texts by [`Texts`], and with what [`Ngrams`] write.

mod evaluate;
pub mod law;
pub mod metric;
mod ngram;
mod questions;
pub mod report;
mod retrieval;
mod rouge;
pub mod scenario;
mod window;
mod words;

pub use evaluate::{Evaluation, Measured, Planned, Settings as EvaluateSettings, evaluate, evaluate_questions, plan};
pub use ngram::Ngrams;
pub use questions::{QUESTIONS, read_questions};
pub use retrieval::{Retrieval, evaluate_retrieval};
pub use rouge::{Texts, rouge};
pub use window::{Window, choose};
