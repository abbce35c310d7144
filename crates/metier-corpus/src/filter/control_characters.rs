use super::{Filter, Verdict};
use metier_core::data::Document;
use metier_core::part::{Build, Part};
use metier_core::{Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// # What it does
/// Drops documents that are no text: too large a share of control characters and replacement characters.
///
/// # How
/// `share = bad / characters`, where a character is bad when it is a control character other than tab, line
/// feed, form feed and carriage return, or U+FFFD. A document with `share > maximum_share` is dropped.
///
/// # When to use
/// First, on folders that may hold binaries with a text ending or files decoded with the wrong encoding.
///
/// # Differs from the paper in
/// Nothing: no paper stands behind it.
///
/// # Source
/// metier.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ControlCharacters {
    /// Largest share of bad characters that is kept.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub maximum_share: f64,
}

impl Default for ControlCharacters {
    fn default() -> Self {
        Self { maximum_share: 0.001 }
    }
}

impl Filter for ControlCharacters {
    fn apply(&self, document: Document) -> Verdict {
        let (mut bad, mut all) = (0_usize, 0_usize);
        for letter in document.text.chars() {
            all += 1;
            bad += usize::from(
                letter == '\u{fffd}' || (letter.is_control() && !matches!(letter, '\t' | '\n' | '\u{c}' | '\r')),
            );
        }
        if bad as f64 > self.maximum_share * all as f64 {
            Verdict::Drop("too many control characters".to_owned())
        } else {
            Verdict::Keep(document)
        }
    }
}

impl Build<dyn Filter> for ControlCharacters {
    fn build(self, _: &Place) -> Result<Box<dyn Filter>> {
        Ok(Box::new(self))
    }
}

/// The record of `control_characters`.
pub static PART: Part<dyn Filter> = Part::of::<ControlCharacters>("control_characters", 1);

#[cfg(test)]
mod tests {
    use super::super::document;
    use super::*;

    #[test]
    fn binaries_are_dropped_and_texts_kept() {
        let filter = ControlCharacters::default();
        assert!(matches!(filter.apply(document("line\n\ttabbed\u{c}")), Verdict::Keep(_)));
        assert!(matches!(filter.apply(document("\u{1}\u{2}abc")), Verdict::Drop(_)));
        assert!(matches!(filter.apply(document("gar\u{fffd}bled")), Verdict::Drop(_)));
    }
}
