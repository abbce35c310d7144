//! What tells one model from another, in whatever type its weights are stored.

use crate::arch;
use crate::decoder::Decoder;
use crate::layer::Part;
use metier_compute::Dtype;
use serde::{Deserialize, Serialize};

/// What tells a model. Norms and biases stay as they are when a model is quantized, so they tell it in any type, but not from one
/// whose matrices alone differ; all weights do, where they are `f32`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fingerprint {
    /// BLAKE3 of names and shapes of all weights, and of the numbers of those with one dimension.
    pub norms: String,
    /// BLAKE3 of the numbers of all weights; none when some are in fewer bits.
    pub weights: Option<String>,
}

impl Fingerprint {
    /// Whether both may be of one model.
    pub fn agrees_with(&self, other: &Self) -> bool {
        match (&self.weights, &other.weights) {
            (Some(own), Some(others)) => own == others && self.norms == other.norms,
            _ => self.norms == other.norms,
        }
    }
}

impl Decoder {
    /// What tells the plain model, whatever is attached to it.
    pub fn fingerprint(&self) -> Fingerprint {
        let (mut norms, mut weights, mut is_whole) = (blake3::Hasher::new(), blake3::Hasher::new(), true);
        for weight in arch::weight_shapes(&self.config) {
            let Some(id) = self.parameters.find(&weight.name) else { continue };
            let original = self.attachments.originals.iter().find(|(known, _)| *known == id);
            let tensor = original.map_or_else(|| self.parameters.get(id), |(_, tensor)| tensor);
            norms.update(format!("{} {:?}\n", weight.name, weight.shape).as_bytes());
            // Of a GGUF file as it is stored, rows of queries and keys are in another order.
            let has_order = !matches!(weight.part, Part::Query | Part::Key);
            if weight.shape.len() == 1 && has_order {
                norms.update(&tensor.data().iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>());
            }
            is_whole &= tensor.dtype() == Dtype::F32 && !self.config.design.interleaved;
            if is_whole {
                tensor.stored(|bytes| {
                    weights.update(bytes);
                });
            }
        }
        Fingerprint {
            norms: norms.finalize().to_hex().to_string(),
            weights: is_whole.then(|| weights.finalize().to_hex().to_string()),
        }
    }
}
