//! Adapters on top of a served model.

use crate::command::{metier, refused};
use crate::http::{Answers as _, Server, tiny};
use crate::models;
use metier_core::Place;
use metier_core::part::Build as _;
use metier_core::seed::Seed;
use metier_model::Decoder;
use metier_model::checkpoint::Checkpoint;
use metier_peft::Attached;
use metier_peft::adapter::Lora;
use serde_json::Value;
use std::path::Path;

/// Attaches an adapter that changes the replies.
fn attach(decoder: &mut Decoder, rank: usize) -> Attached {
    let lora = Lora { rank, alpha: 8.0, ..Lora::default() };
    let attached = lora.build(&Place::default()).unwrap().attach(decoder, Seed::new(7)).unwrap();
    let ids: Vec<_> =
        decoder.parameters.iter().filter(|(_, name, ..)| name.contains("lora_B")).map(|(id, ..)| id).collect();
    for id in ids {
        for (number, value) in decoder.parameters.get_mut(id).data_mut().iter_mut().enumerate() {
            *value = ((number * 37 % 11) as f32 - 5.0) * 0.02;
        }
    }
    attached
}

/// An adapter on the tiny model, in a folder.
pub fn of_tiny(folder: &Path) -> String {
    let checkpoint = Checkpoint::open(Path::new(&tiny())).unwrap();
    let mut decoder = Decoder::from_checkpoint(&checkpoint).unwrap();
    let attached = attach(&mut decoder, 4);
    metier_peft::folder::save(&decoder, &attached, "tiny", folder).unwrap();
    folder.display().to_string()
}

/// A base, its adapter, and the two folded into one.
fn folders(folder: &Path, rank: usize) -> [String; 3] {
    let [base, adapter, merged] = ["base", "adapter", "merged"].map(|name| folder.join(name));
    let base = models::folder(&base, None, |decoder| {
        let attached = attach(decoder, rank);
        metier_peft::folder::save(decoder, &attached, "base", &adapter).unwrap();
        decoder.detach();
    });
    let merged = models::folder(&merged, None, |decoder| {
        attach(decoder, rank);
        decoder.fold().unwrap();
    });
    [base, adapter.display().to_string(), merged]
}

#[test]
fn an_adapter_answers_as_the_merged_model_and_leaves_the_base_alone() {
    let folder = tempfile::tempdir().unwrap();
    let [base, adapter, merged] = folders(folder.path(), 4);
    let server = Server::start(&[
        &format!("base={base}"),
        &format!("merged={merged}"),
        "--adapter",
        &format!("base/terse={adapter}"),
    ]);
    let models = server.get("/v1/models").json();
    let names: Vec<&str> =
        models["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!(names, ["base", "terse", "merged"]);
    assert_eq!(server.get("/v1/models/terse").json()["parent"], "base");
    assert!(server.get("/v1/models/base").json()["parent"].is_null());
    let ask = |model: &str, text: &str| {
        let body =
            format!(r#"{{"model": "{model}", "prompt": "{text}", "max_tokens": 40, "temperature": 0, "logprobs": 3}}"#);
        let answer = server.post("/v1/completions", body);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["choices"][0].clone()
    };
    for text in ["The first word", "hello", "a b c d e f"] {
        let [of_base, of_adapter, of_merged] = ["base", "terse", "merged"].map(|model| ask(model, text));
        assert_eq!(of_adapter["text"], of_merged["text"]);
        assert_ne!(of_adapter["text"], of_base["text"], "the adapter changes nothing");
        let numbers = |choice: &Value| -> Vec<f64> {
            choice["logprobs"]["token_logprobs"].as_array().unwrap().iter().map(|one| one.as_f64().unwrap()).collect()
        };
        metier_testkit::assert_close("logprobs", &numbers(&of_adapter), &numbers(&of_merged), 1e-4, 1e-4);
    }
    let chat = r#"{"model": "terse", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}"#;
    assert_eq!(server.post("/v1/chat/completions", chat).json()["model"], "terse");
    let near = server.post("/v1/completions", r#"{"model": "tearse", "prompt": "a"}"#);
    assert!(near.status == 404 && near.message().contains("did you mean `terse`?"), "{near:?}");
}

#[test]
fn adapters_that_cannot_be_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let [base, adapter, _] = folders(folder.path(), 2);
    let serve = |more: &[&str]| {
        let mut command = metier(folder.path());
        command.args(["serve", "--port", "0", &format!("base={base}")]).args(more);
        command
    };
    refused(&mut serve(&["--adapter", "nameless"]), &["an adapter needs a name", "write NAME=FOLDER"]);
    refused(
        &mut serve(&["--adapter", &format!("bse/x={adapter}")]),
        &["no model is called `bse`", "did you mean `base`?"],
    );
    refused(
        &mut serve(&[&format!("other={base}"), "--adapter", &format!("x={adapter}"), "--adapter", "y"]),
        &["which of the models it belongs to", "BASE/x=", "an adapter needs a name"],
    );
    refused(&mut serve(&["--adapter", "x=nowhere"]), &["nowhere", "no model is called this"]);
    refused(&mut serve(&["--adapter", &format!("x={base}")]), &["adapter_config.json"]);
    refused(&mut serve(&["--adapter", &format!("base={adapter}")]), &["two models would have this name"]);
}
