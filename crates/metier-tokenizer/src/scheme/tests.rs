use super::alphabet::character_of;
use super::*;
use metier_core::seam::Encoded;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::fmt::Write;

fn vocabulary(pre: &str) -> ByteLevelBpe {
    let mut tokens = vec!["<|endoftext|>".to_owned(), "<|im_start|>".to_owned(), "<|im_end|>".to_owned()];
    let mut kinds = vec![TokenKind::Control; 3];
    tokens.extend((0..=255).map(|byte| character_of(byte).to_string()));
    let merges: Vec<String> =
        ["t h", "th e", "Ġ the", "Ġ Ġ", "ĠĠ ĠĠ", "Ċ Ċ", "1 2", "Ġ 1", "ã ģ", "Ã ©"].map(str::to_owned).to_vec();
    tokens.extend(merges.iter().map(|merge| merge.replace(' ', "")));
    kinds.resize(tokens.len(), TokenKind::Normal);
    ByteLevelBpe { tokens, kinds, merges, pre: pre.to_owned() }
}

fn scheme(pre: &str) -> HuggingFace {
    HuggingFace::from_json(&vocabulary(pre).to_json().unwrap()).unwrap()
}

fn encode(scheme: &dyn Tokenize, text: &str, special: bool) -> Encoded {
    scheme.encode(&[text], special).unwrap().remove(0)
}

fn written(scheme: &dyn Tokenize, text: &str) -> Vec<String> {
    let ids = encode(scheme, text, false).ids;
    ids.iter().map(|&id| String::from_utf8_lossy(&scheme.bytes_of(id).unwrap()).into_owned()).collect()
}

#[test]
fn digits_are_split_by_smollm_only() {
    assert_eq!(written(&scheme("smollm"), "the 12"), ["the", " ", "1", "2"]);
    assert_eq!(written(&scheme("gpt-2"), "the 12"), ["the", " ", "12"]);
}

#[test]
fn a_character_in_several_tokens_ends_byte_by_byte() {
    let scheme = scheme("smollm");
    let encoded = encode(&scheme, "あé🎈", false);
    let ends = [2, 3, 5, 6, 7, 8, 9];
    assert_eq!(encoded.ends, ends);
    assert_eq!(scheme.bytes_of(encoded.ids[0]).unwrap(), [0xe3, 0x81]);
    assert_eq!(scheme.decode(&encoded.ids, false).unwrap(), "あé🎈");
    assert_eq!(scheme.decode(&encoded.ids[..1], false).unwrap(), "\u{fffd}");
}

#[test]
fn special_tokens_are_read_only_when_asked() {
    let scheme = scheme("smollm");
    let text = "<|im_start|>the<|im_end|>";
    let read = encode(&scheme, text, true);
    assert_eq!(read.ids, [1, scheme.id_of("the").unwrap(), 2]);
    assert_eq!(read.ends, [12, 15, 25]);
    assert_eq!(scheme.decode(&read.ids, false).unwrap(), "the");
    assert_eq!(scheme.decode(&read.ids, true).unwrap(), text);
    let plain = encode(&scheme, text, false);
    assert!(plain.ids.iter().all(|&id| id > 2));
    assert_eq!(scheme.decode(&plain.ids, false).unwrap(), text);
    assert_eq!(scheme.end_of_text(), [2, 0]);
    assert_eq!(scheme.begin_of_text(), None);
    let scheme = scheme.with_begin(Some(1)).with_ends(&[0]);
    assert_eq!((scheme.begin_of_text(), scheme.end_of_text()), (Some(1), vec![0, 2]));
    assert_eq!(scheme.vocabulary_size(), 269);
    assert_eq!(scheme.bytes_of(269), None);
}

#[test]
fn a_byte_without_a_token_vanishes_and_the_rest_keeps_its_place() {
    let mut vocabulary = vocabulary("smollm");
    let lost = vocabulary.tokens.iter().position(|token| *token == character_of(b'#').to_string()).unwrap();
    vocabulary.tokens[lost] = "nothing".to_owned();
    assert_eq!(vocabulary.missing_bytes(), b"#");
    let scheme = HuggingFace::from_json(&vocabulary.to_json().unwrap()).unwrap();
    let encoded = encode(&scheme, "a#b##\u{e9}c", false);
    assert_eq!(scheme.decode(&encoded.ids, false).unwrap(), "abéc");
    assert_eq!(encoded.ends, [1, 3, 7, 8]);
}

#[test]
fn long_texts_encode_as_in_one_piece() {
    let scheme = scheme("smollm");
    let mut text = String::new();
    for line in 0..9000 {
        write!(text, "the  {line}\n\n\u{a0}thé{} <|im_end|>\t", " ".repeat(line % 7)).unwrap();
    }
    assert!(text.len() > 200_000);
    let got = encode(&scheme, &text, true);
    let mut json: Value = serde_json::from_str(&vocabulary("smollm").to_json().unwrap()).unwrap();
    // An added token with white space in it forbids cutting and is never met.
    json["added_tokens"][0]["content"] = json!("<| never |>");
    let whole = HuggingFace::from_json(&json.to_string()).unwrap();
    assert_eq!(encode(&whole, &text, true), got);
    assert_eq!(got.ends.last(), Some(&text.len()));
    assert_eq!(scheme.decode(&got.ids, true).unwrap(), text);
}

#[test]
fn the_fingerprint_follows_what_decides_ids() {
    let json = vocabulary("smollm").to_json().unwrap();
    let same: Value = serde_json::from_str(&json).unwrap();
    let print = |json: &Value| HuggingFace::from_json(&json.to_string()).unwrap().fingerprint();
    assert_eq!(print(&same), scheme("smollm").fingerprint());
    let mut padded = same.clone();
    padded["padding"] = json!({"strategy": "BatchLongest"});
    padded["decoder"] = Value::Null;
    assert_eq!(print(&padded), print(&same));
    let mut fewer = same;
    fewer["model"]["merges"].as_array_mut().unwrap().pop();
    assert_ne!(print(&fewer), print(&padded));
}

#[test]
fn broken_vocabularies_are_refused_with_every_fault() {
    let mut broken = vocabulary("unheard-of");
    broken.tokens[4] = broken.tokens[3].clone();
    broken.merges.push("Ġ zebra".to_owned());
    broken.merges.push("x".to_owned());
    broken.kinds.pop();
    let error = broken.to_json().unwrap_err();
    assert!(error.faults.len() >= 5, "{error}");
    let text = error.to_string();
    for part in
        ["`unheard-of` is not known", "known: gpt-2, gpt-4o, llama-bpe", "stands twice", "`Ġ zebra`", "268 kinds"]
    {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[test]
fn other_schemes_say_their_bytes() {
    let json = json!({
        "version": "1.0", "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true},
        "post_processor": null,
        "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true},
        "model": {"type": "BPE", "dropout": 0.5, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": true, "ignore_merges": false,
            "vocab": {"▁": 0, "a": 1, "b": 2, "▁a": 3, "<0xC3>": 4, "<0xA9>": 5}, "merges": [["▁", "a"]]},
    });
    let scheme = HuggingFace::from_json(&json.to_string()).unwrap();
    let encoded = encode(&scheme, "ab éa", false);
    assert_eq!(encoded.ids, [3, 2, 0, 4, 5, 1]);
    assert_eq!(encoded.ends, [1, 2, 3, 5, 5, 6]);
    assert_eq!(scheme.bytes_of(3).unwrap(), b" a");
    assert_eq!(scheme.bytes_of(4).unwrap(), [0xc3]);
    assert_eq!(scheme.decode(&encoded.ids[..2], false).unwrap(), "ab");
}

#[test]
fn what_is_no_tokenizer_is_refused() {
    for (text, said) in [
        ("{", "no JSON"),
        ("[]", "`model` is missing"),
        ("{\"model\": {}}", "cannot be read"),
        (
            "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 4000000000}, \"merges\": []}}",
            "the highest id is 4000000000",
        ),
        (
            "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1, \"c\": 1}, \"merges\": []}}",
            "the id 1 belongs to two tokens, \"b\" and \"c\"",
        ),
    ] {
        let error = HuggingFace::from_json(text).err().expect(text).to_string();
        assert!(error.contains(said), "{error}");
    }
}

proptest! {
    #[test]
    fn any_text_comes_back_and_its_spans_are_its_bytes(text in "(\\PC|the | {1,5}|[0-9]|\n|\t){0,60}") {
        let scheme = scheme("smollm");
        let encoded = encode(&scheme, &text, false);
        prop_assert_eq!(scheme.decode(&encoded.ids, true).unwrap(), text.clone());
        let mut from = 0;
        for (id, end) in encoded.ids.iter().zip(&encoded.ends) {
            prop_assert_eq!(&text.as_bytes()[from..*end], scheme.bytes_of(*id).unwrap());
            from = *end;
        }
        prop_assert_eq!(from, text.len());
    }
}

proptest! {
    /// The vocabulary of a GGUF file, and its `tokenizer.json` read as anyone's, without tokens of some bytes: both give the ids of the
    /// crate, where what stood beside a lost byte is merged.
    #[test]
    fn vocabularies_without_some_bytes_are_those_of_the_crate(text in "(\\PC|#|##|[abthe#]{1,90}|the | {1,5}|<\\|im_end\\|>){0,30}") {
        let mut vocabulary = vocabulary("smollm");
        for (byte, other) in [(b'#', "nothing"), (0xa9, "Ġab")] {
            let lost = vocabulary.tokens.iter().position(|token| *token == character_of(byte).to_string()).unwrap();
            vocabulary.tokens[lost] = other.to_owned();
        }
        vocabulary.merges.retain(|merge| merge != "Ã ©");
        vocabulary.tokens.push("ab".to_owned());
        vocabulary.kinds.push(TokenKind::Normal);
        vocabulary.merges.extend(["a b", "Ġ ab"].map(str::to_owned));
        let json = vocabulary.to_json().unwrap();
        let theirs = tokenizers::Tokenizer::from_bytes(&json).unwrap();
        let read = HuggingFace::from_json(&json).unwrap();
        let found = HuggingFace::from_byte_level(&vocabulary, &json).unwrap();
        prop_assert!(read.encodes_all() && found.encodes_all());
        prop_assert_eq!(read.fingerprint(), found.fingerprint());
        prop_assert_eq!((read.id_of("<|im_end|>"), read.id_of("ab")), (found.id_of("<|im_end|>"), found.id_of("ab")));
        prop_assert_eq!(read.end_of_text(), found.end_of_text());
        let encoded = encode(&found, &text, true);
        let expected = theirs.encode(text.as_str(), false).unwrap();
        prop_assert_eq!(&encoded.ids, expected.get_ids());
        prop_assert_eq!(encode(&read, &text, true), encoded);
        prop_assert_eq!(encode(&read, &text, false), encode(&found, &text, false));
    }
}
