//! Which documents does this file or folder hold?

mod html;
mod jsonl;
mod latex;
mod markdown;
mod mediawiki;
mod parquet;
mod pdf;
pub mod store;
mod text;

pub use self::parquet::Parquet;
use crate::packing::{self, unpacked};
pub use html::Html;
pub use jsonl::Jsonl;
pub(crate) use jsonl::Lines;
pub use latex::Latex;
pub use markdown::Markdown;
pub use mediawiki::Mediawiki;
use metier_core::data::Document;
use metier_core::part::{Part, Record};
use metier_core::{Error, Fault, Place, Result};
pub use pdf::Pdf;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Read as _, Seek};
use std::path::{Path, PathBuf};
pub(crate) use store::File;
pub use text::Text;
pub(crate) use text::{hex, no_text};

/// What a reader finds, in a fixed order.
pub type Found<'a> = Box<dyn Iterator<Item = Result<Raw<'a>>> + Send + 'a>;

/// Something found, into which any thread can look more closely.
pub struct Raw<'a> {
    bytes: u64,
    look: Box<dyn FnOnce() -> Result<Item> + Send + 'a>,
}

impl<'a> Raw<'a> {
    /// `bytes` in which something is.
    fn new(bytes: usize, look: impl FnOnce() -> Result<Item> + Send + 'a) -> Self {
        Self { bytes: bytes as u64, look: Box::new(look) }
    }

    /// What has been looked into already.
    fn known(item: Item) -> Self {
        let bytes = match &item {
            Item::Document(document) => document.text.len(),
            Item::Skipped { .. } | Item::Quarantined { .. } => 0,
        };
        Self::new(bytes, || Ok(item))
    }

    /// Bytes that it holds.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What it is.
    ///
    /// # Errors
    /// When it cannot be read and the settings say to refuse it.
    pub fn item(self) -> Result<Item> {
        (self.look)()
    }
}

/// One thing found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A document.
    Document(Document),
    /// Something that cannot be read and that the settings say to skip.
    Skipped {
        /// The id the document would have had.
        id: String,
        /// Why, in words that name no position, so that drops can be counted by it.
        reason: &'static str,
    },
    /// Something that cannot be read and that the settings say to set aside.
    Quarantined {
        /// The id the document would have had.
        id: String,
        /// What is wrong, and where.
        fault: Error,
        /// Its bytes, where they are not a whole file.
        raw: Vec<u8>,
    },
}

/// What becomes of bytes that are no text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Invalid {
    /// Stop with an error that names the file and the position.
    #[default]
    Refuse,
    /// Drop the document and count it.
    Skip,
    /// Set it aside with what is wrong, count it, and go on; what cannot be read of a damaged file too.
    Quarantine,
}

impl Invalid {
    /// The document, or what is said instead of it.
    fn item(self, id: String, reason: &'static str, read: Result<Document>) -> Result<Item> {
        match (read, self) {
            (Ok(document), _) => Ok(Item::Document(document)),
            (Err(_), Self::Skip) => Ok(Item::Skipped { id, reason }),
            (Err(fault), Self::Quarantine) => Ok(Item::Quarantined { id, fault, raw: Vec::new() }),
            (Err(error), Self::Refuse) => Err(error),
        }
    }

    /// What stands for a file that cannot be read, or for the rest of it.
    fn rest(self, id: String, fault: Error) -> Result<Raw<'static>> {
        match self {
            Self::Quarantine => Ok(Raw::known(Item::Quarantined { id, fault, raw: Vec::new() })),
            Self::Refuse | Self::Skip => Err(fault),
        }
    }
}

/// Reads documents out of files.
pub trait Read: Send + Sync {
    /// The documents below `path`, in the order of their names.
    fn open<'a>(&'a self, path: &Path) -> Result<Box<dyn Iterator<Item = Result<Item>> + Send + 'a>> {
        Ok(Box::new(self.open_behind(path, 0)?.map(|raw| raw?.item())))
    }

    /// Those behind the first `passed` things found, which are not looked at more closely than it takes to count them.
    fn open_behind<'a>(&'a self, path: &Path, passed: usize) -> Result<Found<'a>> {
        Ok(self.open_files(path, self.files(path)?, passed))
    }

    /// The files below `path` in which documents are, each with its name among them, in order.
    fn files(&self, path: &Path) -> Result<Vec<(String, PathBuf)>>;

    /// What is in some of the [files](Self::files) below `path`, behind the first `passed` things found.
    fn open_files<'a>(&'a self, path: &Path, files: Vec<(String, PathBuf)>, passed: usize) -> Found<'a>;

    /// About how much there is, told from names, sizes and beginnings of files.
    fn size(&self, path: &Path) -> Result<Size>;
}

/// About how much a source holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// Number of documents.
    pub documents: u64,
    /// Bytes of text, decompressed.
    pub text_bytes: u64,
    /// Bytes of the largest document.
    pub largest: u64,
    /// Bytes that reading it takes, apart from its text.
    pub held: u64,
}

/// Every member, in alphabetical order.
#[rustfmt::skip]
pub static READ: &[&Part<dyn Read>] = &[
    &html::PART,
    &jsonl::PART,
    &latex::PART,
    &markdown::PART,
    &mediawiki::PART,
    &parquet::PART,
    &pdf::PART,
    &text::PART,
];

/// The records of all members.
pub fn records() -> Vec<Record> {
    READ.iter().map(|part| part.record()).collect()
}

/// How many times larger English text is than its gzip, where that cannot be seen.
const PACKED_RATIO: u64 = 4;

/// The files below `path` that fit the patterns, hidden ones left out and links followed, sorted by path; their names are relative to `path`.
fn files(path: &Path, include: &[String], exclude: &[String]) -> Result<Vec<(String, PathBuf)>> {
    let set = |patterns: &[String]| -> Result<globset::GlobSet> {
        let mut set = globset::GlobSetBuilder::new();
        for pattern in patterns {
            set.add(globset::Glob::new(pattern).map_err(|error| {
                Error::user(Place::key(format!("read: `{pattern}`")), error.kind().to_string())
                    .hint("write a pattern such as \"*.txt\" or \"notes/**/*.md\"")
            })?);
        }
        set.build().map_err(|error| Error::user(Place::key("read"), error.to_string()))
    };
    let (include, exclude) = (set(include)?, set(exclude)?);
    let fits = |name: &str| {
        let base = Path::new(name.rsplit('/').next().unwrap_or_default());
        let fits = |set: &globset::GlobSet| set.is_match(name) || set.is_match(base);
        fits(&include) && !fits(&exclude)
    };
    if store::is_address(path) {
        let listing = store::listing(path)?;
        let own = |file: &Path| listing.len() == 1 && file == path;
        let shown = |name: &str| name.split('/').all(|part| !part.starts_with('.'));
        let files = listing.iter().filter(|(name, file)| own(file) || shown(name) && fits(name));
        return Ok(files.map(|(name, file)| (name.clone(), file.clone())).collect());
    }
    if !path.exists() {
        return Err(Error::file(path, "there is no such file or folder"));
    }
    if path.is_file() {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        return Ok(vec![(name, path.to_path_buf())]);
    }
    let mut out = Vec::new();
    let shown =
        |entry: &walkdir::DirEntry| entry.depth() == 0 || !entry.file_name().as_encoded_bytes().starts_with(b".");
    for entry in walkdir::WalkDir::new(path).follow_links(true).sort_by_file_name().into_iter().filter_entry(shown) {
        let entry = entry.map_err(|error| Error::file(path, error.to_string()))?;
        if entry.file_type().is_file() {
            let relative = entry.path().strip_prefix(path).unwrap_or(entry.path());
            let name = relative.to_string_lossy().replace('\\', "/");
            if fits(&name) {
                out.push((name, entry.path().to_path_buf()));
            }
        }
    }
    Ok(out)
}

/// The same files, of which there is at least one.
pub(crate) fn some_files(path: &Path, include: &[String], exclude: &[String]) -> Result<Vec<(String, PathBuf)>> {
    let files = files(path, include, exclude)?;
    if files.is_empty() {
        return Err(Fault::new(Place::file(path), "no file here fits the patterns, so the corpus is empty")
            .hint(format!("include = {include:?}, exclude = {exclude:?}"))
            .into());
    }
    Ok(files)
}

/// About how much there is where each file is one document.
fn size_of_files(path: &Path, include: &[String], exclude: &[String]) -> Result<Size> {
    let mut size = Size::default();
    for (_, path) in files(path, include, exclude)? {
        let bytes = text_bytes(&path)?;
        size.documents += 1;
        size.text_bytes += bytes;
        size.largest = size.largest.max(bytes);
    }
    Ok(size)
}

/// Bytes that are read at once.
const BUFFER: usize = 1 << 17;

/// The file's bytes, decompressed when its name says so.
pub(crate) fn open_bytes(path: &Path) -> Result<Box<dyn BufRead + Send>> {
    let wrong = |error| Error::io(path, "open", &error);
    let file = BufReader::with_capacity(BUFFER, File::open(path)?);
    Ok(match packing::ending(path) {
        Some(_) => Box::new(BufReader::with_capacity(BUFFER, unpacked(path, file).map_err(wrong)?)),
        None => Box::new(file),
    })
}

/// Bytes of the largest document that is read: what is larger is no text that a person wrote, or a compressed file
/// made to fill the memory.
const LARGEST: u64 = if cfg!(test) { 1 << 22 } else { 1 << 30 };

/// The fault of a document of more than [`LARGEST`] bytes.
fn too_large(place: Place) -> Error {
    Fault::new(place, format!("the document has more than {LARGEST} bytes"))
        .hint("cut it into parts, or leave it out with `exclude`")
        .into()
}

/// Bytes of text that tell how well a file is compressed: of bzip2 several blocks, which are read whole, and of zstd enough that what
/// repeats is seen, for which it looks back further than gzip.
const SAMPLE: u64 = 1 << 18;
const LONG_SAMPLE: u64 = 1 << 22;

/// Bytes of text in a file, told from its size and, when it is compressed, from its beginning.
fn text_bytes(path: &Path) -> Result<u64> {
    let fault = |error| Error::io(path, "read", &error);
    let file = File::open(path)?;
    let length = file.length().map_err(fault)?;
    if packing::ending(path).is_none() {
        return Ok(length);
    }
    let mut packed = BufReader::new(file);
    let sample = if packing::ending(path) == Some("gz") { SAMPLE } else { LONG_SAMPLE };
    let mut beginning = unpacked(path, &mut packed).map_err(fault)?.take(sample);
    let text = std::io::copy(&mut beginning, &mut std::io::sink());
    drop(beginning);
    let taken = packed.stream_position().map_err(fault)?;
    Ok(match text {
        Ok(text) if text < sample => text,
        Ok(text) => (u128::from(length) * u128::from(text) / u128::from(taken.max(1))) as u64,
        // Reading it will name the fault.
        Err(_) => length * PACKED_RATIO,
    })
}
