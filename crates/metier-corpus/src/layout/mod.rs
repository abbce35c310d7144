//! What all taggers ask of a text, found once: its words, its lines, and which character a byte belongs to.

mod table;

use std::cmp::Ordering;

/// A run of bytes of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// First byte.
    pub start: u32,
    /// Byte after the last.
    pub end: u32,
}

impl Run {
    /// Number of bytes.
    pub fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether it has no byte.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// Bytes between two entries of [`Layout::characters`].
const STRIDE: usize = 64;

/// A text with its words and lines. One value serves many texts, so that nothing is allocated for each.
#[derive(Debug, Default)]
pub struct Layout {
    text: String,
    words: Vec<Run>,
    lines: Vec<Run>,
    /// Characters before each multiple of [`STRIDE`] bytes; empty when each byte is a character.
    before: Vec<u32>,
    characters: usize,
}

impl Layout {
    /// Takes in another text. Texts of 4 GiB and more are cut there; no reader gives one.
    pub fn set(&mut self, text: &str) {
        self.text.clear();
        let mut end = text.len().min(u32::MAX as usize);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.text.push_str(&text[..end]);
        self.words.clear();
        self.lines.clear();
        self.before.clear();
        if self.text.is_ascii() {
            self.characters = self.text.len();
        } else {
            let mut count = 0;
            for chunk in self.text.as_bytes().chunks(STRIDE) {
                self.before.push(count);
                count += leading(chunk) as u32;
            }
            self.characters = count as usize;
        }
        self.split();
    }

    fn split(&mut self) {
        let bytes = self.text.as_bytes();
        let (mut at, mut word, mut line) = (0, usize::MAX, 0);
        while at < bytes.len() {
            let class = CLASS[bytes[at] as usize];
            if class == Class::Other {
                if word == usize::MAX {
                    word = at;
                }
                at += 1;
                continue;
            }
            let width = match class {
                Class::Lead => space_width(&bytes[at..]),
                _ => 1,
            };
            if width == 0 {
                if word == usize::MAX {
                    word = at;
                }
                at += 1;
                continue;
            }
            if word != usize::MAX {
                self.words.push(Run { start: word as u32, end: at as u32 });
                word = usize::MAX;
            }
            if class == Class::Newline {
                self.lines.push(Run { start: line as u32, end: at as u32 });
                line = at + 1;
            }
            at += width;
        }
        if word != usize::MAX {
            self.words.push(Run { start: word as u32, end: bytes.len() as u32 });
        }
        self.lines.push(Run { start: line as u32, end: bytes.len() as u32 });
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Number of characters.
    pub fn characters(&self) -> usize {
        self.characters
    }

    /// Whether every character is one byte.
    pub fn is_ascii(&self) -> bool {
        self.before.is_empty()
    }

    /// Words: the longest runs without white space.
    pub fn words(&self) -> &[Run] {
        &self.words
    }

    /// Lines without their line feed. A text has one more than it has line feeds.
    pub fn lines(&self) -> &[Run] {
        &self.lines
    }

    /// Lines with their line feed, without the empty one at the end: Dolma's paragraphs.
    pub fn paragraphs(&self) -> impl Iterator<Item = Run> + '_ {
        let last = self.lines.len().saturating_sub(1);
        self.lines.iter().enumerate().filter_map(move |(index, line)| {
            let run = Run { start: line.start, end: line.end + u32::from(index < last) };
            (!run.is_empty()).then_some(run)
        })
    }

    /// The text of a run.
    pub fn slice(&self, run: Run) -> &str {
        &self.text[run.start as usize..run.end as usize]
    }

    /// The number of the character at a byte.
    pub fn character(&self, byte: usize) -> usize {
        if self.before.is_empty() {
            return byte;
        }
        let block = (byte / STRIDE).min(self.before.len() - 1);
        self.before[block] as usize + leading(&self.text.as_bytes()[block * STRIDE..byte])
    }

    /// Number of characters in a run.
    pub fn width(&self, run: Run) -> usize {
        if self.before.is_empty() {
            run.len()
        } else {
            leading(&self.text.as_bytes()[run.start as usize..run.end as usize])
        }
    }
}

/// Bytes that begin a character.
fn leading(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| (**byte as i8) >= -0x40).count()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Other,
    Space,
    Newline,
    /// May begin white space of several bytes.
    Lead,
}

static CLASS: [Class; 256] = {
    let mut table = [Class::Other; 256];
    let mut spaces = 9;
    while spaces <= 13 {
        table[spaces] = Class::Space;
        spaces += 1;
    }
    spaces = 0x1c;
    while spaces <= 0x20 {
        table[spaces] = Class::Space;
        spaces += 1;
    }
    table[b'\n' as usize] = Class::Newline;
    table[0xc2] = Class::Lead;
    table[0xe1] = Class::Lead;
    table[0xe2] = Class::Lead;
    table[0xe3] = Class::Lead;
    table
};

/// Bytes of the white space, of several bytes, that these begin with; 0 for anything else.
fn space_width(bytes: &[u8]) -> usize {
    match bytes {
        [0xc2, 0x85 | 0xa0, ..] => 2,
        [0xe1, 0x9a, 0x80, ..]
        | [0xe2, 0x80, 0x80..=0x8a | 0xa8 | 0xa9 | 0xaf, ..]
        | [0xe2, 0x81, 0x9f, ..]
        | [0xe3, 0x80, 0x80, ..] => 3,
        _ => 0,
    }
}

/// Whether Python takes a character for white space: Unicode's, and the separators U+001C to U+001F.
pub fn is_space(letter: char) -> bool {
    letter.is_whitespace() || matches!(letter, '\u{1c}'..='\u{1f}')
}

/// A text without white space at both ends, as Python strips it.
pub fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// Whether a character is a letter (general category L).
pub fn is_letter(letter: char) -> bool {
    if letter.is_ascii() {
        letter.is_ascii_alphabetic()
    } else {
        letter.is_alphabetic() && within(table::LETTER, letter)
    }
}

/// Whether a character is a decimal digit of any script.
pub fn is_decimal(letter: char) -> bool {
    if letter.is_ascii() { letter.is_ascii_digit() } else { within(table::DECIMAL, letter) }
}

/// Whether a character belongs to a word as patterns see it: letters, marks, digits and connectors.
pub fn is_word(letter: char) -> bool {
    if letter.is_ascii() { letter.is_ascii_alphanumeric() || letter == '_' } else { within(table::WORD, letter) }
}

fn within(ranges: &[(u32, u32)], letter: char) -> bool {
    let code = letter as u32;
    ranges
        .binary_search_by(|(first, last)| match (*last < code, *first > code) {
            (true, _) => Ordering::Less,
            (_, true) => Ordering::Greater,
            _ => Ordering::Equal,
        })
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_lines_are_those_of_the_characters() {
        let mut layout = Layout::default();
        for text in [
            "",
            "a",
            " a  b\n\nc d\n",
            "\u{e9}t\u{e9}\u{a0}\u{85}x\u{2003}\u{3000}y\u{1c}z",
            "\u{e2}\u{300d}\u{1680}",
            &"wörd ".repeat(60),
        ] {
            layout.set(text);
            let words: Vec<&str> = layout.words().iter().map(|word| layout.slice(*word)).collect();
            assert_eq!(words, text.split(is_space).filter(|word| !word.is_empty()).collect::<Vec<_>>());
            let lines: Vec<&str> = layout.lines().iter().map(|line| layout.slice(*line)).collect();
            assert_eq!(lines, text.split('\n').collect::<Vec<_>>());
            assert_eq!(layout.paragraphs().map(|run| layout.slice(run)).collect::<String>(), text);
            for (number, (byte, _)) in text.char_indices().enumerate() {
                assert_eq!(layout.character(byte), number);
            }
            assert_eq!(
                (layout.characters(), layout.character(text.len())),
                (text.chars().count(), text.chars().count())
            );
        }
    }

    #[test]
    fn classes_of_characters() {
        assert!(
            is_letter('\u{915}')
                && !is_letter('\u{940}')
                && !is_letter('\u{2167}')
                && is_letter('z')
                && !is_letter('1')
        );
        assert!(is_decimal('\u{967}') && is_decimal('7') && !is_decimal('\u{b2}'));
        assert!(is_word('\u{940}') && is_word('_') && !is_word('-') && !is_word('\u{2014}'));
    }
}
