//! The metadata of a GGUF file: typed values under dotted keys.

use super::cursor::Cursor;
use metier_core::{Error, Fault, Place, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const LONGEST_KEY: u64 = 65_535;
const DEEPEST_ARRAY: usize = 4;
/// Longest array of whole numbers that is kept, besides those of 32 bits, of which there is one for each token.
const LONGEST_LIST: u64 = 4096;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Integer(i128),
    /// A float with the number of its bits.
    Float(f64),
    Boolean(bool),
    Text(String),
    Texts(Vec<String>),
    Integers(Vec<i64>),
    Floats(Vec<f32>),
    /// An array that nothing here reads.
    Other,
}

impl Value {
    /// What a message calls it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Boolean(_) => "a boolean",
            Self::Text(_) => "a text",
            Self::Texts(_) => "an array of texts",
            Self::Integers(_) => "an array of whole numbers",
            Self::Floats(_) => "an array of numbers",
            Self::Other => "an array",
        }
    }
}

/// All metadata of a file.
pub(super) struct Metadata {
    path: PathBuf,
    values: BTreeMap<String, Value>,
}

impl Metadata {
    /// Reads `count` keys with their values.
    pub(super) fn read(path: &Path, cursor: &mut Cursor<'_>, count: u64) -> Result<Self> {
        let mut values = BTreeMap::new();
        for number in 0..count {
            let key = cursor.text(LONGEST_KEY, &format!("metadata key {number}"))?;
            let kind = cursor.u32(&format!("the type of `{key}`"))?;
            let value = read_value(cursor, kind, &key)?;
            if values.insert(key.clone(), value).is_some() {
                return Err(cursor.error(&format!("`{key}`"), "the key stands twice"));
            }
        }
        Ok(Self { path: path.to_path_buf(), values })
    }

    /// Every key with its value.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.values.iter().map(|(key, value)| (key.as_str(), value))
    }

    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    /// A fault about a key of this file.
    pub(super) fn fault(&self, key: &str, message: impl Into<String>) -> Fault {
        Fault::new(Place::file(&self.path).with_key(key), message)
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&str>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong_kind(key, "a text", other)),
        }
    }

    pub(super) fn boolean(&self, key: &str) -> Result<Option<bool>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Boolean(value)) => Ok(Some(*value)),
            Some(other) => Err(self.wrong_kind(key, "a boolean", other)),
        }
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<f64>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Float(value)) => Ok(Some(*value)),
            Some(Value::Integer(value)) => Ok(Some(*value as f64)),
            Some(other) => Err(self.wrong_kind(key, "a number", other)),
        }
    }

    /// A whole number from 0 to 2^32 - 1.
    pub(super) fn size(&self, key: &str) -> Result<Option<usize>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Integer(value)) => match u32::try_from(*value) {
                Ok(value) => Ok(Some(value as usize)),
                Err(_) => Err(self.fault(key, format!("{value} is out of range")).into()),
            },
            Some(other) => Err(self.wrong_kind(key, "a whole number", other)),
        }
    }

    /// Takes the texts out: a vocabulary is too much to be there twice.
    pub(super) fn take_texts(&mut self, key: &str) -> Result<Option<Vec<String>>> {
        match self.values.get_mut(key) {
            None => Ok(None),
            Some(Value::Texts(texts)) => Ok(Some(std::mem::take(texts))),
            Some(other) => {
                let kind = other.kind();
                Err(self.fault(key, format!("expected an array of texts, found {kind}")).into())
            }
        }
    }

    pub(super) fn integers(&self, key: &str) -> Result<Option<&[i64]>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Integers(integers)) => Ok(Some(integers)),
            Some(other) => Err(self.wrong_kind(key, "an array of whole numbers", other)),
        }
    }

    pub(super) fn floats(&self, key: &str) -> Result<Option<&[f32]>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Floats(floats)) => Ok(Some(floats)),
            Some(other) => Err(self.wrong_kind(key, "an array of numbers", other)),
        }
    }

    fn wrong_kind(&self, key: &str, want: &str, found: &Value) -> Error {
        self.fault(key, format!("expected {want}, found {}", found.kind())).into()
    }
}

fn read_value(cursor: &mut Cursor<'_>, kind: u32, key: &str) -> Result<Value> {
    let what = format!("the value of `{key}`");
    Ok(match kind {
        0 => Value::Integer(i128::from(u8::from_le_bytes(cursor.array(&what)?))),
        1 => Value::Integer(i128::from(i8::from_le_bytes(cursor.array(&what)?))),
        2 => Value::Integer(i128::from(u16::from_le_bytes(cursor.array(&what)?))),
        3 => Value::Integer(i128::from(i16::from_le_bytes(cursor.array(&what)?))),
        4 => Value::Integer(i128::from(u32::from_le_bytes(cursor.array(&what)?))),
        5 => Value::Integer(i128::from(i32::from_le_bytes(cursor.array(&what)?))),
        6 => Value::Float(shortest(f32::from_le_bytes(cursor.array(&what)?))),
        7 => match cursor.array::<1>(&what)? {
            [0] => Value::Boolean(false),
            [1] => Value::Boolean(true),
            [other] => return Err(cursor.error(&what, format!("a boolean is 0 or 1, and this one is {other}"))),
        },
        8 => Value::Text(cursor.text(u64::MAX, &what)?),
        9 => read_array(cursor, key, &what, 0)?,
        10 => Value::Integer(i128::from(u64::from_le_bytes(cursor.array(&what)?))),
        11 => Value::Integer(i128::from(i64::from_le_bytes(cursor.array(&what)?))),
        12 => Value::Float(f64::from_le_bytes(cursor.array(&what)?)),
        other => return Err(unknown_kind(cursor, &what, other)),
    })
}

fn read_array(cursor: &mut Cursor<'_>, key: &str, what: &str, depth: usize) -> Result<Value> {
    let kind = cursor.u32(what)?;
    let least = match kind {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        8 | 10..=12 => 8,
        9 => 12,
        other => return Err(unknown_kind(cursor, what, other)),
    };
    let count = cursor.count(least, what)?;
    match kind {
        8 => {
            let mut texts = Vec::new();
            for place in 0..count {
                texts.push(cursor.text(u64::MAX, &format!("text {place} of `{key}`"))?);
            }
            Ok(Value::Texts(texts))
        }
        9 if depth >= DEEPEST_ARRAY => Err(cursor.error(what, "arrays lie too deep in arrays")),
        9 => {
            for _ in 0..count {
                read_array(cursor, key, what, depth + 1)?;
            }
            Ok(Value::Other)
        }
        5 => {
            let mut integers = Vec::new();
            for _ in 0..count {
                integers.push(i64::from(i32::from_le_bytes(cursor.array(what)?)));
            }
            Ok(Value::Integers(integers))
        }
        0..=4 | 7 | 10 | 11 if count <= LONGEST_LIST => {
            let mut integers = Vec::new();
            for _ in 0..count {
                let Value::Integer(number) = (match kind {
                    7 => Value::Integer(i128::from(u8::from_le_bytes(cursor.array(what)?))),
                    kind => read_value(cursor, kind, key)?,
                }) else {
                    return Ok(Value::Other);
                };
                integers.push(i64::try_from(number).unwrap_or(i64::MAX));
            }
            Ok(Value::Integers(integers))
        }
        6 => {
            let mut floats = Vec::new();
            for _ in 0..count {
                floats.push(f32::from_le_bytes(cursor.array(what)?));
            }
            Ok(Value::Floats(floats))
        }
        _ => {
            cursor.skip(count * least as u64, what)?;
            Ok(Value::Other)
        }
    }
}

fn unknown_kind(cursor: &Cursor<'_>, what: &str, kind: u32) -> Error {
    cursor.error(what, format!("{kind} is the number of no type of value")).hint("the file is damaged: fetch it again")
}

/// The shortest decimal that is this number in single precision: what its author wrote.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| f64::from(value))
}
