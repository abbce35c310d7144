//! Tables of measurements: CSV or JSON lines.

use super::mixture::Measurement;
use super::share::Trial;
use metier_core::{Error, Fault, Place, Result};
use serde::de::DeserializeOwned;
use std::path::Path;

/// Reads a table of measurements: CSV with a line of names where the file's name ends with `.csv`, else JSON lines.
///
/// # Errors
/// All rows that cannot be read or hold no such numbers, each with its line and column's name.
pub fn read_measurements(path: &Path) -> Result<Vec<Measurement>> {
    let columns = "a row has `run`, `ratio`, `tokens`, `gen_loss` and `dom_loss`";
    let rows = read_rows(path, columns, odd)?;
    Ok(rows.into_iter().map(|(row, place)| Measurement { place, ..row }).collect())
}

/// Reads a table of trials, in the same way.
///
/// # Errors
/// As there.
pub fn read_trials(path: &Path) -> Result<Vec<Trial>> {
    let rows = read_rows(path, "a row has `share`, `right` and `asked`", Trial::odd)?;
    Ok(rows.into_iter().map(|(row, place)| Trial { place, ..row }).collect())
}

/// Rows with their places; `columns` says what a row has, and `odd` what is wrong with its numbers.
fn read_rows<Row: DeserializeOwned>(
    path: &Path,
    columns: &str,
    odd: impl Fn(&Row, &Place) -> Vec<Fault>,
) -> Result<Vec<(Row, Place)>> {
    let text = std::fs::read_to_string(path).map_err(|error| Error::io(path, "read the measurements", &error))?;
    let is_csv = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
    let (mut rows, mut faults) = (Vec::new(), Vec::new());
    for (line, row) in if is_csv { csv_rows(&text) } else { json_rows(&text) } {
        let place = Place { line, ..Place::file(path) };
        match row {
            Ok(row) => {
                faults.extend(odd(&row, &place));
                rows.push((row, place));
            }
            Err(message) => faults.push(Fault::new(place, message).hint(columns)),
        }
    }
    Error::collect(rows, faults)
}

/// Rows with their lines, or in words why one is none.
type Rows<Row> = Vec<(Option<usize>, Result<Row, String>)>;

fn json_rows<Row: DeserializeOwned>(text: &str) -> Rows<Row> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let row = |line| serde_json::from_str(line).map_err(|error: serde_json::Error| error.to_string());
    lines.map(|(index, line)| (Some(index + 1), row(line))).collect()
}

fn csv_rows<Row: DeserializeOwned>(text: &str) -> Rows<Row> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let names = match reader.headers() {
        Ok(names) => names.clone(),
        Err(error) => return vec![(Some(1), Err(error.to_string()))],
    };
    let line_of = |position: Option<&csv::Position>| position.map(|position| position.line() as usize);
    let row = |record: Result<csv::StringRecord, csv::Error>| {
        let record = record.map_err(|error| (line_of(error.position()), error));
        let row = record.and_then(|record| {
            let line = line_of(record.position());
            record.deserialize(Some(&names)).map(|row| (line, row)).map_err(|error| (line, error))
        });
        match row {
            Ok((line, row)) => (line, Ok(row)),
            Err((line, error)) => (line, Err(said(&error, &names))),
        }
    };
    reader.records().map(row).collect()
}

/// What is wrong with a row, with the name of its column.
fn said(error: &csv::Error, names: &csv::StringRecord) -> String {
    match error.kind() {
        csv::ErrorKind::Deserialize { err, .. } => {
            let column = err.field().and_then(|field| names.get(field as usize));
            let what = match err.kind() {
                csv::DeserializeErrorKind::ParseFloat(_) | csv::DeserializeErrorKind::ParseInt(_) => {
                    "this is no number".to_owned()
                }
                kind => kind.to_string(),
            };
            column.map_or(String::new(), |column| format!("{column}: ")) + &what
        }
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("the row has {len} fields, and the first line {expected_len}")
        }
        _ => error.to_string(),
    }
}

/// Numbers that no run can have measured.
fn odd(row: &Measurement, place: &Place) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut refuse = |key: &str, what: String| faults.push(Fault::new(place.clone().with_key(key), what));
    if !(0.0..=1.0).contains(&row.ratio) {
        refuse("ratio", format!("a ratio lies between 0 and 1, and this is {}", row.ratio));
    }
    if !(row.tokens >= 0.0 && row.tokens.is_finite()) {
        refuse("tokens", format!("tokens are at least 0, and these are {}", row.tokens));
    }
    for (key, loss) in [("gen_loss", row.general_loss), ("dom_loss", row.domain_loss)] {
        if !loss.is_finite() {
            refuse(key, format!("the loss is {loss}; leave out the rows from where the run diverged on"));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::law::mixture::{Limits, fit_mixture};
    use metier_core::seed::Seed;

    /// What a table of this name says, or is refused with.
    fn read(name: &str, text: &str) -> Result<Vec<Measurement>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        read_measurements(&path).map_err(|error| error.to_string())
    }

    fn contains(text: &str, parts: &[&str]) {
        assert!(parts.iter().all(|part| text.contains(part)), "{parts:?} in {text}");
    }

    #[test]
    fn both_forms_say_the_same() {
        let lines =
            read("t.jsonl", "{\"run\": \"a\", \"ratio\": 0.5, \"tokens\": 0, \"gen_loss\": 3, \"dom_loss\": 4.25}\n")
                .unwrap();
        let table = read("t.csv", "dom_loss,run,tokens,ratio,gen_loss\n4.25, a ,0,0.5,3\n").unwrap();
        let numbers = |rows: &[Measurement]| {
            rows.iter()
                .map(|row| (row.run.clone(), [row.ratio, row.tokens, row.general_loss, row.domain_loss]))
                .collect::<Vec<_>>()
        };
        assert_eq!(numbers(&lines), [("a".to_owned(), [0.5, 0.0, 3.0, 4.25])]);
        assert_eq!(numbers(&table), numbers(&lines));
        assert_eq!((lines[0].place.line, table[0].place.line), (Some(1), Some(2)));
    }

    #[test]
    fn all_faults_come_with_line_and_field() {
        let head = "run,ratio,tokens,gen_loss,dom_loss\n";
        let text =
            read("t.csv", &format!("{head}a,1.5,0,3,4\na,0.5,0,NaN,4\na,0.5,-1,3,inf\na,x,0,3,4\na,1\n")).unwrap_err();
        contains(&text, &["t.csv:2: ratio", "1.5", "t.csv:3: gen_loss", "NaN", "t.csv:4: tokens", "t.csv:4: dom_loss"]);
        contains(&text, &["t.csv:5: ratio: this is no number", "t.csv:6: the row has 2 fields"]);
        contains(&read("t.csv", "run,ratio\na,1\n").unwrap_err(), &["t.csv:2", "missing field"]);
        let text = read("t.jsonl", "{\"run\": 1}\n\n{}\nnothing\n").unwrap_err();
        contains(&text, &["t.jsonl:1", "t.jsonl:3", "t.jsonl:4"]);
    }

    #[test]
    fn faults_of_runs_have_their_lines_too() {
        let head = "run,ratio,tokens,gen_loss,dom_loss\n";
        let fitted = |rows: &str| {
            let rows = read("t.csv", &format!("{head}{rows}")).unwrap();
            fit_mixture(&rows, &Limits::default(), Seed::new(0)).unwrap_err().to_string()
        };
        let text = fitted("a,0.5,0,3,4\na,0.5,20,3,4\na,0.5,10,3,4\nb,0.25,10,3,4\nb,0.3,20,3,4\n");
        contains(&text, &["t.csv:4: tokens", "do not grow", "t.csv:5: tokens", "no row at 0 tokens", "t.csv:6: ratio"]);
    }
}
