use super::{Adapter, Attached};
use crate::folder::{Form, Source, name_at};
use crate::targets::{self, Check};
use metier_compute::op::{self, Transpose};
use metier_compute::{ParameterId, Tape, Tensor, Var};
use metier_core::part::{Build, Part};
use metier_core::seed::Seed;
use metier_core::{Error, Fault, Place, Result};
use metier_model::layer::{Linear, SiteAdapter};
use metier_model::{Decoder, Site};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;

/// # What it does
/// Turns what a layer reads, block by block of its columns, and leaves the layer as it is: angles between the rows
/// of its weight stay the same.
///
/// # How
/// Each block of `block` columns of `x` becomes `x R`, then the plain layer reads it, so that `W' = W Rᵀ`. With `Q` the
/// skew-symmetric matrix whose upper triangle is a vector of `block (block - 1) / 2` trained numbers, which begin at 0, `R` is
/// `(I - Q) (I + Q)⁻¹` where `exact`, and else the series `I + 2 Q + 2 Q² + … + Q^(terms - 1)`, whose last term counts once. The series tends to
/// `(I + Q) (I - Q)⁻¹`: the other sign of `Q`.
///
/// # When to use
/// Where a model is to change its trade and keep its manners: what is turned keeps lengths and angles. Folded it costs nothing.
///
/// # Differs from the paper in
/// The weight's inputs are turned, not its outputs, as in the PEFT library and in the later arXiv 2506.19847, which
/// the series comes from.
///
/// # Source
/// Qiu et al., "Controlling Text-to-Image Diffusion by Orthogonal Finetuning", arXiv 2306.07280, section 3.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Oft {
    /// Columns that are turned together; must divide the inputs of each layer.
    #[schemars(range(min = 2, max = 4096))]
    pub block: usize,
    /// Whether `R` is an exact rotation, not a series that comes near to one while `Q` is small.
    pub exact: bool,
    /// Terms of the series.
    #[schemars(range(min = 2, max = 64))]
    pub terms: usize,
    /// Last parts of the names of the layers to adapt, or `all-linear`.
    #[schemars(length(min = 1))]
    pub targets: Vec<String>,
}

impl Default for Oft {
    fn default() -> Self {
        Self { block: 32, exact: false, terms: 5, targets: targets::all() }
    }
}

impl Build<dyn Adapter> for Oft {
    fn build(self, place: &Place) -> Result<Box<dyn Adapter>> {
        let mut check = Check::new(place);
        check.require("block", self.block, self.block >= 2, "it is at least 2");
        check.require("terms", self.terms, (2..=64).contains(&self.terms), "it is from 2 to 64");
        check.targets(&self.targets);
        check.done(Box::new(self))
    }
}

impl Adapter for Oft {
    fn attach(&self, decoder: &mut Decoder, _seed: Seed) -> Result<Attached> {
        let sites = targets::choose(decoder, &self.targets)?;
        let uneven = sites.iter().filter(|site| !site.inputs.is_multiple_of(self.block));
        let faults = uneven.map(|site| {
            let message = format!("{} inputs do not fall into blocks of {}", site.inputs, self.block);
            let most = (2..=self.block).rev().find(|block| site.inputs.is_multiple_of(*block));
            let hint =
                most.map_or("leave it out of the targets".to_owned(), |most| format!("{most} would divide them"));
            Fault::new(Place::key(&site.name), message).hint(hint)
        });
        Error::collect((), faults.collect())?;
        decoder.freeze();
        let config = json!({
            "r": 0,
            "oft_block_size": self.block,
            "use_cayley_neumann": !self.exact,
            "num_cayley_neumann_terms": self.terms,
            "target_modules": targets::modules(decoder, &sites),
            "block_share": false,
            "coft": false,
            "eps": 6e-5,
            "module_dropout": 0.0,
            "bias": "none",
            "fan_in_fan_out": false,
            "init_weights": true,
            "modules_to_save": null,
        });
        let mut form = Form::new("OFT", config);
        for site in sites {
            self.put(decoder, &mut form, &site, Tensor::zeros(&shape(&site, self.block))?)?;
        }
        Ok(Attached::of(decoder, Some(form)))
    }
}

impl Oft {
    fn put(&self, decoder: &mut Decoder, form: &mut Form, site: &Site, vectors: Tensor) -> Result<()> {
        let vectors = form.put(decoder, name_at(&site.name, "oft_R.weight"), vectors)?;
        let terms = (!self.exact).then_some(self.terms);
        decoder.attach_site(&site.name, Arc::new(Turned { vectors, block: self.block, terms }))
    }
}

/// Blocks of a site, and numbers of each.
fn shape(site: &Site, block: usize) -> [usize; 2] {
    [site.inputs / block, block * (block - 1) / 2]
}

/// What stands in the place of a linear layer.
#[derive(Debug)]
struct Turned {
    /// `[blocks, block (block - 1) / 2]`.
    vectors: ParameterId,
    block: usize,
    /// Of the series; none where the rotation is exact.
    terms: Option<usize>,
}

impl SiteAdapter for Turned {
    fn forward(&self, tape: &mut Tape<'_>, linear: &Linear, x: Var) -> Result<Var> {
        let rotations = self.rotations(tape)?;
        let (blocks, size) = (linear.inputs / self.block, self.block);
        let rows = tape.shape(x)?[0];
        // One product a block wants the blocks outside.
        let x = op::reshape(tape, x, &[rows, blocks, size])?;
        let x = op::permute(tape, x, &[1, 0, 2])?;
        let x = op::batched_matmul(tape, x, rotations, Transpose::default())?;
        let x = op::permute(tape, x, &[1, 0, 2])?;
        let x = op::reshape(tape, x, &[rows, linear.inputs])?;
        linear.plain(tape, x)
    }
}

impl Turned {
    /// `R` of each block, `[blocks, block, block]`.
    fn rotations(&self, tape: &mut Tape<'_>) -> Result<Var> {
        let skew = self.skew(tape)?;
        let mut identity = Tensor::zeros(&[self.block, self.block])?;
        identity.data_mut().iter_mut().step_by(self.block + 1).for_each(|value| *value = 1.0);
        let identity = tape.constant(identity);
        let Some(terms) = self.terms else {
            let below = op::subtract(tape, identity, skew)?;
            let above = op::add(tape, identity, skew)?;
            let inverse = op::inverse(tape, above)?;
            return op::batched_matmul(tape, below, inverse, Transpose::default());
        };
        // As the PEFT library counts them: the last power once, and three terms give what four give.
        let last = if terms > 2 { (terms - 1).max(3) } else { 1 };
        let (mut sum, mut power) = (identity, skew);
        for number in 1..=last {
            if number > 1 {
                power = op::batched_matmul(tape, power, skew, Transpose::default())?;
            }
            let counted = if number == last && last > 1 { power } else { op::scale(tape, power, 2.0)? };
            sum = op::add(tape, sum, counted)?;
        }
        Ok(sum)
    }

    /// `Q` of each block: its upper triangle row by row, and less of the same below.
    fn skew(&self, tape: &mut Tape<'_>) -> Result<Var> {
        let size = self.block;
        let vectors = tape.parameter(self.vectors);
        let blocks = tape.shape(vectors)?[0];
        let (mut places, mut signs) = (vec![0_u32; size * size], vec![0.0_f32; size * size]);
        let mut next = 0;
        for row in 0..size {
            for column in row + 1..size {
                for (at, sign) in [(row * size + column, 1.0), (column * size + row, -1.0)] {
                    (places[at], signs[at]) = (next, sign);
                }
                next += 1;
            }
        }
        let spread = op::index_select(tape, vectors, 1, &places)?;
        let signs = tape.constant(Tensor::from_vec(&[size * size], signs)?);
        let signed = op::multiply(tape, spread, signs)?;
        op::reshape(tape, signed, &[blocks, size, size])
    }
}

/// Reads files of this method.
pub(super) fn read(decoder: &mut Decoder, source: &mut Source<'_>) -> Result<Form> {
    source.without(&["bias", "block_share", "coft", "modules_to_save"]);
    let exact = !source.flag("use_cayley_neumann", true);
    let terms = source.count("num_cayley_neumann_terms");
    // Where the number of blocks is given, sizes differ from layer to layer.
    let (block, blocks) = (source.value("oft_block_size").as_u64(), source.value("r").as_u64());
    let (block, blocks) = (block.unwrap_or(0) as usize, blocks.unwrap_or(0) as usize);
    if (block == 0) == (blocks == 0) || (!exact && !(2..=64).contains(&terms)) {
        source.refuse("oft_block_size", "one of `oft_block_size` and `r` is above 0, and a series has 2 to 64 terms");
    }
    source.settings()?;
    let mut form = Form::default();
    for site in decoder.sites() {
        let name = name_at(&site.name, "oft_R.weight");
        if !source.has(&name) {
            continue;
        }
        let block = if block > 0 { block } else { site.inputs / blocks };
        if block < 2 || !site.inputs.is_multiple_of(block) {
            source.tensor(&name, &[0])?;
            continue;
        }
        if let Some(vectors) = source.tensor(&name, &shape(&site, block))? {
            let oft = Oft { block, exact, terms, targets: Vec::new() };
            oft.put(decoder, &mut form, &site, vectors)?;
        }
    }
    Ok(form)
}

/// The record of this part.
pub static PART: Part<dyn Adapter> = Part::of::<Oft>("oft", 1);
