//! One text on its way through a decoder.

use super::{Cache, Pages, ROWS};
use crate::decoder::{Advance, Decoder};
use metier_compute::op::KeyCoding;
use metier_core::Result;
use metier_core::data::TokenId;

/// A text, its cache and the logits of what comes next.
pub struct Session<'m> {
    decoder: &'m Decoder,
    pages: Pages,
    cache: Cache,
    ids: Vec<TokenId>,
}

impl<'m> Session<'m> {
    /// A text that has not begun.
    pub fn new(decoder: &'m Decoder) -> Self {
        Self::with_coding(decoder, KeyCoding::F32)
    }

    /// The same with keys and values stored in another way.
    pub fn with_coding(decoder: &'m Decoder, coding: KeyCoding) -> Self {
        let pages = Pages::new(decoder.config(), coding, None);
        Self { decoder, pages, cache: Cache::default(), ids: Vec::new() }
    }

    /// Adds tokens to the text and gives the logits of the next one: one for each id of the vocabulary.
    pub fn feed(&mut self, ids: &[TokenId]) -> Result<Vec<f32>> {
        self.decoder.check_length(self.ids.len().saturating_add(ids.len()))?;
        self.ids.extend_from_slice(ids);
        let mut logits = Vec::new();
        for chunk in ids.chunks(ROWS) {
            let wanted = usize::from(self.cache.length() + chunk.len() == self.ids.len());
            let step = Advance { cache: &mut self.cache, ids: chunk, wanted, length: self.ids.len() };
            logits = self.decoder.advance(&self.pages, &mut [step])?.data().to_vec();
        }
        Ok(logits)
    }

    /// The tokens so far.
    pub fn ids(&self) -> &[TokenId] {
        &self.ids
    }
}
