//! Files that are whole or not there: atomic writes, hashes and memory maps.

use crate::{Error, Result};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

static NEXT_TEMPORARY: AtomicU64 = AtomicU64::new(0);

/// Writes `bytes` to `path` so that a crash at any instant leaves the old file or the whole new one.
///
/// A temporary file beside it is written, flushed to the disk and renamed; then the folder is flushed.
pub fn write_atomic(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> Result<()> {
    let path = path.as_ref();
    write_atomic_with(path, |file| {
        file.write_all(bytes.as_ref()).map_err(|error| Error::io(path, "write the file", &error))
    })
}

/// As [`write_atomic`], with bytes that `write` writes piece by piece.
pub fn write_atomic_with(path: impl AsRef<Path>, write: impl FnOnce(&mut BufWriter<File>) -> Result<()>) -> Result<()> {
    let path = path.as_ref();
    let temporary = temporary_beside(path);
    let failed = |error: std::io::Error| Error::io(path, "write the file", &error);
    let written = (|| {
        let mut file = BufWriter::new(File::create(&temporary).map_err(failed)?);
        write(&mut file)?;
        let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
        file.sync_all().map_err(failed)?;
        fs::rename(&temporary, path).map_err(failed)
    })();
    if let Err(error) = written {
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    sync_folder(folder_of(path))
}

/// The BLAKE3 hash of a file's bytes in hexadecimal, and its length.
pub fn hash_and_size(path: impl AsRef<Path>) -> Result<(String, u64)> {
    let path = path.as_ref();
    let mut hasher = blake3::Hasher::new();
    let read = File::open(path).and_then(|file| hasher.update_reader(file).map(|_| ()));
    read.map_err(|error| Error::io(path, "read the file", &error))?;
    Ok((hasher.finalize().to_hex().to_string(), hasher.count()))
}

/// The BLAKE3 hash of a file's bytes in hexadecimal.
pub fn hash_file(path: impl AsRef<Path>) -> Result<String> {
    hash_and_size(path).map(|(hash, _)| hash)
}

/// A read-only memory map of a file. An empty file maps to no bytes.
///
/// The bytes are what the file holds: whoever shortens the file while it is mapped stops the process.
/// Artifacts never change once complete, so maps of them are stable.
pub fn map_file(path: impl AsRef<Path>) -> Result<memmap2::Mmap> {
    let path = path.as_ref();
    let file = File::open(path).map_err(|error| Error::io(path, "open the file", &error))?;
    let metadata = file.metadata().map_err(|error| Error::io(path, "open the file", &error))?;
    if !metadata.is_file() {
        return Err(Error::file(path, "this is not a file"));
    }
    #[expect(unsafe_code, reason = "a map is sound as long as the file is not changed, which the store promises")]
    let map = unsafe { memmap2::Mmap::map(&file) };
    map.map_err(|error| Error::io(path, "map the file into memory", &error))
}

/// Creates a folder and its parents.
pub fn create_folder(path: impl AsRef<Path>) -> Result<()> {
    fs::create_dir_all(path.as_ref()).map_err(|error| Error::io(path, "create the folder", &error))
}

/// Flushes a folder, so that the names in it outlive a power cut.
pub(super) fn sync_folder(path: &Path) -> Result<()> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(|error| Error::io(path, "flush the folder", &error))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn temporary_beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let number = NEXT_TEMPORARY.fetch_add(1, Ordering::Relaxed);
    path.with_file_name(format!(".{name}.{}-{number}.temporary", std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_whole_and_hashed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write_atomic(&path, "one").unwrap();
        write_atomic(&path, "two").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(hash_file(&path).unwrap(), blake3::hash(b"two").to_hex().to_string());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = write_atomic("/no/such/folder/a.txt", "x").unwrap_err().to_string();
        assert!(error.starts_with("/no/such/folder/a.txt: cannot write the file"), "{error}");
    }

    #[test]
    fn maps_show_the_bytes_and_refuse_folders() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write_atomic(&path, "bytes").unwrap();
        assert_eq!(&map_file(&path).unwrap()[..], b"bytes");
        write_atomic(&path, "").unwrap();
        assert!(map_file(&path).unwrap().is_empty());
        assert!(map_file(folder.path()).unwrap_err().to_string().contains("not a file"));
        assert!(map_file(folder.path().join("b")).unwrap_err().to_string().contains("cannot open"));
    }
}
