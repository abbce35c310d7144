//! What a run will see, before it starts.

use crate::objective::Segment;
use crate::sampler::{Request, Sampler};
use crate::sources::Sources;
use crate::trainer::segments;
use metier_core::Result;
use metier_core::seed::Seed;
use metier_tokenizer::pack::Verdict;
use std::ops::Range;

/// A part of a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Number of its document in the shards.
    pub document: usize,
    /// Its tokens in the document. In `segment` the one that its first is predicted from stands before them.
    pub range: Range<u64>,
    /// The tokens.
    pub segment: Segment,
}

impl Shown {
    /// For each token whether it is learned itself, given those before it; of a text of a pair whether it counts, which all do.
    pub fn learned(&self) -> Vec<bool> {
        let mut learned = self.segment.learned.clone().unwrap_or_else(|| vec![true; self.segment.tokens.len()]);
        let is_of_pair = self.segment.verdict.is_some_and(Verdict::is_of_pair);
        learned.iter_mut().take(usize::from(!is_of_pair)).for_each(|first| *first = false);
        learned
    }
}

/// The windows of the first steps of a run of this seed, until they have `examples` parts of documents.
///
/// # Errors
/// Those of reading the shards, and of an example that no window holds.
pub fn preview<'a>(
    sources: impl Into<Sources<'a>>,
    sampler: &dyn Sampler,
    context: usize,
    seed: Seed,
    examples: usize,
) -> Result<Vec<Vec<Shown>>> {
    let sources = &sources.into();
    let stream = sources.stream(context)?;
    let seed = seed.derive("sampler");
    let (mut windows, mut shown) = (Vec::new(), 0);
    for step in 0.. {
        let window = sampler.windows(&stream, &Request { step, sequences: 1, context, seed });
        if shown >= examples || window.is_empty() {
            break;
        }
        let pieces = window.iter().flat_map(|window| stream.pieces(window));
        let parts: Vec<Shown> = pieces
            .zip(segments(sources, &stream, &window)?)
            .map(|(piece, segment)| Shown { document: piece.document, range: piece.tokens, segment })
            .collect();
        shown += parts.len();
        windows.push(parts);
    }
    Ok(windows)
}
