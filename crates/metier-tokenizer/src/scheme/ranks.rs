//! Byte-level vocabularies that give each token a rank instead of listing merges: tiktoken's and Tekken's files.

use super::alphabet;
use super::split::{self, CL100K, GPT2, LLAMA3, O200K};
use super::tokenizer_file::{BpeModel, TokenizerFile, added_token, byte_level, few, merges_of};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use metier_core::{Error, Fault, Place, Result};
use serde::Deserialize;
use std::collections::HashMap;

/// A byte-level vocabulary in which neighbors whose union is a token are merged, the union of the lowest rank first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ByteRanks {
    /// The bytes of each token with its id; ids rise with ranks.
    pub tokens: Vec<(Vec<u8>, usize)>,
    /// Tokens that are no text, with their ids.
    pub special: Vec<(String, usize)>,
    /// The regular expression that splits a text before merging.
    pub pattern: String,
}

/// The encodings of tiktoken that are known, alphabetical. A file of ranks does not say how text is split nor which
/// tokens are special; the encoding does.
pub const TIKTOKEN_ENCODINGS: [&str; 7] =
    ["cl100k_base", "gpt2", "llama3", "o200k_base", "o200k_harmony", "p50k_base", "r50k_base"];

/// How the encoding splits text, and its special tokens.
fn encoding(name: &str) -> Option<(&'static str, Vec<(String, usize)>)> {
    let named = |tokens: &[(&str, usize)]| tokens.iter().map(|&(name, id)| (name.to_owned(), id)).collect::<Vec<_>>();
    Some(match name {
        "gpt2" | "r50k_base" | "p50k_base" => (GPT2, named(&[("<|endoftext|>", 50256)])),
        "cl100k_base" => (
            CL100K,
            named(&[
                ("<|endoftext|>", 100_257),
                ("<|fim_prefix|>", 100_258),
                ("<|fim_middle|>", 100_259),
                ("<|fim_suffix|>", 100_260),
                ("<|endofprompt|>", 100_276),
            ]),
        ),
        "o200k_base" => (O200K, named(&[("<|endoftext|>", 199_999), ("<|endofprompt|>", 200_018)])),
        "o200k_harmony" => {
            let names = [
                (199_998, "startoftext"),
                (199_999, "endoftext"),
                (200_002, "return"),
                (200_003, "constrain"),
                (200_005, "channel"),
                (200_006, "start"),
                (200_007, "end"),
                (200_008, "message"),
                (200_012, "call"),
            ];
            let name = |id| match names.iter().find(|(named, _)| *named == id) {
                Some((_, name)) => format!("<|{name}|>"),
                None => format!("<|reserved_{id}|>"),
            };
            (O200K, (199_998..201_088).map(|id| (name(id), id)).collect())
        }
        "llama3" => {
            let mut special = named(&[
                ("<|begin_of_text|>", 128_000),
                ("<|end_of_text|>", 128_001),
                ("<|start_header_id|>", 128_006),
                ("<|end_header_id|>", 128_007),
                ("<|eom_id|>", 128_008),
                ("<|eot_id|>", 128_009),
                ("<|python_tag|>", 128_010),
            ]);
            special.push(("<|finetune_right_pad_id|>".to_owned(), 128_004));
            let free = [128_002, 128_003, 128_005].into_iter().chain(128_011..128_256);
            special.extend(free.enumerate().map(|(number, id)| (format!("<|reserved_special_token_{number}|>"), id)));
            (LLAMA3, special)
        }
        _ => return None,
    })
}

impl ByteRanks {
    /// The vocabulary in a tiktoken file: on each line a token's bytes in base64 and its rank.
    pub fn from_tiktoken(text: &str, name: &str) -> Result<Self> {
        let Some((pattern, special)) = encoding(name) else {
            let message = format!("`{name}` is no encoding that is known, and the file does not say how text is split");
            return Err(
                Error::user(Place::key("encoding"), message).hint(format!("known: {}", TIKTOKEN_ENCODINGS.join(", ")))
            );
        };
        let mut tokens = Vec::new();
        let mut faults = Vec::new();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
            let read = line.split_once(' ').and_then(|(bytes, rank)| {
                Some((BASE64_STANDARD.decode(bytes).ok()?, rank.trim_end().parse::<u32>().ok()? as usize))
            });
            match read {
                Some(token) => tokens.push(token),
                None => faults.push(Fault::new(
                    Place::default().at(number + 1, 1),
                    "a line holds a token in base64, a space and its rank",
                )),
            }
        }
        Error::collect((), few(faults, ""))?;
        Ok(Self { tokens, special, pattern: pattern.to_owned() })
    }

    /// The vocabulary in a Tekken file.
    pub fn from_tekken(text: &str) -> Result<Self> {
        let file: TekkenFile = serde_json::from_str(text).map_err(|error| {
            Error::user(Place::default().at(error.line(), error.column()), format!("this is no Tekken file: {error}"))
        })?;
        let reserved = file.config.default_num_special_tokens;
        let Some(text_tokens) = file.config.default_vocab_size.checked_sub(reserved) else {
            let message = format!("{reserved} special tokens do not fit into {}", file.config.default_vocab_size);
            return Err(Error::user(Place::key("config.default_num_special_tokens"), message));
        };
        let mut tokens = Vec::with_capacity(text_tokens.min(file.vocab.len()));
        for entry in file.vocab.iter().filter(|entry| entry.rank < text_tokens) {
            let bytes = BASE64_STANDARD.decode(&entry.token_bytes).map_err(|error| {
                Error::user(Place::key("vocab"), format!("the bytes of rank {} are no base64: {error}", entry.rank))
            })?;
            tokens.push((bytes, entry.rank + reserved));
        }
        if tokens.len() != text_tokens {
            let message = format!("{} tokens have a rank below {text_tokens}", tokens.len());
            return Err(Error::user(Place::key("vocab"), message).hint("every rank has one token"));
        }
        let mut special: Vec<(String, usize)> = match file.special_tokens {
            Some(tokens) => tokens.into_iter().map(|token| (token.token_str, token.rank)).collect(),
            None => TEKKEN_SPECIAL.iter().enumerate().map(|(rank, name)| ((*name).to_owned(), rank)).collect(),
        };
        if let Some((name, rank)) = special.iter().find(|(_, rank)| *rank >= reserved) {
            let message = format!("`{name}` has the rank {rank}, and the first {reserved} are for special tokens");
            return Err(Error::user(Place::key("special_tokens"), message));
        }
        special.extend((special.len()..reserved).map(|rank| (format!("<SPECIAL_{rank}>"), rank)));
        Ok(Self { tokens, special, pattern: file.config.pattern })
    }

    /// The `tokenizer.json` that encodes alike. An id or a token that is given twice is refused.
    pub fn to_json(&self) -> Result<String> {
        let mut faults = Vec::new();
        let mut written: Vec<(String, usize)> = self
            .tokens
            .iter()
            .map(|(bytes, id)| (bytes.iter().map(|&byte| alphabet::character_of(byte)).collect(), *id))
            .collect();
        written.sort_unstable_by_key(|(_, id)| *id);
        let text_tokens = written.len();
        written.extend(self.special.iter().cloned());
        let mut names = HashMap::with_capacity(written.len());
        let mut ids = HashMap::with_capacity(written.len());
        for (token, id) in &written {
            if let Some(first) = names.insert(token.as_str(), *id) {
                faults.push(Fault::new(Place::key("vocab"), format!("`{token}` stands twice, with {first} and {id}")));
            }
            if let Some(first) = ids.insert(*id, token) {
                faults.push(Fault::new(Place::key("vocab"), format!("{id} belongs to `{first}` and `{token}`")));
            }
        }
        Error::collect((), few(faults, "vocab"))?;
        for (name, _) in &self.special {
            names.remove(name.as_str());
        }
        let made = written[..text_tokens].iter().map(|(token, _)| token.as_str());
        let merges = merges_of(made, &names);
        let vocabulary = written.iter().map(|(token, id)| (token.as_str(), *id)).collect();
        let mut model = BpeModel::new(vocabulary, merges);
        // A part that is a token is that token, whether or not merges lead to it.
        model.ignore_merges = true;
        let mut file = TokenizerFile::new(model);
        let mut special: Vec<_> = self.special.iter().collect();
        special.sort_unstable_by_key(|(_, id)| *id);
        file.added_tokens = special.into_iter().map(|(name, id)| added_token(*id, name, true, false)).collect();
        file.pre_tokenizer = split::by_pattern(&self.pattern);
        file.decoder = byte_level(true, true);
        file.to_json()
    }
}

/// The special tokens of Tekken files that list none.
const TEKKEN_SPECIAL: [&str; 20] = [
    "<unk>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "[TOOL_CALLS]",
    "[IMG]",
    "<pad>",
    "[IMG_BREAK]",
    "[IMG_END]",
    "[PREFIX]",
    "[MIDDLE]",
    "[SUFFIX]",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "[TOOL_CONTENT]",
];

#[derive(Deserialize)]
struct TekkenFile {
    config: TekkenConfig,
    vocab: Vec<TekkenToken>,
    special_tokens: Option<Vec<TekkenSpecial>>,
}

#[derive(Deserialize)]
struct TekkenConfig {
    pattern: String,
    default_vocab_size: usize,
    default_num_special_tokens: usize,
}

#[derive(Deserialize)]
struct TekkenToken {
    rank: usize,
    token_bytes: String,
}

#[derive(Deserialize)]
struct TekkenSpecial {
    rank: usize,
    token_str: String,
}
