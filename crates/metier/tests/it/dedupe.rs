//! What was seen before, from the command line and in a recipe.

use crate::command::{artifact, fine, json, metier, refused, rows};

const RECIPE: &str = r#"
[recipe]
title = "test"
source = "test"

[[asset]]
name = "notes"
kind = "data"
license = "CC0-1.0"
sources = [{ path = "notes" }]

[[stage]]
name = "curated"
do = "curate"
from = "notes"
read.method = "text"
select.fraction = 0.0

[[stage]]
name = "planted"
do = "plant"
from = "curated"
characters = 60
copied = 0.5
copies = 1.0

[[stage]]
name = "documents"
do = "curate"
from = "planted"
read.method = "jsonl"
select.fraction = 0.25

[[stage]]
name = "seen"
do = "dedupe"
from = "documents"

[[stage]]
name = "paragraphs"
do = "dedupe"
from = "seen"
attribute = "again"
by = "paragraph"
separator = "\n\n"

[[stage]]
name = "clean"
do = "mix"
from = "paragraphs"
exclude = ["$.attributes.duplicates[0]"]
replace = [{ span = "$.attributes.again" }]

[[stage]]
name = "after"
do = "dedupe"
from = "documents"
after = "seen"
read_only = true

[[check]]
that = "clean.documents + clean.held_out_documents >= planted.originals"

[[check]]
that = "clean.documents + clean.held_out_documents <= planted.originals"

[[check]]
that = "after.inserted <= 0"
"#;

#[test]
fn planted_copies_go_and_filters_are_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("notes")).unwrap();
    for number in 0..8 {
        let text: Vec<String> = (0..12).map(|line| format!("note {number} has a line {line} of its own.")).collect();
        std::fs::write(folder.path().join(format!("notes/{number}.txt")), text.join("\n\n")).unwrap();
    }
    let recipe = folder.path().join("dedupe.toml");
    std::fs::write(&recipe, RECIPE).unwrap();
    let report = json(&fine(metier(folder.path()).arg("run").arg(&recipe).arg("--json")));
    let said = rows(&artifact(&report, "after").join("train.attributes.jsonl"));
    assert!(!said.is_empty() && said.iter().all(|row| row["attributes"]["duplicates"][0][2] == 1), "all was seen");
    let filter = artifact(&report, "seen").join("filter.bloom");
    let run = |from: &str, to: &str, texts: &[&str]| {
        std::fs::write(&recipe, RECIPE.replace(from, to)).unwrap();
        refused(metier(folder.path()).arg("run").arg(&recipe), texts);
    };
    run("after = \"seen\"\n", "", &["an empty filter that stays as it is"]);
    run("separator = \"\\n\\n\"", "separator = \"\"", &["dedupe.toml:45", "nothing stands between paragraphs"]);
    run("attribute = \"again\"", "key = \"$[\"", &["character"]);
    run("copied = 0.5", "copied = 5.0", &["must be at most 1"]);

    // Dolma's layout and configuration, with that filter.
    std::fs::create_dir(folder.path().join("documents")).unwrap();
    let documents = rows(&artifact(&report, "documents").join("train.jsonl"));
    let lines = documents.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n") + "\n";
    std::fs::write(folder.path().join("documents/a.jsonl"), lines).unwrap();
    let root = folder.path().display();
    let config = folder.path().join("dedupe.yaml");
    let text = format!(
        "documents: [\"{root}/documents/*.jsonl\"]\ndedupe:\n  name: seen\n  documents: {{attribute_name: seen, key: $.text}}\nbloom_filter: {{file: {}, read_only: true, size_in_bytes: 1_000}}\n",
        filter.display()
    );
    std::fs::write(&config, &text).unwrap();
    let config = config.to_string_lossy().into_owned();
    let report = json(&fine(metier(folder.path()).args(["dedupe", "--config", &config, "--json"])));
    assert_eq!((&report["documents"], &report["tagged"]), (&documents.len().into(), &documents.len().into()));
    assert_eq!(rows(&folder.path().join("attributes/seen/a.jsonl")).len(), documents.len());
    std::fs::write(&config, text.replace("key: $.text", "key: '$['").replace("size_in_bytes: 1_000", "sizes: 3"))
        .unwrap();
    refused(metier(folder.path()).args(["dedupe", "--config", &config]), &["dedupe.yaml:5", "sizes"]);
}
