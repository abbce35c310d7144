//! What happened in a store, one JSON line an event, in the order it happened.

use crate::{Error, Fault, Place, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Seconds since 1970.
    pub time: f64,
    /// Which run of the command it belongs to.
    pub run: String,
    /// The stage it is about; empty when it is about the whole run.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stage: String,
    /// What happened: `started`, `finished`, `reused` and so on.
    pub event: String,
    /// More about it.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub details: Value,
}

/// The journal, open for appending.
pub(super) struct Journal {
    path: PathBuf,
    file: Mutex<File>,
}

impl Journal {
    /// Opens the journal and cuts off a last line that a kill left unfinished.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
            .and_then(|mut file| cut_torn_line(&mut file).map(|()| file))
            .map_err(|error| Error::io(path, "open the journal", &error))?;
        Ok(Self { path: path.to_path_buf(), file: Mutex::new(file) })
    }

    /// Appends an event.
    pub(super) fn append(&self, run: &str, stage: &str, event: &str, details: Value) -> Result<()> {
        let event = Event {
            time: super::now().as_secs_f64(),
            run: run.to_owned(),
            stage: stage.to_owned(),
            event: event.to_owned(),
            details,
        };
        let mut line = serde_json::to_string(&event)
            .map_err(|error| Error::program(format!("a journal event does not serialize: {error}")))?;
        line.push('\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(line.as_bytes()).map_err(|error| {
            let _ = cut_torn_line(&mut file);
            Error::io(&self.path, "write to the journal", &error)
        })
    }
}

/// All events of a journal. A last line without an end is left out; any other broken line is a fault.
pub(super) fn read(path: &Path) -> Result<Vec<Event>> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io(path, "read the journal", &error)),
    };
    let whole = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    let mut events = Vec::new();
    let mut faults = Vec::new();
    for (index, line) in text[..whole].split(|&byte| byte == b'\n').enumerate() {
        if line.is_empty() {
            continue;
        }
        match serde_json::from_slice(line) {
            Ok(event) => events.push(event),
            Err(error) => {
                let place = Place::file(path).at(index + 1, error.column().max(1));
                faults.push(Fault::new(place, format!("this line of the journal cannot be read: {error}")));
            }
        }
    }
    Error::collect(events, faults)
}

fn cut_torn_line(file: &mut File) -> std::io::Result<()> {
    const STEP: u64 = 4096;
    let length = file.metadata()?.len();
    let mut end = length;
    let mut chunk = Vec::new();
    let whole = loop {
        if end == 0 {
            break 0;
        }
        let start = end.saturating_sub(STEP);
        file.seek(SeekFrom::Start(start))?;
        chunk.clear();
        Read::by_ref(file).take(end - start).read_to_end(&mut chunk)?;
        if let Some(at) = chunk.iter().rposition(|&byte| byte == b'\n') {
            break start + at as u64 + 1;
        }
        end = start;
    };
    if whole < length { file.set_len(whole) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_last_line_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let journal = Journal::open(&path).unwrap();
        journal.append("r1", "pack", "started", Value::Null).unwrap();
        journal.append("r1", "", "finished", serde_json::json!({ "n": 1 })).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let mut torn = whole.clone();
        torn.extend(format!("{{\"time\": 1, \"run\": \"{}", "x".repeat(9000)).as_bytes());
        std::fs::write(&path, torn).unwrap();
        assert_eq!(read(&path).unwrap().len(), 2);
        Journal::open(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), whole);
    }

    #[test]
    fn a_broken_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        std::fs::write(&path, "{\"time\":1,\"run\":\"a\",\"event\":\"b\"}\nnonsense\n").unwrap();
        let error = read(&path).unwrap_err();
        assert_eq!(error.faults[0].place.line, Some(2));
    }
}
