//! Documents chosen by expressions over what was said of them, and changed where spans say so.

mod beside;
mod config;
mod documents;
mod expression;
mod jq;
mod jsonpath;
mod preset;
mod quota;
mod replace;
mod rules;
mod shards;
mod sql;
#[cfg(test)]
mod tests;

pub(crate) use beside::{Beside, Entry};
pub(crate) use config::{place_of, read_config, whole};
pub use documents::{MixReport, MixSettings, Replace, Source, mix};
pub use expression::{Expression, Syntax, Wrong};
pub use preset::Preset;
pub use quota::{Cell, QuotaReport, QuotaSettings, quota};
pub use replace::{Replaced, Replacement};
pub use rules::{Rule, Rules, Verdict};
pub(crate) use shards::matching;
pub use shards::{StreamReport, mix_config};

use metier_core::progress::say;

/// Says which rules dropped nothing, or nearly all, of the documents that the rules before them had left.
fn warn(rules: &Rules, dropped: &[u64], read: u64) {
    let mut left = read;
    for (reason, dropped) in rules.reasons().iter().zip(dropped) {
        if *dropped == 0 {
            say(&format!("warning: `{reason}` dropped none of {left} documents"));
        } else if *dropped * 10 > left * 9 {
            say(&format!("warning: `{reason}` dropped {dropped} of {left} documents"));
        }
        left = left.saturating_sub(*dropped);
    }
}
