//! Texts that belong together.

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;

/// A text with one that belongs to it, such as a question with the passage that answers it, and perhaps others that seem to belong to it and
/// do not. A line of a file of pairs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextPair {
    /// What is looked for: a question, a title. `query` in some collections.
    #[serde(alias = "query")]
    pub anchor: String,
    /// What belongs to it.
    pub positive: String,
    /// What does not (hard negatives): a text, or a list of texts.
    #[serde(default, deserialize_with = "one_or_more", skip_serializing_if = "Vec::is_empty")]
    pub negative: Vec<String>,
}

impl TextPair {
    /// Its texts, each with its key.
    pub fn texts(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let negatives = self.negative.iter().map(|text| ("negative", text.as_str()));
        [("anchor", self.anchor.as_str()), ("positive", self.positive.as_str())].into_iter().chain(negatives)
    }

    /// What is wrong with it, each with its key: texts that are empty, and negatives that are the positive.
    pub fn faults(&self) -> Vec<(&'static str, &'static str)> {
        let fault = |(key, text): (&'static str, &str)| match text {
            _ if text.trim().is_empty() => Some((key, "the text is empty")),
            _ if key == "negative" && text == self.positive => Some((key, "the negative is the positive")),
            _ => None,
        };
        self.texts().filter_map(fault).collect()
    }
}

/// A text, or a list of texts.
fn one_or_more<'d, D: Deserializer<'d>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Texts;
    impl<'d> Visitor<'d> for Texts {
        type Value = Vec<String>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a text or a list of texts")
        }

        fn visit_str<E>(self, text: &str) -> Result<Vec<String>, E> {
            Ok(vec![text.to_owned()])
        }

        fn visit_seq<A: SeqAccess<'d>>(self, mut list: A) -> Result<Vec<String>, A::Error> {
            let mut texts = Vec::new();
            while let Some(text) = list.next_element()? {
                texts.push(text);
            }
            Ok(texts)
        }
    }
    deserializer.deserialize_any(Texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negatives_are_a_text_or_a_list_and_may_be_left_out() {
        let read = |text: &str| serde_json::from_str::<TextPair>(text);
        let pair = read(r#"{"query": "a", "positive": "b", "negative": ["c", "d"]}"#).unwrap();
        assert_eq!((pair.anchor.as_str(), pair.negative.len()), ("a", 2));
        assert_eq!(read(r#"{"anchor": "a", "positive": "b", "negative": "c"}"#).unwrap().negative, ["c"]);
        assert!(read(r#"{"anchor": "a", "positive": "b"}"#).unwrap().negative.is_empty());
        let error = read(r#"{"anchor": "a", "positive": "b", "negative": 3}"#).unwrap_err().to_string();
        assert!(error.contains("a text or a list of texts"), "{error}");
    }

    #[test]
    fn empty_texts_and_a_negative_that_is_the_positive_are_faults() {
        let pair = TextPair { anchor: " ".into(), positive: "b".into(), negative: vec!["b".into(), "c".into()] };
        let keys: Vec<_> = pair.faults().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["anchor", "negative"]);
    }
}
