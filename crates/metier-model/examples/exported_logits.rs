//! Writes a model as a Hugging Face folder, and what it computes there, for `fixtures/reference/exported_folder.py`.
//!
//! ```text
//! cargo run --release -p metier-model --example exported_logits -- MODEL FOLDER OURS.json
//! python fixtures/reference/exported_folder.py FOLDER OURS.json
//! ```
//!
//! MODEL is a GGUF file or a folder; when it is FOLDER itself, nothing is written there. The prompts are those of
//! `fixtures/reference/prompts.jsonl`.

use metier_core::{Error, Result, store};
use metier_model::Decoder;
use metier_model::checkpoint::{Checkpoint, Dtype, write_folder};
use metier_model::decode::Session;
use serde_json::{Value, json};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, folder, ours] = arguments.as_slice() else {
        eprintln!("usage: exported_logits MODEL FOLDER OURS.json");
        return ExitCode::from(2);
    };
    match write(Path::new(model), Path::new(folder), Path::new(ours)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn open(path: &Path) -> Result<(Checkpoint, Decoder)> {
    let checkpoint = Checkpoint::open(path)?;
    let decoder = Decoder::from_checkpoint(&checkpoint)?;
    Ok((checkpoint, decoder))
}

fn write(model: &Path, folder: &Path, ours: &Path) -> Result<()> {
    if model != folder {
        let (checkpoint, decoder) = open(model)?;
        let tensors = decoder.tensors()?;
        let tensors = tensors.iter().map(|(name, tensor)| (*name, tensor.shape(), tensor.data()));
        write_folder(folder, &checkpoint, tensors, Dtype::F32)?;
    }
    let (checkpoint, decoder) = open(folder)?;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/reference/prompts.jsonl");
    let prompts = std::fs::read_to_string(&path).map_err(|error| Error::io(&path, "read the prompts", &error))?;
    let mut cases = Vec::new();
    for line in prompts.lines() {
        let prompt: Value = serde_json::from_str(line).map_err(|error| Error::file(&path, error.to_string()))?;
        let text = prompt["text"].as_str().unwrap_or_default();
        let ids = checkpoint.tokenizer.encode(&[text], true)?.remove(0).ids;
        let logits = Session::new(&decoder).feed(&ids)?;
        cases.push(json!({ "text": text, "ids": ids, "logits": logits }));
    }
    store::write_atomic(ours, Value::Array(cases).to_string())
}
