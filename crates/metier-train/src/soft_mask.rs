//! Damping what a training changes in units that matter for something else.

use crate::importance::{Family, Importance, layer};
use metier_compute::{Gradients, ParameterId};
use metier_core::{Error, Fault, Place, Result};
use metier_model::Decoder;
use metier_model::layer::Part;
use std::collections::BTreeMap;

/// For rows of weights what is left of their gradient: `1 - I`, with `I` the importance of the row's unit, from 0 to 1.
///
/// Rows of the up projection are inner units, rows of the down projection outputs, rows of queries, keys and values heads; gate and
/// output projections are left alone. Where heads share keys, the greatest importance among them is that of the keys.
///
/// Source: `CoFiTune`, arXiv:2404.10306, the soft mask of its fine level.
#[derive(Debug, Clone)]
pub struct SoftMask {
    left: Vec<(ParameterId, Vec<f32>)>,
    /// What a person should know: blocks whose units are all as important as each other.
    pub notes: Vec<String>,
}

impl SoftMask {
    /// The mask of one or several importances, of which the greatest counts, for the weights of `decoder` that are trained.
    ///
    /// # Errors
    /// Those of [`SoftMask::of`].
    pub fn new(importances: &[Importance], decoder: &Decoder) -> Result<Self> {
        let (mut most, mut notes) = (BTreeMap::new(), Vec::new());
        for importance in importances {
            for ((block, family), raw) in &importance.units {
                let most = most.entry((*block, *family)).or_insert_with(|| vec![0.0_f32; raw.len()]);
                let Some(normalized) = normalized(raw) else {
                    let what = family.word();
                    notes.push(format!("block {block}: its {what} are all as important as each other, none is damped"));
                    continue;
                };
                most.iter_mut().zip(normalized).for_each(|(most, value)| *most = most.max(value));
            }
        }
        Ok(Self { notes, ..Self::of(&most, decoder)? })
    }

    /// The mask of units whose importance, from 0 to 1, is given by block and family.
    ///
    /// # Errors
    /// When no weight that is trained has units with an importance, or there are more or fewer than the model has units.
    pub fn of(importance: &BTreeMap<(usize, Family), Vec<f32>>, decoder: &Decoder) -> Result<Self> {
        let (config, sites) = (decoder.config(), decoder.sites());
        let mut left = Vec::new();
        let mut damp = |block: usize, part: Part, importance: &[f32], each: usize| -> Result<()> {
            let site = layer(&sites, block, part)?;
            let rows: Vec<f32> = importance.iter().flat_map(|value| std::iter::repeat_n(1.0 - value, each)).collect();
            if rows.len() != site.outputs {
                let message = format!("{} importances are not for {} rows", rows.len(), site.outputs);
                return Err(Error::user(Place::key(&site.name), message));
            }
            let trained = [Some(site.weight), site.bias].into_iter().flatten();
            left.extend(trained.filter(|id| decoder.parameters.trainable(*id)).map(|id| (id, rows.clone())));
            Ok(())
        };
        for ((block, family), units) in importance {
            match family {
                Family::Inner => damp(*block, Part::Up, units, 1)?,
                Family::Output => damp(*block, Part::Down, units, 1)?,
                Family::Heads => {
                    damp(*block, Part::Query, units, config.head_dim)?;
                    let groups = units.chunks(config.heads / config.kv_heads);
                    let shared: Vec<f32> = groups.map(|group| group.iter().copied().fold(0.0, f32::max)).collect();
                    damp(*block, Part::Key, &shared, config.head_dim)?;
                    damp(*block, Part::Value, &shared, config.head_dim)?;
                }
            }
        }
        if left.is_empty() {
            let fault = Fault::new(Place::key("soft_mask"), "no weight that is trained has units with an importance");
            let hint = "train up, down, query, key or value projections with `full`; an adapter has no such units";
            return Err(fault.hint(hint).into());
        }
        Ok(Self { left, notes: Vec::new() })
    }

    /// Multiplies the gradients of rows by what is left of them.
    pub fn damp(&self, gradients: &mut Gradients) {
        for (id, rows) in &self.left {
            let Some(gradient) = gradients.get_mut(*id) else { continue };
            let width = gradient.len() / rows.len();
            for (row, left) in gradient.data_mut().chunks_exact_mut(width).zip(rows) {
                for value in row {
                    *value *= left;
                }
            }
        }
    }

    /// What is left of the gradient of each weight, row by row.
    pub fn left(&self) -> &[(ParameterId, Vec<f32>)] {
        &self.left
    }
}

/// `|tanh((I - mean) / deviation)|` of the importances of a block's units; `None` where they do not differ.
pub fn normalized(raw: &[f32]) -> Option<Vec<f32>> {
    let values = || raw.iter().copied().map(f64::from);
    let mean = values().sum::<f64>() / raw.len() as f64;
    let variance = values().map(|value| (value - mean).powi(2)).sum::<f64>() / (raw.len() as f64 - 1.0);
    let deviation = variance.sqrt();
    (deviation > 0.0).then(|| values().map(|value| ((value - mean) / deviation).tanh().abs() as f32).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use metier_testkit::assert_close;

    #[test]
    fn importance_is_how_far_a_unit_is_from_the_mean() {
        // Deviations of the sample, as torch's `std`: 1 here.
        let got = normalized(&[1.0, 2.0, 3.0]).unwrap();
        assert_close("importance", &got, &[1.0_f64.tanh(), 0.0, 1.0_f64.tanh()], 1e-7, 0.0);
        assert_eq!(normalized(&[2.0, 2.0, 2.0]), None);
        assert_eq!(normalized(&[2.0]), None);
        assert_eq!(normalized(&[]), None);
    }
}
