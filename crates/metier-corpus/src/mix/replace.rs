//! Spans of a text, replaced by other texts.

use super::expression::{Expression, Syntax, Wrong};
use serde_json::Value;
use std::ops::Range;

/// Spans that are replaced, and by what.
#[derive(Debug)]
pub struct Replacement {
    span: Expression,
    with: With,
    minimum: f64,
    maximum: f64,
}

#[derive(Debug)]
enum With {
    /// `{}` in it stands for the text of the span.
    Text(String),
    /// The text that the document has there.
    Selected(Expression),
}

/// Bytes of a text, and what stands there instead.
pub type Replaced = (Range<usize>, String);

/// A span in characters, and what stands there instead.
struct Span {
    start: usize,
    end: usize,
    with: String,
}

impl Replacement {
    /// Spans that `span` leads to and whose score is in `minimum..maximum`. A `with` that begins with `$` is a jq expression
    /// over the document.
    ///
    /// # Errors
    /// Which of the two expressions (`span` or `with`) is wrong, and how.
    pub fn new(
        syntax: Syntax,
        span: &str,
        with: &str,
        minimum: Option<f64>,
        maximum: Option<f64>,
    ) -> Result<Self, (&'static str, Wrong)> {
        let with = match with.strip_prefix('$') {
            // The column counts the `$`.
            Some(path) => With::Selected(
                Expression::new(Syntax::Jq, path)
                    .map_err(|wrong| ("with", Wrong { column: wrong.column + 1, ..wrong }))?,
            ),
            None => With::Text(with.to_owned()),
        };
        Ok(Self {
            span: Expression::new(syntax, span).map_err(|wrong| ("span", wrong))?,
            with,
            minimum: minimum.unwrap_or(f64::NEG_INFINITY),
            maximum: maximum.unwrap_or(f64::INFINITY),
        })
    }

    /// The expressions in it.
    pub fn expressions(&self) -> impl Iterator<Item = &Expression> {
        let with = match &self.with {
            With::Selected(expression) => Some(expression),
            With::Text(_) => None,
        };
        std::iter::once(&self.span).chain(with)
    }

    fn spans(&self, document: &Value, spans: &mut Vec<Span>) -> Result<(), String> {
        for value in self.span.select(document)? {
            match &value {
                Value::Null => {}
                Value::Array(items) if items.first().is_none_or(Value::is_array) => {
                    items.iter().try_for_each(|item| self.span(document, item, spans))?;
                }
                value => self.span(document, value, spans)?,
            }
        }
        Ok(())
    }

    fn span(&self, document: &Value, value: &Value, spans: &mut Vec<Span>) -> Result<(), String> {
        let number = |at: usize| usize::try_from(value.get(at)?.as_u64()?).ok();
        let (Some(start), Some(end), Some(score)) = (number(0), number(1), value.get(2).and_then(Value::as_f64)) else {
            let span = self.span.text();
            return Err(format!(
                "`{span}` leads to {value}, but a span is [first character, character after it, score]"
            ));
        };
        if score >= self.minimum && score < self.maximum {
            spans.push(Span { start, end, with: self.text(document)? });
        }
        Ok(())
    }

    fn text(&self, document: &Value) -> Result<String, String> {
        let path = match &self.with {
            With::Text(text) => return Ok(text.clone()),
            With::Selected(path) => path,
        };
        match path.select(document)?.as_slice() {
            [Value::String(text)] => Ok(text.clone()),
            found => Err(format!("`${}` leads to {} and not to one text", path.text(), Value::from(found.to_vec()))),
        }
    }
}

/// What is to be replaced in the document's text, ordered and disjoint. Of spans that overlap, the one counts that begins first,
/// of those that begin together the one of the first replacement. A span that is empty or begins behind the text replaces
/// nothing; one that ends behind it goes to its end.
///
/// # Errors
/// A value that is no span, or no text.
pub fn replaced(replacements: &[Replacement], document: &Value, text: &str) -> Result<Vec<Replaced>, String> {
    let mut spans = Vec::new();
    replacements.iter().try_for_each(|replacement| replacement.spans(document, &mut spans))?;
    spans.sort_by_key(|span| span.start);
    let mut places = text.char_indices().map(|(place, _)| place);
    let (mut character, mut place) = (0, places.next().unwrap_or(text.len()));
    let mut byte = |wanted: usize| {
        if wanted > character {
            place = places.nth(wanted - character - 1).unwrap_or(text.len());
            character = wanted;
        }
        place
    };
    let mut out: Vec<Replaced> = Vec::new();
    let mut free = 0;
    for Span { start, end, with } in spans {
        if start < free || start >= end {
            continue;
        }
        let from = byte(start);
        if from == text.len() {
            break;
        }
        let range = from..byte(end);
        free = end;
        let with = with.replace("{}", &text[range.clone()]);
        out.push((range, with));
    }
    Ok(out)
}

/// The text with that put in.
pub fn put_in(text: &str, replaced: &[Replaced]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for (range, with) in replaced {
        out.push_str(&text[at..range.start]);
        out.push_str(with);
        at = range.end;
    }
    out.push_str(&text[at..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn text(spans: &Value, with: &str, minimum: f64, maximum: f64) -> Result<String, String> {
        let text = "héllo wörld 😀 end";
        let document = json!({ "text": text, "id": "a", "attributes": { "x": spans } });
        let replacement =
            Replacement::new(Syntax::Jsonpath, "$.attributes.x", with, Some(minimum), Some(maximum)).unwrap();
        replaced(&[replacement], &document, text).map(|replaced| put_in(text, &replaced))
    }

    #[test]
    fn spans_are_counted_in_characters_and_the_first_of_those_that_overlap_counts() {
        let two = json!([[0, 5, 0.5], [6, 11, 0.9]]);
        assert_eq!(text(&two, "<{}>", 0.0, 1.0).unwrap(), "<héllo> <wörld> 😀 end");
        assert_eq!(text(&two, "", 0.9, 1.0).unwrap(), "héllo  😀 end");
        assert_eq!(text(&two, "", 0.0, 0.9).unwrap(), " wörld 😀 end");
        assert_eq!(text(&two, "$.id", 0.0, 1.0).unwrap(), "a a 😀 end");
        let overlapping = json!([[3, 8, 1], [0, 5, 1], [5, 6, 1], [12, 13, 1]]);
        assert_eq!(text(&overlapping, "|", 0.0, 2.0).unwrap(), "||wörld | end");
        assert_eq!(text(&json!([]), "|", 0.0, 2.0).unwrap(), "héllo wörld 😀 end");
        assert_eq!(text(&json!([14, 17, 1]), "|", 0.0, 2.0).unwrap(), "héllo wörld 😀 |");
    }

    /// Dolma loses a letter at an empty span and replaces nothing behind it, and writes once more what stands before a span that
    /// begins behind the text.
    #[test]
    fn spans_without_text_replace_nothing() {
        for spans in [json!([[3, 3, 1]]), json!([[17, 17, 1]]), json!([[40, 50, 1]]), json!([[5, 2, 1]])] {
            assert_eq!(text(&spans, "<{}>", 0.0, 2.0).unwrap(), "héllo wörld 😀 end", "{spans}");
        }
        assert_eq!(text(&json!([[14, 99, 1], [3, 3, 1]]), "<{}>", 0.0, 2.0).unwrap(), "héllo wörld 😀 <end>");
    }

    #[test]
    fn what_is_no_span_is_an_error() {
        for spans in
            [json!("x"), json!([[0, 1]]), json!([["a", 1, 1.0]]), json!([[-1, 1, 1.0]]), json!([[0, 1.5, 1.0]])]
        {
            assert!(text(&spans, "", 0.0, 2.0).unwrap_err().contains("a span is"), "{spans}");
        }
        assert!(text(&json!([[0, 1, 1]]), "$.nope", 0.0, 2.0).unwrap_err().contains("not to one text"));
        let wrong = Replacement::new(Syntax::Jsonpath, "$.a", "$.a |", None, None).unwrap_err();
        assert_eq!((wrong.0, wrong.1.column), ("with", 6));
    }
}
