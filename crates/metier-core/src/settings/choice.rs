//! Tables written once for several values.

use super::table::Table;
use super::tree::{Entry, Node, Value};
use crate::{Error, Fault, Result};
use std::sync::Arc;

/// One of the values that something is to be done for.
#[derive(Debug, Clone)]
pub struct Choice(Node);

impl Choice {
    /// The value as it stands inside a text.
    fn text(&self) -> String {
        match &self.0.value {
            Value::Text(text) => text.clone(),
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Boolean(value) => value.to_string(),
            Value::Moment(_) | Value::List(_) | Value::Table(_) => String::new(),
        }
    }
}

impl Table {
    /// The values of the list under `key`; faults for an empty list and for items that are lists or tables themselves.
    pub fn choices(&self, key: &str) -> Result<Vec<Choice>> {
        let entry = self.entries.iter().find(|entry| entry.key == key);
        let items = match entry.map(|entry| &entry.node.value) {
            Some(Value::List(items)) if !items.is_empty() => items,
            _ => {
                let fault = Fault::new(self.value_place_of(key), format!("`{key}` must be a list of values"));
                return Err(fault.hint(format!("write `{key} = [1, 2]`")).into());
            }
        };
        let odd = items.iter().filter(|item| matches!(item.value, Value::Moment(_) | Value::List(_) | Value::Table(_)));
        let faults = odd.map(|item| {
            let message = format!("a value must be text, a number or `true` or `false`, not {}", item.describe());
            Fault::new(item.spot.place(key), message)
        });
        Error::collect(items.iter().cloned().map(Choice).collect(), faults.collect())
    }

    /// The table with `{name}` in its texts replaced by the value under that name; a text that is nothing else
    /// becomes the value itself, a number a number.
    #[must_use]
    pub fn filled(&self, values: &[(&str, &Choice)]) -> Self {
        Self {
            entries: Arc::new(self.entries.iter().map(|entry| filled_entry(entry, values)).collect()),
            ..self.clone()
        }
    }
}

fn filled_entry(entry: &Entry, values: &[(&str, &Choice)]) -> Entry {
    Entry { node: filled(&entry.node, values), ..entry.clone() }
}

fn filled(node: &Node, values: &[(&str, &Choice)]) -> Node {
    let value =
        match &node.value {
            Value::Text(text) => {
                let whole = values.iter().find(|(name, _)| *text == format!("{{{name}}}"));
                match whole {
                    Some((_, choice)) => choice.0.value.clone(),
                    None => Value::Text(values.iter().fold(text.clone(), |text, (name, choice)| {
                        text.replace(&format!("{{{name}}}"), &choice.text())
                    })),
                }
            }
            Value::List(items) => Value::List(Arc::new(items.iter().map(|item| filled(item, values)).collect())),
            Value::Table(entries) => {
                Value::Table(Arc::new(entries.iter().map(|entry| filled_entry(entry, values)).collect()))
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
    fn only_lists_of_plain_values_are_choices() {
        for text in ["a = []", "a = 1", "b = [1]", "a = [[1]]", "a = [{ b = 1 }]"] {
            let root = File::parse("r.toml", text).unwrap().root();
            assert!(root.choices("a").is_err(), "{text}");
        }
    }
}
