//! Documents that mean the same, as a model sees them.

use crate::command::{artifact, fine, json, metier, refused, rows};
use crate::http::tiny;
use crate::resume::assert_kills_change_nothing;
use std::fs;
use std::path::Path;

const RECIPE: &str = r#"
[recipe]
title = "test"
source = "test"

[[asset]]
name = "model"
kind = "model"
sources = [{ path = "model.gguf" }]

[[stage]]
name = "documents"
do = "synthesize"
world = { method = "topics", topics = 6, exponent = 1.0, copied = 0.0 }
characters = 40_000
held_out = 5

[[stage]]
name = "copied"
do = "plant"
from = "documents"
characters = 400
copied = 0.5
copies = 1.0

[[stage]]
name = "curated"
do = "curate"
from = "copied"
read.method = "jsonl"
select.fraction = 0.2

[[stage]]
name = "compared"
do = "semantic"
from = "curated"
model = "model"
clusters = 3
keep = "first"

[[stage]]
name = "different"
do = "mix"
from = "compared"
where = "semantic < 0.9999"
"#;

fn recipe(folder: &Path, text: &str) {
    fs::copy(tiny(), folder.join("model.gguf")).unwrap();
    fs::write(folder.join("semantic.toml"), text).unwrap();
}

#[test]
fn copies_are_near_and_go() {
    let folder = tempfile::tempdir().unwrap();
    recipe(folder.path(), RECIPE);
    let path = folder.path().join("semantic.toml");
    let report = json(&fine(metier(folder.path()).arg("run").arg(&path).arg("--json")));
    let all = |stage: &str, file: &str| {
        let folder = artifact(&report, stage);
        rows(&folder.join(format!("train{file}")))
            .into_iter()
            .chain(rows(&folder.join(format!("held_out{file}"))))
            .collect::<Vec<_>>()
    };
    let (documents, said) = (all("compared", ".jsonl"), all("compared", ".attributes.jsonl"));
    let mut seen = std::collections::BTreeSet::new();
    let mut copies = 0;
    for (document, said) in documents.iter().zip(&said) {
        let cosine = said["attributes"]["semantic"][0][2].as_f64().unwrap();
        if !seen.insert(document["text"].as_str().unwrap()) {
            copies += 1;
            assert!(cosine > 0.9999, "a copy: {cosine}");
        }
    }
    assert!(copies > 5, "{copies}");
    let left = all("different", ".jsonl");
    let different: std::collections::BTreeSet<_> = left.iter().map(|row| row["text"].as_str().unwrap()).collect();
    assert_eq!(different.len(), left.len(), "no copy is left");
    let run = |from: &str, to: &str, texts: &[&str]| {
        recipe(folder.path(), &RECIPE.replace(from, to));
        refused(metier(folder.path()).arg("run").arg(&path), texts);
    };
    run("clusters = 3", "clusters = 0", &["semantic.toml", "clusters"]);
    run("semantic < 0.9999", "semantics < 0.9999", &["did you mean `semantic`?"]);
    run("keep = \"first\"", "attribute = \"\"", &["the attribute has no name"]);
}

#[test]
fn killed_runs_resume_to_the_same_cosines() {
    let run = |folder: &Path, more: &[&str]| {
        recipe(folder, RECIPE);
        let mut command = metier(folder);
        command.arg("run").arg(folder.join("semantic.toml")).args(more);
        command
    };
    assert_kills_change_nothing(run, &["compared", "different"], 4);
}
