use super::{Found, Invalid, Raw, Read, Size, files, some_files};
use crate::columns::{Table, Values, Wanted};
use crate::read::{hex, no_text};
use metier_core::data::{Document, Metadata, Pieces};
use metier_core::part::{Build, Part};
use metier_core::{Fault, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// # What it does
/// Reads tables in Parquet files, one document a row.
///
/// # How
/// The text stands in the column `text_key`; a column in a group is named `group.column`. The columns `id` and `license` are taken over where they
/// hold texts; otherwise the id is the file's path and the row's number, counted from 1. Pieces are counted in the text itself, whose SHA-256 is
/// the source hash. A row without a text, or with bytes that are no UTF-8, is refused with its number, or dropped with `invalid = "skip"`. A file without the
/// column, or where it holds no text, is refused with the columns that do.
///
/// Only these columns are read, a page of them at a time, so it is the largest page that has to fit into the memory. What is passed over when an
/// interrupted stage goes on is not decompressed. Pages are plain, or compressed by Snappy, gzip or zstd; values are plain or in a dictionary (no `DELTA_`
/// encodings, for which a damaged page could ask for any amount of memory).
///
/// # When to use
/// For data sets of model hubs, and for what pandas, Polars or DuckDB wrote.
///
/// # Differs from the paper in
/// Nothing: no paper stands behind it.
///
/// # Source
/// metier; the format is Apache Parquet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Parquet {
    /// Patterns of the files to read.
    pub include: Vec<String>,
    /// The column of the text.
    pub text_key: String,
    /// The license of documents whose row states none.
    pub license: Option<String>,
    /// What becomes of rows that are no document.
    pub invalid: Invalid,
}

impl Default for Parquet {
    fn default() -> Self {
        Self {
            include: vec!["*.parquet".to_owned()],
            text_key: "text".to_owned(),
            license: None,
            invalid: Invalid::Refuse,
        }
    }
}

/// The rows of a file.
struct Rows {
    name: Arc<str>,
    path: Arc<Path>,
    table: Table,
    columns: [Option<usize>; 3],
    /// The row group that comes next, the rows left of the one that is open, and its columns.
    group: usize,
    left: usize,
    open: [Option<Values>; 3],
    /// How many rows were read or passed over.
    read: usize,
}

/// What stands in a row.
struct Row {
    text: Option<Vec<u8>>,
    id: Option<Vec<u8>>,
    license: Option<Vec<u8>>,
}

impl Rows {
    fn open(name: String, path: PathBuf, text_key: &str) -> Result<Self> {
        let table = Table::open(&path)?;
        let columns = [
            table.column(&Wanted::Always(text_key))?,
            table.column(&Wanted::Perhaps("id"))?,
            table.column(&Wanted::Perhaps("license"))?,
        ];
        let (name, path) = (name.into(), path.into());
        Ok(Self { name, path, table, columns, group: 0, left: 0, open: [None, None, None], read: 0 })
    }

    /// The next row behind `passed` others.
    fn next(&mut self, passed: &mut usize) -> Result<Option<Row>> {
        while self.left <= *passed {
            *passed -= self.left;
            self.read += self.left;
            let Some(group) = self.table.groups().get(self.group) else { return Ok(None) };
            self.left = self.table.rows(group)?;
            self.group += 1;
            self.open = [None, None, None];
        }
        for (open, column) in self.open.iter_mut().zip(self.columns) {
            if let (None, Some(column)) = (&open, column) {
                *open = Some(self.table.values(self.group - 1, column)?);
            }
        }
        let wrong = |error| self.table.wrong(self.read + *passed, &error);
        let next = |open: &mut Option<Values>| {
            let Some(values) = open else { return Ok(None) };
            values.skip(*passed)?;
            values.next()
        };
        let [text, id, license] = &mut self.open;
        let row =
            next(text).and_then(|text| Ok(Row { text, id: next(id)?, license: next(license)? })).map_err(wrong)?;
        self.left -= *passed + 1;
        self.read += *passed + 1;
        *passed = 0;
        Ok(Some(row))
    }
}

impl Parquet {
    fn document(&self, name: &str, path: &Path, index: usize, row: Row) -> Result<Document> {
        let place = || Place::file(path).with_key(format!("row {}, column `{}`", index + 1, self.text_key));
        let text = row.text.ok_or_else(|| Fault::new(place(), "the row has no text"))?;
        let text = String::from_utf8(text).map_err(|error| {
            let mut error = no_text(path, &error);
            error.faults.iter_mut().for_each(|fault| fault.place = place());
            error.hint("write the column as UTF-8, or drop such rows with `invalid = \"skip\"`")
        })?;
        let word = |bytes: Option<Vec<u8>>| bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        Ok(Document {
            id: word(row.id).filter(|id| !id.is_empty()).unwrap_or_else(|| format!("{name}:{}", index + 1)),
            source: format!("{name}:{}", index + 1),
            source_sha256: hex(&Sha256::digest(text.as_bytes())),
            license: word(row.license).or_else(|| self.license.clone()).unwrap_or_default(),
            pieces: Pieces::whole(text.len()),
            partial: Vec::new(),
            metadata: Metadata::new(),
            text,
        })
    }

    fn raw(&self, rows: &Rows, row: Row) -> Raw<'_> {
        let (name, path, index) = (Arc::clone(&rows.name), Arc::clone(&rows.path), rows.read - 1);
        Raw::new(row.text.as_ref().map_or(0, Vec::len), move || {
            let id = format!("{name}:{}", index + 1);
            self.invalid.item(id, "no text in the row", self.document(&name, &path, index, row))
        })
    }
}

impl Read for Parquet {
    fn files(&self, path: &Path) -> Result<Vec<(String, PathBuf)>> {
        some_files(path, &self.include, &[])
    }

    fn open_files<'a>(&'a self, _: &Path, files: Vec<(String, PathBuf)>, mut passed: usize) -> Found<'a> {
        let (mut files, mut rows) = (files.into_iter(), None);
        let aside = self.invalid == Invalid::Quarantine;
        Box::new(std::iter::from_fn(move || {
            loop {
                let Some(open) = &mut rows else {
                    let (name, path) = files.next()?;
                    match Rows::open(name.clone(), path, &self.text_key) {
                        Ok(open) => rows = Some(open),
                        Err(error) => match self.invalid.rest(format!("{name}:1"), error) {
                            Ok(_) if passed > 0 => passed -= 1,
                            rest => return Some(rest),
                        },
                    }
                    continue;
                };
                // What is set aside depends on rows that were not read, so each is.
                let next = if aside { open.next(&mut 0) } else { open.next(&mut passed) };
                match next {
                    Ok(None) => rows = None,
                    Ok(Some(_)) if passed > 0 => passed -= 1,
                    Ok(Some(row)) => return Some(Ok(self.raw(open, row))),
                    Err(error) => {
                        let rest = self.invalid.rest(format!("{}:{}", open.name, open.read + 1), error);
                        rows = None;
                        match rest {
                            Ok(_) if passed > 0 => passed -= 1,
                            rest => return Some(rest),
                        }
                    }
                }
            }
        }))
    }

    fn size(&self, path: &Path) -> Result<Size> {
        let mut size = Size::default();
        for (_, path) in files(path, &self.include, &[])? {
            let table = Table::open(&path)?;
            let column = table.column(&Wanted::Always(&self.text_key))?;
            for group in table.groups() {
                let Some(chunk) = column.and_then(|column| group.columns().get(column)) else { continue };
                let rows = table.rows(group)? as u64;
                let written = chunk.unencoded_byte_array_data_bytes().unwrap_or_else(|| chunk.uncompressed_size());
                let bytes = u64::try_from(written).unwrap_or_default();
                size.documents = size.documents.saturating_add(rows);
                size.text_bytes = size.text_bytes.saturating_add(bytes);
                let mean = bytes / rows.max(1);
                size.largest = size.largest.max(bytes.min(mean.saturating_mul(OVER_MEAN)));
                size.held = size.held.max(2 * bytes.min(mean.saturating_mul(PAGE_ROWS) + PAGE_BYTES));
            }
        }
        Ok(size)
    }
}

/// How many times longer than the mean the longest text of a row group is taken to be, of which a footer says nothing.
const OVER_MEAN: u64 = 16;
/// What writers put into a page before they begin another, checked after so many rows; it is held in both forms.
const PAGE_ROWS: u64 = 1024;
const PAGE_BYTES: u64 = 1 << 20;

impl Build<dyn Read> for Parquet {
    fn build(self, _: &Place) -> Result<Box<dyn Read>> {
        Ok(Box::new(self))
    }
}

/// The record of `parquet`.
pub static PART: Part<dyn Read> = Part::of::<Parquet>("parquet", 1);

#[cfg(test)]
mod tests {
    use super::super::Item;
    use super::*;
    use metier_testkit::fixture;
    use serde_json::Value;

    const WRITTEN: [&str; 4] = ["gzip", "plain", "snappy", "zstd"];

    fn table(name: &str) -> PathBuf {
        fixture("tables").join(format!("{name}.parquet"))
    }

    fn items(reader: &Parquet, path: &Path) -> Vec<Result<Item>> {
        reader.open(path).unwrap().collect()
    }

    fn said(reader: &Parquet, path: &Path) -> String {
        items(reader, path).pop().unwrap().unwrap_err().to_string()
    }

    #[test]
    fn tables_of_other_programs_are_read_as_these_read_them() {
        let rows = std::fs::read_to_string(fixture("tables/rows.json")).unwrap();
        let rows: Value = serde_json::from_str(&rows).unwrap();
        for key in ["text", "more.text"] {
            let reader = Parquet { text_key: key.into(), invalid: Invalid::Skip, ..Parquet::default() };
            for name in WRITTEN {
                let found = items(&reader, &table(name));
                assert_eq!(found.len(), 60, "{name}");
                for (index, (item, row)) in found.iter().zip(rows["rows"].as_array().unwrap()).enumerate() {
                    let place = format!("{name}.parquet:{}", index + 1);
                    let text = key.split('.').fold(row, |row, key| &row[key]);
                    match (item.as_ref().unwrap(), text) {
                        (Item::Skipped { id, reason }, Value::Null) => {
                            assert_eq!((id, *reason), (&place, "no text in the row"));
                        }
                        (Item::Document(document), Value::String(text)) => {
                            assert_eq!(&document.text, text);
                            assert_eq!(document.id, row["id"].as_str().unwrap_or(&place));
                            assert_eq!(document.license, row["license"].as_str().unwrap_or_default());
                            assert_eq!(document.source, place);
                        }
                        wrong => panic!("{wrong:?}"),
                    }
                }
                for passed in 0..=61 {
                    let behind = reader.open_behind(&table(name), passed).unwrap();
                    let behind: Vec<_> = behind.map(|raw| raw.unwrap().item()).collect();
                    assert_eq!(behind, found[passed.min(60)..], "{name} behind {passed}");
                }
            }
        }
        let folder = fixture("tables");
        let reader = Parquet { include: vec!["*p*.parquet".into()], invalid: Invalid::Skip, ..Parquet::default() };
        assert_eq!(reader.open_behind(&folder, 70).unwrap().count(), 110);
        let size = reader.size(&folder).unwrap();
        let text: usize =
            rows["rows"].as_array().unwrap().iter().filter_map(|row| row["text"].as_str()).map(str::len).sum();
        assert!(size.documents == 180 && size.text_bytes >= text as u64 && size.largest >= 60, "{size:?}");
    }

    #[test]
    fn rows_and_columns_without_text_are_named() {
        let reader = |key: &str| Parquet { text_key: key.into(), ..Parquet::default() };
        let null = items(&reader("text"), &table("zstd"))[5].clone().unwrap_err().to_string();
        assert!(null.ends_with("zstd.parquet: row 6, column `text`: the row has no text"), "{null}");
        for (key, expected) in [
            ("txt", "the file has no column `txt`\n  hint: did you mean `text`? set `text_key`"),
            (
                "stars",
                "the column `stars` holds values of the type INT64, not text\n  hint: its columns of text: id, text, license, more.text, more.kind",
            ),
            ("tags.list.element", "the column `tags.list.element` holds lists, not text"),
        ] {
            let said = said(&reader(key), &table("snappy"));
            assert!(said.contains(&format!("snappy.parquet: {expected}")), "{said}");
        }
        let lz4 = said(&reader("text"), &table("lz4"));
        assert!(lz4.contains("column `text`: the column is compressed by LZ4_RAW, which is not read"), "{lz4}");
        let delta = said(&reader("text"), &table("delta"));
        assert!(delta.contains("row 1: ") && delta.contains("DELTA_BYTE_ARRAY is not read"), "{delta}");
    }

    #[test]
    fn damaged_files_are_refused_with_their_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        let reader = Parquet { invalid: Invalid::Skip, ..Parquet::default() };
        let refused = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            let found = items(&reader, &path);
            let said = found.into_iter().find_map(Result::err).expect("a fault").to_string();
            assert!(
                said.contains("a.parquet: ") && said.contains("is no Parquet, or it is damaged or cut off"),
                "{said}"
            );
            assert!(reader.size(&path).is_err());
        };
        let whole = std::fs::read(table("snappy")).unwrap();
        for length in (0..whole.len()).step_by(97) {
            refused(&whole[..length]);
        }
        refused(&[0; 1000]);
        refused(b"PAR1PAR1");
        // A footer that says it is larger than the file.
        let mut bytes = whole.clone();
        let length = bytes.len();
        bytes[length - 8..length - 4].copy_from_slice(&u32::MAX.to_le_bytes());
        refused(&bytes);
        // What is behind the first page is lost: the sum of gzip's page does not hold.
        let mut bytes = std::fs::read(table("gzip")).unwrap();
        bytes[300..400].fill(0);
        std::fs::write(&path, bytes).unwrap();
        let said = items(&reader, &path).into_iter().find_map(Result::err).expect("a fault").to_string();
        assert!(said.contains("a.parquet: row ") && said.contains("damaged"), "{said}");
    }

    #[test]
    fn bytes_that_are_no_utf_8_are_refused_with_their_row() {
        let bytes = std::fs::read(table("plain")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        let at = bytes.windows(10).position(|part| part == b"river runs").unwrap();
        let bytes: Vec<u8> =
            bytes.iter().enumerate().map(|(index, byte)| if index == at + 2 { 0xff } else { *byte }).collect();
        std::fs::write(&path, bytes).unwrap();
        let said = items(&Parquet::default(), &path)[0].clone().unwrap_err().to_string();
        assert!(said.contains("row 1, column `text`: byte 2 (0xff) is no UTF-8"), "{said}");
    }
}
