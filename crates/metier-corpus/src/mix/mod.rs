//! Documents chosen by expressions over what was said of them, and changed where spans say so.

mod expression;
mod jq;
mod jsonpath;
mod preset;
mod replace;
mod rules;

pub use expression::{Expression, Syntax, Wrong};
pub use preset::Preset;
pub use replace::{Replaced, Replacement};
pub use rules::{Rule, Rules, Verdict};
