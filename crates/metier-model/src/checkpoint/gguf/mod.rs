//! One GGUF file as a checkpoint.
//!
//! Tensors get their Hugging Face names, and the rows of queries and keys, which llama.cpp's converter
//! interleaves, their Hugging Face order. Metadata becomes a `config.json` and a `tokenizer.json`.
//!
//! Source: the format's description in ggml, `docs/gguf.md`.

mod config;
mod cursor;
mod header;
mod metadata;
mod names;
mod tokenizer;

use super::{Checkpoint, Kind, MappedFile, Stored};
use header::{Header, TensorInfo};
use metier_core::{Error, Fault, Place, Result, store};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Opens a GGUF file of a Llama.
pub(super) fn open(path: &Path) -> Result<Checkpoint> {
    let map = store::map_file(path)?;
    let Header { metadata, tensors } = header::read(path, &map)?;
    let described = tokenizer::read(&metadata)?;
    let has = |end: &str| tensors.iter().any(|tensor| tensor.name.ends_with(end));
    let embedding = tensors.iter().find(|tensor| tensor.name == "token_embd.weight");
    let found = config::Found {
        vocabulary: embedding.and_then(|tensor| tensor.shape.first().copied()).unwrap_or(described.tokens),
        has_head: tensors.iter().any(|tensor| tensor.name == "output.weight"),
        has_bias: has("attn_q.bias"),
        has_inner_bias: has("ffn_up.bias"),
    };
    let (config, heads) = config::llama(&metadata, &found)?;
    let tensors = rename(path, tensors, &heads)?;
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

fn rename(path: &Path, infos: Vec<TensorInfo>, heads: &config::Heads) -> Result<BTreeMap<String, Stored>> {
    let mut tensors = BTreeMap::new();
    let mut faults = Vec::new();
    for info in infos {
        let place = Place::file(path).with_key(&info.name);
        let Some(name) = names::hugging_face(&info.name) else {
            faults.push(Fault::new(place, "a Llama has no such tensor"));
            continue;
        };
        let heads = if name.contains(".q_proj.") {
            Some(heads.query)
        } else if name.contains(".k_proj.") {
            Some(heads.key)
        } else {
            None
        };
        if let Some(heads) = heads.filter(|heads| !info.shape[0].is_multiple_of(2 * heads)) {
            let message = format!("its {} rows are no {heads} heads of an even number each", info.shape[0]);
            faults.push(Fault::new(place, message));
            continue;
        }
        let stored = Stored {
            shape: info.shape,
            file: 0,
            bytes: info.bytes,
            kind: Kind::Blocks(info.block),
            interleaved_heads: heads,
        };
        tensors.insert(name, stored);
    }
    Error::collect(tensors, faults)
}

#[cfg(test)]
pub(super) fn read_header(path: &Path, bytes: &[u8]) -> Result<usize> {
    let Header { metadata, tensors } = header::read(path, bytes)?;
    let described = tokenizer::read(&metadata)?;
    let found = config::Found { vocabulary: described.tokens, has_head: false, has_bias: false, has_inner_bias: false };
    let (_, heads) = config::llama(&metadata, &found)?;
    Ok(rename(path, tensors, &heads)?.len())
}
