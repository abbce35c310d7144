use super::*;
use crate::initialize::{Cw2v, Mean, Multivariate, Random, SubwordMean};
use metier_model::Decoder;
use metier_model::checkpoint::write_folder;
use metier_model::decode::Session;
use metier_testkit::{Scratch, assert_close, fixture, golden, scratch};
use metier_tokenizer::extend::{DropUnused, Extend, Given, LearnTokens, Transplant};
use metier_tokenizer::train::{Counted, Counting};
use std::borrow::Cow;
use std::fs;

const LINES: [&str; 3] = ["नमस्ते दुनिया, यह एक परीक्षा है", "दुनिया एक परीक्षा है", "यह दुनिया और यह परीक्षा"];

fn counted(json: &str, lines: &[&str]) -> Counted {
    let folder = scratch("words");
    let mut counting = Counting::start(LearnTokens::default().cut(json).unwrap(), folder.path(), 1 << 26).unwrap();
    counting.add(lines.iter().map(|line| Ok(Cow::Borrowed(*line)))).unwrap();
    counting.finish().unwrap()
}

fn extended(json: &str, tokens: usize) -> Extended {
    let words = counted(json, &LINES);
    let learn = LearnTokens { tokens, minimum_count: 1, ..LearnTokens::default() };
    learn.extend(Given { json, words: Some(&words), donor: None }).unwrap()
}

fn open() -> Checkpoint {
    Checkpoint::open(fixture("models/tiny-llama.gguf")).unwrap()
}

/// The same model with a head of its own, which is the embedding with every other column a little larger.
fn untied() -> (Scratch, Checkpoint) {
    let (folder, base) = (scratch("untied"), open());
    let mut tensors: Vec<(String, Vec<usize>, Vec<f32>)> = Vec::new();
    for name in base.names() {
        let (shape, values) = base.tensor(&name).unwrap();
        tensors.push((name, shape, values));
    }
    let (_, shape, mut head) = tensors.iter().find(|tensor| tensor.0 == "model.embed_tokens.weight").unwrap().clone();
    head.iter_mut().step_by(2).for_each(|x| *x *= 1.01);
    tensors.push(("lm_head.weight".to_owned(), shape, head));
    let tensors = tensors.iter().map(|(name, shape, values)| (&**name, &shape[..], &values[..]));
    write_folder(folder.path(), &base, tensors, Dtype::F32).unwrap();
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    (folder, checkpoint)
}

fn prompts() -> Vec<String> {
    let text = fs::read_to_string(fixture("corpora/general/austen-01.txt")).unwrap();
    let lines = text.lines().filter(|line| line.split(' ').count() > 6);
    lines.take(100).map(|line| line.split(' ').take(6).collect::<Vec<_>>().join(" ")).collect()
}

/// Greedy replies to prompts, and the logits of the last step of each.
fn replies(checkpoint: &Checkpoint, prompts: &[String]) -> (Vec<Vec<TokenId>>, Vec<Vec<f32>>) {
    let decoder = Decoder::from_checkpoint(checkpoint).unwrap();
    let reply = |prompt: &String| {
        let mut session = Session::new(&decoder);
        let mut next = checkpoint.tokenizer.encode(&[prompt], false).unwrap()[0].ids.clone();
        let (mut reply, mut logits) = (Vec::new(), Vec::new());
        for _ in 0..12 {
            logits = session.feed(&next).unwrap();
            let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let id = logits.iter().position(|logit| *logit >= most).unwrap() as TokenId;
            reply.push(id);
            next = vec![id];
        }
        (reply, logits)
    };
    prompts.iter().map(reply).unzip()
}

fn written(checkpoint: Checkpoint, extended: &Extended, initialize: &dyn Initialize, folder: &Path) -> Result<Report> {
    let ids = ids_for(extended, checkpoint.tokenizer.vocabulary_size());
    let tokenizer = HuggingFace::from_json(&extended.json).unwrap();
    let lines = tokenizer.encode(&LINES, false).unwrap().into_iter();
    let lines: Vec<Vec<TokenId>> = lines.map(|line| line.ids.iter().map(|id| ids[*id as usize]).collect()).collect();
    let lines = Lines::from(lines);
    let source = Source { initialize, lines: &lines, donor: None, seed: Seed::new(1), work: None };
    let dtype = checkpoint.dtype();
    write(checkpoint, extended, source, dtype, folder)
}

/// Greedy continuations of 100 old texts stay what they were, with one matrix and with two.
#[test]
fn a_model_with_new_tokens_answers_old_texts_as_before() {
    let prompts = prompts();
    assert_eq!(prompts.len(), 100);
    for tied in [true, false] {
        let (_folder, checkpoint) = if tied { (scratch("tied"), open()) } else { untied() };
        let path = checkpoint.path().to_path_buf();
        let old = checkpoint.tokenizer.vocabulary_size();
        let (before, logits) = replies(&checkpoint, &prompts);
        let extended = extended(&checkpoint.tokenizer_json, 20);
        let cw2v = Cw2v { rank: 8, passes: 2, batch: 64, threshold: 0.0, ..Cw2v::default() };
        let hull: [&dyn Initialize; 4] = [&Mean::default(), &SubwordMean::default(), &Multivariate::default(), &cw2v];
        for initialize in hull {
            let folder = scratch("extended");
            let report = written(Checkpoint::open(&path).unwrap(), &extended, initialize, folder.path()).unwrap();
            assert_eq!((report.tokens, report.rows), ([old, old + 20], old + 20));
            let after = Checkpoint::open(folder.path()).unwrap();
            assert_eq!(after.names().contains(&"lm_head.weight".to_owned()), !tied);
            assert_eq!(after.tokenizer.vocabulary_size(), old + 20);
            let (replies, new_logits) = replies(&after, &prompts);
            assert_eq!(replies, before, "a greedy reply changed");
            for (a, b) in logits.iter().flatten().zip(new_logits.iter().flat_map(|logits| &logits[..old])) {
                assert!((a - b).abs() <= 1e-4 * a.abs().max(1.0), "{a} became {b}");
            }
            let ids = &after.tokenizer.encode(&LINES, false).unwrap()[0].ids;
            assert!(ids.iter().any(|id| *id as usize >= old), "the new tokens are used");
        }
    }
}

/// A file of weights in the layout of safetensors.
fn safetensors(tensors: &[(String, Vec<usize>, Vec<f32>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut header = serde_json::Map::new();
    for (name, shape, values) in tensors {
        let from = bytes.len();
        // All numbers here are ones that bf16 has.
        for x in values {
            bytes.extend_from_slice(&x.to_le_bytes()[2..]);
        }
        header.insert(name.clone(), json!({ "dtype": "BF16", "shape": shape, "data_offsets": [from, bytes.len()] }));
    }
    let header = Value::Object(header).to_string();
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &bytes].concat()
}

/// A model of 16 bits in two files, behind an index.
fn sharded() -> (Scratch, Checkpoint) {
    let (folder, base) = (scratch("sharded"), open());
    metier_model::checkpoint::convert_folder(folder.path(), &base, Dtype::BF16).unwrap();
    let whole = Checkpoint::open(folder.path()).unwrap();
    let mut files = [Vec::new(), Vec::new()];
    let mut map = serde_json::Map::new();
    for (at, name) in whole.names().into_iter().enumerate() {
        let (shape, values) = whole.tensor(&name).unwrap();
        map.insert(name.clone(), json!(format!("model-{}.safetensors", at % 2)));
        files[at % 2].push((name, shape, values));
    }
    for (at, tensors) in files.iter().enumerate() {
        folder.file(format!("model-{at}.safetensors"), safetensors(tensors));
    }
    folder.file("model.safetensors.index.json", json!({ "weight_map": map }).to_string());
    fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    (folder, checkpoint)
}

/// A model of 16 bits stays one, whatever files it came in; what was added and dropped again leaves the bytes that were.
#[test]
fn dropping_what_was_added_gives_the_bytes_before() {
    let (folder, checkpoint) = sharded();
    assert_eq!(checkpoint.dtype(), Dtype::BF16);
    let plain = scratch("plain");
    metier_model::checkpoint::convert_folder(plain.path(), &checkpoint, Dtype::BF16).unwrap();
    let old = checkpoint.tokenizer.vocabulary_size() as TokenId;
    let json = checkpoint.tokenizer_json.clone();
    let larger = scratch("larger");
    written(checkpoint, &extended(&json, 20), &Mean::default(), larger.path()).unwrap();
    let middle = Checkpoint::open(larger.path()).unwrap();
    assert_eq!((middle.dtype(), middle.config["vocab_size"].as_u64()), (Dtype::BF16, Some(u64::from(old) + 20)));
    let back = Extended { json, tokens: (0..old).map(Origin::Kept).collect(), rarest: None };
    let smaller = scratch("smaller");
    let report = written(middle, &back, &Mean::default(), smaller.path()).unwrap();
    assert_eq!((report.tokens, report.rows), ([old as usize + 20, old as usize], old as usize));
    for name in ["model.safetensors", "tokenizer.json", "config.json", "generation_config.json"] {
        let read = |folder: &Scratch| fs::read(folder.path().join(name)).unwrap();
        assert!(read(&plain) == read(&smaller), "{name} is another one");
    }
    drop(folder);
}

/// A model without the tokens that a text does not use gives that text the same logits, but for those that are gone.
#[test]
fn a_model_without_unused_tokens_reads_the_rest_as_before() {
    let prompts: Vec<String> = prompts().into_iter().take(8).collect();
    let lines: Vec<&str> = prompts.iter().map(String::as_str).collect();
    let checkpoint = open();
    let words = counted(&checkpoint.tokenizer_json, &lines);
    let given = Given { json: &checkpoint.tokenizer_json, words: Some(&words), donor: None };
    let dropped = DropUnused::default().extend(given).unwrap();
    let old = checkpoint.tokenizer.vocabulary_size();
    assert!(dropped.tokens.len() < old - 50, "{} of {old}", dropped.tokens.len());
    let (folder, before) = (scratch("dropped"), open());
    let report = written(checkpoint, &dropped, &Mean::default(), folder.path()).unwrap();
    assert_eq!(report.rows, dropped.tokens.len());
    let after = Checkpoint::open(folder.path()).unwrap();
    let end = |checkpoint: &Checkpoint| {
        let ids = checkpoint.special_tokens.ends.iter();
        ids.map(|id| checkpoint.tokenizer.bytes_of(*id)).collect::<Vec<_>>()
    };
    assert_eq!(end(&after), end(&before));
    let first = |checkpoint: &Checkpoint, prompt: &str| {
        let decoder = Decoder::from_checkpoint(checkpoint).unwrap();
        Session::new(&decoder).feed(&checkpoint.tokenizer.encode(&[prompt], false).unwrap()[0].ids).unwrap()
    };
    for prompt in &prompts {
        let (all, some) = (first(&before, prompt), first(&after, prompt));
        for (logit, origin) in some.iter().zip(&dropped.tokens) {
            let Origin::Kept(id) = origin else { panic!("nothing is made") };
            let then = all[*id as usize];
            assert!((logit - then).abs() <= 1e-4 * then.abs().max(1.0), "{then} became {logit}");
        }
    }
}

#[test]
fn a_transplant_keeps_rows_and_roles_or_is_refused() {
    let checkpoint = open();
    let json = checkpoint.tokenizer_json.clone();
    let text_of = |id: &TokenId| String::from_utf8(checkpoint.tokenizer.bytes_of(*id).unwrap()).unwrap();
    let ends: Vec<String> = checkpoint.special_tokens.ends.iter().map(text_of).collect();
    // The donor has the same tokens and some more, and writes the ends of texts in another way.
    let renamed = (0..).zip(&ends).fold(json.clone(), |json, (at, end)| json.replace(end, &format!("<|stop {at}|>")));
    let donor = extended(&renamed, 10).json;
    let moved = |same: &[(&str, &str)]| {
        let same = same.iter().map(|(theirs, ours)| ((*theirs).to_owned(), (*ours).to_owned())).collect();
        Transplant { same }.extend(Given { json: &json, words: None, donor: Some(&donor) }).unwrap()
    };
    let folder = scratch("moved");
    let refused = written(open(), &moved(&[]), &SubwordMean::default(), folder.path()).unwrap_err().to_string();
    assert!(refused.contains(&format!("no token has the role of {:?}", ends[0])), "{refused}");
    let moved = moved(&[("<|stop 0|>", &ends[0])]);
    written(open(), &moved, &SubwordMean::default(), folder.path()).unwrap();
    let after = Checkpoint::open(folder.path()).unwrap();
    assert_eq!(after.tokenizer.bytes_of(after.special_tokens.ends[0]).unwrap(), b"<|stop 0|>");
    let (_, old) = open().tensor("model.embed_tokens.weight").unwrap();
    let (shape, new) = after.tensor("model.embed_tokens.weight").unwrap();
    let row = |values: &[f32], id: usize| values[id * shape[1]..][..shape[1]].to_vec();
    for (id, origin) in moved.tokens.iter().enumerate() {
        match origin {
            Origin::Kept(kept) => assert_eq!(row(&new, id), row(&old, *kept as usize)),
            Origin::Made(parts) => assert!(!parts.is_empty()),
        }
    }
}

#[test]
fn another_models_vocabulary_is_refused() {
    let folder = scratch("refused");
    let mut extended = extended(&open().tokenizer_json, 3);
    extended.tokens[0] = Origin::Kept(100_000);
    let refused = written(open(), &extended, &Random::default(), folder.path()).unwrap_err();
    assert!(refused.to_string().contains("it keeps the token 100000"), "{refused}");
}

/// The real model with tokens for Hindi against the logits that transformers computed of it without them.
#[test]
fn smollm2_with_tokens_for_hindi_reads_english_as_before() {
    let Some(path) = metier_testkit::asset("smollm2") else { return };
    let golden = golden::read(fixture("golden/smollm2_logits.json"));
    let cases = || golden["prompts"].as_array().unwrap().iter().take(8);
    let logits = |checkpoint: &Checkpoint| -> Vec<Vec<f32>> {
        let decoder = Decoder::from_checkpoint(checkpoint).unwrap();
        cases().map(|case| Session::new(&decoder).feed(&golden::ids(&case["ids"])).unwrap()).collect()
    };
    let base = Checkpoint::open(&path).unwrap();
    let old = base.tokenizer.vocabulary_size();
    let before = logits(&base);
    let extended = extended(&base.tokenizer_json, 12);
    let folder = scratch("smollm2");
    written(base, &extended, &SubwordMean::default(), folder.path()).unwrap();
    let after = Checkpoint::open(folder.path()).unwrap();
    let indices = golden::ids(&golden["indices"]);
    for ((case, before), after) in cases().zip(&before).zip(&logits(&after)) {
        assert_eq!(after.len(), old + 12);
        assert_close("logits beside the model's own", &after[..old], before, 1e-4, 0.0);
        let some: Vec<f32> = indices.iter().map(|index| after[*index as usize]).collect();
        assert_close("logits beside transformers'", &some, &golden::numbers(&case["logits"]), 1e-3, 0.0);
        let most = (0..after.len()).max_by(|a, b| after[*a].total_cmp(&after[*b])).unwrap();
        assert_eq!(Some(most as u64), case["argmax"].as_u64());
    }
}
