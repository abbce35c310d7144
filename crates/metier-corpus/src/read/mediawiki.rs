use super::{Found, Invalid, Item, Raw, Read, Size, files, hex, open_bytes, some_files, text_bytes};
use crate::packing::with_packed;
use crate::wikitext::{self, Hidden};
use metier_core::data::{Document, Metadata, Piece, Pieces};
use metier_core::part::{Build, Part};
use metier_core::{Error, Place, Result};
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::{BytesStart, Event};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::io::{BufRead, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// # What it does
/// Reads dumps of wikis (`pages-articles.xml`, `.bz2`, `.gz` or `.zst`) as the text of their pages, one document a page.
///
/// # How
/// A page's title is the first line, its id is the file's path and the page's number in the wiki, its source the path and the title. Pages outside of
/// `namespaces` are passed over; redirects and pages without text are dropped and counted. Where a page has several revisions, the last one is read.
///
/// What becomes of wikitext: headings are lines, those with nothing behind them go; items of lists are lines with `- `, indented by two spaces for each
/// level; links and addresses leave their label; `<nowiki>`, `<pre>` and code stay as written, formulas between dollar signs; characters written by name or
/// number become themselves. Gone are templates and their parameters, tables, footnotes, comments, files with their captions, categories, links to
/// other languages, galleries and the like, marks of emphasis, magic words, tags of HTML, and parentheses and spaces that are empty without what stood in them. What is opened
/// and never closed stays as it is written. Templates are not expanded, so what only they say (units, dates, quotations) is lost.
///
/// Pages are read one at a time, none of more than 64 MiB. Pieces are counted in the page's wikitext, whose SHA-256 is the source hash. A dump that is cut off, is no XML or no UTF-8 is
/// refused with the line, or what is left of it set aside with `invalid = "quarantine"`, and so is a page without a number.
///
/// # When to use
/// For Wikipedia and other wikis that run MediaWiki. Dumps state no license: set it (Wikipedia's text is CC-BY-SA-4.0).
///
/// # Differs from the paper in
/// Nothing: no paper stands behind it.
///
/// # Source
/// metier; the format is MediaWiki's export schema 0.11.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Mediawiki {
    /// Patterns of the files to read.
    pub include: Vec<String>,
    /// Numbers of the namespaces whose pages are read: 0 has the articles, 4 the wiki's own pages, 12 the help.
    pub namespaces: BTreeSet<i64>,
    /// The license of every document read; the asset's own when it is left out.
    pub license: Option<String>,
    /// What becomes of what is left of a damaged dump.
    pub invalid: Invalid,
}

impl Default for Mediawiki {
    fn default() -> Self {
        let (include, namespaces) = (with_packed(&["*.xml"]), BTreeSet::from([0]));
        Self { include, namespaces, license: None, invalid: Invalid::Refuse }
    }
}

/// Bytes of the largest page, for whose brackets up to fourteen times as many are held. A wiki takes 2 MiB unless it says otherwise.
const LARGEST: u64 = if cfg!(test) { 1 << 20 } else { 1 << 26 };
/// Elements that may stand inside each other.
const DEEPEST: usize = 32;

/// The bytes of a file, of which a piece of XML takes at most [`LARGEST`], and their lines.
struct Source {
    bytes: Box<dyn BufRead + Send>,
    left: u64,
    line: usize,
}

impl std::io::Read for Source {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let length = self.fill_buf()?.read(out)?;
        self.consume(length);
        Ok(length)
    }
}

impl BufRead for Source {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        if self.left == 0 {
            return Err(std::io::Error::other(format!("a text or a tag has more than {LARGEST} bytes")));
        }
        let bytes = self.bytes.fill_buf()?;
        Ok(&bytes[..bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX))])
    }

    fn consume(&mut self, amount: usize) {
        if let Ok(bytes) = self.bytes.fill_buf() {
            self.line += bytes[..amount.min(bytes.len())].iter().map(|byte| usize::from(*byte == b'\n')).sum::<usize>();
        }
        self.left = self.left.saturating_sub(amount as u64);
        self.bytes.consume(amount);
    }
}

/// A dump that is being read.
struct Dump {
    name: Arc<str>,
    path: Arc<Path>,
    xml: quick_xml::Reader<Source>,
    /// The elements that are open, and whether there was any.
    open: Vec<Element>,
    began: bool,
    hidden: Arc<Hidden>,
    page: Page,
}

/// Elements that say something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Element {
    Mediawiki,
    Page,
    Title,
    Space,
    Id,
    Revision,
    Text,
    /// The name of a namespace, to which links show nothing if this holds.
    Namespace(bool),
    Other,
}

/// What is known of a page.
#[derive(Debug, Clone, Default)]
struct Page {
    line: usize,
    title: String,
    space: String,
    id: String,
    text: String,
    redirect: bool,
}

impl Dump {
    fn open(name: String, path: PathBuf) -> Result<Self> {
        let source = Source { bytes: open_bytes(&path)?, left: LARGEST, line: 1 };
        let (xml, hidden) = (quick_xml::Reader::from_reader(source), Arc::default());
        let (name, path) = (name.into(), path.into());
        Ok(Self { name, path, xml, open: Vec::new(), began: false, hidden, page: Page::default() })
    }

    fn fault(&self, message: impl Into<String>) -> Error {
        Error::user(Place::file(&self.path).at(self.xml.get_ref().line, 1), message)
    }

    /// The next page of these namespaces.
    fn next(&mut self, spaces: &BTreeSet<i64>) -> Result<Option<Page>> {
        let mut buffer = Vec::new();
        loop {
            buffer.clear();
            self.xml.get_mut().left = LARGEST;
            let event = self.xml.read_event_into(&mut buffer);
            match event.map_err(|error| self.fault(format!("the dump is damaged or cut off: {error}")))? {
                Event::Start(tag) => self.start(&tag)?,
                Event::Empty(tag) => {
                    self.start(&tag)?;
                    self.open.pop();
                }
                Event::End(_) if self.open.pop() == Some(Element::Page) => {
                    let page = std::mem::take(&mut self.page);
                    // Dumps of old say nothing of namespaces.
                    let space = if page.space.is_empty() { Ok(0) } else { page.space.trim().parse() };
                    if space.is_ok_and(|space| spaces.contains(&space)) {
                        return Ok(Some(page));
                    }
                }
                Event::Text(text) => self.text(&text.xml10_content())?,
                Event::CData(text) => self.text(&text.xml10_content())?,
                Event::GeneralRef(name) => {
                    let letter =
                        name.resolve_char_ref().map_err(|error| self.fault(error.to_string()))?.map(String::from);
                    let named = || resolve_xml_entity(&name).map(str::to_owned);
                    let letter =
                        letter.or_else(named).ok_or_else(|| self.fault(format!("`&{};` is unknown", &*name)))?;
                    self.text(&letter)?;
                }
                Event::Eof if self.began && self.open.is_empty() => return Ok(None),
                Event::Eof => return Err(self.fault("the dump is cut off, or no XML")),
                Event::End(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
            }
        }
    }

    /// Opens an element.
    fn start(&mut self, tag: &BytesStart) -> Result<()> {
        let name = tag.local_name();
        let element = match (self.open.last(), name.as_ref()) {
            (None, "mediawiki") => Element::Mediawiki,
            (None, other) => {
                let error = self.fault(format!("the file begins with <{other}>: it is no dump of MediaWiki"));
                return Err(error.hint("set `include` to the names of dumps"));
            }
            (Some(Element::Mediawiki), "page") => {
                self.page = Page { line: self.xml.get_ref().line, ..Page::default() };
                Element::Page
            }
            (Some(Element::Page), "title") => Element::Title,
            (Some(Element::Page), "ns") => Element::Space,
            (Some(Element::Page), "id") => Element::Id,
            (Some(Element::Page), "redirect") => {
                self.page.redirect = true;
                Element::Other
            }
            (Some(Element::Page), "revision") => Element::Revision,
            (Some(Element::Revision), "text") => {
                self.page.text.clear();
                Element::Text
            }
            (_, "namespace") => {
                let key = tag.try_get_attribute("key").ok().flatten();
                Element::Namespace(key.is_some_and(|key| HIDDEN.contains(&&*key.value)))
            }
            _ => Element::Other,
        };
        if self.open.len() == DEEPEST {
            return Err(self.fault(format!("more than {DEEPEST} elements stand inside each other")));
        }
        self.began = true;
        self.open.push(element);
        Ok(())
    }

    /// Takes a text over to where it belongs.
    fn text(&mut self, text: &str) -> Result<()> {
        let page = &mut self.page;
        let place = Place::file(&self.path).at(page.line, 1);
        let to = match self.open.last() {
            Some(Element::Title) => &mut page.title,
            Some(Element::Space) => &mut page.space,
            Some(Element::Id) => &mut page.id,
            Some(Element::Text) => &mut page.text,
            Some(Element::Namespace(true)) => {
                Arc::make_mut(&mut self.hidden).add(text);
                return Ok(());
            }
            _ => return Ok(()),
        };
        if (to.len() + text.len()) as u64 > LARGEST {
            return Err(Error::user(place, format!("the page has more than {LARGEST} bytes")));
        }
        to.push_str(text);
        Ok(())
    }
}

impl Mediawiki {
    fn raw(&self, dump: &Dump, page: Page) -> Result<Raw<'_>> {
        let number = page.id.trim();
        if number.is_empty() {
            let fault = Error::user(Place::file(&dump.path).at(page.line, 1), "the page has no id");
            return self.invalid.rest(format!("{}:line {}", dump.name, page.line), fault);
        }
        let (id, title) = (format!("{}:{number}", dump.name), page.title.trim().to_owned());
        let (source, hidden) = (format!("{}:{title}", dump.name), Arc::clone(&dump.hidden));
        Ok(Raw::new(page.text.len(), move || {
            let begins = page.text.get(..9).unwrap_or_default();
            let skipped = |id, reason| Ok(Item::Skipped { id, reason });
            if page.redirect || begins.eq_ignore_ascii_case("#redirect") {
                return skipped(id, REDIRECT);
            }
            let (text, pieces) = wikitext::plain(&page.text, &hidden);
            if text.is_empty() {
                return skipped(id, NO_TEXT);
            }
            let before = title.len() + 2;
            let moved = |piece: Piece| Piece { start: piece.start + before, ..piece };
            Ok(Item::Document(Document {
                id,
                text: format!("{title}\n\n{text}"),
                source,
                source_sha256: hex(&Sha256::digest(page.text.as_bytes())),
                license: self.license.clone().unwrap_or_default(),
                pieces: Pieces(pieces.0.into_iter().map(moved).collect()),
                partial: Vec::new(),
                metadata: Metadata::new(),
            }))
        }))
    }
}

impl Read for Mediawiki {
    fn files(&self, path: &Path) -> Result<Vec<(String, PathBuf)>> {
        some_files(path, &self.include, &[])
    }

    fn open_files<'a>(&'a self, _: &Path, files: Vec<(String, PathBuf)>, mut passed: usize) -> Found<'a> {
        let (mut files, mut dump) = (files.into_iter(), None);
        Box::new(std::iter::from_fn(move || {
            loop {
                let rest = match &mut dump {
                    None => {
                        let (name, path) = files.next()?;
                        match Dump::open(name.clone(), path) {
                            Ok(open) => {
                                dump = Some(open);
                                continue;
                            }
                            Err(fault) => self.invalid.rest(name, fault),
                        }
                    }
                    Some(open) => match open.next(&self.namespaces) {
                        Ok(None) => {
                            dump = None;
                            continue;
                        }
                        Ok(Some(page)) if passed == 0 => return Some(self.raw(open, page)),
                        Ok(Some(_)) => {
                            passed -= 1;
                            continue;
                        }
                        Err(fault) => {
                            let id = format!("{}:line {}", open.name, open.xml.get_ref().line);
                            dump = None;
                            self.invalid.rest(id, fault)
                        }
                    },
                };
                match rest {
                    Ok(_) if passed > 0 => passed -= 1,
                    rest => return Some(rest),
                }
            }
        }))
    }

    fn size(&self, path: &Path) -> Result<Size> {
        let (mut size, mut pages, mut bytes) = (Size::default(), 0, 0);
        for (index, (_, path)) in files(path, &self.include, &[])?.into_iter().enumerate() {
            size.text_bytes += text_bytes(&path)?;
            // Pages are about as long as the first ones.
            let mut beginning = open_bytes(&path)?.take(if index < LOOKED_AT { BEGINNING } else { 0 });
            let mut line = Vec::new();
            while let Ok(length @ 1..) = beginning.read_until(b'\n', &mut line) {
                pages += u64::from(line.trim_ascii_start().starts_with(b"<page>"));
                bytes += length as u64;
                line.clear();
            }
        }
        size.documents = (size.text_bytes * pages).div_ceil(bytes.max(1));
        size.largest = size.text_bytes.min(ARTICLE);
        size.held = OF_BYTE * size.largest;
        Ok(size)
    }
}

/// Why pages are dropped.
const REDIRECT: &str = "a redirect to another page";
const NO_TEXT: &str = "no text outside of templates and tables";
/// Namespaces to which a link shows nothing: media, files, categories.
const HIDDEN: [&str; 3] = ["-2", "6", "14"];
/// Files, and bytes of each, that are read to tell how long pages are.
const LOOKED_AT: usize = 8;
const BEGINNING: u64 = 1 << 20;
/// Bytes of the longest page that a wiki takes unless it says otherwise, and bytes that are held for each of them.
const ARTICLE: u64 = 2 << 20;
const OF_BYTE: u64 = 8;

impl Build<dyn Read> for Mediawiki {
    fn build(self, _: &Place) -> Result<Box<dyn Read>> {
        Ok(Box::new(self))
    }
}

/// The record of `mediawiki`.
pub static PART: Part<dyn Read> = Part::of::<Mediawiki>("mediawiki", 1);

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str = include_str!("../../../../fixtures/wiki/pages.xml");

    fn items(reader: &Mediawiki, name: &str, bytes: &[u8]) -> Vec<Result<Item>> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(name), bytes).unwrap();
        reader.open(folder.path()).unwrap().collect()
    }

    fn said(bytes: &[u8]) -> String {
        items(&Mediawiki::default(), "a.xml", bytes).into_iter().find_map(Result::err).unwrap().to_string()
    }

    #[test]
    fn pages_are_documents_and_redirects_are_counted() {
        let packed = zstd::encode_all(DUMP.as_bytes(), 1).unwrap();
        let found = items(&Mediawiki::default(), "a.xml.zst", &packed);
        let found: Vec<_> = found.into_iter().map(Result::unwrap).collect();
        let [
            Item::Document(mill),
            Item::Skipped { id, reason },
            Item::Document(second),
            Item::Skipped { reason: empty, .. },
        ] = &found[..]
        else {
            panic!("{found:?}")
        };
        assert_eq!((mill.id.as_str(), mill.source.as_str()), ("a.xml.zst:12", "a.xml.zst:Water mill & weir"));
        assert!(mill.text.starts_with("Water mill & weir\n\nA water mill is a mill"), "{}", mill.text);
        assert_eq!((id.as_str(), *reason, *empty), ("a.xml.zst:13", REDIRECT, NO_TEXT));
        assert!(second.text.contains("last revision") && !second.text.contains("first revision"), "{}", second.text);
        // Pieces stand in the wikitext.
        let wikitext =
            DUMP.split("<text bytes=\"1\" xml:space=\"preserve\">").nth(1).unwrap().split("</text>").next().unwrap();
        let wikitext = quick_xml::escape::unescape(wikitext).unwrap();
        assert_eq!(mill.source_sha256, hex(&Sha256::digest(wikitext.as_bytes())));
        assert!(mill.pieces.0.len() > 10);
        for piece in &mill.pieces.0 {
            let source = &wikitext[piece.source..piece.source + piece.length];
            assert_eq!(&mill.text[piece.start..piece.start + piece.length], source);
        }
    }

    #[test]
    fn namespaces_are_chosen_and_pages_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.xml"), DUMP).unwrap();
        std::fs::write(folder.path().join("b.xml"), DUMP).unwrap();
        let reader =
            Mediawiki { namespaces: BTreeSet::from([0, 10]), license: Some("CC0-1.0".into()), ..Mediawiki::default() };
        let all: Vec<_> = reader.open(folder.path()).unwrap().map(Result::unwrap).collect();
        assert_eq!(all.len(), 10);
        assert!(all.iter().all(|item| !matches!(item, Item::Document(document) if document.license != "CC0-1.0")));
        for passed in 0..=10 {
            let behind: Vec<_> =
                reader.open_behind(folder.path(), passed).unwrap().map(|raw| raw.unwrap().item().unwrap()).collect();
            assert_eq!(behind, all[passed..]);
        }
        let size = reader.size(folder.path()).unwrap();
        assert_eq!((size.documents, size.text_bytes), (10, 2 * DUMP.len() as u64));
    }

    #[test]
    fn what_is_left_of_a_damaged_dump_is_set_aside_and_the_next_one_read() {
        let folder = tempfile::tempdir().unwrap();
        let cut = DUMP.find("</page>").unwrap() + "</page>".len();
        std::fs::write(folder.path().join("a.xml"), &DUMP[..cut + 10]).unwrap();
        std::fs::write(folder.path().join("b.xml"), "no dump").unwrap();
        std::fs::write(folder.path().join("c.xml.gz"), "no gzip").unwrap();
        std::fs::write(folder.path().join("d.xml"), "<mediawiki><page><ns>0</ns></page>\n</mediawiki>").unwrap();
        std::fs::write(folder.path().join("e.xml"), DUMP).unwrap();
        let reader = Mediawiki { invalid: Invalid::Quarantine, ..Mediawiki::default() };
        let all: Vec<_> = reader.open(folder.path()).unwrap().map(Result::unwrap).collect();
        let aside = all.iter().filter_map(|item| match item {
            Item::Quarantined { id, fault, .. } => Some((id.as_str(), fault.to_string())),
            _ => None,
        });
        let aside: Vec<_> = aside.collect();
        let ids: Vec<_> = aside.iter().map(|(id, _)| *id).collect();
        assert_eq!(ids.len(), 4, "{aside:?}");
        assert!(ids[0].starts_with("a.xml:line ") && ids[1] == "b.xml:line 1" && ids[3] == "d.xml:line 1", "{aside:?}");
        assert!(aside[0].1.contains("the dump is cut off") && aside[3].1.contains("the page has no id"), "{aside:?}");
        let whole: Vec<_> = reader.open(&folder.path().join("e.xml")).unwrap().map(Result::unwrap).collect();
        assert!(whole.len() == 4 && all.ends_with(&whole), "{all:?}");
        for passed in 0..=all.len() {
            let behind = reader.open_behind(folder.path(), passed).unwrap().map(|raw| raw.unwrap().item().unwrap());
            assert_eq!(behind.collect::<Vec<_>>(), all[passed..]);
        }
    }

    #[test]
    fn what_is_no_dump_is_refused_with_its_line() {
        let cut = DUMP.find("</revision>").unwrap();
        for (bytes, expected) in [
            (&b""[..], "a.xml:1:1: the dump is cut off, or no XML"),
            (b"plain text", "a.xml:1:1: the dump is cut off, or no XML"),
            (
                b"\n<html><body>",
                "a.xml:2:1: the file begins with <html>: it is no dump of MediaWiki\n  hint: set `include`",
            ),
            (&DUMP.as_bytes()[..cut], "the dump is cut off, or no XML"),
            (b"<mediawiki>\n<page></mediawiki>", "a.xml:2:1: the dump is damaged or cut off: "),
            (b"<mediawiki>\n<page><ns>0</ns></page>", "a.xml:2:1: the page has no id"),
            (b"<mediawiki><page><title>&nope;", "a.xml:1:1: `&nope;` is unknown"),
            (b"<mediawiki>\n\n<page><title>\xff</title>", "a.xml:3:1: the dump is damaged or cut off: "),
            (&[0; 100], "the dump is cut off, or no XML"),
        ] {
            let said = said(bytes);
            assert!(said.contains(expected), "{said}");
        }
        let deep = format!("<mediawiki>{}", "<a>".repeat(100));
        assert!(said(deep.as_bytes()).contains("more than 32 elements stand inside each other"));
        let text = |length: u64| {
            format!("<mediawiki><page><id>1</id><revision><text>{}", "&lt;x".repeat(length as usize / 2 + 100))
        };
        let large = said(text(LARGEST).as_bytes());
        assert!(large.contains("a.xml:1:1: the page has more than"), "{large}");
        let tag = format!("<mediawiki><page a='{}", " ".repeat(LARGEST as usize + 100));
        assert!(said(tag.as_bytes()).contains("a text or a tag has more than"));
    }
}
