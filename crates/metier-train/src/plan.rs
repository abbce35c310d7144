//! What a run will cost, before it starts.

use crate::learner::is_of_vocabulary;
use crate::objective::Other;
use crate::optimizer::Weights;
use crate::rates::shares;
use crate::sampler::Stream;
use crate::settings::{Parts, TrainSettings};
use metier_core::{Error, Place, Result};
use metier_model::Decoder;
use serde::Serialize;

/// What a run will cost.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// Number of steps.
    pub steps: u64,
    /// Tokens gone through, all steps together.
    pub tokens: u64,
    /// Passes over the documents, where they are known and the sampler makes any.
    pub epochs: Option<f64>,
    /// Number of weights in all.
    pub parameters: u64,
    /// Number of weights that will be changed.
    pub trainable: u64,
    /// Floating-point operations of all steps.
    pub flop: f64,
    /// Memory of all weights.
    pub weight_bytes: u64,
    /// Memory of the gradients, of what the optimizer keeps and of the average of the weights.
    pub state_bytes: u64,
    /// Memory of the activations of one group of windows.
    pub activation_bytes: u64,
    /// Disk space of the checkpoints: two that are kept and one being written, and as many of weights alone where a loss is guarded.
    pub checkpoint_bytes: u64,
}

impl Plan {
    /// Memory at the peak of a step.
    pub fn memory_bytes(&self) -> u64 {
        self.weight_bytes.saturating_add(self.state_bytes).saturating_add(self.activation_bytes)
    }

    /// Duration at a number of floating-point operations a second.
    pub fn seconds(&self, flop_per_second: f64) -> f64 {
        self.flop / flop_per_second
    }
}

/// Refuses a bidirectional model where each token is to be predicted from those before it, and a causal one where it is to be
/// known from both sides.
pub(crate) fn check_attention(decoder: &Decoder, parts: &Parts) -> Result<()> {
    let (name, objective) = (parts.objective.name, &parts.objective.part);
    let refuse = |message: String, hint: &str| Err(Error::user(Place::key("objective"), message).hint(hint));
    match decoder.is_causal() {
        false if objective.predicts_next() => refuse(
            format!("`{name}` predicts each token from those before it, and the model's attention is bidirectional"),
            "train a causal model, or choose an objective that learns from both sides",
        ),
        true if objective.needs_both_sides() => refuse(
            format!("`{name}` asks for tokens by what stands on both sides, and the model's attention is causal"),
            "take a model whose attention is bidirectional, or choose `causal` or `span`",
        ),
        _ => Ok(()),
    }
}

/// What a run with these settings will cost. Windows are counted as full, though the last of a stream may be
/// shorter. Without a stream (the documents are not packed yet) only `epochs` stays unknown.
///
/// # Errors
/// When a rate is for no weight, or the objective is for another attention than the model has.
pub fn plan(decoder: &Decoder, stream: Option<&Stream>, settings: &TrainSettings, parts: &Parts) -> Result<Plan> {
    check_attention(decoder, parts)?;
    let trained: u64 = decoder.trainable_numbers();
    let parameters: u64 = decoder.parameters.iter().map(|(_, _, tensor, _)| tensor.len() as u64).sum();
    let trains: Vec<_> = decoder.parameters.iter().filter(|(_, _, _, trains)| *trains).collect();
    shares(&settings.rates, &trains.iter().map(|(_, name, tensor, _)| (*name, tensor.shape())).collect::<Vec<_>>())?;
    let states: usize = trains
        .into_iter()
        .flat_map(|(id, _, tensor, _)| {
            let of_vocabulary = is_of_vocabulary(decoder, id);
            parts.optimizer.part.state(Weights { shape: tensor.shape(), of_vocabulary })
        })
        .sum();
    let averaged = if settings.average > 0.0 { trained } else { 0 };
    let changed = 4 * (trained + states as u64 + averaged);
    let context = stream.map_or(settings.context, |stream| (settings.context as u64).min(stream.tokens()) as usize);
    let tokens = settings.steps.saturating_mul(settings.sequences as u64).saturating_mul(context as u64);
    let sampler = &parts.sampler.part;
    let epoch = stream.and_then(|stream| sampler.steps_per_epoch(stream, settings.context, settings.sequences));
    let reference = parts.objective.part.other() == Other::Reference;
    let forward = if reference { decoder.flop_per_token(false, context) } else { 0.0 };
    let objective = &parts.objective.part;
    let one = objective.added(context as u64);
    let added = stream.map_or(one, |stream| stream.most(context as u64, |tokens| objective.added(tokens)));
    let memory = decoder.memory_plan(settings.rows().saturating_mul(context + added as usize));
    let longer = 1.0 + one as f64 / context.max(1) as f64;
    Ok(Plan {
        steps: settings.steps,
        tokens,
        epochs: epoch.map(|steps| settings.steps as f64 / steps),
        parameters,
        trainable: trained,
        flop: (decoder.flop_per_token(true, context) + forward) * longer * tokens as f64,
        weight_bytes: memory.weights,
        // Weights that change are kept as they were, too, where a loss refers to them.
        state_bytes: changed + if reference { 4 * trained } else { 0 },
        activation_bytes: memory.activations.saturating_add(memory.head),
        checkpoint_bytes: 3 * (changed + if settings.guard.is_empty() { 0 } else { 4 * trained }),
    })
}
