//! Documents to shards, in one pass and in memory that does not grow with the texts.

use super::entry::{DocumentEntry, ExampleSummary, FORMAT, Manifest, ManifestFile, PackSummary};
use super::rows::Verdict;
use super::{DOCUMENTS_FILE, MANIFEST_FILE, PackSettings, SPANS_MAGIC, TOKENS_MAGIC, header, spans_file, tokens_file};
use metier_core::data::{Document, TokenId};
use metier_core::seam::{Encoded, Tokenize};
use metier_core::{Error, Fault, Place, Result, stop, store};
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Texts of at least this many bytes together are encoded at once.
const BATCH_BYTES: usize = 4 << 20;
const BATCH_DOCUMENTS: usize = 256;

/// Encodes documents and writes them as shards into `folder`, which is created; shards that lie there are
/// replaced.
///
/// Special tokens written in a text are not read as such. Memory is bounded by a few megabytes of text, the
/// longest document and the documents' ids. `pack.json` is written last: a folder without it is unfinished.
pub fn pack(
    documents: impl Iterator<Item = Result<Document>>,
    tokenizer: &dyn Tokenize,
    settings: &PackSettings,
    folder: &Path,
) -> Result<PackSummary> {
    settings.check(false)?;
    let mut writer = Writer::new(folder, tokenizer, settings)?;
    let mut batch = Vec::new();
    let mut bytes = 0;
    for document in documents {
        stop::check()?;
        let document = document?;
        bytes += document.text.len();
        batch.push(document);
        if bytes >= BATCH_BYTES || batch.len() >= BATCH_DOCUMENTS {
            writer.batch(&batch)?;
            batch.clear();
            bytes = 0;
        }
    }
    writer.batch(&batch)?;
    writer.finish(None)
}

/// The id put before a document.
fn document_begin(tokenizer: &dyn Tokenize) -> Result<TokenId> {
    tokenizer.begin_of_text().ok_or_else(|| {
        let message = "the tokenizer has no begin-of-text token to put before a document";
        let fault = Fault::new(Place::key("begin_of_document"), message);
        fault.hint("leave `begin_of_document` out, or name a model whose tokenizer puts one before texts").into()
    })
}

/// The id put after a document.
fn document_end(tokenizer: &dyn Tokenize) -> Result<TokenId> {
    tokenizer.end_of_document().ok_or_else(|| {
        let message = "the tokenizer has no end-of-text token to put after a document";
        Fault::new(Place::key("end_of_document"), message).hint("set `end_of_document = false`").into()
    })
}

fn remove_old(folder: &Path) -> Result<()> {
    let failed = |error: &std::io::Error| Error::io(folder, "read the folder", error);
    let foreign = folder.join(DOCUMENTS_FILE);
    if foreign.exists() && !folder.join(tokens_file(0)).exists() {
        return Err(Error::file(foreign, "this file is not part of a pack and would be overwritten")
            .hint("name an empty folder"));
    }
    for file in fs::read_dir(folder).map_err(|error| failed(&error))? {
        let file = file.map_err(|error| failed(&error))?;
        let name = file.file_name().to_string_lossy().into_owned();
        let shard = name.strip_prefix("shard-").and_then(|rest| rest.split_once('.'));
        let ours = name == DOCUMENTS_FILE
            || name == MANIFEST_FILE
            || shard.is_some_and(|(number, end)| {
                number.bytes().all(|byte| byte.is_ascii_digit()) && (end == "tokens" || end == "spans")
            });
        if ours {
            fs::remove_file(file.path()).map_err(|error| Error::io(file.path(), "remove the file", &error))?;
        }
    }
    Ok(())
}

/// Writes the files of a pack from front to back.
pub(super) struct Writer<'a> {
    folder: &'a Path,
    tokenizer: &'a dyn Tokenize,
    shard_limit: u64,
    begin: Option<TokenId>,
    /// The id put after each text, if one is.
    pub(super) end: Option<TokenId>,
    id_bytes: u32,
    tokens: Output,
    spans: Output,
    documents: Output,
    /// Tokens of the shard being written.
    offset: u64,
    ids_seen: HashSet<String>,
    summary: PackSummary,
    shard_tokens: Vec<u64>,
    files: Vec<ManifestFile>,
}

impl<'a> Writer<'a> {
    /// Begins a pack in `folder`, which is created; a pack that lies there is removed.
    pub(super) fn new(folder: &'a Path, tokenizer: &'a dyn Tokenize, settings: &PackSettings) -> Result<Self> {
        let end = if settings.end_of_document { Some(document_end(tokenizer)?) } else { None };
        let begin = if settings.begin_of_document { Some(document_begin(tokenizer)?) } else { None };
        store::create_folder(folder)?;
        remove_old(folder)?;
        let id_bytes = if tokenizer.vocabulary_size() <= 1 << 16 { 2 } else { 4 };
        let (tokens, spans) = begin_shard(folder, id_bytes, 0)?;
        Ok(Self {
            folder,
            tokenizer,
            shard_limit: settings.shard_tokens.max(1),
            begin,
            end,
            id_bytes,
            tokens,
            spans,
            documents: Output::create(folder.join(DOCUMENTS_FILE))?,
            offset: 0,
            ids_seen: HashSet::new(),
            summary: PackSummary { shards: 1, ..PackSummary::default() },
            shard_tokens: Vec::new(),
            files: Vec::new(),
        })
    }

    fn batch(&mut self, documents: &[Document]) -> Result<()> {
        let texts: Vec<&str> = documents.iter().map(|document| document.text.as_str()).collect();
        let encoded = self.tokenizer.encode(&texts, false)?;
        if encoded.len() != documents.len() {
            return Err(Error::program("the tokenizer did not answer for every text"));
        }
        documents.iter().zip(encoded).try_for_each(|(document, mut encoded)| {
            self.frame(&mut encoded, document.text.len());
            self.document(document, &encoded, Lessons::default())
        })
    }

    /// Puts around a text of `length` bytes the tokens that the tokenizer puts around texts that stand alone.
    pub(super) fn surround(&self, encoded: &mut Encoded, length: usize) {
        put_around(encoded, length, (self.tokenizer.begin_of_text(), self.tokenizer.separator()));
    }

    /// Puts the tokens before and after a text of `length` bytes that each is to have.
    pub(super) fn frame(&self, encoded: &mut Encoded, length: usize) {
        put_around(encoded, length, (self.begin, self.end));
    }

    /// Writes a document.
    pub(super) fn document(&mut self, document: &Document, encoded: &Encoded, lessons: Lessons) -> Result<()> {
        if !self.ids_seen.insert(document.id.clone()) {
            return Err(Fault::new(Place::key(&document.id), "two documents have this id")
                .hint("ids are unique in a corpus")
                .into());
        }
        let length = document.text.len();
        let Ok(length_32) = u32::try_from(length) else {
            return Err(Error::user(
                Place::key(&document.id),
                format!("the document has {length} bytes, and at most {} can be packed", u32::MAX),
            ));
        };
        check_encoded(&document.id, encoded, length, self.id_bytes)?;
        let count = encoded.ids.len() as u64;
        if self.offset > 0 && self.offset + count > self.shard_limit {
            self.next_shard()?;
        }
        let mut bytes = Vec::with_capacity(encoded.ids.len() * 4);
        for id in &encoded.ids {
            bytes.extend_from_slice(&id.to_le_bytes()[..self.id_bytes as usize]);
        }
        self.tokens.write(&bytes)?;
        bytes.clear();
        for end in &encoded.ends {
            bytes.extend_from_slice(&u32::try_from(*end).unwrap_or(length_32).to_le_bytes());
        }
        self.spans.write(&bytes)?;
        let entry = DocumentEntry {
            id: document.id.clone(),
            source: document.source.clone(),
            source_sha256: document.source_sha256.clone(),
            license: document.license.clone(),
            pieces: document.pieces.clone(),
            shard: self.summary.shards - 1,
            start: self.offset,
            end: self.offset + count,
            bytes: length as u64,
            text_blake3: blake3::hash(document.text.as_bytes()).to_hex().to_string(),
            learned: lessons.learned,
            verdict: lessons.verdict,
        };
        let mut line = serde_json::to_vec(&entry)
            .map_err(|error| Error::program(format!("a document entry does not serialize: {error}")))?;
        line.push(b'\n');
        self.documents.write(&line)?;
        self.offset += count;
        self.summary.documents += 1;
        self.summary.tokens += count;
        self.summary.bytes += length as u64;
        Ok(())
    }

    fn next_shard(&mut self) -> Result<()> {
        let (tokens, spans) = begin_shard(self.folder, self.id_bytes, self.summary.shards)?;
        self.files.push(std::mem::replace(&mut self.tokens, tokens).finish()?);
        self.files.push(std::mem::replace(&mut self.spans, spans).finish()?);
        self.shard_tokens.push(self.offset);
        self.summary.shards += 1;
        self.offset = 0;
        Ok(())
    }

    /// Writes what is still missing, `pack.json` last of all.
    pub(super) fn finish(mut self, examples: Option<ExampleSummary>) -> Result<PackSummary> {
        if self.summary.documents == 0 {
            return Err(Error::user(
                Place::file(self.folder),
                "there is nothing to pack: the corpus holds no document",
            ));
        }
        self.files.push(self.tokens.finish()?);
        self.files.push(self.spans.finish()?);
        self.files.push(self.documents.finish()?);
        self.shard_tokens.push(self.offset);
        let manifest = Manifest {
            format: FORMAT,
            tokenizer: self.tokenizer.fingerprint(),
            vocabulary_size: self.tokenizer.vocabulary_size() as u64,
            id_bytes: self.id_bytes,
            begin_of_document: self.begin,
            end_of_document: self.end,
            counts: self.summary,
            examples,
            shard_tokens: self.shard_tokens,
            files: self.files,
        };
        let text = serde_json::to_string_pretty(&manifest)
            .map_err(|error| Error::program(format!("the pack's manifest does not serialize: {error}")))?;
        store::write_atomic(self.folder.join(MANIFEST_FILE), text + "\n")?;
        Ok(self.summary)
    }
}

/// What a model learns from a document: every token of it, unless it is an example.
#[derive(Default)]
pub(super) struct Lessons {
    pub learned: Option<Vec<Range<u64>>>,
    pub verdict: Option<Verdict>,
}

/// Holds the promises of [`Tokenize`] that the shards rely on.
fn check_encoded(document: &str, encoded: &Encoded, length: usize, id_bytes: u32) -> Result<()> {
    let fits = encoded.ids.iter().all(|&id| id_bytes == 4 || u16::try_from(id).is_ok());
    let ordered = encoded.ends.is_sorted() && encoded.ends.last().is_none_or(|&end| end <= length);
    if encoded.ids.len() == encoded.ends.len() && fits && ordered {
        return Ok(());
    }
    Err(Error::program(format!("{document}: the tokenizer's ids or spans do not fit its vocabulary or the text")))
}

/// Puts tokens before and after a text of `length` bytes.
fn put_around(encoded: &mut Encoded, length: usize, (before, after): (Option<TokenId>, Option<TokenId>)) {
    if let Some(before) = before {
        encoded.ids.insert(0, before);
        encoded.ends.insert(0, 0);
    }
    if let Some(after) = after {
        encoded.ids.push(after);
        encoded.ends.push(length);
    }
}

fn begin_shard(folder: &Path, id_bytes: u32, shard: u32) -> Result<(Output, Output)> {
    let mut tokens = Output::create(folder.join(tokens_file(shard)))?;
    tokens.write(&header(TOKENS_MAGIC, id_bytes, shard))?;
    let mut spans = Output::create(folder.join(spans_file(shard)))?;
    spans.write(&header(SPANS_MAGIC, 4, shard))?;
    Ok((tokens, spans))
}

/// A file written from front to back, hashed on the way.
struct Output {
    path: PathBuf,
    file: BufWriter<File>,
    hasher: blake3::Hasher,
}

impl Output {
    fn create(path: PathBuf) -> Result<Self> {
        let file = File::create(&path).map_err(|error| Error::io(&path, "create the file", &error))?;
        Ok(Self { path, file: BufWriter::with_capacity(1 << 18, file), hasher: blake3::Hasher::new() })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.hasher.update(bytes);
        self.file.write_all(bytes).map_err(|error| Error::io(&self.path, "write the file", &error))
    }

    fn finish(mut self) -> Result<ManifestFile> {
        let written = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        written.map_err(|error| Error::io(&self.path, "write the file", &error))?;
        Ok(ManifestFile {
            name: self.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            bytes: self.hasher.count(),
            blake3: self.hasher.finalize().to_hex().to_string(),
        })
    }
}
