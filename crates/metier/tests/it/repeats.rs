//! Passages that stood before, from a recipe.

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
tag = [{ method = "gopher", version = 1 }]
select.fraction = 0.25

[[stage]]
name = "repeated"
do = "repeats"
from = "curated"
length = 60

[[stage]]
name = "cut"
do = "mix"
from = "repeated"
replace = [{ span = "$.attributes.repeats" }]

[[check]]
that = "repeated.spans >= 19"

[[check]]
that = "repeated.spans <= 19"

[[check]]
that = "cut.changed >= 19"
"#;

#[test]
fn passages_that_stood_before_are_tagged_and_cut() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("notes")).unwrap();
    let menu = "Home · Über uns · Docs · Download · Contact · Terms of use · Privacy · Search this site";
    for number in 0..20_usize {
        let own = |word: &str| format!("{word} {number} says {} and no more.", number * 7919 * 104_729);
        let text = format!("{}\n{menu}\n{}", own("the beginning of"), own("the end of"));
        std::fs::write(folder.path().join(format!("notes/{number:02}.txt")), text).unwrap();
    }
    let recipe = folder.path().join("repeats.toml");
    std::fs::write(&recipe, RECIPE).unwrap();
    let report = json(&fine(metier(folder.path()).arg("run").arg(&recipe).arg("--json")));
    let all = |file: &str| {
        let cut = artifact(&report, "cut");
        rows(&cut.join(format!("train{file}")))
            .into_iter()
            .chain(rows(&cut.join(format!("held_out{file}"))))
            .collect::<Vec<_>>()
    };
    let documents = all(".jsonl");
    let with = documents.iter().filter(|row| row["text"].as_str().unwrap().contains("Über uns")).count();
    assert_eq!((documents.len(), with), (20, 1), "the first stays");
    for row in &documents {
        let text = row["text"].as_str().unwrap();
        assert!(text.starts_with("the beginning of ") && text.ends_with(" and no more."), "{text}");
    }
    let said = rows(&artifact(&report, "repeated").join("train.attributes.jsonl"));
    assert!(said.iter().all(|row| row["attributes"]["gopher_v1__gopher_v1__word_count"].is_array()));
    let run = |from: &str, to: &str, texts: &[&str], more: &[&str]| {
        std::fs::write(&recipe, RECIPE.replace(from, to)).unwrap();
        refused(metier(folder.path()).arg("run").arg(&recipe).args(more), texts);
    };
    run("length = 60", "length = 7", &["repeats.toml", "at least 8"], &[]);
    run("length = 60", "length = 61", &["needs", "allows"], &["--memory", "20MB"]);
    run("length = 60", "attribute = \"gopher_v1__gopher_v1__word_count\"", &["already", "another name"], &[]);
}
