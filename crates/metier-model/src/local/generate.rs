//! Replies, token by token.

use super::LocalModel;
use crate::decode::{Chooser, Session, TextStream, log_probabilities};
use metier_core::data::TokenId;
use metier_core::seam::{
    Ability, CONTEXT, Delta, Finish, Generate, GenerateRequest, ProcessLogits, Prompt, Reply, TokenChoice,
};
use metier_core::{Error, Fault, Place, Result, stop};

impl Generate for LocalModel {
    fn can(&self, ability: Ability) -> bool {
        match ability {
            Ability::Logprobs | Ability::ProcessLogits | Ability::RawText => true,
            Ability::Conversation => self.render.is_some(),
        }
    }

    fn generate(&self, requests: &[GenerateRequest]) -> Result<Vec<Reply>> {
        requests.iter().map(|request| self.stream(request, &mut [], &mut |_| true)).collect()
    }

    /// Special tokens written in a prompt are read as such. Refused when prompt and `max_tokens` together
    /// are longer than the context.
    fn stream(
        &self,
        request: &GenerateRequest,
        processors: &mut [Box<dyn ProcessLogits>],
        on_delta: &mut dyn FnMut(Delta<'_>) -> bool,
    ) -> Result<Reply> {
        let chooser = Chooser::new(&request.sampling)?;
        let prompt = self.prompt_ids(request)?;
        let most = request.max_tokens.unwrap_or(self.decoder.config().context_length - prompt.len());
        let mut session = Session::new(&self.decoder)?;
        let mut history = prompt.clone();
        let mut text = TextStream::new(&request.stop);
        let mut tokens: Vec<TokenChoice> = Vec::new();
        let mut told = 0;
        let mut finish = Finish::Length;
        let mut fresh: &[TokenId] = &prompt;
        let mut next;
        while tokens.len() < most {
            if stop::requested() {
                return Err(stop::interrupted());
            }
            let raw = session.feed(fresh)?;
            let mut logits = raw.clone();
            logits[self.tokenizer.vocabulary_size()..].fill(f32::NEG_INFINITY);
            chooser.penalize(&prompt, &history[prompt.len()..], &mut logits);
            for processor in &mut *processors {
                processor.process(&history, &mut logits)?;
            }
            let id = chooser.choose(&logits, tokens.len() as u64)?;
            if self.end_ids.contains(&id) {
                finish = Finish::Stop;
                break;
            }
            let (logprob, top) = log_probabilities(&raw, id, request.top_logprobs);
            tokens.push(TokenChoice { id, logprob, top });
            history.push(id);
            let piece = text.push(&self.tokenizer.visible_bytes(id)?).to_owned();
            let from = std::mem::replace(&mut told, text.settled());
            if !on_delta(Delta { text: &piece, tokens: &tokens[from..told] }) {
                finish = Finish::Cancelled;
                break;
            }
            if text.stopped() {
                finish = Finish::Stop;
                break;
            }
            next = [id];
            fresh = &next;
        }
        let rest = text.finish().to_owned();
        let stopped = text.stopped();
        let piece = text.into_piece();
        tokens.truncate(piece.tokens);
        if finish != Finish::Cancelled && (!rest.is_empty() || told < tokens.len()) {
            on_delta(Delta { text: &rest, tokens: &tokens[told..] });
        }
        if stopped {
            finish = Finish::Stop;
        }
        Ok(Reply { text: piece.text, tokens, prompt_tokens: prompt.len(), finish })
    }
}

impl LocalModel {
    fn prompt_ids(&self, request: &GenerateRequest) -> Result<Vec<TokenId>> {
        let ids = self.encode_prompt(&request.prompt)?;
        let limit = self.decoder.config().context_length;
        let asked = request.max_tokens.unwrap_or(1);
        if ids.len().saturating_add(asked) > limit {
            return Err(Fault::new(
                Place::key(CONTEXT),
                format!(
                    "a prompt of {} tokens and {asked} to generate are longer than the model's context of {limit}",
                    ids.len()
                ),
            )
            .hint("shorten the prompt or ask for fewer tokens")
            .into());
        }
        Ok(ids)
    }

    /// The tokens that a prompt is for the model, however many. Refused when there are none.
    pub fn encode_prompt(&self, prompt: &Prompt) -> Result<Vec<TokenId>> {
        let written;
        let (text, begin) = match prompt {
            Prompt::Tokens(ids) => {
                let known = self.tokenizer.vocabulary_size();
                return match ids.iter().find(|id| **id as usize >= known) {
                    Some(id) => {
                        Err(Error::user(Place::key("prompt"), format!("the token id {id} is not below {known}")))
                    }
                    None if ids.is_empty() => Err(Error::user(Place::key("prompt"), "it is empty")),
                    None => Ok(ids.clone()),
                };
            }
            Prompt::Text(text) => (text, self.tokenizer.begin_of_text()),
            Prompt::Conversation(conversation) => match &self.render {
                Some(render) => {
                    written = render(conversation)?;
                    (&written, None)
                }
                None => {
                    return Err(Error::user(
                        Place::key("chat template"),
                        "the model has none, so it cannot answer a conversation",
                    )
                    .hint("give it raw text to continue"));
                }
            },
        };
        let mut ids: Vec<TokenId> = begin.into_iter().collect();
        for encoded in self.tokenizer.encode(&[text], true)? {
            ids.extend(encoded.ids);
        }
        if ids.is_empty() {
            return Err(Error::user(
                Place::key("prompt"),
                "it is empty, and the model has no token that begins a text",
            ));
        }
        Ok(ids)
    }
}
