//! From logits to text: the cache, the choice of a token, whole characters, stop texts.

mod cache;
mod choose;
mod session;
mod text;

pub use cache::{BlockCache, Cache};
pub use choose::{Chooser, log_probabilities};
pub use session::Session;
pub use text::{Piece, TextStream};
