use super::text::{bytes_of, hex};
use super::{Found, Invalid, Item, Raw, Read, Size, size_of_files, some_files};
use crate::html;
use crate::packing::with_packed;
use metier_core::data::{Document, Metadata};
use metier_core::part::{Build, Part};
use metier_core::{Fault, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// # What it does
/// Reads web pages and documentation in HTML as their main text, one document a page. Files ending in `.bz2`, `.gz` or `.zst` are decompressed.
///
/// # How
/// Headings, paragraphs and items of lists stand on lines of their own, cells of a table's row on one line between tabs, code with its white space, the
/// text of links without their address. Menus, headers and footers of the site, breadcrumbs, banners, advertisements, forms, lists of related
/// pages, comments, links to a heading, line numbers, scripts and what is not shown are left out.
///
/// Elements are told by their tags, by `role`, and by words of `class` and `id`; what these say is not believed of an element that has 60 % of the
/// text outside of links. The main text is then in `main`, or in the innermost element that has 80 % of the text outside of links. At the edges of it lines go
/// of which more than 60 % is links, or that name the page before or its maker. A list of the page's own headings goes. The first heading comes along
/// when it stands before. The title is the first line where no heading of the text says it.
///
/// The encoding is that of the byte order mark, else the one the page states, else UTF-8. Bytes that are not of it become U+FFFD, and the document's
/// `partial` says so; NUL bytes go. Pieces are those of the page where it is in UTF-8; text in other encodings has none. Elements beyond 512 inside each other
/// and blocks beyond a million in one page are read as one with what is before them. A file that is damaged in its compression, or of more than 1 GiB, is refused, or set
/// aside with `invalid = "quarantine"`.
///
/// # When to use
/// For web pages, and for manuals that are at hand in HTML only.
///
/// # Differs from the paper in
/// The papers train a classifier of blocks or weigh paragraphs by stop words of a language; here blocks are told by their elements, names and links, so nothing is learned and
/// no language is preferred.
///
/// # Source
/// Kohlschütter, Fankhauser and Nejdl 2010, *Boilerplate Detection using Shallow Text Features*; Pomikálek 2011, *Removing Boilerplate and Duplicate Content from Web Corpora*; the
/// rules are metier's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Html {
    /// Patterns of the files to read, against the path below the folder or the file's name alone.
    pub include: Vec<String>,
    /// Patterns of files to leave out.
    pub exclude: Vec<String>,
    /// The license of every document read; the asset's own when it is left out.
    pub license: Option<String>,
    /// What becomes of files that cannot be read.
    pub invalid: Invalid,
}

impl Default for Html {
    fn default() -> Self {
        let include = with_packed(&["*.html", "*.htm", "*.xhtml"]);
        Self { include, exclude: Vec::new(), license: None, invalid: Invalid::Refuse }
    }
}

impl Html {
    fn document(&self, name: String, path: &Path) -> Result<Document> {
        let bytes = bytes_of(path)?;
        let decoded = html::decode(&bytes);
        let mut main = html::main_text(&decoded.text);
        match decoded.begin {
            Some(begin) => main.pieces.0.iter_mut().for_each(|piece| piece.source += begin),
            None => main.pieces.0.clear(),
        }
        let mut partial = Vec::new();
        if let Some(encoding) = decoded.broken {
            let before = decoded.text.split('\u{fffd}').next().unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            let message = format!("bytes from here on are no {encoding}; they are read as U+FFFD");
            partial.push(Fault::new(Place::file(path).at(line, column), message).to_string());
        }
        if main.full {
            let message = "the page has more blocks than are told apart; those behind have no way back to it";
            partial.push(Fault::new(Place::file(path), message).to_string());
        }
        Ok(Document {
            id: name.clone(),
            text: main.text,
            source: name,
            source_sha256: hex(&Sha256::digest(&bytes)),
            license: self.license.clone().unwrap_or_default(),
            pieces: main.pieces,
            partial,
            metadata: Metadata::new(),
        })
    }
}

impl Read for Html {
    fn files(&self, path: &Path) -> Result<Vec<(String, PathBuf)>> {
        some_files(path, &self.include, &self.exclude)
    }

    fn open_files<'a>(&'a self, _: &Path, files: Vec<(String, PathBuf)>, passed: usize) -> Found<'a> {
        Box::new(files.into_iter().skip(passed).map(|(name, path)| match self.document(name.clone(), &path) {
            Ok(document) => Ok(Raw::known(Item::Document(document))),
            Err(fault) => self.invalid.rest(name, fault),
        }))
    }

    fn size(&self, path: &Path) -> Result<Size> {
        let size = size_of_files(path, &self.include, &self.exclude)?;
        Ok(Size { held: html::planned_memory(size.largest), ..size })
    }
}

impl Build<dyn Read> for Html {
    fn build(self, _: &Place) -> Result<Box<dyn Read>> {
        Ok(Box::new(self))
    }
}

/// The record of `html`.
pub static PART: Part<dyn Read> = Part::of::<Html>("html", 1);

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn read(name: &str, bytes: &[u8]) -> Document {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(name), bytes).unwrap();
        let items: Vec<_> = Html::default().open(folder.path()).unwrap().map(Result::unwrap).collect();
        let [Item::Document(document)] = &items[..] else { panic!("{items:?}") };
        document.clone()
    }

    #[test]
    fn encodings_are_those_of_the_mark_of_the_page_or_utf_8() {
        let text = |bytes: &[u8]| read("a.htm", bytes).text;
        assert_eq!(text("<p>Käse".as_bytes()), "Käse");
        assert_eq!(text(b"<meta charset=windows-1252><p>K\xe4se \x80"), "Käse €");
        assert_eq!(text(b"<?xml version='1.0' encoding='iso-8859-1'?><p>K\xe4se</p>"), "Käse");
        assert_eq!(text(b"<meta http-equiv=x content='text/html; charset=Shift_JIS'><p>\x83\x65"), "テ");
        let wide: Vec<u8> = "\u{feff}<meta charset=utf-8><p>Käse".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(text(&wide), "Käse");
        assert_eq!(text("<meta charset=utf-16><p>Käse".as_bytes()), "Käse");
    }

    #[test]
    fn pieces_point_into_pages_that_are_utf_8_and_only_those() {
        let page = "\u{feff}<h1>One</h1><p>Two\nthree</p>";
        let document = read("a.html", page.as_bytes());
        assert_eq!(document.text, "One\n\nTwo three");
        let (from, to) = document.pieces.source_of(5, 14).unwrap();
        assert_eq!(&page.as_bytes()[from..to], b"Two\nthree");
        assert!(read("a.html", b"<meta charset=latin1><p>One").pieces.0.is_empty());
    }

    #[test]
    fn bytes_that_are_no_characters_are_said_with_their_place() {
        let document = read("a.xhtml", b"<p>One\n<p>K\xe4se and more");
        assert_eq!(document.text, "One\n\nK\u{fffd}se and more");
        let [said] = &document.partial[..] else { panic!("{:?}", document.partial) };
        assert!(said.contains("a.xhtml:2:5: bytes from here on are no UTF-8"), "{said}");
    }

    #[test]
    fn compressed_pages_are_read_and_plans_say_what_reading_takes() {
        let folder = tempfile::tempdir().unwrap();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(b"<p>One").unwrap();
        std::fs::write(folder.path().join("a.html.gz"), gzip.finish().unwrap()).unwrap();
        std::fs::write(folder.path().join("b.html"), "x".repeat(1000)).unwrap();
        std::fs::write(folder.path().join("c.txt"), "no").unwrap();
        let reader = Html::default();
        let ids: Vec<_> = reader.open(folder.path()).unwrap().map(|item| format!("{:?}", item.unwrap())).collect();
        assert!(ids.len() == 2 && ids[0].contains("\"a.html.gz\"") && ids[0].contains("text: \"One\""), "{ids:?}");
        let size = reader.size(folder.path()).unwrap();
        assert_eq!((size.documents, size.largest), (2, 1000));
        assert!(size.held >= 5000 && crate::planned_memory(size) >= size.held, "{size:?}");
        assert_eq!(reader.open_behind(folder.path(), 1).unwrap().count(), 1);
    }

    #[test]
    fn a_damaged_file_is_refused_or_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.html.gz"), b"no gzip").unwrap();
        std::fs::write(folder.path().join("b.html"), "<p>Two").unwrap();
        let said = Html::default().open(folder.path()).unwrap().next().unwrap().unwrap_err().to_string();
        assert!(said.contains("a.html.gz: cannot read: "), "{said}");
        let reader = Html { invalid: Invalid::Quarantine, ..Html::default() };
        let items: Vec<_> = reader.open(folder.path()).unwrap().map(Result::unwrap).collect();
        let [Item::Quarantined { id, fault, .. }, Item::Document(two)] = &items[..] else { panic!("{items:?}") };
        assert_eq!((id.as_str(), fault.to_string(), two.text.as_str()), ("a.html.gz", said, "Two"));
    }
}
