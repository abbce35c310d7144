//! Evaluation from documents to a table, with models that are formulas.

mod bootstrap;
mod model;
mod questions;
mod resume;
mod table;
