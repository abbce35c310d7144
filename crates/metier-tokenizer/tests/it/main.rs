//! Vocabularies in the forms that models carry, against the goldens of `fixtures/reference/tokenizer_files.py`.

mod compare;
mod same;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use metier_core::seam::Tokenize;
use metier_testkit::{golden, scratch};
use metier_tokenizer::scheme::{self, Pieces, TokenKind, sentence_piece};
use serde_json::Value;

fn cases() -> Vec<Value> {
    golden::read("tokenizer_files.json")["cases"].as_array().expect("a list").clone()
}

fn data(case: &Value) -> Vec<u8> {
    BASE64_STANDARD.decode(case["data"].as_str().expect("base64")).expect("base64")
}

#[test]
fn every_form_gives_the_ids_of_its_own_program() {
    let folder = scratch("tokenizer_files");
    for case in cases() {
        let name = case["file"].as_str().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, data(&case)).unwrap();
        let tokenizer = scheme::from_file(&path).unwrap_or_else(|error| panic!("{error}"));
        for expected in case["texts"].as_array().unwrap() {
            let text = expected["text"].as_str().unwrap();
            let ids: Vec<u32> = serde_json::from_value(expected["ids"].clone()).unwrap();
            let encoded = tokenizer.encode(&[text], false).unwrap().remove(0);
            assert_eq!(encoded.ids, ids, "{name}: {text:?}");
            assert!(encoded.ends.is_sorted() && encoded.ends.last().is_none_or(|&end| end <= text.len()));
        }
    }
}

#[test]
fn texts_come_back_from_vocabularies_that_lose_nothing() {
    let folder = scratch("tokenizer_round_trip");
    for case in cases() {
        let name = case["file"].as_str().unwrap();
        if !["llama.model", "gemma.model", "p50k_base.tiktoken", "tekken.json"].contains(&name) {
            continue;
        }
        let path = folder.path().join(name);
        std::fs::write(&path, data(&case)).unwrap();
        let tokenizer = scheme::from_file(&path).unwrap();
        for expected in case["texts"].as_array().unwrap() {
            let text = expected["text"].as_str().unwrap();
            let ids = tokenizer.encode(&[text], false).unwrap().remove(0).ids;
            // A vocabulary that writes spaces as marks has no others.
            let text = if name.contains(".model") { text.replace('▁', " ") } else { text.to_owned() };
            assert_eq!(tokenizer.decode(&ids, false).unwrap(), text, "{name}");
        }
    }
}

#[test]
fn special_tokens_in_a_text_are_read_only_when_asked() {
    let folder = scratch("tokenizer_special");
    for case in cases() {
        let name = case["file"].as_str().unwrap();
        let (text, ids) = match name {
            "llama.model" | "gemma.model" | "unigram.model" => ("</s>", [2]),
            "tekken.json" => ("[INST]", [3]),
            "p50k_base.tiktoken" => ("<|endoftext|>", [50_256]),
            "vocab.txt" => ("[SEP]", [3]),
            _ => continue,
        };
        let path = folder.path().join(name);
        std::fs::write(&path, data(&case)).unwrap();
        let tokenizer = scheme::from_file(&path).unwrap();
        assert_eq!(tokenizer.encode(&[text], true).unwrap()[0].ids, ids, "{name}");
        let plain = tokenizer.encode(&[text], false).unwrap().remove(0).ids;
        assert!(!plain.contains(&ids[0]), "{name}: {plain:?}");
    }
}

#[test]
fn a_damaged_model_is_refused_at_any_byte() {
    let case = cases().into_iter().find(|case| case["file"] == "llama.model").unwrap();
    let whole = data(&case);
    for length in 0..whole.len().min(400) {
        // Cut between two pieces it is a smaller model; it must only not panic.
        let _ = sentence_piece::read(&whole[..length]);
    }
    let mut changed = whole.clone();
    for place in (0..whole.len()).step_by(37) {
        changed[place] ^= 0x55;
        let _ = sentence_piece::read(&changed).and_then(|pieces| pieces.to_json());
        changed[place] = whole[place];
    }
    assert!(sentence_piece::read(&[]).unwrap_err().to_string().contains("holds no pieces"));
    assert!(sentence_piece::read(&[0x0a, 0x7f]).unwrap_err().to_string().contains("127 bytes are expected at 2"));
}

#[test]
fn what_no_program_could_have_written_is_refused() {
    let pieces = Pieces {
        tokens: ["<unk>", "a", "a"].map(str::to_owned).to_vec(),
        scores: vec![0.0, f32::NAN],
        kinds: vec![TokenKind::Unknown],
        unknown: Some(7),
        ..Pieces::default()
    };
    let error = pieces.to_json().unwrap_err().to_string();
    for said in ["2 scores are given for 3", "1 kinds", "the id 7", "score of token 1", "`a` stands twice, at 1 and 2"]
    {
        assert!(error.contains(said), "{said} is not in {error}");
    }
    let folder = scratch("tokenizer_refused");
    let tekken = |ranks: [usize; 2]| {
        let vocab = ranks.map(|rank| serde_json::json!({"rank": rank, "token_bytes": "IQ=="}));
        let config = serde_json::json!({"pattern": ".", "default_vocab_size": 4, "default_num_special_tokens": 2});
        serde_json::json!({"config": config, "vocab": vocab, "special_tokens": []}).to_string()
    };
    let bpe = |more: &str| format!("{{\"model\": {{\"type\": \"BPE\", \"vocab\": {{\"a\": 0, \"bc\": 1}}, {more}}}}}");
    let long = "x".repeat((1 << 16) + 1);
    let (missing, beyond, prefix) = (
        bpe("\"merges\": [[\"a\", \"z\"]]"),
        bpe("\"merges\": [[\"a\", \"bc\"]]"),
        bpe("\"continuing_subword_prefix\": \"##\", \"merges\": [\"a a\"]"),
    );
    let charsmap =
        "{\"normalizer\": {\"type\": \"Precompiled\", \"precompiled_charsmap\": \"BAAAAP////8=\"}, \"model\": {}}";
    let gap = tekken([0, 2]);
    let twice = tekken([0, 1]);
    let unheard = "{\"model\": {\"type\": \"Magic\", \"vocab\": {}}}";
    for (name, content, said) in [
        ("tokenizer.json", missing.as_str(), "`z` out of vocabulary"),
        ("tokenizer.json", beyond.as_str(), "merge 0, of `a` and `bc`, makes no token"),
        ("tokenizer.json", prefix.as_str(), "the second token of merge 0, `a`, does not begin with `##`"),
        ("tokenizer.json", charsmap, "`precompiled_charsmap` is damaged"),
        ("tokenizer.json", unheard, "cannot be read"),
        ("tekken.json", gap.as_str(), "1 tokens have a rank below 2"),
        ("tekken.json", twice.as_str(), "`!` stands twice"),
        ("vocab.txt", "[UNK]\nthe\nof\nthe\n", "`the` stands twice, at 1 and 3"),
        ("strange.tiktoken", "IQ== 0\n", "`strange` is no encoding that is known"),
        ("gpt2.tiktoken", "IQ== 0\n!! 1\n", "a token in base64, a space and its rank"),
        ("gpt2.tiktoken", "IQ== 0\nIQ== 1\n", "`!` stands twice, with 0 and 1"),
        ("tekken.json", "{\"config\": {}, \"vocab\": []}", "missing field `pattern`"),
        ("vocab.txt", "the\nof\n", "the token [UNK] is missing"),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        let error = scheme::from_file(&path).err().expect(said).to_string();
        assert!(error.contains(said) && error.contains(name), "{error}");
    }
    let path = folder.path().join("vocab.txt");
    std::fs::write(&path, format!("[UNK]\n{long}\n")).unwrap();
    let error = scheme::from_file(&path).err().unwrap().to_string();
    assert!(error.contains("the token with the id 1 has 65537 bytes"), "{error}");
    std::fs::write(&path, b"[UNK]\n\xff\xfe\n").unwrap();
    let error = scheme::from_file(&path).err().unwrap().to_string();
    assert!(error.contains("neither a SentencePiece model nor text"), "{error}");
}
