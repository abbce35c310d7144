//! What the user wrote in a settings file, with line and column for every key.

mod check;
mod choice;
mod describe;
mod deserialize;
mod table;
mod tree;

pub use choice::Choice;
pub use describe::{Field, describe};
pub use table::Table;

use crate::fault::near_miss;
use crate::{Error, Fault, Place, Result};
use std::path::{Path, PathBuf};

/// A settings file and its text.
#[derive(Debug, Clone)]
pub struct File {
    path: PathBuf,
    text: String,
    root: Table,
}

impl File {
    /// Reads a TOML file.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|error| {
            let failed = Error::io(path, "read the settings", &error);
            match Self::near(path, error.kind() == std::io::ErrorKind::NotFound) {
                Some(hint) => failed.hint(hint),
                None => failed,
            }
        })?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let good = error.utf8_error().valid_up_to();
            let before = String::from_utf8_lossy(&error.as_bytes()[..good]);
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            let place = Place::file(path).at(line, column);
            Fault::new(place, format!("the byte at position {good} is not UTF-8")).hint("save the file as UTF-8")
        })?;
        Self::parse(path, text)
    }

    /// What may have been meant by a path that is a folder, or `missing`: the TOML files of the folder, or the one
    /// beside it or in `recipes` whose name is nearest, with the ending or without.
    fn near(path: &Path, missing: bool) -> Option<String> {
        let files = |folder: &Path| {
            let inside = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.file_name());
            let mut names: Vec<String> = inside.filter_map(|name| name.into_string().ok()).collect();
            names.retain(|name| Path::new(name).extension().is_some_and(|ending| ending == "toml"));
            names.sort();
            Some(names)
        };
        if path.is_dir() {
            let names = files(path)?;
            return (!names.is_empty()).then(|| format!("it is a folder; its files: {}", names.join(", ")));
        }
        let folder = path.parent().filter(|_| missing)?;
        let name = Path::new(path.file_name()?).with_extension("toml");
        [folder.to_path_buf(), folder.join("recipes")].iter().find_map(|place| {
            let here = if place.as_os_str().is_empty() { Path::new(".") } else { place };
            let names = files(here)?;
            let near = near_miss(name.to_str()?, names.iter().map(String::as_str))?;
            Some(format!("did you mean `{}`?", place.join(near).display()))
        })
    }

    /// Takes a text as the content of the TOML file `path`.
    pub fn parse(path: impl AsRef<Path>, text: impl Into<String>) -> Result<Self> {
        let (path, text) = (path.as_ref().to_path_buf(), text.into());
        let (spot, entries) = tree::parse(Some(&path), &text)?;
        let root = Table { entries, spot, path: String::new() };
        Ok(Self { path, text, root })
    }

    /// The path as the user named it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The text of the file.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// A line of the file, counted from 1.
    pub fn line(&self, number: usize) -> Option<&str> {
        self.text.lines().nth(number.checked_sub(1)?)
    }

    /// The table that holds all others.
    pub fn root(&self) -> Table {
        self.root.clone()
    }
}

/// The generator every settings schema is made with: subschemas inlined.
pub fn schema_generator() -> schemars::SchemaGenerator {
    schemars::generate::SchemaSettings::draft2020_12()
        .with(|settings| settings.inline_subschemas = true)
        .into_generator()
}

#[cfg(test)]
mod tests;
