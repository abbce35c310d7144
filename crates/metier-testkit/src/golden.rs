//! Goldens: numbers a reference program computed, with their provenance.
//!
//! A golden is a JSON file under the crate's `tests/golden/`. It has the key `provenance` (an object that names at
//! least the `script` under `fixtures/reference/` that made it and the `programs` with their versions) and whatever
//! the script wrote besides. `cargo xtask golden` lists the scripts and runs one.

use serde::de::DeserializeOwned;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The path of `tests/golden/<path>` in the crate under test.
pub fn path(path: impl AsRef<Path>) -> PathBuf {
    crate::place::crate_folder().join("tests/golden").join(path)
}

/// The golden at `tests/golden/<path>` in the crate under test.
///
/// # Panics
/// When it is missing, is not JSON, or does not say where it comes from.
#[track_caller]
#[expect(clippy::panic, reason = "a test library speaks by panics")]
pub fn read(path: impl AsRef<Path>) -> Value {
    let path = self::path(path);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| {
        panic!("{}: {error}; `cargo xtask golden` lists the scripts that make goldens", path.display())
    });
    let value: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    for key in ["script", "programs"] {
        let said = match &value["provenance"][key] {
            Value::String(text) => !text.is_empty(),
            Value::Object(map) => !map.is_empty(),
            Value::Array(list) => !list.is_empty(),
            _ => false,
        };
        assert!(
            said,
            "{}: `provenance.{key}` is missing or empty: a number without a source is no golden",
            path.display()
        );
    }
    value
}

/// The golden at `tests/golden/<path>` read as a `T`, which need not have the key `provenance`.
///
/// # Panics
/// As [`read`], and when the file is no `T`.
#[track_caller]
#[expect(clippy::panic, reason = "a test library speaks by panics")]
pub fn read_as<T: DeserializeOwned>(path: impl AsRef<Path>) -> T {
    let mut value = read(path.as_ref());
    if let Some(map) = value.as_object_mut() {
        map.remove("provenance");
    }
    serde_json::from_value(value).unwrap_or_else(|error| panic!("{}: {error}", path.as_ref().display()))
}

/// All numbers of a JSON array, nested or flat, in order.
///
/// # Panics
/// When something in it is neither a number nor an array.
#[track_caller]
pub fn numbers(value: &Value) -> Vec<f32> {
    let mut out = Vec::new();
    gather(value, &mut out);
    out
}

#[track_caller]
#[expect(clippy::panic, reason = "a test library speaks by panics")]
fn gather(value: &Value, out: &mut Vec<f32>) {
    match value {
        Value::Array(list) => list.iter().for_each(|value| gather(value, out)),
        Value::Number(number) => out.push(number.as_f64().unwrap_or(f64::NAN) as f32),
        other => panic!("expected a number or an array of numbers, found {other}"),
    }
}

/// All whole numbers of a flat JSON array: token ids, lengths.
///
/// # Panics
/// When something in it is not a whole number of 32 bits.
#[track_caller]
#[expect(clippy::panic, reason = "a test library speaks by panics")]
pub fn ids(value: &Value) -> Vec<u32> {
    let Some(list) = value.as_array() else { panic!("expected an array of whole numbers, found {value}") };
    list.iter()
        .map(|value| {
            value
                .as_u64()
                .and_then(|id| u32::try_from(id).ok())
                .unwrap_or_else(|| panic!("expected a whole number of 32 bits, found {value}"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_come_in_order() {
        assert_eq!(numbers(&json!([[1, 2.5], [[3]]])), [1.0, 2.5, 3.0]);
        assert_eq!(ids(&json!([1, 49_151])), [1, 49_151]);
    }

    #[test]
    #[should_panic(expected = "cargo xtask golden")]
    fn a_missing_golden_says_what_makes_it() {
        let _ = read("no/such.json");
    }

    #[derive(serde::Deserialize)]
    struct Case {
        values: Vec<f32>,
    }

    #[test]
    fn provenance_is_asked_for() {
        let value = read("provenance.json");
        assert_eq!(numbers(&value["values"]), [0.5]);
        assert_eq!(read_as::<Case>("provenance.json").values, [0.5]);
    }
}
