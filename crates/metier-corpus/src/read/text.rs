use super::{Documents, Read, Size, files, read_bytes, text_bytes};
use metier_core::data::{Document, Pieces};
use metier_core::part::{Build, Part};
use metier_core::{Error, Fault, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::Path;

/// # What it does
/// Reads plain text files below a folder, one document a file. Files ending in `.gz` are decompressed.
///
/// # How
/// Files are visited in the order of their paths. A document's id is its path below the folder, its source
/// the same path, its pieces the whole text. Bytes that are no UTF-8 are refused with their position; a byte
/// order mark at the beginning is left out.
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
}

impl Default for Text {
    fn default() -> Self {
        let include = ["*.txt", "*.txt.gz", "*.md"].map(str::to_owned).to_vec();
        Self { include, exclude: Vec::new(), license: None }
    }
}

impl Read for Text {
    fn open<'a>(&'a self, path: &Path) -> Result<Documents<'a>> {
        let files = files(path, &self.include, &self.exclude)?;
        if files.is_empty() {
            return Err(Fault::new(Place::file(path), "no file here fits the patterns, so the corpus is empty")
                .hint(format!("include = {:?}, exclude = {:?}", self.include, self.exclude))
                .into());
        }
        Ok(Box::new(files.into_iter().map(|(name, path)| {
            let bytes = read_bytes(&path)?;
            let source_sha256 = hex(&Sha256::digest(&bytes));
            let text = String::from_utf8(bytes).map_err(|error| invalid(&path, &error))?;
            let mark = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
            let mut document = Document {
                id: name.clone(),
                pieces: Pieces::whole(text.len()),
                text,
                source: name,
                source_sha256,
                license: self.license.clone().unwrap_or_default(),
            };
            if mark > 0 {
                document.pieces = document.pieces.keep(&[mark..document.text.len()]);
                document.text.drain(..mark);
            }
            Ok(document)
        })))
    }

    fn size(&self, path: &Path) -> Result<Size> {
        let mut size = Size::default();
        for (_, path) in files(path, &self.include, &self.exclude)? {
            let bytes = text_bytes(&path)?;
            size.documents += 1;
            size.text_bytes += bytes;
            size.largest = size.largest.max(bytes);
        }
        Ok(size)
    }
}

fn invalid(path: &Path, error: &std::string::FromUtf8Error) -> Error {
    let at = error.utf8_error().valid_up_to();
    let before = &error.as_bytes()[..at];
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = at - before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1) + 1;
    Fault::new(
        Place::file(path).at(line, column),
        format!("byte {at} (0x{:02x}) is no UTF-8", error.as_bytes().get(at).copied().unwrap_or_default()),
    )
    .hint("convert the file to UTF-8, or leave it out with `exclude`")
    .into()
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
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
        let documents: Vec<_> = reader.open(folder.path()).unwrap().collect::<Result<_>>().unwrap();
        let ids: Vec<_> = documents.iter().map(|document| (document.id.as_str(), document.text.as_str())).collect();
        assert_eq!(ids, [("a.txt.gz", "eins"), ("b/two.txt", "zwei")]);
        assert_eq!(documents[0].pieces.source_of(0, 4), Some((3, 7)));
        assert_eq!(reader.size(folder.path()).unwrap().documents, 2);
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_with_their_position() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("bad.txt"), b"good line\nbad \xff line").unwrap();
        let error = Text::default().open(folder.path()).unwrap().next().unwrap().unwrap_err();
        assert!(error.to_string().contains("bad.txt:2:5: byte 14 (0xff) is no UTF-8"), "{error}");
    }

    #[test]
    fn an_empty_corpus_is_refused_with_the_patterns() {
        let folder = tempfile::tempdir().unwrap();
        let error = Text::default().open(folder.path()).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("empty") && error.to_string().contains("*.txt"), "{error}");
    }
}
