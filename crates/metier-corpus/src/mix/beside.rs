//! Files of documents with the files of what was said of them, line by line.

use super::rules::Rules;
use crate::read::Lines;
use metier_core::progress::say;
use metier_core::{Error, Fault, Place, Result, stop};
use rayon::prelude::*;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A file of documents, and the files of attributes that have a line for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beside {
    /// The documents.
    pub documents: PathBuf,
    /// The attributes; of those that have the same name, that of the last file counts.
    pub attributes: Vec<PathBuf>,
}

/// One document as it was read.
pub(crate) struct Entry {
    /// Its line, counted from 1.
    pub line: usize,
    /// The line itself.
    pub document: Vec<u8>,
    attributes: Vec<Vec<u8>>,
}

/// Documents that pass through memory at once, and bytes after which no other joins them.
const GROUP: usize = 256;
const GROUP_BYTES: usize = 16 << 20;

impl Beside {
    /// Asks `work` of every document behind the first `passed`, with its attributes merged into it, on all threads, and hands
    /// the answers to `take` in order.
    pub(crate) fn each<T: Send>(
        &self,
        passed: usize,
        work: impl Fn(&Entry, Value) -> Result<T> + Sync,
        mut take: impl FnMut(Vec<T>) -> Result<()>,
    ) -> Result<()> {
        let open = |path: &PathBuf| Lines::open(String::new(), path.clone());
        let mut documents = open(&self.documents)?;
        let mut attributes = self.attributes.iter().map(open).collect::<Result<Vec<_>>>()?;
        loop {
            let (mut group, mut bytes) = (Vec::with_capacity(GROUP), 0);
            while group.len() < GROUP && bytes < GROUP_BYTES {
                let Some(entry) = self.next(&mut documents, &mut attributes)? else { break };
                if entry.line > passed {
                    bytes += entry.document.len() + entry.attributes.iter().map(Vec::len).sum::<usize>();
                    group.push(entry);
                }
            }
            if group.is_empty() {
                return Ok(());
            }
            stop::check()?;
            let answer = |entry: &Entry| self.merged(entry).and_then(|document| work(entry, document));
            let answers: Vec<Result<T>> = group.par_iter().map(answer).collect();
            take(answers.into_iter().collect::<Result<_>>()?)?;
        }
    }

    fn next(&self, documents: &mut Lines, attributes: &mut [Lines]) -> Result<Option<Entry>> {
        let document = documents.next()?;
        let mut said = Vec::new();
        for (lines, path) in attributes.iter_mut().zip(&self.attributes) {
            match (lines.next()?, &document) {
                (Some(line), Some(_)) => said.push(line),
                (None, None) => {}
                (line, _) => {
                    let message =
                        if line.is_some() { "there are more lines than" } else { "there are fewer lines than" };
                    let place = Place::file(path).at(documents.read.max(lines.read), 1);
                    let message = format!("{message} documents in {}", self.documents.display());
                    return Err(Fault::new(place, message).hint("tag these documents again").into());
                }
            }
        }
        Ok(document.map(|document| Entry { line: documents.read, document, attributes: said }))
    }

    /// The document, with all attributes under `attributes`.
    fn merged(&self, entry: &Entry) -> Result<Value> {
        let mut document = object(&self.documents, entry.line, &entry.document)?;
        if entry.attributes.is_empty() {
            return Ok(Value::Object(document));
        }
        let mut all = match document.remove("attributes") {
            Some(Value::Object(own)) => own,
            _ => Map::new(),
        };
        for (path, line) in self.attributes.iter().zip(&entry.attributes) {
            let mut said = object(path, entry.line, line)?;
            let (id, own) = (said.get("id").unwrap_or(&Value::Null), document.get("id").unwrap_or(&Value::Null));
            let place = || Place::file(path).at(entry.line, 1);
            if id != own {
                let message = format!("this is said of {id}, but the document of this line is {own}");
                return Err(Fault::new(place(), message).hint("tag these documents again").into());
            }
            let Some(Value::Object(said)) = said.remove("attributes") else {
                return Err(Error::user(place(), "the line has no `attributes`"));
            };
            all.extend(said);
        }
        document.insert("attributes".to_owned(), Value::Object(all));
        Ok(Value::Object(document))
    }

    /// A fault of the document in a line.
    pub(crate) fn wrong(&self, line: usize, message: impl Into<String>) -> Error {
        Error::user(Place::file(&self.documents).at(line, 1), message)
    }
}

fn object(path: &Path, line: usize, text: &[u8]) -> Result<Map<String, Value>> {
    serde_json::from_slice(text)
        .map_err(|error| Error::user(Place::file(path).at(line, error.column()), error.to_string()))
}

/// Refuses rules that name attributes which no document has and no tagger gives; says so only, if they may be missing. The
/// files are read until every name was seen: most often the first lines suffice.
pub(super) fn check_attributes(rules: &Rules, files: &[Beside], place: &Place, allow_missing: bool) -> Result<()> {
    #[derive(Deserialize)]
    struct Line {
        #[serde(default)]
        attributes: Map<String, Value>,
    }
    let mut wanted = rules.attributes();
    let mut seen = BTreeSet::new();
    let paths = files.iter().flat_map(|file| &file.attributes).chain(files.iter().map(|file| &file.documents));
    for path in paths {
        if wanted.is_empty() {
            return Ok(());
        }
        let mut lines = Lines::open(String::new(), path.clone())?;
        while let Some(line) = lines.next()? {
            let line: Line = serde_json::from_slice(&line)
                .map_err(|error| Error::user(Place::file(path).at(lines.read, error.column()), error.to_string()))?;
            for (name, _) in line.attributes {
                wanted.remove(&name);
                seen.insert(name);
            }
            if wanted.is_empty() {
                return Ok(());
            }
        }
    }
    // What a tagger gives at other times may be missing everywhere.
    let taggers = crate::tag::dolma()?;
    for (tagger, kind) in taggers.iter().flat_map(|one| one.kinds().into_iter().map(|kind| (one.name(), kind))) {
        let other = |name: &str| {
            let prefix = name.strip_suffix(kind.as_str()).filter(|prefix| prefix.ends_with(&format!("__{tagger}__")));
            prefix.is_some_and(|prefix| seen.iter().any(|name| name.starts_with(prefix)))
        };
        wanted.retain(|name, _| !other(name));
    }
    let fault = |(name, places): (&String, &BTreeSet<String>)| {
        let key = places.iter().cloned().collect::<Vec<_>>().join(", ");
        let near = metier_core::fault::near_miss(name, seen.iter().map(String::as_str));
        let hint = match (near, seen.len()) {
            (Some(near), _) => format!("did you mean `{near}`?"),
            (None, 0) => "the documents have no attributes: tag them with `curate`;".to_owned(),
            (None, _) => format!("there are: {};", seen.iter().cloned().collect::<Vec<_>>().join(", ")),
        };
        let key = place.key.as_ref().map_or(key.clone(), |before| format!("{before}.{key}"));
        Fault::new(place.clone().with_key(key), format!("no document has an attribute `{name}`"))
            .hint(format!("{hint} `allow_missing` lets it pass"))
    };
    let faults: Vec<Fault> = wanted.iter().map(fault).collect();
    if allow_missing {
        for fault in &faults {
            say(&format!("warning: {}", fault.message));
        }
        return Ok(());
    }
    Error::collect((), faults)
}
