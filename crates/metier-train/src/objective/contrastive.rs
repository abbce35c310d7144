//! Bring texts that belong together near to each other, and away from the others of the step.

use super::preference::{self, Check};
use super::{Group, Objective, Segment};
use metier_compute::{Tape, Tensor, Var, op};
use metier_core::part::{Build, Part};
use metier_core::{Error, Place, Result};
use metier_model::{Batch, Decoder};
use metier_tokenizer::pack::{Lesson, Verdict};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::ops::Range;

/// # What it does
/// Gives an anchor (a question, a title) and the text that belongs to it, its positive, vectors of nearly one direction, and the anchor and every other
/// text of the step vectors of different directions, so that the nearest vector finds the right text.
///
/// # How
/// A text's vector is the one that `metier embed` gives of it, at length 1: the mean of the last hidden states of its tokens, or what a sentence-transformers folder says. With the anchors `aᵢ` of all
/// `n` pairs of a step and the candidates `cⱼ`, which are the positives `c₁ … cₙ` and then the rows' negatives, `sᵢⱼ = aᵢ · cⱼ / temperature`, and the loss is
/// `mean over i of ln Σⱼ e^sᵢⱼ - sᵢᵢ`. With `symmetric` it is the mean of that and of `mean over i of ln Σₖ e^sₖᵢ - sᵢᵢ`, the anchors `k ≤ n` as candidates of a
/// positive. A text that any row of the step gives as an anchor's positive is left out of the sums as its negative: so rows with equal
/// anchors or equal positives do not push each other away. A step's pairs are those of all its windows (`sequences`), whatever
/// `micro_batch` is: texts are computed `micro_batch` windows' worth at a time, and computed again for the gradient, so that `micro_batch` changes time, memory
/// and rounding, and not the loss.
///
/// # When to use
/// To make an embedder for search of a language model, on rows of `anchor`, `positive` and perhaps `negative`. More pairs in a step are
/// more negatives: raise `sequences`, or `context`, whose windows hold as many pairs as fit. Rows that follow each other in the file share
/// a window, so shuffle the file. Rates are those of instruction tuning. Measure with `eval` and its `pairs`.
///
/// # Differs from the paper in
/// Similarities are cosines over a temperature, where van den Oord et al. learn a bilinear form. It is `MultipleNegativesRankingLoss` of
/// sentence-transformers with `scale = 1 / temperature` (theirs is 20, ours 0.05), and its `MultipleNegativesSymmetricRankingLoss` with `symmetric`. The
/// temperature is what papers tell (`SimCLR`, `SimCSE`, E5). Those keep false negatives, and leave it to a sampler to avoid equal texts. Gao et al. keep
/// the gradient by the vectors and walk back part by part, where here parts are segments that are computed again, with the same numbers.
///
/// # Source
/// van den Oord et al., *Representation Learning with Contrastive Predictive Coding*, arXiv:1807.03748, equation 4; in-batch negatives: Henderson et al., *Efficient
/// Natural Language Response Suggestion for Smart Reply*, arXiv:1705.00652, section 4.4; computing in parts: Gao et al., *Scaling Deep Contrastive Learning
/// Batch Size under Memory Limited Setup*, arXiv:2101.06983, section 3.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Contrastive {
    /// What cosines are divided by: the smaller, the more the nearest wrong texts count.
    #[schemars(range(min = 0.0))]
    pub temperature: f64,
    /// Whether positives look for their anchors, too.
    pub symmetric: bool,
}

impl Default for Contrastive {
    fn default() -> Self {
        Self { temperature: 0.05, symmetric: false }
    }
}

impl Build<dyn Objective> for Contrastive {
    fn build(self, place: &Place) -> Result<Box<dyn Objective>> {
        let mut check = Check::new(place);
        check.positive("temperature", self.temperature);
        check.done(Box::new(self))
    }
}

impl Objective for Contrastive {
    fn batch(&self, segments: &[Segment]) -> Result<Group> {
        let mut rows = Batch::default();
        let mut verdicts = Vec::with_capacity(segments.len());
        for Segment { tokens, verdict, .. } in segments {
            let fits = match (verdicts.last(), verdict) {
                (None | Some(Verdict::Positive | Verdict::Negative), Some(Verdict::Anchor))
                | (Some(Verdict::Anchor), Some(Verdict::Positive))
                | (Some(Verdict::Positive | Verdict::Negative), Some(Verdict::Negative)) => !tokens.is_empty(),
                _ => false,
            };
            let Some(verdict) = verdict.filter(|_| fits) else {
                return Err(Error::program("the texts of a pair are not an anchor, its positive and negatives"));
            };
            let start = rows.ids.len();
            rows.ids.extend_from_slice(tokens);
            rows.positions.extend(0..tokens.len() as u32);
            rows.sequences.push(start..rows.ids.len());
            verdicts.push(verdict);
        }
        if verdicts.last() == Some(&Verdict::Anchor) {
            return Err(Error::program("an anchor has no positive"));
        }
        rows.weights.resize(rows.ids.len(), 1.0);
        Ok(Group { rows, verdicts, ..Group::default() })
    }

    fn loss<'p>(
        &self,
        decoder: &'p Decoder,
        tape: &mut Tape<'p>,
        group: &Group,
        _other: Option<&std::sync::Arc<Decoder>>,
    ) -> Result<Var> {
        let vectors = embeddings(decoder, tape, group)?;
        let value = tape.value(vectors)?;
        let shape = value.shape().to_vec();
        let (loss, gradient) = self.judge(&Texts::of(group), value);
        if !loss.is_finite() {
            return Ok(tape.constant(Tensor::scalar(loss as f32)?));
        }
        let gradient = tape.constant(Tensor::from_vec(&shape, gradient)?);
        let along = op::multiply(tape, vectors, gradient)?;
        let sum = op::sum(tape, along)?;
        preference::with_value(tape, sum, loss)
    }

    fn weight(&self, group: &Group) -> f64 {
        group.verdicts.iter().filter(|verdict| **verdict == Verdict::Anchor).count() as f64
    }

    fn predicts_next(&self) -> bool {
        false
    }

    fn learns(&self, lesson: Lesson) -> bool {
        lesson == Lesson::Pairs
    }

    fn joins(&self) -> bool {
        true
    }
}

/// The vectors of all texts, `[texts, hidden]`, of which no more than [`Group::at_once`] rows are kept for the gradient at a time.
fn embeddings<'p>(decoder: &'p Decoder, tape: &mut Tape<'p>, group: &Group) -> Result<Var> {
    let Batch { ids, positions, sequences, .. } = &group.rows;
    let parts = parts(sequences, group.at_once.unwrap_or(usize::MAX));
    if parts.len() < 2 {
        return decoder.text_embeddings(tape, ids, positions, sequences);
    }
    let mut vectors = Vec::with_capacity(parts.len());
    for texts in parts {
        let rows = sequences[texts.start].start..sequences[texts.end - 1].end;
        let (ids, positions) = (ids[rows.clone()].to_vec(), positions[rows.clone()].to_vec());
        let own = sequences[texts].iter().map(|text| text.start - rows.start..text.end - rows.start);
        let sequences: Vec<Range<usize>> = own.collect();
        vectors.push(tape.checkpoint(&[], move |tape, _| decoder.text_embeddings(tape, &ids, &positions, &sequences))?);
    }
    op::concat(tape, &vectors, 0)
}

/// Neighboring texts of at most `most` rows together; a longer one is alone.
fn parts(sequences: &[Range<usize>], most: usize) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let (mut first, mut begin) = (0, 0);
    for (text, rows) in sequences.iter().enumerate() {
        if text > first && rows.end - begin > most {
            parts.push(first..text);
            (first, begin) = (text, rows.start);
        }
    }
    parts.push(first..sequences.len());
    parts
}

/// The texts of a step, by their numbers among its rows' sequences.
struct Texts {
    /// Of each pair the anchor.
    anchors: Vec<usize>,
    /// Of each pair the positive, and then the negatives of all rows.
    candidates: Vec<usize>,
    /// For each text the first one that is equal to it.
    equal: Vec<usize>,
    /// Equal texts of an anchor and of a positive that some row gives it.
    known: HashSet<(usize, usize)>,
}

impl Texts {
    fn of(group: &Group) -> Self {
        let mut seen: HashMap<&[u32], usize> = HashMap::new();
        let texts = group.rows.sequences.iter().map(|rows| &group.rows.ids[rows.clone()]);
        let equal: Vec<usize> = texts.enumerate().map(|(number, text)| *seen.entry(text).or_insert(number)).collect();
        let all = |wanted: Verdict| -> Vec<usize> {
            let numbers = group.verdicts.iter().enumerate();
            numbers.filter(|(_, verdict)| **verdict == wanted).map(|(number, _)| number).collect()
        };
        let (anchors, mut candidates) = (all(Verdict::Anchor), all(Verdict::Positive));
        let known =
            anchors.iter().zip(&candidates).map(|(anchor, positive)| (equal[*anchor], equal[*positive])).collect();
        candidates.extend(all(Verdict::Negative));
        Self { anchors, candidates, equal, known }
    }

    /// Whether a candidate counts beside the anchor of a pair.
    fn counts(&self, pair: usize, candidate: usize) -> bool {
        let (anchor, text) = (self.equal[self.anchors[pair]], self.equal[self.candidates[candidate]]);
        pair == candidate || !self.known.contains(&(anchor, text))
    }
}

impl Contrastive {
    /// The loss of vectors `[texts, hidden]`, and its gradient by each of their numbers.
    fn judge(&self, texts: &Texts, vectors: &Tensor) -> (f64, Vec<f32>) {
        let width = vectors.shape()[1];
        let numbers: Vec<f64> = vectors.data().iter().map(|number| f64::from(*number)).collect();
        let vector = |text: usize| &numbers[text * width..(text + 1) * width];
        let (pairs, count) = (texts.anchors.len(), texts.candidates.len());
        // What does not count is infinitely far away.
        let mut scores = vec![f64::NEG_INFINITY; pairs * count];
        for (at, score) in scores.iter_mut().enumerate() {
            let (pair, candidate) = (at / count, at % count);
            if texts.counts(pair, candidate) {
                let (anchor, text) = (vector(texts.anchors[pair]), vector(texts.candidates[candidate]));
                *score = anchor.iter().zip(text).map(|(a, c)| a * c).sum::<f64>() / self.temperature;
            }
        }
        let share = if self.symmetric { 0.5 } else { 1.0 } / pairs.max(1) as f64;
        let (mut loss, mut slopes) = (0.0, vec![0.0; scores.len()]);
        let mut add = |own: usize, among: &mut dyn Iterator<Item = usize>| {
            let among: Vec<usize> = among.collect();
            let most = among.iter().map(|at| scores[*at]).fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = among.iter().map(|at| (scores[*at] - most).exp()).sum();
            loss += share * (most + sum.ln() - scores[own]);
            for at in among {
                slopes[at] += share * (scores[at] - most).exp() / sum;
            }
            slopes[own] -= share;
        };
        for pair in 0..pairs {
            let own = pair * count + pair;
            add(own, &mut (pair * count..(pair + 1) * count));
            if self.symmetric {
                add(own, &mut (0..pairs).map(|other| other * count + pair));
            }
        }
        let mut gradient = vec![0.0; numbers.len()];
        for (at, slope) in slopes.iter().enumerate().filter(|(_, slope)| **slope != 0.0) {
            let (anchor, text) = (texts.anchors[at / count], texts.candidates[at % count]);
            let slope = slope / self.temperature;
            for column in 0..width {
                gradient[anchor * width + column] += slope * numbers[text * width + column];
                gradient[text * width + column] += slope * numbers[anchor * width + column];
            }
        }
        (loss, gradient.into_iter().map(|number| number as f32).collect())
    }
}

/// The record of `contrastive`.
pub static PART: Part<dyn Objective> = Part::of::<Contrastive>("contrastive", 1);

#[cfg(test)]
mod tests {
    use super::*;

    fn group(texts: &[(&[u32], Verdict)]) -> Group {
        let segment = |(tokens, verdict): &(&[u32], Verdict)| Segment {
            tokens: tokens.to_vec(),
            verdict: Some(*verdict),
            ..Segment::default()
        };
        Contrastive::default().batch(&texts.iter().map(segment).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn texts_that_belong_to_an_anchor_are_no_negatives_of_it() {
        use Verdict::{Anchor, Negative, Positive};
        let group = group(&[
            (&[1], Anchor),
            (&[2], Positive),
            (&[9], Negative),
            // The same anchor with another positive.
            (&[1], Anchor),
            (&[3], Positive),
            // Another anchor with the first one's positive.
            (&[4], Anchor),
            (&[2], Positive),
            (&[3], Negative),
        ]);
        let texts = Texts::of(&group);
        assert_eq!((texts.anchors.len(), texts.candidates.len()), (3, 5));
        let counted = |pair| (0..5).map(|candidate| texts.counts(pair, candidate)).collect::<Vec<_>>();
        assert_eq!(counted(0), [true, false, false, true, false]);
        assert_eq!(counted(1), [false, true, false, true, false]);
        assert_eq!(counted(2), [false, true, true, true, true]);
    }

    #[test]
    fn parts_hold_whole_texts() {
        assert_eq!(parts(&[0..3, 3..5, 5..12, 12..13], 5), [0..2, 2..3, 3..4]);
        assert_eq!(parts(&[0..3, 3..5], usize::MAX).as_slice(), std::slice::from_ref(&(0..2)));
    }
}
