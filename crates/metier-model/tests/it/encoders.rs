//! Encoders as folders: written, read again, and their vectors.

use super::architectures::cases;
use metier_compute::Tape;
use metier_core::seam::Embed;
use metier_model::checkpoint::{Checkpoint, Dtype, SpecialTokens, convert_folder, write_new};
use metier_model::{Decoder, LocalModel};
use metier_testkit::{Scratch, assert_close, asset, golden, scratch};
use serde_json::{Value, json};
use std::path::Path;

/// A WordPiece of 53 tokens, with the template of BERT.
fn tokenizer() -> String {
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
    let letters = ('a'..='x').map(String::from);
    let inside = ('a'..='x').map(|letter| format!("##{letter}"));
    let tokens = special.into_iter().map(str::to_owned).chain(letters).chain(inside);
    let vocabulary: serde_json::Map<String, Value> = tokens.zip(0..).map(|(token, id)| (token, json!(id))).collect();
    let added = |(id, content): (usize, &str)| {
        json!({
            "id": id, "content": content, "special": true, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false
        })
    };
    let around = |name: &str, id: u32| json!({ "id": name, "ids": [id], "tokens": [name] });
    let special_token = |name: &str| json!({ "SpecialToken": { "id": name, "type_id": 0 } });
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": special.into_iter().enumerate().map(added).collect::<Vec<_>>(),
        "normalizer": {
            "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null,
            "lowercase": true
        },
        "pre_tokenizer": { "type": "BertPreTokenizer" },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [special_token("[CLS]"), { "Sequence": { "id": "A", "type_id": 0 } }, special_token("[SEP]")],
            "pair": [
                special_token("[CLS]"), { "Sequence": { "id": "A", "type_id": 0 } }, special_token("[SEP]"),
                { "Sequence": { "id": "B", "type_id": 1 } }, special_token("[SEP]")
            ],
            "special_tokens": { "[CLS]": around("[CLS]", 2), "[SEP]": around("[SEP]", 3) }
        },
        "decoder": { "type": "WordPiece", "prefix": "##", "cleanup": true },
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
            "vocab": vocabulary
        }
    })
    .to_string()
}

/// The tiny model of an architecture's golden as a folder, read and written once more.
fn folder(name: &str) -> Scratch {
    let case = cases().into_iter().find(|case| case.name == name).unwrap();
    let (folder, decoder) = (scratch(name), case.decoder());
    let tensors = decoder.tensors().unwrap();
    let tensors = tensors.iter().map(|(name, tensor)| (*name, tensor.shape(), tensor.data()));
    let tokens = SpecialTokens {
        padding: Some(0),
        unknown: Some(1),
        cls: Some(2),
        sep: Some(3),
        mask: Some(4),
        ..SpecialTokens::default()
    };
    write_new(folder.path(), case.config.clone(), tokenizer(), tokens, tensors).unwrap();
    // Published encoders have no such key: what begins their texts stands in tokenizer.json.
    let path = folder.path().join("tokenizer_config.json");
    let mut settings: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    settings.as_object_mut().unwrap().remove("add_bos_token");
    std::fs::write(&path, settings.to_string()).unwrap();
    let again = scratch(&format!("{name} again"));
    convert_folder(again.path(), &Checkpoint::open(folder.path()).unwrap(), Dtype::F32).unwrap();
    again
}

fn open(path: &Path) -> (Checkpoint, LocalModel) {
    let checkpoint = Checkpoint::open(path).unwrap();
    let decoder = Decoder::from_checkpoint(&checkpoint).unwrap();
    let model = LocalModel::new(decoder, checkpoint.tokenizer.clone()).unwrap();
    let model = model.with_pooling(checkpoint.pooling().unwrap());
    (checkpoint, model)
}

#[test]
fn a_written_encoder_is_read_with_its_head_and_the_tokens_around_its_texts() {
    for name in ["bert", "bert, untied", "roberta"] {
        let folder = folder(name);
        let (checkpoint, model) = open(folder.path());
        let tokenizer = &checkpoint.tokenizer;
        assert_eq!((tokenizer.begin_of_text(), tokenizer.separator()), (Some(2), Some(3)), "{name}");
        let tokens = &checkpoint.special_tokens;
        assert_eq!((tokens.cls, tokens.sep, tokens.mask), (Some(2), Some(3), Some(4)), "{name}");
        assert!(model.decoder().check_head().is_ok() && !model.decoder().is_causal());

        // `[CLS] a ##b ##c [SEP]`
        let ids = [2, 5, 30, 31, 3];
        let mut tape = Tape::inference(&model.decoder().parameters);
        let hidden = model.decoder().hidden(&mut tape, &ids, &[0, 1, 2, 3, 4], &[0..5]).unwrap();
        let hidden = tape.value(hidden).unwrap().data();
        let width = model.dimension();
        let sums: Vec<f64> = (0..width)
            .map(|column| hidden.iter().skip(column).step_by(width).map(|value| f64::from(*value)).sum())
            .collect();
        let length = sums.iter().map(|sum| sum * sum).sum::<f64>().sqrt();
        let want: Vec<f64> = sums.iter().map(|sum| sum / length).collect();
        let embedded = model.embed(&["ABC", "x"]).unwrap();
        assert_eq!((embedded[0].tokens, embedded[1].tokens), (5, 3), "{name}");
        assert_close(name, &embedded[0].vector, &want, 1e-6, 1e-5);

        let limit = model.longest_embedded();
        let text = model.embed(&[&"a ".repeat(limit)]).unwrap_err().to_string();
        for part in ["text 1", &format!("{} tokens", limit + 2), &limit.to_string(), "never cut silently"] {
            assert!(text.contains(part), "{text}");
        }
    }
}

#[test]
fn the_limit_of_a_sentence_transformer_is_kept() {
    let folder = folder("bert");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("modules.json", r#"[{"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"}]"#);
    write("sentence_bert_config.json", r#"{"max_seq_length": 6, "do_lower_case": false}"#);
    let (_, model) = open(folder.path());
    let fitting = model.embed(&["abcd"]).unwrap();
    assert_eq!(fitting[0].tokens, 6);
    // Without a module that scales it, the vector is the mean.
    assert!((fitting[0].vector.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() > 0.01);
    let text = model.embed(&["abcde"]).unwrap_err().to_string();
    assert!(text.contains("7 tokens") && text.contains("the 6") && text.contains("max_seq_length"), "{text}");
}

#[test]
fn all_minilm_makes_the_vectors_of_sentence_transformers_asset() {
    let Some(path) = asset("all-minilm") else { return };
    let (checkpoint, model) = open(&path);
    assert_eq!(model.pooling().to_string(), "mean of the last hidden states, length 1");
    assert_eq!(model.longest_embedded(), 256);
    let golden = golden::read("minilm.json");
    let cases = golden["cases"].as_array().unwrap();
    let texts: Vec<&str> = cases.iter().map(|case| case["text"].as_str().unwrap()).collect();
    let ids = checkpoint.tokenizer.ids(&texts, false).unwrap();
    let embedded = model.embed(&texts).unwrap();
    let mut worst = 0.0_f32;
    for ((case, ids), embedded) in cases.iter().zip(ids).zip(&embedded) {
        let ids: Vec<u32> = [vec![101], ids, vec![102]].concat();
        assert_eq!(ids, golden::ids(&case["ids"]), "{}", case["text"]);
        assert_eq!(embedded.tokens, ids.len());
        let want = golden::numbers(&case["vector"]);
        worst = embedded.vector.iter().zip(&want).fold(worst, |worst, (got, want)| worst.max((got - want).abs()));
    }
    eprintln!("vectors differ by at most {worst:.1e}");
    assert!(worst < 1e-5, "{worst}");
    // A pass for each text gives the same bits as one for all.
    for (text, embedded) in texts.iter().zip(&embedded) {
        assert_eq!(model.embed(&[text]).unwrap()[0].vector, embedded.vector);
    }
}
