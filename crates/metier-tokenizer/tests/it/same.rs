//! The encoders of our own beside the `tokenizers` crate, on vocabularies of the goldens and texts made at random.

use super::{cases, data};
use metier_core::seam::Tokenize;
use metier_testkit::scratch;
use metier_tokenizer::scheme::{self, HuggingFace};
use serde_json::{Value, json};
use tokenizers::Tokenizer;

const PARTS: [&str; 54] = [
    " ",
    " ",
    " ",
    "  ",
    "    ",
    "\n",
    "\r\n",
    "\t",
    "▁",
    "▁▁",
    "a",
    "e",
    "t",
    "th",
    "the",
    " the",
    "token",
    "izer",
    "reads",
    "text",
    "é",
    "e\u{301}",
    "\u{301}",
    "\u{338}",
    ">",
    "où",
    "élèves",
    "Токены",
    "текст",
    "漢",
    "漢字",
    "🎈",
    "\u{0}",
    "\u{a0}",
    "Ａ",
    "ＢＣ",
    "ﬁ",
    "1234",
    "5",
    "<s>",
    "</s>",
    "<unk>",
    "<0x41>",
    "[INST]",
    "\u{1100}\u{1161}",
    "각",
    "\u{ad}",
    "\u{200b}",
    "\u{fffd}",
    "\u{85}",
    "don't",
    "İ",
    "ΣΑΣ",
    "\u{302e}",
];

/// Texts of up to 40 parts; the same for a seed everywhere.
fn texts(count: usize) -> Vec<String> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut below = |limit: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) as usize % limit
    };
    (0..count)
        .map(|_| {
            let parts = below(40);
            (0..parts).map(|_| PARTS[below(PARTS.len())]).collect()
        })
        .collect()
}

/// The `tokenizer.json` of a golden's vocabulary.
fn vocabulary(name: &str) -> Value {
    let case = cases().into_iter().find(|case| case["file"] == name).expect("a golden");
    let folder = scratch("tokenizer_same");
    let path = folder.path().join(name);
    std::fs::write(&path, data(&case)).expect("the folder is writable");
    serde_json::from_str(&scheme::json_of_file(&path).expect("the golden is read")).expect("JSON")
}

fn agrees(name: &str, json: &Value) {
    let ours = HuggingFace::from_json(&json.to_string()).expect("we read it");
    let special = Tokenizer::from_bytes(json.to_string()).expect("the crate reads it");
    let mut plain = special.clone();
    plain.set_encode_special_tokens(true);
    let is_unigram = json["model"]["type"] == "Unigram";
    let texts = texts(1500);
    for (asked, theirs) in [(false, &plain), (true, &special)] {
        // The crate's Unigram finds special tokens in a text although they are not looked for.
        let wanted = |text: &&str| asked || !is_unigram || !text.contains(['<', '[']);
        let texts: Vec<&str> = texts.iter().map(String::as_str).filter(wanted).collect();
        assert!(texts.len() > 100);
        let ids = ours.ids(&texts, asked).expect("texts encode");
        for ((text, encoded), ids) in texts.iter().zip(ours.encode(&texts, asked).expect("texts encode")).zip(ids) {
            let expected = theirs.encode(*text, false).expect("a text encodes");
            let characters = theirs.encode_char_offsets(*text, false).expect("a text encodes");
            let mut last = 0;
            let places = characters.get_offsets().iter().map(|&(_, end)| {
                last = end.max(last);
                last
            });
            let found = encoded.character_ends(text);
            assert!(places.eq(found), "{name}, special {asked}: {text:?} {:?} {encoded:?}", characters.get_offsets());
            assert_eq!(encoded.ids, expected.get_ids(), "{name}, special {asked}: {text:?}");
            assert_eq!(encoded.ids, ids);
            let mut last = 0;
            let places = expected.get_offsets().iter().map(|&(_, end)| {
                last = end.max(last);
                last
            });
            let found = encoded.ends.iter().map(|&end| text.ceil_char_boundary(end));
            assert!(places.eq(found), "{name}, special {asked}: {text:?} {:?} {encoded:?}", expected.get_offsets());
            assert_eq!(
                ours.decode(&encoded.ids, true).expect("ids decode"),
                theirs.decode(&encoded.ids, false).expect("ids decode")
            );
        }
    }
}

#[test]
fn bpe_of_characters_agrees() {
    for name in ["llama.model", "gemma.model", "bpe.model"] {
        let json = vocabulary(name);
        agrees(name, &json);
        let mut other = json.clone();
        other["normalizer"] = Value::Null;
        for scheme in ["first", "always", "never"] {
            other["pre_tokenizer"] =
                json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": scheme == "always"});
            agrees(name, &other);
        }
        other["model"]["fuse_unk"] = json!(false);
        agrees(name, &other);
    }
}

#[test]
fn unigram_agrees() {
    let json = vocabulary("unigram.model");
    let table = json["normalizer"]["normalizers"][0].clone();
    assert_eq!(table["type"], "Precompiled");
    agrees("as written", &json);
    let mut other = json.clone();
    other["added_tokens"].as_array_mut().unwrap().push(json!({
        "id": 76, "content": "<mask>", "single_word": false, "lstrip": true, "rstrip": true, "normalized": false, "special": true,
    }));
    other["added_tokens"].as_array_mut().unwrap().push(json!({
        "id": 77, "content": "ＢＣ text", "single_word": false, "lstrip": false, "rstrip": false, "normalized": true, "special": false,
    }));
    let metaspace = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true});
    for pre_tokenizer in
        [metaspace.clone(), json!({"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace]})]
    {
        for normalizer in [
            Value::Null,
            table.clone(),
            json!({"type": "Sequence", "normalizers": [
                table, {"type": "Strip", "strip_left": false, "strip_right": true},
                {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"},
            ]}),
            json!({"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"}]}),
        ] {
            other["pre_tokenizer"] = pre_tokenizer.clone();
            other["normalizer"] = normalizer;
            agrees(&format!("{} {}", other["normalizer"], other["pre_tokenizer"]), &other);
        }
    }
    // Every sum of scores is a tie.
    for piece in other["model"]["vocab"].as_array_mut().unwrap() {
        let length = piece[0].as_str().unwrap().chars().count() as f64;
        piece[1] = json!(-0.1 * length);
    }
    agrees("ties", &other);
}

#[test]
fn byte_level_bpe_of_a_normal_form_agrees() {
    let mut json = vocabulary("tekken.json");
    for form in ["NFC", "NFD", "NFKC", "NFKD"] {
        json["normalizer"] = json!({"type": form});
        agrees(form, &json);
    }
}

#[test]
fn word_piece_agrees() {
    let mut json = vocabulary("vocab.txt");
    agrees("as written", &json);
    let vocabulary = json["model"]["vocab"].as_object_mut().unwrap();
    for token in [
        "Où",
        "##ù",
        "##\u{301}",
        "\u{301}",
        "漢",
        "字",
        "##字",
        "ﬁ",
        "ｂ",
        "각",
        "##ᄀ",
        "токен",
        "##ы",
        "é",
        "##lèves",
    ] {
        let id = vocabulary.len();
        vocabulary.insert(token.to_owned(), json!(id));
    }
    let id = vocabulary.len();
    json["added_tokens"].as_array_mut().unwrap().push(json!({
        "id": id, "content": "Où TEXT", "single_word": false, "lstrip": false, "rstrip": true, "normalized": true, "special": false,
    }));
    for strip in [Value::Null, json!(true), json!(false)] {
        for (clean, chinese, lowercase) in
            [(true, true, true), (true, true, false), (false, true, true), (true, false, true), (false, false, false)]
        {
            json["normalizer"] = json!({
                "type": "BertNormalizer", "clean_text": clean, "handle_chinese_chars": chinese, "strip_accents": strip,
                "lowercase": lowercase,
            });
            agrees(&json["normalizer"].to_string(), &json);
        }
    }
    json["normalizer"] = json!({"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"}]});
    json["model"]["max_input_chars_per_word"] = json!(5);
    agrees("short words of another normal form", &json);
    json["normalizer"] = Value::Null;
    json["model"]["continuing_subword_prefix"] = json!("");
    agrees("without a prefix", &json);
}
