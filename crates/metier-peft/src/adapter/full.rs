use super::{Adapter, Attached};
use crate::targets;
use metier_compute::ParameterId;
use metier_core::part::{Build, Part};
use metier_core::seed::Seed;
use metier_core::{Error, Fault, Place, Result};
use metier_model::{Decoder, Site, layer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// # What it does
/// Trains the model's own weights: all of them, or those of some blocks and layers.
///
/// # How
/// Nothing is added: all of `W` gets a gradient and the optimizer's two moments, 16 bytes for each number that is trained. What neither
/// `blocks` nor `targets` names is left as it is, to the bit.
///
/// # When to use
/// When there is enough text to change the whole model (a domain's tens of megabytes) and memory for it.
/// With little text it forgets more of what it knew than `lora` does. Feed-forward layers of the second quarter of the blocks
/// (`targets = ["up_proj", "down_proj"]`) forget less; which blocks are best is found by short runs, as the recipe `cofitune` does.
///
/// # Differs from the paper in
/// Plain training has no paper. `CoFiTune` names ranges by quarters of the depth; here blocks are listed by their numbers.
///
/// # Source
/// Gururangan et al., "Don't Stop Pretraining", arXiv 2004.10964, for continued pretraining of all weights; Zhang et al., "Balancing Speciality
/// and Versatility: a Coarse to Fine Framework for Supervised Fine-tuning Large Language Model", arXiv 2404.10306, for blocks and layers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Full {
    /// Numbers of the blocks to train, from 0 on; all of the model where none is given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub blocks: Vec<usize>,
    /// Last parts of the names of the linear layers to train, or `all-linear`; everything where none is given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<String>,
}

impl Build<dyn Adapter> for Full {
    fn build(self, _place: &Place) -> Result<Box<dyn Adapter>> {
        Ok(Box::new(self))
    }
}

impl Full {
    fn chosen(&self, decoder: &Decoder) -> Result<Vec<ParameterId>> {
        let last = decoder.config().layers.saturating_sub(1);
        let outside = self.blocks.iter().filter(|block| **block > last).map(|block| {
            Fault::new(Place::key("adapter.blocks"), format!("the model has no block {block}"))
                .hint(format!("its blocks are numbered from 0 to {last}"))
        });
        let mut faults: Vec<Fault> = outside.collect();
        let mut sites = Vec::new();
        if !self.targets.is_empty() {
            match targets::choose(decoder, &self.targets) {
                Ok(found) => sites = found,
                Err(error) => faults.extend(error.faults),
            }
        }
        Error::collect((), faults)?;
        let of_site = |id: ParameterId| sites.iter().any(|site: &Site| site.weight == id || site.bias == Some(id));
        let of_block = |name: &str| layer::block_of(name).is_some_and(|block| self.blocks.contains(&block));
        let is_chosen = |id: ParameterId, name: &str| {
            (self.targets.is_empty() || of_site(id)) && (self.blocks.is_empty() || of_block(name))
        };
        let all = decoder.parameters.iter().map(|(id, name, ..)| (id, name));
        let ids: Vec<_> = all.filter(|(id, name)| is_chosen(*id, name)).map(|(id, _)| id).collect();
        if ids.is_empty() {
            let fault = Fault::new(Place::key("adapter.targets"), "no weight of these blocks is among them");
            return Err(fault.hint("leave `blocks` or `targets` out, or widen them").into());
        }
        Ok(ids)
    }
}

impl Adapter for Full {
    fn attach(&self, decoder: &mut Decoder, _seed: Seed) -> Result<Attached> {
        let ids = self.chosen(decoder)?;
        decoder.freeze();
        for id in ids {
            decoder.parameters.set_trainable(id, true);
        }
        Ok(Attached::of(decoder, None))
    }
}

/// The record of this part.
pub static PART: Part<dyn Adapter> = Part::of::<Full>("full", 1);
