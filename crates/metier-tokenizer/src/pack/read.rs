//! Shards, mapped into memory.

use super::entry::{DocumentEntry, ExampleSummary, FORMAT, Manifest, ManifestFile, TokenOrigin, TokenRange};
use super::{
    DOCUMENTS_FILE, HEADER_BYTES, MANIFEST_FILE, PackSummary, SPANS_MAGIC, TOKENS_MAGIC, header, spans_file,
    tokens_file,
};
use memmap2::Mmap;
use metier_core::data::TokenId;
use metier_core::seam::Tokenize;
use metier_core::{Error, Fault, Place, Result, store};
use std::collections::HashMap;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A packed folder, open for reading.
pub struct Shards {
    folder: PathBuf,
    manifest: Manifest,
    documents: Vec<DocumentEntry>,
    by_id: HashMap<String, usize>,
    mapped: Vec<Shard>,
}

struct Shard {
    tokens: Mmap,
    spans: Mmap,
    count: u64,
}

impl Shards {
    /// Maps the shards in `folder`. Every file must be there with the size it was written with, and the
    /// documents must cover the tokens without a gap; [`Self::verify`] compares contents too.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref().to_path_buf();
        let manifest = read_manifest(&folder)?;
        check_sizes(&folder, &manifest)?;
        let documents = read_documents(&folder, &manifest)?;
        let mapped = (0..manifest.counts.shards)
            .map(|shard| {
                let count = manifest.shard_tokens[shard as usize];
                let tokens = map(&folder.join(tokens_file(shard)), TOKENS_MAGIC, manifest.id_bytes, shard, count)?;
                let spans = map(&folder.join(spans_file(shard)), SPANS_MAGIC, 4, shard, count)?;
                Ok(Shard { tokens, spans, count })
            })
            .collect::<Result<_>>()?;
        let by_id = documents.iter().enumerate().map(|(index, document)| (document.id.clone(), index)).collect();
        Ok(Self { folder, manifest, documents, by_id, mapped })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What packing counted.
    pub fn summary(&self) -> PackSummary {
        self.manifest.counts
    }

    /// What packing counted of examples; none where documents were packed.
    pub fn examples(&self) -> Option<&ExampleSummary> {
        self.manifest.examples.as_ref()
    }

    /// Number of tokens of all shards.
    pub fn tokens(&self) -> u64 {
        self.manifest.counts.tokens
    }

    /// Number of tokens of each shard.
    pub fn shard_tokens(&self) -> &[u64] {
        &self.manifest.shard_tokens
    }

    /// The id that ends each document, if one was put there.
    pub fn end_of_document(&self) -> Option<TokenId> {
        self.manifest.end_of_document
    }

    /// The id from which a document's first token is predicted: what ends the document before it, as in running text. None where
    /// a document has its own beginning, and none for examples, whose first token nobody learns.
    pub fn lead(&self) -> Option<TokenId> {
        let own = self.manifest.begin_of_document.is_some() || self.manifest.examples.is_some();
        if own { None } else { self.manifest.end_of_document }
    }

    /// The documents in the order of their tokens.
    pub fn documents(&self) -> &[DocumentEntry] {
        &self.documents
    }

    /// The fingerprint of the tokenizer the shards were made with.
    pub fn tokenizer_fingerprint(&self) -> &str {
        &self.manifest.tokenizer
    }

    /// Refuses a tokenizer other than the one the shards were made with.
    pub fn check_tokenizer(&self, tokenizer: &dyn Tokenize) -> Result<()> {
        let (ours, theirs) = (&self.manifest.tokenizer, tokenizer.fingerprint());
        if *ours == theirs {
            return Ok(());
        }
        let message = format!(
            "these shards were packed with another tokenizer: {} with {} ids, and the model's is {} with {} ids",
            short(ours),
            self.manifest.vocabulary_size,
            short(&theirs),
            tokenizer.vocabulary_size()
        );
        Err(Error::file(&self.folder, message).hint("pack the documents again with the model's tokenizer"))
    }

    /// Ids of the tokens `range` of a document, counted from its first.
    pub fn read(&self, document: usize, range: Range<u64>) -> Result<Vec<TokenId>> {
        let Some(entry) = self.documents.get(document) else {
            return Err(Error::file(
                &self.folder,
                format!("there is no document {document}: the pack holds {}", self.documents.len()),
            ));
        };
        if range.start > range.end || range.end > entry.tokens() {
            let message = format!("tokens {}..{} are out of the document's {}", range.start, range.end, entry.tokens());
            return Err(Error::user(Place::file(&self.folder).with_key(&entry.id), message));
        }
        self.read_shard(entry.shard, entry.start + range.start..entry.start + range.end)
    }

    /// Ids of the tokens `range` of a shard.
    pub fn read_shard(&self, shard: u32, range: Range<u64>) -> Result<Vec<TokenId>> {
        let mapped = self.shard(shard)?;
        if range.start > range.end || range.end > mapped.count {
            let message = format!("tokens {}..{} are out of the shard's {}", range.start, range.end, mapped.count);
            return Err(Error::file(self.folder.join(tokens_file(shard)), message));
        }
        let width = self.manifest.id_bytes as usize;
        let from = HEADER_BYTES + range.start as usize * width;
        let bytes = &mapped.tokens[from..from + (range.end - range.start) as usize * width];
        Ok(match width {
            2 => bytes.chunks_exact(2).map(|id| u32::from(u16::from_le_bytes([id[0], id[1]]))).collect(),
            _ => bytes.chunks_exact(4).map(|id| u32::from_le_bytes([id[0], id[1], id[2], id[3]])).collect(),
        })
    }

    /// Where the token at `offset` of `shard` comes from.
    pub fn locate(&self, shard: u32, offset: u64) -> Result<TokenOrigin> {
        let mapped = self.shard(shard)?;
        if offset >= mapped.count {
            let message = format!("there is no token {offset}: the shard holds {}", mapped.count);
            return Err(Error::file(self.folder.join(tokens_file(shard)), message));
        }
        let after = self.documents.partition_point(|document| (document.shard, document.start) <= (shard, offset));
        let document = &self.documents[after.saturating_sub(1)];
        let end = span_at(mapped, offset);
        let start = if offset == document.start { 0 } else { span_at(mapped, offset - 1) };
        if start > end || end as u64 > document.bytes {
            return Err(self.broken(&spans_file(shard), &format!("the span of token {offset} is out of its document")));
        }
        let from = if start < end { document.pieces.source_of(start, end) } else { None };
        Ok(TokenOrigin {
            id: self.read_shard(shard, offset..offset + 1)?[0],
            document: document.id.clone(),
            source: document.source.clone(),
            license: document.license.clone(),
            text: start..end,
            source_bytes: from.map(|(start, end)| start..end),
        })
    }

    /// The tokens of the document called `id`.
    pub fn ranges_of(&self, id: &str) -> Result<Vec<TokenRange>> {
        let Some(&index) = self.by_id.get(id) else {
            let near = metier_core::fault::near_miss(id, self.documents.iter().map(|document| document.id.as_str()));
            let mut fault = Fault::new(Place::file(&self.folder), format!("no document is called `{id}`"));
            fault.hint = near.map(|near| format!("did you mean `{near}`?"));
            return Err(fault.into());
        };
        let document = &self.documents[index];
        Ok(vec![TokenRange { shard: document.shard, offsets: document.start..document.end }])
    }

    /// Compares every file with the checksum it was written with; all that differ are named.
    pub fn verify(&self) -> Result<()> {
        let mut faults = Vec::new();
        for file in &self.manifest.files {
            let path = self.folder.join(&file.name);
            if store::hash_file(&path)? != file.blake3 {
                faults.push(
                    Fault::new(Place::file(&path), "the file is not what was written: its checksum differs")
                        .hint("pack the documents again"),
                );
            }
        }
        Error::collect((), faults)
    }

    fn shard(&self, shard: u32) -> Result<&Shard> {
        self.mapped.get(shard as usize).ok_or_else(|| {
            Error::file(&self.folder, format!("there is no shard {shard}: the pack holds {}", self.mapped.len()))
        })
    }

    fn broken(&self, file: &str, message: &str) -> Error {
        Error::file(self.folder.join(file), message).hint("the file is damaged: pack the documents again")
    }
}

fn short(fingerprint: &str) -> &str {
    fingerprint.get(..12).unwrap_or(fingerprint)
}

fn span_at(shard: &Shard, offset: u64) -> usize {
    let from = HEADER_BYTES + offset as usize * 4;
    let bytes = &shard.spans[from..from + 4];
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize
}

fn read_manifest(folder: &Path) -> Result<Manifest> {
    let path = folder.join(MANIFEST_FILE);
    let bytes = std::fs::read(&path).map_err(|error| {
        let fault = Error::io(&path, "read the file", &error);
        if error.kind() == ErrorKind::NotFound {
            fault.hint("this is no packed folder, or packing did not finish: run `pack` again")
        } else {
            fault
        }
    })?;
    let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|error| {
        Error::user(Place::file(&path).at(error.line(), error.column()), format!("this is no pack manifest: {error}"))
    })?;
    let said = if manifest.format != FORMAT {
        Some(format!("the pack has format {}, and this program reads format {FORMAT}", manifest.format))
    } else if manifest.id_bytes != 2 && manifest.id_bytes != 4 {
        Some(format!("`id_bytes` is {}, and must be 2 or 4", manifest.id_bytes))
    } else if manifest.shard_tokens.len() as u64 != u64::from(manifest.counts.shards)
        || manifest.shard_tokens.iter().try_fold(0_u64, |sum, count| sum.checked_add(*count))
            != Some(manifest.counts.tokens)
    {
        Some("the counts of shards and tokens contradict each other".to_owned())
    } else {
        missing_file(&manifest)
    };
    match said {
        Some(message) => Err(Error::file(&path, message).hint("pack the documents again")),
        None => Ok(manifest),
    }
}

fn missing_file(manifest: &Manifest) -> Option<String> {
    let known = |name: &str| manifest.files.iter().any(|file| file.name == name);
    let plain = |file: &&ManifestFile| Path::new(&file.name).file_name() != Some(file.name.as_ref());
    if let Some(file) = manifest.files.iter().find(plain) {
        return Some(format!("`{}` is no plain file name", file.name));
    }
    (0..manifest.counts.shards)
        .flat_map(|shard| [tokens_file(shard), spans_file(shard)])
        .chain([DOCUMENTS_FILE.to_owned()])
        .find(|name| !known(name))
        .map(|name| format!("`{name}` is not listed"))
}

fn check_sizes(folder: &Path, manifest: &Manifest) -> Result<()> {
    let mut faults = Vec::new();
    for file in &manifest.files {
        let path = folder.join(&file.name);
        match std::fs::metadata(&path) {
            Err(error) => faults.extend(Error::io(&path, "read the file", &error).faults),
            Ok(metadata) if metadata.len() != file.bytes => faults.push(
                Fault::new(
                    Place::file(&path),
                    format!("the file has {} bytes, and {} were written", metadata.len(), file.bytes),
                )
                .hint("it was cut or changed: pack the documents again"),
            ),
            Ok(_) => {}
        }
    }
    Error::collect((), faults)
}

fn map(path: &Path, magic: [u8; 8], width: u32, shard: u32, count: u64) -> Result<Mmap> {
    let map = store::map_file(path)?;
    let want = count.checked_mul(u64::from(width)).and_then(|bytes| bytes.checked_add(HEADER_BYTES as u64));
    if Some(map.len() as u64) != want || map[..HEADER_BYTES] != header(magic, width, shard) {
        return Err(Error::file(path, format!("this is not shard {shard} with {count} numbers of {width} bytes"))
            .hint("the file is damaged or of another pack: pack the documents again"));
    }
    Ok(map)
}

fn read_documents(folder: &Path, manifest: &Manifest) -> Result<Vec<DocumentEntry>> {
    let path = folder.join(DOCUMENTS_FILE);
    let text = std::fs::read_to_string(&path).map_err(|error| Error::io(&path, "read the file", &error))?;
    let mut documents: Vec<DocumentEntry> = Vec::new();
    let (mut shard, mut offset) = (0_u32, 0_u64);
    for (line, entry) in text.lines().enumerate() {
        let place = |column| Place::file(&path).at(line + 1, column);
        let entry: DocumentEntry = serde_json::from_str(entry)
            .map_err(|error| Error::user(place(error.column()), format!("this is no document entry: {error}")))?;
        if entry.shard == shard.wrapping_add(1) && manifest.shard_tokens.get(shard as usize) == Some(&offset) {
            (shard, offset) = (entry.shard, 0);
        }
        let end = manifest.shard_tokens.get(entry.shard as usize).copied().unwrap_or(0);
        if entry.shard != shard || entry.start != offset || entry.end < entry.start || entry.end > end {
            return Err(Error::user(place(1), "the document's tokens do not follow those of the one before it")
                .hint("the file is damaged: pack the documents again"));
        }
        if !pieces_fit(&entry) {
            return Err(Error::user(place(1), "the document's pieces are not in order or out of its text")
                .hint("the file is damaged: pack the documents again"));
        }
        if !lessons_fit(&entry, manifest) {
            return Err(Error::user(place(1), "what is learned of the document is not in order or out of its tokens")
                .hint("the file is damaged: pack the examples again"));
        }
        offset = entry.end;
        documents.push(entry);
    }
    let whole = manifest.shard_tokens.get(shard as usize) == Some(&offset)
        && u64::from(shard) + 1 == u64::from(manifest.counts.shards)
        && documents.len() as u64 == manifest.counts.documents;
    if whole { Ok(documents) } else { Err(Error::file(&path, "the documents do not cover the tokens of the shards")) }
}

fn lessons_fit(entry: &DocumentEntry, manifest: &Manifest) -> bool {
    let mut at = 0;
    let in_order = entry.learned.iter().flatten().all(|range| {
        let fits = range.start >= at && range.end > range.start && range.end <= entry.tokens();
        at = range.end;
        fits
    });
    in_order && entry.learned.is_some() == manifest.examples.is_some()
}

fn pieces_fit(entry: &DocumentEntry) -> bool {
    let mut at = 0;
    entry.pieces.0.iter().all(|piece| {
        let end = piece.start.checked_add(piece.length);
        let fits = piece.start >= at
            && end.is_some_and(|end| end as u64 <= entry.bytes)
            && piece.source.checked_add(piece.length).is_some();
        at = end.unwrap_or(at);
        fits
    })
}
