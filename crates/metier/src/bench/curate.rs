//! Curating a corpus: one stage, from the files to the chosen documents, beside a pass that only reads them.

use crate::command::Global;
use crate::recipe::{Recipe, run};
use metier_core::{Error, Result, stop};
use metier_corpus::read::{Item, Jsonl, Read as _};
use serde::Serialize;
use std::path::Path;
use std::time::{Duration, Instant};

/// What it came to.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// Documents read.
    pub documents: u64,
    /// Bytes of their text.
    pub bytes: u64,
    /// Passes that were timed.
    pub passes: u64,
    /// By the middle one of the passes' times.
    pub documents_per_second: f64,
    pub bytes_per_second: f64,
    /// By a pass on one thread that decompresses, parses, and does nothing else.
    pub parse_bytes_per_second: f64,
    /// Memory of the whole process at most.
    pub peak_rss_bytes: u64,
}

/// Runs `metier curate` with these settings on a folder of JSON lines, again and again for `duration`, each time into a store
/// that is empty.
pub fn measure(settings: &[String], documents: &Path, duration: Duration, global: &Global) -> Result<Measured> {
    let inputs = [format!("from={}", documents.display()), "read.method=jsonl".to_owned()];
    let settings = [&inputs, settings].concat();
    let (mut times, mut read) = (Vec::new(), 0);
    let begun = Instant::now();
    while times.is_empty() || begun.elapsed() < duration {
        let store = tempfile::tempdir_in(documents.parent().unwrap_or(documents))
            .map_err(|error| Error::io(documents, "make a folder beside it", &error))?;
        let global = Global { store: store.path().to_owned(), ..global.clone() };
        let begun = Instant::now();
        let report = run::run(&Recipe::one_stage("curate", &settings, &global)?, &global)?;
        times.push(begun.elapsed().as_secs_f64());
        read = report.stages.iter().map(|stage| stage.artifact.record.counts.read).sum();
    }
    let peak_rss_bytes = metier_core::memory::peak_bytes();
    let begun = Instant::now();
    let mut bytes = 0;
    for item in Jsonl::default().open(documents)? {
        stop::check()?;
        if let Item::Document(document) = item? {
            bytes += document.text.len() as u64;
        }
    }
    let parsing = begun.elapsed().as_secs_f64();
    times.sort_by(f64::total_cmp);
    let seconds = times[times.len() / 2];
    Ok(Measured {
        documents: read,
        bytes,
        passes: times.len() as u64,
        documents_per_second: read as f64 / seconds,
        bytes_per_second: bytes as f64 / seconds,
        parse_bytes_per_second: bytes as f64 / parsing,
        peak_rss_bytes,
    })
}
