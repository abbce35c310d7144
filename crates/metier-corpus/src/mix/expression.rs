//! An expression over a document and what was said of it, read once and asked of many documents.

use super::jq::Jq;
use super::jsonpath::Path;
use super::sql::Sql;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;

/// The language of expressions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Syntax {
    /// `$.attributes[?(@.gopher_v1__gopher_v1__word_count[0][2] < 50)]`.
    #[default]
    Jsonpath,
    /// `.attributes.gopher_v1__gopher_v1__word_count[0][2] < 50`.
    Jq,
}

/// Most characters of an expression, and most brackets open at once: what is larger was made to fill the stack.
const LONGEST: usize = 20_000;
const DEEPEST: usize = 60;

/// What is wrong with an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// Character, counted from 1.
    pub column: usize,
    /// What was expected there.
    pub message: String,
}

/// An expression that was read.
#[derive(Debug)]
pub struct Expression {
    text: String,
    form: Form,
}

#[derive(Debug)]
enum Form {
    Path(Path),
    Jq(Jq),
    /// A condition that is not known to hold.
    Unless(Sql),
}

impl Expression {
    /// Reads it.
    ///
    /// # Errors
    /// What is wrong, and at which character.
    pub fn new(syntax: Syntax, text: &str) -> Result<Self, Wrong> {
        check_size(text)?;
        let form = match syntax {
            Syntax::Jsonpath => Form::Path(Path::parse(text)?),
            Syntax::Jq => Form::Jq(Jq::parse(text)?),
        };
        Ok(Self { text: text.to_owned(), form })
    }

    /// Reads a condition of SQL. The expression matches documents of which it is not true: those for which it is false, or
    /// unknown.
    ///
    /// # Errors
    /// As of [`Expression::new`].
    pub fn unless(text: &str) -> Result<Self, Wrong> {
        Ok(Self { text: text.to_owned(), form: Form::Unless(Sql::parse(text)?) })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The attributes that it names.
    pub fn attributes(&self) -> BTreeSet<String> {
        match &self.form {
            Form::Path(path) => path.attributes(),
            Form::Jq(jq) => jq.attributes(),
            Form::Unless(sql) => sql.attributes(),
        }
    }

    /// Whether a document that has to match matches. jq gives any number of values: at least one, and none of them empty,
    /// zero, false or null. A path matches when it leads anywhere.
    ///
    /// # Errors
    /// Why jq cannot be run on this document.
    pub fn includes(&self, document: &Value) -> Result<bool, String> {
        match &self.form {
            Form::Path(path) => Ok(!path.find(document).is_empty()),
            Form::Jq(jq) => jq.truths(document).map(|truths| !truths.is_empty() && truths.iter().all(|truth| *truth)),
            Form::Unless(_) => self.excludes(document),
        }
    }

    /// Whether a document that must not match matches: of jq's values, one is enough.
    ///
    /// # Errors
    /// As of [`Expression::includes`].
    pub fn excludes(&self, document: &Value) -> Result<bool, String> {
        match &self.form {
            Form::Path(path) => Ok(!path.find(document).is_empty()),
            Form::Jq(jq) => jq.truths(document).map(|truths| truths.contains(&true)),
            Form::Unless(sql) => sql.holds(document).map(|holds| holds != Some(true)),
        }
    }

    /// The values that it leads to.
    ///
    /// # Errors
    /// As of [`Expression::includes`].
    pub fn select(&self, document: &Value) -> Result<Vec<Value>, String> {
        match &self.form {
            Form::Path(path) => Ok(path.find(document)),
            Form::Jq(jq) => jq.values(document),
            Form::Unless(_) => self.excludes(document).map(|matches| vec![Value::from(matches)]),
        }
    }
}

/// Refuses what no person wrote.
fn check_size(text: &str) -> Result<(), Wrong> {
    let mut depth = 0_usize;
    for (column, letter) in (1..).zip(text.chars()) {
        match letter {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEEPEST || column > LONGEST {
            let message = format!("an expression has at most {LONGEST} characters and {DEEPEST} open brackets");
            return Err(Wrong { column, message });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn document() -> Value {
        json!({
            "source": "s", "id": "a", "text": "hello", "n": 5, "f": 5.0,
            "attributes": { "one": [[0, 5, 0.5]], "two": [[0, 2, 1.0], [2, 5, 2.0]], "i": [[0, 5, 100]] },
        })
    }

    /// What dolma 1.2.1 does with a document where the expression stands alone under `include`.
    #[test]
    fn expressions_mean_what_they_mean_to_dolma() {
        let jsonpath = [
            ("$@.attributes[?(@.one[0][2] < 1)]", true),
            ("$.attributes[?(@.one[0][2] >= 0.5)]", true),
            ("$.attributes[?(@.i[0][2] >= 100)]", true),
            ("$.attributes[?(@.i[0][2] >= 100.0)]", false),
            ("$.attributes[?(@.two[1][2] >= 2)]", false),
            ("$.attributes.two[?(@[2] > 1)]", true),
            ("$.attributes.two[?(@[2] > 1 && @[2] < 3)]", false),
            ("$.attributes[?(@.two.length() > 1)]", false),
            ("$.attributes.two.length()", true),
            ("$.nope.length()", false),
            ("$.attributes[?(@.nope[0][2] < 50)]", false),
            ("$.attributes[?(!@.nope)]", true),
            ("$.attributes[?(!@.one)]", false),
            ("$.attributes[?(@.two[*][2] > 1)]", false),
            ("$..two", true),
            ("$[?(@.n == 5)]", true),
            ("$[?(@.n == 5.0)]", false),
            ("$[?(@.source == 's')]", true),
            ("$[?(@.source in ['s','t'])]", true),
            ("$[?(@.text ~= 'el+o')]", true),
            ("$[?(@.source != 's' || @.n > 4)]", true),
            ("$.attributes[?(@.one && @.one[0] && @.one[0][2] < 50)]", true),
            ("$.attributes[?(@.one[0][2] > $.nope)]", false),
            ("$.attributes[?(@.one[0][2] < $.n)]", true),
            ("$.attributes.*", true),
            ("$.attributes.one[0:1]", true),
            ("$.attributes['one']", true),
            ("$.attributes['one','two'][5]", false),
            ("$.attributes[?(@['one'][0][2] < 1)]", true),
            ("$.attributes[?(@.two size 2)]", true),
        ];
        let jq = [
            (".attributes.one[0][2] < 50", true),
            (".attributes.nope | length > 0", false),
            (".attributes.two | any(.[2] >= 2)", true),
            ("any(.attributes.two[]; .[2] > 1)", true),
            ("[.attributes.two[][2]] | add > 2.5", true),
            (".n == .f", true),
            (".n", true),
            (".attributes.two | map(.[1]-.[0]) | add", true),
            (".attributes.two[] | .[2] > 1", false),
            (".attributes.nope // false", false),
            (".text | test(\"ell\")", true),
            ("(.text | length) >= 5 and .n == 5", true),
            (".attributes.nope?[0]?[2]? < 50", false),
            (".attributes | has(\"one\")", true),
            (".n as $x | $x > 4", true),
            (".attributes[\"one\"][0][2] < 1", true),
            (".attributes | keys | length == 3", true),
            (".text | ascii_downcase == \"hello\"", true),
        ];
        let document = document();
        for (syntax, expected) in [(Syntax::Jsonpath, &jsonpath[..]), (Syntax::Jq, &jq[..])] {
            for (text, expected) in expected {
                let expression = Expression::new(syntax, text).unwrap();
                assert_eq!(expression.includes(&document), Ok(*expected), "{text}");
            }
        }
        for text in [".attributes.nope[0][2] < 50", ".attributes.nope[0]", ".nope.x"] {
            assert!(Expression::new(Syntax::Jq, text).unwrap().includes(&document).is_err(), "{text}");
        }
        // One of several values is enough to exclude.
        assert_eq!(Expression::new(Syntax::Jq, ".attributes.two[] | .[2] > 1").unwrap().excludes(&document), Ok(true));
    }

    #[test]
    fn values_that_json_cannot_write_are_null() {
        let select = |text: &str| Expression::new(Syntax::Jq, text).unwrap().select(&document()).unwrap();
        assert_eq!(select("[1e1000, 0/0, {a: .n}]"), [json!([null, null, { "a": 5 }])]);
        assert_eq!(select(".attributes.two[][2]"), [json!(1.0), json!(2.0)]);
        let long = json!({ "text": "x".repeat(5000) });
        assert!(Expression::new(Syntax::Jq, ".text.x").unwrap().includes(&long).unwrap_err().len() <= 200);
    }

    #[test]
    fn a_bad_expression_is_refused_with_its_column() {
        let wrong = |syntax, text: &str| Expression::new(syntax, text).map(|_| ()).unwrap_err();
        for (text, column) in [
            ("$.attributes[?(@.nope < 1", 26),
            ("attributes.one", 1),
            ("$[?(@.source == \"s\")]", 17),
            ("$.a[1.5]", 5),
            ("$.a]", 4),
            ("$.a[0:4:0]", 9),
            ("$[?(@.a ~= '(')]", 12),
            ("", 1),
        ] {
            assert_eq!(wrong(Syntax::Jsonpath, text).column, column, "{text}");
        }
        for (text, column) in [
            (".text |", 8),
            ("foo(.x)", 1),
            (".a | foo", 6),
            (".a == \"x", 9),
            ("(.a", 4),
            (". & .", 3),
            ("", 1),
            ("now > 1", 1),
            ("env", 1),
            (".é.ü | $x", 2),
        ] {
            assert_eq!(wrong(Syntax::Jq, text).column, column, "{text}");
        }
        for syntax in [Syntax::Jsonpath, Syntax::Jq] {
            assert!(wrong(syntax, &"(".repeat(100_000)).message.contains("brackets"));
            assert!(wrong(syntax, &"!".repeat(100_000)).message.contains("characters"));
        }
    }

    #[test]
    fn the_attributes_of_an_expression_are_known() {
        let named = |syntax, text: &str| {
            Expression::new(syntax, text).unwrap().attributes().into_iter().collect::<Vec<_>>().join(" ")
        };
        for (text, names) in [
            ("$.attributes.a", "a"),
            ("$@.attributes[?(@.a && @['b'][0][2] > $.attributes.c[0][2])]", "a b c"),
            ("$[?(@.attributes.a || !@.n)]", "a"),
            ("$.attributes['a','b'][0]", "a b"),
            ("$.attributes[?(@.pii.much == true)]", "pii"),
            ("$.metadata[?(@.length < 500)]", ""),
            ("$..a", ""),
        ] {
            assert_eq!(named(Syntax::Jsonpath, text), names, "{text}");
        }
        for (text, names) in [
            (".attributes.a[0][2] < .attributes?.b[0][2]", "a b"),
            ("(.attributes | .a | length) > 0 and any(.attributes[\"b\"][]; .[2] > 1)", "a b"),
            (".attributes.\"a-b\"[0]", "a-b"),
            (".metadata.a", ""),
        ] {
            assert_eq!(named(Syntax::Jq, text), names, "{text}");
        }
    }
}
