//! One text on its way through a decoder.

use super::Cache;
use crate::decoder::Decoder;
use metier_core::Result;
use metier_core::data::TokenId;

/// A text, its cache and the logits of what comes next.
pub struct Session<'m> {
    decoder: &'m Decoder,
    cache: Cache,
    ids: Vec<TokenId>,
}

impl<'m> Session<'m> {
    /// A text that has not begun.
    pub fn new(decoder: &'m Decoder) -> Result<Self> {
        Ok(Self { decoder, cache: Cache::new(decoder.config())?, ids: Vec::new() })
    }

    /// Adds tokens to the text and gives the logits of the next one: one for each id of the vocabulary.
    pub fn feed(&mut self, ids: &[TokenId]) -> Result<Vec<f32>> {
        let hidden = self.decoder.extend(&mut self.cache, ids)?;
        self.ids.extend_from_slice(ids);
        Ok(self.decoder.logits(&hidden)?.data().to_vec())
    }

    /// The tokens so far.
    pub fn ids(&self) -> &[TokenId] {
        &self.ids
    }
}
