//! Schemes: how a text becomes ids, and which bytes an id stands for.
//!
//! Every scheme is read from, or written as, a Hugging Face `tokenizer.json`, so that what is learned here
//! encodes alike elsewhere. [`HuggingFace`] runs it; [`ByteLevelBpe`] is a vocabulary with merges, as GGUF
//! files carry it, that becomes one.

mod alphabet;
mod byte_level_bpe;
mod hugging_face;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use alphabet::character_of;
pub use byte_level_bpe::{ByteLevelBpe, PRE_TOKENIZERS, TokenKind};
pub use hugging_face::HuggingFace;

use metier_core::Result;
use metier_core::seam::Tokenize;
use std::sync::Arc;

/// The tokenizer that a `tokenizer.json` describes.
///
/// A begin-of-text token is known when the file's template puts one; end-of-text tokens are those of the
/// vocabulary that are called `<|im_end|>` or `<|endoftext|>`. What a model's other files say about both is
/// given to [`HuggingFace`] by whoever reads them.
pub fn from_json(text: &str) -> Result<Arc<dyn Tokenize>> {
    Ok(Arc::new(HuggingFace::from_json(text)?))
}
