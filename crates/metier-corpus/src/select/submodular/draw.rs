use super::Part;
use metier_core::seed::Seed;
use metier_core::{Fault, Place, Result};

/// The Taylor softmax of second order: `p_i ∝ 1 + z_i + z_i²/2` with `z = gain / temperature`. Always above 0.
pub fn taylor_softmax(gains: &[f64], temperature: f64) -> Vec<f64> {
    let weight = |gain: &f64| {
        let z = gain / temperature;
        1.0 + z + z * z / 2.0
    };
    let weights: Vec<f64> = gains.iter().map(weight).collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}

/// Draws `min(⌈|part|·fraction⌉, |part| − 1)` rows of each part by their weights, none twice; another subset for each `round`. Rows are in rising
/// order. A fraction outside of 0 to 1 is a fault.
///
/// A row whose weight is p has the key `−ln(u)/p` with an even u; the rows with the smallest keys are those that drawing one after the other would give
/// (Efraimidis and Spirakis 2006).
pub fn subset(parts: &[Part], fraction: f64, seed: Seed, round: u64) -> Result<Vec<u64>> {
    of_each(parts, fraction, |number, part, budget| {
        let mut random = seed.derive("subset").derive(&number.to_string()).at(round);
        let mut keys: Vec<(f64, u32)> = part
            .weights
            .iter()
            .zip(&part.rows)
            .map(|(weight, row)| (-(1.0 - random.unit()).ln() / weight, *row))
            .collect();
        keys.sort_unstable_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
        keys[..budget].iter().map(|(_, row)| *row).collect()
    })
}

/// As many rows of each part as [`subset`] draws, but those that were picked first.
pub fn first(parts: &[Part], fraction: f64) -> Result<Vec<u64>> {
    of_each(parts, fraction, |_, part, budget| part.rows[..budget].to_vec())
}

/// The rows that `choose` takes of each part, given its number and how many are wanted; in rising order.
fn of_each(parts: &[Part], fraction: f64, choose: impl Fn(usize, &Part, usize) -> Vec<u32>) -> Result<Vec<u64>> {
    if !(fraction > 0.0 && fraction < 1.0) {
        return Err(Fault::new(Place::key("fraction"), format!("{fraction} is not between 0 and 1")).into());
    }
    let chosen = parts.iter().enumerate().flat_map(|(number, part)| {
        let rows = part.rows.len();
        choose(number, part, ((rows as f64 * fraction).ceil() as usize).min(rows.saturating_sub(1)))
    });
    let mut chosen: Vec<u64> = chosen.map(u64::from).collect();
    chosen.sort_unstable();
    Ok(chosen)
}
