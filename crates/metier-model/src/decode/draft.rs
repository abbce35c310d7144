//! Guesses at the next tokens, which the model then reads all at once: it takes those that it would have chosen.

use super::writing::Writing;
use super::{Cache, Drafted, Pages, ROWS};
use crate::decoder::{Advance, Decoder};
use metier_core::Result;
use metier_core::data::TokenId;
use std::sync::Arc;

/// Where guesses come from.
#[derive(Clone)]
pub enum Draft {
    /// What followed the last few tokens where they stood before in the text.
    /// Source: Saxena, Prompt Lookup Decoding, 2023.
    Lookup {
        /// Most tokens to guess at a time.
        count: usize,
    },
    /// A smaller model with the same tokenizer.
    Model {
        /// The model.
        decoder: Arc<Decoder>,
        /// Where its caches lie.
        pages: Arc<Pages>,
        /// Most tokens to guess at a time.
        count: usize,
    },
}

/// A text that guesses are wanted for.
pub(super) struct Guessing<'a> {
    pub ids: &'a [TokenId],
    pub writing: &'a Writing,
    /// What the model that guesses has read of the text.
    pub cache: &'a mut Cache,
    /// Most guesses that are of use.
    pub most: usize,
    pub guesses: Vec<Drafted>,
}

impl Draft {
    /// Guesses at what follows each text. `vocabulary` is the number of the tokenizer's ids.
    pub(super) fn guess(&self, texts: &mut [Guessing<'_>], vocabulary: usize) -> Result<()> {
        match self {
            Self::Lookup { count } => {
                for text in texts {
                    let found = repeated(text.ids, text.most.min(*count));
                    text.guesses = found.iter().map(|id| Drafted { id: *id, odds: Vec::new() }).collect();
                }
                Ok(())
            }
            Self::Model { decoder, pages, count } => {
                let limit = decoder.config().context_length;
                for text in &mut *texts {
                    text.most = text.most.min(*count).min(limit.saturating_sub(text.ids.len()));
                }
                (0..*count).try_for_each(|round| one_each(decoder, pages, texts, round, vocabulary))
            }
        }
    }
}

/// One more guess for each text that wants more than `round` of them. A text whose cache finds no room goes without.
fn one_each(
    decoder: &Decoder,
    pages: &Pages,
    texts: &mut [Guessing<'_>],
    round: usize,
    vocabulary: usize,
) -> Result<()> {
    let mut reading = Vec::new();
    for text in texts.iter_mut().filter(|text| text.most > round) {
        let ids: Vec<TokenId> = text.ids.iter().copied().chain(text.guesses.iter().map(|guess| guess.id)).collect();
        if text.cache.reserve(pages, ids.len() - text.cache.length()).is_err() {
            *text.cache = Cache::default();
            text.most = round;
            continue;
        }
        let ahead = text.cache.length()..ids.len().saturating_sub(ROWS).max(text.cache.length());
        super::read(decoder, pages, text.cache, &ids[ahead])?;
        reading.push((text, ids));
    }
    let steps = reading.iter_mut().map(|(text, ids)| {
        let from = text.cache.length();
        Advance { cache: text.cache, ids: &ids[from..], wanted: 1, length: ids.len() }
    });
    let logits = decoder.advance(pages, &mut steps.collect::<Vec<_>>())?;
    for ((text, ids), row) in reading.into_iter().zip(logits.data().chunks_exact(decoder.config().vocabulary_size)) {
        let mut logits = row.to_vec();
        text.writing.settle(&ids, &mut logits, vocabulary);
        text.guesses.push(text.writing.chooser.draft(&logits, text.writing.position(&ids))?);
    }
    Ok(())
}

/// What followed the longest run of last tokens, of at most four and at least two, where it stood last before: up to
/// `most` tokens.
fn repeated(ids: &[TokenId], most: usize) -> &[TokenId] {
    for length in (2..=4).rev() {
        let Some(begun) = ids.len().checked_sub(length) else { continue };
        let (before, run) = (&ids[..ids.len().saturating_sub(1)], &ids[begun..]);
        if let Some(at) = before.windows(length).rposition(|window| window == run) {
            return &ids[at + length..(at + length + most).min(ids.len())];
        }
    }
    &[]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_and_latest_repetition_is_continued() {
        assert_eq!(repeated(&[1, 2, 3, 9, 1, 2, 3, 8, 5, 1, 2, 3], 2), [8, 5]);
        assert_eq!(repeated(&[7, 1, 2, 3, 9, 1, 2, 8, 7, 1, 2], 4), [3, 9, 1, 2]);
        assert_eq!(repeated(&[1, 1, 1], 3), [1]);
        assert!(repeated(&[1, 2, 3, 4], 3).is_empty() && repeated(&[], 3).is_empty() && repeated(&[1], 3).is_empty());
        assert!(repeated(&[1, 2, 1, 2], 0).is_empty());
    }
}
