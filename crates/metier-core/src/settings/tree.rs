//! The tree of a settings file: plain values, each with the place it was written at.

use crate::fault::Place;
use crate::{Error, Fault, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use toml::de::{DeTable, DeValue};

/// Where a key or a value was written.
#[derive(Debug, Clone, Default)]
pub(super) struct Spot {
    pub(super) file: Option<Arc<Path>>,
    /// Line and column, from 1.
    pub(super) at: Option<(usize, usize)>,
}

impl Spot {
    pub(super) fn place(&self, key: &str) -> Place {
        Place {
            file: self.file.as_ref().map(|file| file.to_path_buf()),
            line: self.at.map(|(line, _)| line),
            column: self.at.map(|(_, column)| column),
            key: (!key.is_empty()).then(|| key.to_owned()),
        }
    }
}

/// A value and its place.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) spot: Spot,
}

/// What can be written in a settings file.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Moment(String),
    List(Arc<Vec<Node>>),
    Table(Entries),
}

pub(super) type Entries = Arc<Vec<Entry>>;

/// A key of a table with its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_spot: Spot,
    pub(super) node: Node,
}

impl Node {
    /// What a person would call the value: ``the text `abc` ``.
    pub(super) fn describe(&self) -> String {
        match &self.value {
            Value::Text(text) => format!("the text `{}`", shorten(text)),
            Value::Integer(value) => format!("the whole number {value}"),
            Value::Float(value) => format!("the number {value:?}"),
            Value::Boolean(value) => format!("`{value}`"),
            Value::Moment(text) => format!("the date or time {text}"),
            Value::List(_) => "a list".to_owned(),
            Value::Table(_) => "a table".to_owned(),
        }
    }

    pub(super) fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Text(text) | Value::Moment(text) => text.as_str().into(),
            Value::Integer(value) => (*value).into(),
            Value::Float(value) => (*value).into(),
            Value::Boolean(value) => (*value).into(),
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Table(entries) => table_to_json(entries),
        }
    }

    /// A value that was written nowhere; `None` for `null`, which no settings file can hold.
    fn of_json(value: &serde_json::Value) -> Option<Self> {
        use serde_json::Value as Json;
        let value = match value {
            Json::Null => return None,
            Json::String(text) => Value::Text(text.clone()),
            Json::Bool(value) => Value::Boolean(*value),
            Json::Number(number) => {
                number.as_i64().map_or_else(|| Value::Float(number.as_f64().unwrap_or(f64::NAN)), Value::Integer)
            }
            Json::Array(items) => Value::List(Arc::new(items.iter().filter_map(Self::of_json).collect())),
            Json::Object(entries) => Value::Table(entries_of_json(entries)),
        };
        Some(Self { value, spot: Spot::default() })
    }

    /// The text under `name` of a table, which names an item of a list better than its number.
    pub(super) fn name(&self) -> Option<&str> {
        let Value::Table(entries) = &self.value else { return None };
        match &entries.iter().find(|entry| entry.key == "name")?.node.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

pub(super) fn table_to_json(entries: &[Entry]) -> serde_json::Value {
    entries.iter().map(|entry| (entry.key.clone(), entry.node.to_json())).collect::<serde_json::Map<_, _>>().into()
}

pub(super) fn entries_of_json(entries: &serde_json::Map<String, serde_json::Value>) -> Entries {
    let entry = |(key, value): (&String, &serde_json::Value)| {
        Some(Entry { key: key.clone(), key_spot: Spot::default(), node: Node::of_json(value)? })
    };
    Arc::new(entries.iter().filter_map(entry).collect())
}

fn shorten(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// `path` followed by a key.
pub(super) fn join(path: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    let key = if bare { key.to_owned() } else { format!("{key:?}") };
    match path {
        "" => key,
        path if path.ends_with('"') => format!("{path}: {key}"),
        path => format!("{path}.{key}"),
    }
}

/// `path` followed by the item of a list: by its name, else by its number from 1.
pub(super) fn join_item(path: &str, index: usize, node: &Node) -> String {
    match node.name() {
        Some(name) => format!("{path} {name:?}"),
        None => format!("{path}[{}]", index + 1),
    }
}

/// The tree of a TOML text. All syntax errors are reported, the first of each line.
pub(super) fn parse(file: Option<&Path>, text: &str) -> Result<(Spot, Entries)> {
    let reader = Reader::new(file, text);
    let (root, mut errors) = DeTable::parse_recoverable(text);
    let mut faults = Vec::new();
    errors.sort_by_key(|error| error.span().map_or(0, |span| span.start));
    let mut last_line = 0;
    for error in errors {
        let spot = reader.spot(error.span().map_or(0, |span| span.start));
        let line = spot.at.map_or(0, |(line, _)| line);
        if line != last_line && faults.len() < 5 {
            let message = error.message().lines().next().unwrap_or("this is not TOML").to_owned();
            faults.push(Fault::new(spot.place(""), message));
        }
        last_line = line;
    }
    if faults.is_empty() {
        let entries = reader.table(root.get_ref(), "", &mut faults);
        let spot = Spot { file: reader.file.clone(), at: None };
        return Error::collect((spot, Arc::new(entries)), faults);
    }
    Error::collect((Spot::default(), Entries::default()), faults)
}

/// One value as it stands after `=` in TOML; a word that is no TOML value is taken as text.
pub(super) fn parse_value(origin: &str, path: &str, text: &str) -> Result<Node> {
    let spot = Spot { file: Some(Arc::from(PathBuf::from(origin))), at: None };
    let text = text.trim();
    match DeValue::parse(text) {
        Ok(value) => {
            let reader = Reader { file: spot.file.clone(), text: "", lines: Vec::new() };
            let mut faults = Vec::new();
            let node = reader.node(value.get_ref(), 0..0, path, &mut faults);
            Error::collect(node, faults)
        }
        Err(error) if text.starts_with(['"', '\'', '[', '{']) => {
            let message = error.message().lines().next().unwrap_or("this is not a TOML value").to_owned();
            Err(Fault::new(spot.place(path), message).into())
        }
        Err(_) => Ok(Node { value: Value::Text(text.to_owned()), spot }),
    }
}

/// Turns spans into places.
struct Reader<'text> {
    file: Option<Arc<Path>>,
    text: &'text str,
    /// The byte each line begins at; empty when places have no lines.
    lines: Vec<usize>,
}

impl<'text> Reader<'text> {
    fn new(file: Option<&Path>, text: &'text str) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { file: file.map(Arc::from), text, lines }
    }

    fn spot(&self, byte: usize) -> Spot {
        let line = self.lines.partition_point(|&start| start <= byte);
        let at = line.checked_sub(1).and_then(|index| self.lines.get(index)).map(|&start| {
            let before = self.text.as_bytes().get(start..byte).unwrap_or_default();
            // A byte that continues a character begins none; the mark at the head of a file is not seen.
            let characters = before.iter().filter(|&&byte| byte & 0xC0 != 0x80).count();
            let mark = usize::from(start == 0 && self.text.starts_with('\u{feff}') && characters > 0);
            (line, characters - mark + 1)
        });
        Spot { file: self.file.clone(), at }
    }

    fn table(&self, table: &DeTable<'_>, path: &str, faults: &mut Vec<Fault>) -> Vec<Entry> {
        table
            .iter()
            .map(|(key, value)| {
                let path = join(path, key.get_ref());
                Entry {
                    key: key.get_ref().to_string(),
                    key_spot: self.spot(key.span().start),
                    node: self.node(value.get_ref(), value.span(), &path, faults),
                }
            })
            .collect()
    }

    fn node(&self, value: &DeValue<'_>, span: std::ops::Range<usize>, path: &str, faults: &mut Vec<Fault>) -> Node {
        let spot = self.spot(span.start);
        let value = match value {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(integer) => {
                Value::Integer(i64::from_str_radix(integer.as_str(), integer.radix()).unwrap_or_else(|_| {
                    let message = format!("the whole number {integer} does not fit in 64 bits");
                    faults.push(Fault::new(spot.place(path), message));
                    0
                }))
            }
            DeValue::Float(float) => {
                let value = float.as_str().parse::<f64>().unwrap_or(f64::NAN);
                if !value.is_finite() {
                    let message = format!("{} is not a finite number", float.as_str());
                    faults.push(Fault::new(spot.place(path), message));
                }
                Value::Float(value)
            }
            DeValue::Boolean(value) => Value::Boolean(*value),
            DeValue::Datetime(value) => Value::Moment(value.to_string()),
            DeValue::Array(items) => Value::List(Arc::new(
                items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| {
                        self.node(item.get_ref(), item.span(), &format!("{path}[{}]", index + 1), faults)
                    })
                    .collect(),
            )),
            DeValue::Table(table) => Value::Table(Arc::new(self.table(table, path, faults))),
        };
        Node { value, spot }
    }
}
