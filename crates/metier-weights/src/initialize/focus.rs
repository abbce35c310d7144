use super::subword_mean::part_shares;
use super::{Initialize, Known, Made, mixtures};
use crate::skip_gram::{self, Negatives, SkipGram};
use metier_core::data::TokenId;
use metier_core::part::{Build, Part};
use metier_core::seed::Seed;
use metier_core::{Error, Fault, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// # What it does
/// Begins every new token as a mixture of the old tokens that stand in the same places of a text.
///
/// # How
/// Rows `v` of `width` numbers are learned for all tokens from the text alone, by skip-gram with negatives. A new token's row
/// is `sum over i of p_i e_i` over the old tokens that the text has, with
/// `p = sparsemax(cosine(v_new, v_i) / temperature)`: the point of the simplex nearest to them, which leaves most at nothing.
/// Shares are at least 0 and sum to 1, so the row lies in the convex hull of the old rows. A new token that the text does not
/// have is the mean of its parts.
///
/// # When to use
/// When the text has old and new tokens in one language or mixes two: a cheaper relative of `cw2v`, which learns shares
/// themselves.
///
/// # Differs from the paper in
/// The rows in which tokens are compared come from skip-gram over tokens, where the paper takes fastText, which knows of the
/// characters of words too; all old tokens in the text are compared with, as all of them are tokens of the new vocabulary.
///
/// # Source
/// Dobler and de Melo, "FOCUS: Effective Embedding Initialization for Monolingual Specialization of Multilingual Models",
/// arXiv 2305.14481, section 3; Martins and Astudillo, arXiv 1602.02068, for sparsemax.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Focus {
    /// Numbers of a row that is learned.
    #[schemars(range(min = 1, max = 65_536))]
    pub width: usize,
    /// Places from a token within which others are near.
    #[schemars(range(min = 1, max = 100))]
    pub window: usize,
    /// Passes over the text.
    #[schemars(range(min = 1, max = 1000))]
    pub passes: u64,
    /// Larger ones mix more tokens.
    #[schemars(range(min = 0.0))]
    pub temperature: f64,
}

impl Default for Focus {
    fn default() -> Self {
        Self { width: 128, window: 5, passes: 3, temperature: 1.0 }
    }
}

/// As in word2vec: tokens drawn for each pair, and the rate that learning begins with.
const NEGATIVES: usize = 5;
const RATE: f32 = 0.025;

impl Build<dyn Initialize> for Focus {
    fn build(self, place: &Place) -> Result<Box<dyn Initialize>> {
        let mut faults = Vec::new();
        let mut want = |key: &str, holds: bool, value: String, hint: &str| {
            if !holds {
                let fault = Fault::new(place.clone().with_key(key), format!("{value} is out of range"));
                faults.push(fault.hint(format!("it is {hint}")));
            }
        };
        want("width", (1..=65_536).contains(&self.width), self.width.to_string(), "in 1..=65536");
        want("window", (1..=100).contains(&self.window), self.window.to_string(), "in 1..=100");
        want("passes", (1..=1000).contains(&self.passes), self.passes.to_string(), "in 1..=1000");
        let positive = self.temperature > 0.0 && self.temperature.is_finite();
        want("temperature", positive, self.temperature.to_string(), "above 0");
        Error::collect(Box::new(self) as Box<dyn Initialize>, faults)
    }
}

impl Initialize for Focus {
    fn reads_text(&self) -> bool {
        true
    }

    fn rows(&self, known: Known<'_>, seed: Seed) -> Result<Made> {
        known.check()?;
        let (old, all) = (known.embedding.count(), known.embedding.count() + known.parts.len());
        let shape = SkipGram { window: self.window, negatives: NEGATIVES, threshold: 0.0, cost: Negatives::Standard };
        let [mut rows, _] = skip_gram::train(shape, known.lines, [all, self.width], (self.passes, RATE), seed)?;
        let counts = known.counts();
        for row in rows.values.chunks_exact_mut(self.width) {
            let length = row.iter().map(|x| x * x).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
            for x in row {
                *x /= length;
            }
        }
        let met: Vec<usize> = (0..old).filter(|id| counts[*id] > 0).collect();
        let shares = |new: usize| -> Vec<(TokenId, f64)> {
            if counts[old + new] == 0 || met.is_empty() {
                return part_shares(&known.parts[new]);
            }
            let of = rows.row(old + new);
            let cosine = |id: &usize| rows.row(*id).iter().zip(of).map(|(a, b)| f64::from(a * b)).sum::<f64>();
            let near: Vec<f64> = met.iter().map(|id| cosine(id) / self.temperature).collect();
            let shares = met.iter().map(|id| *id as TokenId).zip(sparsemax(&near));
            shares.filter(|(_, share)| *share > 0.0).collect()
        };
        let unseen = (0..known.parts.len()).filter(|new| counts[old + new] == 0).collect();
        Ok(Made { unseen, ..mixtures(known, &(0..known.parts.len()).map(shares).collect::<Vec<_>>()) })
    }
}

/// The shares nearest to some numbers: `max(x - t, 0)` with the `t` for which they sum to 1.
fn sparsemax(numbers: &[f64]) -> Vec<f64> {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let (mut sum, mut threshold) = (0.0, f64::NEG_INFINITY);
    for (count, x) in (1..).zip(&sorted) {
        sum += x;
        let next = (sum - 1.0) / f64::from(count);
        if *x <= next {
            break;
        }
        threshold = next;
    }
    numbers.iter().map(|x| (x - threshold).max(0.0)).collect()
}

/// The part's record.
pub static PART: Part<dyn Initialize> = Part::of::<Focus>("focus", 1);

#[cfg(test)]
mod tests {
    use super::super::tests::{known, known_rows};
    use super::*;
    use crate::lines::Lines;

    #[test]
    fn sparsemax_is_the_nearest_point_of_the_simplex() {
        let close = |found: Vec<f64>, wanted: &[f64]| {
            assert!(found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?} for {wanted:?}");
        };
        close(sparsemax(&[0.3, 0.3]), &[0.5, 0.5]);
        close(sparsemax(&[5.0, 1.0, 0.0]), &[1.0, 0.0, 0.0]);
        // By hand: t = (1.0 + 0.6 - 1) / 2 = 0.3, and 0.2 is below it.
        close(sparsemax(&[0.6, 0.2, 1.0]), &[0.3, 0.0, 0.7]);
    }

    /// A token that stands where another one does takes after that one.
    #[test]
    fn a_token_in_the_place_of_another_is_made_of_it() {
        let embedding = known_rows(12, 6, 1);
        let mut stream = Seed::new(4).at(0);
        // Tokens 0 to 5 and 6 to 11 stand among themselves; 12 is one of the first, and 13 is not met.
        let line = |number: u64| -> Vec<TokenId> {
            let group = if number.is_multiple_of(2) { [0, 1, 2, 3, 4, 5, 12] } else { [6, 7, 8, 9, 10, 11, 6] };
            (0..10).map(|_| group[stream.below(7) as usize]).collect()
        };
        let lines = Lines::from((0..400).map(line).collect::<Vec<_>>());
        let parts = [vec![9, 10], vec![9, 10]];
        let known = known(&embedding, Some(&embedding), &parts, &lines);
        let focus = Focus { width: 8, window: 3, passes: 8, temperature: 0.5 };
        let made = focus.rows(known, Seed::new(1)).unwrap();
        assert_eq!((made.unseen.as_slice(), made.head.as_ref()), (&[1][..], Some(&made.embedding)));
        let sources = made.sources.unwrap();
        assert!(sources[0].iter().all(|(id, _)| *id < 6), "{sources:?}");
        assert_eq!(sources[1], [(9, 0.5), (10, 0.5)]);
        assert!(Focus { temperature: 0.0, ..focus }.build(&Place::default()).is_err());
    }
}
