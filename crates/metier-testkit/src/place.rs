//! Folders: the repository, its fixtures, and scratch space that vanishes.

use std::path::{Path, PathBuf};

/// The folder of the crate under test: cargo and nextest set it when they run a test.
pub(crate) fn crate_folder() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from)
}

/// The root of the repository.
///
/// # Panics
/// When the test does not run inside the repository.
#[expect(clippy::panic, reason = "a test library speaks by panics")]
pub fn repository() -> PathBuf {
    let start = crate_folder();
    let start = start.canonicalize().unwrap_or(start);
    start
        .ancestors()
        .find(|folder| folder.join("rust-toolchain.toml").is_file() && folder.join("crates").is_dir())
        .map_or_else(|| panic!("{} is not inside the repository", start.display()), Path::to_path_buf)
}

/// `fixtures/<path>` of the repository.
///
/// # Panics
/// When it does not exist.
#[track_caller]
pub fn fixture(path: impl AsRef<Path>) -> PathBuf {
    let found = repository().join("fixtures").join(path);
    assert!(found.exists(), "the fixture {} does not exist", found.display());
    found
}

/// A folder for one test, removed when dropped.
#[derive(Debug)]
pub struct Scratch(tempfile::TempDir);

impl Scratch {
    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes `bytes` to the file `name` in it, making folders on the way, and returns its path.
    ///
    /// # Panics
    /// When the file cannot be written.
    #[track_caller]
    pub fn file(&self, name: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        write(&path, bytes.as_ref());
        path
    }
}

/// A new empty folder whose name starts with `name`.
///
/// # Panics
/// When it cannot be made.
#[track_caller]
#[expect(clippy::panic, reason = "a test library speaks by panics")]
pub fn scratch(name: &str) -> Scratch {
    Scratch(
        tempfile::Builder::new()
            .prefix(&format!("metier-{name}-"))
            .tempdir()
            .unwrap_or_else(|error| panic!("no scratch folder: {error}")),
    )
}

#[track_caller]
#[expect(clippy::panic, reason = "a test library speaks by panics")]
pub(crate) fn write(path: &Path, bytes: &[u8]) {
    let written = path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(path, bytes));
    if let Err(error) = written {
        panic!("{}: {error}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_found() {
        assert!(repository().join("xtask/Cargo.toml").is_file());
    }

    #[test]
    fn scratch_vanishes() {
        let folder = scratch("vanishes");
        let file = folder.file("deep/down.txt", "x");
        assert!(file.is_file());
        drop(folder);
        assert!(!file.exists());
    }
}
