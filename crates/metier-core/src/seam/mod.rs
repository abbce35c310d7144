//! The six seams: what a model, an index or a tokenizer can be asked.
//!
//! Object-safe, batch first, plain data across the border, never tensors. A local model, a remote
//! endpoint, recorded replies and a program on top of another model are all a [`Generate`].

mod embed;
mod exchange;
mod generate;
mod process_logits;
mod retrieve;
mod score;
mod tokenize;

pub use embed::{Embed, Embedded};
pub use exchange::{Ask, Exchange};
pub use generate::{Ability, CONTEXT, Delta, Finish, Generate, GenerateRequest, Prompt, Reply, Sampling, TokenChoice};
pub use process_logits::ProcessLogits;
pub use retrieve::{Hit, Retrieve};
pub use score::{Score, ScoreRequest, Scored};
pub use tokenize::{Encoded, Tokenize};
