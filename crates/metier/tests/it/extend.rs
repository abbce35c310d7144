//! A model gets new tokens for documents in another script.

use crate::command::{RECIPE, artifact, fine, json, metier, refused};
use crate::resume::assert_kills_change_nothing;
use std::fs;
use std::path::Path;

const STAGES: &str = r#"
[[stage]]
name = "extended"
do = "extend"
from = "documents"
model = "model"
vocabulary = { method = "learn", tokens = 30 }
initialize = { method = "cw2v", rank = 8, passes = 2, batch = 64, threshold = 0.0 }

[[stage]]
name = "shards"
do = "pack"
from = "documents"
tokenizer = "extended"
"#;

/// The recipe of other tests up to its documents, and these stages.
fn recipe() -> String {
    let (head, _) = RECIPE.split_once("[[stage]]\nname = \"shards\"").unwrap();
    format!("{}{STAGES}", head.trim_end())
}

/// Texts, a model and the recipe in a folder.
fn project(folder: &Path, times: usize) {
    let notes = folder.join("notes");
    fs::create_dir_all(&notes).unwrap();
    for (number, word) in ["नमस्ते", "दुनिया", "परीक्षा", "भाषा", "किताब", "शहर"].iter().enumerate()
    {
        let text = format!("{word} यह एक छोटा लेख है जो {word} के बारे में है और {word} फिर से आता है\n");
        fs::write(notes.join(format!("{number}.txt")), text.repeat(times)).unwrap();
    }
    fs::copy(metier_testkit::fixture("models/tiny-llama.gguf"), folder.join("model.gguf")).unwrap();
    fs::write(folder.join("recipe.toml"), recipe()).unwrap();
}

#[test]
fn kills_while_a_vocabulary_grows_change_no_byte() {
    let run = |folder: &Path, more: &[&str]| {
        project(folder, 8);
        let mut command = metier(folder);
        command.args(["run", "recipe.toml", "--set", "extended.initialize.passes=4"]).args(more);
        command
    };
    let names = assert_kills_change_nothing(run, &["extended"], 8);
    let wanted = ["config.json", "model.safetensors", "new_tokens.json", "tokenizer.json"];
    for name in wanted.map(|name| format!("extended/{name}")) {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
    assert!(names.iter().all(|name| !name.contains("scratch") && !name.contains("temporary")), "{names:?}");
}

#[test]
fn a_model_learns_tokens_of_another_script_and_answers_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    project(folder.path(), 6);
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

    let more = recipe().replace("tokens = 30", "tokens = 30000");
    fs::write(at("more.toml"), more).unwrap();
    refused(metier(folder.path()).args(["run", "more.toml"]), &["of the 30000 asked for", "give more text"]);
    let none = recipe().replace("tokens = 30", "tokens = 0").replace("rank = 8", "rank = 0");
    fs::write(at("none.toml"), none).unwrap();
    refused(
        metier(folder.path()).args(["check", "none.toml"]),
        &["none.toml:29", "vocabulary.tokens", "must be at least 1", "initialize.rank"],
    );
    let without = recipe().replace("from = \"documents\"\nmodel", "model");
    fs::write(at("without.toml"), without).unwrap();
    refused(metier(folder.path()).args(["run", "without.toml"]), &["`learn` works on documents", "write `from"]);
    let unknown = recipe().replace("\"cw2v\"", "\"cw3v\"");
    fs::write(at("unknown.toml"), unknown).unwrap();
    refused(metier(folder.path()).args(["check", "unknown.toml"]), &["no initializer is called `cw3v`", "`cw2v`"]);
}

#[test]
fn a_vocabulary_is_transplanted_and_cut_down_by_recipe() {
    let folder = tempfile::tempdir().unwrap();
    project(folder.path(), 6);
    let stages = r#"
[[stage]]
name = "moved"
do = "extend"
from = "documents"
model = "model"
donor = "extended"
vocabulary = { method = "transplant" }
initialize = { method = "donor" }

[[stage]]
name = "smaller"
do = "extend"
from = "documents"
model = "moved"
vocabulary = { method = "drop_unused" }
"#;
    fs::write(folder.path().join("more.toml"), recipe() + stages).unwrap();
    let report = json(&fine(metier(folder.path()).args(["run", "more.toml", "--json"])));
    let figure = |stage: &str, key: &str| {
        let record = fs::read(artifact(&report, stage).join("record.json")).unwrap();
        let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
        record["figures"][key].as_f64().unwrap_or_else(|| panic!("{stage}.{key}: {record}"))
    };
    let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} for {b}");
    near(figure("moved", "tokens_after"), figure("extended", "tokens_after"));
    near(figure("moved", "token_ratio"), figure("extended", "token_ratio"));
    assert!(figure("smaller", "tokens_after") < figure("smaller", "tokens_before") - 50.0);
    near(figure("smaller", "token_ratio"), 1.0);
    // The donor is the model itself with rows more: what is carried over are those rows.
    let rows = |stage: &str| fs::read(artifact(&report, stage).join("model.safetensors")).unwrap();
    assert_eq!(rows("moved").len(), rows("extended").len());
    let said = fine(metier(folder.path()).arg("generate").arg(artifact(&report, "smaller")).args([
        "--prompt",
        "यह",
        "--max-tokens",
        "4",
    ]));
    assert!(!said.stdout.is_empty());
    let none = (recipe() + stages).replace("donor = \"extended\"\n", "");
    fs::write(folder.path().join("none.toml"), none).unwrap();
    refused(metier(folder.path()).args(["run", "none.toml"]), &["`transplant` works on another model", "write `donor"]);
}

/// Every stage of the recipe about vocabularies, at the tiny size.
#[test]
fn the_recipe_of_vocabulary_expansion_runs_at_the_tiny_size() {
    let folder = tempfile::tempdir().unwrap();
    let path = metier_testkit::repository().join("recipes/cw2v-vocab-expansion.toml");
    let report = json(&fine(metier(folder.path()).arg("run").arg(path).args(["--tiny", "--json", "--quiet"])));
    let checks = report["checks"].as_array().unwrap();
    assert!(!checks.is_empty() && checks.iter().all(|check| check["left"].is_f64()), "{checks:?}");
}
