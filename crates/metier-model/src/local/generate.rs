//! Requests to replies.

use super::LocalModel;
use crate::decode::Engine;
use metier_core::data::TokenId;
use metier_core::seam::{Ability, CONTEXT, Exchange, Generate, GenerateRequest, Prompt};
use metier_core::{Error, Fault, Place, Result};

impl Generate for LocalModel {
    fn can(&self, ability: Ability) -> bool {
        match ability {
            Ability::Logprobs | Ability::ProcessLogits | Ability::RawText => true,
            Ability::Conversation => self.render.is_some(),
        }
    }

    /// Special tokens written in a prompt are read as such. Refused are requests whose prompt and `max_tokens` together are
    /// longer than the context.
    fn run(&self, exchange: &mut dyn Exchange) -> Result<()> {
        let engine = Engine {
            decoder: &self.decoder,
            tokenizer: self.tokenizer.as_ref(),
            end_ids: &self.end_ids,
            pages: &self.pages,
            texts: self.texts,
            draft: self.draft.as_ref(),
        };
        engine.run(exchange, &|ask| self.prompt_and_most(&ask.request))
    }
}

impl LocalModel {
    /// The tokens of a request's prompt, and the most that may be made.
    pub(super) fn prompt_and_most(&self, request: &GenerateRequest) -> Result<(Vec<TokenId>, usize)> {
        self.decoder.check_causal("a reply")?;
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
        let most = request.max_tokens.unwrap_or(limit - ids.len());
        Ok((ids, most))
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
