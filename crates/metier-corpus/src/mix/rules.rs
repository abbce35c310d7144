//! Which documents are kept, and with which text.

use super::expression::Expression;
use super::replace::{Replaced, Replacement, put_in, replaced};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// An expression under the name that drops are counted by.
#[derive(Debug)]
pub struct Rule {
    /// The name.
    pub name: String,
    /// Where it was written, for faults.
    pub place: String,
    /// The expression.
    pub expression: Expression,
}

/// What is asked of every document, in this order.
#[derive(Debug, Default)]
pub struct Rules {
    /// One of these has to match; with none of them, all documents do.
    pub include: Vec<Rule>,
    /// None of these may match.
    pub exclude: Vec<Rule>,
    /// What is replaced in the text.
    pub replace: Vec<Replacement>,
    /// Bytes that the text has at least, without white space around it, after all that.
    pub minimum_text_length: usize,
}

/// The reason of documents that match nothing under `include`.
const NOT_INCLUDED: &str = "matches no rule under `include`";

/// What the rules say of a document.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It stays, with these bytes replaced.
    Keep(Vec<Replaced>),
    /// It goes, by the rule of this number among [`Rules::reasons`].
    Drop(usize),
}

impl Rules {
    /// Why documents are dropped, in the order in which they are asked.
    pub fn reasons(&self) -> Vec<String> {
        let included = (!self.include.is_empty()).then(|| NOT_INCLUDED.to_owned());
        let excluded = self.exclude.iter().map(|rule| rule.name.clone());
        let short = format!("has fewer than {} bytes of text", self.minimum_text_length);
        included.into_iter().chain(excluded).chain((self.minimum_text_length > 0).then_some(short)).collect()
    }

    /// The attributes that each expression names, with the place of the expression.
    pub fn attributes(&self) -> BTreeMap<String, BTreeSet<String>> {
        let rules = self.include.iter().chain(&self.exclude).map(|rule| (rule.place.clone(), &rule.expression));
        let spans = (0..).zip(&self.replace).flat_map(|(number, replacement)| {
            replacement.expressions().map(move |expression| (format!("replace[{number}]"), expression))
        });
        let mut out: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (place, expression) in rules.chain(spans) {
            for name in expression.attributes() {
                out.entry(name).or_default().insert(place.clone());
            }
        }
        out
    }

    /// The attributes that the rule of this number names.
    pub fn attributes_of(&self, reason: usize) -> BTreeSet<String> {
        let first = usize::from(!self.include.is_empty());
        let rules: Vec<&Rule> = match reason.checked_sub(first) {
            None => self.include.iter().collect(),
            Some(number) => self.exclude.get(number).into_iter().collect(),
        };
        rules.iter().flat_map(|rule| rule.expression.attributes()).collect()
    }

    /// What becomes of a document, with what was said of it under `attributes`.
    ///
    /// # Errors
    /// A document without a text, or one that a rule cannot be asked of.
    pub fn judge(&self, document: &Value) -> Result<Verdict, String> {
        let of = |rule: &Rule, message: String| format!("{}: {message}", rule.name);
        let text = document.get("text").and_then(Value::as_str).ok_or("the document has no text under `text`")?;
        let mut included = self.include.is_empty();
        for rule in &self.include {
            included = rule.expression.includes(document).map_err(|message| of(rule, message))?;
            if included {
                break;
            }
        }
        if !included {
            return Ok(Verdict::Drop(0));
        }
        let first = usize::from(!self.include.is_empty());
        for (number, rule) in (first..).zip(&self.exclude) {
            if rule.expression.excludes(document).map_err(|message| of(rule, message))? {
                return Ok(Verdict::Drop(number));
            }
        }
        let replaced = replaced(&self.replace, document, text)?;
        if self.minimum_text_length > 0 {
            let length = if replaced.is_empty() { text.trim().len() } else { put_in(text, &replaced).trim().len() };
            if length < self.minimum_text_length {
                return Ok(Verdict::Drop(first + self.exclude.len()));
            }
        }
        Ok(Verdict::Keep(replaced))
    }
}

#[cfg(test)]
mod tests {
    use super::super::expression::Syntax;
    use super::*;
    use serde_json::json;

    fn rule(text: &str) -> Rule {
        let expression = Expression::new(Syntax::Jsonpath, text).unwrap();
        Rule { name: text.to_owned(), place: "here".to_owned(), expression }
    }

    #[test]
    fn a_document_stays_that_is_included_not_excluded_and_long_enough() {
        let replace = Replacement::new(Syntax::Jsonpath, "$.attributes.cut", "", None, None).unwrap();
        let rules = Rules {
            include: vec![rule("$.attributes[?(@.a[0][2] > 1)]"), rule("$.attributes.b")],
            exclude: vec![rule("$.attributes.c"), rule("$.attributes[?(@.a[0][2] > 5)]")],
            replace: vec![replace],
            minimum_text_length: 3,
        };
        let judge = |attributes: Value| rules.judge(&json!({ "text": " long ", "attributes": attributes })).unwrap();
        assert_eq!(judge(json!({ "a": [[0, 6, 2]] })), Verdict::Keep(Vec::new()));
        assert_eq!(judge(json!({ "b": [], "cut": [[0, 2, 1]] })), Verdict::Keep(vec![(0..2, String::new())]));
        let dropped = [
            (json!({ "a": [[0, 6, 1]] }), "matches no rule under `include`"),
            (json!({ "b": [], "c": [] }), "$.attributes.c"),
            (json!({ "a": [[0, 6, 6]] }), "$.attributes[?(@.a[0][2] > 5)]"),
            (json!({ "b": [], "cut": [[0, 4, 1]] }), "has fewer than 3 bytes of text"),
        ];
        for (attributes, reason) in dropped {
            let Verdict::Drop(number) = judge(attributes) else { panic!("{reason}") };
            assert_eq!(rules.reasons()[number], reason);
        }
        assert!(rules.judge(&json!({ "text": 1 })).is_err());
        assert_eq!(rules.attributes().keys().collect::<Vec<_>>(), ["a", "b", "c", "cut"]);
        assert_eq!(rules.attributes_of(2).into_iter().collect::<Vec<_>>(), ["a"]);
    }
}
