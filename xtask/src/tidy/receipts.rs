//! Receipts are whole and right, their page is made of them, and numbers that link to a receipt agree with it.

use super::{Fault, File, tree::Tree};
use crate::race::{readme, receipt::Receipt};
use serde_json::Value;

const RULE: &str = "receipts";
const FOLDER: &str = "bench/receipts/";

/// The rule.
pub fn check(tree: &Tree, faults: &mut Vec<Fault>) {
    let files: Vec<&File> = tree.files.iter().filter(|file| file.path.starts_with(FOLDER)).collect();
    let receipts: Vec<Receipt> = files.iter().filter_map(|file| receipt(file, faults)).collect();
    // A receipt that cannot be read has no row; its own fault is enough.
    if receipts.len() == files.len() {
        page(tree, receipts, faults);
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

fn receipt(file: &File, faults: &mut Vec<Fault>) -> Option<Receipt> {
    match serde_json::from_str::<Receipt>(&file.text) {
        Err(error) => {
            let what = if error.is_data() { "no receipt" } else { "not JSON" };
            faults.push(Fault::new(&file.path, error.line().max(1), RULE, format!("{what}: {error}")));
            None
        }
        Ok(receipt) => {
            for fault in receipt.faults() {
                faults.push(Fault::new(&file.path, 1, RULE, fault));
            }
            if receipt.race != file.stem() {
                faults.push(Fault::new(&file.path, 1, RULE, "the file is not named after its race"));
            }
            Some(receipt)
        }
    }
}

/// The page of races is the one that the receipts give.
fn page(tree: &Tree, mut receipts: Vec<Receipt>, faults: &mut Vec<Fault>) {
    receipts.sort_by(|a, b| a.race.cmp(&b.race));
    let wanted = readme::text(&receipts);
    let mends = "`cargo xtask generate` mends it";
    match tree.file(readme::PATH) {
        None if receipts.is_empty() => {}
        None => faults.push(Fault::new(readme::PATH, 1, RULE, format!("the page of the receipts is missing; {mends}"))),
        Some(page) if page.text != wanted => {
            let same = page.text.lines().zip(wanted.lines()).take_while(|(is, wanted)| is == wanted).count();
            let message = format!("the page does not match the receipts; {mends}");
            faults.push(Fault::new(readme::PATH, same + 1, RULE, message));
        }
        Some(_) => {}
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
    use crate::race::{readme, receipt, receipt::Receipt};

    const PATH: &str = "bench/receipts/train-s.json";

    /// A good tree with this receipt and its page.
    fn plant(receipt: &Receipt) -> Planted {
        let tree = Planted::good();
        receipt.write(tree.root()).unwrap();
        tree.write(readme::PATH, &readme::text(&receipt::read_all(tree.root()).unwrap()));
        tree
    }

    #[test]
    fn a_number_agrees_with_its_receipt() {
        let tree = plant(&receipt::tests::good());
        tree.write("README.md", "It runs at [1.20×, 6,000 tokens/s](bench/receipts/train-s.json).\n");
        tree.passes();
        tree.write("README.md", "\nIt runs at [1.3×](bench/receipts/train-s.json).\n");
        tree.fails("README.md:2: 1.3 is not in bench/receipts/train-s.json");
        tree.write("README.md", "[1](bench/receipts/train-m.json)\n");
        tree.fails("README.md:1: bench/receipts/train-m.json is no receipt");
    }

    #[test]
    fn a_receipt_is_whole_and_right() {
        let tree = plant(&receipt::tests::good());
        tree.passes();
        let good = tree.read(PATH);
        tree.edit(PATH, "\"ratio_to_best_peer\": 1.2", "\"ratio_to_best_peer\": 1.9");
        tree.fails("bench/receipts/train-s.json:1: `ratio_to_best_peer` is 1.9; the figures of the receipt give 1.2");
        tree.write(PATH, &good);
        tree.edit(PATH, "\"cores\"", "\"kernels\"");
        tree.fails("bench/receipts/train-s.json:7: no receipt: unknown field `kernels`");
        tree.write(PATH, "{}");
        tree.fails("bench/receipts/train-s.json:1: no receipt: missing field `race`");
        tree.write(PATH, "{");
        tree.fails("bench/receipts/train-s.json:1: not JSON");
        tree.write(PATH, &good);
        tree.write("bench/receipts/train-m.json", &good);
        tree.fails("bench/receipts/train-m.json:1: the file is not named after its race");
    }

    #[test]
    fn the_page_is_made_of_the_receipts() {
        let tree = plant(&receipt::tests::good());
        tree.edit(readme::PATH, "6,000", "7,000");
        tree.fails("bench/README.md:12: the page does not match the receipts; `cargo xtask generate` mends it");
        std::fs::remove_file(tree.root().join(readme::PATH)).unwrap();
        tree.fails("bench/README.md:1: the page of the receipts is missing");
        let none = Planted::good();
        none.write(readme::PATH, &readme::text(&[]));
        none.passes();
        none.edit(readme::PATH, "There is no receipt", "Here is a receipt");
        none.fails("bench/README.md:10: the page does not match the receipts");
    }
}
