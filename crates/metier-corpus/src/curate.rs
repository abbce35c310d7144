//! Joining reader, filters, duplicate search and split.

use crate::attributes::{Attributes, Taggers};
use crate::dedup::Deduplicate;
use crate::document_file::{
    DROPPED, DocumentWriter, HELD_OUT, HELD_OUT_ATTRIBUTES, TRAIN, TRAIN_ATTRIBUTES, Texts, read_attributes,
    read_documents,
};
use crate::filter::{Filter, Verdict};
use crate::read::{Item, Read, Size};
use crate::select::Select;
use crate::tag::Tag;
use metier_core::progress::{Progress, say};
use metier_core::seed::Seed;
use metier_core::{Error, Fault, Place, Result};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// What is said about the whole, apart from the parts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CurateSettings {
    /// License of documents for which the reader states none; the asset's own when it is left out.
    pub license: Option<String>,
}

/// The parts that [`curate()`] joins.
pub struct Parts<'a> {
    /// Where documents come from.
    pub read: &'a dyn Read,
    /// Applied in order.
    pub filters: Vec<&'a dyn Filter>,
    /// What is said about documents, as the filters leave them.
    pub tags: Vec<&'a dyn Tag>,
    /// Asked in order, after all filters.
    pub dedups: Vec<&'a dyn Deduplicate>,
    /// Splits what is left.
    pub select: &'a dyn Select,
}

/// What became of the documents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CurateReport {
    /// Documents read.
    pub read: u64,
    /// Documents to learn from.
    pub kept: u64,
    /// Documents held out.
    pub held_out: u64,
    /// Documents, kept or held out, of whose source something could not be read as it was meant.
    pub partial: u64,
    /// Documents dropped, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Bytes of text to learn from.
    pub bytes: u64,
    /// Bytes of text held out.
    pub held_out_bytes: u64,
}

/// Documents that pass through memory at once.
const GROUP: usize = 64;
/// Documents that were not read whole are named up to so many.
const TOLD: u64 = 5;
/// Bytes for one document: its id (twice for a moment), half a hash of it, its place in the file, its group.
const OF_DOCUMENT: u64 = 256;

/// Reads, cleans, tags, drops duplicates and splits. Writes [`TRAIN`], [`HELD_OUT`] and [`DROPPED`] into `out`, with
/// tags [`TRAIN_ATTRIBUTES`] and [`HELD_OUT_ATTRIBUTES`] too, and uses `out/scratch` meanwhile. A corpus of which nothing is left is an error with the table of reasons.
pub fn curate(
    settings: &CurateSettings,
    parts: &Parts,
    path: &Path,
    seed: Seed,
    out: &Path,
    progress: &Progress,
) -> Result<CurateReport> {
    let scratch = out.join("scratch");
    std::fs::create_dir_all(&scratch).map_err(|error| Error::io(&scratch, "create the folder", &error))?;
    let kept_path = scratch.join("kept.jsonl");
    let mut kept = DocumentWriter::create(&kept_path)?;
    let taggers = Taggers::new(&parts.tags)?;
    let said_path = scratch.join("attributes.jsonl");
    let mut said = if taggers.is_empty() { None } else { Some(DocumentWriter::create(&said_path)?) };
    let mut dropped = DocumentWriter::create(&out.join(DROPPED))?;
    let mut report = CurateReport::default();
    let start = |(number, part): (usize, &&dyn Deduplicate)| part.start(seed, &scratch.join(format!("dedup-{number}")));
    let mut gathers: Vec<_> = parts.dedups.iter().enumerate().map(start).collect::<Result<_>>()?;
    let mut ids: Vec<String> = Vec::new();
    let mut starts = vec![0];
    let mut known = std::collections::HashSet::new();
    let mut documents = parts.read.open(path)?;
    loop {
        metier_core::stop::check()?;
        let group: Vec<Item> = documents.by_ref().take(GROUP).collect::<Result<_>>()?;
        if group.is_empty() {
            break;
        }
        report.read += group.len() as u64;
        let verdicts: Vec<(String, Verdict, Option<Attributes>)> = group
            .into_par_iter()
            .map(|item| {
                let (id, verdict) = filtered(item, &parts.filters);
                let attributes = match &verdict {
                    Verdict::Keep(document) if !taggers.is_empty() => Some(taggers.attributes(document)),
                    _ => None,
                };
                (id, verdict, attributes)
            })
            .collect();
        let mut left = Vec::new();
        for (id, verdict, attributes) in verdicts {
            if !known.insert(short_hash(&id)) {
                return Err(Fault::new(Place::file(path).with_key(&id), "two documents have this id")
                    .hint("ids must be unique in a corpus")
                    .into());
            }
            match verdict {
                Verdict::Keep(mut document) => {
                    if document.license.is_empty() {
                        document.license = settings.license.clone().unwrap_or_default();
                    }
                    kept.write(&document)?;
                    starts.push(kept.position());
                    if let (Some(said), Some(attributes)) = (&mut said, attributes) {
                        said.write(&attributes)?;
                    }
                    ids.push(id);
                    left.push(document);
                }
                Verdict::Drop(reason) => drop_document(&mut dropped, &mut report, &id, &reason, None)?,
            }
            progress.add(1);
        }
        gathers.iter_mut().try_for_each(|gather| gather.add(&left))?;
    }
    drop(known);
    kept.finish()?;
    if let Some(said) = said {
        said.finish()?;
    }
    let mut fates = vec![Fate::Train; ids.len()];
    let texts = Texts::open(&kept_path, starts)?;
    for gather in gathers {
        let reason = gather.reason();
        let stays = gather.stay(&texts)?;
        for (number, stays) in stays.into_iter().enumerate() {
            if number != stays as usize && fates[number] == Fate::Train {
                fates[number] = Fate::Dropped;
                drop_document(&mut dropped, &mut report, &ids[number], reason, Some(&ids[stays as usize]))?;
            }
        }
    }
    dropped.finish()?;
    let left: Vec<usize> = (0..ids.len()).filter(|number| fates[*number] == Fate::Train).collect();
    if left.is_empty() {
        return Err(nothing_left(path, &report));
    }
    let ids: Vec<String> = left.iter().map(|number| std::mem::take(&mut ids[*number])).collect();
    for (number, held_out) in left.iter().zip(parts.select.held_out(&ids, seed)) {
        if held_out {
            fates[*number] = Fate::HeldOut;
        }
    }
    split(&fates, &kept_path, out, &mut report)?;
    if !taggers.is_empty() {
        split_attributes(&fates, &said_path, out)?;
    }
    std::fs::remove_dir_all(&scratch).map_err(|error| Error::io(&scratch, "remove", &error))?;
    Ok(report)
}

/// What becomes of a document that the filters keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Train,
    HeldOut,
    Dropped,
}

/// Half of a hash: two of 2^32 ids have the same with a probability of 2^-65.
fn short_hash(id: &str) -> [u8; 16] {
    let mut out = [0; 16];
    out.copy_from_slice(&blake3::hash(id.as_bytes()).as_bytes()[..16]);
    out
}

fn drop_document(
    dropped: &mut DocumentWriter,
    report: &mut CurateReport,
    id: &str,
    reason: &str,
    repeats: Option<&str>,
) -> Result<()> {
    *report.dropped.entry(reason.to_owned()).or_default() += 1;
    dropped.write(&serde_json::json!({ "id": id, "reason": reason, "repeats": repeats }))
}

/// The document's id, and what all filters together say of it.
fn filtered(item: Item, filters: &[&dyn Filter]) -> (String, Verdict) {
    let mut document = match item {
        Item::Document(document) => document,
        Item::Skipped { id, reason } => return (id, Verdict::Drop(reason.to_owned())),
    };
    let id = document.id.clone();
    for filter in filters {
        match filter.apply(document) {
            Verdict::Keep(kept) => document = kept,
            dropped @ Verdict::Drop(_) => return (id, dropped),
        }
    }
    let empty = document.text.is_empty();
    (id, if empty { Verdict::Drop("empty".to_owned()) } else { Verdict::Keep(document) })
}

fn nothing_left(path: &Path, report: &CurateReport) -> Error {
    if report.read == 0 {
        return Error::file(path, "the corpus is empty: not one document was read");
    }
    let mut message = format!("the corpus is empty: all {} documents were dropped", report.read);
    for (reason, count) in &report.dropped {
        let _ = write!(message, "\n  {count} {reason}");
    }
    Fault::new(Place::file(path), message).hint("loosen the filters that dropped them").into()
}

fn split(fates: &[Fate], kept: &Path, out: &Path, report: &mut CurateReport) -> Result<()> {
    let mut train = DocumentWriter::create(&out.join(TRAIN))?;
    let mut held = DocumentWriter::create(&out.join(HELD_OUT))?;
    for (document, fate) in read_documents(kept)?.zip(fates) {
        let document = document?;
        let bytes = document.text.len() as u64;
        if *fate != Fate::Dropped && !document.partial.is_empty() {
            report.partial += 1;
            if report.partial <= TOLD {
                say(&format!("{}: not read whole: {}", document.id, document.partial.join("; ")));
            }
        }
        match fate {
            Fate::Train => {
                report.kept += 1;
                report.bytes += bytes;
                train.write(&document)?;
            }
            Fate::HeldOut => {
                report.held_out += 1;
                report.held_out_bytes += bytes;
                held.write(&document)?;
            }
            Fate::Dropped => {}
        }
    }
    if report.partial > TOLD {
        say(&format!("{} more documents were not read whole; each says why under `partial`", report.partial - TOLD));
    }
    train.finish()?;
    held.finish()
}

fn split_attributes(fates: &[Fate], said: &Path, out: &Path) -> Result<()> {
    let mut train = DocumentWriter::create(&out.join(TRAIN_ATTRIBUTES))?;
    let mut held = DocumentWriter::create(&out.join(HELD_OUT_ATTRIBUTES))?;
    for (attributes, fate) in read_attributes(said)?.zip(fates) {
        match fate {
            Fate::Train => train.write(&attributes?)?,
            Fate::HeldOut => held.write(&attributes?)?,
            Fate::Dropped => {}
        }
    }
    train.finish()?;
    held.finish()
}

/// Most memory that [`curate()`] will hold, in bytes: a group of the largest documents in their text and JSON form, a document's
/// id and its places, and what documents are compared by.
pub fn planned_memory(size: Size) -> u64 {
    let group = (size.largest * 3).saturating_mul(GROUP as u64).min(size.text_bytes * 3);
    group + size.documents.saturating_mul(OF_DOCUMENT) + (192 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dedup::{Exact, Minhash};
    use crate::filter::Length;
    use crate::read::Text;
    use crate::select::HoldOut;
    use crate::tag::Gopher;

    fn run(folder: &Path, out: &Path) -> Result<CurateReport> {
        let (read, select) = (Text::default(), HoldOut { fraction: 0.25 });
        let parts = Parts {
            read: &read,
            filters: vec![&Length { minimum: 200, maximum: None }],
            tags: vec![&Gopher { version: 1 }],
            dedups: vec![&Exact {}, &Minhash { threshold: 0.8, words: 5, hashes: 128 }],
            select: &select,
        };
        let settings = CurateSettings { license: Some("MIT".into()) };
        let progress = Progress::new("documents", None, "documents");
        curate(&settings, &parts, folder, Seed::new(5), out, &progress)
    }

    #[test]
    fn documents_are_cleaned_deduplicated_and_split() {
        let (folder, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for number in 0..8 {
            let text = (0..200).map(|word| format!("w{}", word + number * 1000)).collect::<Vec<_>>().join(" ");
            std::fs::write(folder.path().join(format!("{number}.txt")), text).unwrap();
        }
        let text = (0..200).map(|word| format!("w{word}")).collect::<Vec<_>>().join(" ");
        std::fs::write(folder.path().join("copy.txt"), &text).unwrap();
        std::fs::write(folder.path().join("near.txt"), text.replace("w100 ", "")).unwrap();
        std::fs::write(folder.path().join("stub.txt"), "too short").unwrap();
        let report = run(folder.path(), out.path()).unwrap();
        assert_eq!((report.read, report.kept, report.held_out), (11, 6, 2));
        assert_eq!(report.dropped.values().sum::<u64>(), 3);
        let train: Vec<_> = read_documents(&out.path().join(TRAIN)).unwrap().collect::<Result<_>>().unwrap();
        assert!(train.iter().all(|document| document.license == "MIT"));
        assert_eq!(report.bytes, train.iter().map(|document| document.text.len() as u64).sum::<u64>());
        for (documents, attributes) in [(TRAIN, TRAIN_ATTRIBUTES), (HELD_OUT, HELD_OUT_ATTRIBUTES)] {
            let documents: Vec<_> = read_documents(&out.path().join(documents)).unwrap().map(Result::unwrap).collect();
            let said: Vec<_> = read_attributes(&out.path().join(attributes)).unwrap().map(Result::unwrap).collect();
            assert_eq!(documents.len(), said.len());
            for (document, said) in documents.iter().zip(&said) {
                assert_eq!(document.id, said.id);
                let words = document.text.split(' ').count() as f64;
                let spans = &said.attributes["gopher_v1__gopher_v1__word_count"];
                assert_eq!(spans[..], [(0, document.text.len(), words)]);
            }
        }
        let again = tempfile::tempdir().unwrap();
        run(folder.path(), again.path()).unwrap();
        for file in [TRAIN, HELD_OUT, DROPPED, TRAIN_ATTRIBUTES, HELD_OUT_ATTRIBUTES] {
            assert_eq!(std::fs::read(out.path().join(file)).unwrap(), std::fs::read(again.path().join(file)).unwrap());
        }
    }

    #[test]
    fn a_corpus_that_loses_everything_is_refused_with_the_reasons() {
        let (folder, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(folder.path().join("a.txt"), "short").unwrap();
        let error = run(folder.path(), out.path()).unwrap_err();
        assert!(error.to_string().contains("1 fewer than 200 characters"), "{error}");
    }
}
