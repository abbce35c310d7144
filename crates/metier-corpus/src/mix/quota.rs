//! So many documents of each cell: a language, a domain, a length.

use super::beside::{Beside, Entry, check_attributes};
use super::documents::Source;
use super::expression::Expression;
use super::rules::{Rule, Rules};
use crate::document_file::{DROPPED, DocumentWriter, HELD_OUT, HELD_OUT_ATTRIBUTES, TRAIN, TRAIN_ATTRIBUTES};
use metier_core::progress::Progress;
use metier_core::seed::Seed;
use metier_core::{Error, Fault, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BinaryHeap};
use std::path::Path;

/// So many documents of each cell, drawn at random. A document is of the first cell whose condition is true of it; what is of none is left out. What is held out stays held out.
/// Ha 2025, *Pensez* (arXiv:2503.13661): a small set, balanced over language, domain and length.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QuotaSettings {
    /// The cells, in the order in which they are asked.
    pub cells: Vec<Cell>,
    /// Whether conditions may name attributes that no document has.
    pub allow_missing: bool,
}

/// A cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// What it is called in figures.
    pub name: String,
    /// Which documents are of it, as `where` of `mix`: `metadata.language = 'fr' AND white_space_tokens__length <= 256`.
    #[serde(rename = "where")]
    pub condition: String,
    /// How many of them are taken.
    pub documents: u64,
}

/// What was taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QuotaReport {
    /// Documents read, to learn from and held out.
    pub read: [u64; 2],
    /// Documents of each cell.
    pub has: Vec<u64>,
    /// Documents taken and bytes of their text.
    pub taken: [u64; 2],
    /// Bytes of text that is held out.
    pub held_out_bytes: u64,
    /// Documents of no cell.
    pub of_none: u64,
}

impl QuotaReport {
    /// Why documents were left out.
    pub fn dropped(&self) -> BTreeMap<String, u64> {
        let not_drawn = self.has.iter().sum::<u64>() - self.taken[0];
        [(NOT_DRAWN, not_drawn), (OF_NONE, self.of_none)]
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .map(|(reason, count)| (reason.to_owned(), count))
            .collect()
    }
}

const NOT_DRAWN: &str = "not drawn";
const OF_NONE: &str = "of no cell";
/// Bytes held for each document that may be taken: what it drew, in heaps, and its number.
const OF_DOCUMENT: u64 = 32;

impl QuotaSettings {
    /// Documents wanted of all cells together.
    pub fn wanted(&self) -> u64 {
        self.cells.iter().fold(0, |sum, cell| sum.saturating_add(cell.documents))
    }

    /// Bytes held for the documents that are drawn.
    pub fn memory(&self) -> u64 {
        self.wanted().saturating_mul(OF_DOCUMENT)
    }

    /// The conditions, each as a rule that excludes what is not of its cell. `place` tells where a key is.
    ///
    /// # Errors
    /// All cells that cannot be: conditions that cannot be read, each with its column, names that are there twice, cells of nothing.
    pub fn rules(&self, place: impl Fn(&str) -> Place) -> Result<Rules> {
        let (mut rules, mut faults) = (Rules::default(), Vec::new());
        if self.cells.is_empty() {
            faults.push(Fault::new(place("cells"), "no cell is given").hint(
                "write `cells = [{ name = \"french\", where = \"metadata.language = 'fr'\", documents = 1000 }]`",
            ));
        }
        for (number, cell) in self.cells.iter().enumerate() {
            if self.cells[..number].iter().any(|other| other.name == cell.name) {
                faults.push(Fault::new(place("cells"), format!("two cells are called `{}`", cell.name)));
            }
            if cell.documents == 0 {
                let message = format!("the cell `{}` takes no document", cell.name);
                faults.push(Fault::new(place("cells"), message).hint("leave it out, or write 1 or more"));
            }
            match Expression::unless(&cell.condition) {
                Ok(expression) => rules.exclude.push(Rule {
                    name: cell.name.clone(),
                    place: format!("cells[{number}].where"),
                    expression,
                }),
                Err(wrong) => {
                    let mut fault = wrong.fault(place("cells"), &cell.condition);
                    fault.message = format!("cell `{}`: {}", cell.name, fault.message);
                    faults.push(fault);
                }
            }
        }
        Error::collect(rules, faults)
    }
}

/// The cell of a document: the first whose condition is true.
fn cell_of(rules: &Rules, document: &Value) -> std::result::Result<Option<usize>, String> {
    for (number, rule) in rules.exclude.iter().enumerate() {
        if !rule.expression.excludes(document).map_err(|message| format!("{}: {message}", rule.name))? {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

/// Draws so many documents of each cell and writes them into `out`, in the order of the folder `from`, with what was said of them.
///
/// # Errors
/// Cells that have fewer documents than are wanted, all of them with both numbers; attributes that no document has; documents that are not as
/// they should be, with file and line.
pub fn quota(
    settings: &QuotaSettings,
    rules: &Rules,
    from: &Path,
    seed: Seed,
    out: &Path,
    progress: &Progress,
) -> Result<QuotaReport> {
    let files = Source::Curated(from).files()?;
    check_attributes(rules, &files, &Place::default(), settings.allow_missing)?;
    let mut report = QuotaReport { has: vec![0; settings.cells.len()], ..QuotaReport::default() };
    // Of each cell those that drew the smallest numbers, the largest of them on top.
    let mut drawn: Vec<BinaryHeap<(u64, u64)>> = vec![BinaryHeap::new(); settings.cells.len()];
    let learned = &files[0];
    let asked = |entry: &Entry, document: Value| {
        cell_of(rules, &document).map_err(|message| learned.wrong(entry.line, message))
    };
    learned.each(0, asked, |group| {
        progress.add(group.len() as u64);
        for cell in group {
            let number = report.read[0];
            report.read[0] += 1;
            let Some(cell) = cell else {
                report.of_none += 1;
                continue;
            };
            report.has[cell] += 1;
            let heap = &mut drawn[cell];
            heap.push((seed.at(number).bits(), number));
            if heap.len() as u64 > settings.cells[cell].documents {
                heap.pop();
            }
        }
        Ok(())
    })?;
    enough(settings, &report.has)?;
    let mut taken: Vec<u64> = drawn.into_iter().flatten().map(|(_, number)| number).collect();
    taken.sort_unstable();
    let mut dropped = DocumentWriter::create(&out.join(DROPPED))?;
    let written = write(learned, Some((&taken, rules)), out, [TRAIN, TRAIN_ATTRIBUTES], &mut dropped)?;
    report.taken = [written[0], written[1]];
    let held_out = write(&files[1], None, out, [HELD_OUT, HELD_OUT_ATTRIBUTES], &mut dropped)?;
    dropped.finish()?;
    (report.read[1], report.held_out_bytes) = (held_out[0], held_out[1]);
    Ok(report)
}

/// Refuses cells that have less than is wanted.
fn enough(settings: &QuotaSettings, has: &[u64]) -> Result<()> {
    let short: Vec<String> = settings
        .cells
        .iter()
        .zip(has)
        .filter(|(cell, has)| cell.documents > **has)
        .map(|(cell, has)| format!("\n  {}: {} wanted, {has} there", cell.name, cell.documents))
        .collect();
    if short.is_empty() {
        return Ok(());
    }
    let message =
        format!("{} of {} cells have too few documents:{}", short.len(), settings.cells.len(), short.concat());
    Err(Fault::new(Place::key("cells"), message).hint("want fewer, loosen the conditions, or add documents").into())
}

/// Writes the documents of a file whose numbers are given, or all: how many, and bytes of their text.
fn write(
    file: &Beside,
    taken: Option<(&[u64], &Rules)>,
    out: &Path,
    names: [&str; 2],
    dropped: &mut DocumentWriter,
) -> Result<[u64; 2]> {
    let mut documents = DocumentWriter::create(&out.join(names[0]))?;
    let mut beside = (!file.attributes.is_empty()).then(|| DocumentWriter::create(&out.join(names[1]))).transpose()?;
    let mut counts = [0, 0];
    let mut next = taken.map(|(taken, _)| taken.iter().copied().peekable());
    let work = |entry: &Entry, document: Value| Ok((entry.line as u64 - 1, document));
    file.each(0, work, |group| {
        for (number, mut document) in group {
            let id = document["id"].clone();
            if next.as_mut().is_some_and(|next| next.next_if_eq(&number).is_none()) {
                let cell = taken.map_or(Ok(None), |(_, rules)| cell_of(rules, &document));
                let cell = cell.map_err(|message| file.wrong(number as usize + 1, message))?;
                let reason = if cell.is_some() { NOT_DRAWN } else { OF_NONE };
                dropped.write(&json!({ "id": id, "reason": reason }))?;
                continue;
            }
            let said = document.as_object_mut().and_then(|fields| fields.remove("attributes"));
            counts[0] += 1;
            counts[1] += document["text"].as_str().map_or(0, |text| text.len() as u64);
            documents.write(&document)?;
            if let Some(beside) = &mut beside {
                beside.write(&json!({ "id": id, "attributes": said }))?;
            }
        }
        Ok(())
    })?;
    documents.finish()?;
    beside.map_or(Ok(()), DocumentWriter::finish)?;
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use metier_core::data::{Document, Metadata, Pieces};
    use std::collections::BTreeSet;

    /// 400 documents of two languages and three lengths, and a few held out.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (documents, attributes, count) in [(TRAIN, TRAIN_ATTRIBUTES, 400), (HELD_OUT, HELD_OUT_ATTRIBUTES, 7)] {
            let mut writer = DocumentWriter::create(&folder.path().join(documents)).unwrap();
            let mut beside = DocumentWriter::create(&folder.path().join(attributes)).unwrap();
            for number in 0..count {
                let language = if number % 4 == 0 { "fr" } else { "en" };
                let document = Document {
                    id: format!("{documents}{number}"),
                    text: "é".repeat(1 + number % 3),
                    source: "made".to_owned(),
                    source_sha256: String::new(),
                    license: "CC0-1.0".to_owned(),
                    pieces: Pieces::default(),
                    partial: Vec::new(),
                    metadata: Metadata::from_iter([("language".to_owned(), language.into())]),
                };
                writer.write(&document).unwrap();
                let said = json!({ "length": [[0, 1 + number % 3, (1 + number % 3) as f64]] });
                beside.write(&json!({ "id": document.id, "attributes": said })).unwrap();
            }
            writer.finish().unwrap();
            beside.finish().unwrap();
        }
        folder
    }

    fn cell(name: &str, condition: &str, documents: u64) -> Cell {
        Cell { name: name.to_owned(), condition: condition.to_owned(), documents }
    }

    fn run(cells: Vec<Cell>, from: &Path, seed: u64) -> Result<(QuotaReport, BTreeSet<String>)> {
        let settings = QuotaSettings { cells, allow_missing: false };
        let rules = settings.rules(|key| Place::key(key))?;
        let out = tempfile::tempdir().unwrap();
        let progress = Progress::new("documents", None, "documents");
        let report = quota(&settings, &rules, from, Seed::new(seed), out.path(), &progress)?;
        let ids = |name: &str| -> Vec<String> {
            crate::document_file::read_documents(&out.path().join(name)).unwrap().map(|one| one.unwrap().id).collect()
        };
        assert_eq!(ids(HELD_OUT).len(), 7);
        let beside = std::fs::read_to_string(out.path().join(TRAIN_ATTRIBUTES)).unwrap();
        let train = ids(TRAIN);
        for (line, id) in beside.lines().zip(&train) {
            assert!(line.contains(&format!("\"{id}\"")), "{line}");
        }
        let dropped = std::fs::read_to_string(out.path().join(DROPPED)).unwrap().lines().count() as u64;
        assert_eq!(dropped, report.dropped().values().sum::<u64>());
        assert_eq!(train.len() as u64 + dropped, report.read[0]);
        Ok((report, train.into_iter().collect()))
    }

    #[test]
    fn each_cell_has_as_many_as_are_wanted_and_the_seed_decides_which() {
        let from = folder();
        let cells = || {
            vec![
                cell("french", "metadata.language = 'fr'", 50),
                cell("long", "length >= 3", 20),
                cell("short", "length = 1", 30),
            ]
        };
        let (report, first) = run(cells(), from.path(), 1).unwrap();
        assert_eq!(report.has, [100, 100, 100]);
        assert_eq!(report.taken[0], 100);
        assert_eq!(report.dropped(), BTreeMap::from([(NOT_DRAWN.to_owned(), 200), (OF_NONE.to_owned(), 100)]));
        let number = |id: &String| id.trim_start_matches(TRAIN).parse::<usize>().unwrap();
        let of = |wanted: &dyn Fn(usize) -> bool| first.iter().filter(|id| wanted(number(id))).count();
        assert_eq!(of(&|number| number % 4 == 0), 50);
        assert_eq!(of(&|number| number % 4 != 0 && number % 3 == 2), 20);
        assert_eq!(of(&|number| number % 4 != 0 && number % 3 == 0), 30);
        assert_eq!(run(cells(), from.path(), 1).unwrap().1, first);
        assert_ne!(run(cells(), from.path(), 2).unwrap().1, first);
    }

    #[test]
    fn cells_that_are_too_small_are_refused_with_what_they_have() {
        let from = folder();
        let cells = vec![
            cell("french", "metadata.language = 'fr'", 101),
            cell("english", "metadata.language = 'en'", 300),
            cell("none", "length > 9", 1),
        ];
        let fault = run(cells, from.path(), 1).unwrap_err().to_string();
        for part in ["2 of 3 cells", "french: 101 wanted, 100 there", "none: 1 wanted, 0 there"] {
            assert!(fault.contains(part), "{fault}");
        }
        assert!(!fault.contains("english"), "{fault}");
    }

    #[test]
    fn all_faults_of_the_cells_are_told_together() {
        let settings = QuotaSettings {
            cells: vec![cell("a", "length >", 1), cell("a", "true", 0), cell("b", "nothing(1)", 1)],
            allow_missing: false,
        };
        let fault = settings.rules(|key| Place::key(key)).unwrap_err();
        assert_eq!(fault.faults.len(), 4, "{fault}");
        assert!(QuotaSettings::default().rules(|key| Place::key(key)).is_err());
        let from = folder();
        let fault = run(vec![cell("a", "lenght > 1", 1)], from.path(), 1).unwrap_err().to_string();
        assert!(fault.contains("lenght") && fault.contains("length"), "{fault}");
    }
}
