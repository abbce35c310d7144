use super::{Adapter, Attached};
use metier_core::part::{Build, Part};
use metier_core::seed::Seed;
use metier_core::{Place, Result};
use metier_model::Decoder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// # What it does
/// Trains every weight of the model.
///
/// # How
/// Nothing is added: all of `W` gets a gradient and the optimizer's two moments, 16 bytes for each number
/// of the model in all.
///
/// # When to use
/// When there is enough text to change the whole model (a domain's tens of megabytes) and memory for it.
/// With little text it forgets more of what it knew than `lora` does.
///
/// # Differs from the paper in
/// There is no paper; it is plain training.
///
/// # Source
/// Gururangan et al., "Don't Stop Pretraining", arXiv 2004.10964, for continued pretraining of all weights.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Full {}

impl Build<dyn Adapter> for Full {
    fn build(self, _place: &Place) -> Result<Box<dyn Adapter>> {
        Ok(Box::new(self))
    }
}

impl Adapter for Full {
    fn attach(&self, decoder: &mut Decoder, _seed: Seed) -> Result<Attached> {
        let ids: Vec<_> = decoder.parameters.iter().map(|(id, ..)| id).collect();
        for id in ids {
            decoder.parameters.set_trainable(id, true);
        }
        Ok(Attached::of(decoder, None))
    }
}

/// The record of this part.
pub static PART: Part<dyn Adapter> = Part::of::<Full>("full", 1);
