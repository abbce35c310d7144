//! A model gets new tokens for documents in another script.

use crate::command::{artifact, fine, json, metier, refused};
use std::fs;

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
license = "MIT"
sources = [{ path = "notes" }]

[[stage]]
name = "documents"
do = "curate"
from = "notes"
read = { method = "text", include = ["*.txt"] }
select = { method = "hold_out", fraction = 0.25 }

[[stage]]
name = "extended"
do = "extend"
from = "documents"
model = "model"
tokens = 30
initialize = { method = "cw2v", rank = 8, passes = 2, batch = 64, threshold = 0.0 }

[[stage]]
name = "shards"
do = "pack"
from = "documents"
tokenizer = "extended"
"#;

#[test]
fn a_model_learns_tokens_of_another_script_and_answers_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("notes")).unwrap();
    for (number, word) in ["नमस्ते", "दुनिया", "परीक्षा", "भाषा"].iter().enumerate()
    {
        let text = format!("{word} यह एक छोटा लेख है जो {word} के बारे में है और {word} फिर से आता है\n");
        fs::write(at("notes").join(format!("{number}.txt")), text.repeat(6)).unwrap();
    }
    fs::copy(metier_testkit::fixture("models/tiny-llama.gguf"), at("model.gguf")).unwrap();
    fs::write(at("recipe.toml"), RECIPE).unwrap();
    let run = || json(&fine(metier(folder.path()).args(["run", "recipe.toml", "--json"])));
    let report = run();
    let model = artifact(&report, "extended");

    let record: serde_json::Value = serde_json::from_slice(&fs::read(model.join("record.json")).unwrap()).unwrap();
    let figure = |key: &str| record["figures"][key].as_f64().unwrap_or_else(|| panic!("{key}: {record}"));
    assert!((figure("tokens_after") - figure("tokens_before") - 30.0).abs() < 0.5);
    assert!(figure("bytes_per_token_after") > 1.5 * figure("bytes_per_token_before"), "{record}");

    let list: serde_json::Value = serde_json::from_slice(&fs::read(model.join("new_tokens.json")).unwrap()).unwrap();
    let tokens = list["tokens"].as_array().unwrap();
    assert_eq!(tokens.len(), 30);
    assert!(tokens.iter().all(|token| token["parts"].as_array().unwrap().len() > 1));
    let shares = tokens[0]["sources"].as_array().unwrap();
    assert!(shares.len() == 5 && shares[0][1].as_f64() >= shares[4][1].as_f64());

    let said = fine(metier(folder.path()).arg("generate").arg(&model).args(["--prompt", "यह", "--max-tokens", "4"]));
    assert!(!said.stdout.is_empty());
    assert_eq!(artifact(&run(), "extended"), model, "the same settings give the same artifact");

    let more = RECIPE.replace("tokens = 30", "tokens = 30000");
    fs::write(at("more.toml"), more).unwrap();
    refused(metier(folder.path()).args(["run", "more.toml"]), &["of the 30000 asked for", "give more text"]);
    let none = RECIPE.replace("tokens = 30", "tokens = 0").replace("rank = 8", "rank = 0");
    fs::write(at("none.toml"), none).unwrap();
    refused(
        metier(folder.path()).args(["check", "none.toml"]),
        &["none.toml:29", "must be at least 1", "initialize.rank"],
    );
}
