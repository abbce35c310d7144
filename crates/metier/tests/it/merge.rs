//! Adapters made into one.

use crate::command::{artifact, fine, json, metier, refused};
use metier_model::Decoder;
use metier_model::checkpoint::Checkpoint;
use metier_testkit::assert_close;
use std::path::Path;

const RECIPE: &str = r#"
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
license = "CC0-1.0"
sources = [{ path = "notes" }]

[[stage]]
name = "text"
do = "curate"
from = "notes"
read.method = "text"

[[stage]]
name = "shards"
do = "pack"
from = "text"
tokenizer = "model"

[[stage]]
name = "first"
do = "train"
from = "shards"
model = "model"
adapter = { method = "lora", rank = 2 }
optimizer.rate = 1e-2
steps = 3
context = 32
sequences = 1

[[stage]]
name = "second"
do = "train"
from = "shards"
model = "model"
seed = 1
adapter = { method = "lora", rank = 3 }
optimizer.rate = 1e-2
steps = 3
context = 32
sequences = 1

[[stage]]
name = "whole"
do = "train"
from = "shards"
model = "model"
adapter.method = "full"
steps = 1
context = 32
sequences = 1

[[stage]]
name = "both"
do = "merge"
adapters = { one = "first", two = "second" }
weights = { one = 0.75, two = -0.5 }

[[stage]]
name = "nearest"
do = "merge"
adapters = { one = "first", two = "second" }
combine = { method = "svd", rank = 1 }

[[stage]]
name = "merged"
do = "export"
from = "both"
model = "model"

[[stage]]
name = "first-model"
do = "export"
from = "first"
model = "model"

[[stage]]
name = "second-model"
do = "export"
from = "second"
model = "model"
"#;

fn prepare(folder: &Path) {
    std::fs::copy(metier_testkit::fixture("models/tiny-llama.gguf"), folder.join("model.gguf")).unwrap();
    std::fs::create_dir(folder.join("notes")).unwrap();
    for number in 0..4 {
        let text = format!("note {number}: the valve opens at {number} bar and closes by itself. ").repeat(8);
        std::fs::write(folder.join(format!("notes/{number}.txt")), text).unwrap();
    }
    std::fs::write(folder.join("recipe.toml"), RECIPE).unwrap();
}

fn weights(folder: &Path) -> Vec<(String, Vec<f32>)> {
    let decoder = Decoder::from_checkpoint(&Checkpoint::open(folder).unwrap()).unwrap();
    decoder.tensors().unwrap().into_iter().map(|(name, tensor)| (name.to_string(), tensor.data().to_vec())).collect()
}

#[test]
fn a_merged_adapter_adds_what_its_parts_add() {
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path());
    let report = json(&fine(metier(folder.path()).args(["run", "recipe.toml", "--json"])));
    let of = |name: &str| weights(&artifact(&report, name));
    let base = weights(&folder.path().join("model.gguf"));
    let [merged, first, second] = ["merged", "first-model", "second-model"].map(of);
    let mut changed = 0;
    for (number, (name, base)) in base.iter().enumerate() {
        let added = |one: &[(String, Vec<f32>)]| -> Vec<f32> {
            one[number].1.iter().zip(base).map(|(now, before)| now - before).collect()
        };
        let [merged, first, second] = [&merged, &first, &second].map(|one| added(one));
        let wanted: Vec<f32> = first.iter().zip(&second).map(|(first, second)| 0.75 * first - 0.5 * second).collect();
        changed += usize::from(wanted.iter().any(|value| value.abs() > 1e-4));
        assert_close(name, &merged, &wanted, 1e-6, 1e-4);
    }
    assert!(changed > 6, "{changed} tensors changed");
    let figures = |name: &str| {
        let stages = report["stages"].as_array().unwrap();
        let stage = stages.iter().find(|stage| stage["name"] == name).unwrap();
        stage["record"]["figures"].clone()
    };
    assert_eq!((figures("both")["rank"].as_f64(), figures("nearest")["rank"].as_f64()), (Some(5.0), Some(1.0)));
}

#[test]
fn what_cannot_be_merged_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path());
    let run = |change: &[(&str, &str)]| {
        let recipe = change.iter().fold(RECIPE.to_owned(), |recipe, (old, new)| recipe.replace(old, new));
        std::fs::write(folder.path().join("recipe.toml"), recipe).unwrap();
        let mut command = metier(folder.path());
        command.args(["run", "recipe.toml"]);
        command
    };
    refused(
        &mut run(&[("two = -0.5", "tow = -0.5, one_ = 1.0")]),
        &["weights: no adapter is called `tow` here", "did you mean `two`?", "no adapter is called `one_` here"],
    );
    refused(&mut run(&[("\"svd\"", "\"svdd\"")]), &["combine.method", "svd"]);
    refused(
        &mut run(&[("\"svd\", rank = 1", "\"linear\"")]),
        &["`one` has the rank 2, `two` the rank 3", "`cat` or `svd`"],
    );
    refused(&mut run(&[("two = \"second\"", "two = \"whole\"")]), &["`two` changed the whole model"]);
}
