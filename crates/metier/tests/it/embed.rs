//! `metier embed`: files in, vectors out.

use crate::command::{fine, json, metier, refused};
use crate::http::{Answers as _, Server, tiny};
use serde_json::{Value, json};

#[test]
fn vectors_are_those_of_the_server_and_a_torn_file_is_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("notes")).unwrap();
    std::fs::write(at("notes/a.txt"), "the first note").unwrap();
    std::fs::write(at("notes/b.md"), "# Another\n\nof two lines").unwrap();
    let line = |number: usize| json!({ "id": format!("id {number}"), "q": "word ".repeat(number % 9 + 1) }).to_string();
    let lines = (0..70).map(line).collect::<Vec<_>>().join("\n");
    std::fs::write(at("lines.jsonl"), lines).unwrap();
    let embed = || {
        let mut command = metier(folder.path());
        command.args(["embed", &tiny(), "notes", "lines.jsonl", "--text-key", "q", "--output", "out.jsonl", "--json"]);
        command
    };
    let said = json(&fine(&mut embed()));
    assert_eq!(
        (said["texts"].as_u64(), said["made"].as_u64(), said["dimension"].as_u64()),
        (Some(72), Some(72), Some(64))
    );
    assert_eq!(said["pooling"], "mean of the last hidden states, length 1");
    let whole = std::fs::read(at("out.jsonl")).unwrap();
    let vectors: Vec<Value> =
        String::from_utf8_lossy(&whole).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((vectors.len(), &vectors[0]["id"], &vectors[71]["id"]), (72, &json!("a.txt"), &json!("id 69")));

    let server = Server::tiny(&[]);
    let numbers =
        |value: &Value| -> Vec<f64> { value.as_array().unwrap().iter().map(|one| one.as_f64().unwrap()).collect() };
    for (text, line) in [("the first note", &vectors[0]), ("word word word ", &vectors[4])] {
        let answer = server.post("/v1/embeddings", json!({ "model": "tiny", "input": text }).to_string()).json();
        metier_testkit::assert_close(
            "vector",
            &numbers(&line["vector"]),
            &numbers(&answer["data"][0]["embedding"]),
            1e-5,
            1e-4,
        );
        assert_eq!(line["tokens"], answer["usage"]["prompt_tokens"]);
    }
    // Torn anywhere, it is made whole again, to the same bytes.
    for length in [0, 30, whole.len() / 3, whole.len() - 1, whole.len()] {
        std::fs::write(at("out.jsonl"), &whole[..length]).unwrap();
        fine(&mut embed());
        assert_eq!(std::fs::read(at("out.jsonl")).unwrap(), whole, "torn at {length}");
    }
    // A table of the same, made once.
    let table = || {
        let mut command = metier(folder.path());
        command.args([
            "embed",
            &tiny(),
            "notes",
            "lines.jsonl",
            "--text-key",
            "q",
            "--output",
            "out.parquet",
            "--json",
        ]);
        command
    };
    std::fs::write(at("out.parquet.jsonl"), &whole[..whole.len() / 2]).unwrap();
    let made = json(&fine(&mut table()))["made"].as_u64().unwrap();
    assert!((1..72).contains(&made) && !at("out.parquet.jsonl").exists());
    assert_eq!(json(&fine(&mut table()))["made"], 0);
    let bytes = std::fs::read(at("out.parquet")).unwrap();
    assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));

    std::fs::write(at("notes/a.txt"), "changed").unwrap();
    refused(&mut embed(), &["out.jsonl:1:1", "no result of this input"]);
    refused(&mut table(), &["out.parquet", "holds something else"]);
    assert_eq!(std::fs::read(at("out.parquet")).unwrap(), bytes);
}

#[test]
fn what_cannot_be_embedded_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("long.jsonl", &format!("{{\"text\": \"a\"}}\n{{\"text\": \"{}\"}}\n", "word ".repeat(300)));
    write("keys.jsonl", "{\"txt\": \"a\"}\n");
    let embed = |input: &str, output: &str| {
        let mut command = metier(folder.path());
        command.args(["embed", &tiny(), input, "--output", output]);
        command
    };
    refused(&mut embed("long.jsonl", "out.jsonl"), &["long.jsonl:2: a text of ", "context of 256"]);
    refused(&mut embed("keys.jsonl", "out.jsonl"), &["keys.jsonl:1:1", "no text under `text`", "txt"]);
    refused(&mut embed("nothing.txt", "out.jsonl"), &["nothing.txt", "no such file"]);
    refused(&mut embed("keys.jsonl", "out.csv"), &["out.csv", "JSON lines", "in .parquet"]);
    assert!(!folder.path().join("out.jsonl").exists());
}

#[test]
fn a_misspelt_key_of_a_prompt_is_named_with_its_place_once() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("in.jsonl"), "{\"prompt\": \"a\"}\n{\"promt\": \"a\"}\n").unwrap();
    let mut command = metier(folder.path());
    let said = refused(
        command.args(["generate", &tiny(), "--input", "in.jsonl", "--output", "out.jsonl"]),
        &["in.jsonl:2:8: unknown field `promt`"],
    );
    assert!(!said.contains("at line"), "{said}");
}
