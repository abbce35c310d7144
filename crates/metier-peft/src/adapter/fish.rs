use super::{Adapter, Attached, Squares};
use crate::folder::{Content, Form, Source, name_at};
use crate::targets::{self, Check};
use metier_compute::{ParameterId, Tape, Tensor, Var, op};
use metier_core::part::{Build, Part};
use metier_core::seed::Seed;
use metier_core::{Error, Place, Result};
use metier_model::layer::{Linear, SiteAdapter};
use metier_model::{Decoder, Site};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;

/// # What it does
/// Trains a small share of the weights, spread wherever they matter most, and leaves all others as they are.
///
/// # How
/// Before the first step the mean of the squared gradient of each weight is taken over some batches, an estimate of its Fisher information. Of
/// all weights of the adapted layers together the `share` with the greatest is trained: a site with the weight `W` computes with `W + M`, where
/// `M` is zero but at those places. The additions begin at zero. Files hold places and additions as those of the PEFT
/// library's method `SHiRA`, which are read too; that library has as many places in every layer, so it does not read these.
///
/// # When to use
/// Where what changes is to stay small and single: a file says which weights of the model were changed. Training takes as
/// long as that of all weights, with memory for the gradient of one layer at a time.
///
/// # Differs from the paper in
/// The gradients are those of the texts as they are, not of answers drawn from the model.
///
/// # Source
/// Sung, Nair and Raffel, "Training Neural Networks with Fixed Sparse Masks", arXiv 2111.09839, section 3.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Fish {
    /// The share of weights that are trained.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub share: f64,
    /// Windows whose gradients are looked at.
    #[schemars(range(min = 1))]
    pub windows: usize,
    /// Last parts of the names of the layers to adapt, or `all-linear`.
    #[schemars(length(min = 1))]
    pub targets: Vec<String>,
}

impl Default for Fish {
    fn default() -> Self {
        Self { share: 0.005, windows: 64, targets: targets::all() }
    }
}

impl Build<dyn Adapter> for Fish {
    fn build(self, place: &Place) -> Result<Box<dyn Adapter>> {
        let mut check = Check::new(place);
        check.require("share", self.share, self.share > 0.0 && self.share <= 1.0, "it is above 0 and at most 1");
        check.count("windows", self.windows);
        check.targets(&self.targets);
        check.done(Box::new(self))
    }
}

impl Adapter for Fish {
    fn attach(&self, decoder: &mut Decoder, _seed: Seed) -> Result<Attached> {
        // As many places as there will be, so that the cost is known before anything is measured.
        self.attach_at(decoder, |_, _| 0.0)
    }

    fn measures(&self) -> Option<usize> {
        Some(self.windows)
    }

    fn attach_measured(&self, decoder: &mut Decoder, _seed: Seed, squares: &Squares) -> Result<Attached> {
        let sites = targets::choose(decoder, &self.targets)?;
        if let Some(site) = sites.iter().find(|site| !squares.contains_key(&site.weight)) {
            return Err(Error::program(format!("the gradient of `{}` was not measured", site.name)));
        }
        self.attach_at(decoder, |site, place| squares.get(&site.weight).map_or(0.0, |squares| squares.data()[place]))
    }
}

impl Fish {
    /// Attaches to the weights with the greatest scores; of equal ones to the first.
    fn attach_at(&self, decoder: &mut Decoder, score: impl Fn(&Site, usize) -> f32) -> Result<Attached> {
        let sites = targets::choose(decoder, &self.targets)?;
        decoder.freeze();
        let total: usize = sites.iter().map(|site| site.inputs * site.outputs).sum();
        let wanted = ((total as f64 * self.share).round() as usize).clamp(1, total.max(1));
        let mut all: Vec<(f32, u32, u32)> = Vec::with_capacity(total);
        for (number, site) in (0..).zip(&sites) {
            all.extend((0..site.inputs * site.outputs).map(|place| (score(site, place), number, place as u32)));
        }
        let order = |a: &(f32, u32, u32), b: &(f32, u32, u32)| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2)));
        if wanted < all.len() {
            all.select_nth_unstable_by(wanted, order);
            all.truncate(wanted);
        }
        all.sort_unstable_by_key(|(_, site, place)| (*site, *place));
        let config = json!({ "share": self.share, "target_modules": targets::modules(decoder, &sites) });
        let mut form = Form::new("METIER_FISH", config);
        for chosen in all.chunk_by(|a, b| a.1 == b.1) {
            let site = &sites[chosen[0].1 as usize];
            let places: Vec<u32> = chosen.iter().map(|(.., place)| *place).collect();
            put(decoder, &mut form, site, places.clone(), Tensor::zeros(&[places.len()])?)?;
        }
        Ok(Attached::of(decoder, Some(form)))
    }
}

/// What stands in the place of a linear layer.
#[derive(Debug)]
struct Sparse {
    additions: ParameterId,
    /// Where in the weight each is, row by row.
    places: Vec<u32>,
}

impl SiteAdapter for Sparse {
    fn forward(&self, tape: &mut Tape<'_>, linear: &Linear, x: Var) -> Result<Var> {
        let (weight, additions) = (tape.parameter(linear.weight), tape.parameter(self.additions));
        let flat = op::reshape(tape, weight, &[linear.inputs * linear.outputs])?;
        let changed = op::index_add(tape, flat, 0, &self.places, additions)?;
        let weight = op::reshape(tape, changed, &[linear.outputs, linear.inputs])?;
        let bias = linear.bias.map(|bias| tape.parameter(bias));
        op::linear(tape, x, weight, bias)
    }
}

fn put(decoder: &mut Decoder, form: &mut Form, site: &Site, places: Vec<u32>, additions: Tensor) -> Result<()> {
    let additions = form.put(decoder, name_at(&site.name, "shira_weight"), additions)?;
    let width = site.inputs as u32;
    let rows = places.iter().map(|place| (place / width) as i32);
    let columns = places.iter().map(|place| (place % width) as i32);
    let indices = Content::Whole(vec![2, places.len()], rows.chain(columns).collect());
    form.tensors.push((name_at(&site.name, "shira_indices"), indices));
    decoder.attach_site(&site.name, Arc::new(Sparse { additions, places }))
}

/// Reads files of this method and of the PEFT library's `SHiRA`.
pub(super) fn read(decoder: &mut Decoder, source: &mut Source<'_>) -> Result<Form> {
    decoder.refuse_interleaved("fish")?;
    source.without(&["modules_to_save"]);
    source.settings()?;
    let mut form = Form::default();
    for site in decoder.sites() {
        let names = ["shira_weight", "shira_indices"].map(|part| name_at(&site.name, part));
        if !names.iter().any(|name| source.has(name)) {
            continue;
        }
        let count = source.shape(&names[0]).and_then(|shape| shape.first().copied()).unwrap_or(0);
        let additions = source.tensor(&names[0], &[count])?;
        let indices = source.whole(&names[1], &[2, count]);
        let (Some(additions), Some(indices)) = (additions, indices) else { continue };
        let (rows, columns) = indices.split_at(count);
        let place = |(row, column): (&i64, &i64)| {
            let (row, column) = (usize::try_from(*row).ok()?, usize::try_from(*column).ok()?);
            (row < site.outputs && column < site.inputs).then(|| (row * site.inputs + column) as u32)
        };
        match rows.iter().zip(columns).map(place).collect() {
            Some(places) => put(decoder, &mut form, &site, places, additions)?,
            None => source.fault(&names[1], format!("it has places outside of {} by {}", site.outputs, site.inputs)),
        }
    }
    Ok(form)
}

/// The record of this part.
pub static PART: Part<dyn Adapter> = Part::of::<Fish>("fish", 1);
