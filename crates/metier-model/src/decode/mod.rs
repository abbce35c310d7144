//! From logits to text: caches in pages, many texts at once, the choice of a token, guesses ahead, whole characters, stop
//! texts.

mod cache;
mod choose;
mod draft;
mod engine;
mod prefixes;
mod session;
mod text;
mod typical;
mod writing;

pub use cache::{Cache, Pages};
pub use choose::{Chooser, Drafted, log_probabilities};
pub use draft::Draft;
pub use engine::Engine;
pub use session::Session;
pub use text::{Piece, TextStream};
