//! A reply while it is being made: the choice of its tokens, its text, what of both has been handed over.

use super::{Chooser, Drafted, TextStream, log_probabilities};
use metier_core::Result;
use metier_core::data::TokenId;
use metier_core::seam::{Ask, Delta, Finish, ProcessLogits, Reply, TokenChoice, Tokenize};

/// A reply that is being made.
pub(super) struct Writing {
    pub chooser: Chooser,
    processors: Vec<Box<dyn ProcessLogits>>,
    text: TextStream,
    tokens: Vec<TokenChoice>,
    /// Tokens that were handed over.
    told: usize,
    /// Tokens of the prompt, and those of them that were known.
    prompt: usize,
    pub cached: usize,
    /// The most tokens to make.
    pub most: usize,
    top: usize,
    drafted: usize,
    accepted: usize,
    /// Why it has ended, once it has.
    pub finish: Option<Finish>,
}

impl Writing {
    /// A reply to a prompt of `prompt` tokens, of at most `most` tokens.
    pub fn new(ask: Ask, prompt: usize, most: usize) -> Result<Self> {
        let Ask { request, processors } = ask;
        Ok(Self {
            chooser: Chooser::new(&request.sampling)?,
            processors,
            text: TextStream::new(&request.stop),
            tokens: Vec::new(),
            told: 0,
            prompt,
            cached: 0,
            most,
            top: request.top_logprobs,
            drafted: 0,
            accepted: 0,
            finish: (most == 0).then_some(Finish::Length),
        })
    }

    /// Tokens made so far.
    pub fn length(&self) -> usize {
        self.tokens.len()
    }

    /// The position of the token that comes after `ids`, prompt and reply, counted from the beginning of the reply.
    pub fn position(&self, ids: &[TokenId]) -> u64 {
        (ids.len() - self.prompt) as u64
    }

    /// What the caller's settings make of a model's logits of what follows `ids`, without its processors.
    pub fn settle(&self, ids: &[TokenId], logits: &mut [f32], vocabulary: usize) {
        if let Some(padding) = logits.get_mut(vocabulary..) {
            padding.fill(f32::NEG_INFINITY);
        }
        let (prompt, reply) = ids.split_at(self.prompt);
        self.chooser.penalize(prompt, reply, logits);
    }

    /// Chooses the token that follows `ids`, to which it is added, by logits and their normalizer, and hands over what is certain now. True when it is the
    /// one that was guessed; `finish` says whether the reply goes on.
    pub fn take(
        &mut self,
        ids: &mut Vec<TokenId>,
        (raw, normalizer): (&[f32], f32),
        guess: Option<&Drafted>,
        (tokenizer, end_ids): (&dyn Tokenize, &[TokenId]),
        tell: &mut dyn FnMut(Delta<'_>) -> bool,
    ) -> Result<bool> {
        let mut logits = raw.to_vec();
        self.settle(ids, &mut logits, tokenizer.vocabulary_size());
        for processor in &mut self.processors {
            processor.process(ids, &mut logits)?;
        }
        let position = self.position(ids);
        let (id, accepted) = match guess {
            Some(guess) => self.chooser.judge(&logits, position, guess)?,
            None => (self.chooser.choose(&logits, position)?, false),
        };
        self.drafted += usize::from(guess.is_some());
        self.accepted += usize::from(accepted);
        if end_ids.contains(&id) {
            self.finish = Some(Finish::Stop);
            return Ok(accepted);
        }
        let (logprob, top) = log_probabilities(raw, normalizer, id, self.top);
        self.tokens.push(TokenChoice { id, logprob, top });
        ids.push(id);
        let piece = self.text.push(&tokenizer.visible_bytes(id)?).to_owned();
        let from = std::mem::replace(&mut self.told, self.text.settled());
        if !tell(Delta { text: &piece, tokens: &self.tokens[from..self.told] }) {
            self.finish = Some(Finish::Cancelled);
        } else if self.text.stopped() {
            self.finish = Some(Finish::Stop);
        } else if self.tokens.len() >= self.most {
            self.finish = Some(Finish::Length);
        }
        Ok(accepted)
    }

    /// The reply, when it has ended; hands over what was held back.
    pub fn reply(mut self, tell: &mut dyn FnMut(Delta<'_>) -> bool) -> Reply {
        let mut finish = self.finish.unwrap_or(Finish::Cancelled);
        let rest = self.text.finish().to_owned();
        let stopped = self.text.stopped();
        let piece = self.text.into_piece();
        self.tokens.truncate(piece.tokens);
        if finish != Finish::Cancelled && (!rest.is_empty() || self.told < self.tokens.len()) {
            tell(Delta { text: &rest, tokens: &self.tokens[self.told..] });
        }
        if stopped {
            finish = Finish::Stop;
        }
        Reply {
            text: piece.text,
            tokens: self.tokens,
            prompt_tokens: self.prompt,
            cached_tokens: self.cached.min(self.prompt),
            drafted_tokens: self.drafted,
            accepted_tokens: self.accepted,
            finish,
        }
    }
}
