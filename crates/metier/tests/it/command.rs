//! Running `metier` and reading what it says.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A recipe that curates `documents` out of a folder and packs them with the tiny model's tokenizer.
pub const RECIPE: &str = r#"
[recipe]
title = "test"
source = "test"

[[asset]]
name = "model"
kind = "model"
sources = [{ path = "model.gguf" }]

[[asset]]
name = "notes"
kind = "data"
license = "MIT"
sources = [{ path = "notes" }]

[[stage]]
name = "documents"
do = "curate"
from = "notes"
read = { method = "text", include = ["*.txt"] }
select = { method = "hold_out", fraction = 0.5 }

[[stage]]
name = "shards"
do = "pack"
from = "documents"
tokenizer = "model"

[[stage]]
name = "training"
do = "train"
from = "shards"
model = "model"
steps = 2
context = 32
sequences = 1

[[stage]]
name = "specialist"
do = "export"
from = "training"
model = "model"
"#;

/// The quickstart recipe.
pub fn quickstart() -> PathBuf {
    metier_testkit::repository().join("recipes/quickstart.toml")
}

/// `metier` with a store and a cache below `folder`, nothing taken from the network.
pub fn metier(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_metier"));
    command.current_dir(folder);
    command.args(["--offline", "--threads", "2", "--store"]).arg(folder.join("store"));
    command.env("METIER_CACHE", folder.join("cache"));
    command
}

/// `metier run recipes/quickstart.toml --tiny`.
pub fn tiny_run(folder: &Path, more: &[&str]) -> Command {
    let mut command = metier(folder);
    command.arg("run").arg(quickstart()).arg("--tiny").args(more);
    command
}

/// What it printed on standard error.
pub fn talk(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What it printed on standard output: one JSON value, after a line for each event of a training.
pub fn json(output: &Output) -> serde_json::Value {
    let values = serde_json::Deserializer::from_slice(&output.stdout).into_iter::<serde_json::Value>();
    let mut values = values
        .collect::<Result<Vec<_>, _>>()
        .unwrap_or_else(|error| panic!("{error}: {}\n{}", String::from_utf8_lossy(&output.stdout), talk(output)));
    let last = values.pop().unwrap_or_else(|| panic!("nothing was printed\n{}", talk(output)));
    for event in values {
        assert!(event["event"].is_string() && event["stage"].is_string(), "this is neither event nor result: {event}");
    }
    last
}

/// Runs it and expects that it ends well.
pub fn fine(command: &mut Command) -> Output {
    let output = command.output().expect("metier starts");
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, talk(&output));
    output
}

/// The lines of a JSONL file.
pub fn rows(path: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(path).expect("the file is there");
    text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

/// Runs it, expects exit code 2 and every one of these texts in what it says.
pub fn refused(command: &mut Command, texts: &[&str]) -> String {
    let output = command.output().expect("metier starts");
    let said = talk(&output);
    assert_eq!(output.status.code(), Some(2), "{command:?}\n{said}");
    for text in texts {
        assert!(said.contains(text), "`{text}` is not in what was said:\n{said}");
    }
    said
}

/// The folder of a stage's artifact, out of `run --json`.
pub fn artifact(report: &serde_json::Value, stage: &str) -> PathBuf {
    let stages = report["stages"].as_array().expect("stages");
    let found = stages.iter().find(|known| known["name"] == stage).expect("the stage");
    PathBuf::from(found["path"].as_str().expect("a path"))
}
