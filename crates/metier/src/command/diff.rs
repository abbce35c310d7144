//! `metier diff`.

use super::{Global, Verdict};
use metier_core::Result;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Say what differs between two artifacts: settings, inputs, figures, files
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: metier diff 3fa9c1 b72e08")]
pub struct Arguments {
    /// An artifact's id, path or stage name
    #[arg(value_name = "A")]
    left: String,
    /// Another
    #[arg(value_name = "B")]
    right: String,
}

/// Runs the verb.
pub fn execute(arguments: &Arguments, global: &Global) -> Result<Verdict> {
    let store = global.read_store()?;
    let (left, right) = (store.resolve(&arguments.left)?, store.resolve(&arguments.right)?);
    let mut rows = Vec::new();
    let (left, right) = (json!(left.record), json!(right.record));
    compare("", &left, &right, &mut rows);
    rows.retain(|row| {
        !["started", "real", "plan", "resumed", "id"]
            .iter()
            .any(|key| row[0] == *key || row[0].starts_with(&format!("{key}.")))
    });
    if global.json {
        let rows: Vec<_> = rows.iter().map(|row| json!({ "key": row[0], "left": row[1], "right": row[2] })).collect();
        super::print_json(&json!({ "differences": rows }))?;
    } else if rows.is_empty() {
        super::print("no difference but time and memory\n")?;
    } else {
        super::print(&super::table(&["key", &arguments.left, &arguments.right], &rows, &[false; 3]))?;
    }
    Ok(Verdict::Fine)
}

fn compare(path: &str, left: &Value, right: &Value, rows: &mut Vec<Vec<String>>) {
    if left == right {
        return;
    }
    let join = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match (left, right) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys()).collect::<BTreeSet<_>>() {
                compare(&join(key), a.get(key).unwrap_or(&Value::Null), b.get(key).unwrap_or(&Value::Null), rows);
            }
        }
        (Value::Array(a), Value::Array(b)) if path == "files" => {
            let by_path = |files: &[Value]| -> std::collections::BTreeMap<String, String> {
                files
                    .iter()
                    .map(|file| {
                        (
                            text(&file["path"]),
                            format!(
                                "{} ({} B)",
                                &text(&file["blake3"]).chars().take(12).collect::<String>(),
                                file["bytes"]
                            ),
                        )
                    })
                    .collect()
            };
            let (a, b) = (by_path(a), by_path(b));
            for key in a.keys().chain(b.keys()).collect::<BTreeSet<_>>() {
                if a.get(key) != b.get(key) {
                    let cell = |side: &std::collections::BTreeMap<String, String>| {
                        side.get(key).cloned().unwrap_or_else(|| "-".into())
                    };
                    rows.push(vec![join(key), cell(&a), cell(&b)]);
                }
            }
        }
        _ => rows.push(vec![path.to_owned(), text(left), text(right)]),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
