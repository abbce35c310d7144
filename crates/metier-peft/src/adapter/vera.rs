use super::{Adapter, Attached};
use crate::folder::{Content, Form, Source, name_at};
use crate::targets::{self, Check};
use metier_compute::op::Span;
use metier_compute::{ParameterId, Tape, Tensor, Var, op};
use metier_core::part::{Build, Part};
use metier_core::seed::Seed;
use metier_core::{Place, Result};
use metier_model::layer::{Linear, SiteAdapter};
use metier_model::{Decoder, Site};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;

/// # What it does
/// As `lora` with two random matrices that all layers share and that stay as they are; only factors of what is between and
/// behind them are trained.
///
/// # How
/// A site adds `b · ((d · (x Aᵀ)) Bᵀ)` to `x Wᵀ`, with `d` `[rank]` and `b` `[outputs]`. `A` is the first `inputs` columns of a
/// matrix `[rank, most inputs]`, `B` the first `outputs` rows of a matrix `[most outputs, rank]`, both drawn once, uniform in
/// `±√(6 / columns)`. `d` begins at `start`, `b` at 0. Files hold both matrices.
///
/// # When to use
/// Where adapters are to be as small as can be: a tenth of `lora`'s numbers and less, at a greater rank.
///
/// # Differs from the paper in
/// Nothing known. Random numbers are not those of the PEFT library for the same seed, so both matrices are always in the files.
///
/// # Source
/// Kopiczko, Blankevoort and Asano, "`VeRA`: Vector-based Random Matrix Adaptation", arXiv 2310.11454, section 3.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Vera {
    /// Rows of `A`.
    #[schemars(range(min = 1, max = 65536))]
    pub rank: usize,
    /// What the factors behind `A` begin at.
    #[schemars(range(min = 0.0))]
    pub start: f64,
    /// Last parts of the names of the layers to adapt, or `all-linear`.
    #[schemars(length(min = 1))]
    pub targets: Vec<String>,
}

impl Default for Vera {
    fn default() -> Self {
        Self { rank: 256, start: 0.1, targets: targets::all() }
    }
}

impl Build<dyn Adapter> for Vera {
    fn build(self, place: &Place) -> Result<Box<dyn Adapter>> {
        let mut check = Check::new(place);
        check.count("rank", self.rank);
        check.positive("start", self.start);
        check.targets(&self.targets);
        check.done(Box::new(self))
    }
}

impl Adapter for Vera {
    fn attach(&self, decoder: &mut Decoder, seed: Seed) -> Result<Attached> {
        let sites = targets::choose(decoder, &self.targets)?;
        decoder.freeze();
        let config = json!({
            "r": self.rank,
            "d_initial": self.start,
            "target_modules": targets::modules(decoder, &sites),
            "save_projection": true,
            "projection_prng_key": 0,
            "vera_dropout": 0.0,
            "bias": "none",
            "fan_in_fan_out": false,
            "init_weights": true,
            "modules_to_save": null,
        });
        let mut form = Form::new("VERA", config);
        let [inputs, outputs] = most(&sites);
        let uniform = |name: &str, shape: [usize; 2]| -> Result<Tensor> {
            let mut stream = seed.derive(name).at(0);
            let bound = (6.0 / shape[1] as f64).sqrt();
            let mut tensor = Tensor::zeros(&shape)?;
            tensor.data_mut().fill_with(|| ((2.0 * stream.unit() - 1.0) * bound) as f32);
            Ok(tensor)
        };
        let shared = [uniform(A, [self.rank, inputs])?, uniform(B, [outputs, self.rank])?];
        let [a, b] = put_shared(decoder, &mut form, shared)?;
        for site in sites {
            let d = Tensor::full(&[self.rank], self.start as f32)?;
            put(decoder, &mut form, &site, [a, b], [Tensor::zeros(&[site.outputs])?, d])?;
        }
        Ok(Attached::of(decoder, Some(form)))
    }
}

const A: &str = "base_model.vera_A";
const B: &str = "base_model.vera_B";

/// What stands in the place of a linear layer.
#[derive(Debug)]
struct Shared {
    /// `[rank, most inputs]`.
    a: ParameterId,
    /// `[most outputs, rank]`.
    b: ParameterId,
    /// `[outputs]`.
    outer: ParameterId,
    /// `[rank]`.
    inner: ParameterId,
}

impl SiteAdapter for Shared {
    fn forward(&self, tape: &mut Tape<'_>, linear: &Linear, x: Var) -> Result<Var> {
        let (a, b) = (tape.parameter(self.a), tape.parameter(self.b));
        let rank = tape.shape(a)?[0];
        let a = op::slice(tape, a, &[Span::from(0..rank), (0..linear.inputs).into()])?;
        let b = op::slice(tape, b, &[Span::from(0..linear.outputs), (0..rank).into()])?;
        let (outer, inner) = (tape.parameter(self.outer), tape.parameter(self.inner));
        let plain = linear.plain(tape, x)?;
        let narrow = op::linear(tape, x, a, None)?;
        let narrow = op::multiply(tape, narrow, inner)?;
        let wide = op::linear(tape, narrow, b, None)?;
        let addition = op::multiply(tape, wide, outer)?;
        op::add(tape, plain, addition)
    }
}

/// The most inputs and outputs that a site has.
fn most(sites: &[Site]) -> [usize; 2] {
    let most = |of: fn(&Site) -> usize| sites.iter().map(of).max().unwrap_or(0);
    [most(|site| site.inputs), most(|site| site.outputs)]
}

fn put_shared(decoder: &mut Decoder, form: &mut Form, shared: [Tensor; 2]) -> Result<[ParameterId; 2]> {
    let [a, b] = shared;
    let mut put = |name: &str, tensor: Tensor| -> Result<ParameterId> {
        let id = decoder.put_parameter(name, tensor, false)?;
        form.tensors.push((name.to_owned(), Content::Parameter(id)));
        Ok(id)
    };
    Ok([put(A, a)?, put(B, b)?])
}

fn put(
    decoder: &mut Decoder,
    form: &mut Form,
    site: &Site,
    [a, b]: [ParameterId; 2],
    factors: [Tensor; 2],
) -> Result<()> {
    let [outer, inner] = factors;
    let outer = form.put(decoder, name_at(&site.name, "vera_lambda_b"), outer)?;
    let inner = form.put(decoder, name_at(&site.name, "vera_lambda_d"), inner)?;
    decoder.attach_site(&site.name, Arc::new(Shared { a, b, outer, inner }))
}

/// Reads files of this method.
pub(super) fn read(decoder: &mut Decoder, source: &mut Source<'_>) -> Result<Form> {
    decoder.refuse_interleaved("vera")?;
    source.without(&["bias", "modules_to_save"]);
    if !source.flag("save_projection", true) {
        source.refuse(
            "save_projection",
            "the random matrices are not in the file, and those of its seed are the PEFT library's own",
        );
    }
    let rank = source.count("r");
    source.settings()?;
    let names = |site: &Site| ["vera_lambda_b", "vera_lambda_d"].map(|part| name_at(&site.name, part));
    let sites: Vec<Site> =
        decoder.sites().into_iter().filter(|site| names(site).iter().any(|name| source.has(name))).collect();
    let [inputs, outputs] = most(&sites);
    let mut form = Form::default();
    let (a, b) = (source.tensor(A, &[rank, inputs])?, source.tensor(B, &[outputs, rank])?);
    let shared = match (a, b) {
        (Some(a), Some(b)) => Some(put_shared(decoder, &mut form, [a, b])?),
        _ => None,
    };
    for site in sites {
        let [outer, inner] = names(&site);
        let factors = (source.tensor(&outer, &[site.outputs])?, source.tensor(&inner, &[rank])?);
        if let ((Some(outer), Some(inner)), Some(shared)) = (factors, shared) {
            put(decoder, &mut form, &site, shared, [outer, inner])?;
        }
    }
    Ok(form)
}

/// The record of this part.
pub static PART: Part<dyn Adapter> = Part::of::<Vera>("vera", 1);
