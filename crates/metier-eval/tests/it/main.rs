//! Evaluation from documents to a table, with models that are formulas.

#![expect(clippy::unwrap_used, reason = "what the tests share may fail as a test does")]

mod balance;
mod bootstrap;
mod model;
mod questions;
mod resume;
mod table;
