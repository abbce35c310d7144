//! Contrastive search: of the few likeliest tokens the one that says least again what was said.
//!
//! With `h` the last hidden states, the token `v` among the `count` likeliest is taken with the largest
//! `(1 - alpha) p(v) - alpha max over j of cos(h_v, h_j)`, `j` over all tokens of prompt and reply so far. To know `h_v`
//! the model reads each of them, as forks of the text in one pass. Greedy at `alpha` 0.
//! Source: Su et al., A Contrastive Framework for Neural Text Generation, arXiv 2202.06417, equation 5.

use super::choose::likeliest;
use super::{Cache, Pages, ROWS};
use crate::decoder::{Advance, Decoder};
use metier_compute::Tensor;
use metier_compute::op::logit_normalizers;
use metier_core::data::TokenId;
use metier_core::{Result, stop};

/// How tokens are compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ContrastiveSearch {
    /// From 0 to 1: how much what was said counts.
    pub alpha: f32,
    /// Likeliest tokens that are compared, at least 1.
    pub count: usize,
    /// Ids of the tokenizer; those behind are never chosen.
    pub vocabulary: usize,
}

impl ContrastiveSearch {
    /// Continues `prompt`, which is not empty. `take` gets each token with its log-probability, and says whether to go on.
    pub fn run(
        &self,
        decoder: &Decoder,
        pages: &Pages,
        prompt: &[TokenId],
        most: usize,
        take: &mut dyn FnMut(TokenId, f32) -> Result<bool>,
    ) -> Result<()> {
        let width = decoder.config().hidden_size;
        let mut cache = Cache::default();
        let mut said: Vec<f32> = Vec::new();
        let mut last = Vec::new();
        for ids in prompt.chunks(ROWS) {
            let step = Advance { cache: &mut cache, ids, wanted: ids.len(), length: prompt.len() };
            let hidden = decoder.advance_hidden(pages, &mut [step])?;
            said.extend(directions(hidden.data(), width));
            last = hidden.data()[(ids.len() - 1) * width..].to_vec();
        }
        for made in 0..most {
            stop::check()?;
            let logits = decoder.logits(&Tensor::from_vec(&[1, width], last)?)?;
            let top = likeliest(logits.data(), logit_normalizers(&logits)?[0], self.vocabulary, self.count.max(1));
            let length = prompt.len() + made + 1;
            let mut forks = vec![cache.clone(); top.len()];
            let steps = forks.iter_mut().zip(&top).map(|(cache, (id, _))| Advance {
                cache,
                ids: std::slice::from_ref(id),
                wanted: 1,
                length,
            });
            let hidden = decoder.advance_hidden(pages, &mut steps.collect::<Vec<_>>())?;
            let found = directions(hidden.data(), width);
            let value = |number: usize| {
                let own = &found[number * width..][..width];
                let nearest = said.chunks_exact(width).map(|said| dot(said, own)).fold(f32::NEG_INFINITY, f32::max);
                (1.0 - self.alpha) * top[number].1.exp() - self.alpha * nearest
            };
            let values: Vec<f32> = (0..top.len()).map(value).collect();
            let best = (1..values.len()).fold(0, |best, at| if values[at] > values[best] { at } else { best });
            cache = forks.swap_remove(best);
            said.extend_from_slice(&found[best * width..][..width]);
            if !take(top[best].0, top[best].1)? {
                break;
            }
            last = hidden.data()[best * width..][..width].to_vec();
        }
        Ok(())
    }
}

/// The rows at length 1.
fn directions(rows: &[f32], width: usize) -> Vec<f32> {
    let scaled = rows.chunks_exact(width).flat_map(|row| {
        let length = dot(row, row).sqrt();
        let scale = if length > 0.0 { 1.0 / length } else { 0.0 };
        row.iter().map(move |value| value * scale)
    });
    scaled.collect()
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
