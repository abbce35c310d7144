use super::groups::{Compare, Keys};
use super::{Deduplicate, Gather, mixed, words};
use crate::curate::Texts;
use metier_core::data::Document;
use metier_core::part::{Build, Part};
use metier_core::seed::Seed;
use metier_core::{Place, Result};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::Path;

/// # What it does
/// Drops documents whose words are the same as another's.
///
/// # How
/// Two documents are the same when their words, in lower case and without punctuation and spacing, are, each compared by its
/// hash; without any word, when their characters are. The longest text stays, of equally long ones that with the least id, so
/// the order of documents decides nothing. What is compared stands on the disk; memory holds eight bytes a document.
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

struct Hashes(Keys);

/// The hashes of a text's words, or of its characters where it has no word.
fn compared(text: &str) -> Vec<u64> {
    let words = words(text);
    if words.is_empty() { text.trim().chars().map(u64::from).collect() } else { words }
}

impl Deduplicate for Exact {
    fn start(&self, _: Seed, scratch: &Path, state: Option<&Value>) -> Result<Box<dyn Gather>> {
        Ok(Box::new(Hashes(Keys::start(scratch, state)?)))
    }

    fn reason(&self) -> &'static str {
        "exact duplicate"
    }
}

impl Gather for Hashes {
    fn add(&mut self, documents: &[Document]) -> Result<()> {
        let keys: Vec<u64> = documents.par_iter().map(|document| mixed(&compared(&document.text))).collect();
        keys.into_iter().try_for_each(|key| self.0.add_next(&[key]))
    }

    fn state(&mut self) -> Result<Value> {
        self.0.state()
    }

    fn stay(self: Box<Self>, texts: &Texts) -> Result<Vec<u32>> {
        self.0.stay(texts, &Compare { read: &compared, same: &|one, other| one == other })
    }
}

impl Build<dyn Deduplicate> for Exact {
    fn build(self, _: &Place) -> Result<Box<dyn Deduplicate>> {
        Ok(Box::new(self))
    }
}

/// The record of `exact`.
pub static PART: Part<dyn Deduplicate> = Part::of::<Exact>("exact", 2);

#[cfg(test)]
mod tests {
    use super::super::{document, stay};
    use super::*;

    #[test]
    fn spacing_and_case_do_not_hide_a_copy() {
        let texts = ["One two,\nthree.", "one  TWO three", "one two four", "***", "---", "", " *** ", "three two one"];
        let documents: Vec<_> = texts.iter().map(|text| document(text, text)).collect();
        assert_eq!(stay(&Exact::default(), &documents), [0, 0, 2, 6, 4, 5, 6, 7]);
    }
}
