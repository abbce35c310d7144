//! Examples: packed by a model's chat template, looked at, and trained on.

use crate::command::{artifact, fine, json, metier, refused};
use crate::models;
use crate::resume::assert_kills_change_nothing;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

const RECIPE: &str = r#"
[recipe]
title = "test"
source = "test"

[[asset]]
name = "model"
kind = "model"
sources = [{ path = "model.gguf" }]

[[asset]]
name = "chat"
kind = "data"
license = "MIT"
sources = [{ path = "chat.jsonl" }]

[[asset]]
name = "choices"
kind = "data"
license = "MIT"
sources = [{ path = "choices.jsonl" }]

[[stage]]
name = "replies"
do = "pack"
examples = "chat"
tokenizer = "model"

[[stage]]
name = "pairs"
do = "pack"
examples = "choices"
tokenizer = "model"

[[stage]]
name = "tuned"
do = "train"
from = "replies"
model = "model"
adapter.method = "full"
steps = 12
context = 96
sequences = 2
micro_batch = 1
checkpoint_every = 3

[[stage]]
name = "adapted"
do = "train"
from = "replies"
model = "model"
adapter = { method = "lora", rank = 4, dropout = 0.25 }
steps = 12
context = 96
sequences = 2
checkpoint_every = 3

[[stage]]
name = "preferred"
do = "train"
from = "pairs"
model = "model"
objective.method = "dpo"
adapter = { method = "lora", rank = 4 }
steps = 12
context = 128
sequences = 2
micro_batch = 1
checkpoint_every = 3

[[stage]]
name = "preferred-whole"
do = "train"
from = "pairs"
model = "model"
objective = { method = "dpo", beta = 0.5 }
adapter.method = "full"
optimizer.rate = 1e-4
steps = 12
context = 128
sequences = 1
checkpoint_every = 3

[[check]]
that = "replies.learned_share > 0.1"
"#;

fn write(folder: &Path, name: &str, rows: &[Value]) {
    let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
    std::fs::write(folder.join(name), lines.join("\n")).unwrap();
}

fn turn(role: &str, content: &str) -> Value {
    json!({ "role": role, "content": content })
}

/// The tiny model with conversations and choices for it.
fn prepare(folder: &Path) {
    std::fs::copy(metier_testkit::fixture("models/tiny-llama.gguf"), folder.join("model.gguf")).unwrap();
    let conversations = (0..12).map(|row| {
        json!({ "messages": [
            turn("user", &format!("what is {row} and 1")),
            turn("assistant", &format!("it is {}", row + 1)),
            turn("user", "sure"),
            turn("assistant", "yes"),
        ] })
    });
    write(folder, "chat.jsonl", &conversations.collect::<Vec<_>>());
    let choices = (0..12).map(|row| {
        json!({
            "prompt": [turn("user", &format!("what is {row} and 1"))],
            "chosen": [turn("assistant", &format!("it is {}", row + 1))],
            "rejected": [turn("assistant", "who knows")],
        })
    });
    write(folder, "choices.jsonl", &choices.collect::<Vec<_>>());
    std::fs::write(folder.join("recipe.toml"), RECIPE).unwrap();
}

fn run(folder: &Path, more: &[&str]) -> Command {
    prepare(folder);
    let mut command = metier(folder);
    command.args(["run", "recipe.toml"]).args(more);
    command
}

#[test]
fn kills_while_models_learn_from_examples_change_no_byte() {
    let names = assert_kills_change_nothing(run, &["tuned", "adapted", "preferred", "preferred-whole"], 6);
    for name in ["tuned/loss.jsonl", "preferred/adapter/adapter_model.safetensors", "preferred-whole/loss.jsonl"] {
        assert!(names.iter().any(|known| known == name), "{name} is not in {names:?}");
    }
}

#[test]
fn a_preview_shows_what_a_conversation_teaches() {
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path());
    let mut pack = metier(folder.path());
    let report = json(&fine(pack.args(["--json", "pack", "examples=chat.jsonl", "tokenizer=model.gguf"])));
    assert_eq!(report["stages"][0]["record"]["figures"]["rows"], 12.0);
    let shards = artifact(&report, "pack").display().to_string();
    let preview_of = |context: &str, more: &[&str]| {
        let mut command = metier(folder.path());
        command.args(["train", "preview", &shards, "--model", "model.gguf", "--context", context]).args(more);
        command
    };
    let preview = |more: &[&str]| preview_of("96", more);
    let shown = json(&fine(&mut preview(&["--examples", "2", "--json"])));
    let segment = &shown["windows"][0]["segments"][0];
    let tokens = segment["tokens"].as_array().unwrap();
    let of = |learned: bool| -> String {
        tokens.iter().filter(|token| token["learned"] == learned).map(|token| token["text"].as_str().unwrap()).collect()
    };
    let (said, rest) = (of(true), of(false));
    assert!(segment["document"].as_str().unwrap().starts_with("chat.jsonl:"), "{segment}");
    assert!(said.contains("it is ") && said.contains("yes"), "{said}");
    assert_eq!(said.matches("<|im_end|>").count(), 2, "{said}");
    assert!(rest.contains("assistant") && rest.contains("what is") && rest.contains("sure"), "{rest}");
    assert!(!rest.contains("yes") && !said.contains("assistant"), "{said} / {rest}");
    let plain = String::from_utf8(fine(&mut preview(&["--color", "never"])).stdout).unwrap();
    assert!(plain.contains("⟦it is ") && plain.contains("window 1: "), "{plain}");
    let color = String::from_utf8(fine(&mut preview(&["--color", "always"])).stdout).unwrap();
    assert!(color.contains("\u{1b}[32m") && color.contains("\u{1b}[2m"), "{color}");
    refused(&mut preview_of("8", &[]), &["context: `chat.jsonl:1`", "examples are not cut"]);
    let help = String::from_utf8(fine(metier(folder.path()).args(["train", "--help"])).stdout).unwrap();
    assert!(help.contains("metier train preview pack"), "{help}");
}

#[test]
fn faults_of_rows_and_templates_are_told_with_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path());
    let rows = [
        json!({ "messages": [turn("user", "a"), turn("assistant", "b")] }),
        json!({ "question": "a", "answer": "b" }),
        json!({ "messages": [turn("human", "a")] }),
    ];
    write(folder.path(), "bad.jsonl", &rows);
    let pack = |more: &[&str]| {
        let mut command = metier(folder.path());
        command.arg("pack").args(more);
        command
    };
    let said = refused(
        &mut pack(&["examples=bad.jsonl", "tokenizer=model.gguf"]),
        &["bad.jsonl:2", "`question`, `answer`", "bad.jsonl:3", "unknown variant `human`"],
    );
    assert!(!said.contains("bad.jsonl:1"), "{said}");
    refused(&mut pack(&["tokenizer=model.gguf"]), &["there is nothing to pack", "`examples`"]);
    let long = ["examples=chat.jsonl", "tokenizer=model.gguf", "longest=8"];
    refused(&mut pack(&long), &["chat.jsonl:1: the example has", "longer = \"drop\""]);
    // A template that leaves what was said out of earlier turns.
    let template = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content if loop.last else 'said' }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    let model = models::folder(&folder.path().join("forgetful"), Some(template), |_| {});
    let tokenizer = format!("tokenizer={model}");
    refused(&mut pack(&["examples=chat.jsonl", &tokenizer]), &["chat.jsonl:1", "chat template", "is no prefix"]);
    let empty = [json!({ "prompt": "", "completion": "x" })];
    write(folder.path(), "empty.jsonl", &empty);
    refused(
        &mut pack(&["examples=empty.jsonl", "tokenizer=model.gguf", "end_of_document=false"]),
        &["none of 1 rows has a token to learn"],
    );
}
