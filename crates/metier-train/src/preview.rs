//! What a run will see, before it starts.

use crate::objective::{Objective, Reading, alone};
use crate::reader::Reader;
use crate::sampler::{Request, Sampler};
use crate::sources::Sources;
use metier_core::Result;
use metier_core::data::TokenId;
use metier_core::seam::Tokenize;
use metier_core::seed::Seed;
use metier_tokenizer::pack::Verdict;
use std::ops::Range;

/// What is looked at.
pub struct View<'a> {
    /// Which windows come first.
    pub sampler: &'a dyn Sampler,
    /// What is made of them.
    pub objective: &'a dyn Objective,
    /// The vocabulary that the objective may need.
    pub tokenizer: &'a dyn Tokenize,
    /// Tokens in a window.
    pub context: usize,
    /// The seed of the run.
    pub seed: Seed,
    /// Parts of documents to show at least.
    pub examples: usize,
}

/// A part of a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Number of its document in the shards.
    pub document: usize,
    /// Its tokens in the document. Where the objective predicts what follows, the token before them is seen too.
    pub range: Range<u64>,
    /// What the model sees, in order.
    pub seen: Vec<Seen>,
}

/// A token as the model sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The token.
    pub id: TokenId,
    /// Whether there is a loss of it: given those before it, or of what is hidden in its place.
    pub learned: bool,
    /// The token that is learned in its place, where that is another.
    pub hidden: Option<TokenId>,
}

/// The windows of the first steps of a run, until they have [`View::examples`] parts of documents.
///
/// # Errors
/// Those of reading the shards, of an example that no window holds, and of a vocabulary without the tokens that the objective writes.
pub fn preview<'a>(sources: impl Into<Sources<'a>>, view: &View<'_>) -> Result<Vec<Vec<Shown>>> {
    let sources = &sources.into();
    let context = view.context;
    let stream = sources.stream(context)?;
    let bound = view.objective.bind(view.tokenizer, sources.longest(context))?;
    let objective = alone(bound.as_deref().unwrap_or(view.objective));
    let reader = Reader::new(sources, &stream, objective.reading(), view.seed);
    let seed = view.seed.derive("sampler");
    let (mut windows, mut shown) = (Vec::new(), 0);
    for step in 0.. {
        let window = view.sampler.windows(&stream, &Request { step, sequences: 1, context, seed });
        if shown >= view.examples || window.is_empty() {
            break;
        }
        let pieces = window.iter().flat_map(|window| stream.pieces(window));
        let mut parts = Vec::new();
        for (piece, segment) in pieces.zip(reader.segments(&window, step)?) {
            if segment.verdict.is_some_and(Verdict::is_of_pair) {
                // Every token counts for the vector of its text.
                let seen = segment.tokens.iter().map(|id| Seen { id: *id, learned: true, hidden: None }).collect();
                parts.push(Shown { document: piece.document, range: piece.tokens, seen });
                continue;
            }
            let rows = objective.batch(std::slice::from_ref(&segment))?.rows;
            let learned = rows.weights.iter().map(|weight| *weight > 0.0);
            let seen = if objective.reading() == Reading::Hidden {
                let rows = rows.ids.iter().zip(&rows.targets).zip(learned);
                let seen = |((id, target), learned): ((&TokenId, &TokenId), bool)| Seen {
                    id: *id,
                    learned,
                    hidden: (learned && target != id).then_some(*target),
                };
                rows.map(seen).collect()
            } else {
                // A segment of one token has no row.
                let first = rows.ids.first().or(segment.tokens.first()).map(|id| (*id, false));
                let ids = first.into_iter().chain(rows.targets.iter().copied().zip(learned));
                ids.map(|(id, learned)| Seen { id, learned, hidden: None }).collect()
            };
            parts.push(Shown { document: piece.document, range: piece.tokens, seen });
        }
        shown += parts.len();
        windows.push(parts);
    }
    Ok(windows)
}
