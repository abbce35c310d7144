//! How `metier generate` decodes: together, with guesses, by search.

use crate::command::{fine, json, metier, refused};
use crate::http::tiny;
use std::process::Command;

fn generate(folder: &std::path::Path, more: &[&str]) -> Command {
    let mut command = metier(folder);
    command.args(["generate", &tiny(), "--max-tokens", "16"]).args(more);
    command
}

#[test]
fn replies_of_a_file_are_the_same_together_and_one_after_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let prompts: Vec<String> = (0..20).map(|number| format!("{{\"prompt\": \"the {number} mail\"}}")).collect();
    std::fs::write(folder.path().join("in.jsonl"), prompts.join("\n")).unwrap();
    let run = |output: &str, more: &[&str]| {
        let file = ["--input", "in.jsonl", "--output", output, "--temperature", "0.8", "--seed", "3"];
        fine(generate(folder.path(), &file).args(more));
        std::fs::read_to_string(folder.path().join(output)).unwrap()
    };
    let alone = run("alone.jsonl", &["--parallel", "1"]);
    assert_eq!(alone.lines().count(), 20);
    assert_eq!(run("together.jsonl", &["--parallel", "7"]), alone);
    assert_ne!(run("coded.jsonl", &["--cache-type", "int4"]).lines().next(), alone.lines().next());
}

#[test]
fn guesses_change_no_greedy_reply_and_need_the_same_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let prompt = ["--prompt", "the mail of the mail", "--json"];
    let plain = json(&fine(&mut generate(folder.path(), &prompt)));
    for more in [&["--lookup"][..], &["--draft", &tiny(), "--draft-tokens", "3"]] {
        let guessed = json(&fine(generate(folder.path(), &prompt).args(more)));
        assert_eq!(guessed["text"], plain["text"]);
        if more.len() > 1 {
            assert_eq!(guessed["drafted_tokens"], guessed["accepted_tokens"], "it guesses at itself");
            assert!(guessed["accepted_tokens"].as_u64().unwrap() > 8, "{guessed}");
        }
    }
    refused(generate(folder.path(), &prompt).args(["--draft", "nothing.gguf"]), &["nothing.gguf"]);
    let little = &["--prompt", "a", "--cache-memory", "1kB"];
    refused(&mut generate(folder.path(), little), &["cache: ", "--cache-memory"]);
}

#[test]
fn searches_give_the_best_first_and_refuse_what_they_do_not_follow() {
    let folder = tempfile::tempdir().unwrap();
    let found = json(&fine(&mut generate(folder.path(), &["--prompt", "the", "--beams", "4", "--json"])));
    let scores: Vec<f64> = found.as_array().unwrap().iter().map(|found| found["score"].as_f64().unwrap()).collect();
    assert!(scores.len() == 4 && scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
    fine(&mut generate(folder.path(), &["--prompt", "the", "--contrastive", "0.6", "--top-k", "5"]));
    let best = ["--prompt", "the", "--best-of", "4", "--json"];
    let replies = json(&fine(generate(folder.path(), &best).args(["--temperature", "0.8"])));
    assert_eq!(replies.as_array().unwrap().len(), 4);
    refused(&mut generate(folder.path(), &best), &["--best-of", "temperature 0"]);
    refused(&mut generate(folder.path(), &["--prompt", "a", "--beams", "0"]), &["beams", "from 1 to 128"]);
    refused(
        &mut generate(folder.path(), &["--prompt", "a", "--beams", "2", "--top-p", "0.5"]),
        &["--beams", "--top-p"],
    );
}
