//! What of a document is looked up in a filter, and which spans are said to have been seen before.

use super::DedupeSettings;
use super::filter::{Filter, Hashes};
use crate::mix::{Expression, Syntax};
use metier_core::{Error, Fault, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use unicode_segmentation::UnicodeSegmentation;

/// What is compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// What `key` leads to, the text itself if nothing else is said.
    #[default]
    Document,
    /// Each paragraph of the text, or its sequences of `ngram_length` words.
    Paragraph,
}

/// A document or paragraph as it is looked up.
pub(super) struct Unit {
    /// Its first character and the one behind its last.
    span: (usize, usize),
    /// Hashes of its sequences, one after the other.
    sequences: Vec<u64>,
    /// Hashes of it as a whole, where sequences do not decide.
    whole: Option<Vec<u64>>,
}

/// [`DedupeSettings`] with their path read.
pub(super) struct Looker<'a> {
    look: &'a DedupeSettings,
    key: Expression,
}

impl<'a> Looker<'a> {
    /// Checks what is to be looked up; `place` tells where a key is.
    pub fn new(look: &'a DedupeSettings, place: impl Fn(&str) -> Place) -> Result<Self> {
        let mut faults = Vec::new();
        let mut refuse = |key: &str, wrong: bool, message: String, hint: &str| {
            if wrong {
                faults.push(Fault::new(place(key), message).hint(hint));
            }
        };
        let out = |value: f64| format!("{value} is out of range");
        let DedupeSettings { attribute, separator, overlap_threshold, expected, false_positives, .. } = look;
        let rate = *false_positives;
        refuse("attribute", attribute.is_empty(), "the attribute has no name".to_owned(), "write \"duplicates\"");
        refuse("separator", separator.is_empty(), "nothing stands between paragraphs".to_owned(), "write \"\\n\"");
        let share = f64::from(*overlap_threshold);
        refuse("overlap_threshold", !(0.0..=1.0).contains(&share), out(share), "it is in 0..=1");
        refuse("expected", *expected == 0, out(0.0), "a filter is made for one item at least");
        refuse("false_positives", !(1e-12..=0.5).contains(&rate), out(rate), "it is in 1e-12..=0.5");
        let sequences = look.by == By::Document && look.ngram_length > 0;
        let message = "sequences are compared of paragraphs, not of documents".to_owned();
        refuse("ngram_length", sequences, message, "write by = \"paragraph\"");
        match Expression::new(Syntax::Jsonpath, &look.key) {
            Ok(key) => Error::collect(Self { look, key }, faults),
            Err(wrong) => {
                faults.push(wrong.fault(place("key"), &look.key));
                Err(Error { faults, blame: metier_core::Blame::User })
            }
        }
    }

    /// Everything in a document that is looked up, in order.
    ///
    /// # Errors
    /// A document without a text under the key.
    pub fn units(&self, document: &Value, hashes: &Hashes) -> std::result::Result<Vec<Unit>, String> {
        if self.look.by == By::Document {
            let found = self.key.select(document)?;
            let key = found.first().and_then(Value::as_str);
            let key = key.ok_or_else(|| format!("`{}` leads to no text in this document", self.look.key))?;
            return Ok(self.unit(key, (0, key.chars().count()), hashes).into_iter().collect());
        }
        let text = document.get("text").and_then(Value::as_str).ok_or("the document has no text under `text`")?;
        let all = text.chars().count();
        let between = self.look.separator.chars().count();
        let mut end = 0;
        let paragraphs = text.split(&self.look.separator).filter(|_| !text.is_empty()).filter_map(|paragraph| {
            let start = end;
            end += paragraph.chars().count();
            // A separator at the end of the text belongs to no paragraph.
            if end + between < all {
                end += between;
            }
            self.unit(paragraph, (start, end), hashes)
        });
        Ok(paragraphs.collect())
    }

    fn unit(&self, text: &str, span: (usize, usize), hashes: &Hashes) -> Option<Unit> {
        let look = &self.look;
        let words = || text.split_word_bounds().filter(|word| !word.trim().is_empty());
        let left_alone = (look.skip_empty && text.trim().is_empty())
            || text.chars().count() < look.minimum_length
            || (look.minimum_words > 0 && words().count() < look.minimum_words);
        if left_alone {
            return None;
        }
        let mut sequences = Vec::new();
        if look.ngram_length > 0 {
            let words: Vec<&str> = words().collect();
            let all = words.windows(look.ngram_length);
            let chosen = all.enumerate().filter(|(start, _)| *start == 0 || (start - 1) % look.stride.max(1) == 0);
            sequences = chosen.flat_map(|(_, sequence)| hashes.of(sequence)).collect();
        }
        let few = sequences.len() < 2 * hashes.number();
        let whole =
            (few && !(look.ngram_length > 0 && look.skip_short_paragraphs)).then(|| hashes.of(&[text]).collect());
        Some(Unit { span, sequences, whole })
    }

    /// The spans of what was seen before, each with its score; what is new is inserted, unless the filter may only be read.
    /// Says also how many items were inserted.
    pub fn seen(&self, units: Vec<Unit>, filter: &mut Filter, read_only: bool) -> (Vec<Value>, u64) {
        let (mut spans, mut inserted) = (Vec::new(), 0);
        let hashes = filter.hashes().number();
        let mut before = |item: &[u64]| {
            let before = filter.has(item);
            if !before && !read_only {
                filter.insert(item);
                inserted += 1;
            }
            before
        };
        for Unit { span: (start, end), sequences, whole } in units {
            let in_common = sequences.chunks(hashes).filter(|item| before(item)).count();
            let score = match whole {
                Some(item) => f32::from(u8::from(before(&item))),
                None => in_common as f32 / (sequences.len() / hashes) as f32,
            };
            if self.look.ngram_length == 0 && score > 0.0 {
                spans.push(json!([start, end, 1]));
            } else if self.look.ngram_length > 0 && score >= self.look.overlap_threshold {
                spans.push(json!([start, end, score]));
            }
        }
        (spans, inserted)
    }
}
