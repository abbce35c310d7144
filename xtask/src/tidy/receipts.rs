//! Numbers that link to a receipt agree with it.

use super::{Fault, File, tree::Tree};
use serde_json::Value;

const RULE: &str = "receipts";
const FOLDER: &str = "bench/receipts/";
/// What a receipt says at least.
const FIELDS: [&str; 6] = ["race", "date", "commit", "machine", "ours", "peers"];

/// The rule.
pub fn check(tree: &Tree, faults: &mut Vec<Fault>) {
    for file in tree.files.iter().filter(|file| file.path.starts_with(FOLDER)) {
        receipt(file, faults);
    }
    for file in tree.files.iter().filter(|file| file.extension() == "md") {
        for (index, line) in file.text.lines().enumerate() {
            for (text, target) in links(line) {
                let Some(name) = target.split_once(FOLDER).map(|(_, name)| name) else { continue };
                link(tree, file, index + 1, text, name, faults);
            }
        }
    }
}

fn receipt(file: &File, faults: &mut Vec<Fault>) {
    match serde_json::from_str::<Value>(&file.text) {
        Err(error) => faults.push(Fault::new(&file.path, error.line(), RULE, format!("not JSON: {error}"))),
        Ok(value) => {
            for field in FIELDS.iter().filter(|field| value.get(**field).is_none()) {
                faults.push(Fault::new(&file.path, 1, RULE, format!("the receipt has no `{field}`")));
            }
            if value["race"].as_str().is_some_and(|race| race != file.stem()) {
                faults.push(Fault::new(&file.path, 1, RULE, "the file is not named after its race"));
            }
        }
    }
}

fn link(tree: &Tree, file: &File, line: usize, text: &str, name: &str, faults: &mut Vec<Fault>) {
    let path = format!("{FOLDER}{name}");
    let value = tree.file(&path).and_then(|receipt| serde_json::from_str::<Value>(&receipt.text).ok());
    let Some(value) = value else {
        faults.push(Fault::new(&file.path, line, RULE, format!("{path} is no receipt")));
        return;
    };
    let mut known = Vec::new();
    numbers(&value, &mut known);
    for number in written(text) {
        let decimals = number.split_once('.').map_or(0, |(_, decimals)| decimals.len());
        if !known.iter().any(|known| format!("{known:.decimals$}") == number) {
            faults.push(Fault::new(&file.path, line, RULE, format!("{number} is not in {path}")));
        }
    }
}

/// The Markdown links of a line: text and target.
fn links(line: &str) -> Vec<(&str, &str)> {
    let mut out = Vec::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("](") {
        let text = before.rsplit_once('[').map_or("", |(_, text)| text);
        let (target, next) = after.split_once(')').unwrap_or((after, ""));
        out.push((text, target));
        rest = next;
    }
    out
}

/// The numbers in `text`, thousands separators left out.
fn written(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_ascii_digit() && c != '.' && c != ',')
        .map(|number| number.trim_matches(['.', ',']).replace(',', ""))
        .filter(|number| !number.is_empty())
        .collect()
}

fn numbers(value: &Value, out: &mut Vec<f64>) {
    match value {
        Value::Number(number) => out.extend(number.as_f64()),
        Value::Array(list) => list.iter().for_each(|value| numbers(value, out)),
        Value::Object(map) => map.values().for_each(|value| numbers(value, out)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::planted::Planted;

    const RECEIPT: &str = r#"{"race": "train-s", "date": "2026-01-01", "commit": "abc", "machine": {}, "work": "",
        "ours": {"median": 1234.567}, "peers": [], "ratio_to_best_peer": 1.074}"#;

    #[test]
    fn a_number_agrees_with_its_receipt() {
        let tree = Planted::good();
        tree.write("bench/receipts/train-s.json", RECEIPT);
        tree.write("README.md", "It runs at [1.07×, 1,234.6 tokens/s](bench/receipts/train-s.json).\n");
        tree.passes();
        tree.write("README.md", "\nIt runs at [1.2×](bench/receipts/train-s.json).\n");
        tree.fails("README.md:2: 1.2 is not in bench/receipts/train-s.json");
        tree.write("README.md", "[1](bench/receipts/train-m.json)\n");
        tree.fails("README.md:1: bench/receipts/train-m.json is no receipt");
    }

    #[test]
    fn a_receipt_says_what_it_must() {
        let tree = Planted::good();
        tree.write("bench/receipts/train-m.json", RECEIPT);
        tree.fails("bench/receipts/train-m.json:1: the file is not named after its race");
        tree.write("bench/receipts/train-s.json", "{}");
        tree.fails("bench/receipts/train-s.json:1: the receipt has no `machine`");
        tree.write("bench/receipts/train-s.json", "{");
        tree.fails("bench/receipts/train-s.json:1: not JSON");
    }
}
