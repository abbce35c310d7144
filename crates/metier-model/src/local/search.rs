//! Replies by beam and by contrastive search.

use super::LocalModel;
use crate::decode::{BeamSearch, ContrastiveSearch, TextStream};
use metier_core::data::TokenId;
use metier_core::seam::{Finish, GenerateRequest, Reply, TokenChoice};
use metier_core::{Error, Place, Result};

impl LocalModel {
    /// The best continuations that `beams` beams find, best first, each with its score. Of the request's sampling nothing
    /// is used; a stop text cuts what was found.
    pub fn beam_search(
        &self,
        request: &GenerateRequest,
        beams: usize,
        length_penalty: f64,
    ) -> Result<Vec<(Reply, f64)>> {
        if !(1..=MOST).contains(&beams) {
            return Err(Error::user(Place::key("beams"), format!("{beams} is out of range, it is from 1 to {MOST}")));
        }
        if !length_penalty.is_finite() {
            return Err(Error::user(Place::key("length_penalty"), format!("{length_penalty} is no number")));
        }
        let (prompt, most) = self.prompt_and_most(request)?;
        let (end_ids, vocabulary) = (self.end_ids.as_slice(), self.tokenizer.vocabulary_size());
        let search = BeamSearch { beams, length_penalty, most, end_ids, vocabulary };
        let found = search.run(&self.decoder, &self.pages, &prompt)?;
        found
            .into_iter()
            .map(|found| {
                let mut text = TextStream::new(&request.stop);
                for (id, _) in &found.tokens {
                    text.push(&self.tokenizer.visible_bytes(*id)?);
                }
                let finish = if found.ended { Finish::Stop } else { Finish::Length };
                Ok((reply(text, &found.tokens, prompt.len(), finish), found.score))
            })
            .collect()
    }

    /// The reply of contrastive search with `alpha` from 0 to 1 among the `count` likeliest tokens. Of the request's sampling
    /// nothing is used.
    pub fn contrastive_search(&self, request: &GenerateRequest, alpha: f32, count: usize) -> Result<Reply> {
        if !(0.0..=1.0).contains(&alpha) {
            return Err(Error::user(Place::key("alpha"), format!("{alpha} is out of range, it is from 0 to 1")));
        }
        if !(1..=MOST).contains(&count) {
            return Err(Error::user(Place::key("count"), format!("{count} is out of range, it is from 1 to {MOST}")));
        }
        let (prompt, most) = self.prompt_and_most(request)?;
        let search = ContrastiveSearch { alpha, count, vocabulary: self.tokenizer.vocabulary_size() };
        let mut text = TextStream::new(&request.stop);
        let mut tokens = Vec::new();
        let mut finish = Finish::Length;
        search.run(&self.decoder, &self.pages, &prompt, most, &mut |id, logprob| {
            if self.end_ids.contains(&id) {
                finish = Finish::Stop;
                return Ok(false);
            }
            text.push(&self.tokenizer.visible_bytes(id)?);
            tokens.push((id, logprob));
            Ok(!text.stopped())
        })?;
        Ok(reply(text, &tokens, prompt.len(), finish))
    }
}

/// Most texts that are followed at the same time.
const MOST: usize = 128;

fn reply(mut text: TextStream, tokens: &[(TokenId, f32)], prompt_tokens: usize, finish: Finish) -> Reply {
    text.finish();
    let finish = if text.stopped() { Finish::Stop } else { finish };
    let piece = text.into_piece();
    let tokens = tokens[..piece.tokens].iter();
    Reply {
        text: piece.text,
        tokens: tokens.map(|&(id, logprob)| TokenChoice { id, logprob, top: Vec::new() }).collect(),
        prompt_tokens,
        cached_tokens: 0,
        drafted_tokens: 0,
        accepted_tokens: 0,
        finish,
    }
}
