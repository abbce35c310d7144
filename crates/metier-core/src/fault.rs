//! What went wrong, where, whose fault it is, and what would have been right.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};

/// Where a fault is: a file, a position in it, and the key or tensor that was being read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The file, as the user named it.
    pub file: Option<PathBuf>,
    /// Line, counted from 1.
    pub line: Option<usize>,
    /// Column in characters, counted from 1.
    pub column: Option<usize>,
    /// A dotted settings key, a tensor name, a stage name or a byte position in words.
    pub key: Option<String>,
}

impl Place {
    /// A place that is a whole file.
    pub fn file(path: impl AsRef<Path>) -> Self {
        Self { file: Some(path.as_ref().to_path_buf()), ..Self::default() }
    }

    /// A place known only by a key, tensor or stage name.
    pub fn key(key: impl Into<String>) -> Self {
        Self { key: Some(key.into()), ..Self::default() }
    }

    /// The same place with a key, tensor or stage name.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The same place with a line and a column, both counted from 1.
    #[must_use]
    pub fn at(mut self, line: usize, column: usize) -> Self {
        self.line = Some(line);
        self.column = Some(column);
        self
    }

    /// True when nothing is known about the place.
    pub fn is_unknown(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut empty = true;
        if let Some(file) = &self.file {
            write!(f, "{}", file.display())?;
            empty = false;
            if let Some(line) = self.line {
                write!(f, ":{line}")?;
                if let Some(column) = self.column {
                    write!(f, ":{column}")?;
                }
            }
        }
        if let Some(key) = &self.key {
            write!(f, "{}{key}", if empty { "" } else { ": " })?;
        }
        Ok(())
    }
}

/// One fault: a sentence without a full stop, its place, and a hint of what would have been right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Where it is.
    pub place: Place,
    /// What is wrong.
    pub message: String,
    /// What would have been right; printed on a line of its own.
    pub hint: Option<String>,
}

impl Fault {
    /// A fault at a place.
    pub fn new(place: Place, message: impl Into<String>) -> Self {
        Self { place, message: message.into(), hint: None }
    }

    /// The same fault with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.place.is_unknown() {
            write!(f, "{}", self.message)?;
        } else {
            write!(f, "{}: {}", self.place, self.message)?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

/// Whose fault an error is; the command turns it into an exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Blame {
    /// The input, the settings or the machine: exit code 2.
    User,
    /// A broken promise of ours: exit code 70, with a request to report it.
    Program,
}

/// One or more faults that were found together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// Never empty.
    pub faults: Vec<Fault>,
    /// Whose fault it is.
    pub blame: Blame,
}

/// A result whose error is a set of [`Fault`]s.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of the user's with one fault.
    pub fn user(place: Place, message: impl Into<String>) -> Self {
        Fault::new(place, message).into()
    }

    /// An error of the user's at a whole file.
    pub fn file(path: impl AsRef<Path>, message: impl Into<String>) -> Self {
        Self::user(Place::file(path), message)
    }

    /// A broken promise of ours.
    pub fn program(message: impl Into<String>) -> Self {
        Self { faults: vec![Fault::new(Place::default(), message)], blame: Blame::Program }
    }

    /// What the operating system said about a file, with a hint where one is known.
    pub fn io(path: impl AsRef<Path>, doing: &str, error: &std::io::Error) -> Self {
        // What reads from elsewhere than the disk has said it in full.
        if let Some(own) = error.get_ref().and_then(|inner| inner.downcast_ref::<Self>()) {
            return own.clone();
        }
        let mut fault = Fault::new(Place::file(path), format!("cannot {doing}: {error}"));
        fault.hint = match error.kind() {
            std::io::ErrorKind::StorageFull => {
                Some("the disk is full: free some space or name another folder, then run again to resume".into())
            }
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                Some("choose a folder you may write to".into())
            }
            _ => None,
        };
        fault.into()
    }

    /// All faults at once, or `value` when there are none.
    pub fn collect<T>(value: T, faults: Vec<Fault>) -> Result<T> {
        if faults.is_empty() { Ok(value) } else { Err(Self { faults, blame: Blame::User }) }
    }

    /// The same error with a hint on its last fault, unless it has one.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        if let Some(fault) = self.faults.last_mut() {
            fault.hint.get_or_insert_with(|| hint.into());
        }
        self
    }

    /// The same error; faults without a file are put in `path`.
    #[must_use]
    pub fn in_file(mut self, path: impl AsRef<Path>) -> Self {
        for fault in &mut self.faults {
            if fault.place.file.is_none() {
                fault.place.file = Some(path.as_ref().to_path_buf());
            }
        }
        self
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self { faults: vec![fault], blame: Blame::User }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// The known name nearest to `name`, when it is near enough to be a slip of the keyboard.
///
/// Optimal string alignment distance (insert, delete, replace, swap neighbors) of at most a third of
/// the longer name.
pub fn near_miss<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let a: Vec<char> = name.to_lowercase().chars().collect();
    known
        .into_iter()
        .map(|candidate| {
            let b: Vec<char> = candidate.to_lowercase().chars().collect();
            (alignment_distance(&a, &b), a.len().max(b.len()), candidate)
        })
        .filter(|(distance, length, _)| *distance * 3 <= *length)
        .min_by_key(|(distance, _, _)| *distance)
        .map(|(_, _, candidate)| candidate)
}

fn alignment_distance(a: &[char], b: &[char]) -> usize {
    let width = b.len() + 1;
    let mut table = vec![0_usize; (a.len() + 1) * width];
    for (j, cell) in table[..width].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        table[i * width] = i;
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (table[(i - 1) * width + j] + 1)
                .min(table[i * width + j - 1] + 1)
                .min(table[(i - 1) * width + j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(table[(i - 2) * width + j - 2] + 1);
            }
            table[i * width + j] = best;
        }
    }
    table[a.len() * width + b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_prints_place_message_and_hint() {
        let fault = Fault::new(Place::file("r.toml").at(3, 7).with_key("stage.x.rnak"), "unknown key")
            .hint("did you mean `rank`?");
        assert_eq!(fault.to_string(), "r.toml:3:7: stage.x.rnak: unknown key\n  hint: did you mean `rank`?");
    }

    #[test]
    fn near_misses_are_slips_only() {
        assert_eq!(near_miss("rnak", ["rank", "alpha"]), Some("rank"));
        assert_eq!(near_miss("cosin", ["cosine", "constant"]), Some("cosine"));
        assert_eq!(near_miss("zebra", ["rank", "alpha"]), None);
    }
}
