//! A file of results, one JSON line each, that a later run goes on with.

use metier_core::{Error, Fault, Place, Result};
use sha2::{Digest, Sha256};
use std::path::Path;

/// How the line of a result begins. `parts` are all that decides the result, so that a file of other results is never
/// taken for a beginning of these.
pub fn begin(id: Option<&serde_json::Value>, parts: &[&str]) -> String {
    let id = id.map_or(String::new(), |id| format!("\"id\":{id},"));
    let mut hash = Sha256::new();
    hash.update(&id);
    for part in parts {
        hash.update(part);
    }
    let mut head = [0; 8];
    head.copy_from_slice(&hash.finalize()[..8]);
    format!("{{\"request\":\"{:016x}\",{id}", u64::from_be_bytes(head))
}

/// The number of lines in a file, each of which must begin as it is said to; a torn last one is cut off.
pub fn finished(path: &Path, begins: &[impl AsRef<str>]) -> Result<usize> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(Error::io(path, "read", &error)),
    };
    let refuse = |line: usize, message: &str| {
        Fault::new(Place::file(path).at(line + 1, 1), message)
            .hint("the file is left as it is: name another one with --output, or remove it to start over")
    };
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let (lines, torn) = bytes.split_at(whole);
    let lines: Vec<&[u8]> = lines.split_inclusive(|byte| *byte == b'\n').collect();
    for (index, line) in lines.iter().enumerate() {
        let Some(begin) = begins.get(index) else {
            return Err(refuse(index, "there are more lines than inputs").into());
        };
        if !line.starts_with(begin.as_ref().as_bytes()) {
            let message = "this line is no result of this input by this model with these settings";
            return Err(refuse(index, message).into());
        }
    }
    if torn.is_empty() {
        return Ok(lines.len());
    }
    let begin = begins.get(lines.len()).map_or(&[][..], |begin| begin.as_ref().as_bytes());
    if begin.is_empty() || !(torn.starts_with(begin) || begin.starts_with(torn)) {
        return Err(refuse(lines.len(), "the file ends with something that is no result").into());
    }
    let file = std::fs::OpenOptions::new().write(true).open(path).map_err(|error| Error::io(path, "open", &error))?;
    file.set_len(whole as u64).map_err(|error| Error::io(path, "cut the torn last line of", &error))?;
    Ok(lines.len())
}
