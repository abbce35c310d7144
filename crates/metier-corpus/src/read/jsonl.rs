use super::{Found, Invalid, Item, LARGEST, Raw, Read, Size, files, open_bytes, some_files, text_bytes, too_large};
use crate::packing::with_packed;
use metier_core::data::{Document, Metadata, Pieces};
use metier_core::part::{Build, Part};
use metier_core::{Error, Fault, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::{BufRead, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// # What it does
/// Reads JSON lines, one document a line, from files ending in `.jsonl`, compressed ones (`.bz2`, `.gz`, `.zst`) too.
///
/// # How
/// The text stands under `text_key`. An `id` and a `license` of the line are taken over where they are
/// texts; otherwise the id is the file's path and the line's number. Pieces are counted in the text itself,
/// whose SHA-256 is the source hash. What stands under the keys of `keep` goes with the document, as its `metadata`, for taggers and for `mix`. A line that is no JSON object or has no text is refused with its number,
/// dropped with `invalid = "skip"`, or set aside with `invalid = "quarantine"`, which also goes on behind a file that is
/// damaged. Lines are read one at a time.
///
/// # When to use
/// For corpora that other tools wrote.
///
/// # Differs from the paper in
/// Nothing: no paper stands behind it.
///
/// # Source
/// metier; the layout is the one datatrove and Dolma write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Jsonl {
    /// Patterns of the files to read.
    pub include: Vec<String>,
    /// The key of the text.
    pub text_key: String,
    /// Keys whose values go with the document, such as `url`, or `metadata.url` for one within an object. The last of its names is what
    /// a value is called then.
    pub keep: Vec<String>,
    /// The license of documents whose line states none.
    pub license: Option<String>,
    /// What becomes of lines that are no document.
    pub invalid: Invalid,
}

impl Default for Jsonl {
    fn default() -> Self {
        Self {
            include: with_packed(&["*.jsonl"]),
            text_key: "text".to_owned(),
            keep: Vec::new(),
            license: None,
            invalid: Invalid::Refuse,
        }
    }
}

impl Jsonl {
    /// The document in the line behind `index` others.
    pub(crate) fn document(&self, name: &str, path: &Path, index: usize, line: &[u8]) -> Result<Document> {
        let place = |column: usize| Place::file(path).at(index + 1, column);
        let mut fields: BTreeMap<String, Value> =
            serde_json::from_slice(line).map_err(|error| Error::user(place(error.column()), error.to_string()))?;
        let text = match fields.remove(&self.text_key) {
            Some(Value::String(text)) => text,
            other => {
                let known: Vec<_> = fields.keys().cloned().collect();
                let hint = match other {
                    Some(_) => "what stands there is no text; write it in quotes".to_owned(),
                    None if known.is_empty() => "it has no keys".to_owned(),
                    None => format!("its keys: {}; set `text_key`", known.join(", ")),
                };
                let message = format!("the line has no text under `{}`", self.text_key);
                return Err(Fault::new(place(1), message).hint(hint).into());
            }
        };
        let kept = |key: &String| Some((called(key).to_owned(), value(&fields, key)?.clone()));
        let metadata: Metadata = self.keep.iter().filter_map(kept).collect();
        let mut word = |key: &str| match fields.remove(key) {
            Some(Value::String(word)) => Some(word),
            _ => None,
        };
        Ok(Document {
            id: word("id").filter(|id| !id.is_empty()).unwrap_or_else(|| format!("{name}:{}", index + 1)),
            source: format!("{name}:{}", index + 1),
            source_sha256: super::text::hex(&Sha256::digest(text.as_bytes())),
            license: word("license").or_else(|| self.license.clone()).unwrap_or_default(),
            pieces: Pieces::whole(text.len()),
            partial: Vec::new(),
            metadata,
            text,
        })
    }
}

/// What a value under a key is called: the last of the key's names.
fn called(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

/// The value under a key of this name, or that its names lead to.
fn value<'a>(fields: &'a BTreeMap<String, Value>, key: &str) -> Option<&'a Value> {
    fields.get(key).or_else(|| {
        let mut names = key.split('.');
        let first = fields.get(names.next()?)?;
        names.try_fold(first, |value, name| value.get(name))
    })
}

impl Jsonl {
    fn raw(&self, lines: &Lines, line: Vec<u8>) -> Raw<'_> {
        let (name, path, index) = (Arc::clone(&lines.name), Arc::clone(&lines.path), lines.read - 1);
        Raw::new(line.len(), move || {
            let id = format!("{name}:{}", index + 1);
            let item = self.invalid.item(id, "no document in the line", self.document(&name, &path, index, &line))?;
            Ok(match item {
                Item::Quarantined { id, fault, .. } => Item::Quarantined { id, fault, raw: line },
                item => item,
            })
        })
    }
}

/// Files, and bytes of each, that are read to tell how long lines are.
const LOOKED_AT: usize = 8;
const BEGINNING: u64 = 1 << 20;

/// The lines of a file.
pub(crate) struct Lines {
    name: Arc<str>,
    path: Arc<Path>,
    bytes: Box<dyn BufRead + Send>,
    /// How many were read.
    pub read: usize,
}

impl Lines {
    /// Opens a file, which `name` tells from others.
    pub fn open(name: String, path: PathBuf) -> Result<Self> {
        Ok(Self { bytes: open_bytes(&path)?, name: name.into(), path: path.into(), read: 0 })
    }

    /// The next line, with what ends it.
    pub fn next(&mut self) -> Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        match (&mut self.bytes).take(LARGEST + 1).read_until(b'\n', &mut line) {
            Ok(0) => return Ok(None),
            Ok(length) if length as u64 > LARGEST => Err(too_large(Place::file(&self.path).at(self.read + 1, 1)))?,
            Ok(_) => self.read += 1,
            Err(error) => return Err(Error::io(&self.path, "read", &error)),
        }
        Ok(Some(line))
    }
}

impl Read for Jsonl {
    fn files(&self, path: &Path) -> Result<Vec<(String, PathBuf)>> {
        some_files(path, &self.include, &[])
    }

    fn open_files<'a>(&'a self, _: &Path, files: Vec<(String, PathBuf)>, mut passed: usize) -> Found<'a> {
        let (mut files, mut lines) = (files.into_iter(), None);
        Box::new(std::iter::from_fn(move || {
            loop {
                let Some(open) = &mut lines else {
                    let (name, path) = files.next()?;
                    match Lines::open(name.clone(), path) {
                        Ok(open) => lines = Some(open),
                        Err(error) => match self.invalid.rest(format!("{name}:1"), error) {
                            Ok(_) if passed > 0 => passed -= 1,
                            rest => return Some(rest),
                        },
                    }
                    continue;
                };
                match open.next() {
                    Ok(None) => lines = None,
                    Ok(Some(line)) if line.trim_ascii().is_empty() => {}
                    Ok(Some(_)) if passed > 0 => passed -= 1,
                    Ok(Some(line)) => return Some(Ok(self.raw(open, line))),
                    Err(error) => {
                        let rest = self.invalid.rest(format!("{}:{}", open.name, open.read + 1), error);
                        lines = None;
                        match rest {
                            Ok(_) if passed > 0 => passed -= 1,
                            rest => return Some(rest),
                        }
                    }
                }
            }
        }))
    }

    fn size(&self, path: &Path) -> Result<Size> {
        let mut size = Size::default();
        let files = files(path, &self.include, &[])?;
        for (_, path) in &files {
            size.text_bytes += text_bytes(path)?;
        }
        // Lines are about as long as the first ones.
        let (mut lines, mut bytes) = (0, 0);
        for (_, path) in files.iter().take(LOOKED_AT) {
            let mut beginning = open_bytes(path)?.take(BEGINNING);
            let mut line = Vec::new();
            while let Ok(length @ 1..) = beginning.read_until(b'\n', &mut line) {
                lines += 1;
                bytes += length as u64;
                size.largest = size.largest.max(length as u64);
                line.clear();
            }
        }
        size.documents = (size.text_bytes * lines).div_ceil(bytes.max(1));
        Ok(size)
    }
}

impl Build<dyn Read> for Jsonl {
    fn build(self, place: &Place) -> Result<Box<dyn Read>> {
        let mut names: Vec<&str> = self.keep.iter().map(|key| called(key)).collect();
        names.sort_unstable();
        if let Some([twice, _]) = names.windows(2).find(|two| two[0] == two[1]) {
            let message = format!("two keys of `keep` would be called `{twice}`");
            return Err(Fault::new(place.clone(), message).hint("leave one out").into());
        }
        Ok(Box::new(self))
    }
}

/// The record of `jsonl`.
pub static PART: Part<dyn Read> = Part::of::<Jsonl>("jsonl", 1);

#[cfg(test)]
mod tests {
    use super::super::Item;
    use super::*;
    use std::fmt::Write as _;
    use std::io::Write as _;

    #[test]
    fn lines_become_documents_and_faults_name_their_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.jsonl");
        std::fs::write(
            &file,
            "{\"text\":\"one\",\"id\":\"x\",\"license\":\"MIT\"}\n\n{\"text\":\"two\"}\n{\"txt\":1}\n{\n",
        )
        .unwrap();
        let reader = Jsonl::default();
        let items: Vec<_> = reader.open(&file).unwrap().collect();
        assert_eq!(items.len(), 4);
        let documents: Vec<_> = items
            .iter()
            .filter_map(|item| match item {
                Ok(Item::Document(document)) => Some((document.id.as_str(), document.license.as_str())),
                _ => None,
            })
            .collect();
        assert_eq!(documents, [("x", "MIT"), ("a.jsonl:3", "")]);
        assert!(items[2].as_ref().unwrap_err().to_string().contains("a.jsonl:4:1"));
        assert!(items[3].as_ref().unwrap_err().to_string().contains("a.jsonl:5:"));
        for (line, hint) in [("{\"text\":12}", "is no text"), ("{\"txt\":\"a\"}", "its keys: txt"), ("{}", "no keys")] {
            let fault = reader.document("a.jsonl", &file, 0, line.as_bytes()).unwrap_err().to_string();
            assert!(fault.contains("no text under `text`") && fault.contains(hint), "{fault}");
        }
        let skipping = Jsonl { invalid: Invalid::Skip, ..Jsonl::default() };
        assert_eq!(skipping.open(&file).unwrap().filter(|item| matches!(item, Ok(Item::Skipped { .. }))).count(), 2);
    }

    #[test]
    fn what_is_asked_for_goes_with_the_document() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.jsonl");
        let line = r#"{"text":"one","metadata":{"url":"https://a.example/","n":{"m":2}},"year":1850,"a.b":true}"#;
        std::fs::write(&file, format!("{line}\n{{\"text\":\"two\"}}\n")).unwrap();
        let keep = ["metadata.url", "metadata.n.m", "year", "a.b", "metadata.none"].map(str::to_owned).to_vec();
        let reader = Jsonl { keep, ..Jsonl::default() }.build(&Place::default()).unwrap();
        let metadata: Vec<Metadata> = reader
            .open(&file)
            .unwrap()
            .map(|item| match item.unwrap() {
                Item::Document(document) => document.metadata,
                _ => panic!("no document"),
            })
            .collect();
        let wanted = serde_json::json!({ "url": "https://a.example/", "m": 2, "year": 1850, "b": true });
        assert_eq!(serde_json::to_value(&metadata[0]).unwrap(), wanted);
        assert!(metadata[1].is_empty());
        let twice = Jsonl { keep: vec!["a.url".into(), "url".into()], ..Jsonl::default() };
        assert!(twice.build(&Place::default()).err().unwrap().to_string().contains("called `url`"));
    }

    #[test]
    fn sizes_are_told_from_the_first_lines() {
        let folder = tempfile::tempdir().unwrap();
        let line = |length: usize| format!("{{\"text\":\"{}\"}}\n", "x".repeat(length - 12));
        std::fs::write(folder.path().join("a.jsonl"), line(100).repeat(30_000)).unwrap();
        std::fs::write(folder.path().join("b.jsonl"), line(300).repeat(10_000)).unwrap();
        let size = Jsonl::default().size(folder.path()).unwrap();
        assert_eq!((size.text_bytes, size.largest), (6_000_000, 300));
        assert!((39_000..41_000).contains(&size.documents), "{size:?}");
        assert_eq!(
            Jsonl { include: vec!["c".into()], ..Jsonl::default() }.size(folder.path()).unwrap(),
            Size::default()
        );
    }

    #[test]
    fn a_compressed_file_is_measured_by_its_beginning_and_links_are_followed() {
        let (folder, links) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut random = metier_core::seed::Seed::new(4).at(0);
        let mut text = String::new();
        while text.len() < 2_000_000 {
            writeln!(text, "{{\"text\":\"{:x} {:x}\"}}", random.bits(), random.bits()).unwrap();
        }
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(text.as_bytes()).unwrap();
        let path = folder.path().join("a.jsonl.gz");
        std::fs::write(&path, gzip.finish().unwrap()).unwrap();
        std::os::unix::fs::symlink(&path, links.path().join("b.jsonl.gz")).unwrap();
        let reader = Jsonl::default();
        let size = reader.size(links.path()).unwrap();
        assert!(size.text_bytes.abs_diff(text.len() as u64) < 100_000, "{size:?}");
        assert!(size.documents.abs_diff(text.lines().count() as u64) < 3_000, "{size:?}");
        assert_eq!(reader.open(links.path()).unwrap().count(), text.lines().count());
    }

    #[test]
    fn a_line_without_an_end_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.jsonl");
        std::fs::write(&file, format!("{{\"text\":\"one\"}}\n{}", " ".repeat(LARGEST as usize + 1))).unwrap();
        let items: Vec<_> = Jsonl::default().open(&file).unwrap().collect();
        assert_eq!(items.len(), 2);
        let said = items[1].as_ref().unwrap_err().to_string();
        assert!(said.contains("a.jsonl:2:1: the document has more than"), "{said}");
    }
}
