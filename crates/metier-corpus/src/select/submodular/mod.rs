//! Which rows stand for all: submodular functions, greedy orders, weights and draws.
//!
//! The rows are divided at random into parts; in each, rows are ordered by how much each adds to those before it. What it adds, its gain,
//! becomes its weight when a subset is drawn.
//!
//! | file | answers |
//! |---|---|
//! | `kernel` | how similar are two rows |
//! | `function` | what does a row add to a set |
//! | `greedy` | in which order do rows add most |
//! | `draw` | with which weight is a row drawn, and which are |
//!
//! Source: Renduchintala et al. 2023, *INGENIOUS* (arXiv:2305.06677). Differs from its program in: rows that are left over in a part get their
//! true gain; similarities of a part are all that is held; the same seed gives the same rows for any number of threads.

mod draw;
mod function;
mod greedy;
mod kernel;

#[cfg(test)]
mod tests;

pub use draw::{first, subset, taylor_softmax};
pub use function::{Function, Gains};
pub use greedy::{Optimizer, Picked, greedy};
pub(crate) use kernel::product;
pub use kernel::{Features, Kernel};

use metier_core::seed::Seed;
use metier_core::{Error, Fault, Place, Result};
use rayon::prelude::*;

/// Rows of a part up to which the order is exact by default.
const EXACT: usize = 4096;

/// What is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// What a set of rows is worth.
    pub function: Function,
    /// How rows are put in order; [`Optimizer::Lazy`] for parts of up to 4,096 rows and else [`Optimizer::Stochastic`] when it is left out.
    pub optimizer: Option<Optimizer>,
    /// Parts that the rows are divided into.
    pub partitions: usize,
    /// What gains are divided by before they become weights.
    pub temperature: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { function: Function::FacilityLocation, optimizer: None, partitions: 1, temperature: 1.0 }
    }
}

/// A part of the rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// The rows, in the order in which they were picked.
    pub rows: Vec<u32>,
    /// What each added to those before it.
    pub gains: Vec<f64>,
    /// With which probability each is the first to be drawn.
    pub weights: Vec<f64>,
}

impl Settings {
    /// Refuses what cannot be done with so many rows: parts of fewer than two rows, or a temperature that is not above 0.
    pub fn check(&self, rows: usize) -> Result<()> {
        let (most, mut faults) = (rows / 2, Vec::new());
        if self.partitions == 0 || self.partitions > most {
            faults.push(Fault::new(
                Place::key("partitions"),
                format!("{} parts of {rows} rows: from 1 to {most} are possible, of two rows or more", self.partitions),
            ));
        }
        if !(self.temperature > 0.0 && self.temperature.is_finite()) {
            faults.push(Fault::new(Place::key("temperature"), "must be a number above 0"));
        }
        Error::collect((), faults)
    }
}

/// Divides rows into parts and orders each. With `nearest` rows add to a set outside: it is what [`Features::nearest`] says of that, and what rows
/// are worth is facility location, whatever the settings say. A fault of the settings is one of the user. `done` is called after each part, on any
/// thread; what it refuses ends the work.
pub fn parts(
    features: &Features,
    settings: &Settings,
    nearest: Option<&[f32]>,
    seed: Seed,
    done: &(dyn Fn() -> Result<()> + Sync),
) -> Result<Vec<Part>> {
    let rows = features.rows();
    settings.check(rows)?;
    let mut order: Vec<u32> = (0..rows as u32).collect();
    seed.derive("parts").at(0).shuffle(&mut order);
    // Of equal size, but for one row.
    let border = |part: usize| part * rows / settings.partitions;
    let parts = (0..settings.partitions).into_par_iter().map(|number| {
        let rows = &order[border(number)..border(number + 1)];
        let kernel = Kernel::cosine(features, rows);
        let exact = if rows.len() <= EXACT { Optimizer::Lazy } else { Optimizer::STOCHASTIC };
        let optimizer = settings.optimizer.unwrap_or(exact);
        let gains = match nearest {
            Some(nearest) => Gains::beside(&kernel, rows.iter().map(|row| nearest[*row as usize])),
            None => settings.function.gains(&kernel),
        };
        let picked = greedy(gains, optimizer, rows.len(), seed.derive("greedy").derive(&number.to_string()));
        let weights = taylor_softmax(&picked.gains, settings.temperature);
        done()?;
        Ok(Part { rows: picked.order.iter().map(|at| rows[*at]).collect(), gains: picked.gains, weights })
    });
    parts.collect()
}

/// Most memory that [`parts`] holds beside the features, in bytes: the similarities of one part for each thread, and lists of rows.
pub fn planned_memory(rows: u64, partitions: u64, threads: u64) -> u64 {
    let part = rows.div_ceil(partitions.max(1));
    threads.min(partitions) * part * part * 12 + rows * 64
}
