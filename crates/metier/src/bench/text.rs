//! Work on texts: encoding, and learning a vocabulary.

use metier_core::{Error, Result, stop};
use metier_tokenizer::scheme::{self, HuggingFace};
use metier_tokenizer::train::{self, Bpe};
use serde::Serialize;
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A turn has at least so many timed passes.
const FEWEST_PASSES: usize = 3;
/// A document has about so many bytes.
const DOCUMENT_BYTES: usize = 100_000;

/// What is done with the text, and with which files.
#[derive(Debug, Clone)]
pub enum Work {
    /// Ids of a text by the tokenizer in a file.
    Encode {
        /// The tokenizer's file.
        tokenizer: PathBuf,
        /// Whether words of earlier passes are remembered.
        warm: bool,
    },
    /// A byte-level BPE vocabulary of so many ids.
    Learn(u32),
}

/// What it came to.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// Bytes of the text.
    pub bytes: u64,
    /// Its tokens, or those of the vocabulary.
    pub tokens: u64,
    /// Passes over the text that were timed.
    pub passes: u64,
    /// By the middle one of the passes' times.
    pub tokens_per_second: f64,
    pub bytes_per_second: f64,
    /// `bytes_per_second` of the memory's; whoever measures the ceiling fills it in.
    pub share_of_ceiling: f64,
    /// Memory of the whole process at most.
    pub peak_rss_bytes: u64,
}

/// Does it again and again for `duration`.
pub fn measure(work: &Work, text: &Path, duration: Duration) -> Result<Measured> {
    let text = std::fs::read_to_string(text).map_err(|error| Error::io(text, "read the text", &error))?;
    let documents = documents(&text);
    let (tokens, mut times) = match work {
        Work::Encode { tokenizer, warm } => encode(tokenizer, *warm, &documents, duration)?,
        Work::Learn(size) => learn(*size, &documents, duration)?,
    };
    times.sort_by(f64::total_cmp);
    let seconds = times[times.len() / 2];
    Ok(Measured {
        bytes: text.len() as u64,
        tokens,
        passes: times.len() as u64,
        tokens_per_second: tokens as f64 / seconds,
        bytes_per_second: text.len() as f64 / seconds,
        share_of_ceiling: 0.0,
        peak_rss_bytes: metier_core::memory::peak_bytes(),
    })
}

fn encode(path: &Path, warm: bool, documents: &[&str], duration: Duration) -> Result<(u64, Vec<f64>)> {
    let read = || scheme::from_file(path);
    let pass = |tokenizer: &HuggingFace| {
        stop::check()?;
        let begun = Instant::now();
        let ids = tokenizer.ids(documents, false)?;
        Ok::<_, Error>((ids.iter().map(Vec::len).sum::<usize>() as u64, begun.elapsed().as_secs_f64()))
    };
    let mut tokenizer = read()?;
    let (tokens, cold) = pass(&tokenizer)?;
    let mut times = if warm { Vec::new() } else { vec![cold] };
    let begun = Instant::now();
    while times.len() < FEWEST_PASSES || begun.elapsed() < duration {
        if !warm {
            tokenizer = read()?;
        }
        times.push(pass(&tokenizer)?.1);
    }
    Ok((tokens, times))
}

fn learn(size: u32, documents: &[&str], duration: Duration) -> Result<(u64, Vec<f64>)> {
    let settings = Bpe { vocabulary_size: size, ..Bpe::default() };
    let folder = tempfile::tempdir().map_err(|error| Error::io(std::env::temp_dir(), "make a folder", &error))?;
    let begun = Instant::now();
    let mut times = Vec::new();
    let mut tokens = 0;
    while times.is_empty() || begun.elapsed() < duration {
        let begun = Instant::now();
        let texts = documents.iter().map(|document| Ok(Cow::Borrowed(*document)));
        let folder = folder.path().join(times.len().to_string());
        tokens = train::train(&settings, texts, &folder, 1 << 30)?.0.tokens as u64;
        times.push(begun.elapsed().as_secs_f64());
    }
    Ok((tokens, times))
}

/// The text in pieces that end at the end of a line.
fn documents(text: &str) -> Vec<&str> {
    let mut documents = Vec::new();
    let mut rest = text;
    while let Some(line) = rest.as_bytes().iter().skip(DOCUMENT_BYTES).position(|&byte| byte == b'\n') {
        let (document, others) = rest.split_at(DOCUMENT_BYTES + line + 1);
        documents.push(document);
        rest = others;
    }
    documents.push(rest);
    documents
}
