//! The parts of a model between token ids and the head.

use super::{Block, Builder, Found, Linears, Norm, Part};
use crate::config::Config;
use metier_compute::op::{self, Activation, Head};
use metier_compute::{ParameterId, Parameters, Tape, Var};
use metier_core::Result;

/// The parts of a model and where its weights are.
pub struct Model {
    /// `[V, D]`.
    pub embedding: ParameterId,
    /// `[P, D]`, where positions are learned.
    positions: Option<ParameterId>,
    /// The row of the first position.
    first_position: usize,
    /// `[T, D]`, where texts have kinds; all that are read here are of the first.
    token_types: Option<ParameterId>,
    embedding_norm: Option<Norm>,
    /// What the rows of tokens are multiplied by.
    embedding_scale: f32,
    /// In order.
    pub blocks: Vec<Block>,
    norm: Option<Norm>,
    transform: Option<Transform>,
    /// Its weight is the embedding when they are tied.
    pub head: Head<ParameterId>,
    /// Of all blocks.
    pub linears: Linears,
}

/// `norm(f(W x + b))`, which the head reads in place of the last hidden states.
struct Transform {
    dense: Found,
    activation: Activation,
    norm: Option<Norm>,
}

impl Model {
    /// Finds the weights of a model by name.
    pub fn new(config: &Config, parameters: &Parameters) -> Result<Self> {
        let mut builder = Builder::new(config, parameters);
        let embedding = builder.needed(Part::Embedding, 0)?.weight;
        let blocks = (0..config.layers).map(|number| Block::new(&mut builder, number)).collect::<Result<_>>()?;
        let Found { weight, bias } = builder.module(Part::Head, 0)?.unwrap_or(Found { weight: embedding, bias: None });
        let bias = match builder.module(Part::HeadBias, 0)? {
            Some(found) => Some(found.weight),
            None => bias,
        };
        let norm = builder.norm(Part::HeadNorm, 0)?;
        let transform = builder.module(Part::HeadTransform, 0)?;
        let transform = transform.map(|dense| Transform { dense, activation: config.design.activation, norm });
        Ok(Self {
            embedding,
            positions: builder.module(Part::Positions, 0)?.map(|found| found.weight),
            first_position: config.design.first_position,
            token_types: builder.module(Part::TokenTypes, 0)?.map(|found| found.weight),
            embedding_norm: builder.norm(Part::EmbeddingNorm, 0)?,
            embedding_scale: config.design.embedding_scale,
            blocks,
            norm: builder.norm(Part::FinalNorm, 0)?,
            transform,
            head: Head { weight, bias, softcap: config.design.logit_softcap },
            linears: builder.linears,
        })
    }

    /// The rows of tokens: `[N, D]`.
    pub fn embed(&self, tape: &mut Tape<'_>, ids: &[u32]) -> Result<Var> {
        let table = tape.parameter(self.embedding);
        let x = op::embedding(tape, table, ids)?;
        if self.embedding_scale.to_bits() == 1.0_f32.to_bits() {
            return Ok(x);
        }
        op::scale(tape, x, self.embedding_scale)
    }

    /// Rows at their positions: `[N, D]`.
    pub fn place(&self, tape: &mut Tape<'_>, mut x: Var, positions: &[u32]) -> Result<Var> {
        if let Some(table) = self.positions {
            let table = tape.parameter(table);
            let rows: Vec<u32> = positions.iter().map(|position| position + self.first_position as u32).collect();
            let places = op::embedding(tape, table, &rows)?;
            x = op::add(tape, x, places)?;
        }
        if let Some(table) = self.token_types {
            let table = tape.parameter(table);
            let first = op::embedding(tape, table, &[0])?;
            x = op::add(tape, x, first)?;
        }
        self.embedding_norm.as_ref().map_or(Ok(x), |norm| norm.forward(tape, x))
    }

    /// The norm behind the last block, if there is one, `[N, D]` to `[N, D]`.
    pub fn final_norm(&self, tape: &mut Tape<'_>, x: Var) -> Result<Var> {
        self.norm.as_ref().map_or(Ok(x), |norm| norm.forward(tape, x))
    }

    /// Whether the head reads something else than the last hidden states.
    pub fn transforms(&self) -> bool {
        self.transform.is_some()
    }

    /// What the head reads, of the last hidden states, `[N, D]` each.
    pub fn before_head(&self, tape: &mut Tape<'_>, hidden: Var) -> Result<Var> {
        let Some(Transform { dense, activation, norm }) = &self.transform else { return Ok(hidden) };
        let (weight, bias) = (tape.parameter(dense.weight), dense.bias.map(|bias| tape.parameter(bias)));
        let x = op::linear(tape, hidden, weight, bias)?;
        let x = op::activation(tape, x, *activation)?;
        norm.as_ref().map_or(Ok(x), |norm| norm.forward(tape, x))
    }
}
