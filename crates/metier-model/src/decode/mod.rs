//! From logits to text: caches in pages, many texts at once, the choice of a token, guesses ahead, whole characters, stop
//! texts. Beam and contrastive search go their own ways.

mod beam;
mod cache;
mod choose;
mod contrastive;
mod draft;
mod engine;
mod prefixes;
mod session;
mod text;
mod typical;
mod writing;

pub use beam::{BeamSearch, Hypothesis};
pub use cache::{Cache, Pages};
pub use choose::{Chooser, Drafted, log_probabilities};
pub use contrastive::ContrastiveSearch;
pub use draft::Draft;
pub use engine::{Engine, ReadPrompt};
pub use session::Session;
pub use text::{Piece, TextStream};

use crate::decoder::{Advance, Decoder};
use metier_core::Result;
use metier_core::data::TokenId;

/// Rows of one text that a pass reads at most: enough to fill the kernels, small enough for the memory.
const ROWS: usize = 512;

/// Adds tokens to a text, of which nothing is asked.
fn read(decoder: &Decoder, pages: &Pages, cache: &mut Cache, ids: &[TokenId]) -> Result<()> {
    let length = cache.length() + ids.len();
    for ids in ids.chunks(ROWS) {
        decoder.advance_hidden(pages, &mut [Advance { cache, ids, wanted: 0, length }])?;
    }
    Ok(())
}
