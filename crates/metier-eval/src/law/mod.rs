//! Laws that measured losses follow, and what they say of runs that were not made.

pub mod mixture;
mod power;

pub use power::{PowerLaw, Term};
