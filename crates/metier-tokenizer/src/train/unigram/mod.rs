//! Learning a Unigram vocabulary.

mod likelihood;
mod seed;
mod settings;

pub use settings::{NormalForm, PART, Unigram};
