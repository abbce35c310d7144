//! Tables written once for several values.

use super::table::Table;
use super::tree::{Entry, Node, Value};
use crate::{Error, Fault, Result};
use std::sync::Arc;

/// One of the values that something is to be done for: a plain value, or a table with a `name`.
#[derive(Debug, Clone)]
pub struct Choice(Node);

impl Choice {
    /// What is written for the value in braces, with what stands for it: `{list}`, and `{list.key}` for a table's keys.
    fn places(&self, list: &str) -> Vec<(String, Value)> {
        let Value::Table(entries) = &self.0.value else { return vec![(format!("{{{list}}}"), self.0.value.clone())] };
        let name = self.0.name().map(|name| (format!("{{{list}}}"), Value::Text(name.to_owned())));
        let keys = entries.iter().map(|entry| (format!("{{{list}.{}}}", entry.key), entry.node.value.clone()));
        name.into_iter().chain(keys).collect()
    }
}

/// A value as it stands inside a text; lists and tables have no such form.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Boolean(value) => Some(value.to_string()),
        Value::Moment(_) | Value::List(_) | Value::Table(_) => None,
    }
}

impl Table {
    /// The values of the list under `key`; faults for an empty list, for items that are lists, and for tables without a
    /// `name`.
    pub fn choices(&self, key: &str) -> Result<Vec<Choice>> {
        let entry = self.entries.iter().find(|entry| entry.key == key);
        let items = match entry.map(|entry| &entry.node.value) {
            Some(Value::List(items)) if !items.is_empty() => items,
            _ => {
                let fault = Fault::new(self.value_place_of(key), format!("`{key}` must be a list of values"));
                return Err(fault.hint(format!("write `{key} = [1, 2]`")).into());
            }
        };
        let faults = items.iter().filter_map(|item| match item.value {
            Value::Moment(_) | Value::List(_) => {
                let what = item.describe();
                let message = format!("a value must be text, a number, `true`, `false` or a table, not {what}");
                Some(Fault::new(item.spot.place(key), message))
            }
            Value::Table(_) if item.name().is_none() => {
                let fault = Fault::new(item.spot.place(key), "a table among the values must have a name");
                Some(fault.hint("write `{ name = \"...\", ... }`"))
            }
            _ => None,
        });
        Error::collect(items.iter().cloned().map(Choice).collect(), faults.collect())
    }

    /// The table with `{list}` in its texts replaced by the value of that list, and `{list.key}` by what a value that is a
    /// table has under that key; a text that is nothing else becomes the value itself, a number a number.
    #[must_use]
    pub fn filled(&self, values: &[(&str, &Choice)]) -> Self {
        let places: Vec<_> = values.iter().flat_map(|(list, choice)| choice.places(list)).collect();
        Self {
            entries: Arc::new(self.entries.iter().map(|entry| filled_entry(entry, &places)).collect()),
            ..self.clone()
        }
    }
}

fn filled_entry(entry: &Entry, places: &[(String, Value)]) -> Entry {
    Entry { node: filled(&entry.node, places), ..entry.clone() }
}

fn filled(node: &Node, places: &[(String, Value)]) -> Node {
    let value = match &node.value {
        Value::Text(whole) => match places.iter().find(|(place, _)| place == whole) {
            Some((_, value)) => value.clone(),
            None => Value::Text(places.iter().fold(whole.clone(), |whole, (place, value)| match text(value) {
                Some(value) => whole.replace(place, &value),
                None => whole,
            })),
        },
        Value::List(items) => Value::List(Arc::new(items.iter().map(|item| filled(item, places)).collect())),
        Value::Table(entries) => {
            Value::Table(Arc::new(entries.iter().map(|entry| filled_entry(entry, places)).collect()))
        }
        other => other.clone(),
    };
    Node { value, spot: node.spot.clone() }
}

#[cfg(test)]
mod tests {
    use super::super::File;

    #[test]
    fn names_in_texts_become_values() {
        let text = "for = [1, \"b\", 2.5]\nname = \"x-{n}\"\nseed = \"{n}\"\nlist = [\"{n}{n}\", { key = \"{m}\" }]\n";
        let root = File::parse("r.toml", text).unwrap().root();
        let choices = root.choices("for").unwrap();
        let filled = choices.iter().map(|choice| root.filled(&[("n", choice)])).collect::<Vec<_>>();
        assert_eq!(filled[0].string("name").unwrap().unwrap(), "x-1");
        assert_eq!(filled[0].integer("seed").unwrap(), Some(1));
        assert_eq!(filled[1].string("seed").unwrap().unwrap(), "b");
        assert_eq!(filled[2].to_json()["list"], serde_json::json!(["2.52.5", { "key": "{m}" }]));
        assert_eq!(filled[0].value_place_of("seed").line, Some(3));
    }

    #[test]
    fn a_table_gives_its_name_and_its_keys() {
        let text = "for = [{ name = \"x\", rate = 0.5, how = { rank = 2 } }]\nname = \"of-{m}\"\nrate = \"{m.rate}\"\nhow = \"{m.how}\"\nnote = \"{m.how} at {m.rate}\"\n";
        let root = File::parse("r.toml", text).unwrap().root();
        let filled = root.filled(&[("m", &root.choices("for").unwrap()[0])]).to_json();
        assert_eq!(filled["name"], "of-x");
        assert_eq!(filled["rate"], 0.5);
        assert_eq!(filled["how"], serde_json::json!({ "rank": 2 }));
        assert_eq!(filled["note"], "{m.how} at 0.5");
    }

    #[test]
    fn only_lists_of_values_are_choices() {
        for text in ["a = []", "a = 1", "b = [1]", "a = [[1]]", "a = [{ b = 1 }]"] {
            let root = File::parse("r.toml", text).unwrap().root();
            assert!(root.choices("a").is_err(), "{text}");
        }
    }
}
