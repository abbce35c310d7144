//! What was said of documents, in numbers: how many have an attribute, and how its scores are spread.

mod page;
mod sketch;

use crate::document_file::TRAIN;
use crate::layout::Layout;
use crate::mix::{Beside, Entry, Source};
use crate::packing::with_packed;
use crate::read::some_files;
use metier_core::progress::Progress;
use metier_core::{Error, Fault, Place, Result};
pub use page::{NUMBERS, page};
use serde::Serialize;
use serde_json::Value;
pub use sketch::{Bar, Quantile, Sketch, Summary};
use std::collections::BTreeMap;
use std::path::Path;

/// Most attributes that are told apart, each in memory of its own.
const MOST: usize = 10_000;

/// What there is to say of documents.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stats {
    /// Number of documents.
    pub documents: u64,
    /// Characters of their texts.
    pub characters: u64,
    /// How large texts are: in characters, white-space-separated words and lines.
    pub texts: BTreeMap<&'static str, Summary>,
    /// Attributes by name.
    pub attributes: BTreeMap<String, Attribute>,
}

/// What there is to say of an attribute.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Attribute {
    /// Documents with a span of it.
    pub documents: u64,
    /// Their share of all documents.
    pub share: f64,
    /// Spans of it.
    pub spans: u64,
    /// Characters in its spans by characters of all texts; above 1 where spans overlap.
    pub covered: f64,
    /// How the scores of spans are spread.
    pub scores: Option<Summary>,
}

/// Reads all documents below a path with what lies beside them: a curated folder, one in Dolma's layout, or JSON lines, where
/// attributes may stand in the documents themselves. Memory does not grow with the number of documents.
///
/// # Errors
/// A path without documents; the first line that is not as it should be, with file and line; more than 10,000 attributes.
pub fn stats(path: &Path, progress: &Progress) -> Result<Stats> {
    let mut gathered = Gathered::default();
    for file in files(path)? {
        file.each(
            0,
            |entry, document| said(&file, entry, &document),
            |group| {
                progress.add(group.len() as u64);
                group.into_iter().try_for_each(|said| gathered.take(&file, said))
            },
        )?;
    }
    gathered.told(path)
}

fn files(path: &Path) -> Result<Vec<Beside>> {
    if path.join(TRAIN).is_file() {
        return Source::Curated(path).files();
    }
    if path.join("documents").is_dir() {
        return Source::Dolma(path, "").files();
    }
    let found = some_files(path, &with_packed(&["*.jsonl"]), &[]).map_err(|mut error| {
        if let [fault] = &mut error.faults[..] {
            fault.hint = Some("`metier curate` reads other files, and tags them".to_owned());
        }
        error
    })?;
    Ok(found.into_iter().map(|(_, documents)| Beside { documents, attributes: Vec::new() }).collect())
}

/// What is said of one document.
struct Said {
    line: usize,
    /// Characters, words and lines of its text.
    size: [usize; 3],
    /// Of each attribute its spans, as their length and score.
    attributes: Vec<(String, Vec<(u64, f64)>)>,
}

fn said(file: &Beside, entry: &Entry, document: &Value) -> Result<Said> {
    let wrong = |message: String| file.wrong(entry.line, message);
    let text = document.get("text").and_then(Value::as_str);
    let text = text.ok_or_else(|| wrong("the document has no text under `text`".to_owned()))?;
    let mut layout = Layout::default();
    layout.set(text);
    let size = [layout.characters(), layout.words().len(), layout.lines().len()];
    let span = |span: &Value| match span.as_array()?.as_slice() {
        [start, end, score] => Some((end.as_u64()?.checked_sub(start.as_u64()?)?, score.as_f64()?)),
        _ => None,
    };
    let mut attributes = Vec::new();
    for (name, spans) in document.get("attributes").and_then(Value::as_object).into_iter().flatten() {
        let spans = spans.as_array().and_then(|spans| spans.iter().map(span).collect::<Option<Vec<_>>>());
        let message = || wrong(format!("`{name}` is no list of spans, each written [start, end, score]"));
        attributes.push((name.clone(), spans.ok_or_else(message)?));
    }
    Ok(Said { line: entry.line, size, attributes })
}

/// An attribute as it is read.
#[derive(Default)]
struct Growing {
    documents: u64,
    spans: u64,
    characters: u64,
    scores: Sketch,
}

#[derive(Default)]
struct Gathered {
    documents: u64,
    characters: u64,
    sizes: [Sketch; 3],
    attributes: BTreeMap<String, Growing>,
}

impl Gathered {
    fn take(&mut self, file: &Beside, said: Said) -> Result<()> {
        self.documents += 1;
        self.characters += said.size[0] as u64;
        for (sketch, size) in self.sizes.iter_mut().zip(said.size) {
            sketch.add(size as f64);
        }
        for (name, spans) in said.attributes {
            if self.attributes.len() >= MOST && !self.attributes.contains_key(&name) {
                return Err(file
                    .wrong(said.line, format!("there are more than {MOST} attributes"))
                    .hint("an attribute is what a tagger says of many documents; is this a name for each?"));
            }
            let attribute = self.attributes.entry(name).or_default();
            attribute.documents += u64::from(!spans.is_empty());
            attribute.spans += spans.len() as u64;
            for (length, score) in spans {
                attribute.characters = attribute.characters.saturating_add(length);
                attribute.scores.add(score);
            }
        }
        Ok(())
    }

    fn told(self, path: &Path) -> Result<Stats> {
        if self.documents == 0 {
            return Err(Error::from(Fault::new(Place::file(path), "there are no documents")));
        }
        let documents = self.documents as f64;
        let characters = self.characters.max(1) as f64;
        let attribute = |(name, grown): (String, Growing)| {
            let attribute = Attribute {
                documents: grown.documents,
                share: grown.documents as f64 / documents,
                spans: grown.spans,
                covered: grown.characters as f64 / characters,
                scores: grown.scores.summary(),
            };
            (name, attribute)
        };
        let sizes = ["characters", "words", "lines"].into_iter().zip(self.sizes);
        Ok(Stats {
            documents: self.documents,
            characters: self.characters,
            texts: sizes.filter_map(|(name, sketch)| Some((name, sketch.summary()?))).collect(),
            attributes: self.attributes.into_iter().map(attribute).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(folder: &Path) -> Result<Stats> {
        stats(folder, &Progress::new("documents", None, "documents"))
    }

    fn write(folder: &Path, name: &str, lines: &[&str]) {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, lines.join("\n") + "\n").unwrap();
    }

    #[test]
    fn attributes_are_counted_with_their_documents_spans_and_characters() {
        let folder = tempfile::tempdir().unwrap();
        let documents = [r#"{"id":"a","text":"äbcd e\nf","attributes":{"y":[[0,4,2]]}}"#, r#"{"id":"b","text":"12"}"#];
        write(folder.path(), "documents/a.jsonl", &documents);
        let said = [
            r#"{"id":"a","attributes":{"x":[[0,2,1],[4,6,3]],"none":[]}}"#,
            r#"{"id":"b","attributes":{"x":[[0,2,0.5]]}}"#,
        ];
        write(folder.path(), "attributes/one/a.jsonl", &said);
        let told = read(folder.path()).unwrap();
        assert_eq!((told.documents, told.characters), (2, 10));
        let of = |name: &str| {
            let Attribute { documents, share, spans, covered, .. } = told.attributes[name];
            (documents, share, spans, covered)
        };
        assert_eq!(of("x"), (2, 1.0, 3, 0.6));
        assert_eq!(of("y"), (1, 0.5, 1, 0.4));
        assert_eq!(of("none"), (0, 0.0, 0, 0.0));
        let scores = told.attributes["x"].scores.as_ref().unwrap();
        assert_eq!((scores.mean, scores.least, scores.largest), (1.5, 0.5, 3.0));
        let sizes = |name: &str| (told.texts[name].least, told.texts[name].largest);
        assert_eq!((sizes("characters"), sizes("words"), sizes("lines")), ((2.0, 8.0), (1.0, 3.0), (1.0, 2.0)));
        let lines = tempfile::tempdir().unwrap();
        write(lines.path(), "a.jsonl", &documents);
        assert_eq!(read(lines.path()).unwrap().attributes["y"], told.attributes["y"]);
    }

    #[test]
    fn what_is_not_as_it_should_be_is_named_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let good = r#"{"id":"a","text":"abc","attributes":{"x":[[0,1,1]]}}"#;
        for (bad, said) in [
            (r#"{"id":"a","text":"abc","attributes":{"x":[[0,1]]}}"#, "`x` is no list of spans"),
            (r#"{"id":"a","text":"abc","attributes":{"x":[[2,1,0]]}}"#, "`x` is no list of spans"),
            (r#"{"id":"a","text":"abc","attributes":{"x":0.5}}"#, "`x` is no list of spans"),
            (r#"{"id":"a","text":["abc"]}"#, "no text under `text`"),
            ("{", "EOF"),
        ] {
            write(folder.path(), "a.jsonl", &[good, bad]);
            let error = read(folder.path()).unwrap_err().to_string();
            assert!(error.contains("a.jsonl:2") && error.contains(said), "{error}");
        }
        let names: Vec<String> = (0..=MOST).map(|number| format!("\"a{number}\":[]")).collect();
        write(folder.path(), "a.jsonl", &[good, &format!("{{\"text\":\"\",\"attributes\":{{{}}}}}", names.join(","))]);
        assert!(read(folder.path()).unwrap_err().to_string().contains("more than 10000 attributes"));
        write(folder.path(), "a.jsonl", &[]);
        std::fs::write(folder.path().join("a.jsonl"), "").unwrap();
        assert!(read(folder.path()).unwrap_err().to_string().contains("there are no documents"));
        std::fs::remove_file(folder.path().join("a.jsonl")).unwrap();
        assert!(read(folder.path()).unwrap_err().to_string().contains("`metier curate` reads other files"));
    }
}
