//! The ground of metier: the words every crate shares, and nothing that computes.
//!
//! No tensors, no network and no methods live here. Crates of the text side and of the tensor side
//! meet only through [`seam`] (six object-safe traits) and [`data`] (plain values).
//!
//! | folder | answers |
//! |---|---|
//! | [`data`] | what is a document, a message, an example, a token id |
//! | [`seam`] | what can a model, an index or a tokenizer be asked |
//! | [`part`] | what is a replaceable part, and how is it named, read and explained |
//! | [`settings`] | what did the user write, where, and what is wrong with it |
//! | [`store`] | where does the result of a stage lie, and where did it come from |

pub mod data;
pub mod fault;
pub mod memory;
pub mod page;
pub mod part;
pub mod progress;
pub mod seam;
pub mod seed;
pub mod settings;
pub mod stop;
pub mod store;

pub use fault::{Blame, Error, Fault, Place, Result};
