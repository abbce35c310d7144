//! The parts of a model between token ids and the head.

use super::{Block, Builder, Found, Linears, Norm, Part};
use crate::config::Config;
use metier_compute::op::{self, Head};
use metier_compute::{ParameterId, Parameters, Tape, Var};
use metier_core::Result;

/// The parts of a model and where its weights are.
pub struct Model {
    /// `[V, D]`.
    pub embedding: ParameterId,
    /// `[P, D]`, where positions are learned.
    positions: Option<ParameterId>,
    /// What the rows of tokens are multiplied by.
    embedding_scale: f32,
    /// In order.
    pub blocks: Vec<Block>,
    norm: Norm,
    /// Its weight is the embedding when they are tied.
    pub head: Head<ParameterId>,
    /// Of all blocks.
    pub linears: Linears,
}

impl Model {
    /// Finds the weights of a model by name.
    pub fn new(config: &Config, parameters: &Parameters) -> Result<Self> {
        let mut builder = Builder::new(config, parameters);
        let embedding = builder.needed(Part::Embedding, 0)?.weight;
        let blocks = (0..config.layers).map(|number| Block::new(&mut builder, number)).collect::<Result<_>>()?;
        let Found { weight, bias } = builder.module(Part::Head, 0)?.unwrap_or(Found { weight: embedding, bias: None });
        Ok(Self {
            embedding,
            positions: builder.module(Part::Positions, 0)?.map(|found| found.weight),
            embedding_scale: config.design.embedding_scale,
            blocks,
            norm: builder.needed_norm(Part::FinalNorm, 0)?,
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
    pub fn place(&self, tape: &mut Tape<'_>, x: Var, positions: &[u32]) -> Result<Var> {
        let Some(table) = self.positions else { return Ok(x) };
        let table = tape.parameter(table);
        let places = op::embedding(tape, table, positions)?;
        op::add(tape, x, places)
    }

    /// The norm before the head, `[N, D]` to `[N, D]`.
    pub fn final_norm(&self, tape: &mut Tape<'_>, x: Var) -> Result<Var> {
        self.norm.forward(tape, x)
    }
}
