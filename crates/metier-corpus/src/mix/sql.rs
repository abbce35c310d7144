//! Conditions of SQL over a document and what was said of it, with SQL's three truths.

use super::expression::Wrong;
use serde_json::Value;
use sqlparser::ast::{
    BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Spanned, UnaryOperator,
    Value as Literal,
};
use sqlparser::dialect::GenericDialect;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Token};
use std::cmp::Ordering;
use std::collections::BTreeSet;

/// Most bytes of a condition, and the depth to which it nests: a chain of operators is a tree as deep as it is long.
const LONGEST: usize = 4_000;
const DEEPEST: usize = 60;
/// What of a document a bare name is, rather than an attribute.
const FIELDS: [&str; 7] = ["added", "created", "id", "license", "source", "text", "version"];

/// A condition that was read.
#[derive(Debug)]
pub(super) struct Sql {
    node: Node,
    attributes: BTreeSet<String>,
}

/// What an expression is worth.
#[derive(Debug, Clone, PartialEq)]
enum Sort {
    /// Nobody knows.
    Null,
    Truth(bool),
    Number(f64),
    Text(String),
}

#[derive(Debug, Clone, Copy)]
enum Function {
    Abs,
    Coalesce,
    Length,
    Lower,
    Upper,
}

const FUNCTIONS: [(&str, Function); 5] = [
    ("abs", Function::Abs),
    ("coalesce", Function::Coalesce),
    ("length", Function::Length),
    ("lower", Function::Lower),
    ("upper", Function::Upper),
];

#[derive(Debug, Clone, Copy)]
enum Arithmetic {
    Plus,
    Minus,
    Times,
    Divided,
    Rest,
}

/// Which orders of two values hold: less, equal, greater.
type Holds = [bool; 3];

#[derive(Debug)]
enum Node {
    Value(Sort),
    /// A field of the document, by its path.
    Field(Vec<String>),
    /// The score of the first span of an attribute.
    Score(String),
    /// How many spans an attribute has.
    Spans(String),
    Not(Box<Node>),
    All(Vec<Node>),
    Any(Vec<Node>),
    Compare(Holds, Box<[Node; 2]>),
    Compute(Arithmetic, Box<[Node; 2]>),
    Join(Box<[Node; 2]>),
    /// Whether the value is this one; never null.
    Is(Box<Node>, Sort),
    In(Box<Node>, Vec<Node>),
    Between(Box<[Node; 3]>),
    Like {
        both: Box<[Node; 2]>,
        escape: Option<char>,
        folded: bool,
    },
    Call(Function, Vec<Node>),
}

impl Sql {
    pub fn parse(text: &str) -> Result<Self, Wrong> {
        if text.len() > LONGEST {
            return Err(Wrong { column: 1, message: format!("a condition has at most {LONGEST} bytes") });
        }
        let mut parser = Parser::new(&GenericDialect {})
            .with_recursion_limit(DEEPEST)
            .try_with_sql(text)
            .map_err(|error| refused(text, &error))?;
        let expression = parser.parse_expr().map_err(|error| refused(text, &error))?;
        let behind = parser.peek_token();
        if behind.token != Token::EOF {
            let message = format!("expected the end, or `AND` or `OR`, not `{}`", behind.token);
            return Err(Wrong { column: column(text, behind.span.start), message });
        }
        let mut reading = Reading { text, attributes: BTreeSet::new() };
        let node = reading.node(&expression, 0)?;
        Ok(Self { node, attributes: reading.attributes })
    }

    /// The attributes that it names.
    pub fn attributes(&self) -> BTreeSet<String> {
        self.attributes.clone()
    }

    /// Whether it holds for a document; `None` where that is unknown.
    ///
    /// # Errors
    /// Values that do not go together.
    pub fn holds(&self, document: &Value) -> Result<Option<bool>, String> {
        self.node.truth(document)
    }
}

/// What the parser says, with its place.
fn refused(text: &str, error: &ParserError) -> Wrong {
    let said = match error {
        ParserError::RecursionLimitExceeded => {
            return Wrong { column: 1, message: format!("it nests deeper than {DEEPEST}") };
        }
        ParserError::TokenizerError(said) | ParserError::ParserError(said) => said,
    };
    let (message, place) = said.rsplit_once(" at Line: ").unwrap_or((said, ""));
    let place =
        place.split_once(", Column: ").and_then(|(line, column)| Some((line.parse().ok()?, column.parse().ok()?)));
    let column = place.map_or(text.chars().count() + 1, |(line, number)| column(text, Location::new(line, number)));
    let mut message = message.to_owned();
    if let Some(first) = message.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    Wrong { column, message }
}

/// The character of the text at a place, counted from 1; 1 for no place.
fn column(text: &str, at: Location) -> usize {
    let before = text.split_inclusive('\n').take((at.line as usize).saturating_sub(1));
    before.map(|line| line.chars().count()).sum::<usize>() + (at.column as usize).max(1)
}

struct Reading<'a> {
    text: &'a str,
    attributes: BTreeSet<String>,
}

impl Reading<'_> {
    fn wrong<T>(&self, at: &impl Spanned, message: String) -> Result<T, Wrong> {
        Err(Wrong { column: column(self.text, at.span().start), message })
    }

    fn node(&mut self, expression: &Expr, depth: usize) -> Result<Node, Wrong> {
        if depth > DEEPEST {
            return Err(Wrong { column: 1, message: format!("it nests deeper than {DEEPEST}") });
        }
        let mut of = |expression: &Expr| self.node(expression, depth + 1);
        let not = |negated: bool, node: Node| if negated { Node::Not(Box::new(node)) } else { node };
        let is = |node: Node, value: Sort, negated: bool| Ok(not(negated, Node::Is(Box::new(node), value)));
        match expression {
            Expr::Nested(inner) => self.node(inner, depth + 1),
            Expr::Identifier(name) => self.named(std::slice::from_ref(name)),
            Expr::CompoundIdentifier(names) => self.named(names),
            Expr::Value(value) => match &value.value {
                Literal::Number(digits, _) => match digits.parse::<f64>() {
                    Ok(number) if number.is_finite() => Ok(Node::Value(Sort::Number(number))),
                    _ => self.wrong(expression, format!("`{digits}` is no number")),
                },
                Literal::SingleQuotedString(text) => Ok(Node::Value(Sort::Text(text.clone()))),
                Literal::Boolean(truth) => Ok(Node::Value(Sort::Truth(*truth))),
                Literal::Null => Ok(Node::Value(Sort::Null)),
                other => self.wrong(expression, format!("`{other}` is not understood")),
            },
            Expr::IsNull(inner) | Expr::IsUnknown(inner) => is(of(inner)?, Sort::Null, false),
            Expr::IsNotNull(inner) | Expr::IsNotUnknown(inner) => is(of(inner)?, Sort::Null, true),
            Expr::IsTrue(inner) => is(of(inner)?, Sort::Truth(true), false),
            Expr::IsNotTrue(inner) => is(of(inner)?, Sort::Truth(true), true),
            Expr::IsFalse(inner) => is(of(inner)?, Sort::Truth(false), false),
            Expr::IsNotFalse(inner) => is(of(inner)?, Sort::Truth(false), true),
            Expr::InList { expr, list, negated } => {
                let one = Box::new(of(expr)?);
                let list = list.iter().map(of).collect::<Result<_, _>>()?;
                Ok(not(*negated, Node::In(one, list)))
            }
            Expr::Between { expr, negated, low, high } => {
                Ok(not(*negated, Node::Between(Box::new([of(expr)?, of(low)?, of(high)?]))))
            }
            Expr::Like { negated, any: false, expr, pattern, escape_char }
            | Expr::ILike { negated, any: false, expr, pattern, escape_char } => {
                let folded = matches!(expression, Expr::ILike { .. });
                let both = Box::new([of(expr)?, of(pattern)?]);
                let escape = match escape_char.as_ref().map(|escape| &escape.value) {
                    None => None,
                    Some(Literal::SingleQuotedString(text)) if text.chars().count() == 1 => text.chars().next(),
                    Some(other) => {
                        return self.wrong(expression, format!("{other} is not one character to escape with"));
                    }
                };
                Ok(not(*negated, Node::Like { both, escape, folded }))
            }
            Expr::UnaryOp { op: UnaryOperator::Not, expr } => Ok(Node::Not(Box::new(of(expr)?))),
            Expr::UnaryOp { op: UnaryOperator::Plus, expr } => of(expr),
            Expr::UnaryOp { op: UnaryOperator::Minus, expr } => {
                Ok(Node::Compute(Arithmetic::Minus, Box::new([Node::Value(Sort::Number(0.0)), of(expr)?])))
            }
            Expr::BinaryOp { op: BinaryOperator::And, .. } => {
                Ok(Node::All(self.chain(expression, &BinaryOperator::And, depth)?))
            }
            Expr::BinaryOp { op: BinaryOperator::Or, .. } => {
                Ok(Node::Any(self.chain(expression, &BinaryOperator::Or, depth)?))
            }
            Expr::BinaryOp { left, op, right } => {
                let both = Box::new([of(left)?, of(right)?]);
                Ok(match op {
                    BinaryOperator::Lt => Node::Compare([true, false, false], both),
                    BinaryOperator::LtEq => Node::Compare([true, true, false], both),
                    BinaryOperator::Eq => Node::Compare([false, true, false], both),
                    BinaryOperator::NotEq => Node::Compare([true, false, true], both),
                    BinaryOperator::GtEq => Node::Compare([false, true, true], both),
                    BinaryOperator::Gt => Node::Compare([false, false, true], both),
                    BinaryOperator::Plus => Node::Compute(Arithmetic::Plus, both),
                    BinaryOperator::Minus => Node::Compute(Arithmetic::Minus, both),
                    BinaryOperator::Multiply => Node::Compute(Arithmetic::Times, both),
                    BinaryOperator::Divide => Node::Compute(Arithmetic::Divided, both),
                    BinaryOperator::Modulo => Node::Compute(Arithmetic::Rest, both),
                    BinaryOperator::StringConcat => Node::Join(both),
                    other => return self.wrong(right.as_ref(), format!("the operator `{other}` is not understood")),
                })
            }
            Expr::Function(function) => {
                let name = function.name.to_string().to_lowercase();
                let plain = matches!(function.parameters, FunctionArguments::None)
                    && function.filter.is_none()
                    && function.over.is_none()
                    && function.within_group.is_empty();
                let arguments = match &function.args {
                    FunctionArguments::List(list)
                        if plain && list.duplicate_treatment.is_none() && list.clauses.is_empty() =>
                    {
                        let plain = |argument| match argument {
                            &FunctionArg::Unnamed(FunctionArgExpr::Expr(ref expression)) => Some(expression),
                            _ => None,
                        };
                        list.args.iter().map(plain).collect::<Option<Vec<&Expr>>>()
                    }
                    _ => None,
                };
                match arguments {
                    Some(arguments) => self.call(function, &name, &arguments, depth),
                    None => self.wrong(expression, format!("this way to call `{name}` is not understood")),
                }
            }
            other => {
                let said: String = other.to_string().chars().take(60).collect();
                self.wrong(other, format!("`{said}` is not understood: write comparisons, `AND`, `OR`, `NOT`, `IN`, `BETWEEN`, `LIKE`, `IS NULL`, arithmetic and functions"))
            }
        }
    }

    /// The members of a chain of one operator, which the parser gives as a tree that leans to the left.
    fn chain(&mut self, expression: &Expr, of: &BinaryOperator, depth: usize) -> Result<Vec<Node>, Wrong> {
        let (mut members, mut rest) = (Vec::new(), expression);
        while let Expr::BinaryOp { left, op, right } = rest
            && op == of
        {
            members.push(right.as_ref());
            rest = left;
        }
        members.push(rest);
        members.into_iter().rev().map(|member| self.node(member, depth + 1)).collect()
    }

    fn named(&mut self, names: &[Ident]) -> Result<Node, Wrong> {
        let path = || names.iter().map(|name| name.value.clone()).collect();
        match names {
            [name] if FIELDS.contains(&name.value.as_str()) => Ok(Node::Field(path())),
            [first, _, ..] if first.value == "metadata" => Ok(Node::Field(path())),
            [name] => Ok(Node::Score(self.attribute(name))),
            [first, name] if first.value == "attributes" => Ok(Node::Score(self.attribute(name))),
            [first, ..] => {
                let message =
                    format!("`{}` has no names in it: write `NAME`, `attributes.NAME` or `metadata.NAME`", first.value);
                Err(Wrong { column: column(self.text, first.span.start), message })
            }
            [] => Err(Wrong { column: 1, message: "a name is missing".to_owned() }),
        }
    }

    fn attribute(&mut self, name: &Ident) -> String {
        self.attributes.insert(name.value.clone());
        name.value.clone()
    }

    fn call(&mut self, at: &impl Spanned, name: &str, arguments: &[&Expr], depth: usize) -> Result<Node, Wrong> {
        if name == "spans" {
            return match arguments {
                [Expr::Identifier(attribute)] => Ok(Node::Spans(self.attribute(attribute))),
                [Expr::CompoundIdentifier(names)] if names.len() == 2 && names[0].value == "attributes" => {
                    Ok(Node::Spans(self.attribute(&names[1])))
                }
                _ => self.wrong(at, "`spans` counts the spans of one attribute: `spans(NAME)`".to_owned()),
            };
        }
        let Some((_, function)) = FUNCTIONS.iter().find(|(known, _)| *known == name) else {
            let known = || FUNCTIONS.iter().map(|(known, _)| *known).chain(["spans"]);
            let hint = match metier_core::fault::near_miss(name, known()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are: {}", known().collect::<Vec<_>>().join(", ")),
            };
            return self.wrong(at, format!("no function is called `{name}`; {hint}"));
        };
        let fits = match function {
            Function::Coalesce => !arguments.is_empty(),
            _ => arguments.len() == 1,
        };
        if !fits {
            return self.wrong(at, format!("`{name}` is not given {} values", arguments.len()));
        }
        let arguments = arguments.iter().map(|argument| self.node(argument, depth + 1)).collect::<Result<_, _>>()?;
        Ok(Node::Call(*function, arguments))
    }
}

impl Sort {
    fn of(value: Option<&Value>, name: impl Fn() -> String) -> Result<Self, String> {
        match value {
            None | Some(Value::Null) => Ok(Self::Null),
            Some(Value::Bool(truth)) => Ok(Self::Truth(*truth)),
            Some(Value::Number(number)) => Ok(number.as_f64().map_or(Self::Null, Self::Number)),
            Some(Value::String(text)) => Ok(Self::Text(text.clone())),
            Some(Value::Array(_) | Value::Object(_)) => Err(format!("`{}` is no single value", name())),
        }
    }

    fn word(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Truth(_) => "a truth",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
        }
    }

    fn truth(&self) -> Result<Option<bool>, String> {
        match self {
            Self::Null => Ok(None),
            Self::Truth(truth) => Ok(Some(*truth)),
            other => Err(format!("{} stands where a condition is wanted", other.word())),
        }
    }

    fn number(&self) -> Result<Option<f64>, String> {
        match self {
            Self::Null => Ok(None),
            Self::Number(number) => Ok(Some(*number)),
            other => Err(format!("{} stands where a number is wanted", other.word())),
        }
    }

    fn text(&self) -> Result<Option<&str>, String> {
        match self {
            Self::Null => Ok(None),
            Self::Text(text) => Ok(Some(text)),
            other => Err(format!("{} stands where a text is wanted", other.word())),
        }
    }

    /// Which of two values is less; `None` where one is null.
    fn order(&self, other: &Self) -> Result<Option<Ordering>, String> {
        match (self, other) {
            (Self::Null, _) | (_, Self::Null) => Ok(None),
            (Self::Truth(one), Self::Truth(other)) => Ok(Some(one.cmp(other))),
            (Self::Number(one), Self::Number(other)) => Ok(one.partial_cmp(other)),
            (Self::Text(one), Self::Text(other)) => Ok(Some(one.cmp(other))),
            _ => Err(format!("{} is compared with {}", self.word(), other.word())),
        }
    }
}

impl From<Option<bool>> for Sort {
    fn from(truth: Option<bool>) -> Self {
        truth.map_or(Self::Null, Self::Truth)
    }
}

/// False where one is false, else unknown where one is unknown.
fn all(truths: impl Iterator<Item = Result<Option<bool>, String>>) -> Result<Option<bool>, String> {
    let mut out = Some(true);
    for truth in truths {
        match truth? {
            Some(true) => {}
            Some(false) => return Ok(Some(false)),
            None => out = None,
        }
    }
    Ok(out)
}

/// True where one is true, else unknown where one is unknown.
fn any(truths: impl Iterator<Item = Result<Option<bool>, String>>) -> Result<Option<bool>, String> {
    let not = |truth: Option<bool>| truth.map(|truth| !truth);
    all(truths.map(|truth| truth.map(not))).map(not)
}

impl Node {
    fn truth(&self, document: &Value) -> Result<Option<bool>, String> {
        self.value(document)?.truth()
    }

    fn value(&self, document: &Value) -> Result<Sort, String> {
        let of = |node: &Self| node.value(document);
        let spans = |name: &str| document.get("attributes").and_then(|said| said.get(name)).and_then(Value::as_array);
        match self {
            Self::Value(value) => Ok(value.clone()),
            Self::Field(path) => {
                let found = path.iter().try_fold(document, |value, name| value.get(name));
                Sort::of(found, || path.join("."))
            }
            Self::Score(name) => {
                let span = spans(name).and_then(|spans| spans.first());
                Sort::of(span.and_then(|span| span.get(2)), || name.clone())
            }
            Self::Spans(name) => Ok(Sort::Number(spans(name).map_or(0.0, |spans| spans.len() as f64))),
            Self::Not(inner) => Ok(inner.truth(document)?.map(|truth| !truth).into()),
            Self::All(members) => Ok(all(members.iter().map(|member| member.truth(document)))?.into()),
            Self::Any(members) => Ok(any(members.iter().map(|member| member.truth(document)))?.into()),
            Self::Compare(holds, both) => {
                let order = of(&both[0])?.order(&of(&both[1])?)?;
                Ok(order.map(|order| holds[(order as i8 + 1) as usize]).into())
            }
            Self::Compute(operation, both) => {
                let (Some(one), Some(other)) = (of(&both[0])?.number()?, of(&both[1])?.number()?) else {
                    return Ok(Sort::Null);
                };
                let number = match operation {
                    Arithmetic::Plus => one + other,
                    Arithmetic::Minus => one - other,
                    Arithmetic::Times => one * other,
                    Arithmetic::Divided => one / other,
                    Arithmetic::Rest => one % other,
                };
                // What is divided by zero is worth nothing that could be compared.
                Ok(if number.is_finite() { Sort::Number(number) } else { Sort::Null })
            }
            Self::Join(both) => {
                let (one, other) = (of(&both[0])?, of(&both[1])?);
                Ok(one
                    .text()?
                    .zip(other.text()?)
                    .map_or(Sort::Null, |(one, other)| Sort::Text(format!("{one}{other}"))))
            }
            Self::Is(inner, wanted) => Ok(Sort::Truth(of(inner)? == *wanted)),
            Self::In(one, list) => {
                let one = of(one)?;
                let same = |other: &Self| Ok(one.order(&of(other)?)?.map(Ordering::is_eq));
                Ok(any(list.iter().map(same))?.into())
            }
            Self::Between(three) => {
                let value = of(&three[0])?;
                let above = value.order(&of(&three[1])?)?.map(Ordering::is_ge);
                let below = value.order(&of(&three[2])?)?.map(Ordering::is_le);
                Ok(all([Ok(above), Ok(below)].into_iter())?.into())
            }
            Self::Like { both, escape, folded } => {
                let (text, pattern) = (of(&both[0])?, of(&both[1])?);
                let fold = |text: &str| if *folded { text.to_lowercase() } else { text.to_owned() };
                match text.text()?.zip(pattern.text()?) {
                    Some((text, pattern)) => Ok(Sort::Truth(like(&fold(text), &fold(pattern), *escape)?)),
                    None => Ok(Sort::Null),
                }
            }
            Self::Call(Function::Coalesce, nodes) => {
                for node in nodes {
                    let value = of(node)?;
                    if value != Sort::Null {
                        return Ok(value);
                    }
                }
                Ok(Sort::Null)
            }
            Self::Call(function, nodes) => {
                let value = nodes.first().map_or(Ok(Sort::Null), of)?;
                Ok(match function {
                    Function::Abs => value.number()?.map_or(Sort::Null, |number| Sort::Number(number.abs())),
                    Function::Length => {
                        value.text()?.map_or(Sort::Null, |text| Sort::Number(text.chars().count() as f64))
                    }
                    Function::Lower => value.text()?.map_or(Sort::Null, |text| Sort::Text(text.to_lowercase())),
                    Function::Upper => value.text()?.map_or(Sort::Null, |text| Sort::Text(text.to_uppercase())),
                    Function::Coalesce => value,
                })
            }
        }
    }
}

/// A part of a pattern.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Letter(char),
    One,
    Some,
}

/// Whether the whole text is as the pattern says: `%` stands for any characters, `_` for one.
fn like(text: &str, pattern: &str, escape: Option<char>) -> Result<bool, String> {
    let mut parts = Vec::new();
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        parts.push(match letter {
            _ if Some(letter) == escape => {
                Part::Letter(letters.next().ok_or("a pattern of `LIKE` ends where it escapes a character")?)
            }
            '%' => Part::Some,
            '_' => Part::One,
            _ => Part::Letter(letter),
        });
    }
    // Where the last `%` stands, and from where on its rest is tried.
    let (mut again, mut at, mut rest) = (None, 0, text.chars());
    loop {
        let before = rest.clone();
        match (parts.get(at), rest.next()) {
            (Some(Part::Some), _) => {
                (again, at, rest) = (Some((at, before.clone())), at + 1, before);
            }
            (None, None) => return Ok(true),
            (Some(part), Some(letter)) if *part == Part::One || *part == Part::Letter(letter) => at += 1,
            _ => {
                let Some((percent, from)) = &mut again else { return Ok(false) };
                if from.next().is_none() {
                    return Ok(false);
                }
                (at, rest) = (*percent + 1, from.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use metier_core::seed::Seed;
    use serde_json::json;

    fn document() -> Value {
        json!({
            "id": "a", "text": "Hello wörld", "source": "web",
            "metadata": { "lang": "de", "year": 2019, "deep": { "ok": true }, "none": null, "list": [1] },
            "attributes": { "words": [[0, 11, 2.0]], "marks": [[0, 2, 1.0], [3, 4, 0.5]], "empty": [] },
        })
    }

    fn holds(text: &str) -> Result<Option<bool>, String> {
        Sql::parse(text).unwrap_or_else(|wrong| panic!("{text}: {wrong:?}")).holds(&document())
    }

    #[test]
    fn conditions_hold_as_in_sql() {
        for text in [
            "words = 2",
            "words >= 2.0 AND words <= 2",
            "words <> 3 and not words != 2",
            "words BETWEEN 2 AND 3",
            "words NOT BETWEEN 3 AND 4",
            "words IN (1, 2)",
            "words NOT IN (1, 3)",
            "attributes.words = 2",
            "\"words\" + 1 = 3 AND words * 2 - 1 = 3 AND 7 / words = 3.5 AND 7 % words = 1",
            "-words < 0 AND +words > 0",
            "metadata.lang = 'de' AND metadata.deep.ok AND metadata.year > 2018",
            "metadata.lang LIKE 'd_'",
            "text LIKE 'Hello%' AND text LIKE '%ö%d' AND text NOT LIKE 'hello%' AND text ILIKE 'hello%'",
            "'50%' LIKE '50!%' ESCAPE '!' AND '50x' NOT LIKE '50!%' ESCAPE '!'",
            "length(text) = 11 AND upper(source) = 'WEB'",
            "lower(metadata.lang || 'X') = 'dex'",
            "abs(words - 5) = 3",
            "coalesce(missing, empty, 7) = 7",
            "missing IS NULL AND empty IS NULL AND metadata.none IS NULL AND words IS NOT NULL",
            "spans(marks) = 2 AND spans(missing) = 0",
            "marks = 1",
            "(missing > 1) IS UNKNOWN",
            "(words > 1) IS TRUE AND (missing > 1) IS NOT TRUE AND (words < 1) IS FALSE",
            "words = 2 OR missing = 1",
            "id = 'a' -- a remark",
            "words = 2\n  AND source = 'web'",
            "1 / 0 IS NULL",
            "true",
        ] {
            assert_eq!(holds(text), Ok(Some(true)), "{text}");
        }
        for text in [
            "words = 3",
            "NOT words = 2",
            "words = 3 AND missing = 1",
            "text LIKE 'Hello'",
            "text LIKE '_'",
            "'' LIKE '_%'",
        ] {
            assert_eq!(holds(text), Ok(Some(false)), "{text}");
        }
        for text in [
            "missing < 1",
            "NOT missing < 1",
            "missing = missing",
            "words = 2 AND missing = 1",
            "words = 3 OR missing = 1",
            "words NOT IN (1, NULL)",
            "words IN (1, NULL)",
            "missing BETWEEN 1 AND 2",
            "missing LIKE 'a'",
            "NULL",
            "words = 1 / 0",
            "words BETWEEN NULL AND 3",
            "length(metadata.none) > 1",
        ] {
            assert_eq!(holds(text), Ok(None), "{text}");
        }
        assert_eq!(holds("words BETWEEN NULL AND 1"), Ok(Some(false)));
        assert_eq!(holds("words IN (2, NULL)"), Ok(Some(true)));
    }

    #[test]
    fn the_three_truths_are_joined_by_their_tables() {
        let words = [("true", Some(true)), ("false", Some(false)), ("NULL", None)];
        for (one, first) in words {
            for (other, second) in words {
                let both = match (first, second) {
                    (Some(false), _) | (_, Some(false)) => Some(false),
                    (Some(true), Some(true)) => Some(true),
                    _ => None,
                };
                let either = match (first, second) {
                    (Some(true), _) | (_, Some(true)) => Some(true),
                    (Some(false), Some(false)) => Some(false),
                    _ => None,
                };
                assert_eq!(holds(&format!("{one} AND {other}")), Ok(both));
                assert_eq!(holds(&format!("{one} OR {other}")), Ok(either));
                assert_eq!(
                    holds(&format!("(NOT ({one} AND {other})) = (NOT {one} OR NOT {other})")),
                    Ok(both.map(|_| true))
                );
            }
        }
    }

    #[test]
    fn patterns_are_what_trying_all_ways_gives() {
        fn tried(text: &[char], pattern: &[char]) -> bool {
            match (pattern.split_first(), text.split_first()) {
                (None, None) => true,
                (Some(('%', rest)), _) => tried(text, rest) || !text.is_empty() && tried(&text[1..], pattern),
                (Some((own, rest)), Some((letter, behind))) if *own == '_' || own == letter => tried(behind, rest),
                _ => false,
            }
        }
        let mut stream = Seed::new(8).at(0);
        let mut hits = 0;
        for _ in 0..5000 {
            let mut some = |letters: &[char]| -> Vec<char> {
                (0..stream.below(8)).map(|_| letters[stream.below(letters.len() as u64) as usize]).collect()
            };
            let (text, pattern) = (some(&['a', 'ö']), some(&['a', 'ö', '%', '_']));
            let own = like(&text.iter().collect::<String>(), &pattern.iter().collect::<String>(), None).unwrap();
            assert_eq!(own, tried(&text, &pattern), "{text:?} {pattern:?}");
            hits += u32::from(own);
        }
        assert!(hits > 500, "{hits}");
        let (text, pattern) = ("a".repeat(20_000), "%a".repeat(40) + "b");
        assert!(!like(&text, &pattern, None).unwrap());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_column() {
        for (text, column, said) in [
            ("words <", 8, "expected"),
            ("words = 2 extra", 11, "expected the end"),
            ("words = 2\nAND\n  lang.de = 1", 17, "`lang` has no names in it"),
            ("lenght(text) > 1", 1, "did you mean `length`?"),
            ("words > 1 AND sum(words) > 1", 15, "there are: abs"),
            ("abs(1, 2) = 1", 1, "not given 2 values"),
            ("words IN (SELECT 1)", 1, "is not understood"),
            ("words = 1 OR CASE WHEN words > 1 THEN true ELSE false END", 14, "`CASE WHEN"),
            ("words ~ 'a'", 9, "the operator `~`"),
            ("spans(1) > 1", 1, "`spans(NAME)`"),
            ("words = 'open", 9, "unterminated string literal"),
            ("count(*) > 1", 1, "this way to call"),
            ("words = 1e999", 9, "is no number"),
            ("", 1, "expected"),
        ] {
            let wrong = Sql::parse(text).unwrap_err();
            assert!(wrong.message.contains(said), "{text}: {wrong:?}");
            assert_eq!(wrong.column, column, "{text}: {wrong:?}");
        }
        for text in [
            "(".repeat(3000),
            "-".repeat(4000) + "1",
            "NOT ".repeat(900) + "true",
            "1+".repeat(1900) + "1",
            " ".repeat(5000),
        ] {
            assert!(Sql::parse(&text).is_err());
        }
        let many = ["words = 2"; 250].join(" AND ");
        assert_eq!(holds(&many), Ok(Some(true)));
        for (text, said) in [
            ("words = 'a'", "a number is compared with a text"),
            ("text", "a text stands where a condition is wanted"),
            ("text + 1 = 2", "a text stands where a number is wanted"),
            ("metadata.list = 1", "`metadata.list` is no single value"),
        ] {
            assert_eq!(holds(text), Err(said.to_owned()), "{text}");
        }
    }

    #[test]
    fn attributes_are_known_by_name() {
        let named =
            Sql::parse("a = 1 AND attributes.b > spans(c) AND id = 'x' AND metadata.d = 1 OR coalesce(e, 1) = 1");
        assert_eq!(named.unwrap().attributes().into_iter().collect::<String>(), "abce");
    }
}
