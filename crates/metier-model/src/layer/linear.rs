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
