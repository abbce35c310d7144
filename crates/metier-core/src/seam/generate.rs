use super::ProcessLogits;
use super::exchange::{Ask, Exchange, Listed, Single};
use crate::data::{Conversation, TokenId};
use crate::{Error, Result};

/// What a reply is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// Raw text to continue.
    Text(String),
    /// Tokens to continue, as they are: no token that begins a text is put before them.
    Tokens(Vec<TokenId>),
    /// Turns, written out by the model's chat template.
    Conversation(Conversation),
}

/// How the next token is chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// 0 takes the likeliest token.
    pub temperature: f32,
    /// Keep the `k` likeliest; 0 keeps all.
    pub top_k: usize,
    /// Keep the smallest set whose probability reaches this; 1 keeps all.
    pub top_p: f32,
    /// Keep tokens at least this fraction as likely as the likeliest; 0 keeps all.
    pub min_p: f32,
    /// Keep the tokens about as surprising as was to be expected, until their probability reaches this; 1 keeps all.
    pub typical_p: f32,
    /// Divide (positive) or multiply (negative) logits of tokens already seen; 1 changes nothing.
    pub repetition_penalty: f32,
    /// Take this from the logits of tokens that the reply has already; 0 changes nothing.
    pub presence_penalty: f32,
    /// Take this from a token's logit for each time that the reply has it already; 0 changes nothing.
    pub frequency_penalty: f32,
    /// With the position decides every random choice.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            typical_p: 1.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            seed: 0,
        }
    }
}

/// One thing to generate.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateRequest {
    /// What to continue or answer.
    pub prompt: Prompt,
    /// At most this many tokens; `None` goes on until the context is full.
    pub max_tokens: Option<usize>,
    /// Texts that end the reply and are not part of it.
    pub stop: Vec<String>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Report this many of the likeliest tokens at each position.
    pub top_logprobs: usize,
}

/// Why a reply ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// An end token or a stop text.
    Stop,
    /// `max_tokens` were made.
    Length,
    /// The caller asked to stop.
    Cancelled,
}

/// A token as it was chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenChoice {
    /// The token.
    pub id: TokenId,
    /// Its natural-log probability before any sampling change.
    pub logprob: f32,
    /// The likeliest tokens here with theirs, likeliest first.
    pub top: Vec<(TokenId, f32)>,
}

/// What is new in a reply that is being made. The deltas of a reply, joined, are its text and its tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Delta<'a> {
    /// Whole characters; empty while they are held back, because a stop text may have begun.
    pub text: &'a str,
    /// The tokens that begin in what has been handed over and were not among those of earlier deltas.
    pub tokens: &'a [TokenChoice],
}

/// What was generated.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The text without stop texts and end tokens.
    pub text: String,
    /// The tokens it was made of.
    pub tokens: Vec<TokenChoice>,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Those of them that were known already, from the beginning of another text.
    pub cached_tokens: usize,
    /// Tokens that were guessed ahead.
    pub drafted_tokens: usize,
    /// Those of them that the model took.
    pub accepted_tokens: usize,
    /// Why it ended.
    pub finish: Finish,
}

impl Reply {
    /// How likely its tokens were on average, as a natural logarithm; 0 without any.
    pub fn mean_logprob(&self) -> f64 {
        let sum: f64 = self.tokens.iter().map(|token| f64::from(token.logprob)).sum();
        sum / self.tokens.len().max(1) as f64
    }
}

/// Something a generator may be unable to do; asked before work starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ability {
    /// Report log-probabilities.
    Logprobs,
    /// Let the caller change logits.
    ProcessLogits,
    /// Continue raw text.
    RawText,
    /// Answer a conversation.
    Conversation,
}

/// The key of the fault that says that prompt and reply are longer than the context, with both lengths.
pub const CONTEXT: &str = "context";

/// Requests to replies.
pub trait Generate: Send + Sync {
    /// Whether it can do this.
    fn can(&self, ability: Ability) -> bool;

    /// Answers what `exchange` hands over, several requests at a time, until it has none and all have their replies.
    ///
    /// A request that cannot be answered gets its error; an error here means that all that were running got one.
    fn run(&self, exchange: &mut dyn Exchange) -> Result<()>;

    /// One reply for each request, in order.
    fn generate(&self, requests: &[GenerateRequest]) -> Result<Vec<Reply>> {
        let mut listed = Listed::new(requests);
        self.run(&mut listed)?;
        listed.replies()
    }

    /// One reply, handed over piece by piece. `on_delta` is called after each token, with nothing in it while nothing is
    /// certain, and returns false to stop. `processors` change the logits before each choice, in order.
    fn stream(
        &self,
        request: &GenerateRequest,
        processors: Vec<Box<dyn ProcessLogits>>,
        on_delta: &mut dyn FnMut(Delta<'_>) -> bool,
    ) -> Result<Reply> {
        let ask = Ask { request: request.clone(), processors };
        let mut single = Single { ask: Some(ask), on_delta, reply: None };
        self.run(&mut single)?;
        single.reply.unwrap_or_else(|| Err(Error::program("a generator left a request without a reply")))
    }
}
