//! Ask for hidden tokens, given what stands on both sides.

use super::preference::Check;
use super::vocabulary::Vocabulary;
use super::{Group, Objective, Reading, Segment};
use crate::settings::key_place;
use metier_compute::{Tape, Var};
use metier_core::data::TokenId;
use metier_core::part::{Build, Part};
use metier_core::seam::Tokenize;
use metier_core::seed::Seed;
use metier_core::{Error, Fault, Place, Result};
use metier_model::{Batch, Decoder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// # What it does
/// Hides some tokens of a text and asks the model for them, which sees what stands on both sides of each.
///
/// # How
/// Of the `n` tokens of a segment that stand for text, `max(1, round(share · n))` are chosen, any set of so many as likely as another. A chosen one becomes the
/// mask token with probability `replaced`, a random token that stands for text with probability `random`, and else it stays. Each token of the segment is a
/// row, and the target of a row is the token that stood there: nothing is shifted. Only chosen ones have a weight, 1 each, and the loss is the mean
/// over them of `-ln p(target)`, over all windows of a step together. Special tokens are never chosen; of an example, only tokens of its replies are.
///
/// What is chosen is a function of the seed, the step and the window, so a text gets other choices in each epoch, and a run that goes on the
/// same ones. Held-out windows are measured by this loss, with the same choices each time.
///
/// # When to use
/// To train encoders: models whose attention is bidirectional. One whose attention is causal is refused; `span` teaches such a model to fill in what is missing.
/// Without `mask`, the mask token is `[MASK]` or `<mask>`, whichever the vocabulary has; a vocabulary gets one by `special_tokens` of the stage `tokenizer`.
/// Larger models learn well with a `share` of 0.3 or 0.4.
///
/// # Differs from the paper in
/// Nothing is asked about which sentence follows. Choices are new each time, as in `RoBERTa`, where BERT's data held ten of each text. A random token is never a
/// special one, and whole words are not kept together.
///
/// # Source
/// Devlin et al., *BERT*, arXiv:1810.04805, section 3.1 and appendix A.1. New choices: Liu et al., *`RoBERTa`*, arXiv:1907.11692, section 4.1.
/// Larger shares: Wettig et al., *Should You Mask 15% in Masked Language Modeling?*, arXiv:2202.08005.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Masked {
    /// The share of tokens that are chosen.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub share: f64,
    /// The mask token, as the vocabulary has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mask: Option<String>,
    /// The part of the chosen tokens that become the mask token.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub replaced: f64,
    /// The part of the chosen tokens that become a random one.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub random: f64,
}

impl Default for Masked {
    fn default() -> Self {
        Self { share: 0.15, mask: None, replaced: 0.8, random: 0.1 }
    }
}

/// What the mask token is called in published vocabularies.
const NAMES: [&str; 2] = ["[MASK]", "<mask>"];

impl Build<dyn Objective> for Masked {
    fn build(self, place: &Place) -> Result<Box<dyn Objective>> {
        let mut check = Check::new(place);
        let is_part = |value: f64| (0.0..=1.0).contains(&value);
        check.require("share", self.share, self.share > 0.0 && self.share <= 1.0, "write a number above 0, at most 1");
        check.require("replaced", self.replaced, is_part(self.replaced), "write a number from 0 to 1");
        let (sum, hint) = (self.replaced + self.random, "write a number from 0 to what `replaced` leaves of 1");
        check.require("random", self.random, is_part(self.random) && sum <= 1.0 + 1e-9, hint);
        check.done(Box::new(Masking { settings: self, place: place.clone(), bound: None }))
    }
}

struct Masking {
    settings: Masked,
    /// Where the settings were written.
    place: Place,
    bound: Option<Arc<Bound>>,
}

struct Bound {
    mask: TokenId,
    vocabulary: Vocabulary,
}

impl Masking {
    /// The mask token of a vocabulary.
    fn mask(&self, tokenizer: &dyn Tokenize, vocabulary: &Vocabulary) -> Result<TokenId> {
        let named = self.settings.mask.as_deref();
        let names = named.as_ref().map_or(&NAMES[..], std::slice::from_ref);
        if let Some(id) = names.iter().find_map(|name| tokenizer.id_of(name)) {
            return Ok(id);
        }
        let all = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ");
        let fault = Fault::new(key_place(&self.place, "mask"), format!("the vocabulary has no {all}"));
        Err(fault.hint(vocabulary.hint(names[0], "mask")).into())
    }

    /// Places of a segment that are asked for, ascending, each with what the model sees there.
    fn hidden(&self, segment: &Segment, bound: &Bound) -> Vec<(usize, TokenId)> {
        let Masked { share, replaced, random, .. } = self.settings;
        let is_learned = |at: usize| segment.learned.as_ref().is_none_or(|learned| learned[at]);
        let is_asked = |(at, id): (usize, &TokenId)| (bound.vocabulary.is_plain(*id) && is_learned(at)).then_some(at);
        let mut places: Vec<usize> = segment.tokens.iter().enumerate().filter_map(is_asked).collect();
        let mut draws = Seed::new(segment.draw).at(0);
        draws.shuffle(&mut places);
        places.truncate(((share * places.len() as f64).round_ties_even() as usize).max(1));
        places.sort_unstable();
        let plain = &bound.vocabulary.plain;
        let seen = |at: usize| {
            let what = draws.unit();
            let other = plain[draws.below(plain.len() as u64) as usize];
            let kept = if what < replaced + random { other } else { segment.tokens[at] };
            (at, if what < replaced { bound.mask } else { kept })
        };
        places.into_iter().map(seen).collect()
    }
}

impl Objective for Masking {
    fn batch(&self, segments: &[Segment]) -> Result<Group> {
        let Some(bound) = &self.bound else { return Err(Error::program("`masked` was given no vocabulary")) };
        let mut rows = Batch::default();
        for segment in segments.iter().filter(|segment| !segment.tokens.is_empty()) {
            let start = rows.ids.len();
            rows.ids.extend_from_slice(&segment.tokens);
            rows.targets.extend_from_slice(&segment.tokens);
            rows.positions.extend(0..segment.tokens.len() as u32);
            rows.weights.resize(rows.ids.len(), 0.0);
            for (at, seen) in self.hidden(segment, bound) {
                rows.ids[start + at] = seen;
                rows.weights[start + at] = 1.0;
            }
            rows.sequences.push(start..rows.ids.len());
        }
        Ok(Group { rows, ..Group::default() })
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
        Reading::Hidden
    }

    fn bind(&self, tokenizer: &dyn Tokenize, _longest: usize) -> Result<Option<Box<dyn Objective>>> {
        let mut vocabulary = Vocabulary::of(tokenizer)?;
        let mask = self.mask(tokenizer, &vocabulary)?;
        vocabulary.plain.retain(|id| *id != mask);
        let bound = Some(Arc::new(Bound { mask, vocabulary }));
        Ok(Some(Box::new(Self { settings: self.settings.clone(), place: self.place.clone(), bound })))
    }
}

/// The record of `masked`.
pub static PART: Part<dyn Objective> = Part::of::<Masked>("masked", 1);
