//! What the user wrote in a settings file, with line and column for every key.

use crate::{Place, Result};
use serde::de::DeserializeOwned;

/// A table of a settings file.
pub struct Table {
    value: toml::Table,
    place: Place,
}

impl Table {
    /// Where the table begins.
    pub fn place(&self) -> Place {
        self.place.clone()
    }

    /// Where a key of the table is written; the table's own place when it is not.
    pub fn place_of(&self, key: &str) -> Place {
        self.place.clone().with_key(key)
    }

    /// The text under `key`; a fault when it is something else.
    pub fn string(&self, key: &str) -> Result<Option<String>> {
        Ok(self.value.get(key).and_then(|value| value.as_str()).map(str::to_owned))
    }

    /// The same table without some keys.
    #[must_use]
    pub fn without(&self, keys: &[&str]) -> Self {
        let mut value = self.value.clone();
        value.retain(|key, _| !keys.contains(&key));
        Self { value, place: self.place.clone() }
    }

    /// The table as a settings struct. Unknown keys, wrong types, missing keys and values out of range
    /// are all reported together, each with its line and column.
    pub fn read<T: DeserializeOwned + schemars::JsonSchema>(&self) -> Result<T> {
        self.value
            .clone()
            .try_into()
            .map_err(|error: toml::de::Error| crate::Error::user(self.place(), error.message()))
    }
}

/// The generator every settings schema is made with: subschemas inlined.
pub fn schema_generator() -> schemars::SchemaGenerator {
    schemars::generate::SchemaSettings::draft2020_12()
        .with(|settings| settings.inline_subschemas = true)
        .into_generator()
}
