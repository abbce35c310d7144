use super::{Adapter, Attached};
use crate::folder::{Form, Source, name_at};
use crate::targets::{self, Check};
use metier_compute::op::Activation;
use metier_compute::{ParameterId, Parameters, Tape, Tensor, Var, op};
use metier_core::part::{Build, Part};
use metier_core::seed::Seed;
use metier_core::{Place, Result};
use metier_model::layer::{Linear, SiteAdapter, StepDone, Upkeep};
use metier_model::{Decoder, Site};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::cmp::Ordering;
use std::sync::Arc;

/// # What it does
/// As `lora`, with more ranks at first; while it trains, those that matter least are taken away, wherever they are, so that layers end
/// with different ranks.
///
/// # How
/// A site adds `s · (x (E ∘ A)ᵀ) Bᵀ` to `x Wᵀ`, with `A` `[start_rank, inputs]`, `B` `[outputs, start_rank]`, both normal with the
/// deviation 0.02 at first, `E` `[start_rank, 1]`, zero at first, and `s = alpha / (start_rank + 1e-5)`. To the loss comes `orthogonal` times the mean
/// of `‖A Aᵀ - I‖` and `‖Bᵀ B - I‖` over all sites. After step `t` of `T` (from 0) each number's `I = |w g|` goes into a running mean, and the distance
/// of `I` from that into another; their product is its score, and a rank's score is that of its `E` with the mean of those
/// of its row of `A` and of its column of `B`. Every `every` steps the ranks with the least scores get `E = 0`, as many as leave `target_rank + (start_rank - target_rank) (1 -
/// (t - initial_steps) / (T - final_steps - initial_steps))³` for each site on average: all of them in the first `initial_steps`, `target_rank` in the
/// last `final_steps`, in which the choice stays.
///
/// # When to use
/// Where layers differ much in how much they have to learn, and the steps are many enough to see it. Otherwise `lora`.
///
/// # Differs from the paper in
/// Scores and schedule are those of the PEFT library. Ranks that are taken away stay in the files, as zeros.
///
/// # Source
/// Zhang et al., "Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning", arXiv 2303.10512, section 3.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Adalora {
    /// Ranks of each layer at first.
    #[schemars(range(min = 1, max = 4096))]
    pub start_rank: usize,
    /// Ranks of a layer at the end, on average.
    #[schemars(range(min = 1, max = 4096))]
    pub target_rank: usize,
    /// The addition is multiplied by `alpha / start_rank`.
    #[schemars(range(min = 0.0))]
    pub alpha: f64,
    /// Last parts of the names of the layers to adapt, or `all-linear`.
    #[schemars(length(min = 1))]
    pub targets: Vec<String>,
    /// Steps before the first rank is taken away.
    pub initial_steps: u64,
    /// Steps after the last choice.
    pub final_steps: u64,
    /// Steps between two choices.
    #[schemars(range(min = 1))]
    pub every: u64,
    /// Share of the old running mean of importance that a step keeps.
    #[schemars(range(min = 0.0, max = 0.999_999))]
    pub beta1: f64,
    /// Share of the old running mean of its distance that a step keeps.
    #[schemars(range(min = 0.0, max = 0.999_999))]
    pub beta2: f64,
    /// Weight of what keeps `A` and `B` orthogonal.
    #[schemars(range(min = 0.0))]
    pub orthogonal: f64,
}

impl Default for Adalora {
    fn default() -> Self {
        Self {
            start_rank: 12,
            target_rank: 8,
            alpha: 16.0,
            targets: targets::all(),
            initial_steps: 0,
            final_steps: 0,
            every: 1,
            beta1: 0.85,
            beta2: 0.85,
            orthogonal: 0.5,
        }
    }
}

impl Build<dyn Adapter> for Adalora {
    fn build(self, place: &Place) -> Result<Box<dyn Adapter>> {
        let mut check = Check::new(place);
        check.count("target_rank", self.target_rank);
        check.require(
            "start_rank",
            self.start_rank,
            self.start_rank >= self.target_rank,
            "it is at least `target_rank`",
        );
        check.positive("alpha", self.alpha);
        check.targets(&self.targets);
        check.require("every", self.every, self.every >= 1, "it is at least 1");
        for (key, value) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            check.require(key, value, (0.0..1.0).contains(&value), "it is at least 0 and below 1");
        }
        let is_weight = self.orthogonal.is_finite() && self.orthogonal >= 0.0;
        check.require("orthogonal", self.orthogonal, is_weight, "it is at least 0");
        check.done(Box::new(self))
    }
}

impl Adapter for Adalora {
    fn attach(&self, decoder: &mut Decoder, seed: Seed) -> Result<Attached> {
        let sites = targets::choose(decoder, &self.targets)?;
        targets::check_ranks(sites.iter().map(|site| (site, self.start_rank)))?;
        decoder.freeze();
        let config = json!({
            "init_r": self.start_rank,
            "target_r": self.target_rank,
            "lora_alpha": self.alpha,
            "lora_dropout": 0.0,
            "tinit": self.initial_steps,
            "tfinal": self.final_steps,
            "deltaT": self.every,
            "beta1": self.beta1,
            "beta2": self.beta2,
            "orth_reg_weight": self.orthogonal,
            // The PEFT library asks for it, and has no use for it once an adapter is trained.
            "total_step": self.initial_steps + self.final_steps + 1,
            "rank_pattern": null,
            "target_modules": targets::modules(decoder, &sites),
            "bias": "none",
            "fan_in_fan_out": false,
            "init_lora_weights": true,
            "modules_to_save": null,
        });
        let mut form = Form::new("ADALORA", config);
        let mut all = Vec::new();
        for site in &sites {
            let normal = |part: &str, shape: [usize; 2]| -> Result<Tensor> {
                let mut stream = seed.derive(&name_at(&site.name, part)).at(0);
                let mut tensor = Tensor::zeros(&shape)?;
                tensor.data_mut().fill_with(|| 0.02 * stream.normal() as f32);
                Ok(tensor)
            };
            let (a, b) =
                (normal("lora_A", [self.start_rank, site.inputs])?, normal("lora_B", [site.outputs, self.start_rank])?);
            let e = Tensor::zeros(&[self.start_rank, 1])?;
            all.push(put(decoder, &mut form, site, [a, b, e], scale(self.alpha, self.start_rank))?);
        }
        let upkeep = Allocation::new(self.clone(), decoder, all)?;
        decoder.attach_upkeep(Arc::new(upkeep))?;
        Ok(Attached::of(decoder, Some(form)))
    }
}

/// The factor of the addition.
fn scale(alpha: f64, rank: usize) -> f32 {
    (alpha / (rank as f64 + 1e-5)) as f32
}

/// What stands in the place of a linear layer.
#[derive(Debug, Clone, Copy)]
struct Triplets {
    /// `[rank, inputs]`.
    a: ParameterId,
    /// `[outputs, rank]`.
    b: ParameterId,
    /// `[rank, 1]`.
    e: ParameterId,
    scale: f32,
}

impl SiteAdapter for Triplets {
    fn forward(&self, tape: &mut Tape<'_>, linear: &Linear, x: Var) -> Result<Var> {
        let (a, b, e) = (tape.parameter(self.a), tape.parameter(self.b), tape.parameter(self.e));
        let plain = linear.plain(tape, x)?;
        let scaled = op::multiply(tape, a, e)?;
        let narrow = op::linear(tape, x, scaled, None)?;
        let wide = op::linear(tape, narrow, b, None)?;
        let addition = op::scale(tape, wide, self.scale)?;
        op::add(tape, plain, addition)
    }
}

/// Which ranks stay.
#[derive(Debug)]
struct Allocation {
    settings: Adalora,
    sites: Vec<Watched>,
    kept: Vec<ParameterId>,
}

/// A site, and what is known of its numbers.
#[derive(Debug)]
struct Watched {
    site: Triplets,
    /// Of `A`, `B` and `E` the running means of importance and of its distance.
    means: [[ParameterId; 2]; 3],
    /// `[rank, 1]`: 1 where a rank was left at the last choice.
    stays: ParameterId,
}

impl Allocation {
    fn new(settings: Adalora, decoder: &mut Decoder, sites: Vec<Triplets>) -> Result<Self> {
        let mut kept = Vec::new();
        let mut watched = Vec::new();
        for site in sites {
            let mut keep = |id: ParameterId, what: &str, value: f32| -> Result<ParameterId> {
                let (name, shape) =
                    (format!("{} {what}", decoder.parameters.name(id)), decoder.parameters.get(id).shape().to_vec());
                let id = decoder.put_parameter(&name, Tensor::full(&shape, value)?, false)?;
                kept.push(id);
                Ok(id)
            };
            let mut means = |id: ParameterId| -> Result<[ParameterId; 2]> {
                Ok([keep(id, "importance", 0.0)?, keep(id, "distance", 0.0)?])
            };
            let means = [means(site.a)?, means(site.b)?, means(site.e)?];
            watched.push(Watched { site, means, stays: keep(site.e, "stays", 1.0)? });
        }
        Ok(Self { settings, sites: watched, kept })
    }

    /// How many ranks all sites have together after a step.
    fn budget(&self, step: u64, steps: u64) -> usize {
        let (start, target) =
            (self.settings.start_rank * self.sites.len(), self.settings.target_rank * self.sites.len());
        let (initial, last) = (self.settings.initial_steps, steps.saturating_sub(self.settings.final_steps));
        if step <= initial {
            return start;
        }
        if step >= last {
            return target;
        }
        let rest = 1.0 - (step - initial) as f64 / (last - initial) as f64;
        ((start - target) as f64 * rest.powi(3) + target as f64) as usize
    }

    /// Brings the running means up to date.
    fn watch(&self, parameters: &mut Parameters, done: StepDone<'_>) {
        let (beta1, beta2) = (self.settings.beta1 as f32, self.settings.beta2 as f32);
        for Watched { site, means, .. } in &self.sites {
            for (id, [importance, distance]) in [site.a, site.b, site.e].into_iter().zip(means) {
                let Some(gradient) = done.gradients.get(id) else { continue };
                let weight = parameters.get(id).clone();
                let products = weight.data().iter().zip(gradient.data());
                let now: Vec<f32> = products.map(|(weight, gradient)| (weight * gradient * done.scale).abs()).collect();
                let mean = parameters.get_mut(*importance).data_mut();
                mean.iter_mut().zip(&now).for_each(|(mean, now)| *mean = beta1 * *mean + (1.0 - beta1) * now);
                let apart: Vec<f32> = mean.iter().zip(&now).map(|(mean, now)| (now - mean).abs()).collect();
                let mean = parameters.get_mut(*distance).data_mut();
                mean.iter_mut().zip(&apart).for_each(|(mean, apart)| *mean = beta2 * *mean + (1.0 - beta2) * apart);
            }
        }
    }

    /// The score of each rank of a site.
    fn scores(parameters: &Parameters, watched: &Watched) -> Vec<f32> {
        let scores = |[importance, distance]: [ParameterId; 2]| -> Vec<f32> {
            let (importance, distance) = (parameters.get(importance).data(), parameters.get(distance).data());
            importance.iter().zip(distance).map(|(importance, distance)| importance * distance).collect()
        };
        let [a, b, e] = watched.means.map(scores);
        let (rank, count) = (e.len(), e.len().max(1));
        let (inputs, outputs) = (a.len() / count, b.len() / count);
        let of_rank = |number: usize| {
            let row: f32 = a[number * inputs..(number + 1) * inputs].iter().sum();
            let column: f32 = b.iter().skip(number).step_by(count).sum();
            e[number] + (row / inputs as f32 + column / outputs as f32)
        };
        (0..rank).map(of_rank).collect()
    }

    /// Leaves the ranks with the greatest scores.
    fn choose(&self, parameters: &mut Parameters, budget: usize) {
        let scores: Vec<Vec<f32>> = self.sites.iter().map(|site| Self::scores(parameters, site)).collect();
        let mut sorted: Vec<f32> = scores.iter().flatten().copied().collect();
        sorted.sort_unstable_by(f32::total_cmp);
        let threshold = sorted.len().checked_sub(budget + 1).map(|at| sorted[at]);
        for (site, scores) in self.sites.iter().zip(scores) {
            let stays = scores.iter().map(|score| threshold.is_none_or(|threshold| *score > threshold));
            let marks = parameters.get_mut(site.stays).data_mut();
            marks.iter_mut().zip(stays).for_each(|(mark, stays)| *mark = f32::from(u8::from(stays)));
        }
        self.clear(parameters);
    }

    /// Makes `E` zero where a rank was taken away.
    fn clear(&self, parameters: &mut Parameters) {
        for site in &self.sites {
            let marks = parameters.get(site.stays).clone();
            let e = parameters.get_mut(site.site.e).data_mut();
            e.iter_mut().zip(marks.data()).filter(|(_, mark)| **mark < 0.5).for_each(|(e, _)| *e = 0.0);
        }
    }
}

impl Upkeep for Allocation {
    fn penalty(&self, tape: &mut Tape<'_>) -> Result<Var> {
        let mut sum = tape.constant(Tensor::zeros(&[1])?);
        for Watched { site, .. } in &self.sites {
            let (a, b) = (tape.parameter(site.a), tape.parameter(site.b));
            let b = op::permute(tape, b, &[1, 0])?;
            for rows in [a, b] {
                let rank = tape.shape(rows)?[0];
                let mut identity = Tensor::zeros(&[rank, rank])?;
                identity.data_mut().iter_mut().step_by(rank + 1).for_each(|value| *value = 1.0);
                let identity = tape.constant(identity);
                let products = op::linear(tape, rows, rows, None)?;
                let apart = op::subtract(tape, products, identity)?;
                let squares = op::activation(tape, apart, Activation::Square)?;
                let total = op::sum(tape, squares)?;
                let total = op::reshape(tape, total, &[1])?;
                let length = op::activation(tape, total, Activation::Sqrt)?;
                sum = op::add(tape, sum, length)?;
            }
        }
        op::scale(tape, sum, (self.settings.orthogonal / (2 * self.sites.len()).max(1) as f64) as f32)
    }

    fn after_step(&self, parameters: &mut Parameters, done: StepDone<'_>) -> Result<()> {
        let StepDone { step, steps, .. } = done;
        let last = steps.saturating_sub(self.settings.final_steps);
        match step.cmp(&last) {
            Ordering::Less => {
                self.watch(parameters, done);
                if step > self.settings.initial_steps && step.is_multiple_of(self.settings.every) {
                    self.choose(parameters, self.budget(step, steps));
                }
            }
            Ordering::Equal => self.choose(parameters, self.budget(step, steps)),
            Ordering::Greater => self.clear(parameters),
        }
        Ok(())
    }

    fn kept(&self) -> &[ParameterId] {
        &self.kept
    }
}

/// Puts the three tensors of a site into the model, and in its place what they make.
fn put(decoder: &mut Decoder, form: &mut Form, site: &Site, tensors: [Tensor; 3], scale: f32) -> Result<Triplets> {
    let [a, b, e] = tensors;
    let b = decoder.in_order_of(&site.name, b)?;
    let mut put = |part: &str, tensor| form.put(decoder, name_at(&site.name, part), tensor);
    let triplets = Triplets { a: put("lora_A", a)?, b: put("lora_B", b)?, e: put("lora_E", e)?, scale };
    decoder.attach_site(&site.name, Arc::new(triplets))?;
    Ok(triplets)
}

/// Reads files of this method. Ranks that were taken away may be missing in them.
pub(super) fn read(decoder: &mut Decoder, source: &mut Source<'_>) -> Result<Form> {
    source.without(&[
        "bias",
        "layer_replication",
        "lora_bias",
        "modules_to_save",
        "target_parameters",
        "use_dora",
        "use_rslora",
    ]);
    let scale = scale(source.number("lora_alpha"), source.count("init_r"));
    source.settings()?;
    let mut form = Form::default();
    for site in decoder.sites() {
        let names = ["lora_A", "lora_B", "lora_E"].map(|part| name_at(&site.name, part));
        if !names.iter().any(|name| source.has(name)) {
            continue;
        }
        let rank = source.shape(&names[2]).and_then(|shape| shape.first().copied()).unwrap_or(1);
        let a = source.tensor(&names[0], &[rank, site.inputs])?;
        let b = source.tensor(&names[1], &[site.outputs, rank])?;
        let e = source.tensor(&names[2], &[rank, 1])?;
        // A layer whose ranks were all taken away is as it was.
        if let (Some(a), Some(b), Some(e), true) = (a, b, e, rank > 0) {
            put(decoder, &mut form, &site, [a, b, e], scale)?;
        }
    }
    Ok(form)
}

/// The record of this part.
pub static PART: Part<dyn Adapter> = Part::of::<Adalora>("adalora", 1);
