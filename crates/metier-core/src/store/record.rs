//! What an artifact is the result of, and how its making went.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What decides a stage's result; equal keys have equal results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Key {
    /// The stage's verb.
    pub verb: String,
    /// The version of the verb's code, raised whenever its output changes.
    pub version: u32,
    /// Its settings, defaults filled in; each part in them stands as its
    /// [`identity`](crate::part::Chosen::identity), with its version.
    pub settings: Value,
    /// The id or hash of each input, by its name in the stage.
    pub inputs: BTreeMap<String, String>,
    /// The seed of all random choices.
    pub seed: u64,
}

impl Key {
    /// A key without inputs, of version 1 and seed 0.
    pub fn new(verb: impl Into<String>, settings: Value) -> Self {
        Self { verb: verb.into(), version: 1, settings, inputs: BTreeMap::new(), seed: 0 }
    }

    /// The same key with an input.
    #[must_use]
    pub fn input(mut self, name: impl Into<String>, id: impl Into<String>) -> Self {
        self.inputs.insert(name.into(), id.into());
        self
    }

    /// The version of each part in the settings, by the part's name.
    pub fn parts(&self) -> BTreeMap<String, u32> {
        let mut parts = BTreeMap::new();
        collect_parts(&self.settings, &mut parts);
        parts
    }

    /// The name of the artifact: 32 hexadecimal digits of the BLAKE3 hash of the key as JSON with
    /// sorted keys.
    pub fn id(&self) -> String {
        let value = serde_json::json!({
            "verb": self.verb,
            "version": self.version,
            "settings": self.settings,
            "inputs": self.inputs,
            "seed": self.seed,
        });
        blake3::hash(canonical_json(&value).as_bytes()).to_hex()[..32].to_owned()
    }
}

fn collect_parts(settings: &Value, parts: &mut BTreeMap<String, u32>) {
    match settings {
        Value::Array(items) => items.iter().for_each(|item| collect_parts(item, parts)),
        Value::Object(map) => {
            let version = map.get("version").and_then(Value::as_u64).and_then(|version| u32::try_from(version).ok());
            if let (Some(name), Some(version)) = (map.get("method").and_then(Value::as_str), version) {
                parts.insert(name.to_owned(), version);
            }
            map.values().for_each(|value| collect_parts(value, parts));
        }
        _ => {}
    }
}

/// JSON without spaces and with the keys of every object sorted.
pub fn canonical_json(value: &Value) -> String {
    let mut text = String::new();
    canonical(value, &mut text);
    text
}

fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                canonical(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| key.as_str());
            out.push('{');
            for (index, (key, item)) in entries.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(&Value::String(key.clone()).to_string());
                out.push(':');
                canonical(item, out);
            }
            out.push('}');
        }
        other => out.push_str(&other.to_string()),
    }
}

/// What `record.json` of an artifact holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// The artifact's name, from its [`Key`].
    pub id: String,
    /// The verb that made it.
    pub verb: String,
    /// The stage's name in its recipe.
    pub stage: String,
    /// The stage's settings, defaults filled in.
    pub settings: Value,
    /// What went in, by its name in the stage.
    pub inputs: BTreeMap<String, InputRecord>,
    /// The version of each part that took part.
    pub parts: BTreeMap<String, u32>,
    /// The seed of all random choices.
    pub seed: u64,
    /// The version of metier.
    pub program: String,
    /// What was read, written and dropped.
    pub counts: Counts,
    /// Numbers that a recipe's checks may use, by name.
    pub figures: BTreeMap<String, f64>,
    /// What was expected before the work began.
    pub plan: Option<Estimate>,
    /// What the work took.
    pub real: Spent,
    /// When the work began, in seconds since 1970.
    pub started: u64,
    /// How often the work was taken up again after an interruption.
    pub resumed: u32,
    /// The artifact's files, sorted by path.
    pub files: Vec<FileEntry>,
}

impl Record {
    /// A record with what the key says; the rest is filled in by the stage.
    pub fn new(key: &Key, stage: impl Into<String>) -> Self {
        Self {
            id: key.id(),
            verb: key.verb.clone(),
            stage: stage.into(),
            settings: key.settings.clone(),
            parts: key.parts(),
            seed: key.seed,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            ..Self::default()
        }
    }
}

/// Where an input came from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputKind {
    /// Another stage's artifact.
    Artifact,
    /// A file or folder of the user's.
    #[default]
    File,
    /// A model or data set that a recipe names as an asset.
    Asset,
}

/// One input of an artifact.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InputRecord {
    /// The artifact's id, or the hash of the file's bytes.
    pub id: String,
    /// The stage or asset it is the result of.
    pub name: String,
    /// Where it came from.
    pub kind: InputKind,
    /// Its license, where known.
    pub license: Option<String>,
    /// A path, an address or a package, where known.
    pub source: Option<String>,
    /// Where it lay when it was read, where it is no artifact.
    pub path: Option<PathBuf>,
}

/// How many items went in and came out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Items read.
    #[serde(rename = "in")]
    pub read: u64,
    /// Items written.
    pub out: u64,
    /// Items left out, by reason.
    pub dropped: BTreeMap<String, u64>,
}

/// What a stage is expected to take; `None` where it cannot be said before the work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Estimate {
    /// Rows or documents read.
    pub rows: Option<u64>,
    /// Tokens computed on.
    pub tokens: Option<u64>,
    /// Floating-point operations, a multiplication and an addition counted as two.
    pub flop: Option<f64>,
    /// Most memory held at once, in bytes.
    pub memory_bytes: Option<u64>,
    /// Disk written, in bytes.
    pub disk_bytes: Option<u64>,
    /// Time on this machine, in seconds.
    pub seconds: Option<f64>,
}

/// What a stage took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Spent {
    /// Time of the work, interruptions left out, in seconds.
    pub seconds: f64,
    /// Most memory held at once, in bytes.
    pub peak_memory_bytes: u64,
    /// Size of the artifact's files, in bytes.
    pub disk_bytes: u64,
}

/// A file of an artifact.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FileEntry {
    /// Path below the artifact's folder, with `/` between names.
    pub path: String,
    /// Length in bytes.
    pub bytes: u64,
    /// BLAKE3 hash of the bytes in hexadecimal.
    pub blake3: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_order_of_keys_does_not_change_an_id() {
        let one: Value = serde_json::from_str(r#"{"a":1,"b":{"c":2.5,"d":[true,null]}}"#).unwrap();
        let two: Value = serde_json::from_str(r#"{"b":{"d":[true,null],"c":2.5},"a":1}"#).unwrap();
        assert_eq!(canonical_json(&two), r#"{"a":1,"b":{"c":2.5,"d":[true,null]}}"#);
        assert_eq!(Key::new("pack", one).id(), Key::new("pack", two).id());
    }

    #[test]
    fn every_part_of_a_key_changes_its_id() {
        let key = Key::new("train", json!({ "steps": 3 })).input("from", "ab");
        let others = [
            Key { verb: "eval".into(), ..key.clone() },
            Key { settings: json!({ "steps": 4 }), ..key.clone() },
            key.clone().input("from", "ac"),
            Key { version: 2, ..key.clone() },
            Key { seed: 1, ..key.clone() },
        ];
        assert!(others.iter().all(|other| other.id() != key.id()));
        assert_eq!(key.id().len(), 32);
    }

    #[test]
    fn parts_are_found_in_the_settings() {
        let slot = |name: &str, version: u32| json!({ "method": name, "version": version, "settings": { "rate": 1 } });
        let key =
            Key::new("train", json!({ "steps": 3, "optimizer": slot("adamw", 2), "filter": [slot("length", 1)] }));
        assert_eq!(key.parts(), [("adamw".to_owned(), 2), ("length".to_owned(), 1)].into());
    }

    #[test]
    fn a_record_survives_json() {
        let mut record = Record::new(&Key::new("pack", json!({ "a": "b" })), "tokens");
        record.figures.insert("tokens".into(), 1.5e9);
        record.counts.dropped.insert("too short".into(), 3);
        record.plan = Some(Estimate { flop: Some(1e15), ..Estimate::default() });
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
    }
}
