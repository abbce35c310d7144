use super::subword_mean::SubwordMean;
use super::{Donor, Initialize, Known, Made, Rows};
use metier_core::data::TokenId;
use metier_core::part::{Build, Part};
use metier_core::seed::Seed;
use metier_core::{Error, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// # What it does
/// Begins every new token with the row that another model has for it, carried over into this model's space.
///
/// # How
/// On the tokens that both models have, with rows `d` of the other model and `e` of this one, the map `d -> m + (d - n) W`
/// with the means `m` and `n` is fitted by least squares: `W = (D'D + ridge s I)^-1 D'E`, `D` and `E` centered, `s` the mean of
/// `D'D`'s diagonal. Embedding and head have a map each. A token that the other model lacks is the mean of its parts.
///
/// # When to use
/// When a relative of the model has the tokens already: an extended sibling, or a model of another size with the vocabulary
/// that is transplanted. Rows leave the convex hull of the old ones, so greedy replies may change.
///
/// # Differs from the paper in
/// No paper stands behind it alone; maps between embeddings by least squares are Mikolov et al.'s.
///
/// # Source
/// Mikolov, Le and Sutskever, "Exploiting Similarities among Languages for Machine Translation", arXiv 1309.4168, section 4.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FromDonor {
    /// What keeps the map small where tokens say little, as a share of the rows' own size.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub ridge: f64,
}

impl Default for FromDonor {
    fn default() -> Self {
        Self { ridge: 1e-3 }
    }
}

impl Build<dyn Initialize> for FromDonor {
    fn build(self, place: &Place) -> Result<Box<dyn Initialize>> {
        if self.ridge > 0.0 && self.ridge <= 1000.0 {
            return Ok(Box::new(self));
        }
        let message = format!("{} is out of range", self.ridge);
        Err(Error::user(place.clone().with_key("ridge"), message).hint("it is above 0, and at most 1000"))
    }
}

impl Initialize for FromDonor {
    fn takes_donor(&self) -> bool {
        true
    }

    fn rows(&self, known: Known<'_>, seed: Seed) -> Result<Made> {
        let donor = of(&known)?;
        let mut made = SubwordMean::default().rows(known, seed)?;
        let carry = |theirs: &Rows, ours: &Rows, made: &mut Rows| -> Result<()> {
            let map = Map::fit(theirs, ours, &donor.shared, self.ridge)?;
            for (row, token) in made.values.chunks_exact_mut(ours.width).zip(&donor.tokens) {
                if let Some(token) = token {
                    map.carry(theirs.row(*token as usize), row);
                }
            }
            Ok(())
        };
        carry(&donor.embedding, known.embedding, &mut made.embedding)?;
        if let (Some(head), Some(made)) = (known.head, &mut made.head) {
            carry(donor.head.as_ref().unwrap_or(&donor.embedding), head, made)?;
        }
        made.unseen = (0..donor.tokens.len()).filter(|new| donor.tokens[*new].is_none()).collect();
        let sources = made.sources.iter_mut().flatten().zip(&donor.tokens);
        sources.filter(|(_, token)| token.is_some()).for_each(|(sources, _)| sources.clear());
        Ok(made)
    }
}

/// The other model, if it can serve.
pub(super) fn of<'a>(known: &Known<'a>) -> Result<&'a Donor> {
    known.check()?;
    let donor = known.donor.ok_or_else(|| {
        Error::user(Place::key("donor"), "rows are to come from another model, and none is given")
            .hint("write `donor = \"NAME\"` with a model")
    })?;
    if donor.shared.is_empty() {
        return Err(Error::user(Place::key("donor"), "that model has none of this one's tokens"));
    }
    Ok(donor)
}

/// A map of rows: shift, product, shift.
struct Map {
    from: Vec<f64>,
    to: Vec<f64>,
    /// `[width of the donor, width]`.
    product: Vec<f64>,
}

impl Map {
    fn fit(theirs: &Rows, ours: &Rows, shared: &[(TokenId, TokenId)], ridge: f64) -> Result<Self> {
        let (depth, width) = (theirs.width, ours.width);
        let mean = |rows: &Rows, ids: &mut dyn Iterator<Item = TokenId>| {
            let mut mean = vec![0.0; rows.width];
            for id in ids {
                mean.iter_mut().zip(rows.row(id as usize)).for_each(|(mean, x)| *mean += f64::from(*x));
            }
            for mean in &mut mean {
                *mean /= shared.len() as f64;
            }
            mean
        };
        let to = mean(ours, &mut shared.iter().map(|(ours, _)| *ours));
        let from = mean(theirs, &mut shared.iter().map(|(_, theirs)| *theirs));
        let (mut square, mut product) = (vec![0.0; depth * depth], vec![0.0; depth * width]);
        let centered = |row: &[f32], mean: &[f64]| -> Vec<f64> {
            row.iter().zip(mean).map(|(x, mean)| f64::from(*x) - mean).collect()
        };
        for (our, their) in shared {
            let (d, e) = (centered(theirs.row(*their as usize), &from), centered(ours.row(*our as usize), &to));
            for (at, x) in d.iter().enumerate() {
                square[at * depth..][..=at].iter_mut().zip(&d).for_each(|(sum, y)| *sum += x * y);
                product[at * width..][..width].iter_mut().zip(&e).for_each(|(sum, y)| *sum += x * y);
            }
        }
        let size = (0..depth).map(|at| square[at * depth + at]).sum::<f64>() / depth as f64;
        (0..depth).for_each(|at| square[at * depth + at] += ridge * size.max(f64::MIN_POSITIVE));
        solve(&mut square, depth, &mut product, width)?;
        Ok(Self { from, to, product })
    }

    fn carry(&self, row: &[f32], out: &mut [f32]) {
        let mut sum = self.to.clone();
        for ((x, mean), line) in row.iter().zip(&self.from).zip(self.product.chunks_exact(out.len())) {
            let x = f64::from(*x) - mean;
            sum.iter_mut().zip(line).for_each(|(sum, y)| *sum += x * y);
        }
        out.iter_mut().zip(sum).for_each(|(out, sum)| *out = sum as f32);
    }
}

/// Solves `A X = B` in place of `B`, `A` symmetric and positive, its lower half given: by Cholesky's `A = L L'`.
fn solve(a: &mut [f64], depth: usize, b: &mut [f64], width: usize) -> Result<()> {
    for row in 0..depth {
        for column in 0..=row {
            let dot: f64 = (0..column).map(|at| a[row * depth + at] * a[column * depth + at]).sum();
            let rest = a[row * depth + column] - dot;
            if row > column {
                a[row * depth + column] = rest / a[column * depth + column];
            } else if rest > 0.0 {
                a[row * depth + row] = rest.sqrt();
            } else {
                let message = "the tokens that both models have do not decide how rows are carried over";
                return Err(Error::user(Place::key("ridge"), message).hint("give a larger `ridge`"));
            }
        }
    }
    let mut substitute = |row: usize, others: &mut dyn Iterator<Item = (usize, f64)>, diagonal: f64| {
        for (other, factor) in others {
            for column in 0..width {
                b[row * width + column] -= factor * b[other * width + column];
            }
        }
        b[row * width..][..width].iter_mut().for_each(|x| *x /= diagonal);
    };
    for row in 0..depth {
        substitute(row, &mut (0..row).map(|at| (at, a[row * depth + at])), a[row * depth + row]);
    }
    for row in (0..depth).rev() {
        substitute(row, &mut (row + 1..depth).map(|at| (at, a[at * depth + row])), a[row * depth + row]);
    }
    Ok(())
}

/// The part's record.
pub static PART: Part<dyn Initialize> = Part::of::<FromDonor>("donor", 1);

#[cfg(test)]
mod tests {
    use super::super::tests::{known, known_rows};
    use super::*;
    use crate::lines::Lines;

    /// A donor whose rows are this model's, turned and shifted, gives back the rows that this model would have had.
    #[test]
    fn rows_are_carried_over_by_the_map_that_shared_tokens_show() {
        let all = known_rows(40, 5, 1);
        let turn = known_rows(5, 7, 2);
        let mut values = Vec::new();
        for row in all.iter() {
            for column in 0..7 {
                let sum: f32 = row.iter().enumerate().map(|(at, x)| x * turn.row(at)[column]).sum();
                values.push(sum + column as f32);
            }
        }
        let theirs = Rows { values, width: 7 };
        let embedding = Rows { values: all.values[..30 * 5].to_vec(), width: 5 };
        let donor = Donor {
            embedding: theirs.clone(),
            head: None,
            shared: (0..30).map(|id| (id, id)).collect(),
            tokens: (30..39).map(Some).chain([None]).collect(),
        };
        let (parts, lines) = (vec![vec![1, 2]; 10], Lines::default());
        let known = Known { donor: Some(&donor), ..known(&embedding, Some(&embedding), &parts, &lines) };
        let made = FromDonor { ridge: 1e-9 }.rows(known, Seed::new(0)).unwrap();
        assert_eq!(made.head.as_ref(), Some(&made.embedding));
        assert_eq!(made.unseen, [9]);
        let wanted: Vec<f32> = all.values[30 * 5..39 * 5].to_vec();
        metier_testkit::assert_close("rows", &made.embedding.values[..9 * 5], &wanted, 1e-4, 0.0);
        let mean = SubwordMean::default().rows(known, Seed::new(0)).unwrap().embedding;
        assert_eq!(made.embedding.row(9), mean.row(9));
        let strange = Donor { shared: Vec::new(), ..donor.clone() };
        assert!(FromDonor::default().rows(Known { donor: Some(&strange), ..known }, Seed::new(0)).is_err());
        assert!(FromDonor { ridge: 0.0 }.build(&Place::default()).is_err());
    }
}
