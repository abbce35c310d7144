//! Rates of their own for some weights.

use crate::settings::key_place;
use globset::GlobBuilder;
use metier_core::{Error, Fault, Place, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How much faster or slower some weights learn than the others: LoRA+ (Hayou et al., *LoRA+: Efficient Low Rank
/// Adaptation of Large Models*, arXiv:2402.12354) lets `*.lora_B*` learn 16 times as fast, and rows of new tokens
/// bear more than a model that was trained for long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OwnRate {
    /// Names of weights; `*` stands for any letters.
    pub weights: String,
    /// What the optimizer's rate is multiplied by for them; 0 leaves them as they are.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub times: f64,
    /// Of matrices, the first row that this is for: rows before it learn at the optimizer's rate.
    #[serde(default)]
    pub from_row: usize,
}

/// The rate of one tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Share {
    /// What the optimizer's rate is multiplied by.
    pub(crate) times: f64,
    /// The first row that this is for.
    pub(crate) from_row: usize,
}

/// The share of each tensor: that of the first entry that names it, else 1.
///
/// # Errors
/// When an entry names no tensor that learns and no entry before it names, begins behind a tensor's last row, or is
/// no number; all of them together.
pub(crate) fn shares(own: &[OwnRate], tensors: &[(&str, &[usize])]) -> Result<Vec<Share>> {
    let mut shares = vec![None; tensors.len()];
    let mut faults = Vec::new();
    for (number, rate) in (1..).zip(own) {
        let place = Place::key(format!("rates[{number}]"));
        let mut refuse = |key: &str, message: String, hint: String| {
            faults.push(Fault::new(key_place(&place, key), message).hint(hint));
        };
        if !(0.0..=1000.0).contains(&rate.times) {
            refuse("times", format!("{} is out of range", rate.times), "write a number from 0 to 1000".to_owned());
        }
        let glob = match GlobBuilder::new(&rate.weights).build() {
            Ok(glob) => glob.compile_matcher(),
            Err(error) => {
                refuse("weights", error.to_string(), "write a name, with `*` for any letters".to_owned());
                continue;
            }
        };
        let mut found = false;
        for (share, (name, shape)) in shares.iter_mut().zip(tensors) {
            if share.is_some() || !glob.is_match(name) {
                continue;
            }
            found = true;
            let rows = if shape.len() < 2 { 1 } else { shape[0] };
            if rate.from_row >= rows {
                let message = format!("`{name}` has no row {}: its shape is {shape:?}", rate.from_row);
                refuse("from_row", message, "rows are counted from 0".to_owned());
            }
            *share = Some(Share { times: rate.times, from_row: rate.from_row });
        }
        if !found {
            let names: Vec<_> = tensors.iter().map(|(name, _)| *name).collect();
            refuse("weights", format!("`{}` names no weight that learns here", rate.weights), among(&names));
        }
    }
    let shares = shares.into_iter().map(|share| share.unwrap_or(Share { times: 1.0, from_row: 0 })).collect();
    Error::collect(shares, faults)
}

/// Some of the names there are.
fn among(names: &[&str]) -> String {
    const SHOWN: usize = 6;
    let more = if names.len() > SHOWN { format!(" and {} more", names.len() - SHOWN) } else { String::new() };
    let names: Vec<_> = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    format!("there are {}{more}; an earlier entry keeps what it names", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENSORS: &[(&str, &[usize])] =
        &[("embed.weight", &[10, 4]), ("0.lora_A", &[2, 4]), ("0.lora_B", &[4, 2]), ("norm.weight", &[4])];

    fn own(weights: &str, times: f64, from_row: usize) -> OwnRate {
        OwnRate { weights: weights.into(), times, from_row }
    }

    #[test]
    fn the_first_entry_that_names_a_weight_decides() {
        let rates = [own("*.lora_B", 16.0, 0), own("embed*", 5.0, 8), own("*.lora_*", 2.0, 0)];
        let shares: Vec<_> =
            shares(&rates, TENSORS).unwrap().iter().map(|share| (share.times, share.from_row)).collect();
        assert_eq!(shares, [(5.0, 8), (2.0, 0), (16.0, 0), (1.0, 0)]);
    }

    #[test]
    fn what_cannot_be_done_is_told_at_once() {
        let rates = [own("lora_B", 16.0, 0), own("norm*", f64::NAN, 2), own("[", 1.0, 0), own("norm.weight", 1.0, 0)];
        let error = shares(&rates, TENSORS).unwrap_err();
        let keys: Vec<_> = error.faults.iter().filter_map(|fault| fault.place.key.as_deref()).collect();
        assert_eq!(
            keys,
            ["rates[1].weights", "rates[2].times", "rates[2].from_row", "rates[3].weights", "rates[4].weights"]
        );
        assert!(error.faults[0].hint.as_ref().unwrap().contains("`0.lora_B`"));
    }
}
