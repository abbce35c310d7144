//! The documents of a pack laid end to end.

use metier_core::{Error, Place, Result};
use std::ops::Range;

/// Where each document's tokens lie in one long row.
///
/// Documents of a single token are left out: nothing in them can be predicted. So any two neighboring
/// tokens hold at least one whose follower is known.
#[derive(Debug, Clone)]
pub struct Stream {
    documents: Vec<usize>,
    /// One longer than `documents`, beginning with 0.
    starts: Vec<u64>,
}

/// A part of one document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Number of the document in its pack.
    pub document: usize,
    /// The tokens of the document, counted from its first.
    pub tokens: Range<u64>,
    /// Whether the document goes on behind the piece, so that its last token has a follower.
    pub continues: bool,
}

impl Piece {
    /// Number of tokens whose follower is known.
    pub fn targets(&self) -> u64 {
        (self.tokens.end - self.tokens.start) - u64::from(!self.continues)
    }
}

impl Stream {
    /// The stream of documents with these numbers of tokens.
    ///
    /// # Errors
    /// When no document has two tokens.
    pub fn new(lengths: impl IntoIterator<Item = u64>) -> Result<Self> {
        let mut stream = Self { documents: Vec::new(), starts: vec![0] };
        let mut end = 0;
        for (document, length) in lengths.into_iter().enumerate() {
            if length >= 2 {
                end += length;
                stream.documents.push(document);
                stream.starts.push(end);
            }
        }
        if stream.documents.is_empty() {
            return Err(Error::user(Place::default(), "there is nothing to train on: no document has two tokens")
                .hint("look at what the stages before dropped, and why"));
        }
        Ok(stream)
    }

    /// Number of tokens.
    pub fn tokens(&self) -> u64 {
        self.starts.last().copied().unwrap_or(0)
    }

    /// The parts of documents that a range consists of, in order.
    pub fn pieces(&self, range: &Range<u64>) -> Vec<Piece> {
        let end = range.end.min(self.tokens());
        let mut index = self.starts.partition_point(|start| *start <= range.start).saturating_sub(1);
        let mut at = range.start;
        let mut pieces = Vec::new();
        while at < end {
            let (first, last) = (self.starts[index], self.starts[index + 1]);
            let to = last.min(end);
            pieces.push(Piece {
                document: self.documents[index],
                tokens: at - first..to - first,
                continues: to < last,
            });
            at = to;
            index += 1;
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_falls_apart_at_documents() {
        let stream = Stream::new([3, 1, 4, 0, 2]).unwrap();
        assert_eq!(stream.tokens(), 9);
        let pieces = stream.pieces(&(1..6));
        assert_eq!(
            pieces,
            [
                Piece { document: 0, tokens: 1..3, continues: false },
                Piece { document: 2, tokens: 0..3, continues: true },
            ]
        );
        assert_eq!(pieces.iter().map(Piece::targets).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(stream.pieces(&(7..20)), [Piece { document: 4, tokens: 0..2, continues: false }]);
        assert!(stream.pieces(&(9..12)).is_empty());
    }

    #[test]
    fn single_tokens_are_nothing_to_train_on() {
        assert!(Stream::new([1, 0, 1]).is_err());
    }
}
