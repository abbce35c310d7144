//! jq by the crates of jaq, in the version that the mixer of Dolma runs: there, what is null has no items and no fields.

use super::expression::Wrong;
use jaq_interpret::{Ctx, Filter, FilterT as _, ParseCtx, RcIter, Val};
use jaq_syn::lex::{Lexer, StrPart, Token};
use jaq_syn::parse::Parser;
use serde_json::Value;
use std::collections::BTreeSet;

/// Filters whose answer is not told by the document alone.
const OUTSIDE: [&str; 4] = ["env", "input", "inputs", "now"];

/// A filter that was compiled.
#[derive(Debug)]
pub(super) struct Jq {
    filter: Filter,
    attributes: BTreeSet<String>,
}

impl Jq {
    pub fn parse(text: &str) -> Result<Self, Wrong> {
        let wrong = |at: usize, message: String| Wrong { column: text[..at].chars().count() + 1, message };
        let tokens = Lexer::new(text).lex().map_err(|faults| {
            let first = faults.into_iter().next();
            first.map_or_else(
                || wrong(0, "expected jq".to_owned()),
                |(expected, found)| {
                    wrong(jaq_syn::lex::span(text, found).start, format!("expected {}", expected.as_str()))
                },
            )
        })?;
        let parsed = Parser::new(&tokens).parse(|parser| parser.module(Parser::term)).map_err(|faults| {
            let first = faults.into_iter().next();
            first.map_or_else(
                || wrong(0, "expected jq".to_owned()),
                |(expected, found)| {
                    let at = found.map_or(text.len(), |token| token.span(text).start);
                    wrong(at, format!("expected {}", expected.as_str()))
                },
            )
        })?;
        let mut context = ParseCtx::new(Vec::new());
        let is_inside = |name: &str| !OUTSIDE.contains(&name);
        context.insert_natives(jaq_core::core().filter(|(name, ..)| is_inside(name)));
        context.insert_defs(jaq_std::std().into_iter().filter(|def| is_inside(&def.lhs.name)));
        let filter = context.compile(parsed.conv(text));
        if let Some((error, span)) = context.errs.first() {
            return Err(wrong(span.start.min(text.len()), error.to_string()));
        }
        let mut attributes = BTreeSet::new();
        name_attributes(&tokens, &mut attributes);
        Ok(Self { filter, attributes })
    }

    pub fn attributes(&self) -> BTreeSet<String> {
        self.attributes.clone()
    }

    pub fn values(&self, document: &Value) -> Result<Vec<Value>, String> {
        self.run(document, |value| json(&value))
    }

    /// Of each value, whether it counts as true: what is neither false nor null, zero nor empty.
    pub fn truths(&self, document: &Value) -> Result<Vec<bool>, String> {
        self.run(document, |value| match value {
            Val::Null => false,
            Val::Bool(truth) => truth,
            Val::Int(number) => number != 0,
            Val::Float(number) => number != 0.0,
            Val::Str(text) => !text.is_empty(),
            Val::Arr(items) => !items.is_empty(),
            Val::Obj(fields) => !fields.is_empty(),
            Val::Num(_) => true,
        })
    }

    fn run<T>(&self, document: &Value, take: impl Fn(Val) -> T) -> Result<Vec<T>, String> {
        let inputs = RcIter::new(std::iter::empty());
        let values = self.filter.run((Ctx::new([], &inputs), Val::from(document.clone())));
        // An error tells the value that it met, which may be the whole text.
        let short = |error: jaq_interpret::Error| error.to_string().chars().take(MESSAGE).collect();
        values.map(|value| value.map(&take).map_err(short)).collect()
    }
}

/// Characters of a message.
const MESSAGE: usize = 200;

/// The value in JSON; null for a number that JSON cannot write.
fn json(value: &Val) -> Value {
    match value {
        Val::Null => Value::Null,
        Val::Bool(truth) => Value::from(*truth),
        Val::Int(number) => Value::from(*number),
        Val::Float(number) => Value::from(*number),
        Val::Num(text) => text.parse().map_or(Value::Null, Value::Number),
        Val::Str(text) => Value::from(text.as_str()),
        Val::Arr(items) => items.iter().map(json).collect(),
        Val::Obj(fields) => fields.iter().map(|(name, field)| (name.to_string(), json(field))).collect(),
    }
}

/// Names behind `.attributes`, at once or behind one bar.
fn name_attributes(tokens: &[Token<&str>], names: &mut BTreeSet<String>) {
    let mut rest = tokens;
    while let Some((token, behind)) = rest.split_first() {
        rest = behind;
        match token {
            Token::Char(".attributes") => {
                let mut next = behind;
                while let Some((Token::Char("?" | ".") | Token::Op("|"), behind)) = next.split_first() {
                    next = behind;
                }
                names.extend(next.first().and_then(name));
            }
            Token::Block(_, inner) => name_attributes(inner, names),
            Token::Str(_, parts) => {
                for part in parts {
                    if let StrPart::Filter(token) = part {
                        name_attributes(std::slice::from_ref(token), names);
                    }
                }
            }
            _ => {}
        }
    }
}

/// The name in `.name`, `"name"` or `["name"]`.
fn name(token: &Token<&str>) -> Option<String> {
    match token {
        Token::Char(field) => field.strip_prefix('.').filter(|name| !name.is_empty()).map(str::to_owned),
        Token::Str(_, parts) => match parts.as_slice() {
            [StrPart::Str(name)] => Some((*name).to_owned()),
            _ => None,
        },
        Token::Block(_, inner) => match inner.as_slice() {
            [text @ Token::Str(..), Token::Char("]")] => name(text),
            _ => None,
        },
        _ => None,
    }
}
