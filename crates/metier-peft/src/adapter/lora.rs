use super::{Adapter, Attached};
use metier_compute::Tensor;
use metier_core::fault::near_miss;
use metier_core::part::{Build, Part};
use metier_core::seed::Seed;
use metier_core::{Error, Fault, Place, Result};
use metier_model::{Decoder, Site};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// # What it does
/// Freezes the model and trains a product of two thin matrices beside chosen linear layers.
///
/// # How
/// A site with the weight `W` `[outputs, inputs]` computes `y = x Wᵀ + (alpha / rank) · (x Aᵀ) Bᵀ`, with `A`
/// `[rank, inputs]` and `B` `[outputs, rank]`. `A` begins uniform in `±1/√inputs`, `B` begins at zero, so that
/// training begins at the model as it was. Folding adds `(alpha / rank) · B A` to `W`, in f32, ranks in order.
///
/// # When to use
/// When memory or text is short: gradients and moments are kept for about one number in a hundred, and what
/// the model knew before is disturbed less than by `full`.
///
/// # Differs from the paper in
/// The paper adapts query and value projections and draws `A` from a normal distribution; here all
/// linear layers of a block are adapted unless `targets` says otherwise, and `A` is uniform as in the PEFT
/// library. There is no dropout.
///
/// # Source
/// Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", arXiv 2106.09685, section 4.1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Lora {
    /// Width of the thin matrices.
    #[schemars(range(min = 1, max = 4096))]
    pub rank: usize,
    /// The addition is multiplied by `alpha / rank`.
    #[schemars(range(min = 0.0))]
    pub alpha: f64,
    /// Last parts of the names of the layers to adapt, or `all-linear`.
    #[schemars(length(min = 1))]
    pub targets: Vec<String>,
}

/// The target that stands for every linear layer of a block.
const ALL_LINEAR: &str = "all-linear";

impl Default for Lora {
    fn default() -> Self {
        Self { rank: 8, alpha: 16.0, targets: vec![ALL_LINEAR.to_owned()] }
    }
}

impl Build<dyn Adapter> for Lora {
    fn build(self, place: &Place) -> Result<Box<dyn Adapter>> {
        let mut faults = Vec::new();
        if self.rank == 0 {
            faults.push(Fault::new(place.clone().with_key("rank"), "0 is out of range").hint("it is at least 1"));
        }
        if !(self.alpha.is_finite() && self.alpha > 0.0) {
            let message = format!("{} is out of range", self.alpha);
            faults.push(Fault::new(place.clone().with_key("alpha"), message).hint("it is above 0"));
        }
        if self.targets.is_empty() {
            let fault = Fault::new(place.clone().with_key("targets"), "it names no layer");
            faults.push(fault.hint(format!("write [\"{ALL_LINEAR}\"] for all of them")));
        }
        Error::collect(Box::new(self) as Box<dyn Adapter>, faults)
    }
}

impl Lora {
    /// The factor of the addition.
    fn scale(&self) -> f32 {
        (self.alpha / self.rank as f64) as f32
    }

    /// The sites of a model that `targets` name; unknown names are refused together.
    fn chosen(&self, decoder: &Decoder) -> Result<Vec<Site>> {
        let sites = decoder.sites();
        let mut known: Vec<&str> = sites.iter().map(Site::leaf).collect();
        known.sort_unstable();
        known.dedup();
        let faults = self.targets.iter().filter(|target| *target != ALL_LINEAR && !known.contains(&target.as_str()));
        let faults = faults.map(|target| {
            let list = format!("known: {}, {ALL_LINEAR}", known.join(", "));
            let hint = match near_miss(target, known.iter().copied().chain([ALL_LINEAR])) {
                Some(near) => format!("did you mean `{near}`? {list}"),
                None => list,
            };
            Fault::new(Place::key("adapter.targets"), format!("the model has no layer `{target}`")).hint(hint)
        });
        Error::collect((), faults.collect())?;
        let all = self.targets.iter().any(|target| target == ALL_LINEAR);
        Ok(sites
            .iter()
            .filter(|site| all || self.targets.iter().any(|target| target == site.leaf()))
            .cloned()
            .collect())
    }
}

impl Adapter for Lora {
    fn attach(&self, decoder: &mut Decoder, seed: Seed) -> Result<Attached> {
        let sites = self.chosen(decoder)?;
        freeze(decoder);
        for site in sites {
            let mut stream = seed.derive(&site.name).at(0);
            let bound = 1.0 / (site.inputs as f64).sqrt();
            let mut a = Tensor::zeros(&[self.rank, site.inputs])?;
            a.data_mut().fill_with(|| ((2.0 * stream.unit() - 1.0) * bound) as f32);
            let b = Tensor::zeros(&[site.outputs, self.rank])?;
            put(decoder, &site, a, b, self.scale())?;
        }
        Ok(Attached::of(decoder))
    }

    fn fold(&self, decoder: &mut Decoder) -> Result<()> {
        let attached = decoder.attached();
        if attached.is_empty() {
            return Err(Error::user(
                Place::key("adapter"),
                "no adapter is attached to the model, there is nothing to fold",
            ));
        }
        for (site, low_rank) in attached {
            let (a, b) = (decoder.parameters.get(low_rank.a).clone(), decoder.parameters.get(low_rank.b).clone());
            add_product(
                decoder.parameters.get_mut(site.weight).data_mut(),
                a.data(),
                b.data(),
                site.inputs,
                low_rank.scale,
            );
            decoder.detach_low_rank(&site.name);
            decoder.parameters.set_trainable(low_rank.a, false);
            decoder.parameters.set_trainable(low_rank.b, false);
        }
        Ok(())
    }
}

/// Makes every weight of the model frozen.
pub(crate) fn freeze(decoder: &mut Decoder) {
    let ids: Vec<_> = decoder.parameters.iter().map(|(id, ..)| id).collect();
    for id in ids {
        decoder.parameters.set_trainable(id, false);
    }
}

/// The name of a matrix of a site in the PEFT library's files; `which` is `A` or `B`.
pub(crate) fn parameter_name(site: &str, which: char) -> String {
    format!("base_model.model.{site}.lora_{which}.weight")
}

/// Attaches two trainable matrices to a site. Those of an adapter that was folded before give way.
pub(crate) fn put(decoder: &mut Decoder, site: &Site, a: Tensor, b: Tensor, scale: f32) -> Result<()> {
    let mut ids = Vec::new();
    for (which, tensor) in [('A', a), ('B', b)] {
        let name = parameter_name(&site.name, which);
        ids.push(match decoder.parameters.find(&name) {
            Some(id) => {
                *decoder.parameters.get_mut(id) = tensor;
                decoder.parameters.set_trainable(id, true);
                id
            }
            None => decoder.parameters.insert(name, tensor, true)?,
        });
    }
    decoder.attach_low_rank(&site.name, ids[0], ids[1], scale)
}

/// `weight += scale · b a`, ranks in order; `weight` is `[outputs, inputs]`.
fn add_product(weight: &mut [f32], a: &[f32], b: &[f32], inputs: usize, scale: f32) {
    let rank = a.len() / inputs;
    let mut sum = vec![0.0_f32; inputs];
    for (row, b) in weight.chunks_exact_mut(inputs).zip(b.chunks_exact(rank)) {
        sum.fill(0.0);
        for (b, a) in b.iter().zip(a.chunks_exact(inputs)) {
            for (sum, a) in sum.iter_mut().zip(a) {
                *sum += b * a;
            }
        }
        for (weight, sum) in row.iter_mut().zip(&sum) {
            *weight += scale * sum;
        }
    }
}

/// The record of this part.
pub static PART: Part<dyn Adapter> = Part::of::<Lora>("lora", 1);
