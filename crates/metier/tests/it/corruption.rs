//! Texts with spans taken out, from the command line: kills, the preview, and what is refused.

use crate::command::{artifact, fine, json, metier, refused};
use crate::resume::assert_kills_change_nothing;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

const RECIPE: &str = r#"
[recipe]
title = "test"
source = "test"

[[stage]]
name = "stories"
do = "synthesize"
world = { method = "tiny_stories" }
characters = 60_000
held_out = 4

[[stage]]
name = "words"
do = "tokenizer"
from = "stories"

[stage.learn]
method = "bpe"
vocabulary_size = 360
split = "gpt2"
special_tokens = [
    "<|endoftext|>", "<mask>", "<extra_id_0>", "<extra_id_1>", "<extra_id_2>", "<extra_id_3>", "<extra_id_4>", "<extra_id_5>",
]

[[stage]]
name = "new"
do = "create"
tokenizer = "words"
hidden = 32
intermediate = 64
layers = 1
heads = 2
context = 64

[[stage]]
name = "shards"
do = "pack"
from = "stories"
tokenizer = "new"

[[stage]]
name = "shards-held-out"
do = "pack"
from = "stories"
tokenizer = "new"
held_out = true

[[stage]]
name = "filled"
do = "train"
from = "shards"
model = "new"
validation = { stories = "shards-held-out" }
validate = { every = 40, windows = 8 }
objective = { method = "span", density = 0.3 }
adapter.method = "full"
optimizer.rate = 4e-3
steps = 100
context = 32
sequences = 4
checkpoint_every = 5

[[check]]
that = "filled.validation.stories.last < filled.validation.stories.first - 1"
"#;

fn run(folder: &Path, more: &[&str]) -> Command {
    fs::write(folder.join("recipe.toml"), RECIPE).unwrap();
    let mut command = metier(folder);
    command.args(["run", "recipe.toml"]).args(more);
    command
}

#[test]
fn a_killed_run_on_spans_ends_with_the_same_bytes() {
    let names = assert_kills_change_nothing(run, &["filled"], 6);
    for name in
        ["filled/loss.jsonl", "filled/validation.jsonl", "filled/sampled.json", "filled/model/model.safetensors"]
    {
        assert!(names.iter().any(|known| known == name), "{name} is not in {names:?}");
    }
}

#[test]
fn a_bidirectional_model_learns_what_is_masked() {
    let folder = tempfile::tempdir().unwrap();
    let masked = ["--set", "new.attention=bidirectional", "--set", "filled.objective={ method = \"masked\" }"];
    let steps = ["--set", "filled.steps=200"];
    fine(run(folder.path(), &masked).args(steps));
    // The same objective on a causal model, and the next token on a bidirectional one.
    refused(&mut run(folder.path(), &masked[2..]), &["objective", "`masked`", "the model's attention is causal"]);
    let mut next = run(folder.path(), &masked[..2]);
    next.args(["--set", "filled.objective={ method = \"causal\" }"]);
    refused(&mut next, &["objective", "`causal` predicts each token", "bidirectional"]);
}

#[test]
fn what_is_hidden_is_shown_and_what_cannot_be_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let report = json(&fine(&mut run(folder.path(), &["--json"])));
    let model = artifact(&report, "new").display().to_string();
    let preview = |more: &[&str]| {
        let mut command = metier(folder.path());
        command
            .args(["train", "preview", "shards", "--model", &model, "--context", "32", "--examples", "8"])
            .args(more);
        command
    };
    let tokens = |objective: &str| -> Vec<Value> {
        let shown = json(&fine(&mut preview(&[objective, "--json"])));
        let windows = shown["windows"].as_array().unwrap().clone();
        let segments = windows.iter().flat_map(|window| window["segments"].as_array().unwrap());
        segments.flat_map(|segment| segment["tokens"].as_array().unwrap().clone()).collect()
    };
    let masked = tokens("objective.method=masked");
    let hidden: Vec<_> = masked.iter().filter(|token| token["hidden"].is_object()).collect();
    assert!(hidden.len() > 10 && hidden.iter().any(|token| token["text"] == "<mask>"), "{hidden:?}");
    assert!(hidden.iter().all(|token| token["learned"] == true && token["hidden"]["id"] != token["id"]));
    let spans = tokens("objective.method=span");
    let of = |learned: bool| {
        spans.iter().filter(move |token| token["learned"] == learned && token["text"] == "<extra_id_0>")
    };
    assert!(of(true).count() > 5 && of(true).count() == of(false).count());
    assert!(!spans.iter().any(|token| token["hidden"].is_object()));
    let plain = |more: &[&str]| String::from_utf8(fine(preview(more).args(["--color", "never"])).stdout).unwrap();
    assert!(plain(&["objective.method=masked", "objective.share=0.5"]).contains("⟦<mask>→"));
    assert!(plain(&["objective.method=span"]).contains("⟦<extra_id_0>"));
    assert!(!plain(&[]).contains("<extra_id_0>"));

    refused(&mut preview(&["steps=3"]), &["a preview has no key `steps`"]);
    refused(&mut preview(&["objective.method=spam"]), &["no objective is called `spam`", "did you mean `span`?"]);
    let train = |more: &[&str], said: &[&str]| {
        let common = ["train", "from=shards", "model=new", "steps=1", "context=32", "adapter.method=full"];
        refused(metier(folder.path()).args(common).args(more), said);
    };
    train(&["objective.method=masked"], &["objective: `masked` asks for tokens", "hint: take a model whose attention"]);
    let named = ["objective.method=span", "objective.sentinels=[\"<extra_1>\"]"];
    train(&named, &["objective.sentinels: the vocabulary has no `<extra_1>`", "did you mean `<extra_id_1>`?"]);
    let dense = ["objective.method=span", "objective.density=0.5", "objective.length=1"];
    train(&dense, &["there are 6 sentinels"]);
    train(&["objective.method=span", "objective.density=2"], &["objective.density", "must be at most 1"]);
    train(&["objective.method=span", "context=63"], &["context: ", "the 64 the model can attend to", "write at most"]);
}
