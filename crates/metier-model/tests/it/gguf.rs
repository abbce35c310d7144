//! GGUF files of every architecture against `fixtures/reference/gguf_architectures.py`: what is written is what llama.cpp's converter
//! writes, and what the converter wrote gives the logits of transformers.

use base64::Engine;
use metier_compute::{Tape, Tensor, block};
use metier_model::arch::weight_shapes;
use metier_model::checkpoint::{Checkpoint, GgufPlan, Mixture};
use metier_model::decode::Session;
use metier_model::{Config, Decoder};
use metier_testkit::{Scratch, assert_close, golden, hashed, scratch};
use metier_tokenizer::scheme::{ByteLevelBpe, TokenKind};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A header: bytes of each key's value with its type, and dimensions, type and offset of each tensor.
pub struct Header {
    pub keys: BTreeMap<String, Vec<u8>>,
    pub tensors: BTreeMap<String, (Vec<u64>, u32, usize)>,
    pub start: usize,
}

/// Reads a header as the format's description has it, without a check: only for files that a test trusts.
pub fn header(bytes: &[u8]) -> Header {
    let mut at = 8;
    let mut whole = |size: usize| {
        let mut number = [0; 8];
        number[..size].copy_from_slice(&bytes[at..at + size]);
        at += size;
        (u64::from_le_bytes(number) as usize, at)
    };
    let (tensors, _) = whole(8);
    let (keys, mut at) = whole(8);
    let number = |at: &mut usize, size: usize| {
        let mut number = [0; 8];
        number[..size].copy_from_slice(&bytes[*at..*at + size]);
        *at += size;
        u64::from_le_bytes(number) as usize
    };
    let text = |at: &mut usize| {
        let length = number(at, 8);
        *at += length;
        String::from_utf8(bytes[*at - length..*at].to_vec()).unwrap()
    };
    let size_of = |kind: usize| [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8][kind];
    let mut found = Header { keys: BTreeMap::new(), tensors: BTreeMap::new(), start: 0 };
    for _ in 0..keys {
        let key = text(&mut at);
        let from = at;
        match number(&mut at, 4) {
            8 => {
                text(&mut at);
            }
            9 => {
                let kind = number(&mut at, 4);
                for _ in 0..number(&mut at, 8) {
                    if kind == 8 {
                        text(&mut at);
                    } else {
                        at += size_of(kind);
                    }
                }
            }
            kind => at += size_of(kind),
        }
        found.keys.insert(key, bytes[from..at].to_vec());
    }
    for _ in 0..tensors {
        let name = text(&mut at);
        let dimensions = (0..number(&mut at, 4)).map(|_| number(&mut at, 8) as u64).collect();
        let kind = number(&mut at, 4) as u32;
        found.tensors.insert(name, (dimensions, kind, number(&mut at, 8)));
    }
    found.start = at.next_multiple_of(32);
    found
}

/// The numbers that the script gives a tensor.
fn values(name: &str, shape: &[usize]) -> Vec<f32> {
    let change = |even: f64| match shape.len() {
        _ if name.strip_suffix(".bias").is_some() => even / 4.0,
        1 => 1.0 + even / 4.0,
        _ => even * 0.375,
    };
    hashed::even(name).take(shape.iter().product()).map(|even| change(even) as f32).collect()
}

/// A Hugging Face folder with these weights and the script's vocabulary.
pub fn folder(config: &Value) -> Scratch {
    folder_in(config, Dtype::F32)
}

/// The same with weights of another type.
fn folder_in(config: &Value, dtype: Dtype) -> Scratch {
    let block = block::of_name(&dtype.to_string()).unwrap();
    let folder = scratch("model");
    let parsed = Config::from_json(config).unwrap_or_else(|error| panic!("{config}: {error}"));
    let weights: Vec<(String, Vec<usize>, Vec<u8>)> = weight_shapes(&parsed)
        .into_iter()
        .map(|weight| {
            let values = values(&weight.name, &weight.stored());
            (weight.name.clone(), weight.stored(), block::quantize(block, &values).unwrap())
        })
        .collect();
    let views = weights
        .iter()
        .map(|(name, shape, bytes)| (name.as_str(), TensorView::new(dtype, shape.clone(), bytes).unwrap()));
    safetensors::serialize_to_file(views, None, &folder.path().join("model.safetensors")).unwrap();
    let mut tokens = vec!["<|endoftext|>".to_owned(), "ab".to_owned()];
    tokens.extend((b'Y'..).take(51).map(|byte| char::from_u32(u32::from(byte)).unwrap().to_string()));
    let mut kinds = vec![TokenKind::Normal; tokens.len()];
    kinds[0] = TokenKind::Control;
    let vocabulary = ByteLevelBpe { tokens, kinds, merges: vec!["a b".to_owned()], pre: "gpt-2".to_owned() };
    folder.file("tokenizer.json", vocabulary.to_json().unwrap());
    folder.file("tokenizer_config.json", json!({ "eos_token": "<|endoftext|>" }).to_string());
    folder.file("config.json", config.to_string());
    folder
}

fn export(checkpoint: &Checkpoint, path: &Path, mixture: Mixture) {
    let plan = GgufPlan::new(checkpoint, mixture).unwrap();
    plan.write(path, |name| Ok(checkpoint.tensor(name)?.1)).unwrap();
    assert_eq!(fs::metadata(path).unwrap().len(), plan.bytes());
}

fn logits(decoder: &Decoder, ids: &[u32]) -> Vec<f32> {
    let positions: Vec<u32> = (0..ids.len() as u32).collect();
    let mut tape = Tape::inference(&decoder.parameters);
    let hidden = decoder.hidden(&mut tape, ids, &positions, &[0..ids.len()]).unwrap();
    decoder.logits(tape.value(hidden).unwrap()).unwrap().data().to_vec()
}

struct Case {
    name: String,
    config: Value,
    header: Vec<u8>,
    sha256: String,
    ids: Vec<u32>,
    logits: Vec<f32>,
}

impl Case {
    fn check(&self, what: &str, path: &Path) {
        let checkpoint = Checkpoint::open(path).unwrap_or_else(|error| panic!("{}, {what}: {error}", self.name));
        for (how, decoder) in [
            ("numbers", Decoder::from_checkpoint(&checkpoint)),
            ("as stored", Decoder::from_checkpoint_as_stored(&checkpoint)),
        ] {
            let decoder = decoder.unwrap_or_else(|error| panic!("{}, {what}: {error}", self.name));
            let got = logits(&decoder, &self.ids);
            let vocabulary = decoder.config().vocabulary_size;
            assert_eq!(got.len(), self.logits.len());
            for (row, (got, want)) in got.chunks(vocabulary).zip(self.logits.chunks(vocabulary)).enumerate() {
                let largest = want.iter().fold(0.0_f32, |largest, logit| largest.max(logit.abs()));
                let what = format!("{}, {what}, {how}, row {row}", self.name);
                assert_close(&what, got, want, f64::from(1e-4 * largest), 0.0);
            }
        }
    }
}

fn cases() -> Vec<Case> {
    let golden = golden::read("gguf_architectures.json");
    let case = |(name, case): (&String, &Value)| Case {
        name: name.clone(),
        config: case["config"].clone(),
        header: base64::engine::general_purpose::STANDARD.decode(case["header"].as_str().unwrap()).unwrap(),
        sha256: case["sha256"].as_str().unwrap().to_owned(),
        ids: golden::ids(&case["ids"]),
        logits: golden::numbers(&case["logits"]),
    };
    golden["cases"].as_object().unwrap().iter().map(case).collect()
}

/// The converter's file: its header, and the bytes that were written here for each of its tensors.
fn converted(case: &Case, ours: &[u8]) -> Vec<u8> {
    let (own, theirs) = (header(ours), header(&case.header));
    assert_eq!(theirs.start, case.header.len(), "{}", case.name);
    let names = |header: &Header| header.tensors.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&own), names(&theirs), "{}", case.name);
    let mut bytes = case.header.clone();
    let mut order: Vec<_> = theirs.tensors.iter().collect();
    order.sort_by_key(|(_, (.., offset))| *offset);
    for (name, (dimensions, kind, offset)) in order {
        let (own_dimensions, own_kind, own_offset) = &own.tensors[name];
        assert_eq!((own_dimensions, own_kind), (dimensions, kind), "{}: {name}", case.name);
        bytes.resize(theirs.start + offset, 0);
        let length = 4 * dimensions.iter().product::<u64>() as usize;
        bytes.extend(&ours[own.start + own_offset..][..length]);
    }
    bytes.resize(bytes.len().next_multiple_of(32), 0);
    bytes
}

#[test]
fn what_is_written_is_what_the_converter_of_llama_cpp_writes_and_both_give_the_logits_of_transformers() {
    for case in cases() {
        let folder = folder(&case.config);
        let checkpoint = Checkpoint::open(folder.path()).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        let path = folder.path().join("ours.gguf");
        export(&checkpoint, &path, Mixture::F32);
        let ours = fs::read(&path).unwrap();
        let theirs = converted(&case, &ours);
        let (own, other) = (header(&ours), header(&case.header));
        for (key, value) in &other.keys {
            // Phi 3's says that of models whose positions are not stretched too.
            let said_without_need = key == "phi3.rope.scaling.original_context_length" && case.name != "phi3, longrope";
            if ["general.name", "general.size_label"].contains(&key.as_str()) || said_without_need {
                continue;
            }
            assert_eq!(own.keys.get(key), Some(value), "{}: {key}", case.name);
        }
        let hash = hexadecimal(&Sha256::digest(&theirs));
        assert_eq!(hash, case.sha256, "{}", case.name);
        case.check("written here", &path);
        case.check("written by the converter", &folder.file("theirs.gguf", &theirs));
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digit = |four: u8| char::from_digit(u32::from(four), 16).unwrap();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

fn path_of(folder: &Scratch) -> PathBuf {
    folder.path().join("model.gguf")
}

#[test]
fn a_written_file_opens_as_the_same_weights() {
    for case in cases() {
        let folder = folder(&case.config);
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        export(&checkpoint, &path_of(&folder), Mixture::F32);
        let back = Checkpoint::open(path_of(&folder)).unwrap();
        for name in checkpoint.names() {
            let (shape, values) = checkpoint.tensor(&name).unwrap();
            let (shape_back, values_back) = back.tensor(&name).unwrap();
            assert_eq!(shape_back, shape, "{}: {name}", case.name);
            // Where 1 is added, the last bits are lost.
            assert_close(&format!("{}: {name}", case.name), &values_back, &values, 2e-7, 0.0);
        }
        assert_eq!(back.tokenizer.fingerprint(), checkpoint.tokenizer.fingerprint());
        assert_eq!(back.tokenizer.end_of_text(), checkpoint.tokenizer.end_of_text());
    }
}

#[test]
fn quantized_files_have_the_types_and_the_bytes_of_llama_cpps_quantizer() {
    let mixtures = [
        ("F16", Mixture::F16),
        ("BF16", Mixture::BF16),
        ("Q4_0", Mixture::Q4_0),
        ("Q4_1", Mixture::Q4_1),
        ("Q4_K", Mixture::Q4K),
        ("Q5_0", Mixture::Q5_0),
        ("Q5_1", Mixture::Q5_1),
        ("Q6_K", Mixture::Q6K),
        ("Q8_0", Mixture::Q8_0),
    ];
    let golden = golden::read("gguf_quantized.json");
    for (name, case) in golden["cases"].as_object().unwrap() {
        let folder = folder(&case["config"]);
        let checkpoint = Checkpoint::open(folder.path()).unwrap();
        for (kind, mixture) in mixtures {
            export(&checkpoint, &path_of(&folder), mixture);
            let bytes = fs::read(path_of(&folder)).unwrap();
            let Header { tensors, start, .. } = header(&bytes);
            let types = case["files"][kind]["types"].as_object().unwrap();
            let mut hash = Sha256::new();
            assert_eq!(tensors.len(), types.len(), "{name}, {kind}");
            for (tensor, (dimensions, number, offset)) in tensors {
                let block = block::of_gguf_type(number).unwrap();
                assert_eq!(block.name(), types[&tensor], "{name}, {kind}: {tensor}");
                let values = dimensions.iter().product::<u64>() as usize;
                hash.update(&bytes[start + offset..][..block::bytes_for(block, values).unwrap()]);
            }
            let hash = hexadecimal(&hash.finalize());
            assert_eq!(hash, case["files"][kind]["sha256"], "{name}, {kind}");
        }
    }
}

#[test]
fn weights_that_are_rounded_a_second_time_are_told_of() {
    let golden = golden::read("gguf_quantized.json");
    let (_, case) = golden["cases"].as_object().unwrap().iter().next().unwrap();
    let folder = folder(&case["config"]);
    let whole = Checkpoint::open(folder.path()).unwrap();
    assert_eq!(whole.rounded_to(), None);
    export(&whole, &path_of(&folder), Mixture::Q8_0);
    let rounded = Checkpoint::open(path_of(&folder)).unwrap();
    assert_eq!(rounded.rounded_to(), Some("Q8_0"));
    let told = |checkpoint: &Checkpoint, mixture| {
        let notes = GgufPlan::new(checkpoint, mixture).unwrap().notes;
        notes.iter().any(|note| note.contains("in Q8_0 and are rounded once more to"))
    };
    assert!(told(&rounded, Mixture::Q4_0) && told(&rounded, Mixture::Q4K));
    assert!(!told(&whole, Mixture::Q4_0) && !told(&rounded, Mixture::Q8_0) && !told(&rounded, Mixture::F16));
}

/// Weights that stay in the mapped file give what their numbers give, to the bit: a text in one pass, and token by token.
#[test]
fn weights_of_a_folder_answer_from_where_they_lie() {
    for case in cases() {
        for dtype in [Dtype::BF16, Dtype::F16, Dtype::F32] {
            let folder = folder_in(&case.config, dtype);
            let checkpoint = Checkpoint::open(folder.path()).unwrap();
            let exact = Decoder::from_checkpoint(&checkpoint).unwrap();
            let stored = Decoder::from_checkpoint_as_stored(&checkpoint).unwrap();
            let same = logits(&exact, &case.ids) == logits(&stored, &case.ids);
            assert!(same, "{} {dtype:?}", case.name);
            let (mut slow, mut fast) = (Session::new(&exact), Session::new(&stored));
            for id in &case.ids {
                let same = slow.feed(&[*id]).unwrap() == fast.feed(&[*id]).unwrap();
                assert!(same, "{} {dtype:?}, one by one", case.name);
            }
            let blocks = |tensor: &Tensor| matches!(tensor.dtype(), metier_compute::Dtype::Blocks(_));
            assert!(stored.parameters.iter().any(|(_, _, tensor, _)| blocks(tensor)), "{} {dtype:?}", case.name);
        }
    }
}
