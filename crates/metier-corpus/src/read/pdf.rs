use super::text::bytes_of;
use super::{File, Found, Invalid, Item, Raw, Read, Size, hex, size_of_files, some_files};
use crate::packing::with_packed;
use crate::pdf::{self, Page, USUAL};
use metier_core::data::{Document, Metadata, Pieces};
use metier_core::part::{Build, Part};
use metier_core::{Error, Fault, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// # What it does
/// Reads the text of PDF files, one document a file or, with `per_page`, one a page. Files ending in `.bz2`, `.gz` or `.zst` are decompressed.
///
/// # How
/// Signs are written in the order in which the page draws them, with the characters that the font's table (`ToUnicode`) or the names of its glyphs state. Text that is there but not
/// shown, as programs lay it over scans, is read too. Where the next sign stands decides what comes between, in sizes of the font:
///
/// - a space, when it is more than 0.15 ahead,
/// - the end of a line, when it is more than 0.5 below, or more than 1 back,
/// - an empty line, when it is more than 1.8 below, more than 0.5 above, or written in another direction.
///
/// Ligatures become their letters. Lines stay as they stand on the page; a word that is divided at the end of one stays divided, and running heads and page numbers stay.
/// Pages are joined with an empty line. A sign of which the file does not say what it means becomes U+FFFD, and the document's `partial` names the page.
/// There are no pieces, since the text does not stand in the file; with `per_page` the id and the source are the file's path and the number of the page,
/// counted from 1. The source hash is that of the file.
///
/// A PDF that wants a password, is damaged, has no text (a scan), or does not say what most of its signs mean is refused, dropped with `invalid = "skip"`, or set aside with
/// `invalid = "quarantine"`. With `per_page`, a page without text is dropped and counted. Each file is read by a process of its own, which may take 512 MiB of memory apart
/// from the file's size and `seconds` of the processor: a file that wants more is refused in the same way.
///
/// # When to use
/// For papers, manuals and standards of which nothing better than the PDF is at hand: LaTeX or HTML of the same document say more of what belongs together. Not for Arabic
/// or Hebrew: what runs from right to left comes in the order in which it is drawn, which is mostly backwards.
///
/// # Differs from the paper in
/// Nothing: no paper stands behind it. No table, column or heading is searched; a scan is not recognized.
///
/// # Source
/// metier; the format is ISO 32000, as the crate hayro-interpret draws it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Pdf {
    /// Patterns of the files to read, against the path below the folder or the file's name alone.
    pub include: Vec<String>,
    /// Patterns of files to leave out.
    pub exclude: Vec<String>,
    /// Whether each page is a document.
    pub per_page: bool,
    /// Seconds of the processor that reading a file may take.
    #[schemars(range(min = 1))]
    pub seconds: u32,
    /// The license of every document read; the asset's own when it is left out.
    pub license: Option<String>,
    /// What becomes of files that are no PDF with text.
    pub invalid: Invalid,
}

impl Default for Pdf {
    fn default() -> Self {
        let include = with_packed(&["*.pdf"]);
        Self { include, exclude: Vec::new(), per_page: false, seconds: 120, license: None, invalid: Invalid::Refuse }
    }
}

/// Why files and pages are dropped.
const NO_PDF: &str = "no PDF that can be read";
const NO_TEXT: &str = "no text in the PDF";
const NO_TEXT_ON_PAGE: &str = "no text on the page";

/// Bytes of a file for each byte of its text, and for each of its pages.
const OF_TEXT: u64 = 4;
const OF_PAGE: u64 = 8 << 10;

impl Pdf {
    /// The pages of a file with its hash. The inner error is that of the file, the outer one that of the machine.
    fn pages(&self, path: &Path) -> Result<Result<(String, Vec<Page>)>> {
        let bytes = bytes_of(path)?;
        Ok(pdf::pages(path, &bytes, self.seconds)?.map(|pages| (hex(&Sha256::digest(&bytes)), pages)))
    }

    /// A document of pages, of which the first has this number.
    fn document(&self, id: String, source_sha256: String, path: &Path, number: usize, pages: Vec<Page>) -> Document {
        let unknown: u32 = pages.iter().map(|page| page.unknown).sum();
        let first = pages.iter().position(|page| page.unknown > 0).map(|index| {
            let place = Place::file(path).with_key(format!("page {}", number + index));
            let message =
                format!("from here on the file does not say what {unknown} signs mean; they are read as U+FFFD");
            Fault::new(place, message).to_string()
        });
        let texts: Vec<_> = pages.into_iter().map(|page| page.text).filter(|text| !text.is_empty()).collect();
        Document {
            source: id.clone(),
            id,
            text: texts.join("\n\n"),
            source_sha256,
            license: self.license.clone().unwrap_or_default(),
            pieces: Pieces(Vec::new()),
            partial: first.into_iter().collect(),
            metadata: Metadata::new(),
        }
    }

    /// A file as one document.
    fn whole(&self, name: String, path: &Path) -> Result<Item> {
        let (hash, pages) = match self.pages(path) {
            Ok(Ok(read)) => read,
            Ok(Err(fault)) => return self.invalid.item(name, NO_PDF, Err(fault)),
            Err(fault) => return self.invalid.rest(name, fault)?.item(),
        };
        let document = no_text(path, &pages).map_or_else(|| Ok(self.document(name.clone(), hash, path, 1, pages)), Err);
        self.invalid.item(name, NO_TEXT, document)
    }

    /// A file as a document of each page.
    fn each(&self, name: &str, path: &Path) -> Vec<Result<Raw<'static>>> {
        let (hash, pages) = match self.pages(path) {
            Ok(Ok(read)) => read,
            Ok(Err(fault)) => return vec![self.invalid.item(name.to_owned(), NO_PDF, Err(fault)).map(Raw::known)],
            Err(fault) => return vec![self.invalid.rest(name.to_owned(), fault)],
        };
        if let Some(fault) = no_text(path, &pages) {
            return vec![self.invalid.item(name.to_owned(), NO_TEXT, Err(fault)).map(Raw::known)];
        }
        let items = (1..).zip(pages).map(|(number, page)| {
            let id = format!("{name}:{number}");
            if page.text.is_empty() {
                return Item::Skipped { id, reason: NO_TEXT_ON_PAGE };
            }
            Item::Document(self.document(id, hash.clone(), path, number, vec![page]))
        });
        items.map(|item| Ok(Raw::known(item))).collect()
    }
}

/// The fault of pages that say nothing.
fn no_text(path: &Path, pages: &[Page]) -> Option<Error> {
    let signs: usize = pages.iter().map(|page| page.text.chars().filter(|sign| !sign.is_whitespace()).count()).sum();
    let unknown: usize = pages.iter().map(|page| page.unknown as usize).sum();
    let wrong = |message: &str| {
        let hint = "let a program recognize its text first, or drop such files with `invalid = \"skip\"`";
        Some(Fault::new(Place::file(path), message).hint(hint).into())
    };
    match signs {
        0 if pages.is_empty() => wrong("the PDF has no page"),
        0 if pages.iter().any(|page| page.image) => wrong("the PDF has images only and no text: it is a scan"),
        0 => wrong("the PDF has no text"),
        _ if 2 * unknown > signs => wrong("the PDF does not say what most of its signs mean"),
        _ => None,
    }
}

impl Read for Pdf {
    fn files(&self, path: &Path) -> Result<Vec<(String, PathBuf)>> {
        some_files(path, &self.include, &self.exclude)
    }

    fn open_files<'a>(&'a self, _: &Path, files: Vec<(String, PathBuf)>, passed: usize) -> Found<'a> {
        let files = files.into_iter();
        if self.per_page {
            return Box::new(files.flat_map(move |(name, path)| self.each(&name, &path)).skip(passed));
        }
        Box::new(files.skip(passed).map(move |(name, path)| {
            let bytes =
                File::open(&path).and_then(|file| file.length().map_err(|error| Error::io(&path, "open", &error)));
            Ok(Raw::new(bytes.unwrap_or_default() as usize, move || self.whole(name, &path)))
        }))
    }

    fn size(&self, path: &Path) -> Result<Size> {
        let files = size_of_files(path, &self.include, &self.exclude)?;
        let documents = if self.per_page { files.text_bytes.div_ceil(OF_PAGE) } else { files.documents };
        let held = rayon::current_num_threads() as u64 * (3 * files.largest + USUAL);
        Ok(Size { documents, text_bytes: files.text_bytes / OF_TEXT, largest: files.largest / OF_TEXT, held })
    }
}

impl Build<dyn Read> for Pdf {
    fn build(self, _: &Place) -> Result<Box<dyn Read>> {
        Ok(Box::new(self))
    }
}

/// The record of `pdf`.
pub static PART: Part<dyn Read> = Part::of::<Pdf>("pdf", 1);

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str, unknown: u32, image: bool) -> Page {
        Page { text: text.to_owned(), unknown, image }
    }

    #[test]
    fn pages_become_a_document_that_says_what_is_unknown() {
        let pages = vec![page("One", 0, false), page("", 0, true), page("Tw\u{fffd}\u{fffd}", 2, false)];
        assert_eq!(no_text(Path::new("a.pdf"), &pages), None);
        let document = Pdf::default().document("a.pdf".into(), String::new(), Path::new("a.pdf"), 1, pages);
        assert_eq!(document.text, "One\n\nTw\u{fffd}\u{fffd}");
        let [said] = &document.partial[..] else { panic!("{:?}", document.partial) };
        assert!(said.contains("a.pdf: page 3: from here on the file does not say what 2 signs mean"), "{said}");
    }

    #[test]
    fn pages_that_say_nothing_are_told_apart() {
        let said =
            |pages: &[Page]| no_text(Path::new("a.pdf"), pages).map(|fault| fault.to_string()).unwrap_or_default();
        assert!(said(&[]).contains("a.pdf: the PDF has no page"));
        assert!(
            said(&[page("", 0, false), page("", 0, true)])
                .contains("images only and no text: it is a scan\n  hint: let")
        );
        assert!(said(&[page("", 0, false)]).contains("a.pdf: the PDF has no text"));
        assert!(said(&[page("a\u{fffd} \u{fffd}", 2, false)]).contains("does not say what most of its signs mean"));
        assert_eq!(said(&[page("ab", 0, false)]), "");
    }

    #[test]
    fn plans_count_files_or_pages() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.pdf"), vec![b' '; 40_000]).unwrap();
        let size = Pdf::default().size(folder.path()).unwrap();
        assert_eq!((size.documents, size.text_bytes, size.largest), (1, 10_000, 10_000));
        assert!(size.held >= USUAL, "{size:?}");
        assert_eq!(Pdf { per_page: true, ..Pdf::default() }.size(folder.path()).unwrap().documents, 5);
    }
}
