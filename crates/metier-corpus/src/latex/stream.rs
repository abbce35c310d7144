//! The characters of a document in the order in which TeX sees them: files inside files, macros inside macros.

use super::Stop;
use metier_core::Place;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Most files, and most macros, that may be open inside each other.
pub(super) const DEPTH: usize = 32;
/// Most bytes that included files and macros may add to a document.
pub(super) const ADDED: usize = if cfg!(test) { 1 << 20 } else { 1 << 26 };
/// Most bytes in which an optional argument must end.
const OPTIONAL: usize = 4096;

/// A position in one of a document's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot {
    file: usize,
    at: usize,
}

/// A file, or what a macro stands for.
struct Frame {
    text: Rc<str>,
    at: usize,
    from: Origin,
}

enum Origin {
    File(usize),
    /// What was written at a place: a macro's text, or a text without a name that the cleaner put there.
    Macro {
        name: String,
        spot: Spot,
    },
}

/// White space and comments between two words.
#[derive(Debug, Default)]
pub(super) struct Space {
    /// The white space as written, without comments and carriage returns.
    pub raw: String,
    /// Whether a paragraph ends.
    pub paragraph: bool,
}

/// Where the document is being read.
pub(super) struct Stream {
    frames: Vec<Frame>,
    files: Vec<(PathBuf, Rc<str>)>,
    added: usize,
    /// Whether `@` is a letter.
    pub at_is_letter: bool,
}

impl Stream {
    /// At the begin of a document's main file.
    pub(super) fn new(path: &Path, text: &Rc<str>) -> Self {
        Self {
            frames: vec![Frame { text: text.clone(), at: 0, from: Origin::File(0) }],
            files: vec![(path.to_path_buf(), text.clone())],
            added: 0,
            at_is_letter: false,
        }
    }

    /// The main file.
    pub(super) fn text(&self) -> &str {
        &self.files[0].1
    }

    /// Goes into a file, which is read before the rest. `false` when it is open already or too many are.
    pub(super) fn enter_file(&mut self, path: &Path, text: &Rc<str>) -> Result<bool, Stop> {
        let open: Vec<usize> = self
            .frames
            .iter()
            .filter_map(|frame| match frame.from {
                Origin::File(file) => Some(file),
                Origin::Macro { .. } => None,
            })
            .collect();
        if open.len() > DEPTH || open.iter().any(|file| self.files[*file].0 == path) {
            return Ok(false);
        }
        self.add(text.len(), "included files")?;
        let known = self.files.iter().position(|(known, _)| known == path);
        let file = known.unwrap_or_else(|| {
            self.files.push((path.to_path_buf(), text.clone()));
            self.files.len() - 1
        });
        self.frames.push(Frame { text: text.clone(), at: 0, from: Origin::File(file) });
        Ok(true)
    }

    /// Goes into what a macro stands for. Too many inside each other: the name of the one to blame, and whether it
    /// contains itself.
    pub(super) fn enter_macro(&mut self, name: &str, text: &str, spot: Spot) -> Result<Option<(String, bool)>, Stop> {
        let open: Vec<&str> = self
            .frames
            .iter()
            .filter_map(|frame| match &frame.from {
                Origin::Macro { name, .. } if !name.is_empty() => Some(name.as_str()),
                _ => None,
            })
            .collect();
        if open.len() >= DEPTH {
            let count = |name: &str| open.iter().filter(|other| **other == name).count();
            let (most, often) = open
                .iter()
                .map(|name| (*name, count(name)))
                .fold((name, 1), |most, next| if next.1 > most.1 { next } else { most });
            return Ok(Some((most.to_owned(), often > 1)));
        }
        self.add(text.len(), &format!("`\\{name}` and other macros"))?;
        self.insert(name, text, spot);
        Ok(None)
    }

    /// Puts a text in front of what is to be read.
    pub(super) fn insert(&mut self, name: &str, text: &str, spot: Spot) {
        self.frames.push(Frame { text: text.into(), at: 0, from: Origin::Macro { name: name.to_owned(), spot } });
    }

    fn add(&mut self, bytes: usize, what: &str) -> Result<(), Stop> {
        // A frame costs something even when it is empty.
        self.added = self.added.saturating_add(bytes).saturating_add(64);
        if self.added > ADDED {
            return Err(Stop::new(self.spot(), format!("{what} add more than {ADDED} bytes")));
        }
        Ok(())
    }

    /// Leaves the file that is being read, and all macros inside it.
    pub(super) fn leave_file(&mut self) {
        while let Some(frame) = self.frames.pop() {
            if matches!(frame.from, Origin::File(_)) {
                break;
            }
        }
    }

    /// What is left of the innermost file or macro that is not at its end; empty at the end of the document.
    pub(super) fn rest(&mut self) -> &str {
        while self.frames.last().is_some_and(|frame| frame.at >= frame.text.len()) {
            self.frames.pop();
        }
        self.frames.last().map_or("", |frame| &frame.text[frame.at..])
    }

    /// The next character.
    pub(super) fn peek(&mut self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Goes on by bytes of [`Self::rest`].
    pub(super) fn skip(&mut self, bytes: usize) {
        if let Some(frame) = self.frames.last_mut() {
            frame.at += bytes;
        }
    }

    /// Where the reading is, in a file.
    pub(super) fn spot(&self) -> Spot {
        match self.frames.last() {
            Some(Frame { from: Origin::Macro { spot, .. }, .. }) => *spot,
            Some(Frame { from: Origin::File(file), at, .. }) => Spot { file: *file, at: *at },
            None => Spot { file: 0, at: self.files[0].1.len() },
        }
    }

    /// The byte of the main file that comes next, if it is the main file that is being read.
    pub(super) fn source(&self) -> Option<usize> {
        self.frames.last().and_then(|frame| matches!(frame.from, Origin::File(0)).then_some(frame.at))
    }

    /// The folders in which included files are searched: of the file that is being read, and of the main file.
    pub(super) fn folders(&self) -> [PathBuf; 2] {
        [self.spot().file, 0].map(|file| self.files[file].0.parent().unwrap_or(Path::new("")).to_path_buf())
    }

    /// File, line and column.
    pub(super) fn place(&self, spot: Spot) -> Place {
        let (path, text) = &self.files[spot.file];
        let before = &text[..spot.at.min(text.len())];
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Place::file(path).at(before.matches('\n').count() + 1, column)
    }

    /// White space and comments from here on.
    pub(super) fn space(&mut self) -> Space {
        let mut out = Space::default();
        // A comment takes its line's end along and the next line's indent, so a blank line may follow at once.
        let mut at_start = false;
        while let Some(letter) = self.peek() {
            match letter {
                '\n' => {
                    out.paragraph |= at_start;
                    out.raw.push('\n');
                    at_start = true;
                }
                '\r' => {}
                ' ' | '\t' => out.raw.push(letter),
                '%' => {
                    let end = self.rest().find('\n').unwrap_or(self.rest().len());
                    self.skip(end);
                    at_start = true;
                    // Only in the same text: a comment does not go on behind a macro's end.
                    let rest = self.frames.last().map_or("", |frame| &frame.text[frame.at..]);
                    let next = rest.strip_prefix('\n').unwrap_or(rest).trim_start_matches([' ', '\t', '\r']);
                    self.skip(rest.len() - next.len());
                    continue;
                }
                _ => break,
            }
            self.skip(letter.len_utf8());
        }
        out
    }

    /// Skips the spaces that TeX skips after a command's name: to the next word of the paragraph.
    pub(super) fn skip_blank(&mut self) {
        let Some(frame) = self.frames.last_mut() else { return };
        let rest = &frame.text[frame.at..];
        let line = rest.trim_start_matches([' ', '\t', '\r']);
        let mut next = line;
        if let Some(below) = line.strip_prefix('\n') {
            let below = below.trim_start_matches([' ', '\t', '\r']);
            next = if below.starts_with('\n') || below.is_empty() { line } else { below };
        }
        frame.at += rest.len() - next.len();
    }

    /// The name after a backslash: letters, or one character.
    pub(super) fn name(&mut self) -> String {
        let at = self.at_is_letter;
        let Some(frame) = self.frames.last_mut() else { return String::new() };
        let rest = &frame.text[frame.at..];
        let letters = rest.find(|letter: char| !(letter.is_ascii_alphabetic() || (at && letter == '@')));
        let length = match letters.unwrap_or(rest.len()) {
            0 => rest.chars().next().map_or(0, char::len_utf8),
            length => length,
        };
        frame.at += length;
        rest[..length].to_owned()
    }

    /// Takes a character if it is the next one.
    pub(super) fn take(&mut self, letter: char) -> bool {
        let taken = self.frames.last().is_some_and(|frame| frame.text[frame.at..].starts_with(letter));
        if taken {
            self.skip(letter.len_utf8());
        }
        taken
    }

    /// An argument in brackets, if one follows at once.
    pub(super) fn optional(&mut self) -> Option<String> {
        let rest = self.rest();
        if !rest.starts_with('[') {
            return None;
        }
        let limit = (1..=OPTIONAL.min(rest.len())).rev().find(|at| rest.is_char_boundary(*at))?;
        let end = closing(&rest[1..limit], ']')? + 1;
        let inside = rest[1..end].to_owned();
        if inside.contains("\n\n") {
            return None;
        }
        self.skip(end + 1);
        Some(inside)
    }

    /// An argument: what stands in braces, or one character or command.
    pub(super) fn argument(&mut self) -> Result<String, Stop> {
        self.space();
        let rest = self.rest();
        let (inside, length) = if let Some(inside) = rest.strip_prefix('{') {
            match closing(inside, '}') {
                Some(end) => (inside[..end].to_owned(), end + 2),
                None => return Err(Stop::new(self.spot(), "this brace is never closed")),
            }
        } else {
            match rest.chars().next() {
                Some('\\') => {
                    self.skip(1);
                    return Ok(format!("\\{}", self.name()));
                }
                Some(letter) => (letter.to_string(), letter.len_utf8()),
                None => return Err(Stop::new(self.spot(), "an argument is missing at the end")),
            }
        };
        self.skip(length);
        Ok(inside)
    }

    /// Everything up to a word, which is taken too.
    pub(super) fn until(&mut self, word: &str) -> Option<String> {
        let frame = self.frames.last()?;
        let rest = &frame.text[frame.at..];
        let end = rest.find(word)?;
        let inside = rest[..end].to_owned();
        self.skip(end + word.len());
        Some(inside)
    }
}

/// Where the bracket closes that was opened just before the text, braces inside it being balanced.
fn closing(text: &str, bracket: char) -> Option<usize> {
    let mut depth = 0_usize;
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => {
                letters.next();
            }
            '%' => {
                letters.by_ref().find(|(_, letter)| *letter == '\n')?;
            }
            _ if letter == bracket && depth == 0 => return Some(at),
            '{' => depth += 1,
            '}' => depth = depth.checked_sub(1)?,
            _ => {}
        }
    }
    None
}
