//! Models whose tokens see both sides, from `create` to what they are asked.

use crate::command::{RECIPE, artifact, fine, json, metier, refused};
use crate::http::{Answers as _, Server, tiny};
use serde_json::json;

#[test]
fn a_bidirectional_model_makes_vectors_and_predicts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = format!("tokenizer={}", tiny());
    let create = |more: &str| {
        let mut command = metier(folder.path());
        command.args([
            "create",
            &tokenizer,
            "hidden=16",
            "intermediate=24",
            "layers=2",
            "heads=2",
            "context=64",
            "--json",
        ]);
        command.arg(more);
        command
    };
    refused(&mut create("attention=both"), &["attention", "both", "causal", "bidirectional"]);
    let said = json(&fine(&mut create("attention=bidirectional")));
    let made = folder.path().join(artifact(&said, "create"));
    let config = std::fs::read_to_string(made.join("config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    assert_eq!(config["is_causal"], json!(false));
    let model = made.display().to_string();

    let run = |arguments: &[&str]| {
        let mut command = metier(folder.path());
        command.args(arguments);
        command
    };
    let hint = "a bidirectional one turns texts into vectors with `metier embed`";
    for arguments in [
        &["generate", &model, "--prompt", "once"][..],
        &["chat", &model],
        &["generate", &tiny(), "--prompt", "once", "--draft", &model],
    ] {
        refused(&mut run(arguments), &["config.json: is_causal", "attention is bidirectional", hint]);
    }
    std::fs::write(folder.path().join("a.txt"), "one note").unwrap();
    fine(&mut run(&["embed", &model, "a.txt", "--output", "out.jsonl"]));
    let recipe = RECIPE.replace("model.gguf", &model);
    std::fs::create_dir(folder.path().join("notes")).unwrap();
    for name in ["a", "b", "c"] {
        std::fs::write(folder.path().join(format!("notes/{name}.txt")), format!("{name} note ").repeat(60)).unwrap();
    }
    std::fs::write(folder.path().join("recipe.toml"), recipe).unwrap();
    refused(&mut run(&["run", "recipe.toml"]), &["objective", "`causal` predicts each token", "bidirectional"]);
    refused(
        &mut run(&["export", &format!("model={model}"), "format=gguf"]),
        &["config.json: is_causal", "llama.cpp's `llama` is causal"],
    );

    let server = Server::start(&[&format!("both={model}")]);
    let vector = server.post("/v1/embeddings", json!({ "model": "both", "input": "one note" }).to_string());
    assert_eq!(vector.json()["data"][0]["embedding"].as_array().unwrap().len(), 16);
    let body = json!({ "model": "both", "prompt": "one", "max_tokens": 2 }).to_string();
    let answer = server.post("/v1/completions", body);
    assert_eq!(answer.status, 400);
    assert!(answer.json()["error"]["message"].as_str().unwrap().contains("attention is bidirectional"));
}
