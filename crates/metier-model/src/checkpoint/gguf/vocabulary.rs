//! A tokenizer as a GGUF file's metadata: byte-level BPE as llama.cpp's `gpt2`, SentencePiece's BPE as its `llama`.

use super::describe::Entry;
use crate::checkpoint::Checkpoint;
use metier_core::{Error, Fault, Place, Result};
use metier_tokenizer::scheme::{ByteLevelBpe, PRE_TOKENIZERS, WHOLE_WORDS};
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// The kinds of tokens that a file counts.
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;
const BYTE: i32 = 6;

/// Stands for a space in SentencePiece's vocabularies.
const MARK: &str = "\u{2581}";

/// Keys of tokenizer and chat template. `rows` is what the embedding has, and as many tokens are written.
pub(super) fn describe(like: &Checkpoint, rows: usize) -> Result<Vec<(String, Entry)>> {
    let json: Value = serde_json::from_str(&like.tokenizer_json)
        .map_err(|error| fault("", format!("it is no JSON: {error}")).in_file(like.path()))?;
    let mut keys = vocabulary(&json, rows).map_err(|error| error.in_file(like.path()))?;
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

fn fault(key: &str, message: impl Into<String>) -> Error {
    Fault::new(Place::key(format!("tokenizer.json: {key}")), message).into()
}

type Keys = Vec<(&'static str, Entry)>;

fn vocabulary(json: &Value, rows: usize) -> Result<Keys> {
    let model = &json["model"];
    if model["type"] != "BPE" {
        let message = format!("a tokenizer of the type {} is not written to GGUF files", model["type"]);
        return Err(fault("model.type", message).hint("known: BPE"));
    }
    let (tokens, kinds) = tokens(json, rows)?;
    let merges = merges(model)?;
    let pre = PRE_TOKENIZERS.iter().find(|name| pre_tokenizer(name).as_ref() == Some(&json["pre_tokenizer"]));
    if let Some(pre) = pre {
        if model["ignore_merges"] == true && !WHOLE_WORDS.contains(pre) {
            made_by_merges(json, &merges)?;
        }
        return Ok(vec![
            ("tokenizer.ggml.model", Entry::Text("gpt2".to_owned())),
            ("tokenizer.ggml.pre", Entry::Text((*pre).to_owned())),
            ("tokenizer.ggml.tokens", Entry::Texts(tokens)),
            ("tokenizer.ggml.token_type", Entry::Wholes(kinds)),
            ("tokenizer.ggml.merges", Entry::Texts(merges.iter().map(|(a, b)| format!("{a} {b}")).collect())),
        ]);
    }
    let Some(add_space_prefix) = space_prefix(json) else {
        let hint = format!("known: {}, and SentencePiece's spaces as `{MARK}`", PRE_TOKENIZERS.join(", "));
        return Err(fault("pre_tokenizer", "llama.cpp has no name for how this splits text before merging").hint(hint));
    };
    let scores = scores(&tokens, &kinds, &merges)?;
    Ok(vec![
        ("tokenizer.ggml.model", Entry::Text("llama".to_owned())),
        ("tokenizer.ggml.pre", Entry::Text("default".to_owned())),
        ("tokenizer.ggml.tokens", Entry::Texts(tokens)),
        ("tokenizer.ggml.scores", Entry::Numbers(scores)),
        ("tokenizer.ggml.token_type", Entry::Wholes(kinds)),
        ("tokenizer.ggml.add_space_prefix", Entry::Flag(add_space_prefix)),
    ])
}

/// Refuses tokens of text that llama.cpp would not find, as no merge makes them.
fn made_by_merges(json: &Value, merges: &[(&str, &str)]) -> Result<()> {
    let made: HashSet<String> = merges.iter().map(|(left, right)| format!("{left}{right}")).collect();
    let added: HashSet<&str> =
        json["added_tokens"].as_array().into_iter().flatten().filter_map(|added| added["content"].as_str()).collect();
    let tokens = json["model"]["vocab"].as_object().into_iter().flatten().map(|(token, _)| token.as_str());
    let lost = tokens.filter(|token| token.chars().count() > 1 && !made.contains(*token) && !added.contains(token));
    match lost.count() {
        0 => Ok(()),
        lost => Err(fault(
            "model.ignore_merges",
            format!("{lost} tokens are found as whole words only, which llama.cpp does not look for"),
        )
        .hint("export to a Hugging Face folder")),
    }
}

/// Every token and its kind, in the order of the ids.
fn tokens(json: &Value, rows: usize) -> Result<(Vec<String>, Vec<i32>)> {
    let model = &json["model"];
    let mut tokens: Vec<String> = (0..rows).map(|id| format!("[PAD{id}]")).collect();
    let mut kinds = vec![UNUSED; rows];
    let mut put = |token: &str, id: &Value, kind: i32| -> Result<()> {
        let at = id.as_u64().and_then(|id| usize::try_from(id).ok()).filter(|id| *id < rows);
        let at = at
            .ok_or_else(|| fault("model.vocab", format!("`{token}` has the id {id}, and the model has {rows} rows")))?;
        token.clone_into(&mut tokens[at]);
        kinds[at] = kind;
        Ok(())
    };
    let has_bytes = model["byte_fallback"] == true;
    for (token, id) in model["vocab"].as_object().into_iter().flatten() {
        let is_byte = has_bytes && token.len() == 6 && token.starts_with("<0x") && token.ends_with('>');
        put(token, id, if is_byte { BYTE } else { NORMAL })?;
    }
    for added in json["added_tokens"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let content = added["content"].as_str().unwrap_or_default();
        let kind = match added["special"] == true {
            true if model["unk_token"].as_str() == Some(content) => UNKNOWN,
            true => CONTROL,
            false => USER_DEFINED,
        };
        put(content, &added["id"], kind)?;
    }
    Ok((tokens, kinds))
}

/// Pairs in the order in which they are merged.
fn merges(model: &Value) -> Result<Vec<(&str, &str)>> {
    let merges = model["merges"].as_array().map(Vec::as_slice).unwrap_or_default();
    let pairs: Option<Vec<(&str, &str)>> = merges.iter().map(pair).collect();
    pairs.ok_or_else(|| fault("model.merges", "a merge is no pair of tokens"))
}

fn pair(merge: &Value) -> Option<(&str, &str)> {
    match merge.as_str() {
        Some(merge) => merge.split_once(' '),
        None => Some((merge[0].as_str()?, merge[1].as_str()?)),
    }
}

/// What `tokenizer.json` has for a pre-tokenizer that llama.cpp knows by name.
fn pre_tokenizer(name: &str) -> Option<Value> {
    let json = ByteLevelBpe { pre: name.to_owned(), ..ByteLevelBpe::default() }.to_json().ok()?;
    serde_json::from_str::<Value>(&json).ok().map(|mut json| json["pre_tokenizer"].take())
}

/// Whether a text gets a space before it, of a tokenizer that does nothing else but to write spaces as marks; `None` of
/// others.
fn space_prefix(json: &Value) -> Option<bool> {
    let list = |value: &Value, parts: &str| -> Vec<Value> {
        match value {
            Value::Null => Vec::new(),
            value if value["type"] == "Sequence" => value[parts].as_array().cloned().unwrap_or_default(),
            value => vec![value.clone()],
        }
    };
    let (mut marks, mut prefix) = (false, false);
    for step in list(&json["normalizer"], "normalizers") {
        match step["type"].as_str() {
            Some("Replace") if step["pattern"]["String"] == " " && step["content"] == MARK => marks = true,
            Some("Prepend") if step["prepend"] == MARK => prefix = true,
            _ => return None,
        }
    }
    for step in list(&json["pre_tokenizer"], "pretokenizers") {
        match step["type"].as_str() {
            // Of spaces there are none left.
            Some("Split") if marks && step["pattern"]["String"] == " " => {}
            Some("Metaspace") if step["replacement"] == MARK && step["split"] == false => {
                marks = true;
                prefix = step["prepend_scheme"] != "never";
            }
            _ => return None,
        }
    }
    marks.then_some(prefix)
}

/// The score of each token: the sooner it is merged, the higher.
///
/// llama.cpp knows no list of merges: of all neighbors that make a token it merges those of the highest score. That is the
/// same where a token's merges stand together and are all that could make it; where not, it is refused.
fn scores(tokens: &[String], kinds: &[i32], merges: &[(&str, &str)]) -> Result<Vec<f32>> {
    let ids: HashMap<&str, usize> = tokens.iter().enumerate().map(|(id, token)| (token.as_str(), id)).collect();
    let mergeable = |id: usize| kinds[id] == NORMAL || kinds[id] == UNUSED;
    let mut places: Vec<Option<usize>> = vec![None; tokens.len()];
    let mut count = vec![0_usize; tokens.len()];
    let (mut next, mut last) = (0, None);
    for (left, right) in merges {
        let made = format!("{left}{right}");
        let id = ids.get(made.as_str()).copied();
        let id = id.ok_or_else(|| fault("model.merges", format!("`{left} {right}` makes no token")))?;
        if last != Some(id) {
            if places[id].is_some() {
                let message = format!("the merges that make `{made}` do not stand together");
                return Err(fault("model.merges", message).hint("llama.cpp orders merges by what they make"));
            }
            places[id] = Some(next);
            next += 1;
            last = Some(id);
        }
        count[id] += 1;
    }
    for (id, token) in tokens.iter().enumerate().filter(|(id, _)| mergeable(*id)) {
        let splits = token.char_indices().skip(1).filter(|(at, _)| {
            let known = |part: &str| ids.get(part).is_some_and(|id| mergeable(*id));
            known(&token[..*at]) && known(&token[*at..])
        });
        let possible = splits.count();
        if possible != count[id] {
            let message = format!("`{token}` has {} merges, and {possible} pairs of tokens make it", count[id]);
            return Err(fault("model.merges", message).hint("llama.cpp merges every pair that makes a token"));
        }
    }
    // Up to 2^24 whole numbers are exact.
    Ok(places.into_iter().map(|place| -(place.unwrap_or(next) as f32)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_no_merge_makes_are_refused_where_llama_cpp_would_not_find_them() {
        let written = |pre: &str, tokens: &[&str]| {
            let tokens: Vec<String> = tokens.iter().map(ToString::to_string).collect();
            let (rows, merges) = (tokens.len(), vec!["a b".to_owned()]);
            let described = ByteLevelBpe { tokens, merges, pre: pre.to_owned(), ..ByteLevelBpe::default() };
            let mut json: Value = serde_json::from_str(&described.to_json().unwrap()).unwrap();
            json["model"]["ignore_merges"] = true.into();
            vocabulary(&json, rows).map(drop)
        };
        let refused = written("gpt-2", &["a", "b", "ab", "aba"]).unwrap_err().to_string();
        assert!(refused.contains("model.ignore_merges: 1 tokens are found as whole words only"), "{refused}");
        assert!(written("gpt-2", &["a", "b", "ab"]).is_ok());
        assert!(written("tekken", &["a", "b", "ab", "aba"]).is_ok());
    }
}
