//! Lists that a user gives, one entry a line, and the words of a text as such lists know them.

use crate::hash;
use crate::layout::{Layout, is_space, is_word};
use crate::read::open_bytes;
use metier_core::{Error, Fault, Place, Result};
use std::collections::HashSet;
use std::io::BufRead as _;
use std::ops::Range;
use std::path::Path;

/// Faults of a file that are told.
const TOLD: usize = 20;

/// Gives each entry of a file to `take`, which says what is wrong with it. Entries are lines without white space at both ends,
/// compressed ones too. Empty lines, and those that begin with `#`, are none. What was read goes into `hash`.
///
/// # Errors
/// A file that cannot be read or has no entry; lines that are no UTF-8 or that `take` refuses, all of them together.
pub(crate) fn read(
    path: &Path,
    hash: &mut blake3::Hasher,
    mut take: impl FnMut(&str) -> std::result::Result<(), String>,
) -> Result<()> {
    let mut bytes = open_bytes(path)?;
    let (mut line, mut number, mut entries, mut faults) = (Vec::new(), 0, 0, Vec::new());
    while faults.len() < TOLD {
        line.clear();
        if bytes.read_until(b'\n', &mut line).map_err(|error| Error::io(path, "read", &error))? == 0 {
            break;
        }
        hash.update(&line);
        number += 1;
        let place = || Place::file(path).at(number, 1);
        let Ok(entry) = std::str::from_utf8(&line) else {
            faults.push(Fault::new(place(), "the line is no UTF-8"));
            continue;
        };
        let entry = entry.trim_start_matches('\u{feff}').trim_matches(is_space);
        if entry.is_empty() || entry.starts_with('#') {
            continue;
        }
        match take(entry) {
            Ok(()) => entries += 1,
            Err(message) => faults.push(Fault::new(place(), message)),
        }
    }
    if entries == 0 && faults.is_empty() {
        let hint = "write one entry a line, or leave the file out";
        return Err(Fault::new(Place::file(path), "the list has no entry").hint(hint).into());
    }
    Error::collect((), faults)
}

/// A character in lower case where that is one character, and white space as a space: a text keeps the number of its characters.
pub(crate) fn folded(letter: char) -> char {
    if letter.is_ascii() {
        return if is_space(letter) { ' ' } else { letter.to_ascii_lowercase() };
    }
    if is_space(letter) {
        return ' ';
    }
    let mut lower = letter.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(one), None) => one,
        _ => letter,
    }
}

/// Words without white space, [folded].
#[derive(Debug, Default)]
pub(crate) struct Words {
    all: HashSet<Box<str>, hash::Build>,
    longest: usize,
}

impl Words {
    /// Adds a word.
    pub fn add(&mut self, word: &str) {
        let word: String = word.chars().map(folded).collect();
        self.longest = self.longest.max(word.len());
        self.all.insert(word.into());
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether a folded word is one of them.
    pub fn contains(&self, word: &str) -> bool {
        word.len() <= self.longest && self.all.contains(word)
    }
}

/// The words of a text, runs of letters and digits, [folded] and each between two spaces, with where each stands. A phrase that is
/// [padded] likewise is found as a whole, and two that follow each other do not share a space.
#[derive(Debug, Default)]
pub(crate) struct Plain {
    text: String,
    /// Where each word begins here, and where it begins and ends in the text.
    places: Vec<[u32; 3]>,
}

impl Plain {
    /// Takes in another text.
    pub fn set(&mut self, text: &str) {
        self.text.clear();
        self.places.clear();
        let mut open = false;
        for (at, letter) in text.char_indices() {
            let inside = is_word(letter) && letter != '_';
            if inside && !open {
                self.text.push(' ');
                self.places.push([self.text.len() as u32, at as u32, 0]);
            }
            if inside {
                self.text.push(folded(letter));
            } else if open {
                self.end(at);
            }
            open = inside;
        }
        if open {
            self.end(text.len());
        }
    }

    fn end(&mut self, at: usize) {
        self.text.push(' ');
        if let Some(place) = self.places.last_mut() {
            place[2] = at as u32;
        }
    }

    /// The words, each between two spaces.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Number of words.
    pub fn words(&self) -> usize {
        self.places.len()
    }

    /// The number of words in a range of [`Plain::text`] that begins before a word and ends behind one, and where they stand in the text.
    pub fn source(&self, range: Range<usize>) -> (usize, Range<usize>) {
        let before = |at: usize| self.places.partition_point(|place| (place[0] as usize) <= at);
        let (first, last) = (before(range.start), before(range.end));
        let place = |word: usize| self.places.get(word).copied().unwrap_or_default();
        (last - first, place(first)[1] as usize..place(last.saturating_sub(1))[2] as usize)
    }
}

/// The words of a phrase as [`Plain`] has them.
pub(crate) fn padded(phrase: &str) -> String {
    let mut plain = Plain::default();
    plain.set(phrase);
    plain.text
}

/// Calls `each` with the byte ranges that can be a listed word: what stands between white space, the same without marks around it,
/// and each run of letters, digits and underscores in it. The first two are given before the runs, each range once.
pub(crate) fn words(layout: &Layout, mut each: impl FnMut(Range<usize>)) {
    for run in layout.words() {
        let (start, text) = (run.start as usize, layout.slice(*run));
        let whole = start..run.end as usize;
        each(whole.clone());
        let stripped = text.trim_matches(|letter| !is_word(letter));
        if stripped.is_empty() {
            continue;
        }
        let from = start + (stripped.as_ptr() as usize - text.as_ptr() as usize);
        let core = from..from + stripped.len();
        if core != whole {
            each(core);
        }
        let mut at = from;
        for part in stripped.split_inclusive(|letter| !is_word(letter)) {
            let inner = part.trim_end_matches(|letter| !is_word(letter));
            if !inner.is_empty() && inner.len() < stripped.len() {
                each(at..at + inner.len());
            }
            at += part.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_whole_and_in_parts() {
        let mut layout = Layout::default();
        layout.set("(don't) c++ a -- x_1,y\u{e9}");
        let mut found = Vec::new();
        words(&layout, |range| found.push(layout.text()[range].to_owned()));
        assert_eq!(found, ["(don't)", "don't", "don", "t", "c++", "c", "a", "--", "x_1,y\u{e9}", "x_1", "y\u{e9}"]);
    }

    #[test]
    fn plain_words_lead_back_to_the_text() {
        let mut plain = Plain::default();
        let text = "\u{c9}t\u{e9}, one_two\n* 2.0";
        plain.set(text);
        assert_eq!((plain.text(), plain.words()), (" \u{e9}t\u{e9}  one  two  2  0 ", 5));
        let at = plain.text().find(&padded("One-Two")).unwrap();
        let (words, range) = plain.source(at..at + padded("one two").len());
        assert_eq!((words, &text[range]), (2, "one_two"));
        let (words, range) = plain.source(0..plain.text().len());
        assert_eq!((words, &text[range]), (5, text));
        plain.set("");
        assert_eq!(plain.source(0..0), (0, 0..0));
    }

    #[test]
    fn lists_are_refused_with_their_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list.txt");
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            let mut all = Vec::new();
            let taken = read(&path, &mut blake3::Hasher::new(), |entry| {
                all.push(entry.to_owned());
                if entry == "bad" { Err("is bad".to_owned()) } else { Ok(()) }
            });
            taken.map(|()| all).map_err(|error| error.to_string())
        };
        assert_eq!(read(b"\xef\xbb\xbfone\r\n\n # no\n two words \n").unwrap(), ["one", "two words"]);
        assert!(read(b"# only\n\n").unwrap_err().contains("list.txt: the list has no entry"));
        let said = read(b"bad\n\xff\nbad").unwrap_err();
        assert!(said.contains("list.txt:1:1: is bad") && said.contains(":2:1: the line is no UTF-8"), "{said}");
        assert!(said.contains(":3:1"), "{said}");
        assert_eq!(folded('\u{130}'), '\u{130}');
        assert_eq!((folded('\u{c4}'), folded('\n'), folded('\u{212a}')), ('\u{e4}', ' ', 'k'));
    }
}
