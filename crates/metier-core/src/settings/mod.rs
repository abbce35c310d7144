//! What the user wrote in a settings file, with line and column for every key.

mod check;
mod describe;
mod deserialize;
mod table;
mod tree;

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
            match Self::near(path).filter(|_| error.kind() == std::io::ErrorKind::NotFound) {
                Some(near) => failed.hint(format!("did you mean `{}`?", near.display())),
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

    /// The TOML file beside `path` whose name is nearest to its own.
    fn near(path: &Path) -> Option<PathBuf> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let beside = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.file_name());
        let mut names: Vec<String> = beside.filter_map(|name| name.into_string().ok()).collect();
        names.retain(|name| Path::new(name).extension().is_some_and(|ending| ending == "toml"));
        names.sort();
        let near = near_miss(path.file_name()?.to_str()?, names.iter().map(String::as_str))?;
        Some(path.with_file_name(near))
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
