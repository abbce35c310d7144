//! Laws that measured losses follow, and what they say of runs that were not made.

pub mod mixture;
mod power;
pub mod share;
mod table;

pub use power::{PowerLaw, Term};
pub use table::{read_measurements, read_trials};
