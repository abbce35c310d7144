//! The patterns by which byte-level vocabularies split a text before they merge bytes.

use super::tokenizer_file::byte_level;
use serde_json::{Value, json};

/// GPT-2's, which the `ByteLevel` step has built in.
pub(crate) const GPT2: &str = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// OpenAI's `cl100k_base`. White space at the end of a text is one part.
pub(crate) const CL100K: &str =
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+$|\s*[\r\n]|\s+(?!\S)|\s";

/// Llama 3's.
pub(crate) const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Qwen 2's and 3's.
pub(crate) const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// OpenAI's `o200k_base`.
pub(crate) const O200K: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Mistral's Tekken.
pub(crate) const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// A pattern by which marks belong to the letter before them, as the vowel signs of Indic scripts do; the pattern itself where
/// they do already. Texts without marks are split as before.
pub(crate) fn with_marks(pattern: &str) -> String {
    if pattern.contains(r"\p{M}") {
        return pattern.to_owned();
    }
    // What ends first are the contractions: a mark after `'s` belongs to the s, which then begins a word.
    pattern.replace(r"\p{L}+", r"\p{L}[\p{L}\p{M}]*").replacen(')', r")(?!\p{M})", 1)
}

/// The step that splits by a pattern and writes the parts in the byte alphabet.
pub(crate) fn by_pattern(pattern: &str) -> Value {
    if pattern == GPT2 {
        return byte_level(false, true);
    }
    json!({ "type": "Sequence", "pretokenizers": [by_expression(pattern), byte_level(false, false)] })
}

/// The step that splits by a pattern.
pub(crate) fn by_expression(pattern: &str) -> Value {
    json!({ "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated", "invert": false })
}

/// The same after each numeric character was made a part of its own.
pub(crate) fn by_digit(pattern: &str) -> Value {
    json!({
        "type": "Sequence",
        "pretokenizers": [{ "type": "Digits", "individual_digits": true }, by_pattern(pattern)],
    })
}
