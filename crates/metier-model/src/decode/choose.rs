//! The choice of the next token.

use super::typical;
use metier_compute::op::logit_weights;
use metier_core::data::TokenId;
use metier_core::seam::Sampling;
use metier_core::seed::Seed;
use metier_core::{Error, Fault, Place, Result};

/// Chooses tokens as [`Sampling`] says; every draw is a function of the seed and the position.
///
/// The order is: penalties, (the caller's processors,) temperature, top-k, top-p, min-p, typical-p, draw.
/// Equal logits are ordered by id.
#[derive(Debug, Clone)]
pub struct Chooser {
    sampling: Sampling,
    seed: Seed,
}

/// A token that was guessed ahead.
#[derive(Debug, Clone, PartialEq)]
pub struct Drafted {
    /// The token.
    pub id: TokenId,
    /// What it was drawn from: weights that sum up to 1. Empty when nothing was drawn, and no other could have come.
    pub odds: Vec<(TokenId, f64)>,
}

impl Chooser {
    /// Refuses settings out of their ranges, all together.
    pub fn new(sampling: &Sampling) -> Result<Self> {
        let mut faults = Vec::new();
        let mut check = |right: bool, key: &str, value: f32, range: &str| {
            if !right {
                faults.push(
                    Fault::new(Place::key(key), format!("{value} is out of range")).hint(format!("it is {range}")),
                );
            }
        };
        let Sampling { temperature, top_p, min_p, typical_p, .. } = *sampling;
        let Sampling { repetition_penalty, presence_penalty, frequency_penalty, .. } = *sampling;
        check(temperature.is_finite() && temperature >= 0.0, "temperature", temperature, "0 or more");
        check(top_p > 0.0 && top_p <= 1.0, "top_p", top_p, "above 0 and at most 1");
        check((0.0..=1.0).contains(&min_p), "min_p", min_p, "from 0 to 1");
        check(typical_p > 0.0 && typical_p <= 1.0, "typical_p", typical_p, "above 0 and at most 1");
        let finite = repetition_penalty.is_finite() && repetition_penalty > 0.0;
        check(finite, "repetition_penalty", repetition_penalty, "above 0; 1 changes nothing");
        for (key, penalty) in [("presence_penalty", presence_penalty), ("frequency_penalty", frequency_penalty)] {
            check(penalty.abs() <= 2.0, key, penalty, "from -2 to 2; 0 changes nothing");
        }
        let seed = Seed::new(sampling.seed).derive("sampling");
        Error::collect(Self { sampling: sampling.clone(), seed }, faults)
    }

    /// Makes tokens of prompt and reply less likely (positive logits are divided, negative ones multiplied), and those
    /// of the reply once more, by presence and by frequency.
    pub fn penalize(&self, prompt: &[TokenId], reply: &[TokenId], logits: &mut [f32]) {
        let Sampling { repetition_penalty, presence_penalty, frequency_penalty, .. } = self.sampling;
        if (repetition_penalty - 1.0).abs() >= f32::EPSILON {
            let mut seen = [prompt, reply].concat();
            seen.sort_unstable();
            seen.dedup();
            for id in seen {
                if let Some(logit) = logits.get_mut(id as usize) {
                    *logit = if *logit > 0.0 { *logit / repetition_penalty } else { *logit * repetition_penalty };
                }
            }
        }
        if presence_penalty != 0.0 || frequency_penalty != 0.0 {
            let mut said = reply.to_vec();
            said.sort_unstable();
            for same in said.chunk_by(|a, b| a == b) {
                if let Some(logit) = logits.get_mut(same[0] as usize) {
                    *logit -= presence_penalty + frequency_penalty * same.len() as f32;
                }
            }
        }
    }

    /// The token at a position of the reply, counted from 0. Refused when a logit is not a number or
    /// every token is forbidden.
    pub fn choose(&self, logits: &[f32], position: u64) -> Result<TokenId> {
        Ok(draw(&self.odds(logits, position)?, self.seed.at(position).unit()))
    }

    /// Whether a token that was guessed for a position is taken, and which one is if not. However it was guessed, tokens
    /// come with the odds with which [`Chooser::choose`] takes them; at temperature 0 they are the same ones.
    /// Source: Leviathan et al., arXiv 2211.17192, algorithm 1; Chen et al., arXiv 2302.01318.
    pub fn judge(&self, logits: &[f32], position: u64, drafted: &Drafted) -> Result<(TokenId, bool)> {
        let odds = self.odds(logits, position)?;
        let of =
            |odds: &[(TokenId, f64)], id: TokenId| odds.iter().find(|(other, _)| *other == id).map_or(0.0, |o| o.1);
        let guessed = |id: TokenId| match drafted.odds.as_slice() {
            [] => f64::from(u8::from(id == drafted.id)),
            odds => of(odds, id),
        };
        let luck = self.seed.derive("acceptance").at(position).unit();
        if luck * guessed(drafted.id) < of(&odds, drafted.id) {
            return Ok((drafted.id, true));
        }
        let left: Vec<(TokenId, f64)> =
            odds.iter().map(|&(id, share)| (id, (share - guessed(id)).max(0.0))).filter(|left| left.1 > 0.0).collect();
        // Rounding alone can leave nothing where both distributions are the same.
        let left = if left.is_empty() { odds } else { left };
        Ok((draw(&left, self.seed.at(position).unit()), false))
    }

    /// A guess at the token of a position, drawn from another model's logits.
    pub fn draft(&self, logits: &[f32], position: u64) -> Result<Drafted> {
        let odds = self.odds(logits, position)?;
        Ok(Drafted { id: draw(&odds, self.seed.derive("draft").at(position).unit()), odds })
    }

    /// What may be chosen, with shares that sum up to 1.
    fn odds(&self, logits: &[f32], position: u64) -> Result<Vec<(TokenId, f64)>> {
        if logits.iter().any(|logit| logit.is_nan()) {
            return Err(
                Error::user(Place::default(), "the model's logits are not numbers").hint("are its weights damaged?")
            );
        }
        let best = argmax(logits);
        if logits.get(best).is_none_or(|&logit| logit == f32::NEG_INFINITY) {
            return Err(Error::user(
                Place::default(),
                format!("every token is forbidden at position {position} of the reply"),
            ));
        }
        if self.sampling.temperature <= 0.0 {
            return Ok(vec![(best as TokenId, 1.0)]);
        }
        let mut candidates = self.candidates(logits);
        let total: f64 = candidates.iter().map(|(_, weight)| weight).sum();
        for (_, weight) in &mut candidates {
            *weight /= total;
        }
        Ok(candidates)
    }

    /// What may be drawn, with weights relative to the likeliest: likeliest first where that decides what is kept, else in
    /// the order of ids, as sorting a whole vocabulary takes longer than a pass of a small model.
    fn candidates(&self, logits: &[f32]) -> Vec<(TokenId, f64)> {
        let weights = logit_weights(logits, self.sampling.temperature);
        let mut all: Vec<(TokenId, f64)> = (0..)
            .zip(weights)
            .map(|(id, weight)| (id, f64::from(weight)))
            .filter(|(_, weight)| *weight > 0.0)
            .collect();
        let top_k = self.sampling.top_k;
        if top_k > 0 && top_k < all.len() {
            bring_forward(&mut all, top_k);
            all.truncate(top_k);
        }
        if self.sampling.top_p < 1.0 {
            keep_share(&mut all, f64::from(self.sampling.top_p));
        }
        let floor = f64::from(self.sampling.min_p);
        all.retain(|(_, weight)| *weight >= floor);
        typical::keep(&mut all, f64::from(self.sampling.typical_p));
        all
    }
}

/// Puts the `count` likeliest first, in order.
fn bring_forward(all: &mut [(TokenId, f64)], count: usize) {
    let likelier = |a: &(TokenId, f64), b: &(TokenId, f64)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if count < all.len() {
        all.select_nth_unstable_by(count, likelier);
    }
    let count = count.min(all.len());
    all[..count].sort_unstable_by(likelier);
}

/// Keeps the likeliest, in order, until they have `share` of the whole. Mostly those are few, so no more than a part is
/// sorted at first.
fn keep_share(all: &mut Vec<(TokenId, f64)>, share: f64) {
    let enough = share * all.iter().map(|(_, weight)| weight).sum::<f64>();
    let mut sorted = 64;
    loop {
        bring_forward(all, sorted);
        let mut sum = 0.0;
        let short = all.iter().take(sorted).take_while(|(_, weight)| {
            let short = sum < enough;
            sum += weight;
            short
        });
        let kept = short.count();
        if kept < sorted || sorted >= all.len() {
            return all.truncate(kept);
        }
        sorted *= 8;
    }
}

/// The one of `odds`, which are above 0, that a number from 0 to 1 falls on.
fn draw(odds: &[(TokenId, f64)], luck: f64) -> TokenId {
    let total: f64 = odds.iter().map(|(_, weight)| weight).sum();
    let mut left = luck * total;
    for &(id, weight) in odds {
        left -= weight;
        if left < 0.0 {
            return id;
        }
    }
    odds.last().map_or(0, |(id, _)| *id)
}

/// Position of the largest number, the first of equals.
fn argmax(numbers: &[f32]) -> usize {
    let mut best = 0;
    for (index, number) in numbers.iter().enumerate() {
        if *number > numbers[best] {
            best = index;
        }
    }
    best
}

/// Natural-log probabilities of `id` and of the `top` likeliest tokens, likeliest first. `normalizer` is that of the logits,
/// as [`logit_normalizers`](metier_compute::op::logit_normalizers) gives it.
pub fn log_probabilities(logits: &[f32], normalizer: f32, id: TokenId, top: usize) -> (f32, Vec<(TokenId, f32)>) {
    let mut order: Vec<TokenId> = Vec::new();
    if top > 0 {
        order = (0..logits.len() as TokenId).collect();
        let likelier = |a: &TokenId, b: &TokenId| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
        if top < order.len() {
            order.select_nth_unstable_by(top - 1, likelier);
            order.truncate(top);
        }
        order.sort_unstable_by(likelier);
    }
    let own = logits.get(id as usize).map_or(f32::NEG_INFINITY, |logit| logit - normalizer);
    (own, order.into_iter().map(|id| (id, logits[id as usize] - normalizer)).collect())
}

/// The `count` likeliest of the first `vocabulary` tokens with their natural-log probabilities, likeliest first.
pub(super) fn likeliest(logits: &[f32], normalizer: f32, vocabulary: usize, count: usize) -> Vec<(TokenId, f32)> {
    let (_, mut top) = log_probabilities(logits, normalizer, 0, count + logits.len().saturating_sub(vocabulary));
    top.retain(|(id, _)| (*id as usize) < vocabulary);
    top.truncate(count);
    top
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chooser(change: impl FnOnce(&mut Sampling)) -> Chooser {
        let mut sampling = Sampling { temperature: 1.0, ..Sampling::default() };
        change(&mut sampling);
        Chooser::new(&sampling).unwrap()
    }

    fn drawn(chooser: &Chooser, logits: &[f32]) -> Vec<TokenId> {
        let mut ids: Vec<TokenId> = (0..2000).map(|position| chooser.choose(logits, position).unwrap()).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    #[test]
    fn zero_temperature_takes_the_first_likeliest() {
        let greedy = chooser(|sampling| sampling.temperature = 0.0);
        assert_eq!(greedy.choose(&[0.0, 2.0, 2.0, 1.0], 9).unwrap(), 1);
    }

    #[test]
    fn draws_follow_the_distribution_and_the_seed() {
        let logits = [0.0, 1.0_f32.ln(), 2.0_f32.ln(), 4.0_f32.ln()];
        let one = chooser(|_| {});
        let mut counts = [0_u32; 4];
        for position in 0..8000 {
            counts[one.choose(&logits, position).unwrap() as usize] += 1;
        }
        for (count, expected) in counts.iter().zip([1000.0, 1000.0, 2000.0, 4000.0]) {
            assert!((f64::from(*count) - expected).abs() < 150.0, "{counts:?}");
        }
        assert_eq!(one.choose(&logits, 5).unwrap(), one.clone().choose(&logits, 5).unwrap());
        let other = chooser(|sampling| sampling.seed = 1);
        assert!(
            (0..50).any(|position| one.choose(&logits, position).unwrap() != other.choose(&logits, position).unwrap())
        );
    }

    #[test]
    fn filters_leave_what_they_say() {
        let logits: Vec<f32> = [0.4_f32, 0.3, 0.2, 0.1].iter().map(|p| p.ln()).collect();
        assert_eq!(drawn(&chooser(|s| s.top_k = 2), &logits), [0, 1]);
        assert_eq!(drawn(&chooser(|s| s.top_p = 0.65), &logits), [0, 1]);
        assert_eq!(drawn(&chooser(|s| s.top_p = 0.75), &logits), [0, 1, 2]);
        assert_eq!(drawn(&chooser(|s| s.min_p = 0.4), &logits), [0, 1, 2]);
        assert_eq!(drawn(&chooser(|s| s.top_p = 0.001), &logits), [0]);
        assert_eq!(drawn(&chooser(|s| s.typical_p = 0.25), &logits), [1], "about as surprising as the mean, 1.28 nats");
    }

    #[test]
    fn a_share_of_many_is_the_one_of_all_in_order() {
        let mut stream = Seed::new(3).at(0);
        let logits: Vec<f32> = (0..5000).map(|_| (stream.below(40) as f32) / 9.0).collect();
        let mut all: Vec<(TokenId, f64)> = (0..).zip(&logits).map(|(id, l)| (id, f64::from(*l).exp())).collect();
        let shuffled = all.clone();
        all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let total: f64 = all.iter().map(|(_, weight)| weight).sum();
        for share in [0.001, 0.03, 0.3, 0.9, 0.999] {
            let mut sum = 0.0;
            let wanted = all.iter().take_while(|(_, weight)| {
                let short = sum < share * total;
                sum += weight;
                short
            });
            let mut kept = shuffled.clone();
            keep_share(&mut kept, share);
            assert_eq!(kept, wanted.copied().collect::<Vec<_>>(), "{share}");
        }
    }

    #[test]
    fn the_smallest_temperatures_take_the_likeliest() {
        for temperature in [1e-3, 1e-30, f32::MIN_POSITIVE, 1e-45] {
            assert_eq!(drawn(&chooser(|s| s.temperature = temperature), &[1.0, 30.0, -5.0, 29.9]), [1]);
        }
    }

    #[test]
    fn seen_tokens_are_penalized_once() {
        let mut logits = [2.0, -1.0, 3.0];
        chooser(|s| s.repetition_penalty = 2.0).penalize(&[0, 1, 0, 99], &[1], &mut logits);
        assert_eq!(logits.map(f32::to_bits), [1.0, -2.0, 3.0].map(f32::to_bits));
    }

    #[test]
    fn tokens_of_the_reply_are_penalized_by_presence_and_by_count() {
        let penalties = chooser(|s| {
            s.presence_penalty = 0.5;
            s.frequency_penalty = 0.25;
        });
        let mut logits = [2.0, -1.0, 3.0];
        penalties.penalize(&[2], &[1, 0, 0, 99], &mut logits);
        assert_eq!(logits.map(f32::to_bits), [1.0, -1.75, 3.0].map(f32::to_bits));
    }

    #[test]
    fn wrong_settings_come_together() {
        let sampling = Sampling {
            temperature: -1.0,
            top_p: 0.0,
            min_p: 2.0,
            repetition_penalty: 0.0,
            presence_penalty: 3.0,
            ..Sampling::default()
        };
        let error = Chooser::new(&sampling).unwrap_err();
        assert_eq!(error.faults.len(), 5, "{error}");
    }

    #[test]
    fn nothing_to_choose_is_an_error() {
        assert!(chooser(|_| {}).choose(&[f32::NEG_INFINITY; 3], 0).is_err());
        assert!(chooser(|_| {}).choose(&[0.0, f32::NAN], 0).is_err());
        assert!(chooser(|_| {}).choose(&[], 0).is_err());
    }

    #[test]
    fn log_probabilities_are_normalized() {
        let (own, top) = log_probabilities(&[1.0_f32.ln(), 3.0_f32.ln(), 4.0_f32.ln()], 8.0_f32.ln(), 1, 2);
        assert!((own - 0.375_f32.ln()).abs() < 1e-6);
        assert_eq!(top.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [2, 1]);
        assert!((top[0].1 - 0.5_f32.ln()).abs() < 1e-6);
    }
}
