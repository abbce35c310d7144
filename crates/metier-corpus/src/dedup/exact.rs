use super::{Deduplicate, Seen, words};
use metier_core::data::Document;
use metier_core::part::{Build, Part};
use metier_core::seed::Seed;
use metier_core::{Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// # What it does
/// Drops documents whose words are the same as an earlier document's.
///
/// # How
/// Two documents are the same when their words, in lower case and without punctuation and spacing, are: the
/// BLAKE3 hash of the words joined by single spaces is remembered with the first document's id.
///
/// # When to use
/// Always, before anything that compares documents more closely.
///
/// # Differs from the paper in
/// Compares words rather than bytes, so that a change of line breaks does not hide a copy.
///
/// # Source
/// Lee et al. 2021, Deduplicating Training Data Makes Language Models Better (arXiv:2107.06499), section 3.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Exact {}

struct Hashes(HashMap<[u8; 32], String>);

impl Deduplicate for Exact {
    fn start(&self, _: Seed) -> Box<dyn Seen> {
        Box::new(Hashes(HashMap::new()))
    }
}

impl Seen for Hashes {
    fn repeats(&mut self, document: &Document) -> Option<String> {
        let mut hasher = blake3::Hasher::new();
        let mut empty = true;
        for word in words(&document.text) {
            hasher.update(word.as_bytes()).update(b" ");
            empty = false;
        }
        if empty {
            hasher.update(document.text.trim().as_bytes());
        }
        let hash = *hasher.finalize().as_bytes();
        if let Some(first) = self.0.get(&hash) {
            return Some(first.clone());
        }
        self.0.insert(hash, document.id.clone());
        None
    }

    fn reason(&self) -> &'static str {
        "exact duplicate"
    }
}

impl Build<dyn Deduplicate> for Exact {
    fn build(self, _: &Place) -> Result<Box<dyn Deduplicate>> {
        Ok(Box::new(self))
    }
}

/// The record of `exact`.
pub static PART: Part<dyn Deduplicate> = Part::of::<Exact>("exact", 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spacing_and_case_do_not_hide_a_copy() {
        let document = |id: &str, text: &str| Document {
            id: id.into(),
            text: text.into(),
            source: String::new(),
            source_sha256: String::new(),
            license: String::new(),
            pieces: metier_core::data::Pieces::default(),
            partial: Vec::new(),
        };
        let mut seen = Exact::default().start(Seed::new(0));
        assert_eq!(seen.repeats(&document("a", "One two,\nthree.")), None);
        assert_eq!(seen.repeats(&document("b", "one  TWO three")), Some("a".into()));
        assert_eq!(seen.repeats(&document("c", "one two four")), None);
        assert_eq!(seen.repeats(&document("d", "***")), None);
        assert_eq!(seen.repeats(&document("e", "---")), None);
    }
}
