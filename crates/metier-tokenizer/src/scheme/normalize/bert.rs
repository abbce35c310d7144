//! The normal form that BERT's vocabularies take, and its words.
//!
//! Source: `normalizers/bert.rs` and `pre_tokenizers/bert.rs` of the `tokenizers` crate, whose tables of categories these are.

use super::Normalized;
use serde_json::Value;
use std::sync::LazyLock;
use unicode_categories::UnicodeCategories;
use unicode_normalization_alignments::UnicodeNormalization;

/// What is done to a text.
#[derive(Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "they are the settings of a `BertNormalizer`")]
pub(in crate::scheme) struct Bert {
    /// Control characters go, white space becomes blanks.
    clean: bool,
    /// Chinese characters stand for themselves between blanks.
    chinese: bool,
    /// Marks on letters go.
    strip: bool,
    lowercase: bool,
}

const CONTROL: u8 = 1;
const BLANK: u8 = 2;
const CHINESE: u8 = 4;
const MARK: u8 = 8;
const PUNCTUATION: u8 = 16;

/// Of the characters below U+10000.
static CLASSES: LazyLock<Box<[u8]>> =
    LazyLock::new(|| (0..=0xffff).map(|code| char::from_u32(code).map_or(0, classify)).collect());

fn class(character: char) -> u8 {
    CLASSES.get(character as usize).copied().unwrap_or_else(|| classify(character))
}

fn classify(character: char) -> u8 {
    let is_chinese = matches!(
        u32::from(character),
        0x3400..=0x4dbf
            | 0x4e00..=0x9fff
            | 0xf900..=0xfaff
            | 0x2_0000..=0x2_a6df
            | 0x2_a700..=0x2_b73f
            | 0x2_b740..=0x2_b81f
            | 0x2_b920..=0x2_ceaf
            | 0x2_f800..=0x2_fa1f
    );
    let is_control = character == '\u{fffd}' || (character.is_other() && !matches!(character, '\t' | '\n' | '\r'));
    let is_punctuation = character.is_ascii_punctuation() || character.is_punctuation();
    let bit = |holds: bool, class: u8| if holds { class } else { 0 };
    bit(is_control, CONTROL)
        | bit(character.is_whitespace(), BLANK)
        | bit(is_chinese, CHINESE)
        | bit(character.is_mark_nonspacing(), MARK)
        | bit(is_punctuation, PUNCTUATION)
}

impl Bert {
    /// A `BertNormalizer`; `None` when its settings are none.
    pub(super) fn of(step: &Value) -> Option<Self> {
        let asked = |key: &str| step[key].as_bool();
        let lowercase = asked("lowercase")?;
        let strip = if step["strip_accents"].is_null() { lowercase } else { asked("strip_accents")? };
        Some(Self { clean: asked("clean_text")?, chinese: asked("handle_chinese_chars")?, strip, lowercase })
    }

    pub(super) fn apply<'a>(self, before: &Normalized, with_ends: bool) -> Normalized<'a> {
        let text = before.text.as_ref();
        let mut out = Output { text: String::with_capacity(text.len()), ends: with_ends.then(Vec::new) };
        if text.is_ascii() {
            for (at, character) in text.char_indices() {
                if let Some(character) = self.cleaned(character) {
                    let character = if self.lowercase { character.to_ascii_lowercase() } else { character };
                    out.push(character, before.end(at + 1));
                }
            }
            return Normalized::changed(out.text, out.ends);
        }
        let mut characters: Vec<(char, usize)> = Vec::with_capacity(text.len());
        for (at, character) in text.char_indices() {
            let Some(character) = self.cleaned(character) else { continue };
            let end = if with_ends { before.end(at + character.len_utf8()) } else { 0 };
            if self.chinese && class(character) & CHINESE != 0 {
                characters.extend([(' ', end), (character, end), (' ', end)]);
            } else {
                characters.push((character, end));
            }
        }
        if self.strip {
            let mut next = 0;
            let mut stripped = Vec::with_capacity(characters.len());
            for (character, change) in characters.iter().map(|(character, _)| *character).nfd() {
                // What is added has the place of what was before it.
                let of: usize = if change > 0 { next - usize::from(next > 0) } else { next };
                next += if change > 0 { 0 } else { 1 + change.unsigned_abs() };
                if class(character) & MARK == 0 {
                    stripped.push((character, characters.get(of).map_or(0, |(_, end)| *end)));
                }
            }
            characters = stripped;
        }
        for (character, end) in characters {
            if self.lowercase {
                character.to_lowercase().for_each(|small| out.push(small, end));
            } else {
                out.push(character, end);
            }
        }
        Normalized::changed(out.text, out.ends)
    }

    fn cleaned(self, character: char) -> Option<char> {
        if !self.clean {
            return Some(character);
        }
        match class(character) {
            class if class & CONTROL != 0 => None,
            class if class & BLANK != 0 => Some(' '),
            _ => Some(character),
        }
    }
}

/// Calls `word` with the start and end of each word: what is between white space, and each mark of punctuation for itself.
pub(in crate::scheme) fn bert_words(text: &str, mut word: impl FnMut(usize, usize)) {
    let mut from = 0;
    for (at, character) in text.char_indices() {
        let class = class(character);
        if class & (BLANK | PUNCTUATION) == 0 {
            continue;
        }
        if at > from {
            word(from, at);
        }
        from = at + character.len_utf8();
        if class & BLANK == 0 {
            word(at, from);
        }
    }
    if text.len() > from {
        word(from, text.len());
    }
}

struct Output {
    text: String,
    ends: Option<Vec<usize>>,
}

impl Output {
    fn push(&mut self, character: char, end: usize) {
        self.text.push(character);
        if let Some(ends) = &mut self.ends {
            ends.resize(self.text.len(), end);
        }
    }
}
