use super::{Adapter, Attached, dora};
use crate::folder::{Form, Source, name_at};
use crate::targets::{self, Check};
use metier_compute::{ParameterId, Tape, Tensor, Var, op};
use metier_core::part::{Build, Part};
use metier_core::seed::Seed;
use metier_core::{Place, Result};
use metier_model::layer::{Linear, LowRank, SiteAdapter};
use metier_model::{Decoder, Site};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// # What it does
/// Freezes the model and trains a product of two thin matrices beside chosen linear layers.
///
/// # How
/// A site with the weight `W` `[outputs, inputs]` computes `y = x Wᵀ + s · (drop(x) Aᵀ) Bᵀ`, with `A`
/// `[rank, inputs]`, `B` `[outputs, rank]` and `s = alpha / rank`, or `alpha / √rank` where it is stabilized. `A` begins uniform
/// in `±1/√inputs`, `B` begins at zero, so that
/// training begins at the model as it was. Folding adds `s · B A` to `W`, in f32, ranks in order.
///
/// # When to use
/// When memory or text is short: gradients and moments are kept for about one number in a hundred, and what
/// the model knew before is disturbed less than by `full`.
///
/// # Differs from the paper in
/// The paper adapts query and value projections and draws `A` from a normal distribution; here all
/// linear layers of a block are adapted unless `targets` says otherwise, and `A` is uniform as in the PEFT
/// library. Embeddings are not adapted.
///
/// # Source
/// Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", arXiv 2106.09685, section 4.1. The stabilized factor:
/// Kalajdzievski, arXiv 2312.03732.
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
    /// The share of numbers before `A` that a training step leaves out.
    #[schemars(range(min = 0.0, max = 0.999_999))]
    pub dropout: f64,
    /// Whether the addition is multiplied by `alpha / √rank` instead, which keeps its size at high ranks.
    pub rank_stabilized: bool,
    /// Other ranks for some layers, by last parts of their names.
    pub rank_pattern: BTreeMap<String, usize>,
    /// Other `alpha`s for some layers, by last parts of their names.
    pub alpha_pattern: BTreeMap<String, f64>,
}

impl Default for Lora {
    fn default() -> Self {
        Self {
            rank: 8,
            alpha: 16.0,
            targets: targets::all(),
            dropout: 0.0,
            rank_stabilized: false,
            rank_pattern: BTreeMap::new(),
            alpha_pattern: BTreeMap::new(),
        }
    }
}

impl Build<dyn Adapter> for Lora {
    fn build(self, place: &Place) -> Result<Box<dyn Adapter>> {
        self.check(place)?;
        Ok(Box::new(self))
    }
}

impl Lora {
    /// Refuses numbers out of their ranges, all of them together.
    pub(super) fn check(&self, place: &Place) -> Result<()> {
        let mut check = Check::new(place);
        check.count("rank", self.rank);
        check.positive("alpha", self.alpha);
        check.targets(&self.targets);
        check.dropout(self.dropout);
        self.rank_pattern.iter().for_each(|(key, rank)| check.count(&format!("rank_pattern.{key}"), *rank));
        self.alpha_pattern.iter().for_each(|(key, alpha)| check.positive(&format!("alpha_pattern.{key}"), *alpha));
        check.done(())
    }

    /// Rank and factor of a site. The longest pattern that fits it decides.
    pub(crate) fn at(&self, site: &str) -> (usize, f32) {
        let rank = of_pattern(&self.rank_pattern, site).unwrap_or(self.rank);
        let alpha = of_pattern(&self.alpha_pattern, site).unwrap_or(self.alpha);
        let width = if self.rank_stabilized { (rank as f64).sqrt() } else { rank as f64 };
        (rank, (alpha / width) as f32)
    }

    /// Attaches to each chosen site what `make` makes of its matrices.
    pub(super) fn attach_with(
        &self,
        decoder: &mut Decoder,
        seed: Seed,
        is_dora: bool,
        make: impl Fn(&mut Decoder, &mut Form, &Site, LowRank) -> Result<Arc<dyn SiteAdapter>>,
    ) -> Result<Attached> {
        let sites = targets::choose(decoder, &self.targets)?;
        targets::check_ranks(sites.iter().map(|site| (site, self.at(&site.name).0)))?;
        decoder.freeze();
        let mut form = Form::new("LORA", self.config(&targets::modules(decoder, &sites), is_dora));
        for site in sites {
            let (rank, scale) = self.at(&site.name);
            let mut stream = seed.derive(&site.name).at(0);
            let bound = 1.0 / (site.inputs as f64).sqrt();
            let mut a = Tensor::zeros(&[rank, site.inputs])?;
            a.data_mut().fill_with(|| ((2.0 * stream.unit() - 1.0) * bound) as f32);
            let b = Tensor::zeros(&[site.outputs, rank])?;
            let low_rank = put(decoder, &mut form, &site, a, b, scale)?;
            let adapter = make(decoder, &mut form, &site, low_rank)?;
            decoder.attach_site(&site.name, adapter)?;
        }
        Ok(Attached::of(decoder, Some(form)))
    }

    fn config(&self, targets: &[String], is_dora: bool) -> Value {
        json!({
            "r": self.rank,
            "lora_alpha": self.alpha,
            "lora_dropout": self.dropout,
            "target_modules": targets,
            "rank_pattern": self.rank_pattern,
            "alpha_pattern": self.alpha_pattern,
            "bias": "none",
            "fan_in_fan_out": false,
            "init_lora_weights": true,
            "modules_to_save": null,
            "use_dora": is_dora,
            "use_rslora": self.rank_stabilized,
        })
    }

    /// What stands in the place of a site.
    fn adapter(&self, site: &str, low_rank: LowRank) -> Arc<dyn SiteAdapter> {
        match Dropout::new(self.dropout, site) {
            None => Arc::new(low_rank),
            Some(dropout) => Arc::new(Dropped { low_rank, dropout }),
        }
    }
}

impl Adapter for Lora {
    fn attach(&self, decoder: &mut Decoder, seed: Seed) -> Result<Attached> {
        self.attach_with(decoder, seed, false, |_, _, site, low_rank| Ok(self.adapter(&site.name, low_rank)))
    }
}

/// The value of the longest pattern that a name ends with.
fn of_pattern<T: Copy>(patterns: &BTreeMap<String, T>, site: &str) -> Option<T> {
    let fitting = patterns.iter().filter(|(pattern, _)| targets::ends_with(site, pattern));
    fitting.max_by_key(|(pattern, _)| pattern.len()).map(|(_, value)| *value)
}

/// What a training step leaves out before an adapter.
#[derive(Debug, Clone)]
pub(super) struct Dropout {
    rate: f32,
    site: String,
}

impl Dropout {
    pub(super) fn new(rate: f64, site: &str) -> Option<Self> {
        (rate > 0.0).then(|| Self { rate: rate as f32, site: site.to_owned() })
    }

    /// `x` with some numbers left out, on a tape that has noise; `None` on any other.
    pub(super) fn forward(&self, tape: &mut Tape<'_>, x: Var) -> Result<Option<Var>> {
        let Some(noise) = tape.noise() else { return Ok(None) };
        op::dropout(tape, x, self.rate, &noise.derive(&self.site)).map(Some)
    }
}

/// A low-rank addition of what dropout leaves.
#[derive(Debug)]
struct Dropped {
    low_rank: LowRank,
    dropout: Dropout,
}

impl SiteAdapter for Dropped {
    fn forward(&self, tape: &mut Tape<'_>, linear: &Linear, x: Var) -> Result<Var> {
        let Some(dropped) = self.dropout.forward(tape, x)? else { return self.low_rank.forward(tape, linear, x) };
        let (a, b) = (tape.parameter(self.low_rank.a), tape.parameter(self.low_rank.b));
        let plain = linear.plain(tape, x)?;
        let narrow = op::linear(tape, dropped, a, None)?;
        let wide = op::linear(tape, narrow, b, None)?;
        let addition = op::scale(tape, wide, self.low_rank.scale)?;
        op::add(tape, plain, addition)
    }
}

/// Puts both matrices of a site into the model.
fn put(decoder: &mut Decoder, form: &mut Form, site: &Site, a: Tensor, b: Tensor, scale: f32) -> Result<LowRank> {
    let b = decoder.in_order_of(&site.name, b)?;
    let mut put =
        |part: &str, tensor: Tensor| -> Result<ParameterId> { form.put(decoder, name_at(&site.name, part), tensor) };
    Ok(LowRank { a: put("lora_A.weight", a)?, b: put("lora_B.weight", b)?, scale })
}

/// The settings of files of `lora` and `dora`; faults are noted in `source`.
pub(crate) fn settings(source: &mut Source<'_>) -> Lora {
    source.without(&[
        "alora_invocation_tokens",
        "arrow_config",
        "bias",
        "kasa_config",
        "layer_replication",
        "lora_bias",
        "modules_to_save",
        "monteclora_config",
        "target_parameters",
        "trainable_token_indices",
        "use_bdlora",
        "use_qalora",
        "velora_config",
    ]);
    // These change the base model's own weights when the adapter is made.
    let start = source.value("init_lora_weights").clone();
    if start.as_str().is_some_and(|name| !["eva", "gaussian", "lora_ga", "orthogonal"].contains(&name)) {
        source.refuse("init_lora_weights", format!("{start} is not built: its base is no longer the model named here"));
    }
    Lora {
        rank: source.count("r"),
        alpha: source.number("lora_alpha"),
        dropout: if source.value("lora_dropout").is_null() { 0.0 } else { source.number("lora_dropout") },
        rank_stabilized: source.flag("use_rslora", false),
        rank_pattern: patterns(source, "rank_pattern", |value| {
            value.as_u64().filter(|rank| *rank > 0).map(|rank| rank as usize)
        }),
        alpha_pattern: patterns(source, "alpha_pattern", Value::as_f64),
        ..Lora::default()
    }
}

/// Reads files of `lora` and `dora`.
pub(super) fn read(decoder: &mut Decoder, source: &mut Source<'_>) -> Result<Form> {
    let lora = settings(source);
    let is_dora = source.flag("use_dora", false);
    source.settings()?;
    let mut form = Form::default();
    for site in decoder.sites() {
        let names = ["lora_A.weight", "lora_B.weight"].map(|part| name_at(&site.name, part));
        if !names.iter().any(|name| source.has(name)) {
            continue;
        }
        let (rank, scale) = lora.at(&site.name);
        let a = source.tensor(&names[0], &[rank, site.inputs])?;
        let b = source.tensor(&names[1], &[site.outputs, rank])?;
        let magnitude = if is_dora { dora::read(source, &site)? } else { None };
        let (Some(a), Some(b)) = (a, b) else { continue };
        let low_rank = put(decoder, &mut form, &site, a, b, scale)?;
        let adapter = match magnitude {
            Some(magnitude) => dora::put(decoder, &mut form, &site, low_rank, magnitude, lora.dropout)?,
            None => lora.adapter(&site.name, low_rank),
        };
        decoder.attach_site(&site.name, adapter)?;
    }
    Ok(form)
}

/// The values of a key that maps names of layers; what is none is noted.
fn patterns<T>(source: &mut Source<'_>, key: &str, read: impl Fn(&Value) -> Option<T>) -> BTreeMap<String, T> {
    let mut found = BTreeMap::new();
    let Some(entries) = source.value(key).as_object().cloned() else { return found };
    for (name, value) in entries {
        let is_plain = name.chars().all(|letter| letter.is_alphanumeric() || "._-".contains(letter));
        match read(&value) {
            Some(value) if is_plain => drop(found.insert(name, value)),
            Some(_) => source.refuse(key, format!("`{name}` is a regular expression, which is not built")),
            None => source.refuse(key, format!("{value} is no value for `{name}`")),
        }
    }
    found
}

/// The record of this part.
pub static PART: Part<dyn Adapter> = Part::of::<Lora>("lora", 1);
