//! Beam search: of all continuations the few likeliest so far are followed, and the best that ended are given.
//!
//! In each step every beam is continued by every token, and the likeliest continuations are ranked over all beams. One
//! that ends among the first `beams` of them is a hypothesis with the score `log p / length^penalty`, its end counted;
//! the first `beams` that do not end go on. It is over when there are `beams` hypotheses and the likeliest beam, at its
//! present length, would score no better than the worst of them, or when all have come to their most tokens.
//! The beams are one text's forks: they share its pages. Source: Wu et al., arXiv 1609.08144, section 7 (with the length
//! alone as penalty); the rules of ranking and ending are those of the transformers library.

use super::choose::likeliest;
use super::{Cache, Pages};
use crate::decoder::{Advance, Decoder};
use metier_compute::op::logit_normalizers;
use metier_core::data::TokenId;
use metier_core::{Result, stop};

/// How beams are followed.
#[derive(Debug, Clone, Copy)]
pub struct BeamSearch<'a> {
    /// Beams, and most hypotheses.
    pub beams: usize,
    /// What the length is raised to: 0 favors short texts, more than 1 long ones.
    pub length_penalty: f64,
    /// Most tokens of a hypothesis.
    pub most: usize,
    /// Ids that end one.
    pub end_ids: &'a [TokenId],
    /// Ids of the tokenizer; those behind are never chosen.
    pub vocabulary: usize,
}

/// A continuation.
#[derive(Debug, Clone, PartialEq)]
pub struct Hypothesis {
    /// Its tokens with their log-probabilities, without the one that ended it.
    pub tokens: Vec<(TokenId, f32)>,
    /// The log-probability of all, that of the end included.
    pub log_probability: f64,
    /// What it was ranked by.
    pub score: f64,
    /// Whether it came to an end of its own.
    pub ended: bool,
}

struct Beam {
    tokens: Vec<(TokenId, f32)>,
    log_probability: f64,
    cache: Cache,
}

/// One token more of one beam.
struct Candidate {
    beam: usize,
    id: TokenId,
    own: f32,
    log_probability: f64,
}

impl BeamSearch<'_> {
    /// The best continuations of `prompt`, which is not empty, best first.
    pub fn run(&self, decoder: &Decoder, pages: &Pages, prompt: &[TokenId]) -> Result<Vec<Hypothesis>> {
        let mut cache = Cache::default();
        let (before, last) = prompt.split_at(prompt.len().saturating_sub(1));
        super::read(decoder, pages, &mut cache, before)?;
        let mut beams = vec![Beam { tokens: Vec::new(), log_probability: 0.0, cache }];
        let mut ended: Vec<Hypothesis> = Vec::new();
        let kept = self.beams * (1 + self.end_ids.len()).max(2);
        for length in 1..=self.most {
            stop::check()?;
            let news: Vec<TokenId> = beams.iter().filter_map(|beam| beam.tokens.last().map(|token| token.0)).collect();
            let news: Vec<&[TokenId]> = if news.is_empty() { vec![last] } else { news.chunks(1).collect() };
            let steps = beams.iter_mut().zip(&news).map(|(beam, ids)| {
                let length = beam.cache.length() + ids.len();
                Advance { cache: &mut beam.cache, ids, wanted: 1, length }
            });
            let logits = decoder.advance(pages, &mut steps.collect::<Vec<_>>())?;
            let rows = logits.data().chunks_exact(decoder.config().vocabulary_size).zip(logit_normalizers(&logits)?);
            let mut candidates: Vec<Candidate> = rows
                .zip(&beams)
                .enumerate()
                .flat_map(|(number, (row, beam))| self.candidates(number, beam, row, kept))
                .collect();
            candidates.sort_by(|a, b| b.log_probability.total_cmp(&a.log_probability));
            candidates.truncate(kept);
            let mut next = Vec::new();
            for (rank, candidate) in candidates.into_iter().enumerate() {
                let Candidate { beam, id, own, log_probability } = candidate;
                let is_end = self.end_ids.contains(&id);
                if !is_end && length < self.most {
                    if next.len() < self.beams {
                        let mut tokens = beams[beam].tokens.clone();
                        tokens.push((id, own));
                        next.push(Beam { tokens, log_probability, cache: beams[beam].cache.clone() });
                    }
                } else if rank < self.beams {
                    let mut tokens = beams[beam].tokens.clone();
                    tokens.extend((!is_end).then_some((id, own)));
                    let score = log_probability / (length as f64).powf(self.length_penalty);
                    ended.push(Hypothesis { tokens, log_probability, score, ended: is_end });
                }
            }
            ended.sort_by(|a, b| b.score.total_cmp(&a.score));
            ended.truncate(self.beams);
            beams = next;
            let Some(best) = beams.first() else { break };
            let reachable = best.log_probability / (length as f64).powf(self.length_penalty);
            if ended.len() == self.beams && ended.last().is_some_and(|worst| reachable <= worst.score) {
                break;
            }
        }
        Ok(ended)
    }

    /// The `most` likeliest tokens behind a beam.
    fn candidates(&self, number: usize, beam: &Beam, row: (&[f32], f32), most: usize) -> Vec<Candidate> {
        likeliest(row.0, row.1, self.vocabulary, most)
            .into_iter()
            .map(|(id, own)| Candidate {
                beam: number,
                id,
                own,
                log_probability: beam.log_probability + f64::from(own),
            })
            .collect()
    }
}
