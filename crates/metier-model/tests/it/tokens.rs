//! Tokenizers out of GGUF files against the independent ones of `fixtures/reference/smollm2_logits.py`.

use flate2::read::GzDecoder;
use metier_core::data::TokenId;
use metier_core::seam::Tokenize;
use metier_model::checkpoint::Checkpoint;
use metier_testkit::{asset, fixture, golden};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fs;
use std::io::Read;
use std::path::Path;

/// The ids of a text, special tokens read as such. They must decode to the text and cover it byte by byte.
fn ids_of(tokenizer: &dyn Tokenize, text: &str) -> Vec<TokenId> {
    let encoded = tokenizer.encode(&[text], true).unwrap().remove(0);
    let mut from = 0;
    for (id, end) in encoded.ids.iter().zip(&encoded.ends) {
        assert_eq!(&text.as_bytes()[from..*end], tokenizer.bytes_of(*id).unwrap(), "{text}");
        from = *end;
    }
    assert_eq!(from, text.len());
    encoded.ids
}

fn text_of(name: &str) -> String {
    let raw = fs::read(fixture(name)).unwrap();
    if Path::new(name).extension().is_none_or(|extension| extension != "gz") {
        return String::from_utf8(raw).unwrap();
    }
    let mut text = String::new();
    GzDecoder::new(raw.as_slice()).read_to_string(&mut text).unwrap();
    text
}

fn check(path: &Path, name: &str) {
    let golden = golden::read(fixture(name));
    let checkpoint = Checkpoint::open(path).unwrap();
    let tokenizer = checkpoint.tokenizer.as_ref();
    let prompts = fs::read_to_string(fixture("reference/prompts.jsonl")).unwrap();
    let cases = golden["prompts"].as_array().unwrap();
    assert_eq!((prompts.lines().count(), cases.len()), (64, 64));
    for (line, case) in prompts.lines().zip(cases) {
        let prompt: Value = serde_json::from_str(line).unwrap();
        let text = prompt["text"].as_str().unwrap();
        assert_eq!(ids_of(tokenizer, text), golden::ids(&case["ids"]), "{text}");
    }
    for document in golden["documents"].as_array().unwrap() {
        let name = document["file"].as_str().unwrap();
        let ids = ids_of(tokenizer, &text_of(name));
        let first = golden::ids(&document["first"]);
        assert_eq!(ids[..first.len()], first, "{name}");
        let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        let digest = Sha256::digest(bytes).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        assert_eq!(document["sha256"], digest, "{name}: {} tokens", ids.len());
    }
}

#[test]
fn a_tiny_vocabulary_gives_the_ids_of_an_independent_one() {
    check(&fixture("models/tiny-llama.gguf"), "golden/tiny_llama_logits.json");
}

#[test]
fn smollm2_gives_the_ids_of_an_independent_one() {
    let Some(path) = asset("smollm2") else { return };
    check(&path, "golden/smollm2_logits.json");
}
