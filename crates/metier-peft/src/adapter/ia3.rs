use super::{Adapter, Attached};
use crate::folder::{Form, Source, name_at};
use crate::targets;
use metier_compute::{ParameterId, Tape, Tensor, Var, op};
use metier_core::part::{Build, Part};
use metier_core::seed::Seed;
use metier_core::{Place, Result};
use metier_model::layer::{self, Linear, SiteAdapter};
use metier_model::{Decoder, Site};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;

/// # What it does
/// Trains a factor for each number of keys, values and what is inside the feed-forward block, and nothing else.
///
/// # How
/// A layer that is adapted at its outputs computes `l · (x Wᵀ + bias)` with `l` `[outputs]`; the down projection of a
/// feed-forward block, which reads its inner numbers, computes `(l · x) Wᵀ + bias` with `l` `[inputs]`. Factors begin at
/// 1. Folding multiplies rows or columns of `W`.
///
/// # When to use
/// When very few numbers are to be trained, about one in ten thousand: many tasks on one model, little text.
///
/// # Differs from the paper in
/// Layers are chosen by name. Where queries, keys and values are one layer, factors are on queries too, as in
/// the PEFT library.
///
/// # Source
/// Liu et al., "Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context Learning",
/// arXiv 2205.05638, section 3.3.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ia3 {
    /// Last parts of the names of the layers to adapt; when there is none, those that make keys and values, and down
    /// projections.
    pub targets: Vec<String>,
}

impl Build<dyn Adapter> for Ia3 {
    fn build(self, _place: &Place) -> Result<Box<dyn Adapter>> {
        Ok(Box::new(self))
    }
}

/// Whether factors are on what the layer reads.
fn is_inside(site: &Site) -> bool {
    matches!(site.part, layer::Part::Down | layer::Part::SharedDown)
}

impl Ia3 {
    fn chosen(&self, decoder: &Decoder) -> Result<Vec<Site>> {
        if !self.targets.is_empty() {
            return targets::choose(decoder, &self.targets);
        }
        let makes_keys = |site: &Site| {
            use layer::Part::{Key, QueryKeyValue, QueryKeyValueByHead, Value};
            matches!(site.part, Key | Value | QueryKeyValue | QueryKeyValueByHead)
        };
        Ok(decoder.sites().into_iter().filter(|site| is_inside(site) || makes_keys(site)).collect())
    }
}

impl Adapter for Ia3 {
    fn attach(&self, decoder: &mut Decoder, _seed: Seed) -> Result<Attached> {
        let sites = self.chosen(decoder)?;
        decoder.freeze();
        let inside: Vec<Site> = sites.iter().filter(|site| is_inside(site)).cloned().collect();
        let config = json!({
            "target_modules": targets::modules(decoder, &sites),
            "feedforward_modules": targets::modules(decoder, &inside),
            "fan_in_fan_out": false,
            "init_ia3_weights": true,
            "modules_to_save": null,
        });
        let mut form = Form::new("IA3", config);
        for site in sites {
            let factors = Tensor::full(&shape(&site, is_inside(&site)), 1.0)?;
            put(decoder, &mut form, &site, factors, is_inside(&site))?;
        }
        Ok(Attached::of(decoder, Some(form)))
    }
}

/// What stands in the place of a linear layer.
#[derive(Debug)]
struct Factors {
    factors: ParameterId,
    is_inside: bool,
}

impl SiteAdapter for Factors {
    fn forward(&self, tape: &mut Tape<'_>, linear: &Linear, x: Var) -> Result<Var> {
        let factors = tape.parameter(self.factors);
        if self.is_inside {
            let x = op::multiply(tape, x, factors)?;
            return linear.plain(tape, x);
        }
        let y = linear.plain(tape, x)?;
        let factors = op::reshape(tape, factors, &[1, linear.outputs])?;
        op::multiply(tape, y, factors)
    }
}

/// The shape of a site's factors in files.
fn shape(site: &Site, is_inside: bool) -> [usize; 2] {
    if is_inside { [1, site.inputs] } else { [site.outputs, 1] }
}

fn put(decoder: &mut Decoder, form: &mut Form, site: &Site, factors: Tensor, is_inside: bool) -> Result<()> {
    let factors = if is_inside { factors } else { decoder.in_order_of(&site.name, factors)? };
    let factors = form.put(decoder, name_at(&site.name, "ia3_l"), factors)?;
    decoder.attach_site(&site.name, Arc::new(Factors { factors, is_inside }))
}

/// Reads files of this method.
pub(super) fn read(decoder: &mut Decoder, source: &mut Source<'_>) -> Result<Form> {
    source.without(&["modules_to_save"]);
    source.settings()?;
    let mut form = Form::default();
    for site in decoder.sites() {
        let name = name_at(&site.name, "ia3_l");
        if !source.has(&name) {
            continue;
        }
        let is_inside = source.shape(&name).is_some_and(|shape| shape.first() == Some(&1));
        if let Some(factors) = source.tensor(&name, &shape(&site, is_inside))? {
            put(decoder, &mut form, &site, factors, is_inside)?;
        }
    }
    Ok(form)
}

/// The record of this part.
pub static PART: Part<dyn Adapter> = Part::of::<Ia3>("ia3", 1);
