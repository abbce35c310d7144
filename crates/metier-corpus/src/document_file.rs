//! Documents on disk: one JSON object a line.

use crate::attributes::Attributes;
use metier_core::data::Document;
use metier_core::{Error, Place, Result};
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// The documents to train on, in a curated folder.
pub const TRAIN: &str = "train.jsonl";
/// The documents that are held out.
pub const HELD_OUT: &str = "held_out.jsonl";
/// What taggers said of the documents to train on, a line for each.
pub const TRAIN_ATTRIBUTES: &str = "train.attributes.jsonl";
/// What taggers said of the documents that are held out, a line for each.
pub const HELD_OUT_ATTRIBUTES: &str = "held_out.attributes.jsonl";
/// The ids of the documents that were dropped, each with its reason.
pub const DROPPED: &str = "dropped.jsonl";
/// What could not be read and was to be set aside: the id it would have had, what is wrong, and its bytes.
pub const QUARANTINED: &str = "quarantined.jsonl";

/// Streams documents out of a file that a [`DocumentWriter`] wrote. A broken line is an error that names
/// its number.
pub fn read_documents(path: &Path) -> Result<impl Iterator<Item = Result<Document>> + use<>> {
    read_values(path)
}

/// Streams the attributes that lie beside documents, likewise.
pub fn read_attributes(path: &Path) -> Result<impl Iterator<Item = Result<Attributes>> + use<>> {
    read_values(path)
}

/// Streams values out of a file of JSON lines, likewise.
pub fn read_values<T: DeserializeOwned>(path: &Path) -> Result<impl Iterator<Item = Result<T>> + use<T>> {
    let file = File::open(path).map_err(|error| Error::io(path, "open", &error))?;
    let path = path.to_path_buf();
    Ok(BufReader::new(file).lines().enumerate().map(move |(index, line)| {
        let line = line.map_err(|error| Error::io(&path, "read", &error))?;
        serde_json::from_str(&line)
            .map_err(|error| Error::user(Place::file(&path).at(index + 1, error.column()), error.to_string()))
    }))
}

/// Bytes that are written at once.
const BUFFER: usize = 1 << 17;

/// Writes documents, one a line.
pub struct DocumentWriter {
    path: PathBuf,
    out: BufWriter<File>,
    line: Vec<u8>,
    written: u64,
}

impl DocumentWriter {
    /// Creates the file, or empties it.
    pub fn create(path: &Path) -> Result<Self> {
        Self::resume(path, 0)
    }

    /// Goes on behind the first `length` bytes of the file; what else there is goes.
    pub fn resume(path: &Path, length: u64) -> Result<Self> {
        let wrong = |error: std::io::Error| Error::io(path, "create", &error);
        let mut file = File::options().write(true).create(true).truncate(false).open(path).map_err(wrong)?;
        if file.metadata().map_err(wrong)?.len() < length {
            return Err(Error::file(
                path,
                format!("the file is shorter than the {length} bytes that were written to it"),
            )
            .hint("remove the folder `work` of the store, and begin again"));
        }
        file.set_len(length).and_then(|()| file.seek(SeekFrom::Start(length))).map_err(wrong)?;
        Ok(Self {
            path: path.to_path_buf(),
            out: BufWriter::with_capacity(BUFFER, file),
            line: Vec::new(),
            written: length,
        })
    }

    /// Appends a document, or any other value as a line of JSON.
    pub fn write(&mut self, value: &impl serde::Serialize) -> Result<()> {
        self.line.clear();
        let written = serde_json::to_writer(&mut self.line, value).map_err(std::io::Error::from);
        let written = written.and_then(|()| {
            self.line.push(b'\n');
            self.written += self.line.len() as u64;
            self.out.write_all(&self.line)
        });
        written.map_err(|error| Error::io(&self.path, "write", &error))
    }

    /// Appends a line of JSON as it stands, with its line feed.
    pub(crate) fn write_line(&mut self, line: &[u8]) -> Result<()> {
        self.written += line.len() as u64;
        self.out.write_all(line).map_err(|error| Error::io(&self.path, "write", &error))
    }

    /// The byte at which the next line will begin.
    pub fn position(&self) -> u64 {
        self.written
    }

    /// Brings everything to the disk; the bytes that the file has then.
    pub fn sync(&mut self) -> Result<u64> {
        let written = self.out.flush().and_then(|()| self.out.get_ref().sync_all());
        written.map(|()| self.written).map_err(|error| Error::io(&self.path, "write", &error))
    }

    /// Brings everything to the disk.
    pub fn finish(mut self) -> Result<()> {
        self.sync().map(drop)
    }
}
