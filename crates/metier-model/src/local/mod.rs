//! A model on this machine behind the seams: text in, text and numbers out.

mod embed;
mod generate;
mod score;
mod search;

use crate::checkpoint::Pooling;
use crate::config::Config;
use crate::decode::{Draft, Pages};
use crate::decoder::Decoder;
use crate::layer::Part;
use metier_compute::op::KeyCoding;
use metier_core::data::{Conversation, TokenId};
use metier_core::seam::Tokenize;
use metier_core::{Fault, Place, Result};
use std::sync::Arc;

/// Writes the turns of a conversation out as a prompt that ends where the model's turn begins.
pub type Render = Arc<dyn Fn(&Conversation) -> Result<String> + Send + Sync>;

/// Rows that an embedding may have beyond the tokenizer's ids; models are padded to round numbers.
const PADDING: usize = 1024;

/// A decoder with its tokenizer: implements `Generate`, `Score` and `Embed`.
pub struct LocalModel {
    decoder: Decoder,
    tokenizer: Arc<dyn Tokenize>,
    end_ids: Vec<TokenId>,
    render: Option<Render>,
    pooling: Pooling,
    pages: Pages,
    texts: usize,
    draft: Option<Draft>,
}

/// How a model answers several requests at once.
#[derive(Clone)]
pub struct Decoding {
    /// Most requests at once.
    pub texts: usize,
    /// Most bytes of keys and values, of all requests and of what is kept of earlier ones.
    pub cache_bytes: u64,
    /// How keys and values are stored.
    pub coding: KeyCoding,
    /// What guesses ahead.
    pub draft: Option<Draft>,
}

impl Decoding {
    /// Sixteen requests, and the keys and values of four texts as long as the context, but no more than half of the
    /// memory that is free.
    pub fn new(config: &Config, coding: KeyCoding) -> Self {
        let whole = Pages::new(config, coding, None).bytes_of(config.context_length);
        let free = metier_core::memory::available_bytes().unwrap_or(u64::MAX);
        Self { texts: 16, cache_bytes: whole.saturating_mul(4).min(free / 2), coding, draft: None }
    }
}

impl LocalModel {
    /// Joins a decoder and its tokenizer. Refused when the tokenizer has ids that the model lacks, or so
    /// few that it must belong to another model; both sizes are named.
    ///
    /// Replies end at the tokenizer's end-of-text ids and at those of [`LocalModel::with_end_ids`].
    pub fn new(decoder: Decoder, tokenizer: Arc<dyn Tokenize>) -> Result<Self> {
        let (ids, rows) = (tokenizer.vocabulary_size(), decoder.config().vocabulary_size);
        if ids > rows || ids + PADDING < rows {
            let name = decoder.config().design.architecture.weight_name(Part::Embedding).unwrap_or_default();
            return Err(Fault::new(
                Place::key(name),
                format!("the tokenizer has {ids} ids, the model has rows for {rows}"),
            )
            .hint("take the tokenizer that the model was trained with")
            .into());
        }
        let end_ids = tokenizer.end_of_text();
        let Decoding { texts, cache_bytes, coding, draft } = Decoding::new(decoder.config(), KeyCoding::F32);
        let pages = Pages::new(decoder.config(), coding, Some(cache_bytes));
        let pooling = Pooling::default();
        Ok(Self { decoder, tokenizer, end_ids, render: None, pooling, pages, texts, draft })
    }

    /// The same model; it answers as `decoding` says.
    #[must_use]
    pub fn with_decoding(mut self, decoding: Decoding) -> Self {
        self.pages = Pages::new(self.decoder.config(), decoding.coding, Some(decoding.cache_bytes));
        (self.texts, self.draft) = (decoding.texts, decoding.draft);
        self
    }

    /// The same model; replies end at these ids too.
    #[must_use]
    pub fn with_end_ids(mut self, ids: impl IntoIterator<Item = TokenId>) -> Self {
        for id in ids {
            if !self.end_ids.contains(&id) {
                self.end_ids.push(id);
            }
        }
        self
    }

    /// The same model with its chat template; without one it answers raw text only.
    #[must_use]
    pub fn with_render(mut self, render: Render) -> Self {
        self.render = Some(render);
        self
    }

    /// The same model; it makes vectors so.
    #[must_use]
    pub fn with_pooling(mut self, pooling: Pooling) -> Self {
        self.decoder.set_pooling(pooling.mode);
        self.pooling = pooling;
        self
    }

    /// How it makes vectors.
    pub fn pooling(&self) -> Pooling {
        self.pooling
    }

    /// The decoder.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Arc<dyn Tokenize> {
        &self.tokenizer
    }

    /// The ids that end a reply.
    pub fn end_ids(&self) -> &[TokenId] {
        &self.end_ids
    }

    /// Where its caches lie.
    pub fn pages(&self) -> &Pages {
        &self.pages
    }

    /// The decoder, to train it or to attach an adapter.
    pub fn into_decoder(self) -> Decoder {
        self.decoder
    }
}
