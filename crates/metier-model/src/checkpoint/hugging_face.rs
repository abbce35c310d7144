//! A Hugging Face folder as a checkpoint.

use super::{Checkpoint, MappedFile, SpecialTokens, Stored, pytorch, safetensors};
use metier_core::data::TokenId;
use metier_core::seam::Tokenize;
use metier_core::{Error, Fault, Place, Result, store};
use metier_tokenizer::scheme::{self, HuggingFace};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Files of weights, with that which says where each tensor is when there are several, and what reads one.
const WEIGHTS: [(&str, &str, Read); 2] = [
    ("model.safetensors", "model.safetensors.index.json", safetensors::read),
    ("pytorch_model.bin", "pytorch_model.bin.index.json", pytorch::read),
];

type Read = fn(&Path, &[u8], usize) -> Result<Vec<(String, Stored)>>;

/// Files of a vocabulary; the first that is there is read.
const TOKENIZERS: [&str; 3] = ["tokenizer.json", "tokenizer.model", "tekken.json"];

/// Opens a folder with `config.json`, a vocabulary and weights: one file or several behind an index.
pub(super) fn open(folder: &Path) -> Result<Checkpoint> {
    let config = read_object(&folder.join("config.json"))?.ok_or_else(|| {
        Error::file(folder.join("config.json"), "the file is missing: this folder is no Hugging Face model")
            .hint("name a folder with config.json, tokenizer.json and *.safetensors, or a GGUF file")
    })?;
    let (files, tensors) = read_weights(folder)?;
    let Some(name) = TOKENIZERS.into_iter().find(|name| folder.join(name).exists()) else {
        let message = format!("there is no vocabulary: none of {} is here", TOKENIZERS.join(", "));
        return Err(Error::file(folder, message).hint("`metier tokenizer convert` makes a tokenizer.json of others"));
    };
    let settings = read_object(&folder.join("tokenizer_config.json"))?.unwrap_or_default();
    // A tokenizer.json holds all that is added to a vocabulary.
    let is_whole = name == TOKENIZERS[0];
    let added = if is_whole { &Value::Null } else { &settings["added_tokens_decoder"] };
    let (tokenizer, tokenizer_json) = scheme::from_file_with_added(&folder.join(name), added)?;
    let generation = read_object(&folder.join("generation_config.json"))?.unwrap_or_default();
    let special_tokens = special_tokens(&settings, &generation, &config, &tokenizer);
    let begin = match settings["add_bos_token"].as_bool() {
        Some(add) => special_tokens.begin.filter(|_| add),
        // The other files do not say it. Models that have the token were trained with it.
        None => {
            if is_whole {
                tokenizer.begin_of_text()
            } else {
                special_tokens.begin
            }
        }
    };
    let tokenizer = tokenizer.with_begin(begin).with_ends(&special_tokens.ends);
    Ok(Checkpoint {
        config,
        tokenizer: Arc::new(tokenizer),
        tokenizer_json,
        chat_template: chat_template(folder, &settings)?,
        special_tokens,
        path: folder.to_path_buf(),
        files,
        tensors,
    })
}

/// The JSON object in a file; `None` when there is no such file.
fn read_object(path: &Path) -> Result<Option<Value>> {
    let Some(value) = read_json(path)? else { return Ok(None) };
    if value.is_object() { Ok(Some(value)) } else { Err(Error::file(path, "this is no JSON object")) }
}

/// The JSON in a file; `None` when there is no such file.
pub(super) fn read_json(path: &Path) -> Result<Option<Value>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        // A model that is one file has no others.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(Error::io(path, "read the file", &error)),
    };
    serde_json::from_str(&text).map(Some).map_err(|error| {
        Error::user(Place::file(path).at(error.line(), error.column()), format!("this is no JSON: {error}"))
    })
}

type Weights = (Vec<MappedFile>, BTreeMap<String, Stored>);

fn read_weights(folder: &Path) -> Result<Weights> {
    let there = |(single, index, _): &&(&str, &str, Read)| folder.join(single).exists() || folder.join(index).exists();
    let Some((single, index, read)) = WEIGHTS.iter().find(there) else {
        let names: Vec<&str> = WEIGHTS.iter().flat_map(|(single, index, _)| [*single, *index]).collect();
        let message = format!("there are no weights: none of {} is here", names.join(", "));
        return Err(Error::file(folder, message).hint("weights in other formats are not read"));
    };
    let single = folder.join(single);
    let index = folder.join(index);
    let map: BTreeMap<String, String> =
        if single.exists() { BTreeMap::new() } else { read_index(&index, &read_object(&index)?.unwrap_or_default())? };
    let mut paths: Vec<PathBuf> = map.values().map(|name| folder.join(name)).collect();
    paths.sort();
    paths.dedup();
    if paths.is_empty() {
        paths.push(single);
    }
    let mut files = Vec::new();
    let mut tensors: BTreeMap<String, Stored> = BTreeMap::new();
    let mut faults = Vec::new();
    for path in paths {
        match store::map_file(&path).and_then(|bytes| {
            let found = read(&path, &bytes, files.len())?;
            Ok((bytes, found))
        }) {
            Ok((bytes, found)) => {
                for (name, stored) in found {
                    if tensors.insert(name.clone(), stored).is_some() {
                        let place = Place::file(&path).with_key(&name);
                        faults.push(Fault::new(place, "another file of the model holds this tensor too"));
                    }
                }
                files.push(MappedFile { path, map: Arc::new(bytes) });
            }
            Err(error) => faults.extend(error.faults),
        }
    }
    if faults.is_empty() {
        for (name, file) in &map {
            let at = tensors.get(name).map(|stored| files[stored.file].path.as_path());
            if at != Some(folder.join(file).as_path()) {
                let place = Place::file(&index).with_key(name);
                faults.push(Fault::new(place, format!("the index puts the tensor in {file}, which does not hold it")));
            }
        }
    }
    Error::collect((files, tensors), faults)
}

fn read_index(path: &Path, value: &Value) -> Result<BTreeMap<String, String>> {
    let Some(map) = value["weight_map"].as_object().filter(|map| !map.is_empty()) else {
        return Err(Error::user(Place::file(path).with_key("weight_map"), "expected an object with a file a tensor"));
    };
    let mut faults = Vec::new();
    let mut files = BTreeMap::new();
    for (name, file) in map {
        match file.as_str().filter(|file| Path::new(file).file_name() == Some(file.as_ref())) {
            Some(file) => {
                files.insert(name.clone(), file.to_owned());
            }
            None => faults.push(Fault::new(
                Place::file(path).with_key(format!("weight_map.{name}")),
                format!("expected the name of a file in the same folder, found {file}"),
            )),
        }
    }
    Error::collect(files, faults)
}

fn special_tokens(settings: &Value, generation: &Value, config: &Value, tokenizer: &HuggingFace) -> SpecialTokens {
    let named = |key: &str| {
        let token = settings[key].as_str().or_else(|| settings[key]["content"].as_str())?;
        tokenizer.id_of(token)
    };
    let numbered = |value: &Value| -> Vec<TokenId> {
        let list = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        list.iter().filter_map(|id| TokenId::try_from(id.as_u64()?).ok()).collect()
    };
    let mut ends: Vec<TokenId> = named("eos_token").into_iter().collect();
    for id in numbered(&generation["eos_token_id"]).into_iter().chain(numbered(&config["eos_token_id"])) {
        if !ends.contains(&id) && tokenizer.bytes_of(id).is_some() {
            ends.push(id);
        }
    }
    let begin = named("bos_token").or_else(|| numbered(&config["bos_token_id"]).first().copied());
    SpecialTokens {
        begin,
        ends,
        padding: named("pad_token"),
        unknown: named("unk_token"),
        cls: named("cls_token"),
        sep: named("sep_token"),
        mask: named("mask_token"),
    }
}

fn chat_template(folder: &Path, settings: &Value) -> Result<Option<String>> {
    let path = folder.join("chat_template.jinja");
    match std::fs::read_to_string(&path) {
        Ok(template) => return Ok(Some(template)),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(Error::io(&path, "read the chat template", &error)),
    }
    let template = &settings["chat_template"];
    let of_list = template.as_array().and_then(|list| list.iter().find(|entry| entry["name"] == "default"));
    Ok(template.as_str().or_else(|| of_list?["template"].as_str()).map(str::to_owned))
}
