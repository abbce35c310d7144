//! What a step costs: floating-point operations and bytes, before anything is run.
//!
//! A multiplication and an addition count as two operations. Norms, activations and softmax are left out:
//! together they are below one in a hundred. The bytes are an estimate of what the operations keep for
//! their backward.

use crate::config::Config;
use crate::decoder::Decoder;
use metier_compute::ParameterId;

/// Bytes of one number.
const NUMBER: u64 = size_of::<f32>() as u64;

/// Bytes that a training step holds at its worst moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryPlan {
    /// All parameters, adapters included.
    pub weights: u64,
    /// Gradients of the trainable ones.
    pub gradients: u64,
    /// Two moments for each trainable number.
    pub moments: u64,
    /// Values kept between forward and backward, and what one block needs while it is walked back.
    pub activations: u64,
    /// Logits of one chunk and the gradient of the last hidden states.
    pub head: u64,
}

impl MemoryPlan {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.weights + self.gradients + self.moments + self.activations + self.head
    }
}

impl Decoder {
    /// Floating-point operations for one token of texts of `context` tokens, averaged over positions.
    ///
    /// Training adds the gradients: of the inputs of every layer above the first trainable weight, and of
    /// every trainable weight; and one more forward pass of the blocks where they are recomputed.
    pub fn flop_per_token(&self, training: bool, context: usize) -> f64 {
        let config = self.config();
        let trains = |id: ParameterId| training && self.parameters.trainable(id);
        let anything = training && self.parameters.iter().any(|(_, _, _, trainable)| trainable);
        let product = |numbers: usize, weight_trains: bool| {
            let passes = 1 + usize::from(anything) + usize::from(weight_trains);
            2.0 * (numbers * passes) as f64
        };
        let mut flop = 0.0;
        let mut forward_of_blocks = 0.0;
        for linear in self.linears() {
            flop += linear.share * product(linear.inputs * linear.outputs, trains(linear.weight));
            forward_of_blocks += linear.share * 2.0 * (linear.inputs * linear.outputs) as f64;
        }
        // Each number of an adapter is multiplied once for each row.
        for id in self.adapter_parameters() {
            let numbers = self.parameters.get(*id).len();
            flop += product(numbers, trains(*id));
            forward_of_blocks += 2.0 * numbers as f64;
        }
        // Causal: a token sees half of the others on average. Scores and mixing are one product each; the
        // walk back computes the scores again and has four products of its own.
        let seen = if self.is_causal() { f64::midpoint(context as f64, 1.0) } else { context as f64 };
        let attention = 4.0 * seen * (config.query_width() * config.layers) as f64;
        flop += attention * if anything { 3.5 } else { 1.0 };
        forward_of_blocks += attention;
        if anything && self.recompute() {
            flop += forward_of_blocks;
        }
        flop + product(config.vocabulary_size * config.hidden_size, trains(self.head_id()))
    }

    /// Bytes of a training step over `rows` rows at once.
    pub fn memory_plan(&self, rows: usize) -> MemoryPlan {
        /// Logits that stand in memory together, about, however many rows there are.
        const LOGITS: u64 = 1 << 24;
        let config = self.config();
        let (rows, layers) = (rows as u64, config.layers as u64);
        let (hidden, kept) = (config.hidden_size as u64, kept_per_row(config));
        let between = if self.recompute() { hidden * layers + kept } else { kept * layers };
        // The gradients that live at once while one block is walked back.
        let walking = 3 * hidden + 3 * inner_width(config) as u64;
        let logits =
            rows.saturating_mul(config.vocabulary_size as u64).min(LOGITS.max(64 * config.vocabulary_size as u64));
        MemoryPlan {
            weights: self.parameters.iter().map(|entry| entry.2.stored_bytes() as u64).sum(),
            gradients: NUMBER * self.trainable_numbers(),
            moments: 2 * NUMBER * self.trainable_numbers(),
            activations: rows.saturating_mul(NUMBER * (between + walking)),
            head: rows.saturating_mul(2 * NUMBER * hidden).saturating_add(NUMBER * logits),
        }
    }

    /// Numbers that training changes.
    pub fn trainable_numbers(&self) -> u64 {
        self.parameters.iter().filter(|entry| entry.3).map(|entry| entry.2.len() as u64).sum()
    }
}

/// Numbers that one block keeps for each row: two residual streams and two norms, queries and what they
/// gathered, keys, values, and three widths of the feed-forward.
fn kept_per_row(config: &Config) -> u64 {
    let (query, key) = (config.query_width(), config.key_width());
    (4 * config.hidden_size + 2 * query + 2 * key + 3 * inner_width(config)) as u64
}

/// Width of all that a row passes through inside the feed-forward block.
fn inner_width(config: &Config) -> usize {
    let experts = config.design.experts.as_ref();
    experts
        .map_or(config.intermediate_size, |experts| experts.per_token * config.intermediate_size + experts.shared_width)
}
