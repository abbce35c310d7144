//! What kind of character each is, by the tables of the regular expressions that define the splits.

use regex_syntax::hir::{Class, HirKind};
use std::sync::LazyLock;

/// `\p{L}`
pub(super) const LETTER: u8 = 1;
/// `\p{N}`
pub(super) const NUMBER: u8 = 2;
/// `\s`
pub(super) const SPACE: u8 = 4;
/// `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`
pub(super) const UPPER: u8 = 8;
/// `[\p{Ll}\p{Lm}\p{Lo}\p{M}]`
pub(super) const LOWER: u8 = 16;
/// What Rust's `char::is_numeric` says, as the step `Digits` of a `tokenizer.json` asks.
pub(super) const DIGIT: u8 = 32;
/// `\p{M}`
pub(super) const MARK: u8 = 64;

/// The classes of every character, in blocks of 256 of which equal ones are stored once.
pub(super) struct Classes {
    block_of: Vec<u16>,
    blocks: Vec<[u8; 256]>,
}

pub(super) static CLASSES: LazyLock<Classes> = LazyLock::new(Classes::new);

const CHARACTERS: usize = 0x11_0000;

impl Classes {
    fn new() -> Self {
        let mut all = vec![0_u8; CHARACTERS];
        for (pattern, class) in [
            (r"\p{L}", LETTER),
            (r"\p{N}", NUMBER),
            (r"\s", SPACE),
            (r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", UPPER),
            (r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]", LOWER),
            (r"\p{M}", MARK),
        ] {
            for (first, last) in ranges(pattern) {
                all[first as usize..=last as usize].iter_mut().for_each(|classes| *classes |= class);
            }
        }
        for (code, classes) in (0..).zip(&mut all) {
            if char::from_u32(code).is_some_and(char::is_numeric) {
                *classes |= DIGIT;
            }
        }
        let mut blocks: Vec<[u8; 256]> = Vec::new();
        let block_of = all
            .as_chunks::<256>()
            .0
            .iter()
            .map(|block| {
                let place = blocks.iter().position(|known| known == block).unwrap_or_else(|| {
                    blocks.push(*block);
                    blocks.len() - 1
                });
                place as u16
            })
            .collect();
        Self { block_of, blocks }
    }

    /// The classes of the character with this code.
    #[inline]
    pub(super) fn of(&self, code: u32) -> u8 {
        let block = self.block_of.get(code as usize >> 8).copied().unwrap_or_default();
        self.blocks.get(usize::from(block)).map_or(0, |block| block[(code & 0xff) as usize])
    }
}

/// The ranges of characters that a pattern of one class matches.
fn ranges(pattern: &str) -> Vec<(u32, u32)> {
    match regex_syntax::parse(pattern).map(regex_syntax::hir::Hir::into_kind) {
        Ok(HirKind::Class(Class::Unicode(class))) => {
            class.iter().map(|range| (u32::from(range.start()), u32::from(range.end()))).collect()
        }
        _ => unreachable!("{pattern} is a class"),
    }
}

/// The character that begins at `at` in UTF-8 text and its number of bytes; at the end of the text, nothing.
#[inline]
pub(super) fn decode(text: &[u8], at: usize) -> Option<(u32, usize)> {
    let first = u32::from(*text.get(at)?);
    let next = |place: usize| text.get(at + place).map_or(0, |&byte| u32::from(byte) & 0x3f);
    Some(match first {
        0..0x80 => (first, 1),
        0x80..0xe0 => ((first & 0x1f) << 6 | next(1), 2),
        0xe0..0xf0 => ((first & 0xf) << 12 | next(1) << 6 | next(2), 3),
        _ => ((first & 7) << 18 | next(1) << 12 | next(2) << 6 | next(3), 4),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_have_the_classes_of_their_categories() {
        for (character, classes) in [
            ('a', LETTER | LOWER),
            ('Z', LETTER | UPPER),
            ('7', NUMBER | DIGIT),
            (' ', SPACE),
            ('\u{3000}', SPACE),
            ('\u{301}', UPPER | LOWER | MARK),
            ('\u{93e}', UPPER | LOWER | MARK),
            ('漢', LETTER | UPPER | LOWER),
            ('ß', LETTER | LOWER),
            ('½', NUMBER | DIGIT),
            ('!', 0),
            ('\u{10ffff}', 0),
        ] {
            assert_eq!(CLASSES.of(u32::from(character)), classes, "{character:?}");
        }
        assert!(CLASSES.blocks.len() < 256);
    }

    #[test]
    fn characters_are_decoded() {
        for character in ['a', 'é', '漢', '🎈'] {
            let text = character.to_string();
            assert_eq!(decode(text.as_bytes(), 0), Some((u32::from(character), text.len())));
        }
        assert_eq!(decode(b"", 0), None);
    }
}
