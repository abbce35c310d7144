//! Windows of a stream as segments, each with what its objective's random choices follow from.

use crate::objective::{Reading, Segment};
use crate::sampler::Stream;
use crate::sources::Sources;
use metier_core::Result;
use metier_core::data::TokenId;
use metier_core::seed::Seed;
use std::ops::Range;

/// Reads windows for an objective.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    sources: &'a Sources<'a>,
    stream: &'a Stream,
    /// Whether a token stands before those of a segment.
    leads: bool,
    draws: Seed,
}

impl<'a> Reader<'a> {
    /// `seed` decides what the objective draws, together with the number of a window and the place of a segment in it.
    pub(crate) fn new(sources: &'a Sources<'a>, stream: &'a Stream, reading: Reading, seed: Seed) -> Self {
        Self { sources, stream, leads: reading != Reading::Hidden, draws: seed.derive("objective") }
    }

    /// The parts of documents that windows consist of, each with the token that its first one is predicted from. `first` is the
    /// number of the first window, counted through the whole run.
    pub(crate) fn segments(&self, windows: &[Range<u64>], first: u64) -> Result<Vec<Segment>> {
        let mut segments = Vec::new();
        for (number, window) in (first..).zip(windows) {
            let mut draws = self.draws.at(number);
            for piece in self.stream.pieces(window) {
                let before = u64::from(self.leads);
                let first = piece.tokens.start.saturating_sub(before);
                let lead = if self.leads && piece.tokens.start == 0 { self.sources.lead(piece.document) } else { None };
                let mut tokens: Vec<TokenId> = lead.into_iter().collect();
                tokens.extend(self.sources.read(piece.document, first..piece.tokens.end)?);
                let (_, entry) = self.sources.document(piece.document);
                let learned = entry.learned.as_ref().map(|ranges| {
                    let mut learned = vec![false; tokens.len()];
                    for range in ranges {
                        let at = |token: u64| (token.saturating_sub(first) as usize).min(learned.len());
                        let within = at(range.start)..at(range.end);
                        learned[within].fill(true);
                    }
                    learned
                });
                segments.push(Segment { tokens, learned, verdict: entry.verdict, draw: draws.bits() });
            }
        }
        Ok(segments)
    }
}
