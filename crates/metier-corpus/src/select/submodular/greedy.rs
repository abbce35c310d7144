use super::function::Gains;
use metier_core::seed::{Seed, Stream};
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// How the row that adds most is found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Optimizer {
    /// Every row is looked at in every step.
    Naive,
    /// A row is looked at when what it added before is most (Minoux 1978). The order is that of [`Self::Naive`]; functions that are not submodular
    /// for these similarities are looked at as there.
    Lazy,
    /// In each of k steps `⌈(n/k)·ln(1/ε)⌉` rows are drawn, and the best of them is picked (Mirzasoleiman et al. 2015).
    Stochastic {
        /// The share of the exact gain that may be lost in the mean.
        epsilon: f64,
    },
}

impl Optimizer {
    /// Drawing as in the paper's program.
    pub const STOCHASTIC: Self = Self::Stochastic { epsilon: 0.1 };
}

/// Rows in the order in which they were picked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Picked {
    /// The rows.
    pub order: Vec<usize>,
    /// What each added to those before it.
    pub gains: Vec<f64>,
}

/// A row with what it adds. Of rows that add the same the first is the greatest.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    gain: f64,
    row: Reverse<usize>,
    /// The size of the set to which it adds that.
    set: usize,
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.gain.total_cmp(&other.gain).then(self.row.cmp(&other.row))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Candidate {}

/// Picks up to `budget` rows, each the one that adds most to those before it and to the set that `gains` begin with, also where that is less than
/// nothing. The seed decides what [`Optimizer::Stochastic`] looks at.
pub fn greedy(gains: Gains<'_>, optimizer: Optimizer, budget: usize, seed: Seed) -> Picked {
    let size = gains.size();
    let budget = budget.min(size);
    match optimizer {
        Optimizer::Lazy if gains.is_submodular() => lazy(gains, size, budget),
        Optimizer::Lazy | Optimizer::Naive => one_by_one(gains, size, budget, None),
        Optimizer::Stochastic { epsilon } => one_by_one(gains, size, budget, Some((epsilon, seed.at(0)))),
    }
}

fn lazy(mut gains: Gains, size: usize, budget: usize) -> Picked {
    let candidate = |row| Candidate { gain: gains.gain(row), row: Reverse(row), set: 0 };
    let mut heap: BinaryHeap<Candidate> = (0..size).map(candidate).collect();
    let mut picked = Picked::default();
    while picked.order.len() < budget {
        let Some(mut best) = heap.pop() else { break };
        let Reverse(row) = best.row;
        if best.set == picked.order.len() {
            gains.add(row);
            picked.order.push(row);
            picked.gains.push(best.gain);
        } else {
            best.gain = gains.gain(row);
            best.set = picked.order.len();
            heap.push(best);
        }
    }
    picked
}

/// The best of all rows that are left, or of some that are drawn.
fn one_by_one(mut gains: Gains, size: usize, budget: usize, draw: Option<(f64, Stream)>) -> Picked {
    let mut left: Vec<usize> = (0..size).collect();
    let mut picked = Picked::default();
    let sample = draw.as_ref().map_or(size, |(epsilon, _)| {
        (size as f64 / budget.max(1) as f64 * (1.0 / epsilon).ln()).ceil().max(1.0) as usize
    });
    let mut random = draw.map(|(_, random)| random);
    while picked.order.len() < budget {
        let looked_at = sample.min(left.len());
        if let Some(random) = &mut random {
            for place in 0..looked_at {
                let other = place + random.below((left.len() - place) as u64) as usize;
                left.swap(place, other);
            }
        }
        let candidates = left[..looked_at].iter().enumerate();
        let best = candidates
            .map(|(place, row)| (Candidate { gain: gains.gain(*row), row: Reverse(*row), set: 0 }, place))
            .max();
        let Some((best, place)) = best else { break };
        let row = left.swap_remove(place);
        gains.add(row);
        picked.order.push(row);
        picked.gains.push(best.gain);
    }
    picked
}
