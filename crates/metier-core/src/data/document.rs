//! A document, and the map from its text back to the file it came from.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is known of a document beside its text, by name.
pub type Metadata = BTreeMap<String, serde_json::Value>;

/// A text with its origin. Every stage keeps `source`, `license` and `pieces` true.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Unique in its corpus; by default the source path relative to the corpus folder.
    pub id: String,
    /// The text as it stands after the stages run so far.
    pub text: String,
    /// The file or address the text was read from.
    pub source: String,
    /// SHA-256 of the source's (decompressed) bytes, in hexadecimal.
    pub source_sha256: String,
    /// An SPDX expression or a short note, as the corpus states it.
    pub license: String,
    /// Which spans of the source the text consists of.
    pub pieces: Pieces,
    /// What of the source could not be read as it was meant, with file and line; empty when all was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partial: Vec<String>,
    /// What the reader was asked to keep of the source beside the text, such as `url`.
    #[serde(default, skip_serializing_if = "Metadata::is_empty")]
    pub metadata: Metadata,
}

/// A run of bytes that stands unchanged in the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Piece {
    /// First byte in the document's text.
    pub start: usize,
    /// First byte in the source.
    pub source: usize,
    /// Number of bytes.
    pub length: usize,
}

/// The pieces of a text in order: where each byte of it stands in the source.
///
/// Bytes that no piece covers were written by a cleaning step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pieces(pub Vec<Piece>);

impl Pieces {
    /// The map of an untouched text of `length` bytes.
    pub fn whole(length: usize) -> Self {
        Self(vec![Piece { start: 0, source: 0, length }])
    }

    /// The byte range of the source that the text range `start..end` was taken from: from the source of
    /// its first covered byte to the source of its last. `None` when no byte of it comes from the source.
    pub fn source_of(&self, start: usize, end: usize) -> Option<(usize, usize)> {
        let first = self.0.partition_point(|piece| piece.start + piece.length <= start);
        let mut found: Option<(usize, usize)> = None;
        for piece in &self.0[first..] {
            if piece.start >= end {
                break;
            }
            let from = piece.source + start.saturating_sub(piece.start);
            let to = piece.source + (end - piece.start).min(piece.length);
            found = Some((found.map_or(from, |(first, _)| first), to));
        }
        found
    }

    /// The map of a text made by keeping `kept` byte ranges (ordered, disjoint) of this one, joined.
    #[must_use]
    pub fn keep(&self, kept: &[std::ops::Range<usize>]) -> Self {
        let mut out: Vec<Piece> = Vec::new();
        let mut at = 0;
        for range in kept {
            let first = self.0.partition_point(|piece| piece.start + piece.length <= range.start);
            for piece in &self.0[first..] {
                if piece.start >= range.end {
                    break;
                }
                let from = range.start.max(piece.start);
                let to = range.end.min(piece.start + piece.length);
                let next = Piece {
                    start: at + from - range.start,
                    source: piece.source + from - piece.start,
                    length: to - from,
                };
                match out.last_mut() {
                    Some(last)
                        if last.start + last.length == next.start && last.source + last.length == next.source =>
                    {
                        last.length += next.length;
                    }
                    _ => out.push(next),
                }
            }
            at += range.len();
        }
        Self(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_ranges_point_back_to_the_source() {
        let source = "aaaHEADbbbFOOTccc";
        let once = Pieces::whole(source.len()).keep(&[0..3, 7..10, 14..17]);
        assert_eq!(once.0.len(), 3);
        assert_eq!(once.source_of(3, 6), Some((7, 10)));
        assert_eq!(once.source_of(2, 4), Some((2, 8)));
        let twice = once.keep(&[1..3, 3..5]);
        assert_eq!(twice.source_of(0, 4), Some((1, 9)));
        assert_eq!(twice.source_of(9, 10), None);
    }

    #[test]
    fn neighbors_join() {
        let pieces = Pieces::whole(10).keep(&[0..4, 4..10]);
        assert_eq!(pieces, Pieces::whole(10));
    }
}
