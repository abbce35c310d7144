use super::{Found, Invalid, LARGEST, Raw, Read, Size, open_bytes, size_of_files, some_files, too_large};
use crate::packing::with_packed;
use metier_core::data::{Document, Metadata, Piece, Pieces};
use metier_core::part::{Build, Part};
use metier_core::{Error, Fault, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// # What it does
/// Reads plain text files below a folder, one document a file. Files ending in `.bz2`, `.gz` or `.zst` are decompressed.
///
/// # How
/// Files are visited in the order of their paths. A document's id is its path below the folder, its source
/// the same path, its pieces the whole text. Bytes that are no UTF-8 are refused with their position, or the
/// document is dropped with `invalid = "skip"`; a byte order mark at the beginning is left out.
///
/// # When to use
/// For a folder of documents that are text already: notes, manuals, standards, books.
///
/// # Differs from the paper in
/// Nothing: no paper stands behind it.
///
/// # Source
/// metier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Text {
    /// Patterns of the files to read, against the path below the folder or the file's name alone.
    pub include: Vec<String>,
    /// Patterns of files to leave out.
    pub exclude: Vec<String>,
    /// The license of every document read; the asset's own when it is left out.
    pub license: Option<String>,
    /// What becomes of files that are no UTF-8.
    pub invalid: Invalid,
}

impl Default for Text {
    fn default() -> Self {
        let include = with_packed(&["*.txt", "*.md"]);
        Self { include, exclude: Vec::new(), license: None, invalid: Invalid::Refuse }
    }
}

impl Read for Text {
    fn files(&self, path: &Path) -> Result<Vec<(String, PathBuf)>> {
        some_files(path, &self.include, &self.exclude)
    }

    fn open_files<'a>(&'a self, _: &Path, files: Vec<(String, PathBuf)>, passed: usize) -> Found<'a> {
        Box::new(files.into_iter().skip(passed).map(|(name, path)| {
            let document = match whole(&name, &path, self.license.as_ref()) {
                Ok(document) => document,
                Err(error) => return self.invalid.rest(name, error),
            };
            self.invalid.item(name, NO_TEXT, document).map(Raw::known)
        }))
    }

    fn size(&self, path: &Path) -> Result<Size> {
        size_of_files(path, &self.include, &self.exclude)
    }
}

/// Why a file of other bytes is dropped.
pub(super) const NO_TEXT: &str = "not UTF-8";

/// The bytes of a file, decompressed.
pub(super) fn bytes_of(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = open_bytes(path)?.take(LARGEST + 1).read_to_end(&mut bytes);
    if read.map_err(|error| Error::io(path, "read", &error))? as u64 > LARGEST {
        return Err(too_large(Place::file(path)));
    }
    Ok(bytes)
}

/// A file as one document. The inner error is that of bytes that are no text.
pub(super) fn whole(name: &str, path: &Path, license: Option<&String>) -> Result<Result<Document>> {
    let bytes = bytes_of(path)?;
    let source_sha256 = hex(&Sha256::digest(&bytes));
    Ok(String::from_utf8(bytes).map_err(|error| no_text(path, &error)).map(|mut text| {
        let mark = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        let pieces = Pieces(vec![Piece { start: 0, source: mark, length: text.len() - mark }]);
        text.drain(..mark);
        let (license, partial) = (license.cloned().unwrap_or_default(), Vec::new());
        let (id, source) = (name.to_owned(), name.to_owned());
        Document { id, pieces, text, source, source_sha256, license, partial, metadata: Metadata::new() }
    }))
}

/// The fault of bytes that are no text, at the first of them.
pub(crate) fn no_text(path: &Path, error: &std::string::FromUtf8Error) -> Error {
    let at = error.utf8_error().valid_up_to();
    let before = str::from_utf8(&error.as_bytes()[..at]).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Fault::new(
        Place::file(path).at(line, column),
        format!("byte {at} (0x{:02x}) is no UTF-8", error.as_bytes().get(at).copied().unwrap_or_default()),
    )
    .hint("convert the file to UTF-8, or leave it out with `exclude`")
    .into()
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

impl Build<dyn Read> for Text {
    fn build(self, _: &Place) -> Result<Box<dyn Read>> {
        Ok(Box::new(self))
    }
}

/// The record of `text`.
pub static PART: Part<dyn Read> = Part::of::<Text>("text", 1);

#[cfg(test)]
mod tests {
    use super::super::Item;
    use super::*;
    use std::io::Write;

    #[test]
    fn files_come_in_order_with_ids_below_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("b")).unwrap();
        std::fs::write(folder.path().join("b/two.txt"), "zwei").unwrap();
        std::fs::write(folder.path().join("c.bin"), "no").unwrap();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all("\u{feff}eins".as_bytes()).unwrap();
        std::fs::write(folder.path().join("a.txt.gz"), gzip.finish().unwrap()).unwrap();
        let reader = Text::default();
        let documents: Vec<_> = reader
            .open(folder.path())
            .unwrap()
            .map(|item| match item.unwrap() {
                Item::Document(document) => document,
                other => panic!("{other:?}"),
            })
            .collect();
        let ids: Vec<_> = documents.iter().map(|document| (document.id.as_str(), document.text.as_str())).collect();
        assert_eq!(ids, [("a.txt.gz", "eins"), ("b/two.txt", "zwei")]);
        assert_eq!(documents[0].pieces.source_of(0, 4), Some((3, 7)));
        assert_eq!(reader.size(folder.path()).unwrap().documents, 2);
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_with_their_position() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("bad.txt"), b"good line\nb\xc3\xa4d \xff line").unwrap();
        let error = Text::default().open(folder.path()).unwrap().next().unwrap().unwrap_err();
        assert!(error.to_string().contains("bad.txt:2:5: byte 15 (0xff) is no UTF-8"), "{error}");
        let skipping = Text { invalid: Invalid::Skip, ..Text::default() };
        let item = skipping.open(folder.path()).unwrap().next().unwrap().unwrap();
        assert_eq!(item, Item::Skipped { id: "bad.txt".into(), reason: "not UTF-8" });
    }

    #[test]
    fn a_compressed_file_that_would_fill_the_memory_is_refused_and_hidden_files_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, length: u64| {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(&vec![b'a'; length as usize]).unwrap();
            std::fs::write(folder.path().join(name), gzip.finish().unwrap()).unwrap();
        };
        write("full.txt.gz", LARGEST);
        write("over.txt.gz", LARGEST + 1);
        std::fs::create_dir(folder.path().join(".hidden")).unwrap();
        write(".hidden/a.txt.gz", 1);
        write(".b.txt.gz", 1);
        let items: Vec<_> = Text::default().open(folder.path()).unwrap().collect();
        assert_eq!(items.len(), 2);
        assert!(matches!(&items[0], Ok(Item::Document(document)) if document.text.len() as u64 == LARGEST));
        let said = items[1].as_ref().unwrap_err().to_string();
        assert!(said.contains("over.txt.gz: the document has more than") && said.contains("exclude"), "{said}");
    }

    #[test]
    fn an_empty_corpus_is_refused_with_the_patterns() {
        let folder = tempfile::tempdir().unwrap();
        let error = Text::default().open(folder.path()).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("empty") && error.to_string().contains("*.txt"), "{error}");
    }
}
