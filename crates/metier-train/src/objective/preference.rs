//! What objectives of whole replies share: log-probabilities of replies, and a loss that is a function of them.
//!
//! Such a loss is computed in `f64` with its slope by each log-probability. The tape then gets a weighted cross-entropy of the replies'
//! tokens whose gradient is the loss's own, so that the head works as in any other training, with no logits kept.

use super::{Segment, causal};
use metier_compute::kernel::Precision;
use metier_compute::{Tape, Tensor, Var, op};
use metier_core::{Error, Fault, Place, Result};
use metier_model::{Batch, Decoder};
use metier_tokenizer::pack::Verdict;
use std::sync::Arc;

/// A reply, as an objective sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reply {
    /// Its log-probability to the model that learns, in nats.
    pub own: f64,
    /// Its log-probability to the reference, 0 where there is none.
    pub reference: f64,
    /// Its tokens.
    pub tokens: f64,
}

/// A loss, and its slope by the log-probability of each reply.
pub(super) struct Judged {
    pub loss: f64,
    pub slopes: Vec<f64>,
}

/// The rows of segments that are whole documents, with what is said of each.
pub(super) fn rows(segments: &[Segment]) -> Result<(Batch, Vec<Verdict>)> {
    let verdict = |segment: &Segment| segment.verdict.filter(|verdict| !verdict.is_of_pair());
    let verdicts: Option<Vec<Verdict>> = segments.iter().map(verdict).collect();
    let verdicts = verdicts.ok_or_else(|| Error::program("nothing is said of a reply that is to be compared"))?;
    Ok((causal::rows(segments), verdicts))
}

/// The same of pairs, the chosen reply of each first.
pub(super) fn pairs(segments: &[Segment]) -> Result<(Batch, Vec<Verdict>)> {
    let (batch, verdicts) = rows(segments)?;
    if verdicts.chunks(2).any(|pair| pair != [Verdict::Chosen, Verdict::Rejected]) {
        return Err(Error::program("chosen and rejected replies do not take turns"));
    }
    Ok((batch, verdicts))
}

/// The mean over pairs of what `judge` makes of one: a loss, and its slopes by the chosen and the rejected reply.
pub(super) fn mean_of_pairs(replies: &[Reply], judge: impl Fn(Reply, Reply) -> (f64, [f64; 2])) -> Judged {
    let count = (replies.len() / 2).max(1) as f64;
    let mut mean = Judged { loss: 0.0, slopes: Vec::with_capacity(replies.len()) };
    for pair in replies.chunks_exact(2) {
        let (loss, slopes) = judge(pair[0], pair[1]);
        mean.loss += loss / count;
        mean.slopes.extend(slopes.map(|slope| slope / count));
    }
    mean
}

/// A loss of replies on the tape. `reference` is never differentiated.
pub(super) fn loss<'p>(
    decoder: &'p Decoder,
    tape: &mut Tape<'p>,
    batch: &Batch,
    reference: Option<&Arc<Decoder>>,
    judge: impl FnOnce(&[Reply]) -> Judged,
) -> Result<Var> {
    let reference = match reference {
        Some(reference) => log_probabilities(reference, batch, tape.precision())?,
        None => vec![0.0; batch.sequences.len()],
    };
    let hidden = decoder.hidden(tape, &batch.ids, &batch.positions, &batch.sequences)?;
    let own = sums(decoder, tape.value(hidden)?, batch)?;
    let tokens =
        batch.sequences.iter().map(|rows| batch.weights[rows.clone()].iter().filter(|weight| **weight > 0.0).count());
    let replies: Vec<Reply> = own
        .into_iter()
        .zip(reference)
        .zip(tokens)
        .map(|((own, reference), tokens)| Reply { own, reference, tokens: tokens as f64 })
        .collect();
    let Judged { loss, slopes } = judge(&replies);
    if !loss.is_finite() || slopes.iter().any(|slope| !slope.is_finite()) {
        return Ok(tape.constant(Tensor::scalar(loss as f32)?));
    }
    // Where the slope is below 0 the loss falls as the reply gets more likely, as a cross-entropy does.
    let mut sum = None;
    for sign in [-1.0, 1.0] {
        let mut weights = batch.weights.clone();
        for (rows, slope) in batch.sequences.iter().zip(&slopes) {
            let size = (slope * sign).max(0.0) as f32;
            for weight in &mut weights[rows.clone()] {
                *weight *= size;
            }
        }
        let total: f64 = weights.iter().copied().map(f64::from).sum();
        if total <= 0.0 {
            continue;
        }
        let mean = decoder.cross_entropy(tape, hidden, &batch.targets, &weights)?;
        let part = op::scale(tape, mean, (-sign * total) as f32)?;
        sum = Some(match sum {
            None => part,
            Some(sum) => op::add(tape, sum, part)?,
        });
    }
    // With no slope at all, a gradient of zeros is still one.
    let sum = if let Some(sum) = sum {
        sum
    } else {
        let mean = decoder.cross_entropy(tape, hidden, &batch.targets, &batch.weights)?;
        op::scale(tape, mean, 0.0)?
    };
    with_value(tape, sum, loss)
}

/// What has the gradient of `sum`, one element, and the value `loss`: taken from itself the sum is 0, to which the value is added.
pub(super) fn with_value(tape: &mut Tape<'_>, sum: Var, loss: f64) -> Result<Var> {
    let itself = tape.constant(Tensor::scalar(tape.value(sum)?.item()?)?);
    let zero = op::subtract(tape, sum, itself)?;
    let value = tape.constant(Tensor::scalar(loss as f32)?);
    op::add(tape, zero, value)
}

/// The log-probability of the learned tokens of each sequence to a model, by a pass that keeps nothing.
pub(super) fn log_probabilities(decoder: &Decoder, batch: &Batch, precision: Precision) -> Result<Vec<f64>> {
    let mut tape = Tape::inference(&decoder.parameters);
    tape.set_precision(precision);
    let hidden = decoder.hidden(&mut tape, &batch.ids, &batch.positions, &batch.sequences)?;
    sums(decoder, tape.value(hidden)?, batch)
}

/// The sum over learned tokens of each sequence, given the last hidden states of all rows.
fn sums(decoder: &Decoder, hidden: &Tensor, batch: &Batch) -> Result<Vec<f64>> {
    let width = hidden.shape()[1];
    let counted: Vec<usize> = (0..batch.ids.len()).filter(|&row| batch.weights[row] > 0.0).collect();
    let mut numbers = Vec::with_capacity(counted.len() * width);
    for row in &counted {
        numbers.extend_from_slice(&hidden.data()[row * width..(row + 1) * width]);
    }
    let targets: Vec<u32> = counted.iter().map(|&row| batch.targets[row]).collect();
    let found = decoder.log_probabilities(&Tensor::from_vec(&[counted.len(), width], numbers)?, &targets)?;
    let mut found = counted.into_iter().zip(found).peekable();
    let mut sums = Vec::with_capacity(batch.sequences.len());
    for rows in &batch.sequences {
        let mut sum = 0.0;
        while let Some((_, (log, _))) = found.next_if(|(row, _)| *row < rows.end) {
            sum += f64::from(log);
        }
        sums.push(sum);
    }
    Ok(sums)
}

/// `ln σ(x)`.
pub(super) fn log_sigmoid(x: f64) -> f64 {
    x.min(0.0) - (-x.abs()).exp().ln_1p()
}

/// `σ(x)`.
pub(super) fn sigmoid(x: f64) -> f64 {
    log_sigmoid(x).exp()
}

/// Gathers settings that are out of range.
pub(super) struct Check<'a> {
    place: &'a Place,
    faults: Vec<Fault>,
}

impl<'a> Check<'a> {
    pub(super) fn new(place: &'a Place) -> Self {
        Self { place, faults: Vec::new() }
    }

    pub(super) fn require(&mut self, key: &str, value: f64, is_good: bool, hint: &str) {
        if !is_good {
            let place = crate::settings::key_place(self.place, key);
            self.faults.push(Fault::new(place, format!("{value} is out of range")).hint(hint));
        }
    }

    pub(super) fn positive(&mut self, key: &str, value: f64) {
        self.require(key, value, value.is_finite() && value > 0.0, "write a number above 0");
    }

    pub(super) fn done<T>(self, value: T) -> Result<T> {
        Error::collect(value, self.faults)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sigmoids_hold_far_from_zero() {
        assert!((sigmoid(0.0) - 0.5).abs() < 1e-15);
        assert!((log_sigmoid(-800.0) + 800.0).abs() < 1e-9);
        assert!(log_sigmoid(800.0).abs() < 1e-300);
        assert!((log_sigmoid(1.5) - (1.0 / (1.0 + (-1.5_f64).exp())).ln()).abs() < 1e-15);
    }
}
