//! Splitting a text into the parts that are encoded each for itself.

mod classes;
mod gpt2;
mod letters;
#[cfg(test)]
mod tests;

use super::split;
use super::tokenizer_file::byte_level;
use gpt2::Gpt2;
use letters::{Letters, Word};
use serde_json::{Value, json};

/// A split that is done here, without the regular expression that defines it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Words {
    /// GPT-2's; with numeric characters each for itself, SmolLM2's.
    Gpt2(Gpt2),
    /// The later patterns.
    Letters(Letters),
}

/// Texts longer than this are cut.
const PIECE_BYTES: usize = 1 << 18;

/// What patterns are called elsewhere, beside those of [`split`].
const GPT2_ORIGINAL: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

impl Words {
    /// The split of a `tokenizer.json`'s `pre_tokenizer`, if it is one of those known and the byte alphabet follows.
    pub(crate) fn of(step: &Value) -> Option<Self> {
        let steps = steps(step)?;
        let (byte_level, before) = steps.split_last()?;
        if byte_level["type"] != "ByteLevel" || byte_level["add_prefix_space"] != false {
            return None;
        }
        let by_gpt2 = byte_level["use_regex"] != false;
        let (digits, before) = match before {
            [first, rest @ ..] if first["type"] == "Digits" && first["individual_digits"] == true => (true, rest),
            _ => (false, before),
        };
        let words = match before {
            [] if by_gpt2 => Self::Gpt2(Gpt2::default()),
            [split] if !by_gpt2 && split["type"] == "Split" => {
                if split["behavior"] != "Isolated" || split["invert"] == true {
                    return None;
                }
                Self::of_pattern(split["pattern"]["Regex"].as_str()?)?
            }
            _ => return None,
        };
        match words {
            Self::Gpt2(gpt2) => Some(Self::Gpt2(Gpt2 { digits, ..gpt2 })),
            Self::Letters(_) => (!digits).then_some(words),
        }
    }

    fn of_pattern(pattern: &str) -> Option<Self> {
        let letters =
            |word, contractions, numbers, whole_end| Self::Letters(Letters { word, contractions, numbers, whole_end });
        let known = [
            (split::GPT2, Self::Gpt2(Gpt2::default())),
            (split::CL100K, letters(Word::Letters, true, 3, true)),
            (split::LLAMA3, letters(Word::Letters, true, 3, false)),
            (split::QWEN2, letters(Word::Letters, true, 1, false)),
            (split::O200K, letters(Word::Cased, true, 3, false)),
            (split::TEKKEN, letters(Word::Cased, false, 1, false)),
        ];
        let plain = if pattern == GPT2_ORIGINAL { split::GPT2 } else { pattern };
        known.into_iter().find_map(|(name, words)| match words {
            _ if name == plain => Some(words),
            _ if split::with_marks(name) != plain => None,
            Self::Gpt2(gpt2) => Some(Self::Gpt2(Gpt2 { marks: true, ..gpt2 })),
            Self::Letters(letters) => Some(Self::Letters(Letters { word: Word::Marked, ..letters })),
        })
    }

    /// Calls `part` with the start and end of each part of the text, in order.
    #[inline]
    pub(crate) fn split(self, text: &[u8], part: impl FnMut(usize, usize)) {
        match self {
            Self::Gpt2(gpt2) => gpt2.split(text, part),
            Self::Letters(letters) => letters.split(text, part),
        }
    }
}

/// The steps that a step of a `tokenizer.json` is made of.
fn steps(step: &Value) -> Option<&[Value]> {
    match step["type"].as_str()? {
        "Sequence" => step["pretokenizers"].as_array().map(Vec::as_slice),
        _ => Some(std::slice::from_ref(step)),
    }
}

/// A `tokenizer.json`'s `pre_tokenizer` so changed that marks belong to the letter before them ([`split::with_marks`]).
pub(crate) fn with_marks(step: &Value) -> Option<Value> {
    let mut changed = Vec::new();
    for step in steps(step)? {
        if step["type"] == "ByteLevel" && step["use_regex"] != false {
            changed.extend([split::by_expression(&split::with_marks(split::GPT2)), byte_level(false, false)]);
        } else if step["type"] == "Split" {
            let pattern = step["pattern"]["Regex"].as_str()?;
            let pattern = if pattern == GPT2_ORIGINAL { split::GPT2 } else { pattern };
            changed.push(split::by_expression(&split::with_marks(pattern)));
        } else {
            changed.push(step.clone());
        }
    }
    let changed = json!({ "type": "Sequence", "pretokenizers": changed });
    Words::of(&changed).map(|_| changed)
}

/// A long text in pieces, at places where every split that is known ends a part: before white space that follows an ASCII
/// letter or digit.
pub(crate) fn cut(text: &str) -> Vec<&str> {
    let bytes = text.as_bytes();
    let mut pieces = Vec::new();
    let mut from = 0;
    while bytes.len() - from > PIECE_BYTES {
        let border = (from + PIECE_BYTES..bytes.len())
            .find(|&place| bytes[place - 1].is_ascii_alphanumeric() && matches!(bytes[place], b' ' | b'\n'));
        let Some(border) = border else { break };
        pieces.push(&text[from..border]);
        from = border;
    }
    pieces.push(&text[from..]);
    pieces
}
