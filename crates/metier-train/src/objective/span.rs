//! Put a mark in the place of some stretches of a text, and ask for them behind it.

use super::preference::Check;
use super::vocabulary::Vocabulary;
use super::{Group, Objective, Reading, Segment, causal};
use crate::settings::key_place;
use metier_compute::{Tape, Var};
use metier_core::data::TokenId;
use metier_core::part::{Build, Part};
use metier_core::seam::Tokenize;
use metier_core::seed::{Seed, Stream};
use metier_core::{Error, Fault, Place, Result};
use metier_model::Decoder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;

/// # What it does
/// Takes stretches out of a text, leaves a mark in the place of each, and asks the model for them behind the text, mark by mark.
///
/// # How
/// Of the `n` tokens of a segment `m = round(density · n)` are taken, at least one and not all, as `k = round(m / length)` spans, at least one. The `m` tokens are
/// split at random into `k` spans, and those that stay into as many stretches, each split as likely as another; stretches and
/// spans take turns, a stretch first. With `<0>`, `<1>` ... for the sentinels, `a b c d e f g` whose `c d` and `g` are taken becomes
///
/// ```text
/// a b <0> e f <1>   <0> c d <1> g <2>
/// ```
///
/// The loss is the mean of `-ln p` over what stands behind the text, the last sentinel too, each token given those before it, over all windows of a step together.
/// The token before a document's first one, or before a window's, is the first of its segment, and so never taken.
///
/// A window of `context` tokens is one of text. Its segments are longer by `2 k` rows and one more, so a segment of `n` tokens is `n + 2 k` rows: `context` and what is added must not be more than the model can attend to,
/// and `metier plan` counts it. Nothing is cut. What is taken is a function of the seed, the step and the window, so a text has other spans in each epoch, and a run that goes on the same
/// ones. Held-out windows are measured by this loss, with the same spans each time.
///
/// # When to use
/// To teach a decoder to fill in what is missing, alone or before a training with `causal`; on documents. The vocabulary must have sentinels that no text has, one for each span of the longest segment and one more: a window of 512
/// tokens needs 27. A vocabulary gets them by `special_tokens` of the stage `tokenizer`; many published ones have reserved tokens, such as `sentinels = ["<|reserved_special_token_{}|>"]`.
/// A `density` of 0.5, or a `length` of 8 and more, asks for more of the text at once, as UL2's other denoisers do.
///
/// # Differs from the paper in
/// Text and answer are one sequence that a decoder reads, with causal attention in the text too, where T5's encoder sees all of it. The answer ends with a sentinel, as in the paper's text; its
/// program ends it with the token that ends texts.
///
/// # Source
/// Raffel et al., *Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer*, arXiv:1910.10683, section 3.1.4, and
/// `random_spans_noise_mask` of its program. For decoders: Tay et al., *UL2: Unifying Language Learning Paradigms*, arXiv:2205.05131, section 3.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Span {
    /// The share of tokens that are taken.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub density: f64,
    /// Tokens of a span in the mean.
    #[schemars(range(min = 1.0))]
    pub length: f64,
    /// The sentinels in order, as the vocabulary has them. A name with `{}` stands for all that there are with 0, 1, 2 and so on in its place.
    pub sentinels: Vec<String>,
}

impl Default for Span {
    fn default() -> Self {
        Self { density: 0.15, length: 3.0, sentinels: vec!["<extra_id_{}>".to_owned()] }
    }
}

impl Build<dyn Objective> for Span {
    fn build(self, place: &Place) -> Result<Box<dyn Objective>> {
        let mut check = Check::new(place);
        check.require(
            "density",
            self.density,
            self.density > 0.0 && self.density < 1.0,
            "write a number between 0 and 1",
        );
        check.require(
            "length",
            self.length,
            self.length.is_finite() && self.length >= 1.0,
            "write a number of at least 1",
        );
        check.done(Box::new(Corruption { settings: self, place: place.clone(), sentinels: Vec::new() }))
    }
}

impl Span {
    /// How many tokens are taken of `tokens`, and as how many spans; of a single token none.
    fn counts(&self, tokens: usize) -> (usize, usize) {
        if tokens < 2 {
            return (0, 0);
        }
        let taken = ((tokens as f64 * self.density).round_ties_even() as usize).clamp(1, tokens - 1);
        let spans = ((taken as f64 / self.length).round_ties_even() as usize).max(1);
        // T5 has no such bound: with more spans than stretches to stand between them it takes other shares than it was asked to.
        (taken, spans.min(taken).min(tokens - taken))
    }

    /// For each of `tokens` whether it is taken.
    fn taken(&self, tokens: usize, draws: &mut Stream) -> Vec<bool> {
        let (taken, spans) = self.counts(tokens);
        let stay = split(tokens - taken, spans, draws);
        let go = split(taken, spans, draws);
        let lengths = stay.into_iter().zip(go).flat_map(|(stay, go)| [(stay, false), (go, true)]);
        let mut mask: Vec<bool> = lengths.flat_map(|(length, taken)| std::iter::repeat_n(taken, length)).collect();
        mask.resize(tokens, false);
        mask
    }
}

/// The lengths of `parts` parts of `items` items, none empty; every such list is as likely as another.
fn split(items: usize, parts: usize, draws: &mut Stream) -> Vec<usize> {
    let mut begins: Vec<bool> = (1..items).map(|item| item < parts).collect();
    draws.shuffle(&mut begins);
    let mut lengths = vec![1; usize::from(parts > 0)];
    for begins in begins {
        match lengths.last_mut() {
            Some(length) if !begins => *length += 1,
            _ => lengths.push(1),
        }
    }
    lengths
}

struct Corruption {
    settings: Span,
    /// Where the settings were written.
    place: Place,
    sentinels: Vec<TokenId>,
}

impl Corruption {
    /// The segment as it is read: what stays, then what was taken.
    fn rewritten(&self, segment: &Segment) -> Result<Segment> {
        let taken = self.settings.taken(segment.tokens.len(), &mut Seed::new(segment.draw).at(0));
        let (mut tokens, mut answer) = (Vec::new(), Vec::new());
        let mut sentinels = self.sentinels.iter().copied();
        let mut next = || sentinels.next().ok_or_else(|| Error::program("`span` was given too few sentinels"));
        let mut at = 0;
        for run in taken.chunk_by(|one, other| one == other) {
            let here = &segment.tokens[at..at + run.len()];
            at += run.len();
            if run[0] {
                let sentinel = next()?;
                tokens.push(sentinel);
                answer.push(sentinel);
                answer.extend_from_slice(here);
            } else {
                tokens.extend_from_slice(here);
            }
        }
        if !answer.is_empty() {
            answer.push(next()?);
        }
        let mut learned = vec![false; tokens.len()];
        tokens.append(&mut answer);
        learned.resize(tokens.len(), true);
        Ok(Segment { tokens, learned: Some(learned), ..Segment::default() })
    }

    /// The sentinels of a vocabulary, with what is wrong with them.
    fn sentinels(&self, tokenizer: &dyn Tokenize) -> Result<(Vec<TokenId>, Vec<Fault>)> {
        let place = key_place(&self.place, "sentinels");
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for name in &self.settings.sentinels {
            let before = found.len();
            if name.contains("{}") {
                let numbered = (0_u64..).map_while(|number| tokenizer.id_of(&name.replace("{}", &number.to_string())));
                found.extend(numbered.take(tokenizer.vocabulary_size()));
            } else {
                found.extend(tokenizer.id_of(name));
            }
            if found.len() == before {
                missing.push(name.replace("{}", "0"));
            }
        }
        let mut faults = Vec::new();
        if !missing.is_empty() {
            let vocabulary = Vocabulary::of(tokenizer)?;
            let fault = |name: String| {
                let hint = vocabulary.hint(&name, "sentinels");
                Fault::new(place.clone(), format!("the vocabulary has no `{name}`")).hint(hint)
            };
            faults.extend(missing.into_iter().map(fault));
        }
        let mut known = BTreeSet::new();
        if found.iter().any(|id| !known.insert(*id)) {
            faults.push(Fault::new(place, "a sentinel is named twice").hint("name each token once"));
        }
        Ok((found, faults))
    }
}

impl Objective for Corruption {
    fn batch(&self, segments: &[Segment]) -> Result<Group> {
        let rewritten = segments.iter().map(|segment| self.rewritten(segment)).collect::<Result<Vec<_>>>()?;
        Ok(Group { rows: causal::rows(&rewritten), ..Group::default() })
    }

    fn loss<'p>(
        &self,
        decoder: &'p Decoder,
        tape: &mut Tape<'p>,
        group: &Group,
        _other: Option<&Arc<Decoder>>,
    ) -> Result<Var> {
        decoder.loss(tape, &group.rows)
    }

    fn reading(&self) -> Reading {
        Reading::Rewritten
    }

    fn bind(&self, tokenizer: &dyn Tokenize, longest: usize) -> Result<Option<Box<dyn Objective>>> {
        let (sentinels, mut faults) = self.sentinels(tokenizer)?;
        let (_, spans) = self.settings.counts(longest);
        if faults.is_empty() && sentinels.len() <= spans {
            let (found, needed) = (sentinels.len(), spans + 1);
            let message = format!(
                "there are {found} sentinels, and a segment of {longest} tokens needs {needed}: one for each of its {spans} spans and one for the end"
            );
            let hint = "name more under `sentinels`, lower `density`, raise `length`, or choose a shorter `context`";
            faults.push(Fault::new(key_place(&self.place, "sentinels"), message).hint(hint));
        }
        let bound = Self { settings: self.settings.clone(), place: self.place.clone(), sentinels };
        Error::collect(Some(Box::new(bound) as Box<dyn Objective>), faults)
    }

    fn added(&self, tokens: u64) -> u64 {
        let (_, spans) = self.settings.counts(tokens as usize + 1);
        1 + 2 * spans as u64
    }
}

/// The record of `span`.
pub static PART: Part<dyn Objective> = Part::of::<Span>("span", 1);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn as_many_are_taken_as_are_asked_for(
            tokens in 0_usize..200,
            density in 0.01_f64..0.99,
            length in 1.0_f64..20.0,
            draw in 0_u64..1000,
        ) {
            let span = Span { density, length, ..Span::default() };
            let (taken, spans) = span.counts(tokens);
            let mask = span.taken(tokens, &mut Seed::new(draw).at(0));
            prop_assert_eq!(mask.len(), tokens);
            prop_assert_eq!(mask.iter().filter(|taken| **taken).count(), taken);
            prop_assert_eq!(mask.chunk_by(|one, other| one == other).filter(|run| run[0]).count(), spans);
            prop_assert!(tokens < 2 || (!mask[0] && mask[tokens - 1]));
            let (_, more) = span.counts(tokens + 1);
            prop_assert!(more >= spans);
        }
    }
}
