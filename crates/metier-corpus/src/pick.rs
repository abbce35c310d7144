//! Some of the documents of a curated folder, with what was said of them.

use crate::document_file::{DocumentWriter, HELD_OUT, HELD_OUT_ATTRIBUTES, TRAIN, TRAIN_ATTRIBUTES, read_documents};
use crate::read::Lines;
use metier_core::data::Document;
use metier_core::{Error, Place, Result, stop};
use std::path::{Path, PathBuf};

/// How many documents, and how many bytes of text they have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Picked {
    /// Documents.
    pub documents: u64,
    /// Bytes of their text.
    pub bytes: u64,
}

impl Picked {
    fn add(&mut self, text: &str) {
        self.documents += 1;
        self.bytes += text.len() as u64;
    }
}

/// Writes into `out` those documents to learn from of the curated folder `from` whose numbers, from 0 and rising, are given, and all that
/// are held out; what was said of them lies beside them as before. Gives what was written of both.
///
/// # Errors
/// A broken line, with its number; fewer documents than the numbers say; a full disk.
pub fn pick(from: &Path, numbers: &[u64], out: &Path) -> Result<[Picked; 2]> {
    let lines = |file: &str| Lines::open(String::new(), from.join(file));
    let mut picked = [Picked::default(); 2];
    let mut writer = DocumentWriter::create(&out.join(TRAIN))?;
    some(lines(TRAIN)?, numbers, &from.join(TRAIN), |number, line| {
        let document: Document = serde_json::from_slice(line).map_err(|error| {
            Error::user(Place::file(from.join(TRAIN)).at(number + 1, error.column()), error.to_string())
        })?;
        picked[0].add(&document.text);
        writer.write_line(line)
    })?;
    writer.finish()?;
    if from.join(TRAIN_ATTRIBUTES).exists() {
        let mut writer = DocumentWriter::create(&out.join(TRAIN_ATTRIBUTES))?;
        some(lines(TRAIN_ATTRIBUTES)?, numbers, &from.join(TRAIN_ATTRIBUTES), |_, line| writer.write_line(line))?;
        writer.finish()?;
    }
    for document in read_documents(&from.join(HELD_OUT))? {
        picked[1].add(&document?.text);
    }
    for file in [HELD_OUT, HELD_OUT_ATTRIBUTES] {
        let (path, copy): (PathBuf, PathBuf) = (from.join(file), out.join(file));
        if path.exists() {
            std::fs::copy(&path, &copy).map_err(|error| Error::io(&copy, "write", &error))?;
        }
    }
    Ok(picked)
}

/// Hands over the lines of these numbers.
fn some(
    mut lines: Lines,
    numbers: &[u64],
    path: &Path,
    mut take: impl FnMut(usize, &[u8]) -> Result<()>,
) -> Result<()> {
    let mut wanted = numbers.iter().map(|number| *number as usize).peekable();
    while let Some(next) = wanted.peek() {
        let number = lines.read;
        let Some(line) = lines.next()? else {
            return Err(Error::file(path, format!("it has {number} lines, and line {} is wanted", next + 1)));
        };
        if number == *next {
            stop::check()?;
            take(number, &line)?;
            wanted.next();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use metier_core::data::{Metadata, Pieces};

    #[test]
    fn chosen_lines_go_with_what_was_said_of_them() {
        let (from, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let document = |number: usize| Document {
            id: format!("d{number}"),
            text: "é".repeat(number + 1),
            source: String::new(),
            source_sha256: String::new(),
            license: "CC0-1.0".into(),
            pieces: Pieces::whole(2 * number + 2),
            partial: Vec::new(),
            metadata: Metadata::new(),
        };
        for (file, count) in [(TRAIN, 6), (HELD_OUT, 2)] {
            let mut writer = DocumentWriter::create(&from.path().join(file)).unwrap();
            (0..count).for_each(|number| writer.write(&document(number)).unwrap());
            writer.finish().unwrap();
        }
        let said: Vec<_> = (0..6).map(|number| format!("{{\"attributes\":{{}},\"id\":\"d{number}\"}}\n")).collect();
        std::fs::write(from.path().join(TRAIN_ATTRIBUTES), said.concat()).unwrap();
        let [train, held_out] = pick(from.path(), &[0, 3, 5], out.path()).unwrap();
        assert_eq!(train, Picked { documents: 3, bytes: 2 + 8 + 12 });
        assert_eq!(held_out, Picked { documents: 2, bytes: 6 });
        let ids = |file: &str| -> Vec<String> {
            let text = std::fs::read_to_string(out.path().join(file)).unwrap();
            let id = |line: &str| {
                serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].as_str().unwrap().to_owned()
            };
            text.lines().map(id).collect()
        };
        for file in [TRAIN, TRAIN_ATTRIBUTES] {
            assert_eq!(ids(file), ["d0", "d3", "d5"]);
        }
        assert!(ids(HELD_OUT) == ["d0", "d1"] && !out.path().join(HELD_OUT_ATTRIBUTES).exists());
        let error = pick(from.path(), &[2, 6], out.path()).unwrap_err().to_string();
        assert!(error.contains("it has 6 lines, and line 7 is wanted"), "{error}");
    }
}
