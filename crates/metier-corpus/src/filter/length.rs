use super::{Filter, Verdict};
use metier_core::data::Document;
use metier_core::part::{Build, Part};
use metier_core::{Fault, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// # What it does
/// Drops documents that are too short or too long.
///
/// # How
/// Counts characters without the white space at both ends. `minimum <= characters <= maximum` is kept.
///
/// # When to use
/// Against empty pages, stubs and dumps.
///
/// # Differs from the paper in
/// Counts characters, not words, so that it means the same in scripts without spaces.
///
/// # Source
/// Rae et al. 2021, Scaling Language Models (arXiv:2112.11446), appendix A.1.1, document length.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Length {
    /// Fewest characters.
    pub minimum: usize,
    /// Most characters; no bound when it is left out.
    pub maximum: Option<usize>,
}

impl Default for Length {
    fn default() -> Self {
        Self { minimum: 200, maximum: None }
    }
}

impl Filter for Length {
    fn apply(&self, document: Document) -> Verdict {
        let characters = document.text.trim().chars().count();
        if characters < self.minimum {
            Verdict::Drop(format!("fewer than {} characters", self.minimum))
        } else if self.maximum.is_some_and(|maximum| characters > maximum) {
            Verdict::Drop(format!("more than {} characters", self.maximum.unwrap_or_default()))
        } else {
            Verdict::Keep(document)
        }
    }
}

impl Build<dyn Filter> for Length {
    fn build(self, place: &Place) -> Result<Box<dyn Filter>> {
        if self.maximum.is_some_and(|maximum| maximum < self.minimum) {
            return Err(Fault::new(place.clone(), "`maximum` is below `minimum`, so every document would be dropped")
                .hint("raise `maximum` or leave it out")
                .into());
        }
        Ok(Box::new(self))
    }
}

/// The record of `length`.
pub static PART: Part<dyn Filter> = Part::of::<Length>("length", 1);

#[cfg(test)]
mod tests {
    use super::super::document;
    use super::*;

    #[test]
    fn bounds_belong_to_the_kept() {
        let filter = Length { minimum: 2, maximum: Some(3) };
        let kept = |text: &str| matches!(filter.apply(document(text)), Verdict::Keep(_));
        assert_eq!([" a ", "äb", "abc", "abcd"].map(kept), [false, true, true, false]);
        assert!(Length { minimum: 5, maximum: Some(3) }.build(&Place::default()).is_err());
    }
}
