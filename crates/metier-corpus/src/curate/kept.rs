//! Documents that the filters keep, on the disk in files of bounded size, each removed when its documents have found their place.

use super::records::Records;
use crate::document_file::DocumentWriter;
use metier_core::data::Document;
use metier_core::{Error, Place, Result};
use std::fs::File;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

/// Bytes after which a file is complete.
const COMPLETE: u64 = if cfg!(test) { 1 << 12 } else { 256 << 20 };
/// Bytes of a line in which its id is looked for before the whole line is read.
const ID_BYTES: u64 = 1 << 9;
/// How a line begins.
const ID: &[u8] = br#"{"id":"#;
/// Bytes that are read at once.
const BUFFER: usize = 1 << 17;
/// What is added to the size of a document that was not read whole.
const PARTIAL: u64 = 1 << 63;

/// A document as it is written down, with its attributes where it has some, each a line of JSON.
pub(crate) struct Written {
    pub(super) document: Vec<u8>,
    pub(super) attributes: Option<Vec<u8>>,
    /// Bytes of its text, with [`PARTIAL`] where that holds.
    pub(super) size: u64,
}

impl Written {
    pub fn new(document: &Document, attributes: Option<Vec<u8>>) -> Result<Self> {
        let mut line = Vec::with_capacity(document.text.len() + document.text.len() / 8 + 512);
        serde_json::to_writer(&mut line, document)
            .map_err(|error| Error::program(format!("{} does not serialize: {error}", document.id)))?;
        line.push(b'\n');
        let partial = if document.partial.is_empty() { 0 } else { PARTIAL };
        Ok(Self { document: line, attributes, size: document.text.len() as u64 | partial })
    }
}

/// Documents being written, with what taggers said of them.
pub(crate) struct Kept {
    texts: Texts,
    /// The end of each document, its draw and its size, for when this is interrupted.
    places: Records<3>,
    documents: Option<DocumentWriter>,
    attributes: Option<DocumentWriter>,
}

/// Documents by their number.
pub struct Texts {
    folder: PathBuf,
    /// Documents up to the end of each file.
    lasts: Vec<u32>,
    /// Where each document ends, counted over all files.
    ends: Vec<u64>,
    /// The number that each has drawn.
    pub(super) draws: Vec<u64>,
    /// Bytes of each one's text, with [`PARTIAL`].
    sizes: Vec<u64>,
}

/// The lines of one file of documents and of that of their attributes.
pub(super) struct KeptLines {
    documents: BufReader<File>,
    attributes: Option<BufReader<File>>,
    path: PathBuf,
    document: Vec<u8>,
    said: Vec<u8>,
}

impl Kept {
    /// Those of complete files in a folder, given how many documents there are up to the end of each, and room for more.
    pub fn resume(folder: &Path, lasts: &[u32]) -> Result<Self> {
        metier_core::store::create_folder(folder)?;
        let documents = lasts.last().copied().unwrap_or_default();
        let (mut ends, mut draws, mut sizes) = (Vec::new(), Vec::new(), Vec::new());
        let places = Records::resume(&folder.join("lines"), u64::from(documents), |[end, draw, size]| {
            ends.push(end);
            draws.push(draw);
            sizes.push(size);
        })?;
        let texts = Texts { folder: folder.to_path_buf(), lasts: lasts.to_vec(), ends, draws, sizes };
        Ok(Self { texts, places, documents: None, attributes: None })
    }

    /// Adds a document, and what it drew.
    pub fn add(&mut self, written: &Written, draw: u64) -> Result<()> {
        let (documents, said) = self.texts.paths(self.texts.lasts.len());
        let writer = match &mut self.documents {
            Some(writer) => writer,
            none => none.insert(DocumentWriter::create(&documents)?),
        };
        writer.write_line(&written.document)?;
        let end = self.texts.ends.last().unwrap_or(&0) + written.document.len() as u64;
        if let Some(attributes) = &written.attributes {
            let writer = match &mut self.attributes {
                Some(writer) => writer,
                none => none.insert(DocumentWriter::create(&said)?),
            };
            writer.write_line(attributes)?;
        }
        self.places.add([end, draw, written.size])?;
        self.texts.ends.push(end);
        self.texts.draws.push(draw);
        self.texts.sizes.push(written.size);
        Ok(())
    }

    /// Whether the file that is written is as large as one should be.
    pub fn is_full(&self) -> bool {
        self.documents.as_ref().is_some_and(|writer| writer.position() >= COMPLETE)
    }

    /// Completes the file that is written, if there is one; the documents up to the end of each file.
    pub fn complete(&mut self) -> Result<&[u32]> {
        if let Some(writer) = self.documents.take() {
            writer.finish()?;
            self.attributes.take().map_or(Ok(()), DocumentWriter::finish)?;
            self.texts.lasts.push(self.texts.ends.len() as u32);
        }
        self.places.sync()?;
        Ok(&self.texts.lasts)
    }

    /// All documents, for reading.
    pub fn finish(mut self) -> Result<Texts> {
        self.complete()?;
        Ok(self.texts)
    }
}

impl Texts {
    /// Number of documents.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Number of files.
    pub fn files(&self) -> usize {
        self.lasts.len()
    }

    /// The first document of a file.
    pub fn first(&self, file: usize) -> usize {
        file.checked_sub(1).map_or(0, |before| self.lasts[before] as usize)
    }

    /// The documents of a file.
    pub fn numbers(&self, file: usize) -> std::ops::Range<usize> {
        self.first(file)..self.lasts[file] as usize
    }

    /// Bytes of a document's text.
    pub fn size(&self, number: usize) -> u64 {
        self.sizes[number] & !PARTIAL
    }

    /// Whether something of its source could not be read as it was meant.
    pub fn is_partial(&self, number: usize) -> bool {
        self.sizes[number] & PARTIAL != 0
    }

    /// The lines of a file, and those of what was said of its documents where there should be some.
    pub(super) fn lines(&self, file: usize, tagged: bool) -> Result<KeptLines> {
        let (path, said) = self.paths(file);
        let open = |path: &Path| {
            let file = File::open(path).map_err(|error| Error::io(path, "open", &error))?;
            Ok::<_, Error>(BufReader::with_capacity(BUFFER, file))
        };
        let attributes = if tagged { Some(open(&said)?) } else { None };
        Ok(KeptLines { documents: open(&path)?, attributes, path, document: Vec::new(), said: Vec::new() })
    }

    /// Removes a file of documents, and that of what was said of them, as far as they are there.
    pub fn remove(&self, file: usize) -> Result<()> {
        let (documents, said) = self.paths(file);
        for path in [documents, said] {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(Error::io(&path, "remove", &error)),
                _ => {}
            }
        }
        Ok(())
    }

    /// One of the documents.
    pub fn read(&self, number: u32) -> Result<Document> {
        let line = self.line(number, u64::MAX)?;
        serde_json::from_slice(&line).map_err(|error| self.broken(number, &error))
    }

    /// Its id.
    pub fn id(&self, number: u32) -> Result<String> {
        let line = self.line(number, ID_BYTES)?;
        let id = line.strip_prefix(ID).and_then(|rest| {
            serde_json::Deserializer::from_slice(rest).into_iter::<String>().next().and_then(std::result::Result::ok)
        });
        id.map_or_else(|| Ok(self.read(number)?.id), Ok)
    }

    /// Bytes of all documents before one.
    fn before(&self, number: usize) -> u64 {
        number.checked_sub(1).map_or(0, |before| self.ends[before])
    }

    /// Bytes of its line.
    pub(super) fn length(&self, number: usize) -> u64 {
        self.ends[number] - self.before(number)
    }

    /// The first bytes of its line.
    fn line(&self, number: u32, most: u64) -> Result<Vec<u8>> {
        let file = self.lasts.partition_point(|last| *last <= number);
        let from = self.before(number as usize) - self.before(self.first(file));
        let path = self.paths(file).0;
        let mut line = vec![0; self.length(number as usize).min(most) as usize];
        let read = File::open(&path).and_then(|mut opened| {
            opened.seek(SeekFrom::Start(from))?;
            opened.read_exact(&mut line)
        });
        read.map_err(|error| Error::io(&path, "read", &error))?;
        Ok(line)
    }

    fn broken(&self, number: u32, error: &serde_json::Error) -> Error {
        let file = self.lasts.partition_point(|last| *last <= number);
        let line = number as usize - self.first(file) + 1;
        Error::user(Place::file(self.paths(file).0).at(line, error.column()), error.to_string())
    }

    /// A file of documents, and that of what was said of them.
    fn paths(&self, file: usize) -> (PathBuf, PathBuf) {
        let path = |kind: &str| self.folder.join(format!("{file:05}.{kind}.jsonl"));
        (path("documents"), path("attributes"))
    }
}

impl KeptLines {
    /// The next document's line, which has so many bytes, and what was said of it.
    pub fn next(&mut self, length: u64) -> Result<(&[u8], &[u8])> {
        let broken = |error: std::io::Error| Error::io(&self.path, "read", &error);
        self.document.resize(length as usize, 0);
        self.documents.read_exact(&mut self.document).map_err(broken)?;
        self.said.clear();
        if let Some(attributes) = &mut self.attributes {
            attributes.read_until(b'\n', &mut self.said).map_err(broken)?;
        }
        if !self.document.ends_with(b"\n") || (self.attributes.is_some() && !self.said.ends_with(b"\n")) {
            return Err(damaged(&self.path));
        }
        Ok((&self.document, &self.said))
    }

    /// That no other line follows.
    pub fn end(mut self) -> Result<()> {
        let mut left = 0;
        for reader in [Some(&mut self.documents), self.attributes.as_mut()].into_iter().flatten() {
            left += reader.fill_buf().map_err(|error| Error::io(&self.path, "read", &error))?.len();
        }
        if left == 0 { Ok(()) } else { Err(damaged(&self.path)) }
    }
}

fn damaged(path: &Path) -> Error {
    Error::file(path, "the documents here, or their attributes, are not those that were written")
        .hint("remove the folder `work` of the store, and begin again")
}
