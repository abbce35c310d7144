//! A table of a settings file, and the ways to read and to change it.

use super::check::check;
use super::deserialize::deserialize;
use super::tree::{Entries, Entry, Node, Spot, Value, entries_of_json, join, join_item, parse_value, table_to_json};
use crate::fault::Place;
use crate::{Error, Fault, Result};
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// A table of a settings file. It owns what it holds and is cheap to clone.
#[derive(Debug, Clone)]
pub struct Table {
    pub(super) entries: Entries,
    pub(super) spot: Spot,
    pub(super) path: String,
}

impl Table {
    /// An empty table that was written nowhere, for commands that are given their settings as options.
    pub fn empty(path: impl Into<String>) -> Self {
        Self { entries: Entries::default(), spot: Spot::default(), path: path.into() }
    }

    /// A table that was written as JSON, without what is `null`.
    pub fn of_json(path: impl Into<String>, entries: &serde_json::Map<String, serde_json::Value>) -> Self {
        Self { entries: entries_of_json(entries), ..Self::empty(path) }
    }

    /// Where the table begins.
    pub fn place(&self) -> Place {
        self.spot.place(&self.path)
    }

    /// Where a key of the table is written; the table's own place when it is not.
    pub fn place_of(&self, key: &str) -> Place {
        self.entry(key).map_or(&self.spot, |entry| &entry.key_spot).place(&join(&self.path, key))
    }

    /// Where the value under a key is written; the table's own place when it is not.
    pub fn value_place_of(&self, key: &str) -> Place {
        self.entry(key).map_or(&self.spot, |entry| &entry.node.spot).place(&join(&self.path, key))
    }

    /// The keys in the order they are written.
    pub fn keys(&self) -> Vec<&str> {
        self.entries.iter().map(|entry| entry.key.as_str()).collect()
    }

    /// True when the table has the key.
    pub fn contains(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    /// True when the table has no key.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The text under `key`; a fault when it is something else.
    pub fn string(&self, key: &str) -> Result<Option<String>> {
        self.get(key, "text", |node| match &node.value {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        })
    }

    /// The whole number under `key`; a fault when it is something else.
    pub fn integer(&self, key: &str) -> Result<Option<i64>> {
        self.get(key, "a whole number", |node| match node.value {
            Value::Integer(value) => Some(value),
            _ => None,
        })
    }

    /// The number under `key`, whole or not; a fault when it is something else.
    pub fn number(&self, key: &str) -> Result<Option<f64>> {
        self.get(key, "a number", |node| match node.value {
            Value::Integer(value) => Some(value as f64),
            Value::Float(value) => Some(value),
            _ => None,
        })
    }

    /// The `true` or `false` under `key`; a fault when it is something else.
    pub fn boolean(&self, key: &str) -> Result<Option<bool>> {
        self.get(key, "`true` or `false`", |node| match node.value {
            Value::Boolean(value) => Some(value),
            _ => None,
        })
    }

    /// The list of texts under `key`, where one text counts as a list of one; a fault when it is
    /// something else.
    pub fn strings(&self, key: &str) -> Result<Option<Vec<String>>> {
        self.get(key, "a list of texts", |node| match &node.value {
            Value::Text(text) => Some(vec![text.clone()]),
            Value::List(items) => items
                .iter()
                .map(|item| match &item.value {
                    Value::Text(text) => Some(text.clone()),
                    _ => None,
                })
                .collect(),
            _ => None,
        })
    }

    /// The table under `key`; a fault when it is something else.
    pub fn table(&self, key: &str) -> Result<Option<Self>> {
        self.get(key, "a table", |node| match &node.value {
            Value::Table(entries) => {
                Some(Self { entries: Arc::clone(entries), spot: node.spot.clone(), path: join(&self.path, key) })
            }
            _ => None,
        })
    }

    /// The tables under `[[key]]`; empty when there is none, and faults for items that are no tables.
    pub fn tables(&self, key: &str) -> Result<Vec<Self>> {
        let Some(entry) = self.entry(key) else { return Ok(Vec::new()) };
        let path = join(&self.path, key);
        let Value::List(items) = &entry.node.value else {
            let fault = Fault::new(
                self.value_place_of(key),
                format!("`{key}` must be a list of tables, not {}", entry.node.describe()),
            );
            return Err(fault.hint(format!("write `[[{path}]]` above each")).into());
        };
        let mut tables = Vec::new();
        let mut faults = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let path = join_item(&path, index, item);
            match &item.value {
                Value::Table(entries) => {
                    tables.push(Self { entries: Arc::clone(entries), spot: item.spot.clone(), path });
                }
                _ => faults.push(Fault::new(
                    item.spot.place(&path),
                    format!("every item must be a table, not {}", item.describe()),
                )),
            }
        }
        Error::collect(tables, faults)
    }

    /// The same table without some keys.
    #[must_use]
    pub fn without(&self, keys: &[&str]) -> Self {
        let entries = self.entries.iter().filter(|entry| !keys.contains(&entry.key.as_str())).cloned().collect();
        Self { entries: Arc::new(entries), ..self.clone() }
    }

    /// Sets the value under a dotted key, as `--set key=value` does: `value` is TOML, and a word that is
    /// no TOML value is taken as text. Missing tables are made. In a list of tables the next word is the
    /// `name` of an item or its number from 1.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        const ORIGIN: &str = "--set";
        let node = parse_value(ORIGIN, key, value)?;
        let words: Vec<&str> = key.split('.').map(str::trim).collect();
        let place = Spot { file: node.spot.file.clone(), at: None }.place(key);
        if words.iter().any(|word| word.is_empty()) {
            return Err(Fault::new(place, format!("`{key}` is not a dotted key"))
                .hint("write it like `stage.optimizer.rate=1e-4`")
                .into());
        }
        set_in(Arc::make_mut(&mut self.entries), &words, node, &place)
    }

    /// This table with the keys of another laid over it: tables are joined, other values replaced. A
    /// table that names another `method` replaces the old one whole.
    #[must_use]
    pub fn overlay(&self, over: &Self) -> Self {
        let mut entries = (*self.entries).clone();
        lay_over(&mut entries, &over.entries);
        Self { entries: Arc::new(entries), ..self.clone() }
    }

    /// The table as JSON; dates become text.
    pub fn to_json(&self) -> serde_json::Value {
        table_to_json(&self.entries)
    }

    /// The table as a settings struct. Unknown keys, wrong types, missing keys and values out of range
    /// are all reported together, each with its line and column. Keys the struct does not have are
    /// never accepted, whether or not the struct says so itself.
    pub fn read<T: DeserializeOwned + schemars::JsonSchema>(&self) -> Result<T> {
        let schema = super::schema_generator().into_root_schema_for::<T>();
        let node = Node { value: Value::Table(Arc::clone(&self.entries)), spot: self.spot.clone() };
        let mut faults = Vec::new();
        check(schema.as_value(), &node, &self.path, &mut faults);
        Error::collect((), faults)?;
        deserialize(&node, &self.path)
    }

    /// Every fault that [`Table::read`] would report, besides those only the struct's own code can find.
    pub fn faults<T: schemars::JsonSchema>(&self) -> Vec<Fault> {
        let schema = super::schema_generator().into_root_schema_for::<T>();
        let node = Node { value: Value::Table(Arc::clone(&self.entries)), spot: self.spot.clone() };
        let mut faults = Vec::new();
        check(schema.as_value(), &node, &self.path, &mut faults);
        faults
    }

    fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    fn get<T>(&self, key: &str, wanted: &str, read: impl FnOnce(&Node) -> Option<T>) -> Result<Option<T>> {
        let Some(entry) = self.entry(key) else { return Ok(None) };
        read(&entry.node).map(Some).ok_or_else(|| {
            let message = format!("`{key}` must be {wanted}, not {}", entry.node.describe());
            Fault::new(self.value_place_of(key), message).into()
        })
    }
}

fn set_in(entries: &mut Vec<Entry>, words: &[&str], node: Node, place: &Place) -> Result<()> {
    let Some((word, rest)) = words.split_first() else { return Ok(()) };
    let at = entries.iter().position(|entry| entry.key == *word);
    let spot = node.spot.clone();
    if rest.is_empty() {
        match at {
            Some(at) => entries[at] = Entry { key: (*word).to_owned(), key_spot: spot, node },
            None => entries.push(Entry { key: (*word).to_owned(), key_spot: spot, node }),
        }
        return Ok(());
    }
    let at = at.unwrap_or_else(|| {
        let table = Node { value: Value::Table(Entries::default()), spot: spot.clone() };
        entries.push(Entry { key: (*word).to_owned(), key_spot: spot, node: table });
        entries.len() - 1
    });
    let found = entries[at].node.describe();
    match &mut entries[at].node.value {
        Value::Table(inner) => set_in(Arc::make_mut(inner), rest, node, place),
        Value::List(items) => {
            let items = Arc::make_mut(items);
            let number = rest[0].parse::<usize>().ok().and_then(|number| number.checked_sub(1));
            let at = items.iter().position(|item| item.name() == Some(rest[0])).or(number);
            match at.and_then(|at| items.get_mut(at)) {
                Some(item) if rest.len() == 1 => {
                    *item = node;
                    Ok(())
                }
                Some(Node { value: Value::Table(inner), .. }) => set_in(Arc::make_mut(inner), &rest[1..], node, place),
                Some(item) => Err(Fault::new(
                    place.clone(),
                    format!("`{}` of `{word}` is {}, not a table", rest[0], item.describe()),
                )
                .into()),
                None => {
                    let names: Vec<&str> = items.iter().filter_map(Node::name).collect();
                    let fault = Fault::new(place.clone(), format!("`{word}` has no item `{}`", rest[0]));
                    Err(fault.hint(format!("known: {}", names.join(", "))).into())
                }
            }
        }
        _ => Err(Fault::new(place.clone(), format!("`{word}` is {found}, not a table")).into()),
    }
}

fn lay_over(entries: &mut Vec<Entry>, over: &[Entry]) {
    for entry in over {
        let Some(old) = entries.iter_mut().find(|old| old.key == entry.key) else {
            entries.push(entry.clone());
            continue;
        };
        match (&mut old.node.value, &entry.node.value) {
            (Value::Table(inner), Value::Table(new)) if same_method(inner, new) => {
                lay_over(Arc::make_mut(inner), new);
            }
            _ => *old = entry.clone(),
        }
    }
}

fn same_method(old: &[Entry], new: &[Entry]) -> bool {
    let method = |entries: &[Entry]| {
        entries.iter().find(|entry| entry.key == "method").and_then(|entry| match &entry.node.value {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        })
    };
    method(new).is_none_or(|name| method(old) == Some(name))
}
