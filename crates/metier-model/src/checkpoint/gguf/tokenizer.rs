//! The tokenizer that a GGUF file's metadata describes.

use super::metadata::Metadata;
use crate::checkpoint::SpecialTokens;
use metier_core::data::TokenId;
use metier_core::{Error, Result};
use metier_tokenizer::scheme::{ByteLevelBpe, HuggingFace, TokenKind};

/// A tokenizer with its file and the tokens that have a role.
pub(super) struct Described {
    pub tokenizer: HuggingFace,
    pub json: String,
    pub special_tokens: SpecialTokens,
    /// Number of tokens.
    pub tokens: usize,
}

pub(super) fn read(metadata: &Metadata) -> Result<Described> {
    let key = "tokenizer.ggml.model";
    let model = metadata.text(key)?.unwrap_or_default();
    if model != "gpt2" {
        let fault = metadata.fault(key, format!("the tokenizer model `{model}` is not read"));
        return Err(fault.hint("known: gpt2 (byte-level BPE)").into());
    }
    let texts = |key: &str| -> Result<Vec<String>> {
        let texts = metadata.texts(key)?.ok_or_else(|| metadata.fault(key, "the key is missing"))?;
        Ok(texts.to_vec())
    };
    let vocabulary = ByteLevelBpe {
        tokens: texts("tokenizer.ggml.tokens")?,
        kinds: kinds(metadata)?,
        merges: texts("tokenizer.ggml.merges")?,
        pre: metadata.text("tokenizer.ggml.pre")?.unwrap_or("gpt-2").to_owned(),
    };
    let path = metadata.fault("", "").place.file.unwrap_or_default();
    let json = vocabulary.to_json().map_err(|error| error.in_file(&path))?;
    let id = |key: &str| special(metadata, key, vocabulary.tokens.len());
    let begin = id("tokenizer.ggml.bos_token_id")?;
    let ends: Vec<TokenId> = ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"]
        .iter()
        .filter_map(|key| id(key).transpose())
        .collect::<Result<_>>()?;
    let add_begin = metadata.boolean("tokenizer.ggml.add_bos_token")?.unwrap_or(false);
    let tokenizer = HuggingFace::from_json(&json)
        .map_err(|error| error.in_file(&path))?
        .with_begin(begin.filter(|_| add_begin))
        .with_ends(&ends);
    let special_tokens = SpecialTokens {
        begin,
        ends,
        padding: id("tokenizer.ggml.padding_token_id")?,
        unknown: id("tokenizer.ggml.unknown_token_id")?,
    };
    Ok(Described { tokenizer, json, special_tokens, tokens: vocabulary.tokens.len() })
}

fn kinds(metadata: &Metadata) -> Result<Vec<TokenKind>> {
    let key = "tokenizer.ggml.token_type";
    metadata
        .integers(key)?
        .unwrap_or_default()
        .iter()
        .enumerate()
        .map(|(place, &number)| {
            TokenKind::from_gguf(number).ok_or_else(|| {
                Error::from(metadata.fault(key, format!("{number}, at {place}, is the number of no kind of token")))
            })
        })
        .collect()
}

fn special(metadata: &Metadata, key: &str, tokens: usize) -> Result<Option<TokenId>> {
    match metadata.size(key)? {
        Some(id) if id >= tokens => {
            Err(metadata.fault(key, format!("the id {id} is beyond the {tokens} tokens of the vocabulary")).into())
        }
        id => Ok(id.map(|id| id as TokenId)),
    }
}
