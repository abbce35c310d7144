//! HTML to text: what a page says, without what stands on the page beside that.
//!
//! | file | answers |
//! |---|---|
//! | `decode` | which characters are these bytes |
//! | `tag` | which elements are read alike, and where do they end when nobody says so |
//! | `page` | which blocks of text does the page have, and in which elements do they stand |
//! | `cue` | what do the names of elements say about their content |
//! | `choose` | which of the blocks are the main text |

mod choose;
mod cue;
mod decode;
mod page;
mod tag;

#[cfg(test)]
mod tests;

use metier_core::data::Pieces;

pub use decode::{Decoded, decode};

/// The main text of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MainText {
    /// The text.
    pub text: String,
    /// Where it stands in the page.
    pub pieces: Pieces,
    /// Whether the page has more blocks than are told apart, or stands in more pieces.
    pub full: bool,
}

/// The main text of a page in characters.
pub fn main_text(page: &str) -> MainText {
    choose::main_text(page::read(page))
}

/// Most memory that reading a page of so many bytes takes: its bytes, its characters, its text as it grows, and what is told apart in it.
pub(crate) fn planned_memory(bytes: u64) -> u64 {
    5 * bytes + page::HELD.min(bytes.saturating_mul(page::HELD_OF_BYTE))
}
