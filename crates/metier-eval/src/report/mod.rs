//! How sure is a number, and how is it shown?

mod balance;
mod bootstrap;
mod table;

pub use balance::{AXES, Balance, Score, Step, Weighed, balance, balance_table};
pub(crate) use bootstrap::interval;
pub use bootstrap::{Interval, Paired, Resampled, Single, bootstrap, paired_bootstrap};
pub use table::{comparison_table, single_table};
