use super::*;
use metier_testkit::{Scratch, fixture, scratch};
use proptest::prelude::*;
use serde_json::json;
use std::fs;

fn tiny() -> Checkpoint {
    Checkpoint::open(fixture("models/tiny-llama.gguf")).unwrap()
}

type Tensors = Vec<(String, Vec<usize>, Vec<f32>)>;

fn tensors_of(checkpoint: &Checkpoint) -> Tensors {
    let names = checkpoint.names();
    let read = |name: &String| {
        let (shape, values) = checkpoint.tensor(name).unwrap();
        (name.clone(), shape, values)
    };
    names.iter().map(read).collect()
}

fn written(like: &Checkpoint, tensors: &Tensors, dtype: Dtype) -> Scratch {
    let folder = scratch("model");
    let borrowed = tensors.iter().map(|(name, shape, values)| (name.as_str(), shape.as_slice(), values.as_slice()));
    write_folder(folder.path(), like, borrowed, dtype).unwrap();
    folder
}

fn refusal(path: &Path) -> String {
    Checkpoint::open(path).err().expect("the model opened").to_string()
}

#[test]
fn a_gguf_file_shows_hugging_face_names_shapes_and_words() {
    let checkpoint = tiny();
    let config = &checkpoint.config;
    let hidden = config["hidden_size"].as_u64().unwrap() as usize;
    let vocabulary = checkpoint.tokenizer.vocabulary_size();
    assert_eq!(config["architectures"], json!(["LlamaForCausalLM"]));
    assert_eq!(config["vocab_size"], json!(vocabulary));
    assert_eq!(config["rms_norm_eps"], json!(1e-5));
    assert_eq!(config["tie_word_embeddings"], json!(true));
    assert_eq!(checkpoint.shape("model.embed_tokens.weight").unwrap(), [vocabulary, hidden]);
    let layers = config["num_hidden_layers"].as_u64().unwrap() as usize;
    assert_eq!(checkpoint.names().len(), 9 * layers + 2);
    assert!(checkpoint.chat_template.as_deref().unwrap().contains("<|im_start|>"));
    let tokens = &checkpoint.special_tokens;
    assert_eq!(checkpoint.tokenizer.bytes_of(tokens.ends[0]).unwrap(), b"<|im_end|>");
    assert_eq!(checkpoint.tokenizer.begin_of_text(), None);
    let error = checkpoint.tensor("model.layers.0.self_attn.q_prol.weight").unwrap_err().to_string();
    assert!(error.contains("did you mean `model.layers.0.self_attn.q_proj.weight`?"), "{error}");
}

#[test]
fn a_written_folder_opens_as_the_same_model() {
    let checkpoint = tiny();
    let tensors = tensors_of(&checkpoint);
    let folder = written(&checkpoint, &tensors, Dtype::F32);
    let back = Checkpoint::open(folder.path()).unwrap();
    assert_eq!(tensors_of(&back), tensors);
    assert_eq!(back.config, checkpoint.config);
    assert_eq!(back.chat_template, checkpoint.chat_template);
    assert_eq!(back.special_tokens, checkpoint.special_tokens);
    assert_eq!(back.tokenizer.fingerprint(), checkpoint.tokenizer.fingerprint());
    assert_eq!(back.tokenizer.end_of_text(), checkpoint.tokenizer.end_of_text());
    assert_eq!(back.tokenizer.begin_of_text(), checkpoint.tokenizer.begin_of_text());
    let texts = ["The port 8080, naïve 日本 🎈", "<|im_start|>user\nHi<|im_end|>\n", ""];
    for special in [false, true] {
        let ids = checkpoint.tokenizer.encode(&texts, special).unwrap();
        assert_eq!(back.tokenizer.encode(&texts, special).unwrap(), ids);
    }
    let again = written(&back, &tensors, Dtype::F32);
    for file in fs::read_dir(folder.path()).unwrap() {
        let name = file.unwrap().file_name();
        assert_eq!(
            fs::read(folder.path().join(&name)).unwrap(),
            fs::read(again.path().join(&name)).unwrap(),
            "{name:?}"
        );
    }
}

#[test]
fn sixteen_bits_round_and_a_head_of_its_own_unties() {
    let checkpoint = tiny();
    let mut tensors = tensors_of(&checkpoint);
    let (_, shape, values) = tensors[0].clone();
    assert_eq!(tensors[0].0, "model.embed_tokens.weight");
    tensors.push(("lm_head.weight".to_owned(), shape, values));
    for (dtype, bits) in [(Dtype::BF16, 8), (Dtype::F16, 11)] {
        let folder = written(&checkpoint, &tensors, dtype);
        let back = Checkpoint::open(folder.path()).unwrap();
        assert_eq!(back.config["tie_word_embeddings"], json!(false));
        assert_eq!(back.config["torch_dtype"], json!(dtype.torch_name()));
        for (name, _, values) in &tensors {
            let (_, rounded) = back.tensor(name).unwrap();
            metier_testkit::assert_close(name, &rounded, values, 1e-7, 0.5_f64.powi(bits));
        }
    }
}

#[test]
fn shards_behind_an_index_are_one_model() {
    let checkpoint = tiny();
    let tensors = tensors_of(&checkpoint);
    let (first, second) = tensors.split_at(5);
    let folder = written(&checkpoint, &second.to_vec(), Dtype::F32);
    let other = written(&checkpoint, &first.to_vec(), Dtype::F32);
    let names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    fs::rename(folder.path().join("model.safetensors"), folder.path().join(names[1])).unwrap();
    fs::rename(other.path().join("model.safetensors"), folder.path().join(names[0])).unwrap();
    let map: serde_json::Map<String, Value> = tensors
        .iter()
        .enumerate()
        .map(|(place, (name, _, _))| (name.clone(), json!(names[usize::from(place >= 5)])))
        .collect();
    let index = folder.path().join("model.safetensors.index.json");
    fs::write(&index, json!({ "weight_map": map }).to_string()).unwrap();
    assert_eq!(tensors_of(&Checkpoint::open(folder.path()).unwrap()), tensors);

    let mut wrong = map.clone();
    wrong["model.norm.weight"] = json!(names[0]);
    fs::write(&index, json!({ "weight_map": wrong }).to_string()).unwrap();
    let error = refusal(folder.path());
    assert!(error.contains("index.json: model.norm.weight") && error.contains("does not hold it"), "{error}");
    wrong["model.norm.weight"] = json!("../model.safetensors");
    fs::write(&index, json!({ "weight_map": wrong }).to_string()).unwrap();
    assert!(refusal(folder.path()).contains("in the same folder"));
    wrong["model.norm.weight"] = json!("model-3.safetensors");
    fs::write(&index, json!({ "weight_map": wrong }).to_string()).unwrap();
    assert!(refusal(folder.path()).contains("model-3.safetensors: cannot open"));
}

#[test]
fn missing_and_misshapen_tensors_are_named_together() {
    let checkpoint = tiny();
    let mut tensors = tensors_of(&checkpoint);
    tensors.retain(|(name, _, _)| name != "model.norm.weight" && name != "model.layers.1.mlp.up_proj.weight");
    let (_, shape, _) = tensors.iter_mut().find(|(name, _, _)| name.ends_with("0.mlp.down_proj.weight")).unwrap();
    shape.reverse();
    let folder = written(&checkpoint, &tensors, Dtype::F32);
    let error = Checkpoint::open(folder.path()).err().unwrap();
    assert_eq!(error.faults.len(), 3, "{error}");
    assert_eq!(error.blame, metier_core::Blame::User);
    let text = error.to_string();
    for part in [
        "model.norm.weight: the tensor is missing",
        "1.mlp.up_proj.weight: the tensor is missing",
        "0.mlp.down_proj.weight: the tensor has shape",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[test]
fn a_tokenizer_of_another_model_is_refused() {
    let checkpoint = tiny();
    let folder = written(&checkpoint, &tensors_of(&checkpoint), Dtype::F32);
    let path = folder.path().join("tokenizer.json");
    let mut json: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let size = checkpoint.tokenizer.vocabulary_size();
    json["model"]["vocab"]["more"] = json!(size);
    fs::write(&path, json.to_string()).unwrap();
    let error = refusal(folder.path());
    assert!(
        error.contains(&format!("the tokenizer has {} ids", size + 1)) && error.contains(&format!("only {size} rows")),
        "{error}"
    );
    fs::write(&path, "{\"model\": 3").unwrap();
    assert!(refusal(folder.path()).contains("tokenizer.json:1:"));
    fs::remove_file(&path).unwrap();
    let error = refusal(folder.path());
    assert!(error.contains("none of tokenizer.json, tokenizer.model, tekken.json is here"), "{error}");
}

/// A SentencePiece BPE of these pieces.
fn sentence_piece_file(pieces: &[(&str, f32, u8)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (token, score, kind) in pieces {
        let mut piece = vec![0x0a, token.len() as u8];
        piece.extend(token.as_bytes());
        piece.push(0x15);
        piece.extend(score.to_le_bytes());
        piece.extend([0x18, *kind]);
        out.extend([0x0a, piece.len() as u8]);
        out.extend(piece);
    }
    // The trainer's settings with the type of the model, and the normalizer's, which keeps all spaces.
    out.extend([0x12, 2, 0x18, 2, 0x1a, 2, 0x20, 0]);
    out
}

#[test]
fn a_folder_with_another_vocabulary_opens() {
    let checkpoint = tiny();
    let folder = written(&checkpoint, &tensors_of(&checkpoint), Dtype::F32);
    fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
    let (normal, unknown, control) = (1, 2, 3);
    let pieces = [
        ("<unk>", 0.0, unknown),
        ("<s>", 0.0, control),
        ("</s>", 0.0, control),
        ("▁a", -1.0, normal),
        ("a", -2.0, normal),
        ("b", -3.0, normal),
        ("▁", -4.0, normal),
    ];
    fs::write(folder.path().join("tokenizer.model"), sentence_piece_file(&pieces)).unwrap();
    let settings = folder.path().join("tokenizer_config.json");
    let with = |id: &str| {
        json!({ "bos_token": "<s>", "eos_token": { "content": "</s>" },
            "added_tokens_decoder": { "0": { "content": "<unk>", "special": true }, (id): { "content": "<end>", "special": true } } })
    };
    fs::write(&settings, with("7").to_string()).unwrap();
    let opened = Checkpoint::open(folder.path()).unwrap();
    assert_eq!(opened.tokenizer.begin_of_text(), Some(1));
    assert_eq!(opened.tokenizer.end_of_text(), [2]);
    let encoded = opened.tokenizer.encode(&["ab  a", "a<end>"], true).unwrap();
    assert_eq!((&encoded[0].ids[..], &encoded[0].ends[..]), (&[3, 5, 6, 3][..], &[1, 2, 3, 5][..]));
    assert_eq!(encoded[1].ids, [3, 7]);
    assert!(opened.tokenizer_json.contains("<end>"));
    let mut settings_with_none = with("7");
    settings_with_none["add_bos_token"] = json!(false);
    fs::write(&settings, settings_with_none.to_string()).unwrap();
    assert_eq!(Checkpoint::open(folder.path()).unwrap().tokenizer.begin_of_text(), None);
    fs::write(&settings, with("9").to_string()).unwrap();
    let error = refusal(folder.path());
    assert!(error.contains("tokenizer_config.json: added_tokens_decoder.9: `<end>` has the id 7"), "{error}");

    fs::remove_file(folder.path().join("tokenizer.model")).unwrap();
    fs::remove_file(&settings).unwrap();
    let token = |rank: usize, bytes: &str| json!({ "rank": rank, "token_bytes": bytes, "token_str": null });
    let tekken = json!({
        "config": { "pattern": "\\w+|\\W", "default_vocab_size": 6, "default_num_special_tokens": 3 },
        "vocab": [token(0, "YQ=="), token(1, "Yg=="), token(2, "YWI=")],
        "special_tokens": [],
    });
    fs::write(folder.path().join("tekken.json"), tekken.to_string()).unwrap();
    let opened = Checkpoint::open(folder.path()).unwrap();
    assert_eq!(opened.tokenizer.encode(&["abb"], false).unwrap()[0].ids, [5, 4]);
}

#[test]
fn broken_folders_say_what_is_wrong() {
    let checkpoint = tiny();
    let folder = written(&checkpoint, &tensors_of(&checkpoint), Dtype::F32);
    let config = folder.path().join("config.json");
    let whole = fs::read_to_string(&config).unwrap();
    fs::write(&config, whole.replace("\"hidden_size\": ", "\"hidden_size\": -")).unwrap();
    assert!(refusal(folder.path()).contains("config.json: hidden_size: -"));
    fs::write(&config, "{\n \"a\": }").unwrap();
    assert!(refusal(folder.path()).contains("config.json:2:"));
    fs::remove_file(&config).unwrap();
    assert!(refusal(folder.path()).contains("this folder is no Hugging Face model"));
    fs::write(&config, whole).unwrap();
    fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    assert!(refusal(folder.path()).contains("there are no weights"));
    assert!(refusal(Path::new("/no/such/model")).contains("cannot open the model"));
    let text = folder.file("notes.txt", "these are notes");
    assert!(refusal(&text).contains("this is no GGUF file"));
}

#[test]
fn a_cut_gguf_file_is_refused_at_every_length() {
    let whole = fs::read(fixture("models/tiny-llama.gguf")).unwrap();
    let folder = scratch("cut");
    for length in (0..whole.len()).step_by(64) {
        let path = folder.file("cut.gguf", &whole[..length]);
        let error = refusal(&path);
        assert!(error.contains("cut.gguf"), "{length}: {error}");
    }
    let path = folder.file("cut.gguf", &whole[..whole.len() - 64]);
    let error = refusal(&path);
    assert!(error.contains(".weight: the tensor needs bytes"), "{error}");
    assert!(error.contains(&format!("and the file has {}: it was cut", whole.len() - 64)), "{error}");
}

/// A whole GGUF file with one more key, whose bytes keep the alignment of the tensors.
fn with_key(whole: &[u8], key: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    let mut entry = Vec::new();
    let text = |entry: &mut Vec<u8>, text: &[u8]| {
        entry.extend((text.len() as u64).to_le_bytes());
        entry.extend(text);
    };
    text(&mut entry, key.as_bytes());
    entry.extend(kind.to_le_bytes());
    entry.extend(value);
    // The second key, a string, fills up to the alignment.
    text(&mut entry, b"x");
    entry.extend(8_u32.to_le_bytes());
    let fill = (entry.len() + 8).next_multiple_of(32) - entry.len() - 8;
    text(&mut entry, &vec![b'.'; fill]);
    let mut bytes = whole[..24].to_vec();
    let keys = u64::from_le_bytes(whole[16..24].try_into().unwrap());
    bytes[16..24].copy_from_slice(&(keys + 2).to_le_bytes());
    bytes.extend(entry);
    bytes.extend(&whole[24..]);
    bytes
}

#[test]
fn gguf_keys_that_are_not_followed_are_refused() {
    let whole = fs::read(fixture("models/tiny-llama.gguf")).unwrap();
    let folder = scratch("keys");
    let (float, boolean, string) = (6, 7, 8);
    let one = |key: &str, kind: u32, value: &[u8]| folder.file("one.gguf", with_key(&whole, key, kind, value));
    let scaling = [&4_u64.to_le_bytes()[..], b"warp"].concat();
    for (key, kind, value) in [
        ("llama.something_new", float, &1_f32.to_le_bytes()[..]),
        ("llama.logit_scale", float, &2_f32.to_le_bytes()),
        ("llama.rope.scaling.type", string, &scaling),
        ("llama.attention.causal", boolean, &[0]),
        ("tokenizer.ggml.add_eos_token", boolean, &[1]),
    ] {
        let said = refusal(&one(key, kind, value));
        assert!(said.contains(&format!("one.gguf: {key}")), "{said}");
    }
    for (key, kind, value) in [
        ("llama.logit_scale", float, &1_f32.to_le_bytes()[..]),
        ("llama.attention.causal", boolean, &[1]),
        ("tokenizer.ggml.add_eos_token", boolean, &[0]),
        ("general.anything", float, &1_f32.to_le_bytes()),
    ] {
        Checkpoint::open(one(key, kind, value)).unwrap();
    }
}

#[test]
fn a_cut_safetensors_file_is_refused_at_every_length() {
    let checkpoint = tiny();
    let folder = written(&checkpoint, &tensors_of(&checkpoint), Dtype::F32);
    let path = folder.path().join("model.safetensors");
    let whole = fs::read(&path).unwrap();
    for length in (0..4096).step_by(64).chain([whole.len() / 2, whole.len() - 1]) {
        let error = safetensors::read(&path, &whole[..length], 0).err().unwrap().to_string();
        assert!(error.contains("model.safetensors"), "{length}: {error}");
    }
    fs::write(&path, &whole[..whole.len() - 4]).unwrap();
    let error = refusal(folder.path());
    assert!(error.contains(".weight: the tensor needs bytes") && error.contains("it was cut"), "{error}");
}

/// A safetensors file with this header and as many bytes after it.
fn with_header(header: &Value, data: usize) -> Vec<u8> {
    let text = header.to_string();
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

#[test]
fn hostile_safetensors_headers_are_refused() {
    let path = Path::new("x.safetensors");
    let far = u64::MAX;
    for (header, said) in [
        (json!([]), "no JSON object"),
        (json!({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, far]}}), "beyond any file"),
        (json!({"a": {"dtype": "F32", "shape": [far, far], "data_offsets": [0, 4]}}), "more than any file has"),
        (json!({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}), "needs 8 bytes, and 4 are given"),
        (json!({"a": {"dtype": "F32", "shape": [1], "data_offsets": [8, 4]}}), "before they begin"),
        (json!({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}), "no `shape`"),
        (json!({"a": {"shape": [1], "data_offsets": [0, 4]}}), "no `dtype`"),
        (json!({"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}), "it was cut"),
        (
            json!({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}),
            "overlap",
        ),
    ] {
        let error = safetensors::read(path, &with_header(&header, 16), 0).err().expect(said).to_string();
        assert!(error.contains(said), "{error}");
    }
    let endless = [&u64::MAX.to_le_bytes()[..], b"{}"].concat();
    assert!(safetensors::read(path, &endless, 0).err().unwrap().to_string().contains("at most 100000000"));
    let whole = json!({"__metadata__": {"format": "pt"}, "a": {"dtype": "I64", "shape": [1], "data_offsets": [0, 8]}});
    assert_eq!(safetensors::read(path, &with_header(&whole, 8), 0).unwrap().len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn changed_gguf_bytes_never_panic(changes in prop::collection::vec((0_usize..14_000, any::<u8>()), 1..12), cut in 0_usize..200_000) {
        let mut bytes = fs::read(fixture("models/tiny-llama.gguf")).unwrap();
        for (place, byte) in changes {
            bytes[place] = byte;
        }
        bytes.truncate(cut);
        let _ = count_tensors(Path::new("x.gguf"), &bytes);
    }

    #[test]
    fn any_gguf_bytes_never_panic(rest in prop::collection::vec(prop_oneof![3 => 0_u8..14, 1 => any::<u8>()], 0..400)) {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend(rest);
        let _ = count_tensors(Path::new("x.gguf"), &bytes);
    }

    #[test]
    fn any_safetensors_header_never_panics(
        kind in "F32|F16|I8|x",
        shape in prop::collection::vec(prop_oneof![0_u64..9, any::<u64>()], 0..4),
        offsets in prop::collection::vec(prop_oneof![0_u64..64, any::<u64>()], 0..4),
        rest in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let header = json!({"a": {"dtype": kind, "shape": shape, "data_offsets": offsets}});
        let _ = safetensors::read(Path::new("x"), &with_header(&header, 64), 0);
        let _ = safetensors::read(Path::new("x"), &rest, 0);
    }
}
