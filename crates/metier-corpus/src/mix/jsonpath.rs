//! Paths into JSON, as the mixer of Dolma understands them: the language of the crate jsonpath-rust 0.3.5.
//!
//! It differs from later definitions of that language. A filter on an object asks the object itself, not what is in it. `<` holds
//! between two numbers only, one on each side; `==` and with it `>=` want the same kind of number (5 is not 5.0). The sides of
//! `&&`, `||` and `!` ask a list by its items. `length()` is no value in a comparison. All of this is kept, since configurations
//! were written against it.

use super::expression::Wrong;
use regex::Regex;
use serde_json::Value;
use std::collections::BTreeSet;

/// A path from the document on.
#[derive(Debug)]
pub(super) struct Path(Vec<Step>);

#[derive(Debug)]
enum Step {
    /// `$`
    Root,
    /// `@`, and all that follows it.
    Current(Vec<Step>),
    /// `.name` or `['name']`
    Field(String),
    /// `['a','b']`
    Keys(Vec<String>),
    /// `..name`
    Below(String),
    /// `..*`
    AllBelow,
    /// `.*` or `[*]`
    All,
    /// `[0]`
    Item(usize),
    /// `[0,2]`
    Items(Vec<Value>),
    /// `[from:to:step]`
    Slice(i64, i64, usize),
    /// `[?(...)]`
    Filter(Condition),
    /// `.length()`
    Length,
}

#[derive(Debug)]
enum Condition {
    Exists(Operand),
    Compare(Operand, Sign, Operand),
    Matches(Operand, Regex),
    And(Box<Condition>, Box<Condition>),
    Or(Box<Condition>, Box<Condition>),
    Not(Box<Condition>),
}

#[derive(Debug)]
enum Operand {
    Value(Value),
    Path(Vec<Step>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Sign {
    Equal,
    Unequal,
    Less,
    AtMost,
    Greater,
    AtLeast,
    In,
    NotIn,
    Size,
    AnyOf,
    NoneOf,
    SubsetOf,
    Matches,
}

/// As they are written, each before those that it is the beginning of.
const SIGNS: [(&str, Sign); 13] = [
    ("==", Sign::Equal),
    ("!=", Sign::Unequal),
    ("~=", Sign::Matches),
    (">=", Sign::AtLeast),
    (">", Sign::Greater),
    ("<=", Sign::AtMost),
    ("<", Sign::Less),
    ("in", Sign::In),
    ("nin", Sign::NotIn),
    ("size", Sign::Size),
    ("noneOf", Sign::NoneOf),
    ("anyOf", Sign::AnyOf),
    ("subsetOf", Sign::SubsetOf),
];

/// Where a path has led.
#[derive(Clone, Copy)]
enum Found<'a> {
    Value(&'a Value),
    Count(usize),
    Nothing,
}

impl Path {
    pub fn parse(text: &str) -> Result<Self, Wrong> {
        let mut reader = Reader { text, at: 0 };
        let steps = reader.chain()?;
        reader.space();
        if reader.at < text.len() {
            return Err(reader.expected("the end, or a step such as `.name`, `[0]` or `[?(...)]`"));
        }
        Ok(Self(steps))
    }

    /// The values it leads to.
    pub fn find(&self, document: &Value) -> Vec<Value> {
        let found = follow(&self.0, document, Found::Value(document));
        let values = found.into_iter().filter_map(|found| match found {
            Found::Value(value) => Some(value.clone()),
            Found::Count(count) => Some(Value::from(count)),
            Found::Nothing => None,
        });
        values.collect()
    }

    pub fn attributes(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        name_attributes(&self.0, Where::Document, &mut names);
        names
    }
}

/// All places that steps lead to from one.
fn follow<'a>(steps: &'a [Step], root: &'a Value, from: Found<'a>) -> Vec<Found<'a>> {
    let mut found = vec![from];
    for step in steps {
        found = match step {
            Step::Length => vec![length(&found, counts(steps))],
            _ => found.into_iter().flat_map(|one| step.from(root, one)).collect(),
        };
    }
    found
}

/// Whether `length()` at the end counts what was found, and not the items of the first of it: after a step that leads to
/// several places, and no single item since.
fn counts(steps: &[Step]) -> bool {
    let several = steps.iter().fold(false, |several, step| match step {
        Step::Items(_) | Step::Keys(_) | Step::Slice(..) | Step::Filter(_) | Step::All => true,
        Step::Item(_) => false,
        _ => several,
    });
    several && steps.len() > 2 && matches!(steps.last(), Some(Step::Length))
}

fn length<'a>(found: &[Found<'a>], counts: bool) -> Found<'a> {
    let some = found.iter().filter(|one| !matches!(one, Found::Nothing)).count();
    match found.first() {
        Some(_) if some == 0 => Found::Nothing,
        _ if counts => Found::Count(some),
        Some(Found::Value(Value::Array(items))) => Found::Count(items.len()),
        _ => Found::Nothing,
    }
}

impl Step {
    fn from<'a>(&'a self, root: &'a Value, from: Found<'a>) -> Vec<Found<'a>> {
        match (self, from) {
            (Self::Root, _) => return vec![Found::Value(root)],
            (Self::Current(steps), from) => return follow(steps, root, from),
            (Self::AllBelow, Found::Count(_)) => return Vec::new(),
            (_, Found::Value(value)) => {
                let found = self.values(root, value);
                // Below nothing there is not even nothing, which `length()` counts.
                if !found.is_empty() || matches!(self, Self::AllBelow) {
                    return found.into_iter().map(Found::Value).collect();
                }
            }
            _ => {}
        }
        vec![Found::Nothing]
    }

    fn values<'a>(&'a self, root: &'a Value, value: &'a Value) -> Vec<&'a Value> {
        let mut out = Vec::new();
        match (self, value) {
            (Self::Field(name), Value::Object(fields)) => out.extend(fields.get(name)),
            (Self::Keys(names), Value::Object(fields)) => out.extend(names.iter().filter_map(|name| fields.get(name))),
            (Self::Below(name), _) => below(value, &mut |value| out.extend(value.get(name))),
            (Self::AllBelow, _) => {
                below(value, &mut |value| out.push(value));
                out.remove(0);
            }
            (Self::All, Value::Array(items)) => out.extend(items),
            (Self::All, Value::Object(fields)) => out.extend(fields.values()),
            (Self::Item(index), Value::Array(items)) => out.extend(items.get(*index)),
            (Self::Items(indexes), Value::Array(items)) => {
                out.extend(indexes.iter().filter_map(|index| items.get(usize::try_from(index.as_u64()?).ok()?)));
            }
            (Self::Slice(from, to, step), Value::Array(items)) => {
                let length = items.len() as i64;
                let place = |at: i64| if at < 0 { length + at } else { at };
                let (from, to) = (place(*from), place(*to));
                if (0..=length).contains(&from) && (0..=length).contains(&to) {
                    let to = if to == 0 { length } else { to };
                    out.extend(items[..to as usize].iter().skip(from as usize).step_by(*step));
                }
            }
            (Self::Filter(condition), Value::Array(items)) => {
                out.extend(items.iter().filter(|item| condition.holds(root, item)));
            }
            (Self::Filter(condition), _) if condition.holds(root, value) => out.push(value),
            _ => {}
        }
        out
    }
}

/// The value, and all that is in it.
fn below<'a>(value: &'a Value, take: &mut impl FnMut(&'a Value)) {
    take(value);
    match value {
        Value::Array(items) => items.iter().for_each(|item| below(item, take)),
        Value::Object(fields) => fields.values().for_each(|field| below(field, take)),
        _ => {}
    }
}

impl Condition {
    fn holds(&self, root: &Value, value: &Value) -> bool {
        match self {
            Self::Exists(operand) => !operand.values(root, value).is_empty(),
            Self::Compare(left, sign, right) => sign.holds(&left.values(root, value), &right.values(root, value)),
            Self::Matches(operand, pattern) => operand
                .values(root, value)
                .iter()
                .any(|value| value.as_str().is_some_and(|text| pattern.is_match(text))),
            Self::And(left, right) => left.holds_inside(root, value) && right.holds_inside(root, value),
            Self::Or(left, right) => left.holds_inside(root, value) || right.holds_inside(root, value),
            Self::Not(condition) => !condition.holds_inside(root, value),
        }
    }

    /// As a side of `&&`, `||` or `!`.
    fn holds_inside(&self, root: &Value, value: &Value) -> bool {
        match value {
            Value::Array(items) => items.iter().any(|item| self.holds(root, item)),
            value => self.holds(root, value),
        }
    }
}

impl Operand {
    fn values<'a>(&'a self, root: &'a Value, value: &'a Value) -> Vec<&'a Value> {
        match self {
            Self::Value(value) => vec![value],
            Self::Path(steps) => {
                let found = follow(steps, root, Found::Value(value));
                let values = found.into_iter().filter_map(|found| match found {
                    Found::Value(value) => Some(value),
                    _ => None,
                });
                values.collect()
            }
        }
    }
}

impl Sign {
    fn holds(self, left: &[&Value], right: &[&Value]) -> bool {
        match self {
            Self::Equal => left == right,
            Self::Unequal => left != right,
            Self::Less => less(left, right),
            Self::AtMost => less(left, right) || left == right,
            Self::Greater => less(right, left),
            Self::AtLeast => less(right, left) || left == right,
            Self::In => is_in(left, right),
            Self::NotIn => !is_in(left, right),
            Self::Size => has_size(left, right),
            Self::AnyOf => any_of(left, right),
            Self::NoneOf => !any_of(left, right),
            Self::SubsetOf => is_subset(left, right),
            // Is read into a condition of its own.
            Self::Matches => false,
        }
    }
}

fn less(left: &[&Value], right: &[&Value]) -> bool {
    match (left, right) {
        ([left], [right]) => matches!((left.as_f64(), right.as_f64()), (Some(left), Some(right)) if left < right),
        _ => false,
    }
}

fn is_in(left: &[&Value], right: &[&Value]) -> bool {
    left.iter().any(|value| match right.first() {
        Some(Value::Array(items)) => items.contains(value),
        Some(Value::Object(fields)) => fields.values().any(|field| field == *value),
        _ => false,
    })
}

fn has_size(left: &[&Value], right: &[&Value]) -> bool {
    let Some(size) = right.first().and_then(|size| size.as_f64()) else { return false };
    left.iter().all(|value| match value {
        Value::String(text) => text.len() == size as usize,
        Value::Array(items) => items.len() == size as usize,
        Value::Object(fields) => fields.len() == size as usize,
        _ => false,
    })
}

fn any_of(left: &[&Value], right: &[&Value]) -> bool {
    let Some(Value::Array(wanted)) = right.first() else { return left.is_empty() };
    left.is_empty()
        || left.iter().any(|value| match value {
            Value::Array(items) => items.iter().any(|item| wanted.contains(item)),
            value => wanted.contains(value),
        })
}

fn is_subset(left: &[&Value], right: &[&Value]) -> bool {
    match (left.first(), right.first()) {
        (None, _) => true,
        (Some(Value::Array(items)), Some(Value::Array(all))) if !all.is_empty() => {
            items.iter().all(|item| all.contains(item))
        }
        _ => false,
    }
}

/// What a step starts from, as far as names of attributes go.
#[derive(Clone, Copy, PartialEq)]
enum Where {
    Document,
    Attributes,
    Elsewhere,
}

fn name_attributes(steps: &[Step], mut at: Where, names: &mut BTreeSet<String>) {
    for step in steps {
        if let Step::Filter(condition) = step {
            condition.name_attributes(at, names);
            continue;
        }
        if at == Where::Attributes {
            match step {
                Step::Field(name) => names.extend([name.clone()]),
                Step::Keys(keys) => names.extend(keys.iter().cloned()),
                _ => {}
            }
        }
        at = match step {
            Step::Root => Where::Document,
            Step::Field(name) if at == Where::Document && name == "attributes" => Where::Attributes,
            Step::Current(steps) => {
                name_attributes(steps, at, names);
                Where::Elsewhere
            }
            _ => Where::Elsewhere,
        };
    }
}

impl Condition {
    fn name_attributes(&self, at: Where, names: &mut BTreeSet<String>) {
        let mut operand = |operand: &Operand| {
            if let Operand::Path(steps) = operand {
                name_attributes(steps, at, names);
            }
        };
        match self {
            Self::Exists(one) | Self::Matches(one, _) => operand(one),
            Self::Compare(left, _, right) => [left, right].into_iter().for_each(operand),
            Self::And(left, right) | Self::Or(left, right) => {
                left.name_attributes(at, names);
                right.name_attributes(at, names);
            }
            Self::Not(condition) => condition.name_attributes(at, names),
        }
    }
}

/// Reads the text from left to right.
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start_matches([' ', '\t', '\r', '\n']).len();
    }

    fn expected(&self, what: &str) -> Wrong {
        self.wrong(self.at, format!("expected {what}"))
    }

    fn wrong(&self, at: usize, message: String) -> Wrong {
        Wrong { column: self.text[..at].chars().count() + 1, message }
    }

    /// Goes on behind a word, if it stands here.
    fn take(&mut self, word: &str) -> bool {
        let here = self.rest().starts_with(word);
        if here {
            self.at += word.len();
        }
        here
    }

    fn need(&mut self, word: &str) -> Result<(), Wrong> {
        self.space();
        if self.take(word) { Ok(()) } else { Err(self.expected(&format!("`{word}`"))) }
    }

    /// The steps that stand here, of which there is at least one.
    fn chain(&mut self) -> Result<Vec<Step>, Wrong> {
        let steps = self.steps()?;
        if steps.is_empty() { Err(self.expected("a path that begins with `$`")) } else { Ok(steps) }
    }

    fn steps(&mut self) -> Result<Vec<Step>, Wrong> {
        let mut steps = Vec::new();
        loop {
            self.space();
            let step = if self.take("$") {
                Step::Root
            } else if self.take("@") {
                Step::Current(self.steps()?)
            } else if self.take("..") {
                self.below()?
            } else if self.take(".length()") {
                Step::Length
            } else if self.take(".*") {
                Step::All
            } else if self.take(".[") || self.take("[") {
                self.bracket()?
            } else if self.take(".") {
                Step::Field(self.name()?)
            } else {
                return Ok(steps);
            };
            steps.push(step);
        }
    }

    fn below(&mut self) -> Result<Step, Wrong> {
        if self.take("*") {
            return Ok(Step::AllBelow);
        }
        if !self.take("[") {
            return Ok(Step::Below(self.name()?));
        }
        let name = self.string()?;
        self.need("]")?;
        Ok(Step::Below(name))
    }

    /// A name without quotes.
    fn name(&mut self) -> Result<String, Wrong> {
        let is_part = |letter: char| letter.is_ascii_alphanumeric() || "_-/\\#".contains(letter);
        let rest = self.rest();
        let name = rest[..rest.find(|letter| !is_part(letter)).unwrap_or(rest.len())].to_owned();
        if name.is_empty() {
            return Err(self.expected("a name; write names with other characters as `['a name']`"));
        }
        self.at += name.len();
        Ok(name)
    }

    /// What stands between single quotes, as it is written.
    fn string(&mut self) -> Result<String, Wrong> {
        self.space();
        if !self.take("'") {
            return Err(self.expected("a text in single quotes"));
        }
        let start = self.at;
        let mut escaped = false;
        for (offset, letter) in self.text[start..].char_indices() {
            match letter {
                '\'' if !escaped => {
                    self.at = start + offset + 1;
                    return Ok(self.text[start..start + offset].to_owned());
                }
                '"' if !escaped => break,
                _ => escaped = letter == '\\' && !escaped,
            }
        }
        self.at = self.text.len();
        Err(self.expected("the single quote that ends the text; double quotes inside need a backslash"))
    }

    fn number(&mut self) -> Option<Value> {
        let digits = |text: &str| text.len() - text.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
        let rest = self.rest();
        let mut end = usize::from(rest.starts_with('-'));
        let whole = digits(&rest[end..]);
        end += if rest[end..].starts_with('0') { 1 } else { whole };
        if whole == 0 {
            return None;
        }
        if rest[end..].starts_with('.') && digits(&rest[end + 1..]) > 0 {
            end += 1 + digits(&rest[end + 1..]);
        }
        if let Some(power) = rest[end..].strip_prefix(['e', 'E']) {
            let sign = usize::from(power.starts_with(['+', '-']));
            if digits(&power[sign..]) > 0 {
                end += 1 + sign + digits(&power[sign..]);
            }
        }
        let text = &rest[..end];
        let value = text.parse::<i64>().map(Value::from).or_else(|_| text.parse::<f64>().map(Value::from)).ok();
        self.at += end;
        value
    }

    /// What stands between brackets, of which the first is read.
    fn bracket(&mut self) -> Result<Step, Wrong> {
        self.space();
        let start = self.at;
        let step = if self.take("*") {
            Step::All
        } else if self.take("?") {
            self.need("(")?;
            let condition = self.either()?;
            self.need(")")?;
            Step::Filter(condition)
        } else if self.rest().starts_with('\'') {
            let mut names = vec![self.string()?];
            while self.comma() {
                names.push(self.string()?);
            }
            if names.len() == 1 { Step::Field(names.remove(0)) } else { Step::Keys(names) }
        } else {
            let first = self.number();
            self.space();
            if self.rest().starts_with(':') {
                self.slice(first)?
            } else {
                let mut numbers: Vec<Value> = first.into_iter().collect();
                while !numbers.is_empty() && self.comma() {
                    self.space();
                    numbers.push(self.number().ok_or_else(|| self.expected("a number"))?);
                }
                match numbers.as_slice() {
                    [] => return Err(self.expected("`*`, a number, a name in single quotes, or `?(...)`")),
                    [one] => Step::Item(
                        one.as_u64()
                            .and_then(|index| usize::try_from(index).ok())
                            .ok_or_else(|| self.wrong(start, "an index counts items from 0".to_owned()))?,
                    ),
                    _ => Step::Items(numbers),
                }
            }
        };
        self.need("]")?;
        Ok(step)
    }

    fn comma(&mut self) -> bool {
        self.space();
        self.take(",")
    }

    fn slice(&mut self, first: Option<Value>) -> Result<Step, Wrong> {
        let whole = |reader: &Self, value: Option<Value>| match value.map(|value| value.as_i64()) {
            None => Ok(0),
            Some(Some(whole)) => Ok(whole.clamp(-(1 << 40), 1 << 40)),
            Some(None) => Err(reader.expected("whole numbers in `[from:to:step]`")),
        };
        let from = whole(self, first)?;
        self.need(":")?;
        self.space();
        let last = self.number();
        let to = whole(self, last)?;
        self.space();
        let step = if self.take(":") {
            self.space();
            let start = self.at;
            let step = self.number().and_then(|step| usize::try_from(step.as_u64()?).ok()).filter(|step| *step > 0);
            step.ok_or_else(|| self.wrong(start, "expected a step of at least 1".to_owned()))?
        } else {
            1
        };
        Ok(Step::Slice(from, to, step))
    }

    fn either(&mut self) -> Result<Condition, Wrong> {
        let mut condition = self.both()?;
        while self.after_space("||") {
            condition = Condition::Or(Box::new(condition), Box::new(self.both()?));
        }
        Ok(condition)
    }

    fn both(&mut self) -> Result<Condition, Wrong> {
        let mut condition = self.one()?;
        while self.after_space("&&") {
            condition = Condition::And(Box::new(condition), Box::new(self.one()?));
        }
        Ok(condition)
    }

    fn after_space(&mut self, word: &str) -> bool {
        self.space();
        self.take(word)
    }

    fn one(&mut self) -> Result<Condition, Wrong> {
        if self.after_space("!") {
            return Ok(Condition::Not(Box::new(self.plain()?)));
        }
        self.plain()
    }

    fn plain(&mut self) -> Result<Condition, Wrong> {
        if self.after_space("(") {
            let condition = self.either()?;
            self.need(")")?;
            return Ok(condition);
        }
        let left = self.operand()?;
        self.space();
        let Some((_, sign)) = SIGNS.iter().find(|(word, _)| self.take(word)) else {
            return Ok(Condition::Exists(left));
        };
        self.space();
        let start = self.at;
        let right = self.operand()?;
        if *sign != Sign::Matches {
            return Ok(Condition::Compare(left, *sign, right));
        }
        let Operand::Value(Value::String(pattern)) = right else {
            return Err(self.wrong(start, "expected a pattern in single quotes".to_owned()));
        };
        let pattern =
            Regex::new(&pattern).map_err(|_| self.wrong(start, "the pattern is no regular expression".into()))?;
        Ok(Condition::Matches(left, pattern))
    }

    fn operand(&mut self) -> Result<Operand, Wrong> {
        self.space();
        if self.rest().starts_with(['$', '@', '.', '[']) {
            let mut steps = self.chain()?;
            // A list alone is a value.
            let value = match (steps.len(), steps.pop()) {
                (1, Some(Step::Keys(names))) => Some(Value::from(names)),
                (1, Some(Step::Items(numbers))) => Some(Value::from(numbers)),
                (1, Some(Step::Field(name))) => Some(Value::from(vec![name])),
                (_, last) => {
                    steps.extend(last);
                    None
                }
            };
            return Ok(value.map_or(Operand::Path(steps), Operand::Value));
        }
        if self.rest().starts_with('\'') {
            return Ok(Operand::Value(Value::from(self.string()?)));
        }
        let words = [("true", Value::Bool(true)), ("false", Value::Bool(false)), ("null", Value::Null)];
        for (word, value) in words {
            if self.take(word) {
                return Ok(Operand::Value(value));
            }
        }
        let number = self.number();
        number.map(Operand::Value).ok_or_else(|| self.expected("a path, a number, or a text in single quotes"))
    }
}
