//! The splits of OpenAI's later vocabularies and those made after them, character by character.

use super::classes::{CLASSES, LETTER, LOWER, MARK, NUMBER, SPACE, UPPER, decode};

/// What differs among the patterns of this kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Letters {
    /// What words are made of.
    pub(super) word: Word,
    /// Apostrophes take letters with them: at the beginning of a part, or at the end of a word if cased.
    pub(super) contractions: bool,
    /// Most characters in a part of numbers.
    pub(super) numbers: usize,
    /// White space at the end of the text is one part, newlines or not.
    pub(super) whole_end: bool,
}

/// What words are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// Letters.
    Letters,
    /// Letters, and marks after the first of them ([`with_marks`](crate::scheme::split::with_marks)).
    Marked,
    /// Capitals and then small letters, marks being both (`o200k_base`, Tekken).
    Cased,
}

impl Letters {
    /// Calls `part` with the start and end of each part of the text, in order.
    pub(super) fn split(self, text: &[u8], mut part: impl FnMut(usize, usize)) {
        let mut at = 0;
        while at < text.len() {
            let end = self.end_of_part(text, at);
            part(at, end);
            at = end;
        }
    }

    fn end_of_part(self, text: &[u8], at: usize) -> usize {
        let Some((first, length)) = decode(text, at) else { return text.len() };
        let classes = CLASSES.of(first);
        let cased = self.word == Word::Cased;
        if self.contractions && !cased && first == u32::from('\'') {
            let end = contraction(text, at);
            if end > at && !(self.word == Word::Marked && is_mark(text, end)) {
                return end;
            }
        }
        // Any character but a letter, a number or a newline may stand before a word.
        let word = at + if classes & (LETTER | NUMBER) == 0 && !is_newline(first) { length } else { 0 };
        let kinds: &[fn(&[u8], usize) -> usize] = match self.word {
            Word::Cased => &[small_end, capitals],
            Word::Marked => &[marked_letters],
            Word::Letters => &[letters],
        };
        for end_of in kinds {
            // The character before it may be a mark, which where case counts is a letter.
            for from in [word, at] {
                let end = end_of(text, from);
                if end > from {
                    return if cased && self.contractions { contraction(text, end) } else { end };
                }
            }
        }
        if classes & NUMBER != 0 {
            return self.run_of_numbers(text, at);
        }
        let from = if first == u32::from(' ') { at + length } else { at };
        let end = run(text, from, |classes| classes & (SPACE | LETTER | NUMBER) == 0);
        if end > from {
            let more = text[end..].iter().take_while(|&&byte| matches!(byte, b'\r' | b'\n') || (cased && byte == b'/'));
            return end + more.count();
        }
        self.spaces(text, at)
    }

    fn run_of_numbers(self, text: &[u8], at: usize) -> usize {
        let mut end = at;
        for _ in 0..self.numbers {
            match decode(text, end) {
                Some((code, length)) if CLASSES.of(code) & NUMBER != 0 => end += length,
                _ => break,
            }
        }
        end
    }

    fn spaces(self, text: &[u8], at: usize) -> usize {
        let (mut end, mut last, mut after_newline) = (at, at, at);
        while let Some((code, length)) = decode(text, end) {
            if CLASSES.of(code) & SPACE == 0 {
                break;
            }
            last = end;
            end += length;
            if is_newline(code) {
                after_newline = end;
            }
        }
        if end == text.len() && (self.whole_end || after_newline == at) {
            end
        } else if after_newline > at {
            after_newline
        } else if last > at {
            last
        } else {
            end
        }
    }
}

/// The end of the letters from `from` on.
fn letters(text: &[u8], from: usize) -> usize {
    run(text, from, |classes| classes & LETTER != 0)
}

/// The same, with marks after the first of them.
fn marked_letters(text: &[u8], from: usize) -> usize {
    if letters(text, from) == from { from } else { run(text, from, |classes| classes & (LETTER | MARK) != 0) }
}

/// Whether the character at `at` is a mark.
fn is_mark(text: &[u8], at: usize) -> bool {
    decode(text, at).is_some_and(|(code, _)| CLASSES.of(code) & MARK != 0)
}

/// The end of the capitals from `from` on.
fn capitals(text: &[u8], from: usize) -> usize {
    run(text, from, |classes| classes & UPPER != 0)
}

/// The end of capitals, if any, and one or more small letters from `from` on; `from` when there are none.
fn small_end(text: &[u8], from: usize) -> usize {
    let capitals = capitals(text, from);
    let end = run(text, capitals, |classes| classes & LOWER != 0);
    if end > capitals {
        return end;
    }
    // Letters without case are capitals and small letters at once: the last of them ends the word.
    let (mut at, mut last) = (from, from);
    while at < capitals {
        let Some((code, length)) = decode(text, at) else { break };
        at += length;
        if CLASSES.of(code) & LOWER != 0 {
            last = at;
        }
    }
    last
}

fn is_newline(code: u32) -> bool {
    code == u32::from('\n') || code == u32::from('\r')
}

/// The end of the characters from `at` on whose classes are wanted.
#[inline]
fn run(text: &[u8], mut at: usize, wanted: impl Fn(u8) -> bool) -> usize {
    while let Some((code, length)) = decode(text, at) {
        if !wanted(CLASSES.of(code)) {
            break;
        }
        at += length;
    }
    at
}

/// The end of `'s`, `'t`, `'m`, `'d`, `'re`, `'ve` or `'ll`, in capitals too, at `at`; `at` itself when there is none.
fn contraction(text: &[u8], at: usize) -> usize {
    if text.get(at) != Some(&b'\'') {
        return at;
    }
    let small = |place: usize| text.get(at + place).map_or(0, u8::to_ascii_lowercase);
    match (small(1), small(2)) {
        (b's' | b't' | b'm' | b'd', _) => at + 2,
        // The last is the long s, an s to a pattern that does not tell capitals from small letters.
        (b'r' | b'v', b'e') | (b'l', b'l') | (0xc5, 0xbf) => at + 3,
        _ => at,
    }
}
