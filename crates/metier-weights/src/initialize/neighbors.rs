use super::subword_mean::part_shares;
use super::{Initialize, Known, Made, donor, mixtures};
use metier_core::data::TokenId;
use metier_core::part::{Build, Part};
use metier_core::seed::Seed;
use metier_core::{Error, Fault, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// # What it does
/// Begins every new token as a mixture of the old tokens that another model finds most like it.
///
/// # How
/// The other model, `donor`, has the new token and many of the old ones. In its embedding the `count` old tokens of the
/// largest cosine `c_i` to the new one are found, and the row is `sum over i of p_i e_i` with
/// `p = softmax(c / temperature)`, in the embedding and in the head apart. Shares sum to 1, so the row lies in the convex hull
/// of the old rows. A token that the donor lacks is the mean of its parts.
///
/// # When to use
/// When a model of many languages is there: its rows know which words of two languages mean the same.
///
/// # Differs from the paper in
/// OFA compares tokens in word vectors of many languages, from outside, and mixes rows of a factored, narrower embedding; here
/// another model's rows take the place of the word vectors, and the embedding stays as wide as it is.
///
/// # Source
/// Liu et al., "OFA: A Framework of Initializing Unseen Subword Embeddings for Efficient Large-scale Multilingual Continued
/// Pretraining", arXiv 2311.08849, section 3.3; Minixhofer et al., "WECHSEL", arXiv 2112.06598, section 3, for its mixture.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Neighbors {
    /// Old tokens that are mixed.
    #[schemars(range(min = 1, max = 10_000))]
    pub count: usize,
    /// Smaller ones leave more to the nearest.
    #[schemars(range(min = 0.0))]
    pub temperature: f64,
}

impl Default for Neighbors {
    fn default() -> Self {
        Self { count: 10, temperature: 0.1 }
    }
}

impl Build<dyn Initialize> for Neighbors {
    fn build(self, place: &Place) -> Result<Box<dyn Initialize>> {
        let mut faults = Vec::new();
        if !(1..=10_000).contains(&self.count) {
            let fault = Fault::new(place.clone().with_key("count"), format!("{} is out of range", self.count));
            faults.push(fault.hint("it is in 1..=10000"));
        }
        if !(self.temperature > 0.0 && self.temperature.is_finite()) {
            let message = format!("{} is out of range", self.temperature);
            faults.push(Fault::new(place.clone().with_key("temperature"), message).hint("it is above 0"));
        }
        Error::collect(Box::new(self) as Box<dyn Initialize>, faults)
    }
}

impl Initialize for Neighbors {
    fn takes_donor(&self) -> bool {
        true
    }

    fn rows(&self, known: Known<'_>, _: Seed) -> Result<Made> {
        let donor = donor::of(&known)?;
        let rows = &donor.embedding;
        let length = |id: TokenId| rows.row(id as usize).iter().map(|x| f64::from(x * x)).sum::<f64>().sqrt();
        let lengths: Vec<f64> = donor.shared.iter().map(|(_, theirs)| length(*theirs)).collect();
        let shares = |new: usize| -> Vec<(TokenId, f64)> {
            let Some(theirs) = donor.tokens[new] else { return part_shares(&known.parts[new]) };
            let (of, own) = (rows.row(theirs as usize), length(theirs));
            let mut near: Vec<(TokenId, f64)> = donor
                .shared
                .iter()
                .zip(&lengths)
                .map(|((ours, theirs), length)| {
                    let product: f64 =
                        rows.row(*theirs as usize).iter().zip(of).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                    (*ours, product / (length * own).max(f64::MIN_POSITIVE))
                })
                .collect();
            near.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            near.truncate(self.count);
            let most = near.first().map_or(0.0, |first| first.1);
            for (_, x) in &mut near {
                *x = ((*x - most) / self.temperature).exp();
            }
            let sum: f64 = near.iter().map(|(_, x)| x).sum();
            for (_, x) in &mut near {
                *x /= sum;
            }
            near
        };
        let unseen = (0..known.parts.len()).filter(|new| donor.tokens[*new].is_none()).collect();
        Ok(Made { unseen, ..mixtures(known, &(0..known.parts.len()).map(shares).collect::<Vec<_>>()) })
    }
}

/// The part's record.
pub static PART: Part<dyn Initialize> = Part::of::<Neighbors>("neighbors", 1);

#[cfg(test)]
mod tests {
    use super::super::tests::{known, known_rows};
    use super::super::{Donor, Rows};
    use super::*;
    use crate::lines::Lines;

    #[test]
    fn the_likest_tokens_of_the_donor_are_mixed() {
        let embedding = known_rows(4, 3, 1);
        let (parts, lines) = ([vec![0], vec![1, 3]], Lines::default());
        // Old tokens 0, 1, 2 are the donor's 2, 1, 0; the new token 0 is its 3, which is near 2 and 1.
        let values = vec![0.0, 1.0, 1.0, 0.1, 1.0, 0.0, 2.0, 0.1];
        let donor = Donor {
            embedding: Rows { values, width: 2 },
            head: None,
            shared: vec![(0, 2), (1, 1), (2, 0)],
            tokens: vec![Some(3), None],
        };
        let known = Known { donor: Some(&donor), ..known(&embedding, None, &parts, &lines) };
        let made = Neighbors { count: 2, temperature: 0.1 }.rows(known, Seed::new(0)).unwrap();
        let sources = made.sources.unwrap();
        let cosine = |a: [f64; 2], b: [f64; 2]| (a[0] * b[0] + a[1] * b[1]) / (a[0].hypot(a[1]) * b[0].hypot(b[1]));
        let (first, second) = (cosine([2.0, 0.1], [1.0, 0.1]), cosine([2.0, 0.1], [1.0, 0.0]));
        let share = 1.0 / (1.0 + ((second - first) / 0.1).exp());
        let mut wanted = [(1, share), (0, 1.0 - share)];
        wanted.sort_by(|a, b| b.1.total_cmp(&a.1));
        for ((id, share), (wanted, other)) in sources[0].iter().zip(wanted) {
            assert!(*id == wanted && (f64::from(*share) - other).abs() < 1e-6, "{sources:?} for {wanted:?}");
        }
        assert_eq!((&sources[1][..], &made.unseen[..]), (&[(1, 0.5), (3, 0.5)][..], &[1][..]));
        let refused = Neighbors::default().rows(Known { donor: None, ..known }, Seed::new(0)).unwrap_err();
        assert!(refused.to_string().contains("donor"), "{refused}");
    }
}
