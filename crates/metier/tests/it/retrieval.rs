//! An embedder from pairs of texts: packed, shown, trained, and measured by what it finds.

use crate::command::{artifact, fine, json, metier, refused, rows};
use serde_json::json;
use std::fs;
use std::path::Path;

const RECIPE: &str = r#"
[recipe]
title  = "An embedder"
source = "none"
claim  = "what belongs together is found"

[[asset]]
name    = "model"
kind    = "model"
license = "CC0-1.0"
sources = [{ path = "model.gguf" }]

[[asset]]
name    = "pairs"
kind    = "data"
license = "CC0-1.0"
sources = [{ path = "pairs.jsonl" }]

[[stage]]
name      = "packed"
do        = "pack"
examples  = "pairs"
tokenizer = "model"

[[stage]]
name   = "before"
do     = "eval"
model  = "model"
pairs  = { own = "pairs" }

[[stage]]
name        = "training"
do          = "train"
from        = "packed"
model       = "model"
adapter     = { method = "full" }
objective   = { method = "contrastive", temperature = 0.1 }
optimizer   = { method = "adamw", rate = 3e-3 }
steps       = 30
context     = 64
sequences   = 8
micro_batch = 2

[[stage]]
name  = "embedder"
do    = "export"
from  = "training"
model = "model"

[[stage]]
name    = "after"
do      = "eval"
model   = "embedder"
against = "before"
pairs   = { own = "pairs" }

[[check]]
that = "after.own.recall_at_1 > before.own.recall_at_1"

[[check]]
that = "after.own.ndcg_at_10 >= after.own.recall_at_1"
"#;

/// Colors with things of that color; the same thing is never written twice.
fn pairs(folder: &Path) {
    let colors = ["red", "green", "blue", "black", "white", "gray", "pink", "gold"];
    let things = ["apple", "leaf", "sea", "coal"];
    let line = |at: usize| {
        let (color, thing) = (colors[at % 8], things[at / 8]);
        json!({ "anchor": format!("what is {color}? {at}"), "positive": format!("the {thing}: {color}, no. {at}") })
    };
    let lines: Vec<String> = (0..32).map(|at| line(at).to_string()).collect();
    fs::write(folder.join("pairs.jsonl"), lines.join("\n")).unwrap();
    let model = metier_testkit::repository().join("fixtures/models/tiny-llama.gguf");
    fs::copy(model, folder.join("model.gguf")).unwrap();
}

#[test]
fn an_embedder_is_trained_and_finds_more_than_before() {
    let folder = tempfile::tempdir().unwrap();
    pairs(folder.path());
    fs::write(folder.path().join("recipe.toml"), RECIPE).unwrap();
    let report = json(&fine(metier(folder.path()).args(["run", "recipe.toml", "--json", "--quiet"])));
    for check in report["checks"].as_array().unwrap() {
        assert_eq!(check["holds"], true, "{report:#}");
    }
    let after = artifact(&report, "after");
    let found = rows(&after.join("windows-own.jsonl"));
    assert_eq!(found.len(), 32);
    assert!(found.iter().all(|row| row["ranks"].as_array().unwrap().len() == 1));
    let record: serde_json::Value = serde_json::from_slice(&fs::read(after.join("record.json")).unwrap()).unwrap();
    for name in ["recall_at_1", "recall_at_10", "mrr", "ndcg_at_10", "value", "low", "difference_low"] {
        assert!(record["figures"][format!("own.{name}")].is_number(), "{name}: {record:#}");
    }
    for name in ["bits_per_byte", "perplexity", "accuracy"] {
        assert!(record["figures"][format!("own.{name}")].is_null(), "{name}");
    }

    // The vectors that were measured are those of `embed`.
    let packed = artifact(&report, "packed");
    let packed = packed.to_str().unwrap();
    let mut preview = metier(folder.path());
    preview.args(["train", "preview", packed, "--model", "model.gguf", "--context", "64", "--examples", "4"]);
    let plain = String::from_utf8(fine(preview.args(["--color", "never"])).stdout).unwrap();
    assert!(plain.contains(" anchor: tokens 0..") && plain.contains("⟦") && plain.contains("what is"), "{plain}");
    assert!(!plain.contains("⟧what"), "all of a text counts: {plain}");

    fs::write(folder.path().join("bad.jsonl"), "{\"anchor\": \"a\"}\n{\"anchor\": \"a\", \"positive\": \"\"}\n")
        .unwrap();
    let bad = ["bad.jsonl:1", "bad.jsonl:2"];
    refused(metier(folder.path()).args(["eval", "model=model.gguf", "pairs=bad.jsonl"]), &bad);
    refused(metier(folder.path()).args(["pack", "examples=bad.jsonl", "tokenizer=model.gguf"]), &bad);
    fs::create_dir(folder.path().join("notes")).unwrap();
    fs::write(folder.path().join("notes/a.txt"), "a note").unwrap();
    let curated = fine(metier(folder.path()).args(["curate", "from=notes", "read.method=text", "--json"]));
    let texts = format!("texts={}", artifact(&json(&curated), "curate").display());
    let both = ["eval", "model=model.gguf", "pairs=pairs.jsonl", &texts, "metric.method=mrr"];
    refused(metier(folder.path()).args(both), &["metric", "texts have no passages to find", "`ndcg_at_10`"]);
}
