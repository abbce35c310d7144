//! The one linear layer; what differs between plain and adapted weights is a variant below it.

use metier_compute::op::{self, Projection};
use metier_compute::{ParameterId, Tape, Var};
use metier_core::Result;

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
    /// Width of `x`.
    pub inputs: usize,
    /// Width of `y`.
    pub outputs: usize,
    /// `W`.
    pub weight: ParameterId,
    /// `[outputs]`.
    pub bias: Option<ParameterId>,
    /// The addition, when an adapter is attached.
    pub low_rank: Option<LowRank>,
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
    /// Its weight and addition on the tape, when it has no bias.
    pub fn projection(&self, tape: &mut Tape<'_>) -> Option<Projection> {
        if self.bias.is_some() {
            return None;
        }
        let weight = tape.parameter(self.weight);
        let low_rank = self.low_rank.map(|LowRank { a, b, scale }| op::LowRank {
            a: tape.parameter(a),
            b: tape.parameter(b),
            scale,
        });
        Some(Projection { weight, low_rank })
    }

    /// `y` of `x`.
    pub fn forward(&self, tape: &mut Tape<'_>, x: Var) -> Result<Var> {
        let weight = tape.parameter(self.weight);
        let bias = self.bias.map(|bias| tape.parameter(bias));
        let Some(LowRank { a, b, scale }) = self.low_rank else {
            return op::linear(tape, x, weight, bias);
        };
        let (a, b) = (tape.parameter(a), tape.parameter(b));
        if bias.is_none() {
            return op::low_rank_linear(tape, x, weight, a, b, scale);
        }
        let plain = op::linear(tape, x, weight, bias)?;
        let narrow = op::linear(tape, x, a, None)?;
        let wide = op::linear(tape, narrow, b, None)?;
        let addition = op::scale(tape, wide, scale)?;
        op::add(tape, plain, addition)
    }
}
