//! Schemes: how a text becomes ids, and which bytes an id stands for.
//!
//! Every scheme is read from, or written as, a Hugging Face `tokenizer.json`, so that what is learned here
//! encodes alike elsewhere. [`HuggingFace`] runs it: BPE, Unigram and WordPiece by encoders of our own, the rest by the `tokenizers` crate. Vocabularies in other forms become one:
//!
//! | form | read as |
//! |---|---|
//! | GGUF metadata, model `gpt2` | [`ByteLevelBpe`] |
//! | GGUF metadata, model `llama` or `t5` | [`Pieces`] |
//! | SentencePiece's `.model` | [`Pieces`], by [`sentence_piece::read`] |
//! | tiktoken's files of ranks, Mistral's `tekken.json` | [`ByteRanks`] |
//! | `vocab.txt` | [`word_piece_json`] |

pub(crate) mod alphabet;
mod bpe;
mod byte_level_bpe;
pub(crate) mod cutter;
mod file;
mod hugging_face;
pub(crate) mod marked;
mod normalize;
pub(crate) mod pieces;
mod ranks;
pub mod sentence_piece;
pub(crate) mod split;
#[cfg(test)]
mod tests;
pub(crate) mod tokenizer_file;
pub(crate) mod word_piece;
pub(crate) mod words;

pub use byte_level_bpe::{ByteLevelBpe, PRE_TOKENIZERS, TokenKind, WHOLE_WORDS};
pub use file::{from_bytes, from_file, from_file_with_added, json_of_file};
pub use hugging_face::HuggingFace;
pub use pieces::{PieceModel, Pieces};
pub use ranks::{ByteRanks, TIKTOKEN_ENCODINGS};
pub use word_piece::word_piece_json;

use metier_core::Result;
use metier_core::seam::Tokenize;
use std::sync::Arc;

/// The tokenizer that a `tokenizer.json` describes.
///
/// A begin-of-text token is known when the file's template puts one; end-of-text tokens are those of the
/// vocabulary that are called `<|im_end|>`, `<|eot_id|>`, `<end_of_turn>` or `<|endoftext|>`. What a model's other files say about both is
/// given to [`HuggingFace`] by whoever reads them.
pub fn from_json(text: &str) -> Result<Arc<dyn Tokenize>> {
    Ok(Arc::new(HuggingFace::from_json(text)?))
}
