//! The one linear layer; what differs between plain and adapted weights is a variant below it.

use super::{Part, SiteAdapter};
use metier_compute::op::{self, Projection};
use metier_compute::{ParameterId, Tape, Var};
use metier_core::Result;
use std::sync::Arc;

/// A low-rank addition to a frozen weight: `y = x Wᵀ + scale · (x Aᵀ) Bᵀ`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LowRank {
    /// `[rank, inputs]`.
    pub a: ParameterId,
    /// `[outputs, rank]`.
    pub b: ParameterId,
    /// Factor of the addition.
    pub scale: f32,
}

/// `y = x Wᵀ + bias`, with `x` `[rows, inputs]` and `W` `[outputs, inputs]`, plain or adapted.
#[derive(Debug, Clone)]
pub struct Linear {
    /// Its name without `.weight`, as the checkpoint writes it: the site an adapter attaches to.
    pub site: String,
    /// What it does.
    pub part: Part,
    /// Width of `x`.
    pub inputs: usize,
    /// Width of `y`.
    pub outputs: usize,
    /// `W`.
    pub weight: ParameterId,
    /// `[outputs]`.
    pub bias: Option<ParameterId>,
    /// What stands in its place, when an adapter is attached.
    pub adapter: Option<Arc<dyn SiteAdapter>>,
    /// The part of all rows that passes through it: below 1 in an expert.
    pub share: f64,
}

/// Every linear layer of a model, in the order of the forward pass. The parts of a block know theirs by number, so that
/// adapters find all of them in one place.
#[derive(Debug, Clone, Default)]
pub struct Linears(Vec<Linear>);

/// A linear layer of [`Linears`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinearId(usize);

impl Linears {
    pub(crate) fn push(&mut self, linear: Linear) -> LinearId {
        self.0.push(linear);
        LinearId(self.0.len() - 1)
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = &Linear> {
        self.0.iter()
    }

    /// In order, to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Linear> {
        self.0.iter_mut()
    }
}

impl std::ops::Index<LinearId> for Linears {
    type Output = Linear;

    fn index(&self, id: LinearId) -> &Linear {
        &self.0[id.0]
    }
}

impl Linear {
    /// Its weight and addition on the tape, when it has no bias and no adapter of another kind.
    pub fn projection(&self, tape: &mut Tape<'_>) -> Option<Projection> {
        if self.bias.is_some() {
            return None;
        }
        let low_rank = match &self.adapter {
            None => None,
            Some(adapter) => Some(adapter.low_rank()?.on(tape)),
        };
        Some(Projection { weight: tape.parameter(self.weight), low_rank })
    }

    /// `y` of `x`.
    pub fn forward(&self, tape: &mut Tape<'_>, x: Var) -> Result<Var> {
        match &self.adapter {
            None => self.plain(tape, x),
            Some(adapter) => adapter.forward(tape, self, x),
        }
    }

    /// `y` of `x` without what is attached.
    pub fn plain(&self, tape: &mut Tape<'_>, x: Var) -> Result<Var> {
        let weight = tape.parameter(self.weight);
        let bias = self.bias.map(|bias| tape.parameter(bias));
        op::linear(tape, x, weight, bias)
    }

    /// `y` with its bias added, if it has one.
    pub fn biased(&self, tape: &mut Tape<'_>, y: Var) -> Result<Var> {
        let Some(bias) = self.bias else { return Ok(y) };
        let bias = tape.parameter(bias);
        op::add(tape, y, bias)
    }
}

impl LowRank {
    /// Its matrices on a tape.
    fn on(self, tape: &mut Tape<'_>) -> op::LowRank {
        op::LowRank { a: tape.parameter(self.a), b: tape.parameter(self.b), scale: self.scale }
    }
}

impl SiteAdapter for LowRank {
    fn forward(&self, tape: &mut Tape<'_>, linear: &Linear, x: Var) -> Result<Var> {
        let op::LowRank { a, b, scale } = self.on(tape);
        if linear.bias.is_none() {
            let weight = tape.parameter(linear.weight);
            return op::low_rank_linear(tape, x, weight, a, b, scale);
        }
        let plain = linear.plain(tape, x)?;
        let narrow = op::linear(tape, x, a, None)?;
        let wide = op::linear(tape, narrow, b, None)?;
        let addition = op::scale(tape, wide, scale)?;
        op::add(tape, plain, addition)
    }

    fn low_rank(&self) -> Option<LowRank> {
        Some(*self)
    }
}
