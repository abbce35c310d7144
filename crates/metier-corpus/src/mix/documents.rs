//! Documents of a curated folder, or of one in Dolma's layout, chosen and changed by rules.

use super::beside::{Beside, Entry, check_attributes};
use super::expression::{Expression, Syntax};
use super::preset::Preset;
use super::replace::{Replaced, Replacement, put_in};
use super::rules::{Rule, Rules, Verdict};
use crate::document_file::{DROPPED, DocumentWriter, HELD_OUT, HELD_OUT_ATTRIBUTES, TRAIN, TRAIN_ATTRIBUTES};
use crate::packing::with_packed;
use crate::read::{Jsonl, some_files};
use crate::scratch;
use metier_core::data::Document;
use metier_core::progress::Progress;
use metier_core::{Error, Fault, Place, Result, store};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// Which documents are kept, and with which text.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MixSettings {
    /// Published rules, asked before those under `exclude`.
    pub preset: Vec<Preset>,
    /// A condition of SQL that has to be true of a document, asked behind presets and before `exclude`: `word_count >= 50 AND coalesce(has_javascript, 0) = 0`. A
    /// name is an attribute, worth the score of its first span, or null where a document has no such span; `spans(NAME)` is the number of its spans.
    /// `id`, `text`, `source`, `license` and `metadata.NAME` are the document's. There are comparisons, `AND`, `OR`, `NOT`, `IN`, `BETWEEN`, `LIKE`, `ILIKE`,
    /// `IS NULL`, arithmetic, `||`, and `abs`, `coalesce`, `length`, `lower`, `upper`.
    #[serde(rename = "where")]
    pub condition: String,
    /// The language of the expressions under `include`, `exclude` and `replace`.
    pub syntax: Syntax,
    /// A document has to match one of these, if there is any: `$.attributes[?(@.language__language__en[0][2] > 0.5)]`.
    pub include: Vec<String>,
    /// A document must match none of these: `$.attributes[?(@.gopher_v1__gopher_v1__word_count[0][2] < 50)]`.
    pub exclude: Vec<String>,
    /// Spans of the text that are replaced. What was said of documents is not kept then: its spans would fit no more.
    pub replace: Vec<Replace>,
    /// Bytes of text that a document has at least after that, without white space around it.
    pub minimum_text_length: usize,
    /// Of how many dropped documents for each reason the beginning is shown, with the spans that it was dropped for marked.
    #[schemars(range(max = 1000))]
    pub show_dropped: usize,
    /// Whether rules may name attributes that no document has.
    pub allow_missing: bool,
}

/// Spans that are replaced.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Replace {
    /// Where they are: `$.attributes.pii_regex_v1__pii_regex_v1__EMAIL_ADDRESS`.
    pub span: String,
    /// What stands there instead, in which `{}` is the text of the span; behind a `$`, a jq expression over the document.
    #[serde(default)]
    pub with: String,
    /// The score that a span has at least.
    #[serde(default)]
    pub minimum_score: Option<f64>,
    /// The score that a span stays below.
    #[serde(default)]
    pub maximum_score: Option<f64>,
}

impl MixSettings {
    /// The rules. `place` tells where a key is.
    ///
    /// # Errors
    /// All expressions that cannot be read, each with its column.
    pub fn rules(&self, place: impl Fn(&str) -> Place) -> Result<Rules> {
        let mut rules = Rules { minimum_text_length: self.minimum_text_length, ..Rules::default() };
        let mut faults = Vec::new();
        for preset in &self.preset {
            preset.add_to(&mut rules)?;
        }
        if !self.condition.is_empty() {
            match Expression::unless(&self.condition) {
                Ok(expression) => {
                    let name = format!("is not where {}", self.condition);
                    rules.exclude.push(Rule { name, place: "where".to_owned(), expression });
                }
                Err(wrong) => faults.push(wrong.fault(place("where"), &self.condition)),
            }
        }
        for (list, name, texts) in
            [(&mut rules.include, "include", &self.include), (&mut rules.exclude, "exclude", &self.exclude)]
        {
            for (number, text) in (0..).zip(texts) {
                match Expression::new(self.syntax, text) {
                    Ok(expression) => {
                        list.push(Rule { name: text.clone(), place: format!("{name}[{number}]"), expression });
                    }
                    Err(wrong) => faults.push(wrong.fault(place(name), text)),
                }
            }
        }
        for Replace { span, with, minimum_score, maximum_score } in &self.replace {
            match Replacement::new(self.syntax, span, with, *minimum_score, *maximum_score) {
                Ok(replacement) => rules.replace.push(replacement),
                Err((which, wrong)) => {
                    let text = if which == "span" { span } else { with };
                    faults.push(wrong.fault(place("replace"), text));
                }
            }
        }
        if faults.is_empty() && rules.reasons().is_empty() && rules.replace.is_empty() {
            faults.push(
                Fault::new(place("exclude"), "no rule is given")
                    .hint("write `preset`, `where`, `include`, `exclude`, `replace` or `minimum_text_length`"),
            );
        }
        Error::collect(rules, faults)
    }
}

/// Where documents come from.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// A curated folder.
    Curated(&'a Path),
    /// A folder in Dolma's layout, `documents/` beside `attributes/NAME/`, with the license of documents that state none.
    Dolma(&'a Path, &'a str),
}

/// What became of the documents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MixReport {
    /// Documents read.
    pub read: u64,
    /// Documents to learn from, and held out.
    pub documents: [u64; 2],
    /// Bytes of their text.
    pub bytes: [u64; 2],
    /// Documents among them whose text was changed.
    pub changed: u64,
    /// Documents dropped, by the number of the reason.
    dropped: Vec<u64>,
    /// Beginnings of dropped documents, by the number of the reason.
    shown: Vec<Vec<String>>,
}

impl MixReport {
    /// Documents dropped, by reason.
    pub fn dropped(&self, rules: &Rules) -> BTreeMap<String, u64> {
        rules.reasons().into_iter().zip(self.dropped.iter().copied()).filter(|(_, count)| *count > 0).collect()
    }

    /// What was asked to be shown of dropped documents.
    pub fn samples(&self, rules: &Rules) -> Option<String> {
        let mut out = String::new();
        for (reason, shown) in rules.reasons().iter().zip(&self.shown).filter(|(_, shown)| !shown.is_empty()) {
            let _ = writeln!(out, "dropped: {reason}");
            for one in shown {
                let _ = writeln!(out, "  {one}");
            }
        }
        (!out.is_empty()).then_some(out)
    }
}

/// How far an interrupted call has come.
#[derive(Default, Serialize, Deserialize)]
struct State {
    /// Files that are done with, and documents of the next.
    files: usize,
    documents: usize,
    /// Bytes of each file that is written.
    lengths: Vec<u64>,
    report: MixReport,
}

/// What an interruption costs at most.
const BETWEEN_STATES: Duration = if cfg!(test) { Duration::ZERO } else { Duration::from_secs(20) };
/// The files that are written; the first of each pair to learn from.
const FILES: [&str; 5] = [DROPPED, TRAIN, HELD_OUT, TRAIN_ATTRIBUTES, HELD_OUT_ATTRIBUTES];

/// A file that is read: whether it is held out, and what documents of it are called.
struct Input {
    files: Beside,
    held_out: bool,
    name: Option<String>,
}

/// What a document becomes.
enum Done {
    Kept { document: Box<Document>, said: Value, changed: bool },
    Dropped { id: String, reason: usize, shown: Option<String> },
}

/// What attributes are written as.
#[derive(Serialize)]
struct Said<'a> {
    id: &'a str,
    attributes: &'a Value,
}

/// Chooses documents and changes their text. Writes [`TRAIN`], [`HELD_OUT`] and [`DROPPED`] into `out`, and, where no text is
/// replaced, [`TRAIN_ATTRIBUTES`] and [`HELD_OUT_ATTRIBUTES`]. `out/scratch` says how far it has come: the same call goes on from
/// there, with the same result.
///
/// # Errors
/// Attributes that no document has; documents that are not as they should be, with file and line; a corpus of which nothing is
/// left.
pub fn mix(
    settings: &MixSettings,
    rules: &Rules,
    source: Source,
    out: &Path,
    progress: &Progress,
) -> Result<MixReport> {
    let inputs = source.inputs()?;
    let files: Vec<Beside> = inputs.iter().map(|input| input.files.clone()).collect();
    check_attributes(rules, &files, &Place::default(), settings.allow_missing)?;
    let folder = out.join(store::SCRATCH);
    let mut state: State = scratch::load(&folder)?;
    let reasons = rules.reasons();
    state.lengths.resize(FILES.len(), 0);
    state.report.dropped.resize(reasons.len(), 0);
    state.report.shown.resize(reasons.len(), Vec::new());
    let kept = if rules.replace.is_empty() { FILES.len() } else { 3 };
    let open = |(name, length): (&&str, &u64)| DocumentWriter::resume(&out.join(name), *length);
    let mut writers = FILES.iter().zip(&state.lengths).take(kept).map(open).collect::<Result<Vec<_>>>()?;
    progress.add(state.report.read);
    let mut saved = Instant::now();
    for input in &inputs[state.files..] {
        let work = |entry: &Entry, value: Value| source.judge(input, entry, value, rules, settings.show_dropped > 0);
        input.files.each(state.documents, work, |group| {
            progress.add(group.len() as u64);
            state.documents += group.len();
            for done in group {
                state.report.take(done, usize::from(input.held_out), &reasons, settings, &mut writers)?;
            }
            if saved.elapsed() > BETWEEN_STATES {
                save(&mut state, &mut writers, &folder)?;
                saved = Instant::now();
            }
            Ok(())
        })?;
        (state.files, state.documents) = (state.files + 1, 0);
        save(&mut state, &mut writers, &folder)?;
    }
    if state.report.documents == [0, 0] {
        let mut message = format!("the corpus is empty: all {} documents were dropped", state.report.read);
        for (reason, count) in state.report.dropped(rules) {
            let _ = write!(message, "\n  {count} {reason}");
        }
        return Err(Fault::new(Place::default(), message).hint("loosen the rules that dropped them").into());
    }
    super::warn(rules, &state.report.dropped, state.report.read);
    Ok(state.report)
}

/// Brings everything to the disk, and then says how far it goes.
fn save(state: &mut State, writers: &mut [DocumentWriter], folder: &Path) -> Result<()> {
    for (length, writer) in state.lengths.iter_mut().zip(writers) {
        *length = writer.sync()?;
    }
    scratch::save(state, folder)
}

impl MixReport {
    fn take(
        &mut self,
        done: Done,
        held_out: usize,
        reasons: &[String],
        settings: &MixSettings,
        writers: &mut [DocumentWriter],
    ) -> Result<()> {
        self.read += 1;
        match done {
            Done::Kept { document, said, changed } => {
                self.documents[held_out] += 1;
                self.bytes[held_out] += document.text.len() as u64;
                self.changed += u64::from(changed);
                writers[1 + held_out].write(&document)?;
                match writers.get_mut(3 + held_out) {
                    Some(writer) => writer.write(&Said { id: &document.id, attributes: &said }),
                    None => Ok(()),
                }
            }
            Done::Dropped { id, reason, shown } => {
                self.dropped[reason] += 1;
                let place = &mut self.shown[reason];
                place.extend(shown.filter(|_| place.len() < settings.show_dropped));
                writers[0].write(&json!({ "id": id, "reason": reasons[reason] }))
            }
        }
    }
}

impl Source<'_> {
    /// The files of documents, with those of what was said of them.
    pub(crate) fn files(self) -> Result<Vec<Beside>> {
        Ok(self.inputs()?.into_iter().map(|input| input.files).collect())
    }

    fn inputs(self) -> Result<Vec<Input>> {
        match self {
            Self::Curated(folder) => {
                let pairs = [(TRAIN, TRAIN_ATTRIBUTES), (HELD_OUT, HELD_OUT_ATTRIBUTES)];
                let input = |(held_out, (documents, attributes)): (usize, (&str, &str))| {
                    let attributes = Some(folder.join(attributes)).filter(|path| path.exists());
                    let files =
                        Beside { documents: folder.join(documents), attributes: attributes.into_iter().collect() };
                    Input { files, held_out: held_out == 1, name: None }
                };
                Ok(pairs.into_iter().enumerate().map(input).collect())
            }
            Self::Dolma(folder, _) => {
                let documents = folder.join("documents");
                if !documents.is_dir() {
                    return Err(Fault::new(Place::file(folder), "the folder has no folder `documents`")
                        .hint("Dolma's layout is `documents/a.jsonl.gz` beside `attributes/NAME/a.jsonl.gz`")
                        .into());
                }
                let mut include = with_packed(&["*.jsonl", "*.json"]);
                // What is plain JSON says something of the folder.
                include.retain(|pattern| pattern != "*.json");
                let beside = attribute_folders(&folder.join("attributes"))?;
                let input = |(name, documents): (String, std::path::PathBuf)| {
                    let attributes =
                        beside.iter().map(|folder| folder.join(&name)).filter(|path| path.exists()).collect();
                    Input { files: Beside { documents, attributes }, held_out: false, name: Some(name) }
                };
                Ok(some_files(&documents, &include, &[])?.into_iter().map(input).collect())
            }
        }
    }

    fn judge(self, input: &Input, entry: &Entry, mut value: Value, rules: &Rules, show: bool) -> Result<Done> {
        let wrong = |message: String| input.files.wrong(entry.line, message);
        let verdict = rules.judge(&value).map_err(wrong)?;
        let replaced = match verdict {
            Verdict::Keep(replaced) => replaced,
            Verdict::Drop(reason) => {
                let id = value.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
                let shown = show.then(|| show_document(&id, &value, rules, reason));
                return Ok(Done::Dropped { id, reason, shown });
            }
        };
        let said = value.as_object_mut().and_then(|fields| fields.remove("attributes")).unwrap_or_else(|| json!({}));
        let mut document = match (self, &input.name) {
            (Self::Dolma(_, license), Some(name)) => {
                let reader = Jsonl { license: Some(license.to_owned()), ..Jsonl::default() };
                reader.document(name, &input.files.documents, entry.line - 1, &entry.document)?
            }
            _ => serde_json::from_value::<Document>(value).map_err(|error| wrong(error.to_string()))?,
        };
        let changed = !replaced.is_empty();
        if changed {
            put(&mut document, &replaced);
        }
        Ok(Done::Kept { document: Box::new(document), said, changed })
    }
}

/// Puts other texts into a document; no piece covers them.
fn put(document: &mut Document, replaced: &[Replaced]) {
    let lengths: Vec<_> = replaced.iter().map(|(range, with)| (range.clone(), with.len())).collect();
    document.pieces = crate::filter::replace_ranges(&document.pieces, &lengths, document.text.len());
    document.text = put_in(&document.text, replaced);
}

fn attribute_folders(folder: &Path) -> Result<Vec<std::path::PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let failed = |error: std::io::Error| Error::io(folder, "read", &error);
    let entries = std::fs::read_dir(folder).map_err(failed)?;
    let mut out =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<Vec<_>>>().map_err(failed)?;
    out.retain(|path| path.is_dir());
    out.sort();
    Ok(out)
}

/// Characters of a dropped document that are shown, and of them before the first span.
const SHOWN: usize = 160;
const BEFORE: usize = 40;

/// A dropped document in a line: its scores of the attributes that the rule names, and the text around their first span, with
/// spans in `⟦⟧`.
fn show_document(id: &str, value: &Value, rules: &Rules, reason: usize) -> String {
    let text: Vec<char> = value["text"].as_str().unwrap_or_default().chars().collect();
    let mut scores = Vec::new();
    let mut spans = Vec::new();
    for name in rules.attributes_of(reason) {
        let found = value["attributes"][&name].as_array().into_iter().flatten();
        for span in found {
            let number = |at: usize| span.get(at).and_then(Value::as_u64).map(|number| number as usize);
            match (number(0), number(1)) {
                (Some(start), Some(end)) if end.saturating_sub(start) < text.len() => spans.push((start, end)),
                _ => scores.push(format!("{name} {}", span.get(2).unwrap_or(&Value::Null))),
            }
        }
    }
    spans.sort_unstable();
    let from = spans.first().map_or(0, |(start, _)| start.saturating_sub(BEFORE)).min(text.len());
    let mut shown = String::new();
    for (at, letter) in text.iter().enumerate().skip(from).take(SHOWN) {
        let opens = spans.iter().filter(|(start, end)| *start == at && start < end).count();
        let closes = spans.iter().filter(|(start, end)| *end == at && start < end && *start >= from).count();
        shown.extend(std::iter::repeat_n('⟧', closes).chain(std::iter::repeat_n('⟦', opens)));
        shown.push(if letter.is_control() { ' ' } else { *letter });
    }
    let scores = if scores.is_empty() { String::new() } else { format!(" ({})", scores.join(", ")) };
    format!("{id}{scores}: {shown}")
}
