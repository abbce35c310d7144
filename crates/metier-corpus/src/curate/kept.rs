//! Documents that the filters keep, on the disk in files of bounded size, each removed when its documents have found their place.

use super::records::Records;
use crate::attributes::Attributes;
use crate::document_file::{DocumentWriter, read_attributes, read_documents};
use metier_core::data::Document;
use metier_core::{Error, Place, Result};
use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

/// Bytes after which a file is complete.
const COMPLETE: u64 = if cfg!(test) { 1 << 12 } else { 64 << 20 };
/// Bytes of a line in which its id is looked for before the whole line is read.
const ID_BYTES: u64 = 1 << 9;
/// How a line begins.
const ID: &[u8] = br#"{"id":"#;

/// Documents being written, with what taggers said of them.
pub(crate) struct Kept {
    texts: Texts,
    /// The end of each document and its draw, for when this is interrupted.
    places: Records<2>,
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
}

impl Kept {
    /// Those of complete files in a folder, given how many documents there are up to the end of each, and room for more.
    pub fn resume(folder: &Path, lasts: &[u32]) -> Result<Self> {
        metier_core::store::create_folder(folder)?;
        let documents = lasts.last().copied().unwrap_or_default();
        let (mut ends, mut draws) = (Vec::new(), Vec::new());
        let places = Records::resume(&folder.join("places"), u64::from(documents), |[end, draw]| {
            ends.push(end);
            draws.push(draw);
        })?;
        let texts = Texts { folder: folder.to_path_buf(), lasts: lasts.to_vec(), ends, draws };
        Ok(Self { texts, places, documents: None, attributes: None })
    }

    /// Adds a document, what was said of it, and what it drew.
    pub fn add(&mut self, document: &Document, attributes: Option<&Attributes>, draw: u64) -> Result<()> {
        let (documents, said) = self.texts.paths(self.texts.lasts.len());
        let writer = match &mut self.documents {
            Some(writer) => writer,
            none => none.insert(DocumentWriter::create(&documents)?),
        };
        let before = writer.position();
        writer.write(document)?;
        let end = self.texts.ends.last().unwrap_or(&0) + writer.position() - before;
        if let Some(attributes) = attributes {
            let writer = match &mut self.attributes {
                Some(writer) => writer,
                none => none.insert(DocumentWriter::create(&said)?),
            };
            writer.write(attributes)?;
        }
        self.places.add([end, draw])?;
        self.texts.ends.push(end);
        self.texts.draws.push(draw);
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

    /// The documents of a file, each with what was said of it.
    pub fn of_file(&self, file: usize) -> Result<impl Iterator<Item = Result<(Document, Option<Attributes>)>>> {
        let (documents, said) = self.paths(file);
        let mut said = if said.exists() { Some(read_attributes(&said)?) } else { None };
        Ok(read_documents(&documents)?.map(move |document| {
            let attributes = said.as_mut().and_then(Iterator::next).transpose()?;
            Ok((document?, attributes))
        }))
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

    /// The first bytes of its line.
    fn line(&self, number: u32, most: u64) -> Result<Vec<u8>> {
        let file = self.lasts.partition_point(|last| *last <= number);
        let before = |number: usize| number.checked_sub(1).map_or(0, |before| self.ends[before]);
        let (from, to) = (before(number as usize), self.ends[number as usize]);
        let path = self.paths(file).0;
        let mut line = vec![0; (to - from).min(most) as usize];
        let read = File::open(&path).and_then(|mut opened| {
            opened.seek(SeekFrom::Start(from - before(self.first(file))))?;
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
