//! American spelling, so that one word is found by one search.

use super::{Fault, tree::Tree};

/// How a British word begins, and the American beginning.
const SPELLINGS: [(&str, &str); 38] = [
    ("analyse", "analyze"),
    ("artefact", "artifact"),
    ("behaviour", "behavior"),
    ("catalogue", "catalog"),
    ("centre", "center"),
    ("characteris", "characteriz"),
    ("colour", "color"),
    ("customis", "customiz"),
    ("dequantis", "dequantiz"),
    ("deserialis", "deserializ"),
    ("emphasis", "emphasiz"),
    ("favour", "favor"),
    ("finalis", "finaliz"),
    ("generalis", "generaliz"),
    ("grey", "gray"),
    ("honour", "honor"),
    ("initialis", "initializ"),
    ("labelled", "labeled"),
    ("labelling", "labeling"),
    ("licence", "license"),
    ("maximis", "maximiz"),
    ("minimis", "minimiz"),
    ("modelled", "modeled"),
    ("modelling", "modeling"),
    ("neighbour", "neighbor"),
    ("normalis", "normaliz"),
    ("optimis", "optimiz"),
    ("organis", "organiz"),
    ("parametris", "parametriz"),
    ("quantis", "quantiz"),
    ("realis", "realiz"),
    ("recognis", "recogniz"),
    ("serialis", "serializ"),
    ("specialis", "specializ"),
    ("summaris", "summariz"),
    ("tokenis", "tokeniz"),
    ("utilis", "utiliz"),
    ("whilst", "while"),
];

/// Words that begin like a British one and are right.
const RIGHT: [&str; 9] =
    ["analyse", "emphasis", "generalist", "minimis", "optimism", "optimist", "organism", "realism", "realist"];

/// The rule: Rust, Markdown, TOML and Python, outside texts that are not ours.
pub fn check(tree: &Tree, faults: &mut Vec<Fault>) {
    for file in &tree.files {
        if file.path == "xtask/src/tidy/spelling.rs" || file.path.starts_with("fixtures/") && file.extension() != "py" {
            continue;
        }
        for (index, line) in file.text.lines().enumerate() {
            for word in line.split(|c: char| !c.is_alphabetic()).filter(|word| word.len() > 3) {
                let lower = word.to_lowercase();
                let right = lower.starts_with("specialist")
                    || RIGHT.iter().any(|right| {
                        lower.strip_prefix(right).is_some_and(|rest| ["s", "ic"].contains(&rest))
                            || lower == *right && lower != "analyse"
                    });
                let Some((british, american)) = SPELLINGS.iter().find(|(british, _)| lower.starts_with(british)) else {
                    continue;
                };
                if !right {
                    let better = lower.replacen(british, american, 1);
                    faults.push(Fault::new(
                        &file.path,
                        index + 1,
                        "spelling",
                        format!("`{word}` is written `{better}` here"),
                    ));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::planted::Planted;

    #[test]
    fn british_spelling_is_a_fault() {
        let tree = Planted::good();
        tree.write("docs/guide/words.md", "# Words\n\nThe tokeniser and its colour.\n");
        tree.fails("docs/guide/words.md:3: `tokeniser` is written `tokenizer` here");
        tree.fails("docs/guide/words.md:3: `colour` is written `color` here");
        tree.write("docs/guide/words.md", "The emphasis of a specialist, realistic and normal, in organic colors.\n");
        tree.passes();
    }
}
