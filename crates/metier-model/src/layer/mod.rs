//! Layers that every architecture is built from.

mod adapter;
mod attention;
mod block;
mod dropped_attention;
mod feed_forward;
mod linear;
mod model;
mod norm;
mod rotary;
mod weights;

pub(crate) use adapter::Attachments;
pub use adapter::{Leading, SiteAdapter, StepDone, Sublayer, SublayerAdapter, Upkeep, VirtualKind, VirtualTokens};
pub use attention::{Attention, Keys};
pub use block::Block;
pub use feed_forward::FeedForward;
pub use linear::{Linear, LinearId, Linears, LowRank};
pub use model::Model;
pub use norm::{Norm, NormKind};
pub use rotary::{Scaling, Turning};
pub use weights::{Axis, Part, Presence, WeightPattern, WeightShape, shapes_of};

use crate::config::{Config, Experts};
use metier_compute::{ParameterId, Parameters, Var};
use metier_core::{Error, Result};

/// Weight and bias of a module.
pub(crate) struct Found {
    pub weight: ParameterId,
    pub bias: Option<ParameterId>,
}

/// The rows that pass through a model together.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    /// The position of each row in its text.
    pub positions: &'a [u32],
    /// Tokens of the longest text.
    pub longest: usize,
    /// Every linear layer of the model.
    pub linears: &'a Linears,
    /// Keys and values of virtual tokens, and where their rows are.
    pub keys: Option<(&'a Leading, Var)>,
    /// The rate at which probabilities of attention are left out, on a tape with noise.
    pub dropout: f32,
}

/// The number of the block that a weight or module of this name is part of.
pub fn block_of(name: &str) -> Option<usize> {
    name.split('.').find_map(|part| part.parse().ok())
}

/// Finds the modules of a model by what they do.
pub(crate) struct Builder<'a> {
    pub config: &'a Config,
    parameters: &'a Parameters,
    pub linears: Linears,
}

impl<'a> Builder<'a> {
    pub fn new(config: &'a Config, parameters: &'a Parameters) -> Self {
        Self { config, parameters, linears: Linears::default() }
    }

    /// The pattern of a part, if the model has it.
    fn pattern(&self, part: Part) -> Option<&'static WeightPattern> {
        let patterns = self.config.design.architecture.weights;
        patterns.iter().find(|pattern| pattern.part == part && pattern.is_part_of(self.config))
    }

    fn needed_pattern(&self, part: Part) -> Result<&'static WeightPattern> {
        self.pattern(part).ok_or_else(|| {
            let model_type = self.config.design.architecture.model_type;
            Error::program(format!("the weights of the architecture `{model_type}` name no {part:?}"))
        })
    }

    /// Whether the model has a part.
    pub fn has(&self, part: Part) -> bool {
        self.pattern(part).is_some()
    }

    fn find(&self, pattern: &WeightPattern, block: usize, expert: usize) -> Result<Found> {
        let (site, name) = (pattern.name_in(block, expert), pattern.weight_in(block, expert));
        let weight = self.parameters.find(&name);
        let weight = weight.ok_or_else(|| Error::program(format!("the weight `{name}` was not loaded")))?;
        Ok(Found { weight, bias: self.parameters.find(&format!("{site}.bias")) })
    }

    /// Weight and bias of a part, if the model has it.
    pub fn module(&self, part: Part, block: usize) -> Result<Option<Found>> {
        self.pattern(part).map(|pattern| self.find(pattern, block, 0)).transpose()
    }

    /// As [`Builder::module`] for a part that the model has.
    pub fn needed(&self, part: Part, block: usize) -> Result<Found> {
        self.find(self.needed_pattern(part)?, block, 0)
    }

    /// A norm of rows, or of heads, if the model has it.
    pub fn norm(&self, part: Part, block: usize) -> Result<Option<Norm>> {
        let found = self.module(part, block)?;
        Ok(found.map(|found| Norm::new(self.config.design.norm, &found, self.config.norm_epsilon)))
    }

    /// A linear layer that the model has; its number.
    pub fn linear(&mut self, part: Part, block: usize, expert: usize) -> Result<LinearId> {
        let pattern = self.needed_pattern(part)?;
        let site = pattern.name_in(block, expert);
        let Found { weight, bias } = self.find(pattern, block, expert)?;
        let shape = self.parameters.get(weight).shape();
        let (outputs, inputs) = (shape[0], shape[1]);
        let share = self.config.design.experts.as_ref().filter(|_| pattern.is_of_expert()).map_or(1.0, Experts::share);
        Ok(self.linears.push(Linear { site, part, inputs, outputs, weight, bias, adapter: None, share }))
    }
}
