//! Dolma's mixer: streams of files in its layout, mixed into shards as a configuration of its own says.

use super::beside::{Beside, Entry, check_attributes};
use super::config::{Config, Stream, place_of, read_config};
use super::replace::put_in;
use super::rules::{Rules, Verdict};
use crate::packing;
use metier_core::progress::{Progress, say};
use metier_core::{Error, Fault, Place, Result, store};
use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter};
use serde_json::{Map, Value};
use serde_saphyr::Spanned;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

/// What became of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct StreamReport {
    /// The stream.
    pub name: String,
    /// Documents read.
    pub read: u64,
    /// Documents written.
    pub kept: u64,
    /// Documents dropped, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Files written, and those that were there already.
    pub written: u64,
    /// Files that were there already, which are not looked at.
    pub skipped: u64,
}

/// Files that become one.
#[derive(Debug, PartialEq, Eq)]
struct Shard {
    inputs: Vec<Beside>,
    output: PathBuf,
}

/// A stream whose configuration was checked.
struct Checked<'a> {
    stream: &'a Stream,
    rules: Rules,
    shards: Vec<Shard>,
    discarded: Vec<&'a str>,
    zipped: Option<bool>,
}

/// Does what a configuration of Dolma's mixer says. All of it is checked before any document is read. Shards that are there
/// already stay as they are, so that an interrupted run goes on; each appears whole or not at all. With `only_check`, or
/// `dryrun` in the configuration, nothing is written.
///
/// # Errors
/// All faults of the configuration together, among them attributes that no document has; or the first document that cannot be
/// read or asked, with its line.
pub fn mix_config(
    path: &Path,
    allow_missing: bool,
    only_check: bool,
    progress: &Progress,
) -> Result<Vec<StreamReport>> {
    let config: Config = read_config(path)?;
    let mut faults = Vec::new();
    let mut streams = Vec::new();
    for (number, stream) in (0..).zip(&config.streams) {
        match check(path, &format!("streams[{number}]"), stream, config.shuffle, allow_missing) {
            Ok(checked) => streams.push(checked),
            Err(error) => faults.extend(error.faults),
        }
    }
    let mut outputs = BTreeSet::new();
    for shard in streams.iter().flat_map(|stream| &stream.shards) {
        if !outputs.insert(&shard.output) {
            faults.push(
                Fault::new(Place::file(&shard.output), "two streams write this file")
                    .hint("give them other names or paths"),
            );
        }
    }
    let streams = Error::collect(streams, faults)?;
    if config.processes.is_some() || config.work_dir.is_some() {
        say("`processes` and `work_dir` have no effect: `--threads` says how many threads work, and files are local");
    }
    streams.iter().map(|stream| stream.run(only_check || config.dryrun, progress)).collect()
}

fn check<'a>(path: &Path, key: &str, stream: &'a Stream, shuffle: bool, allow_missing: bool) -> Result<Checked<'a>> {
    let mut faults = Vec::new();
    let mut keep = |error: Error| faults.extend(error.faults);
    let rules = stream.rules(path, key).map_err(&mut keep).ok();
    let zipped = compression(path, key, stream).map_err(&mut keep).ok();
    let inputs = inputs(path, key, stream, allow_missing).map_err(&mut keep).ok();
    let discarded: Vec<&str> =
        stream.output.discard_fields.iter().flatten().map(|field| field.value.as_str()).collect();
    for field in stream.output.discard_fields.iter().flatten().filter(|field| field.value == "text") {
        let place = place_of(path, format!("{key}.output.discard_fields"), field);
        keep(Error::user(place, "a document without its text is none"));
    }
    let (Some(rules), Some(zipped), Some(inputs)) = (rules, zipped, inputs) else {
        return Err(Error { faults, blame: metier_core::Blame::User });
    };
    check_attributes(&rules, &inputs, &Place::file(path).with_key(key), allow_missing).unwrap_or_else(&mut keep);
    let shards = shards(stream, inputs, shuffle, zipped)?;
    Error::collect(Checked { stream, rules, shards, discarded, zipped }, faults)
}

/// Whether output is compressed, if that is said.
fn compression(path: &Path, key: &str, stream: &Stream) -> Result<Option<bool>> {
    let Some(compression) = &stream.compression else { return Ok(None) };
    let wrong = |word: &str, known: &str| {
        let place = Place::file(path).with_key(format!("{key}.compression"));
        let message = format!("`{word}` is no compression that is known here");
        Fault::new(place, message).hint(format!("write {known}, or an empty text for none"))
    };
    match compression.input.as_deref() {
        Some(word) if !word.is_empty() && !packing::ENDINGS.contains(&word) => {
            return Err(wrong(word, "`bz2`, `gz` or `zst`").into());
        }
        _ => {}
    }
    match compression.output.as_deref() {
        None => Ok(None),
        Some("") => Ok(Some(false)),
        Some("gz") => Ok(Some(true)),
        Some(word) => Err(wrong(word, "`gz`").into()),
    }
}

/// The files that the patterns of the stream name, with those of their attributes.
fn inputs(path: &Path, key: &str, stream: &Stream, allow_missing: bool) -> Result<Vec<Beside>> {
    let mut faults = Vec::new();
    let mut out = Vec::new();
    for (number, pattern) in (0..).zip(&stream.documents) {
        let place = || place_of(path, format!("{key}.documents[{number}]"), pattern);
        match matching(&pattern.value, place) {
            Ok(found) => {
                if found.is_empty() {
                    say(&format!("{}: no file fits `{}`", place(), pattern.value));
                }
                out.extend(found.into_iter().map(|documents| Beside { documents, attributes: Vec::new() }));
            }
            Err(error) => faults.extend(error.faults),
        }
    }
    if out.is_empty() && faults.is_empty() {
        let place = Place::file(path).with_key(format!("{key}.documents"));
        faults.push(Fault::new(place, "no file fits any pattern, so the stream is empty"));
    }
    for file in &mut out {
        for (number, name) in (0..).zip(stream.attributes.iter().flatten()) {
            let place = || place_of(path, format!("{key}.attributes[{number}]"), name);
            match attributes(&file.documents, name, place) {
                Ok(found) if found.is_empty() && allow_missing => {
                    say(&format!("{}: no attributes `{}`", file.documents.display(), name.value));
                }
                Ok(found) if found.is_empty() => {
                    let message = format!("{} has no attributes `{}`", file.documents.display(), name.value);
                    faults.push(Fault::new(place(), message).hint("`--allow-missing` goes on without them"));
                }
                Ok(found) => file.attributes.extend(found),
                Err(error) => faults.extend(error.faults),
            }
        }
        // What is compressed is told from names.
        let input = stream.compression.as_ref().and_then(|compression| compression.input.as_deref());
        for name in std::iter::once(&file.documents).chain(&file.attributes) {
            if input.is_some_and(|input| input != packing::ending(name).unwrap_or_default()) {
                let place = Place::file(path).with_key(format!("{key}.compression.input"));
                let message = format!("the name of {} says otherwise", name.display());
                faults
                    .push(Fault::new(place, message).hint("compressed files end in .bz2, .gz or .zst, others do not"));
            }
        }
    }
    Error::collect(out, faults)
}

fn attributes(documents: &Path, name: &Spanned<String>, place: impl Fn() -> Place) -> Result<Vec<PathBuf>> {
    let documents = documents.to_string_lossy();
    if !documents.contains("/documents/") {
        let message = format!("{documents} has no attributes: there is no folder `documents` in its path");
        return Err(Fault::new(place(), message)
            .hint("`.../documents/a.jsonl` has `.../attributes/NAME/a.jsonl`")
            .into());
    }
    matching(&documents.replace("/documents/", &format!("/attributes/{}/", name.value)), place)
}

/// The files that a pattern names, in order.
pub(crate) fn matching(pattern: &str, place: impl Fn() -> Place) -> Result<Vec<PathBuf>> {
    if pattern.contains("://") {
        return Err(Fault::new(place(), format!("`{pattern}` is not on this machine"))
            .hint("copy the files here, and name where they are")
            .into());
    }
    let found = glob::glob(pattern).map_err(|error| Error::user(place(), format!("`{pattern}`: {}", error.msg)))?;
    let mut out = Vec::new();
    for path in found {
        let path = path.map_err(|error| Error::io(error.path(), "read", error.error()))?;
        if path.is_file() {
            out.push(path);
        }
    }
    Ok(out)
}

/// Which files become one: as many as the size allows, told from the files as they are; or each for itself.
fn shards(stream: &Stream, inputs: Vec<Beside>, shuffle: bool, zipped: Option<bool>) -> Result<Vec<Shard>> {
    let folder = PathBuf::from(&stream.output.path.value);
    if !shuffle {
        let own = |input: Beside| {
            let path = input.documents.to_string_lossy();
            let name = path.rsplit_once("/documents/").map_or(&*path, |(_, name)| name);
            let output = folder.join("documents").join(name.trim_start_matches('/'));
            Shard { inputs: vec![input], output }
        };
        return Ok(inputs.into_iter().map(own).collect());
    }
    let ending = if zipped.unwrap_or(true) { ".gz" } else { "" };
    let mut out: Vec<Shard> = Vec::new();
    let mut size = 0_u64;
    for input in inputs {
        let bytes = input.documents.metadata().map_err(|error| Error::io(&input.documents, "read", &error))?.len();
        size += bytes;
        match out.last_mut() {
            Some(shard) if size <= stream.output.max_size_in_bytes => shard.inputs.push(input),
            _ => {
                let output = folder.join(format!("{}-{:04}.jsonl{ending}", stream.name, out.len()));
                out.push(Shard { inputs: vec![input], output });
                size = bytes;
            }
        }
    }
    Ok(out)
}

/// What a document becomes.
enum Done {
    Line(Vec<u8>),
    Dropped(usize),
}

/// JSON with no `+` in powers of ten, which newer versions of `serde_json` write and the one of Dolma's mixer does not.
struct Plain;

impl Formatter for Plain {
    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> std::io::Result<()> {
        let mut text = Vec::new();
        CompactFormatter.write_f64(&mut text, value)?;
        text.retain(|letter| *letter != b'+');
        writer.write_all(&text)
    }
}

impl Checked<'_> {
    fn run(&self, only_check: bool, progress: &Progress) -> Result<StreamReport> {
        let mut report = StreamReport { name: self.stream.name.clone(), ..StreamReport::default() };
        let mut dropped = vec![0; self.rules.reasons().len()];
        for shard in &self.shards {
            if shard.output.exists() {
                report.skipped += 1;
            } else if !only_check {
                if let Some(folder) = shard.output.parent() {
                    store::create_folder(folder)?;
                }
                store::write_atomic_with(&shard.output, |file| {
                    let ending = match self.zipped {
                        Some(zipped) => zipped.then_some("gz"),
                        None => packing::ending(&shard.output),
                    };
                    let write = |out: &mut dyn Write| self.write(shard, out, &mut report, &mut dropped, progress);
                    packing::pack(&shard.output, ending, file, write)
                })?;
                report.written += 1;
            }
        }
        if report.skipped > 0 {
            say(&format!("{}: {} files are there already and stay as they are", report.name, report.skipped));
        }
        if report.read > 0 {
            super::warn(&self.rules, &dropped, report.read);
        }
        let named = self.rules.reasons().into_iter().zip(dropped).filter(|(_, count)| *count > 0);
        named.for_each(|(reason, count)| *report.dropped.entry(reason).or_default() += count);
        Ok(report)
    }

    fn write(
        &self,
        shard: &Shard,
        out: &mut dyn Write,
        report: &mut StreamReport,
        dropped: &mut [u64],
        progress: &Progress,
    ) -> Result<()> {
        for input in &shard.inputs {
            let name = input.documents.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let work = |entry: &Entry, document: Value| self.document(input, &name, entry, document);
            input.each(0, work, |group| {
                progress.add(group.len() as u64);
                for done in group {
                    report.read += 1;
                    match done {
                        Done::Line(line) => {
                            report.kept += 1;
                            out.write_all(&line).map_err(|error| Error::io(&shard.output, "write", &error))?;
                        }
                        Done::Dropped(reason) => dropped[reason] += 1,
                    }
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// The line that is written for a document: keys in the order of their bytes, as Dolma's mixer has them.
    fn document(&self, input: &Beside, name: &str, entry: &Entry, mut document: Value) -> Result<Done> {
        let wrong = |message: String| input.wrong(entry.line, message);
        let replaced = match self.rules.judge(&document).map_err(wrong)? {
            Verdict::Drop(reason) => return Ok(Done::Dropped(reason)),
            Verdict::Keep(replaced) => replaced,
        };
        if let Some(Value::String(text)) = document.get_mut("text").filter(|_| !replaced.is_empty()) {
            *text = put_in(text, &replaced);
        }
        if let Value::Object(fields) = &mut document {
            for field in &self.discarded {
                fields.remove(*field);
            }
            let metadata = fields.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
            if !metadata.is_object() {
                *metadata = Value::Object(Map::new());
            }
            metadata["provenance"] = Value::String(format!("{name}:{}", entry.line));
        }
        document.sort_all_objects();
        let mut line = Vec::new();
        let mut serializer = serde_json::Serializer::with_formatter(&mut line, Plain);
        document.serialize(&mut serializer).map_err(|error| wrong(error.to_string()))?;
        line.push(b'\n');
        Ok(Done::Line(line))
    }
}
