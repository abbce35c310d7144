//! Ids of texts, and where their tokens end.

use crate::command::{fine, json, metier, refused};
use metier_testkit::{fixture, scratch};
use std::process::Stdio;

#[test]
fn tokens_end_in_bytes_and_in_characters() {
    let folder = scratch("encode");
    let model = fixture("models/tiny-llama.gguf");
    let ask = |more: &[&str]| {
        let mut command = metier(folder.path());
        command.args(["tokenizer", "encode"]).arg(&model).args(more);
        command
    };
    let found = json(&fine(&mut ask(&["né 🎈", "<|im_end|>", "--json"])));
    let texts = found["texts"].as_array().unwrap();
    let last = |text: usize, unit: &str| texts[text]["ends"][unit].as_array().unwrap().last().cloned().unwrap();
    assert_eq!((last(0, "bytes"), last(0, "characters")), (8.into(), 4.into()));
    assert_eq!(texts[0]["ids"].as_array().unwrap().len(), texts[0]["ends"]["characters"].as_array().unwrap().len());
    let special = json(&fine(&mut ask(&["<|im_end|>", "--special", "--json"])));
    assert_eq!(special["texts"][0]["tokens"], serde_json::json!(["<|im_end|>"]));
    assert!(texts[1]["ids"].as_array().unwrap().len() > 1);
    let table = fine(ask(&[]).stdin(Stdio::null()));
    assert!(String::from_utf8_lossy(&table.stdout).contains("ends at byte"));
    let mut absent = metier(folder.path());
    refused(absent.args(["tokenizer", "encode", "nothing", "a"]), &["no vocabulary or model is called this"]);
}
