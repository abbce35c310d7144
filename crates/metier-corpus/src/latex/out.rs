//! A text while it is written, with its way back to the file it comes from.

use metier_core::data::{Piece, Pieces};

/// A text and where it stands in its source.
#[derive(Debug, Default)]
pub(crate) struct Out {
    pub text: String,
    /// The text up to here ends in a mark of ours, such as that of a heading, behind which a space stays.
    pub mark: usize,
    pieces: Vec<Piece>,
}

impl Out {
    /// Appends a text that stands at this byte of the main file, or that stands in none.
    pub(crate) fn push(&mut self, text: &str, source: Option<usize>) {
        let (start, length) = (self.text.len(), text.len());
        self.text.push_str(text);
        let Some(source) = source else { return };
        match self.pieces.last_mut() {
            Some(last) if last.start + last.length == start && last.source + last.length == source => {
                last.length += length;
            }
            _ if length > 0 => self.pieces.push(Piece { start, source, length }),
            _ => {}
        }
    }

    /// The number of pieces.
    pub(crate) fn pieces(&self) -> usize {
        self.pieces.len()
    }

    /// Cuts the text off at this byte, or at the character it is in: the text may have been another when the byte was noted.
    pub(crate) fn truncate(&mut self, length: usize) {
        let length = self.text.floor_char_boundary(length);
        self.text.truncate(length);
        self.mark = self.mark.min(length);
        while let Some(last) = self.pieces.last_mut() {
            if last.start >= length {
                self.pieces.pop();
                continue;
            }
            last.length = last.length.min(length - last.start);
            break;
        }
    }

    /// Cuts white space off the end, but none before this byte.
    pub(crate) fn trim(&mut self, from: usize, of: &[char]) {
        let from = self.text.floor_char_boundary(from);
        self.truncate(from + self.text[from..].trim_end_matches(of).len());
    }

    /// Whether nothing or white space was written last.
    pub(crate) fn at_gap(&self) -> bool {
        self.text.is_empty() || self.text.ends_with([' ', '\n'])
    }

    /// Ends a paragraph.
    pub(crate) fn paragraph(&mut self) {
        self.trim(0, &[' ', '\n']);
        if !self.text.is_empty() {
            self.push("\n\n", None);
        }
    }

    /// Ends a line.
    pub(crate) fn line(&mut self) {
        self.trim(0, &[' ']);
        if !self.at_gap() {
            self.push("\n", None);
        }
    }

    /// The text and its map.
    pub(crate) fn finish(mut self) -> (String, Pieces) {
        self.trim(0, &[' ', '\n']);
        (self.text, Pieces(self.pieces))
    }
}
