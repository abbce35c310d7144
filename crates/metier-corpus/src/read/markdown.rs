use super::text::{NO_TEXT, whole};
use super::{Found, Invalid, Raw, Read, Size, size_of_files, some_files};
use crate::markdown;
use crate::packing::with_packed;
use metier_core::data::{Document, Piece, Pieces};
use metier_core::part::{Build, Part};
use metier_core::{Fault, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// # What it does
/// Reads Markdown documents as plain text, one document a file. Files ending in `.bz2`, `.gz` or `.zst` are decompressed.
///
/// # How
/// CommonMark with GitHub's tables, footnotes, task lists, strikethrough and alerts, mathematics between dollar signs, `[[links]]` of notes, and
/// attributes of headings. What becomes of it:
///
/// - Headings and paragraphs are blocks with an empty line between them; the lines of a paragraph become one, unless their break is a hard one.
/// - Items of lists are lines with `- `, or their number, indented by two spaces for each level; further paragraphs of an item are lines.
/// - Code stays with its white space, without the fences and backticks around it; mathematics stays as written.
/// - Rows of tables are lines with tabs between cells.
/// - Links and footnote marks leave their label, an address in angle brackets itself; definitions of footnotes are paragraphs.
/// - Gone are front matter (YAML, TOML), marks of emphasis, headings and quotations, link targets and their definitions, images with their
///   descriptions, rules, and of HTML the tags, comments, scripts and styles; the text between tags stays. `<br>` ends a line.
///
/// Pieces point at the words in the file; signs that are written in another way there (`&amp;`) have none. A document of more than 8 MiB is refused,
/// or dropped with `invalid = "skip"`, since its tree would need many times that memory.
///
/// # When to use
/// For documentation and notes that are to become prose. Where a model is to write Markdown itself, the reader `text` keeps it as it stands.
///
/// # Differs from the paper in
/// Nothing: no paper stands behind it.
///
/// # Source
/// metier; the language is CommonMark 0.31 as pulldown-cmark reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Markdown {
    /// Patterns of the files to read, against the path below the folder or the file's name alone.
    pub include: Vec<String>,
    /// Patterns of files to leave out.
    pub exclude: Vec<String>,
    /// The license of every document read; the asset's own when it is left out.
    pub license: Option<String>,
    /// What becomes of files that are no UTF-8, or too large.
    pub invalid: Invalid,
}

impl Default for Markdown {
    fn default() -> Self {
        let include = with_packed(&["*.md", "*.markdown"]);
        Self { include, exclude: Vec::new(), license: None, invalid: Invalid::Refuse }
    }
}

/// Bytes of the largest document of which a tree is made.
const LARGEST: usize = if cfg!(test) { 1 << 21 } else { 8 << 20 };
/// Bytes of a tree for each byte of text, in documents that people write.
const OF_BYTE: u64 = 8;

/// Why a document is dropped of which no tree is made.
const TOO_LARGE: &str = "more than 8 MiB of Markdown";

/// The document, of which the text is still Markdown, as plain text.
fn plain(document: Document) -> Document {
    let mark = document.pieces.0.first().map_or(0, |piece| piece.source);
    let (text, pieces) = markdown::plain(&document.text);
    let moved = |piece: Piece| Piece { source: piece.source + mark, ..piece };
    Document { text, pieces: Pieces(pieces.0.into_iter().map(moved).collect()), ..document }
}

impl Read for Markdown {
    fn files(&self, path: &Path) -> Result<Vec<(String, PathBuf)>> {
        some_files(path, &self.include, &self.exclude)
    }

    fn open_files<'a>(&'a self, _: &Path, files: Vec<(String, PathBuf)>, passed: usize) -> Found<'a> {
        Box::new(files.into_iter().skip(passed).map(|(name, path)| {
            let read = match whole(&name, &path, self.license.as_ref()) {
                Ok(read) => read,
                Err(error) => return self.invalid.rest(name, error),
            };
            let (reason, document) = match read {
                Ok(document) if document.text.len() > LARGEST => {
                    let message = format!("the document has more than {LARGEST} bytes");
                    let hint = "read it with `text`, cut it into parts, or leave it out with `exclude`";
                    (TOO_LARGE, Err(Fault::new(Place::file(&path), message).hint(hint).into()))
                }
                read => (NO_TEXT, read.map(plain)),
            };
            self.invalid.item(name, reason, document).map(Raw::known)
        }))
    }

    fn size(&self, path: &Path) -> Result<Size> {
        let size = size_of_files(path, &self.include, &self.exclude)?;
        Ok(Size { held: OF_BYTE * size.largest.min(LARGEST as u64), ..size })
    }
}

impl Build<dyn Read> for Markdown {
    fn build(self, _: &Place) -> Result<Box<dyn Read>> {
        Ok(Box::new(self))
    }
}

/// The record of `markdown`.
pub static PART: Part<dyn Read> = Part::of::<Markdown>("markdown", 1);

#[cfg(test)]
mod tests {
    use super::super::Item;
    use super::*;

    #[test]
    fn documents_are_plain_text_with_a_way_back() {
        let folder = tempfile::tempdir().unwrap();
        let source = "\u{feff}# One\n\nTwo *three*\nfour\0.\n";
        std::fs::write(folder.path().join("a.md"), source).unwrap();
        std::fs::write(folder.path().join("b.markdown.zst"), zstd::encode_all(&b"- item"[..], 1).unwrap()).unwrap();
        std::fs::write(folder.path().join("c.txt"), "no").unwrap();
        std::fs::write(folder.path().join("d.md"), "").unwrap();
        let reader = Markdown::default();
        let items: Vec<_> = reader.open(folder.path()).unwrap().map(Result::unwrap).collect();
        let [Item::Document(one), Item::Document(two), Item::Document(empty)] = &items[..] else { panic!("{items:?}") };
        assert_eq!((one.id.as_str(), one.text.as_str()), ("a.md", "One\n\nTwo three four."));
        let (from, to) = one.pieces.source_of(9, 14).unwrap();
        assert_eq!(&source[from..to], "three");
        assert_eq!((two.text.as_str(), empty.text.as_str()), ("- item", ""));
        assert_eq!(reader.open_behind(folder.path(), 2).unwrap().count(), 1);
        let size = reader.size(folder.path()).unwrap();
        assert!(size.documents == 3 && size.held >= 8 * size.largest, "{size:?}");
    }

    #[test]
    fn what_is_no_text_or_too_large_is_refused_or_dropped() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.md"), b"# One\ntw\xff").unwrap();
        let large = zstd::encode_all(&vec![b'*'; LARGEST + 1][..], 1).unwrap();
        let (cut, whole) = (large.len() - 3, folder.path().join("c.md.zst"));
        std::fs::write(folder.path().join("b.md.zst"), &large).unwrap();
        std::fs::write(&whole, &large[..cut]).unwrap();
        let reader = |invalid| Markdown { invalid, ..Markdown::default() };
        let refuse = reader(Invalid::Refuse);
        let said: Vec<_> = refuse.open(folder.path()).unwrap().map(|item| item.unwrap_err().to_string()).collect();
        assert!(said[0].contains("a.md:2:3: byte 8 (0xff) is no UTF-8"), "{said:?}");
        assert!(said[1].contains("b.md.zst: the document has more than 2097152 bytes"), "{said:?}");
        assert!(said[2].contains("c.md.zst: "), "{said:?}");
        std::fs::remove_file(whole).unwrap();
        let skip = reader(Invalid::Skip);
        let items: Vec<_> = skip.open(folder.path()).unwrap().map(Result::unwrap).collect();
        let dropped = |id: &str, reason| Item::Skipped { id: id.into(), reason };
        assert_eq!(items, [dropped("a.md", NO_TEXT), dropped("b.md.zst", TOO_LARGE)]);
    }
}
