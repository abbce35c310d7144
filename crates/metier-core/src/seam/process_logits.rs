use crate::Result;
use crate::data::TokenId;

/// A change to the logits of the next token, given what came so far.
pub trait ProcessLogits: Send {
    /// Changes `logits` (one for each id of the vocabulary) in place. `history` is the prompt and what
    /// has been generated. A forbidden token gets negative infinity.
    fn process(&mut self, history: &[TokenId], logits: &mut [f32]) -> Result<()>;
}
