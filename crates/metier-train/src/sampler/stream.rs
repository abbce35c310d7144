//! The documents of a pack laid end to end.

use metier_core::{Error, Place, Result};
use std::ops::Range;

/// Where each document's tokens lie in one long row.
///
/// Documents of a single token are left out: there is no text in them. So of any two neighboring tokens at least one follows
/// another of its document, and can be predicted whatever stands before documents.
///
/// Examples are never cut: such a stream has windows of its own, each of as many whole examples as it can hold.
#[derive(Debug, Clone)]
pub struct Stream {
    documents: Vec<usize>,
    /// One longer than `documents`, beginning with 0.
    starts: Vec<u64>,
    /// Where the windows of examples begin, and where the last one ends.
    windows: Option<Vec<u64>>,
    sources: Vec<Source>,
}

/// What of a stream comes from one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The source's name.
    pub name: String,
    /// Its tokens.
    pub tokens: Range<u64>,
    /// Its windows of examples; empty where documents are cut.
    pub windows: Range<u64>,
}

/// A part of one document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Number of the document in its pack.
    pub document: usize,
    /// The tokens of the document, counted from its first.
    pub tokens: Range<u64>,
}

impl Stream {
    /// The stream of documents with these numbers of tokens.
    ///
    /// # Errors
    /// When no document has two tokens.
    pub fn new(lengths: impl IntoIterator<Item = u64>) -> Result<Self> {
        Self::laid(lengths, 2)
    }

    /// The documents of at least `least` tokens end to end.
    fn laid(lengths: impl IntoIterator<Item = u64>, least: u64) -> Result<Self> {
        let mut stream = Self { documents: Vec::new(), starts: vec![0], windows: None, sources: Vec::new() };
        let mut end = 0;
        for (document, length) in lengths.into_iter().enumerate() {
            if length >= least {
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

    /// The stream of examples with these numbers of tokens, in one window of at most `context` tokens as many neighbors as each of `units` says.
    /// The windows follow from the order of the examples: one ends where the next would not fit. Examples of fewer than `least` tokens are left
    /// out.
    ///
    /// # Errors
    /// As [`Stream::new`]; and the number of the first unit that does not fit into a window.
    pub fn of_examples(lengths: &[u64], units: &[usize], least: u64, context: u64) -> Result<Result<Self, usize>> {
        let mut stream = Self::laid(lengths.iter().copied(), least)?;
        let mut windows = vec![0];
        let (mut at, mut begun) = (0, 0);
        let mut rest = lengths;
        for (number, unit) in units.iter().enumerate() {
            let (unit, later) = rest.split_at((*unit).min(rest.len()));
            rest = later;
            let length: u64 = unit.iter().filter(|length| **length >= least).sum();
            if length > context {
                return Ok(Err(number));
            }
            if at + length > begun + context {
                windows.push(at);
                begun = at;
            }
            at += length;
        }
        windows.push(at);
        stream.windows = Some(windows);
        Ok(Ok(stream))
    }

    /// The streams of several sources laid end to end; each with its name and the number of documents in its pack.
    ///
    /// # Errors
    /// When some are of examples and others of documents.
    pub fn joined(streams: impl IntoIterator<Item = (String, usize, Self)>) -> Result<Self> {
        let mut joined = Self { documents: Vec::new(), starts: vec![0], windows: None, sources: Vec::new() };
        let mut before = 0;
        for (name, documents, stream) in streams {
            if !joined.sources.is_empty() && joined.windows.is_some() != stream.windows.is_some() {
                let message = format!("`{name}` holds examples and another source documents, or the other way round");
                return Err(Error::user(Place::default(), message).hint("pack all of them the same way"));
            }
            let begin = joined.tokens();
            joined.documents.extend(stream.documents.iter().map(|document| before + document));
            joined.starts.extend(stream.starts.iter().skip(1).map(|start| begin + start));
            let first = joined.windows().unwrap_or(0);
            if let Some(windows) = stream.windows {
                joined.windows.get_or_insert_with(|| vec![0]).extend(windows.iter().skip(1).map(|at| begin + at));
            }
            let windows = first..joined.windows().unwrap_or(0);
            joined.sources.push(Source { name, tokens: begin..joined.tokens(), windows });
            before += documents;
        }
        Ok(joined)
    }

    /// What comes from each source, in order; empty for a stream that was not joined.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// The windows of examples: how many there are, if there are such.
    pub fn windows(&self) -> Option<u64> {
        self.windows.as_ref().map(|windows| windows.len() as u64 - 1)
    }

    /// A window of examples.
    pub fn window(&self, number: u64) -> Option<Range<u64>> {
        let windows = self.windows.as_ref()?;
        let number = usize::try_from(number).ok()?;
        Some(*windows.get(number)?..*windows.get(number + 1)?)
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
            pieces.push(Piece { document: self.documents[index], tokens: at - first..to - first });
            at = to;
            index += 1;
        }
        pieces
    }

    /// The most that the parts of documents in a range of `tokens` tokens come to together, where `amount` says what a part of so many
    /// tokens does, and more tokens never do less.
    pub fn most(&self, tokens: u64, amount: impl Fn(u64) -> u64) -> u64 {
        let of = |index: usize| amount((self.starts[index + 1] - self.starts[index]).min(tokens));
        let (mut end, mut sum, mut most) = (0, 0, 0);
        for first in 0..self.documents.len() {
            // Of all ranges that begin in this document, the one at its last token reaches furthest.
            let reach = self.starts[first + 1] - 1 + tokens.max(1);
            while end < self.documents.len() && self.starts[end] < reach {
                sum += of(end);
                end += 1;
            }
            most = most.max(sum);
            sum -= of(first);
        }
        most
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
        assert_eq!(pieces, [Piece { document: 0, tokens: 1..3 }, Piece { document: 2, tokens: 0..3 }]);
        assert_eq!(stream.pieces(&(7..20)), [Piece { document: 4, tokens: 0..2 }]);
        assert!(stream.pieces(&(9..12)).is_empty());
    }

    #[test]
    fn a_range_holds_no_more_than_the_most() {
        let stream = Stream::new([3, 2, 2, 9, 2, 4]).unwrap();
        let amount = |tokens: u64| 10 + tokens / 3;
        for tokens in 1..12 {
            let of = |start: u64| stream.pieces(&(start..start + tokens)).into_iter().map(|piece| piece.tokens);
            let sum = |start: u64| of(start).map(|part| amount(part.end - part.start)).sum::<u64>();
            let found = (0..stream.tokens()).map(sum).max().unwrap();
            let most = stream.most(tokens, amount);
            assert!((found..=found + 3).contains(&most), "{tokens}: {found} {most}");
        }
    }

    #[test]
    fn windows_of_examples_cut_none() {
        let stream = Stream::of_examples(&[3, 4, 2, 9, 1, 5, 6], &[1; 7], 2, 9).unwrap().unwrap();
        let windows: Vec<_> = (0..stream.windows().unwrap()).map(|number| stream.window(number).unwrap()).collect();
        assert_eq!(windows, [0..9, 9..18, 18..23, 23..29]);
        assert_eq!(stream.window(4), None);
        let pairs = Stream::of_examples(&[3, 4, 2, 2], &[2, 2], 2, 9).unwrap().unwrap();
        assert_eq!((pairs.window(0), pairs.window(1)), (Some(0..7), Some(7..11)));
        assert_eq!(Stream::of_examples(&[3, 4, 5, 6], &[2, 2], 2, 10).unwrap().unwrap_err(), 1);
        let texts = Stream::of_examples(&[1, 4, 2, 1, 1], &[3, 2], 1, 8).unwrap().unwrap();
        assert_eq!((texts.window(0), texts.window(1)), (Some(0..7), Some(7..9)));
    }

    #[test]
    fn streams_are_joined_with_their_borders() {
        let one = Stream::new([3, 1, 4]).unwrap();
        let other = Stream::new([5, 2]).unwrap();
        let joined = Stream::joined([("a".to_owned(), 3, one), ("b".to_owned(), 2, other)]).unwrap();
        let spans: Vec<_> = joined.sources().iter().map(|part| (part.name.as_str(), part.tokens.clone())).collect();
        assert_eq!(spans, [("a", 0..7), ("b", 7..14)]);
        let documents: Vec<_> = joined.pieces(&(5..14)).iter().map(|piece| piece.document).collect();
        assert_eq!(documents, [2, 3, 4]);
        let examples = |lengths: &[u64]| Stream::of_examples(lengths, &vec![1; lengths.len()], 2, 9).unwrap().unwrap();
        let pair = [("a".to_owned(), 3, examples(&[3, 4, 5])), ("b".to_owned(), 1, examples(&[6]))];
        let joined = Stream::joined(pair).unwrap();
        let windows: Vec<_> = joined.sources().iter().map(|part| part.windows.clone()).collect();
        assert_eq!(windows, [0..2, 2..3]);
        assert_eq!((joined.window(1), joined.window(2)), (Some(7..12), Some(12..18)));
        let mixed = [("a".to_owned(), 1, examples(&[3])), ("b".to_owned(), 1, Stream::new([4]).unwrap())];
        assert!(Stream::joined(mixed).unwrap_err().to_string().contains("`b` holds"));
    }

    #[test]
    fn single_tokens_are_nothing_to_train_on() {
        assert!(Stream::new([1, 0, 1]).is_err());
    }
}
