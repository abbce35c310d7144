//! Splitting a text into the parts that are encoded each for itself.

mod classes;
mod gpt2;
mod letters;
#[cfg(test)]
mod tests;

use super::split;
use letters::Letters;
use serde_json::Value;

/// A split that is done here, without the regular expression that defines it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Words {
    /// GPT-2's; with numeric characters each for itself, SmolLM2's.
    Gpt2 { digits: bool },
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
        let steps = match step["type"].as_str()? {
            "Sequence" => step["pretokenizers"].as_array()?.as_slice(),
            _ => std::slice::from_ref(step),
        };
        let byte_level =
            steps.last().filter(|step| step["type"] == "ByteLevel" && step["add_prefix_space"] == false)?;
        let by_gpt2 = byte_level["use_regex"] != false;
        match steps {
            [_] if by_gpt2 => Some(Self::Gpt2 { digits: false }),
            [first, _] if by_gpt2 && first["type"] == "Digits" && first["individual_digits"] == true => {
                Some(Self::Gpt2 { digits: true })
            }
            [first, _] if !by_gpt2 && first["type"] == "Split" => {
                if first["behavior"] != "Isolated" || first["invert"] == true {
                    return None;
                }
                Self::of_pattern(first["pattern"]["Regex"].as_str()?)
            }
            _ => None,
        }
    }

    fn of_pattern(pattern: &str) -> Option<Self> {
        let letters = |cased, contractions, numbers, whole_end| {
            Some(Self::Letters(Letters { cased, contractions, numbers, whole_end }))
        };
        match pattern {
            split::GPT2 | GPT2_ORIGINAL => Some(Self::Gpt2 { digits: false }),
            split::CL100K => letters(false, true, 3, true),
            split::LLAMA3 => letters(false, true, 3, false),
            split::QWEN2 => letters(false, true, 1, false),
            split::O200K => letters(true, true, 3, false),
            split::TEKKEN => letters(true, false, 1, false),
            _ => None,
        }
    }

    /// Calls `part` with the start and end of each part of the text, in order.
    #[inline]
    pub(crate) fn split(self, text: &[u8], part: impl FnMut(usize, usize)) {
        match self {
            Self::Gpt2 { digits } => gpt2::split(text, digits, part),
            Self::Letters(letters) => letters.split(text, part),
        }
    }
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
