//! The configuration of Dolma's deduper, in YAML or JSON.

use super::look::{By, Looker};
use super::{DedupeSettings, Filter, Hashed, hashed, tell};
use crate::mix::{Beside, matching, place_of, read_config, whole};
use crate::packing;
use metier_core::progress::{Progress, say};
use metier_core::seed::Seed;
use metier_core::{Error, Fault, Place, Result, store};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_saphyr::Spanned;
use std::io::Write;
use std::path::{Path, PathBuf};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    documents: Vec<Spanned<String>>,
    dedupe: Dedupe,
    bloom_filter: BloomFilter,
    /// No effect here: `--threads` says how many threads work, files are local, and what is compressed is told from names.
    processes: Option<Value>,
    work_dir: Option<Value>,
    is_s3_volume: Option<Value>,
    compression: Option<Value>,
    /// Whether to stop after the check.
    #[serde(default)]
    dryrun: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Dedupe {
    name: Option<String>,
    documents: Option<Documents>,
    paragraphs: Option<Paragraphs>,
    #[serde(default)]
    skip_empty: bool,
    #[serde(default, deserialize_with = "whole")]
    min_length: u64,
    #[serde(default, deserialize_with = "whole")]
    min_words: u64,
    num_partitions: Option<Spanned<u64>>,
    /// No effect here: without partitions there is but one.
    #[serde(rename = "partition_index")]
    _partition_index: Option<u64>,
    #[serde(rename = "file_partition")]
    _file_partition: Option<bool>,
    document_dir: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Documents {
    attribute_name: String,
    key: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Paragraphs {
    attribute_name: String,
    by_ngram: Option<Sequences>,
    paragraph_separator: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sequences {
    #[serde(default)]
    ngram_length: usize,
    #[serde(default)]
    stride: usize,
    overlap_threshold: Option<f32>,
    #[serde(default)]
    skip_short_paragraphs: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BloomFilter {
    file: String,
    read_only: bool,
    #[serde(default, deserialize_with = "whole")]
    size_in_bytes: u64,
    #[serde(default, deserialize_with = "whole")]
    estimated_doc_count: u64,
    #[serde(default)]
    desired_false_positive_rate: f64,
}

/// What became of the documents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ConfigReport {
    /// Documents read.
    pub documents: u64,
    /// Those of them in which something was seen before.
    pub tagged: u64,
    /// Files of attributes that were written.
    pub written: u64,
    /// Files of attributes that were there already; what their documents hold goes into the filter all the same.
    pub skipped: u64,
}

/// Does what a configuration of Dolma's deduper says: for each file of documents writes one of attributes, and in the end the filter. All of
/// it is checked before any document is read. Files that are there already stay as they are, so that an interrupted run goes on, with
/// the same result; each appears whole or not at all. With `only_check`, or `dryrun` in the configuration, nothing is written.
///
/// # Errors
/// All faults of the configuration together; or the first document that cannot be read or has no text, with its line.
pub fn dedupe_config(path: &Path, only_check: bool, seed: Seed, progress: &Progress) -> Result<ConfigReport> {
    let config: Config = read_config(path)?;
    let settings = config.settings(path)?;
    let looker = Looker::new(&settings, |key| config.place(path, key))?;
    let files = config.files(path, &settings)?;
    if [&config.processes, &config.work_dir, &config.is_s3_volume, &config.compression].iter().any(|key| key.is_some())
    {
        say(
            "`processes`, `work_dir`, `is_s3_volume` and `compression` have no effect: `--threads` says how many threads work, files are local, and what is compressed is told from names",
        );
    }
    let saved = PathBuf::from(&config.bloom_filter.file);
    let mut filter = match (saved.exists(), settings.read_only) {
        (true, _) => Filter::open(&saved)?,
        (false, false) => Filter::new(settings.size(), seed),
        (false, true) => {
            let place = Place::file(path).with_key("bloom_filter.file");
            return Err(Fault::new(
                place,
                format!("{} is not there, and `read_only` makes no new filter", saved.display()),
            )
            .hint("build it first, with `read_only: false`")
            .into());
        }
    };
    let mut report = ConfigReport::default();
    if only_check || config.dryrun || (saved.exists() && files.iter().all(|(_, output)| output.exists())) {
        report.skipped = files.iter().filter(|(_, output)| output.exists()).count() as u64;
        return Ok(report);
    }
    let hashes = filter.hashes().clone();
    for (input, output) in files {
        let mut each = |mut out: Option<&mut dyn Write>| {
            input.each(
                0,
                |entry, document| hashed(&looker, &hashes, &input, entry, document),
                |group| {
                    progress.add(group.len() as u64);
                    for Hashed { said, units } in group {
                        let (spans, _) = looker.seen(units, &mut filter, settings.read_only);
                        report.documents += 1;
                        report.tagged += u64::from(!spans.is_empty());
                        if let Some(out) = &mut out {
                            let said = said.only(&settings.attribute, spans);
                            let written = serde_json::to_writer(&mut *out, &said);
                            let written = written.map_err(std::io::Error::from).and_then(|()| out.write_all(b"\n"));
                            written.map_err(|error| Error::io(&output, "write", &error))?;
                        }
                    }
                    Ok(())
                },
            )
        };
        if output.exists() {
            each(None)?;
            report.skipped += 1;
            continue;
        }
        if let Some(folder) = output.parent() {
            store::create_folder(folder)?;
        }
        store::write_atomic_with(&output, |file| {
            packing::pack(&output, packing::ending(&output), file, |file| each(Some(file)))
        })?;
        report.written += 1;
    }
    if !settings.read_only {
        if let Some(folder) = saved.parent() {
            store::create_folder(folder)?;
        }
        filter.save(&saved)?;
    }
    tell(&filter, &settings);
    Ok(report)
}

impl Config {
    /// What it says in our words.
    fn settings(&self, path: &Path) -> Result<DedupeSettings> {
        let mut faults = Vec::new();
        let mut refuse = |key: &str, message: &str, hint: &str| {
            faults.push(Fault::new(Place::file(path).with_key(key), message).hint(hint));
        };
        let Dedupe { documents, paragraphs, num_partitions, .. } = &self.dedupe;
        let BloomFilter { size_in_bytes, estimated_doc_count, desired_false_positive_rate, read_only, .. } =
            self.bloom_filter;
        if num_partitions.as_ref().is_some_and(|number| number.value > 1) {
            refuse("dedupe.num_partitions", "all is looked up in one filter here", "write 1, and run it once");
        }
        if size_in_bytes == 0 && (estimated_doc_count == 0 || desired_false_positive_rate <= 0.0) {
            let hint = "write `size_in_bytes`, or `estimated_doc_count` and `desired_false_positive_rate`";
            refuse("bloom_filter", "the filter has no size", hint);
        }
        let mut settings = DedupeSettings {
            skip_empty: self.dedupe.skip_empty,
            minimum_length: self.dedupe.min_length as usize,
            minimum_words: self.dedupe.min_words as usize,
            expected: estimated_doc_count.max(1),
            false_positives: if desired_false_positive_rate > 0.0 { desired_false_positive_rate } else { 1e-12 },
            bytes: Some(size_in_bytes).filter(|bytes| *bytes > 0),
            read_only,
            ..DedupeSettings::default()
        };
        match (documents, paragraphs) {
            (Some(documents), None) => {
                settings.attribute.clone_from(&documents.attribute_name);
                settings.key.clone_from(&documents.key.value);
            }
            (None, Some(paragraphs)) => {
                settings.by = By::Paragraph;
                settings.attribute.clone_from(&paragraphs.attribute_name);
                settings.separator = paragraphs.paragraph_separator.clone().unwrap_or(settings.separator);
                if let Some(ngram) = &paragraphs.by_ngram {
                    settings.ngram_length = ngram.ngram_length;
                    settings.stride = ngram.stride;
                    settings.overlap_threshold = ngram.overlap_threshold.unwrap_or(1.0);
                    settings.skip_short_paragraphs = ngram.skip_short_paragraphs;
                }
            }
            _ => refuse("dedupe", "either `documents` or `paragraphs` says what is looked up", "write one of them"),
        }
        Error::collect(settings, faults)
    }

    /// Where a key of [`DedupeSettings`] stands in the configuration.
    fn place(&self, path: &Path, key: &str) -> Place {
        let key = match (key, &self.dedupe.documents) {
            ("key", Some(documents)) => return place_of(path, "dedupe.documents.key".to_owned(), &documents.key),
            ("attribute", Some(_)) => "dedupe.documents.attribute_name",
            ("attribute", None) => "dedupe.paragraphs.attribute_name",
            ("separator", _) => "dedupe.paragraphs.paragraph_separator",
            ("overlap_threshold", _) => "dedupe.paragraphs.by_ngram.overlap_threshold",
            ("false_positives", _) => "bloom_filter.desired_false_positive_rate",
            _ => "dedupe",
        };
        Place::file(path).with_key(key)
    }

    /// Files of documents, each with that of its attributes.
    fn files(&self, path: &Path, settings: &DedupeSettings) -> Result<Vec<(Beside, PathBuf)>> {
        let folder = format!("/{}/", self.dedupe.document_dir.as_deref().unwrap_or("documents"));
        let name = self.dedupe.name.as_deref().unwrap_or(&settings.attribute);
        let mut faults = Vec::new();
        let mut out = Vec::new();
        for (number, pattern) in (0..).zip(&self.documents) {
            let place = || place_of(path, format!("documents[{number}]"), pattern);
            let found = match matching(&pattern.value, place) {
                Ok(found) => found,
                Err(error) => {
                    faults.extend(error.faults);
                    continue;
                }
            };
            if found.is_empty() {
                say(&format!("{}: no file fits `{}`", place(), pattern.value));
            }
            for documents in found {
                let text = documents.to_string_lossy();
                if text.contains(&folder) {
                    let output = PathBuf::from(text.replace(&folder, &format!("/attributes/{name}/")));
                    out.push((Beside { documents, attributes: Vec::new() }, output));
                } else {
                    let message = format!("{text} has no attributes: there is no folder `{folder}` in its path");
                    let hint = "`.../documents/a.jsonl` has `.../attributes/NAME/a.jsonl`";
                    faults.push(Fault::new(place(), message).hint(hint));
                }
            }
        }
        if out.is_empty() && faults.is_empty() {
            faults.push(Fault::new(Place::file(path).with_key("documents"), "no file fits any pattern"));
        }
        Error::collect(out, faults)
    }
}
