//! Vectors as a Parquet table: the columns `id`, `tokens` and `vector`, a list of `f32`.

use metier_core::{Error, Place, Result};
use parquet::data_type::{ByteArray, ByteArrayType, FloatType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use std::io::BufRead as _;
use std::path::Path;
use std::sync::Arc;

const SCHEMA: &str = "message vectors { required binary id (UTF8); required int64 tokens; \
                      required group vector (LIST) { repeated group list { required float element; } } }";
/// The key under which a table says what it was made of.
const IDENTITY: &str = "metier.request";
/// Rows that are held in memory and written together.
const GROUP: usize = 8192;

/// A line of the file that the table is made of.
#[derive(serde::Deserialize)]
struct Line {
    id: String,
    tokens: i64,
    vector: Vec<f32>,
}

/// Writes the table of the vectors in a file of lines. It appears whole or not at all.
pub(super) fn write(lines: &Path, table: &Path, identity: &str) -> Result<()> {
    let beside = table.with_extension("parquet.unfinished");
    let failed = |error: ParquetError| Error::file(&beside, format!("the table cannot be written: {error}"));
    let file = std::fs::File::create(&beside).map_err(|error| Error::io(&beside, "create", &error))?;
    let about = KeyValue::new(IDENTITY.to_owned(), identity.to_owned());
    let properties =
        WriterProperties::builder().set_key_value_metadata(Some(vec![about])).set_dictionary_enabled(false);
    let schema = Arc::new(parse_message_type(SCHEMA).map_err(failed)?);
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties.build())).map_err(failed)?;
    let reading = std::fs::File::open(lines).map_err(|error| Error::io(lines, "open", &error))?;
    let mut rows = std::io::BufReader::new(reading).lines().enumerate().map(|(index, line)| {
        let line = line.map_err(|error| Error::io(lines, "read", &error))?;
        serde_json::from_str::<Line>(&line).map_err(|error| {
            Error::user(Place::file(lines).at(index + 1, error.column()), format!("this is no vector: {error}"))
        })
    });
    loop {
        let group = rows.by_ref().take(GROUP).collect::<Result<Vec<Line>>>()?;
        if group.is_empty() {
            break;
        }
        write_group(&mut writer, &group).map_err(failed)?;
    }
    writer.close().map_err(failed)?;
    std::fs::rename(&beside, table).map_err(|error| Error::io(table, "put in place", &error))
}

fn write_group(writer: &mut SerializedFileWriter<std::fs::File>, rows: &[Line]) -> Result<(), ParquetError> {
    let missing = || ParquetError::General("the table has fewer columns than its schema".to_owned());
    let mut group = writer.next_row_group()?;

    let ids: Vec<ByteArray> = rows.iter().map(|row| ByteArray::from(row.id.as_str())).collect();
    let mut column = group.next_column()?.ok_or_else(missing)?;
    column.typed::<ByteArrayType>().write_batch(&ids, None, None)?;
    column.close()?;

    let tokens: Vec<i64> = rows.iter().map(|row| row.tokens).collect();
    let mut column = group.next_column()?.ok_or_else(missing)?;
    column.typed::<Int64Type>().write_batch(&tokens, None, None)?;
    column.close()?;

    // Each list begins at level 0, and its further numbers stand at level 1; all of them are there.
    let numbers: Vec<f32> = rows.iter().flat_map(|row| &row.vector).copied().collect();
    let begins = rows.iter().flat_map(|row| (0..row.vector.len()).map(|at| i16::from(at > 0))).collect::<Vec<_>>();
    let present = vec![1; numbers.len()];
    let mut column = group.next_column()?.ok_or_else(missing)?;
    column.typed::<FloatType>().write_batch(&numbers, Some(&present), Some(&begins))?;
    column.close()?;
    group.close()?;
    Ok(())
}

/// What a table says that it was made of.
pub(super) fn identity(table: &Path) -> Result<Option<String>> {
    let file = std::fs::File::open(table).map_err(|error| Error::io(table, "open", &error))?;
    let Ok(reader) = SerializedFileReader::new(file) else { return Ok(None) };
    let about = reader.metadata().file_metadata().key_value_metadata();
    Ok(about.and_then(|about| about.iter().find(|entry| entry.key == IDENTITY)).and_then(|entry| entry.value.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::record::RowAccessor as _;

    #[test]
    fn a_table_holds_what_the_lines_hold() {
        let folder = tempfile::tempdir().unwrap();
        let (lines, table) = (folder.path().join("lines.jsonl"), folder.path().join("out.parquet"));
        let line = |number: usize| {
            format!("{{\"request\":\"x\",\"id\":\"é {number}\",\"tokens\":{number},\"vector\":[{number}.5,-1,0.25]}}\n")
        };
        std::fs::write(&lines, (0..GROUP + 3).map(line).collect::<String>()).unwrap();
        write(&lines, &table, "me").unwrap();
        assert_eq!(identity(&table).unwrap().as_deref(), Some("me"));
        let reader = SerializedFileReader::new(std::fs::File::open(&table).unwrap()).unwrap();
        assert_eq!(reader.num_row_groups(), 2);
        let mut seen = 0;
        for (number, row) in reader.get_row_iter(None).unwrap().enumerate() {
            let row = row.unwrap();
            assert_eq!(row.get_string(0).unwrap(), &format!("é {number}"));
            assert_eq!(row.get_long(1).unwrap(), number as i64);
            assert_eq!(row.get_list(2).unwrap().elements().len(), 3);
            assert_eq!(row.get_list(2).unwrap().elements()[0], parquet::record::Field::Float(number as f32 + 0.5));
            seen += 1;
        }
        assert_eq!(seen, GROUP + 3);
        std::fs::write(&table, "no table").unwrap();
        assert_eq!(identity(&table).unwrap(), None);
    }
}
