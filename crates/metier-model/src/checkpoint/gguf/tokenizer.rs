//! The tokenizer that a GGUF file's metadata describes.

use super::metadata::Metadata;
use crate::checkpoint::SpecialTokens;
use metier_core::data::TokenId;
use metier_core::{Error, Result};
use metier_tokenizer::scheme::{ByteLevelBpe, HuggingFace, PieceModel, Pieces, TokenKind};
use std::path::PathBuf;

/// A tokenizer with its file and the tokens that have a role.
pub(super) struct Described {
    pub tokenizer: HuggingFace,
    pub json: String,
    pub special_tokens: SpecialTokens,
    /// Number of tokens.
    pub tokens: usize,
}

pub(super) fn read(metadata: &mut Metadata) -> Result<Described> {
    let key = "tokenizer.ggml.model";
    let ((tokenizer, json, tokens), begins_texts) = match metadata.text(key)?.unwrap_or_default() {
        "gpt2" => (byte_level_bpe(metadata)?, false),
        "llama" => (pieces(metadata)?, true),
        model => {
            let fault = metadata.fault(key, format!("the tokenizer model `{model}` is not read"));
            return Err(fault.hint("known: gpt2 (byte-level BPE), llama (SentencePiece's BPE)").into());
        }
    };
    let id = |key: &str| special(metadata, key, tokens);
    let begin = id("tokenizer.ggml.bos_token_id")?;
    let ends: Vec<TokenId> = ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"]
        .iter()
        .filter_map(|key| id(key).transpose())
        .collect::<Result<_>>()?;
    let add_begin = metadata.boolean("tokenizer.ggml.add_bos_token")?.unwrap_or(begins_texts);
    let tokenizer = tokenizer.with_begin(begin.filter(|_| add_begin)).with_ends(&ends);
    let special_tokens = SpecialTokens {
        begin,
        ends,
        padding: id("tokenizer.ggml.padding_token_id")?,
        unknown: id("tokenizer.ggml.unknown_token_id")?,
        ..SpecialTokens::default()
    };
    Ok(Described { tokenizer, json, special_tokens, tokens })
}

type Read = (HuggingFace, String, usize);

/// A byte-level vocabulary, its `tokenizer.json` and its number of tokens.
fn byte_level_bpe(metadata: &mut Metadata) -> Result<Read> {
    let key = "tokenizer.ggml.add_space_prefix";
    if metadata.boolean(key)? == Some(true) {
        return Err(metadata.fault(key, "true is not followed").hint("known: false").into());
    }
    let vocabulary = ByteLevelBpe {
        tokens: texts(metadata, "tokenizer.ggml.tokens")?,
        kinds: kinds(metadata)?,
        merges: texts(metadata, "tokenizer.ggml.merges")?,
        pre: metadata.text("tokenizer.ggml.pre")?.unwrap_or("gpt-2").to_owned(),
    };
    let json = vocabulary.to_json().map_err(|error| error.in_file(path(metadata)))?;
    let tokenizer = HuggingFace::from_byte_level(&vocabulary, &json).map_err(|error| error.in_file(path(metadata)))?;
    Ok((tokenizer, json, vocabulary.tokens.len()))
}

/// A vocabulary of pieces with scores, its `tokenizer.json` and its number of tokens.
fn pieces(metadata: &mut Metadata) -> Result<Read> {
    let key = "tokenizer.ggml.scores";
    let kinds = kinds(metadata)?;
    let mut tokens = texts(metadata, "tokenizer.ggml.tokens")?;
    for (token, kind) in tokens.iter_mut().zip(&kinds) {
        // Some files write blanks where SentencePiece has marks.
        if *kind == TokenKind::UserDefined {
            *token = token.replace(' ', "\u{2581}");
        }
    }
    let pieces = Pieces {
        model: PieceModel::Bpe,
        tokens,
        scores: metadata.floats(key)?.ok_or_else(|| metadata.fault(key, "the key is missing"))?.to_vec(),
        kinds,
        unknown: metadata.size("tokenizer.ggml.unknown_token_id")?,
        add_space_prefix: metadata.boolean("tokenizer.ggml.add_space_prefix")?.unwrap_or(true),
        remove_extra_spaces: metadata.boolean("tokenizer.ggml.remove_extra_whitespaces")?.unwrap_or(false),
        replacements: Vec::new(),
    };
    let json = pieces.to_json().map_err(|error| error.in_file(path(metadata)))?;
    let tokenizer = HuggingFace::from_pieces(&pieces).map_err(|error| error.in_file(path(metadata)))?;
    Ok((tokenizer, json, pieces.tokens.len()))
}

fn path(metadata: &Metadata) -> PathBuf {
    metadata.fault("", "").place.file.unwrap_or_default()
}

fn texts(metadata: &mut Metadata, key: &str) -> Result<Vec<String>> {
    metadata.take_texts(key)?.ok_or_else(|| metadata.fault(key, "the key is missing").into())
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

#[cfg(test)]
mod tests {
    use super::super::cursor::Cursor;
    use super::*;
    use metier_core::seam::Tokenize;
    use std::path::Path;

    const TEXT: u32 = 8;
    const ARRAY: u32 = 9;

    fn text(value: &str) -> Vec<u8> {
        [&(value.len() as u64).to_le_bytes()[..], value.as_bytes()].concat()
    }

    fn array(kind: u32, values: &[Vec<u8>]) -> Vec<u8> {
        [&kind.to_le_bytes()[..], &(values.len() as u64).to_le_bytes(), &values.concat()].concat()
    }

    /// A vocabulary as llama.cpp's converter writes a Llama's or a Gemma's.
    fn llama(space_prefix: Option<bool>) -> Metadata {
        let tokens = ["<unk>", "<s>", "</s>", "  ", "\u{2581}", "a", "b", "\u{2581}a", "ab", "\u{2581}ab"];
        let kinds = [2, 3, 3, 4, 1, 1, 1, 1, 1, 1];
        let scores = [0., 0., 0., -1000., -4., -5., -6., -2., -1., -3.];
        let bytes = (0..=255).map(|byte| format!("<0x{byte:02X}>"));
        let tokens: Vec<Vec<u8>> =
            tokens.iter().map(|&token| text(token)).chain(bytes.map(|byte| text(&byte))).collect();
        let kinds: Vec<Vec<u8>> =
            kinds.into_iter().chain([6; 256]).map(|kind: i32| kind.to_le_bytes().to_vec()).collect();
        let scores: Vec<Vec<u8>> =
            scores.into_iter().chain([0.; 256]).map(|score: f32| score.to_le_bytes().to_vec()).collect();
        let mut entries = vec![
            ("tokenizer.ggml.model", TEXT, text("llama")),
            ("tokenizer.ggml.tokens", ARRAY, array(TEXT, &tokens)),
            ("tokenizer.ggml.scores", ARRAY, array(6, &scores)),
            ("tokenizer.ggml.token_type", ARRAY, array(5, &kinds)),
            ("tokenizer.ggml.bos_token_id", 4, 1_u32.to_le_bytes().to_vec()),
            ("tokenizer.ggml.eos_token_id", 4, 2_u32.to_le_bytes().to_vec()),
        ];
        entries.extend(space_prefix.map(|add| ("tokenizer.ggml.add_space_prefix", 7, vec![u8::from(add)])));
        let count = entries.len() as u64;
        let mut bytes = Vec::new();
        for (key, kind, value) in entries {
            bytes.extend([&text(key)[..], &kind.to_le_bytes(), &value].concat());
        }
        let path = Path::new("llama.gguf");
        Metadata::read(path, &mut Cursor::new(path, &bytes), count).unwrap()
    }

    #[test]
    fn pieces_with_scores_encode_by_their_scores() {
        let ids =
            |prefix, text| read(&mut llama(prefix)).unwrap().tokenizer.encode(&[text], true).unwrap().remove(0).ids;
        // `ab` has a higher score than the space with `a`; both ways lead to the whole.
        assert_eq!(ids(None, "ab"), [9]);
        assert_eq!(ids(Some(false), "ab"), [8]);
        assert_eq!(ids(Some(false), "a  b</s>"), [5, 3, 6, 2]);
        assert_eq!(ids(Some(false), "\u{e9}"), [10 + 0xc3, 10 + 0xa9]);
        let described = read(&mut llama(None)).unwrap();
        assert_eq!((described.tokens, described.tokenizer.begin_of_text()), (266, Some(1)));
        assert_eq!(described.tokenizer.end_of_text(), [2]);
        assert_eq!(described.tokenizer.decode(&[9, 7], false).unwrap(), "ab a");
    }
}
