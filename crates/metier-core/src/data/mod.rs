//! Plain values that cross crate borders: documents, conversations, examples, pairs, questions and token ids.

mod conversation;
mod document;
mod example;
mod form;
mod pair;
mod question;
mod tool;

pub use conversation::{Conversation, Message, Role};
pub use document::{Document, Metadata, Piece, Pieces};
pub use example::Example;
pub use form::Form;
pub use pair::TextPair;
pub use question::Question;
pub use tool::{CallForm, CallPiece, Tool, ToolCall, ToolChoice};

/// The id of a token in one vocabulary.
pub type TokenId = u32;
