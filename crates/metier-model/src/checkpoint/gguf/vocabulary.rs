//! A tokenizer as a GGUF file's metadata.

use super::describe::Entry;
use crate::checkpoint::Checkpoint;
use metier_core::{Error, Fault, Place, Result};
use metier_tokenizer::scheme::{ByteLevelBpe, PRE_TOKENIZERS};
use serde_json::Value;

/// The kinds of tokens that a file counts.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;

/// Keys of tokenizer and chat template. `rows` is what the embedding has, and as many tokens are written.
pub(super) fn describe(like: &Checkpoint, rows: usize) -> Result<Vec<(String, Entry)>> {
    let fault = |key: &str, message: String| {
        Fault::new(Place::file(like.path()).with_key(format!("tokenizer.json: {key}")), message)
    };
    let json: Value = serde_json::from_str(&like.tokenizer_json)
        .map_err(|error| Error::from(fault("", format!("it is no JSON: {error}"))))?;
    let model = &json["model"];
    let Some(vocabulary) = model["vocab"].as_object().filter(|_| model["type"] == "BPE") else {
        let message = format!("a tokenizer of the type {} is not written to GGUF files", model["type"]);
        return Err(fault("model.type", message).hint("known: BPE").into());
    };
    let pre = PRE_TOKENIZERS.iter().find(|name| pre_tokenizer(name).as_ref() == Some(&json["pre_tokenizer"]));
    let Some(pre) = pre else {
        let message = "llama.cpp has no name for how this splits text before merging".to_owned();
        let hint = format!("known: {}", PRE_TOKENIZERS.join(", "));
        return Err(fault("pre_tokenizer", message).hint(hint).into());
    };
    let mut tokens: Vec<String> = (0..rows).map(|id| format!("[PAD{id}]")).collect();
    let mut kinds = vec![UNUSED; rows];
    let mut put = |token: &str, id: &Value, kind: i32| -> Result<()> {
        let at = id.as_u64().and_then(|id| usize::try_from(id).ok()).filter(|id| *id < rows);
        let at = at.ok_or_else(|| {
            Error::from(fault("model.vocab", format!("`{token}` has the id {id}, and the model has {rows} rows")))
        })?;
        token.clone_into(&mut tokens[at]);
        kinds[at] = kind;
        Ok(())
    };
    for (token, id) in vocabulary {
        put(token, id, NORMAL)?;
    }
    for added in json["added_tokens"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let kind = if added["special"] == true { CONTROL } else { USER_DEFINED };
        put(added["content"].as_str().unwrap_or_default(), &added["id"], kind)?;
    }
    let merges = model["merges"].as_array().map(Vec::as_slice).unwrap_or_default().iter().map(|merge| match merge {
        Value::String(merge) => Some(merge.clone()),
        pair => Some(format!("{} {}", pair[0].as_str()?, pair[1].as_str()?)),
    });
    let merges = merges
        .collect::<Option<Vec<String>>>()
        .ok_or_else(|| Error::from(fault("model.merges", "a merge is no pair of tokens".to_owned())))?;
    let mut keys = vec![
        ("tokenizer.ggml.model", Entry::Text("gpt2".to_owned())),
        ("tokenizer.ggml.pre", Entry::Text((*pre).to_owned())),
        ("tokenizer.ggml.tokens", Entry::Texts(tokens)),
        ("tokenizer.ggml.token_type", Entry::Wholes(kinds)),
        ("tokenizer.ggml.merges", Entry::Texts(merges)),
    ];
    let special = &like.special_tokens;
    let ids = [
        ("tokenizer.ggml.bos_token_id", special.begin),
        ("tokenizer.ggml.eos_token_id", special.ends.first().copied()),
        ("tokenizer.ggml.eot_token_id", special.ends.get(1).copied()),
        ("tokenizer.ggml.padding_token_id", special.padding),
        ("tokenizer.ggml.unknown_token_id", special.unknown),
    ];
    // Configurations of cut vocabularies name tokens that are gone.
    let there = ids.into_iter().filter_map(|(key, id)| Some((key, id.filter(|id| (*id as usize) < rows)?)));
    keys.extend(there.map(|(key, id)| (key, Entry::Whole(id))));
    keys.push(("tokenizer.ggml.add_bos_token", Entry::Flag(like.tokenizer.begin_of_text().is_some())));
    keys.extend(like.chat_template.clone().map(|template| ("tokenizer.chat_template", Entry::Text(template))));
    Ok(keys.into_iter().map(|(key, entry)| (key.to_owned(), entry)).collect())
}

/// What `tokenizer.json` has for a pre-tokenizer that llama.cpp knows by name.
fn pre_tokenizer(name: &str) -> Option<Value> {
    let json = ByteLevelBpe { pre: name.to_owned(), ..ByteLevelBpe::default() }.to_json().ok()?;
    serde_json::from_str::<Value>(&json).ok().map(|mut json| json["pre_tokenizer"].take())
}
