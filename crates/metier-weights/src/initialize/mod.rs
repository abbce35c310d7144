//! The family of initializers: the rows that new tokens of a vocabulary begin with, in the embedding and in the head.
//!
//! A row that is a mixture of old rows, with shares of at least 0 that sum to 1, lies in their convex hull: no new token
//! then has a larger logit than every old one, whatever the hidden state, and greedy replies stay what they were
//! (Mundra et al., arXiv 2407.05841, section 3).

mod cw2v;
mod donor;
mod focus;
mod mean;
mod multivariate;
mod neighbors;
mod random;
mod subword_mean;
mod univariate;
mod zero;

pub use cw2v::Cw2v;
pub use donor::FromDonor;
pub use focus::Focus;
pub use mean::Mean;
pub use multivariate::Multivariate;
pub use neighbors::Neighbors;
pub use random::Random;
pub use subword_mean::SubwordMean;
pub use univariate::Univariate;
pub use zero::Zero;

use crate::lines::Lines;
use metier_core::data::TokenId;
use metier_core::part::{Part, Record};
use metier_core::seed::Seed;
use metier_core::{Error, Place, Result};
use std::path::Path;

/// Rows of numbers, one for each token.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rows {
    /// Row after row.
    pub values: Vec<f32>,
    /// Numbers of a row.
    pub width: usize,
}

impl Rows {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.values.len().checked_div(self.width).unwrap_or(0)
    }

    /// One of them.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn row(&self, at: usize) -> &[f32] {
        &self.values[at * self.width..][..self.width]
    }

    fn iter(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.width.max(1))
    }

    /// The mean of the rows, summed in `f64`.
    fn mean(&self) -> Vec<f64> {
        let mut mean = vec![0.0; self.width];
        for row in self.iter() {
            for (mean, x) in mean.iter_mut().zip(row) {
                *mean += f64::from(*x);
            }
        }
        let count = self.count() as f64;
        for mean in &mut mean {
            *mean /= count;
        }
        mean
    }
}

/// What is known when rows for new tokens are wanted.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    /// Rows of the old tokens in the embedding.
    pub embedding: &'a Rows,
    /// Rows of the old tokens in the head; `None` when it is the embedding.
    pub head: Option<&'a Rows>,
    /// For each new token, the old ones that its text was written in.
    pub parts: &'a [Vec<TokenId>],
    /// Lines of text in ids of the extended vocabulary, where new tokens follow the old ones.
    pub lines: &'a Lines,
    /// Another model; for initializers that take one.
    pub donor: Option<&'a Donor>,
    /// A folder in which an initializer keeps how far it has come, to go on from there after an interruption.
    pub work: Option<&'a Path>,
}

/// What is known of another model, whose tokens the new ones are.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Donor {
    /// Rows of its tokens in the embedding.
    pub embedding: Rows,
    /// In the head, where that is another matrix.
    pub head: Option<Rows>,
    /// Old tokens with the donor's of the same bytes.
    pub shared: Vec<(TokenId, TokenId)>,
    /// For each new token the donor's of the same bytes.
    pub tokens: Vec<Option<TokenId>>,
}

/// The rows of new tokens, in their order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Made {
    /// In the embedding.
    pub embedding: Rows,
    /// In the head, where that has its own.
    pub head: Option<Rows>,
    /// The old tokens with the largest shares in each row of the embedding, where it is a mixture: at most
    /// [`LARGEST`], the largest first.
    pub sources: Option<Vec<Vec<(TokenId, f32)>>>,
    /// New tokens, by their number, of which an initializer that learns could learn nothing: they are the mean of their
    /// parts.
    pub unseen: Vec<usize>,
}

/// Sources of a row that are kept.
pub const LARGEST: usize = 5;

/// A way to begin.
pub trait Initialize: Send + Sync {
    /// Whether it learns from text.
    fn reads_text(&self) -> bool {
        false
    }

    /// Whether it learns from another model.
    fn takes_donor(&self) -> bool {
        false
    }

    /// Rows for the new tokens. The same seed gives the same rows.
    ///
    /// # Errors
    /// When what is known does not fit together, or the text has nothing to learn from.
    fn rows(&self, known: Known<'_>, seed: Seed) -> Result<Made>;
}

/// Every initializer.
#[rustfmt::skip]
pub static INITIALIZERS: &[&Part<dyn Initialize>] = &[
    &cw2v::PART,
    &donor::PART,
    &focus::PART,
    &mean::PART,
    &multivariate::PART,
    &neighbors::PART,
    &random::PART,
    &subword_mean::PART,
    &univariate::PART,
    &zero::PART,
];

/// What is said about each initializer.
pub fn records() -> Vec<Record> {
    INITIALIZERS.iter().map(|part| part.record()).collect()
}

impl Known<'_> {
    /// Refuses what does not fit together.
    fn check(&self) -> Result<()> {
        let old = self.embedding.count();
        let refuse = |key: &str, message: String| Err(Error::user(Place::key(key), message));
        if old == 0 {
            return refuse("embedding", "the model has no tokens".to_owned());
        }
        if let Some(head) = self.head
            && head.count() != old
        {
            return refuse("head", format!("it has {} rows, and the embedding {old}", head.count()));
        }
        for (number, parts) in self.parts.iter().enumerate() {
            if let Some(part) = parts.iter().find(|part| **part as usize >= old) {
                return refuse("parts", format!("new token {number} was written with {part}, which is no old token"));
            }
        }
        let all = old + self.parts.len();
        let wrong = |(at, line): (usize, Vec<TokenId>)| Some((at, line.into_iter().find(|id| *id as usize >= all)?));
        match self.lines.iter().enumerate().find_map(wrong) {
            None => Ok(()),
            Some((line, id)) => refuse("lines", format!("line {} has the token {id} of {all}", line + 1)),
        }
    }

    /// How often the text has each token, new ones behind the old.
    fn counts(&self) -> Vec<u64> {
        let mut counts = vec![0; self.embedding.count() + self.parts.len()];
        for id in self.lines.iter().flatten() {
            counts[id as usize] += 1;
        }
        counts
    }

    /// Rows made for the embedding and the head apart, each from its own old rows, by `make(old rows, purpose)`.
    fn apart(&self, make: impl Fn(&Rows, &str) -> Rows) -> Result<Made> {
        self.check()?;
        let head = self.head.map(|head| make(head, "head"));
        Ok(Made { embedding: make(self.embedding, "embedding"), head, sources: None, unseen: Vec::new() })
    }
}

/// Rows that are mixtures of the old ones, by the same shares in the embedding and in the head. Without shares a row is the
/// mean of all old ones.
fn mixtures(known: Known<'_>, shares: &[Vec<(TokenId, f64)>]) -> Made {
    let mixed = |old: &Rows| {
        let mean = old.mean();
        let mut values = Vec::with_capacity(shares.len() * old.width);
        for shares in shares {
            let mut sum = if shares.is_empty() { mean.clone() } else { vec![0.0; old.width] };
            for (id, share) in shares {
                sum.iter_mut().zip(old.row(*id as usize)).for_each(|(sum, x)| *sum += share * f64::from(*x));
            }
            values.extend(sum.into_iter().map(|sum| sum as f32));
        }
        Rows { values, width: old.width }
    };
    let sources = shares.iter().map(|shares| largest(shares.iter().map(|(id, share)| (*id, *share as f32))));
    Made {
        embedding: mixed(known.embedding),
        head: known.head.map(mixed),
        sources: Some(sources.collect()),
        unseen: Vec::new(),
    }
}

/// The largest shares, at most [`LARGEST`], the largest first and among equals the lower id.
fn largest(shares: impl Iterator<Item = (TokenId, f32)>) -> Vec<(TokenId, f32)> {
    let mut found: Vec<(TokenId, f32)> = Vec::with_capacity(LARGEST + 1);
    for (id, share) in shares {
        let place = found.partition_point(|(_, other)| *other >= share);
        if place < LARGEST {
            found.insert(place, (id, share));
            found.truncate(LARGEST);
        }
    }
    found
}

#[cfg(test)]
mod tests;
