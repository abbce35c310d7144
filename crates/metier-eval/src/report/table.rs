//! Plain text tables.

use super::{Interval, Paired, Resampled, Single};
use crate::metric::Metric;

/// Both models side by side, a row for each set of texts.
///
/// `base` and `other` head the columns of the two models.
pub fn comparison_table(metric: &dyn Metric, base: &str, other: &str, rows: &[(String, Paired)]) -> String {
    let mut cells = vec![row(["texts", base, other, "difference", "95 % interval", "change", "windows", "documents"])];
    for (name, paired) in rows {
        let Interval { value, low, high } = paired.difference;
        cells.push(vec![
            name.clone(),
            format!("{:.4}", paired.base.value),
            format!("{:.4}", paired.other.value),
            format!("{value:+.4}"),
            format!("{low:+.4} to {high:+.4}"),
            paired.change_percent.map_or("-".to_owned(), |change| format!("{:+.1} %", change.value)),
            paired.windows.to_string(),
            paired.documents.to_string(),
        ]);
    }
    let drawn: Vec<_> = rows.iter().map(|(name, paired)| (name.as_str(), paired.resampled)).collect();
    format!("{}, {} is better\n{}{}", metric.title(), metric.better(), align(&cells), few_documents(&drawn))
}

/// One model, a row for each set of texts.
pub fn single_table(metric: &dyn Metric, rows: &[(String, Single)]) -> String {
    let mut cells = vec![row(["texts", metric.title(), "95 % interval", "windows", "documents", "bytes"])];
    for (name, single) in rows {
        let Interval { value, low, high } = single.value;
        cells.push(vec![
            name.clone(),
            format!("{value:.4}"),
            format!("{low:.4} to {high:.4}"),
            single.windows.to_string(),
            single.documents.to_string(),
            if single.bytes == 0 { "-".to_owned() } else { single.bytes.to_string() },
        ]);
    }
    let drawn: Vec<_> = rows.iter().map(|(name, single)| (name.as_str(), single.resampled)).collect();
    format!("{}{}", align(&cells), few_documents(&drawn))
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

fn few_documents(rows: &[(&str, Resampled)]) -> String {
    let names: Vec<&str> =
        rows.iter().filter(|(_, resampled)| *resampled == Resampled::Windows).map(|(name, _)| *name).collect();
    if names.is_empty() {
        return String::new();
    }
    format!("{}: fewer than 8 documents, so windows were drawn and the interval may be too narrow\n", names.join(", "))
}

/// Columns two spaces apart, the first to the left and the others to the right.
pub(super) fn align(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| match column {
            0 => format!("{cell:width$}"),
            _ => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ") + "\n"
    };
    rows.iter().map(line).collect()
}
