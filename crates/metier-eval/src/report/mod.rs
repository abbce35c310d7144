//! How sure is a number, and how is it shown?

mod bootstrap;
mod table;

pub(crate) use bootstrap::interval;
pub use bootstrap::{Interval, Paired, Resampled, Single, bootstrap, paired_bootstrap};
pub use table::{comparison_table, single_table};
