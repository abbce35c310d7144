//! One GGUF file as a checkpoint.
//!
//! Tensors get their Hugging Face names, and what llama.cpp's converter changes in their numbers is undone when they are
//! read. Metadata becomes a `config.json` and a `tokenizer.json`.
//!
//! Source: the format's description in ggml, `docs/gguf.md`.

mod config;
mod cursor;
mod describe;
mod header;
mod metadata;
mod mixture;
mod names;
mod rope;
mod tokenizer;
mod vocabulary;
mod write;

pub use mixture::Mixture;
pub use write::{GgufPlan, Share};

use super::{Checkpoint, MappedFile, Stored};
use crate::config::Config;
use header::{Header, TensorInfo};
use metadata::Metadata;
use metier_core::{Error, Result, store};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Opens a GGUF file.
pub(super) fn open(path: &Path) -> Result<Checkpoint> {
    let map = store::map_file(path)?;
    let Header { mut metadata, tensors } = header::read(path, &map)?;
    let described = tokenizer::read(&mut metadata)?;
    let (config, tensors) = model(path, &metadata, &tensors, &map, described.tokens)?;
    let chat_template = metadata.text("tokenizer.chat_template")?.map(str::to_owned);
    Ok(Checkpoint {
        config,
        tokenizer: Arc::new(described.tokenizer),
        tokenizer_json: described.json,
        chat_template,
        special_tokens: described.special_tokens,
        path: path.to_path_buf(),
        files: vec![MappedFile { path: path.to_path_buf(), map: Arc::new(map) }],
        tensors,
    })
}

/// The configuration and the tensors by their Hugging Face names.
fn model(
    path: &Path,
    metadata: &Metadata,
    tensors: &[TensorInfo],
    bytes: &[u8],
    tokens: usize,
) -> Result<(Value, BTreeMap<String, Stored>)> {
    let embedding = tensors.iter().find(|tensor| tensor.name == "token_embd.weight");
    let vocabulary = embedding.and_then(|tensor| tensor.shape.first().copied()).unwrap_or(tokens);
    let config = config::read(metadata, &config::Found { vocabulary, tensors, bytes })?;
    let parsed = Config::from_json(&config).map_err(|error| error.in_file(path))?;
    let Some(dialect) = &parsed.design.architecture.dialect else {
        return Err(Error::program("an architecture was read out of a file that cannot hold it"));
    };
    let tensors = names::hugging_face(path, tensors, &parsed, dialect)?;
    Ok((config, tensors))
}

/// How many of a model's tensors a file has, after all checks.
pub(super) fn count_tensors(path: &Path, bytes: &[u8]) -> Result<usize> {
    let Header { mut metadata, tensors } = header::read(path, bytes)?;
    let described = tokenizer::read(&mut metadata)?;
    Ok(model(path, &metadata, &tensors, bytes, described.tokens)?.1.len())
}
