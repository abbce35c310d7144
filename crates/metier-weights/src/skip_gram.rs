//! Skip-gram with negatives: rows of tokens that stand near each other are drawn together, others apart.
//!
//! A pair is a center token and one that stands at most `window` places from it in a line; with it come tokens drawn in
//! proportion to their count to the power 0.75. With `v` the center's row and `u` rows of the other matrix, a pair costs
//! `-ln s(u_near v) - sum over k of ln s(-u_k v)`, `s` the logistic function.
//!
//! Source: Mikolov et al., "Distributed Representations of Words and Phrases and their Compositionality", arXiv 1310.4546,
//! sections 2.2 and 2.3.

use crate::initialize::Rows;
use crate::lines::Lines;
use metier_core::data::TokenId;
use metier_core::seed::{Seed, Stream};
use metier_core::{Error, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How much the count of a token says about how often it is drawn.
const POWER: f64 = 0.75;
/// Lines that are shuffled together; so many follow each other.
const BLOCK: usize = 1 << 16;
/// Pairs whose gradients are added up before a step of [`train`].
const TOGETHER: usize = 16;

/// What the tokens drawn at random cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Negatives {
    /// `sum over k of -ln s(-u_k v)`, each for itself.
    #[default]
    Standard,
    /// `-ln s(- sum over k of u_k v)`, as in the code of Mundra et al.
    Reference,
}

/// Which pairs are made of lines.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SkipGram {
    /// Places from the center on either side.
    pub window: usize,
    /// Tokens drawn for each pair.
    pub negatives: usize,
    /// A token of a larger share `f` of the text is left out with the probability `1 - sqrt(threshold / f)`; 0 leaves none
    /// out.
    pub threshold: f64,
    /// What the tokens drawn cost.
    pub cost: Negatives,
}

/// Pairs: as many centers as near tokens, and for each [`SkipGram::negatives`] drawn ones.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pairs {
    /// The tokens in the middle.
    pub centers: Vec<TokenId>,
    /// A token near each.
    pub near: Vec<TokenId>,
    /// Tokens drawn for each.
    pub drawn: Vec<TokenId>,
}

/// Which lines of a text are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Every one.
    All,
    /// All but one of so many.
    Learned(usize),
    /// One of so many.
    HeldOut(usize),
}

impl Which {
    fn holds(self, line: usize) -> bool {
        match self {
            Self::All => true,
            Self::Learned(every) => line % every != every - 1,
            Self::HeldOut(every) => line % every == every - 1,
        }
    }
}

/// What the pairs of a text are drawn by.
pub struct Sampler<'a> {
    shape: SkipGram,
    lines: &'a Lines,
    which: Which,
    /// For each token the probability to stay.
    keep: Vec<f64>,
    /// Running sums of the weights by which tokens are drawn.
    sums: Vec<f64>,
}

impl SkipGram {
    /// Counts the tokens of `lines`, ids below `vocabulary`.
    ///
    /// # Errors
    /// When no line has two tokens.
    pub fn sampler(self, lines: &Lines, which: Which, vocabulary: usize) -> Result<Sampler<'_>> {
        let mut counts = vec![0_u64; vocabulary];
        let mut longest = 0;
        for at in (0..lines.len()).filter(|at| which.holds(*at)) {
            let line = lines.line(at);
            longest = longest.max(line.len());
            for id in line {
                counts[id as usize] += 1;
            }
        }
        let all: u64 = counts.iter().sum();
        if longest < 2 || self.window == 0 {
            return Err(Error::user(Place::key("text"), "no token of it stands near another one")
                .hint("give lines of two tokens or more, and a window of 1 or more"));
        }
        let keep = |count: &u64| {
            let share = *count as f64 / all as f64;
            if self.threshold > 0.0 && share > 0.0 { (self.threshold / share).sqrt().min(1.0) } else { 1.0 }
        };
        let mut sum = 0.0;
        let sums = counts.iter().map(|count| {
            sum += (*count as f64).powf(POWER);
            sum
        });
        Ok(Sampler { shape: self, lines, which, sums: sums.collect(), keep: counts.iter().map(keep).collect() })
    }
}

impl Sampler<'_> {
    /// Hands the pairs of one pass over the text to `take`, at most `most` at a time, lines in a random order:
    /// blocks of them, and those of each block. The same seed
    /// and pass give the same pairs.
    ///
    /// # Errors
    /// Those of `take`.
    pub fn pass(&self, seed: Seed, pass: u64, most: usize, take: &mut dyn FnMut(&Pairs) -> Result<()>) -> Result<()> {
        let seed = seed.derive(&format!("pass {pass}"));
        let order = seed.derive("order");
        let shuffled = |mut items: Vec<usize>, at: usize| {
            order.at(at as u64).shuffle(&mut items);
            items
        };
        let mut pairs = Pairs::default();
        let blocks = shuffled((0..self.lines.len().div_ceil(BLOCK)).collect(), 0);
        let lines = blocks.into_iter().flat_map(|block| {
            let lines = block * BLOCK..((block + 1) * BLOCK).min(self.lines.len());
            shuffled(lines.collect(), block + 1)
        });
        for line in lines.filter(|line| self.which.holds(*line)) {
            let mut stream = seed.at(line as u64);
            let kept: Vec<TokenId> = self
                .lines
                .line(line)
                .into_iter()
                .filter(|id| self.keep[*id as usize] >= 1.0 || stream.unit() < self.keep[*id as usize])
                .collect();
            for (at, center) in kept.iter().enumerate() {
                let window = at.saturating_sub(self.shape.window)..(at + self.shape.window + 1).min(kept.len());
                for place in window.filter(|place| *place != at) {
                    pairs.centers.push(*center);
                    pairs.near.push(kept[place]);
                    pairs.drawn.extend((0..self.shape.negatives).map(|_| self.draw(&mut stream)));
                    if pairs.centers.len() == most {
                        take(&pairs)?;
                        pairs = Pairs::default();
                    }
                }
            }
        }
        if pairs.centers.is_empty() { Ok(()) } else { take(&pairs) }
    }

    fn draw(&self, stream: &mut Stream) -> TokenId {
        let at = stream.unit() * self.sums.last().copied().unwrap_or(0.0);
        self.sums.partition_point(|sum| *sum <= at).min(self.sums.len() - 1) as TokenId
    }
}

/// What pairs cost in the mean, whose gradients are added to those of both matrices. The ids of `pairs` are rows of `center`
/// and of `other`.
pub fn cost(pairs: &Pairs, style: Negatives, [center, other]: [&Rows; 2], gradients: [&mut [f32]; 2]) -> f64 {
    let (width, count) = (center.width, pairs.centers.len());
    let share = 1.0 / count as f32;
    let [center_gradient, other_gradient] = gradients;
    let drawn = pairs.drawn.len() / count.max(1);
    let mut total = 0.0;
    let mut products = vec![0.0_f32; drawn];
    for (number, (&middle, &near)) in pairs.centers.iter().zip(&pairs.near).enumerate() {
        let v = center.row(middle as usize);
        let ids = &pairs.drawn[number * drawn..][..drawn];
        for (product, id) in products.iter_mut().zip(ids) {
            *product = dot(other.row(*id as usize), v);
        }
        let product = dot(other.row(near as usize), v);
        total += softplus(-product);
        match style {
            Negatives::Standard => total += products.iter().map(|product| softplus(*product)).sum::<f64>(),
            Negatives::Reference => total += softplus(products.iter().sum()),
        }
        let together = logistic(products.iter().sum());
        let slopes = products.iter().map(|product| match style {
            Negatives::Standard => logistic(*product),
            Negatives::Reference => together,
        });
        let dv = &mut center_gradient[middle as usize * width..][..width];
        for (id, slope) in std::iter::once((near, logistic(product) - 1.0)).chain(ids.iter().copied().zip(slopes)) {
            let slope = slope * share;
            let u = other.row(id as usize);
            dv.iter_mut().zip(u).for_each(|(dv, u)| *dv += slope * u);
            let du = &mut other_gradient[id as usize * width..][..width];
            du.iter_mut().zip(v).for_each(|(du, v)| *du += slope * v);
        }
    }
    total / count.max(1) as f64
}

/// Learns rows of `width` numbers for all tokens below `vocabulary`, by plain gradient descent at a rate that falls to
/// nothing; centers begin uniform within `±0.5 / width`, others at zero.
///
/// # Errors
/// As [`SkipGram::sampler`].
pub fn train(
    shape: SkipGram,
    lines: &Lines,
    [vocabulary, width]: [usize; 2],
    (passes, rate): (u64, f32),
    seed: Seed,
) -> Result<[Rows; 2]> {
    let sampler = shape.sampler(lines, Which::All, vocabulary)?;
    let mut stream = seed.derive("rows").at(0);
    let begin = (0..vocabulary * width).map(|_| ((stream.unit() - 0.5) / width as f64) as f32);
    let mut center = Rows { values: begin.collect(), width };
    let mut other = Rows { values: vec![0.0; vocabulary * width], width };
    let (mut seen, all) = (0, passes * lines.iter().map(|line| line.len() as u64).sum::<u64>());
    let mut gradients = [vec![0.0_f32; vocabulary * width], vec![0.0_f32; vocabulary * width]];
    for pass in 0..passes {
        sampler.pass(seed, pass, TOGETHER, &mut |pairs| {
            let [first, second] = &mut gradients;
            cost(pairs, shape.cost, [&center, &other], [first, second]);
            // About two windows of pairs come of each token.
            seen += pairs.centers.len() as u64;
            let left = 1.0 - seen as f32 / (2 * shape.window as u64 * all) as f32;
            let step = rate * left.max(1e-4) * pairs.centers.len() as f32;
            let touched = [&pairs.centers[..], &[pairs.near.clone(), pairs.drawn.clone()].concat()[..]];
            for ((rows, gradient), touched) in [&mut center, &mut other].into_iter().zip(&mut gradients).zip(touched) {
                for id in touched {
                    let row = *id as usize * width..(*id as usize + 1) * width;
                    for (x, gradient) in rows.values[row.clone()].iter_mut().zip(&mut gradient[row]) {
                        *x -= step * std::mem::take(gradient);
                    }
                }
            }
            Ok(())
        })?;
    }
    Ok([center, other])
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn logistic(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// `ln(1 + e^x)`, which is `-ln s(-x)`.
fn softplus(x: f32) -> f64 {
    let x = f64::from(x);
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: usize, width: usize, salt: u64) -> Rows {
        let mut stream = Seed::new(salt).at(0);
        Rows { values: (0..count * width).map(|_| stream.normal() as f32).collect(), width }
    }

    /// Products are off by about 2e-7, which becomes 5e-5 of a slope.
    const STEP: f32 = 4e-3;

    #[test]
    fn the_gradient_is_that_of_finite_differences() {
        let pairs = Pairs { centers: vec![0, 1, 1], near: vec![2, 3, 0], drawn: vec![1, 3, 0, 0, 2, 3] };
        for style in [Negatives::Standard, Negatives::Reference] {
            let matrices = [rows(4, 5, 1), rows(4, 5, 2)];
            let mut gradients = [vec![0.0; 20], vec![0.0; 20]];
            let [first, second] = &mut gradients;
            cost(&pairs, style, [&matrices[0], &matrices[1]], [first, second]);
            for which in 0..2 {
                for (at, found) in gradients[which].iter().enumerate() {
                    let moved = |by: f32| {
                        let mut matrices = matrices.clone();
                        matrices[which].values[at] += by;
                        let mut nothing = [vec![0.0; 20], vec![0.0; 20]];
                        let [first, second] = &mut nothing;
                        cost(&pairs, style, [&matrices[0], &matrices[1]], [first, second])
                    };
                    let slope = (moved(STEP) - moved(-STEP)) / f64::from(2.0 * STEP);
                    let found = f64::from(*found);
                    assert!((slope - found).abs() < 2e-4, "{style:?} {which} {at}: {found} for {slope}");
                }
            }
        }
    }

    #[test]
    fn a_pass_makes_every_pair_once_and_the_same_again() {
        let lines = Lines::from(vec![vec![0, 1, 2], vec![3], vec![], vec![2, 2]]);
        let shape = SkipGram { window: 1, negatives: 2, threshold: 0.0, cost: Negatives::Standard };
        let sampler = shape.sampler(&lines, Which::All, 5).unwrap();
        let all = |pass, most| {
            let mut all = Pairs::default();
            let mut largest = 0;
            sampler
                .pass(Seed::new(1), pass, most, &mut |pairs| {
                    largest = largest.max(pairs.centers.len());
                    all.centers.extend(&pairs.centers);
                    all.near.extend(&pairs.near);
                    all.drawn.extend(&pairs.drawn);
                    Ok(())
                })
                .unwrap();
            assert!(largest <= most);
            all
        };
        let pairs = all(0, 4);
        assert_eq!(pairs, all(0, 100));
        assert_ne!(pairs, all(1, 100));
        let mut found: Vec<_> = pairs.centers.iter().zip(&pairs.near).collect();
        found.sort();
        assert_eq!(found, [(&0, &1), (&1, &0), (&1, &2), (&2, &1), (&2, &2), (&2, &2)]);
        assert!(pairs.drawn.len() == 12 && !pairs.drawn.contains(&4), "what the text has not is not drawn");
        assert!(shape.sampler(&Lines::from(vec![vec![1], vec![]]), Which::All, 5).is_err());
    }

    #[test]
    fn frequent_tokens_are_left_out_as_often_as_said() {
        let line: Vec<TokenId> = (0..20_000).map(|at| if at % 2 == 0 { 0 } else { 1 + at / 2 % 100 }).collect();
        let shape = SkipGram { window: 1, negatives: 0, threshold: 0.005, cost: Negatives::Standard };
        let lines = Lines::from(vec![line]);
        let mut counts = [0_u32; 101];
        let sampler = shape.sampler(&lines, Which::All, 101).unwrap();
        sampler
            .pass(Seed::new(3), 0, 1000, &mut |pairs| {
                pairs.centers.iter().for_each(|center| counts[*center as usize] += 1);
                Ok(())
            })
            .unwrap();
        // Half of the text is token 0: sqrt(0.005 / 0.5) = 0.1 of it stays; all of the others do.
        let kept = f64::from(counts[0]) / 2.0 / 10_000.0;
        assert!((kept - 0.1).abs() < 0.01, "{kept}");
        assert!(counts[1..].iter().all(|count| *count == 200 || *count >= 198), "{counts:?}");
    }

    /// The places of the numbers when they are sorted.
    fn ranks(numbers: &[f64]) -> Vec<f64> {
        let mut order: Vec<usize> = (0..numbers.len()).collect();
        order.sort_by(|a, b| numbers[*a].total_cmp(&numbers[*b]));
        let mut ranks = vec![0.0; numbers.len()];
        order.into_iter().enumerate().for_each(|(rank, at)| ranks[at] = rank as f64);
        ranks
    }

    fn correlation(a: &[f64], b: &[f64]) -> f64 {
        let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
        let (ma, mb) = (mean(a), mean(b));
        let sum = |f: &dyn Fn(f64, f64) -> f64| a.iter().zip(b).map(|(a, b)| f(a - ma, b - mb)).sum::<f64>();
        sum(&|a, b| a * b) / (sum(&|a, _| a * a) * sum(&|_, b| b * b)).sqrt()
    }

    #[test]
    fn tokens_have_the_neighbors_that_gensim_gives_them() {
        let golden = metier_testkit::golden::read("skip_gram.json");
        let tokens = golden["tokens"].as_u64().unwrap() as usize;
        let lines: Vec<Vec<TokenId>> = serde_json::from_value(golden["lines"].clone()).unwrap();
        let lines = Lines::from(lines);
        let theirs: Vec<f64> = serde_json::from_value(golden["cosines"].clone()).unwrap();
        let shape = SkipGram { window: 5, negatives: 5, threshold: 0.0, cost: Negatives::Standard };
        let [center, _] = train(shape, &lines, [tokens, 32], (5, 0.025), Seed::new(1)).unwrap();
        let cosine = |a: &[f32], b: &[f32]| f64::from(dot(a, b) / (dot(a, a) * dot(b, b)).sqrt());
        let ours: Vec<f64> = (0..tokens)
            .flat_map(|i| (i + 1..tokens).map(move |j| (i, j)))
            .map(|(i, j)| cosine(center.row(i), center.row(j)))
            .collect();
        let found = correlation(&ranks(&ours), &ranks(&theirs));
        assert!(found >= 0.6, "Spearman's correlation with gensim is {found}");
    }
}
