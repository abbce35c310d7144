//! Which units of a model matter for a text, found without labels.
//!
//! Method: Zhang et al., "Balancing Speciality and Versatility" (`CoFiTune`), arXiv:2404.10306, its fine level.

use crate::objective::{Causal, Objective, Reading, divergence};
use crate::reader::Reader;
use crate::sampler::{Packed, Request, Sampler};
use crate::settings::key_place;
use crate::sources::Sources;
use metier_compute::op::{self, Span};
use metier_compute::{Gradients, ParameterId, Tape, Tensor, Var};
use metier_core::progress::Progress;
use metier_core::seed::Seed;
use metier_core::{Error, Fault, Place, Result, stop, store};
use metier_model::layer::{Linear, Part, SiteAdapter};
use metier_model::{Batch, Decoder, Fingerprint, Site};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

/// The key of a file's metadata that tells the model.
const BASE: &str = "base";
/// What the divergence is multiplied by: only how it compares with rounding depends on it.
const FACTOR: f32 = 0.1;
/// Rows whose logits stand in memory together.
const ROWS: usize = 64;

/// Units of a block that have an importance each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// Numbers inside the feed-forward block: rows of the up projection.
    Inner,
    /// Numbers that the feed-forward block makes: rows of the down projection.
    Output,
    /// Heads of attention.
    Heads,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Inner, Self::Output, Self::Heads];

    /// Its word in files.
    pub fn word(self) -> &'static str {
        match self {
            Self::Inner => "inner",
            Self::Output => "output",
            Self::Heads => "heads",
        }
    }

    /// Units of a block.
    pub fn units(self, decoder: &Decoder) -> usize {
        let config = decoder.config();
        match self {
            Self::Inner => config.intermediate_size,
            Self::Output => config.hidden_size,
            Self::Heads => config.heads,
        }
    }

    /// The layer that its factors are put on while importance is measured.
    fn part(self) -> Part {
        match self {
            Self::Inner => Part::Up,
            Self::Output => Part::Down,
            Self::Heads => Part::Output,
        }
    }
}

/// How importance is measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ImportanceSettings {
    /// Windows at most; none is seen twice.
    #[schemars(range(min = 1))]
    pub windows: u64,
    /// Tokens in a window.
    #[schemars(range(min = 2, max = 16_777_216))]
    pub context: usize,
    /// The share of attention's probabilities, and of what feed-forward blocks make, that each of the two passes leaves out.
    #[schemars(range(min = 0.0, max = 0.999_999))]
    pub dropout: f64,
}

impl Default for ImportanceSettings {
    fn default() -> Self {
        Self { windows: 256, context: 512, dropout: 0.003 }
    }
}

impl ImportanceSettings {
    /// Refuses values out of range, all of them together; `place` is where the settings were written.
    pub fn check(&self, place: &Place) -> Result<()> {
        let mut faults = Vec::new();
        let mut require = |key: &str, value: String, is_good: bool, hint: &str| {
            if !is_good {
                faults.push(Fault::new(key_place(place, key), format!("{value} is out of range")).hint(hint));
            }
        };
        require("windows", self.windows.to_string(), self.windows >= 1, "write at least 1");
        require("context", self.context.to_string(), (2..=1 << 24).contains(&self.context), "write at least 2");
        let is_rate = self.dropout > 0.0 && self.dropout < 1.0;
        let hint = "write a number above 0 and below 1; with 0 both passes are the same, and every importance is 0";
        require("dropout", self.dropout.to_string(), is_rate, hint);
        Error::collect((), faults)
    }
}

/// The importance of each unit of a model for a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Importance {
    /// What tells the model.
    pub base: Fingerprint,
    /// By block and family, one number a unit: the mean over the tokens of the divergence's derivative.
    pub units: BTreeMap<(usize, Family), Vec<f32>>,
}

/// What a measurement went through.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// Tokens.
    pub tokens: u64,
    /// Mean divergence of the two passes, in nats per token.
    pub divergence: f64,
}

impl Importance {
    /// Measures the importance of units for the documents of `sources`.
    ///
    /// A factor of 1 is put on each inner number and each output of the feed-forward blocks and on each head. Each window goes
    /// through the model twice with dropout; the loss is `0.1 KL(p2 || p1)`, summed over its tokens, and the importance of a unit
    /// the sum over the windows of its factor's derivative, through both passes, divided by the number of tokens. The model is
    /// left frozen, without the factors.
    ///
    /// # Errors
    /// When the model has no such layers of their own, all importances are 0, a number is not finite, or `stop` says so.
    ///
    /// # Source
    /// arXiv:2404.10306, fine-grained importance; after Ke et al., *Continual Pre-training of Language Models*, arXiv:2302.03241, section 3.1.
    pub fn measure<'a>(
        decoder: &mut Decoder,
        sources: impl Into<Sources<'a>>,
        settings: &ImportanceSettings,
        seed: Seed,
        stop: &dyn Fn() -> bool,
    ) -> Result<(Self, Measured)> {
        settings.check(&Place::default())?;
        let sources = &sources.into();
        let stream = sources.stream(settings.context)?;
        let base = decoder.fingerprint();
        let factors = put(decoder, settings.dropout as f32)?;
        let all = Packed {}.steps_per_epoch(&stream, settings.context, 1).unwrap_or(0.0) as u64;
        let windows = settings.windows.min(all);
        let progress = Progress::new("importance", Some(windows), "windows");
        let reader = Reader::new(sources, &stream, Reading::Forward, seed);
        let mut gradients = Gradients::new();
        let (mut tokens, mut sum) = (0, 0.0);
        for step in 0..windows {
            if stop() {
                return Err(stop::interrupted());
            }
            let request = Request { step, sequences: 1, context: settings.context, seed: seed.derive("sampler") };
            let window = Packed {}.windows(&stream, &request);
            let rows = Causal {}.batch(&reader.segments(&window, step)?)?.rows;
            let noise = Seed::new(seed.derive("noise").at(step).bits());
            let mut tape = Tape::training(&decoder.parameters);
            let loss = twice(decoder, &mut tape, &rows, noise)?;
            let value = tape.value(loss)?.item()?;
            tape.backward(loss, &mut gradients)?;
            if !value.is_finite() || !gradients.norm().is_finite() {
                return Err(Error::user(Place::key(format!("window {step}")), "the importance is not finite")
                    .hint("the model or the text is broken; look at it with `metier eval`"));
            }
            tokens += rows.ids.len() as u64;
            sum += f64::from(value / FACTOR);
            progress.add(1);
        }
        progress.finish();
        let share = 1.0 / tokens.max(1) as f32;
        let of = |id: ParameterId| {
            let gradient = gradients.get(id).map_or(&[][..], Tensor::data);
            gradient.iter().map(|value| value * share).collect::<Vec<f32>>()
        };
        let units: BTreeMap<_, _> = factors.into_iter().map(|(unit, id)| (unit, of(id))).collect();
        decoder.detach();
        decoder.set_attention_dropout(0.0);
        if units.values().flatten().all(|value| *value == 0.0) {
            let message = "every importance is 0: both passes through the model came to the same";
            return Err(Error::user(Place::key("dropout"), message).hint("set `dropout` above 0, such as 0.003"));
        }
        Ok((Self { base, units }, Measured { tokens, divergence: sum / tokens.max(1) as f64 }))
    }

    /// Writes it as safetensors: a tensor `<block>.<family>` for each.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let bytes: Vec<_> = self
            .units
            .iter()
            .map(|(unit, values)| {
                (
                    tensor_name(*unit),
                    values.len(),
                    values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>(),
                )
            })
            .collect();
        let views = bytes
            .iter()
            .map(|(name, length, values)| Ok((name.as_str(), TensorView::new(Dtype::F32, vec![*length], values)?)));
        let about = HashMap::from([(BASE.to_owned(), serde_json::json!(self.base).to_string())]);
        let written = views
            .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
            .and_then(|views| safetensors::serialize(views, Some(about)))
            .map_err(|error| Error::program(format!("the importances: {error}")))?;
        store::write_atomic(path, written)
    }

    /// Reads what [`Importance::save`] wrote for this model.
    ///
    /// # Errors
    /// When the file is broken or of another model, and for each tensor that is missing or has another length, all of them together.
    pub fn read(path: &Path, decoder: &Decoder) -> Result<Self> {
        let map = store::map_file(path)?;
        let broken = |error: &dyn std::fmt::Display| {
            Error::file(path, format!("it holds no importances: {error}")).hint("name what a stage `importance` wrote")
        };
        let file = SafeTensors::deserialize(&map).map_err(|error| broken(&error))?;
        let (_, about) = SafeTensors::read_metadata(&map).map_err(|error| broken(&error))?;
        let base = about.metadata().as_ref().and_then(|about| about.get(BASE)).map_or("null", String::as_str);
        let base: Fingerprint = serde_json::from_str(base).map_err(|error| broken(&error))?;
        if !base.agrees_with(&decoder.fingerprint()) {
            return Err(Error::file(path, "the importances are those of another model")
                .hint("measure them on the model that is trained here"));
        }
        let (mut units, mut faults) = (BTreeMap::new(), Vec::new());
        for (block, family) in self::units(decoder) {
            let (name, wanted) = (tensor_name((block, family)), [family.units(decoder)]);
            let message = match file.tensor(&name) {
                Err(_) => format!("the tensor is missing, its shape would be {wanted:?}"),
                Ok(view) if view.shape() != wanted || view.dtype() != Dtype::F32 => {
                    format!("the tensor has the shape {:?} of {:?}, not {wanted:?} of F32", view.shape(), view.dtype())
                }
                Ok(view) => {
                    let values = view.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
                    let values: Vec<f32> = values.collect();
                    if values.iter().all(|value| value.is_finite()) {
                        units.insert((block, family), values);
                        continue;
                    }
                    "it has numbers that are not finite".to_owned()
                }
            };
            faults.push(Fault::new(Place::file(path).with_key(name), message));
        }
        Error::collect(Self { base, units }, faults)
    }
}

/// Every block and family of a model.
pub(crate) fn units(decoder: &Decoder) -> impl Iterator<Item = (usize, Family)> + use<> {
    (0..decoder.config().layers).flat_map(|block| Family::ALL.map(|family| (block, family)))
}

fn tensor_name((block, family): (usize, Family)) -> String {
    format!("{block}.{}", family.word())
}

/// The one layer of a block that does this.
///
/// # Errors
/// When the model has none, or several.
pub(crate) fn layer(sites: &[Site], block: usize, part: Part) -> Result<&Site> {
    let mut found = sites.iter().filter(|site| site.part == part && site.block() == Some(block));
    if let (Some(site), None) = (found.next(), found.next()) {
        return Ok(site);
    }
    let message = format!("block {block} has no single layer {part:?} whose units could have an importance");
    Err(Error::user(Place::key("model"), message)
        .hint("it takes a model without experts whose projections are layers of their own, such as a Llama"))
}

/// Puts factors of 1 into a frozen model, and dropout.
fn put(decoder: &mut Decoder, dropout: f32) -> Result<BTreeMap<(usize, Family), ParameterId>> {
    let sites = decoder.sites();
    decoder.freeze();
    decoder.set_attention_dropout(dropout);
    let mut placed = BTreeMap::new();
    for (block, family) in units(decoder) {
        let site = &layer(&sites, block, family.part())?.name;
        let ones = Tensor::full(&[family.units(decoder)], 1.0)?;
        let factors = decoder.put_parameter(&format!("importance.{}", tensor_name((block, family))), ones, true)?;
        decoder.attach_site(site, Arc::new(Factors { family, ones: factors, dropout }))?;
        placed.insert((block, family), factors);
    }
    Ok(placed)
}

/// What stands in the place of a linear layer while importance is measured.
#[derive(Debug)]
struct Factors {
    family: Family,
    /// One for each unit.
    ones: ParameterId,
    dropout: f32,
}

impl SiteAdapter for Factors {
    fn forward(&self, tape: &mut Tape<'_>, linear: &Linear, x: Var) -> Result<Var> {
        let factors = tape.parameter(self.ones);
        if self.family == Family::Heads {
            // What a head gathers is linear in its probabilities, which the factor is for.
            let (&[rows, width], &[heads]) = (tape.shape(x)?, tape.shape(factors)?) else {
                return Err(Error::program("heads have factors of another shape"));
            };
            let by_head = op::reshape(tape, x, &[rows, heads, width / heads])?;
            let factors = op::reshape(tape, factors, &[heads, 1])?;
            let scaled = op::multiply(tape, by_head, factors)?;
            let x = op::reshape(tape, scaled, &[rows, width])?;
            return linear.plain(tape, x);
        }
        let y = linear.plain(tape, x)?;
        let y = op::multiply(tape, y, factors)?;
        match tape.noise().filter(|_| self.family == Family::Output) {
            Some(noise) => op::dropout(tape, y, self.dropout, &noise.derive(&linear.site)),
            None => Ok(y),
        }
    }
}

/// `0.1 KL(p2 || p1)` of two passes with noise of their own, summed over rows: one element.
fn twice<'p>(decoder: &'p Decoder, tape: &mut Tape<'p>, rows: &Batch, noise: Seed) -> Result<Var> {
    let mut pass = |name: &str| {
        tape.set_noise(Some(noise.derive(name)));
        decoder.hidden(tape, &rows.ids, &rows.positions, &rows.sequences)
    };
    let (first, second) = (pass("first")?, pass("second")?);
    let (count, width) = (rows.ids.len(), decoder.config().hidden_size);
    let mut sum = tape.constant(Tensor::zeros(&[1])?);
    for from in (0..count).step_by(ROWS) {
        let mut some =
            |hidden: Var| op::slice(tape, hidden, &[Span::from(from..count.min(from + ROWS)), (0..width).into()]);
        let inputs = [some(first)?, some(second)?];
        let part = tape.checkpoint(&inputs, move |tape, inputs| {
            let mut log = |hidden: Var| {
                let logits = decoder.logits_on(tape, hidden)?;
                op::log_softmax(tape, logits)
            };
            let (first, second) = (log(inputs[0])?, log(inputs[1])?);
            let apart = divergence(tape, second, first)?;
            let sum = op::sum(tape, apart)?;
            op::reshape(tape, sum, &[1])
        })?;
        sum = op::add(tape, sum, part)?;
    }
    op::scale(tape, sum, FACTOR)
}

#[cfg(test)]
mod tests {
    use super::*;
    use metier_model::Config;
    use metier_testkit::assert_close;

    #[test]
    fn importance_is_the_slope_of_the_divergence() {
        let config = Config {
            vocabulary_size: 20,
            hidden_size: 8,
            intermediate_size: 6,
            layers: 2,
            heads: 4,
            kv_heads: 2,
            head_dim: 2,
            context_length: 16,
            norm_epsilon: 1e-5,
            rope_theta: 10_000.0,
            tied_embeddings: true,
            ..Config::default()
        };
        let mut decoder = Decoder::random(&config, Seed::new(3)).unwrap();
        let matrices = decoder.parameters.iter().filter(|(_, _, tensor, _)| tensor.shape().len() == 2);
        for id in matrices.map(|(id, ..)| id).collect::<Vec<_>>() {
            for value in decoder.parameters.get_mut(id).data_mut() {
                *value *= 12.0;
            }
        }
        let factors = put(&mut decoder, 0.2).unwrap();
        let rows = Batch {
            ids: vec![3, 7, 1, 9, 4, 4, 2],
            positions: vec![0, 1, 2, 3, 0, 1, 2],
            sequences: vec![0..4, 4..7],
            ..Batch::default()
        };
        let loss = |decoder: &Decoder, gradients: Option<&mut Gradients>| {
            let mut tape = Tape::training(&decoder.parameters);
            let loss = twice(decoder, &mut tape, &rows, Seed::new(1)).unwrap();
            let value = f64::from(tape.value(loss).unwrap().item().unwrap());
            if let Some(gradients) = gradients {
                tape.backward(loss, gradients).unwrap();
            }
            value
        };
        let mut gradients = Gradients::new();
        loss(&decoder, Some(&mut gradients));
        // Factors alone learn.
        assert_eq!(gradients.iter().count(), factors.len());
        for ((block, family), id) in factors {
            let of_all = gradients.get(id).unwrap().data().to_vec();
            let longest = of_all.iter().fold(0.0_f64, |most, value| most.max(f64::from(value.abs())));
            for (unit, gradient) in of_all.into_iter().enumerate() {
                const STEP: f32 = 1.0 / 64.0;
                let mut at = |value: f32| {
                    decoder.parameters.get_mut(id).data_mut()[unit] = value;
                    loss(&decoder, None)
                };
                let slope = (at(1.0 + STEP) - at(1.0 - STEP)) / f64::from(2.0 * STEP);
                at(1.0);
                let name = format!("block {block} {family:?} {unit}");
                assert_close(&name, &[gradient], &[slope], 0.02 * longest + 1e-4, 0.02);
            }
        }
    }
}
