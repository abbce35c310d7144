//! Feed-forward blocks: plain, gated, and experts of which each row passes through a few.

use super::{Builder, LinearId, Linears, Part};
use crate::config::Experts;
use metier_compute::op::{self, Activation, GatedFeedForward, Span};
use metier_compute::{ParameterId, Tape, Tensor, Var};
use metier_core::Result;

/// The feed-forward block of one block.
#[derive(Debug, Clone)]
pub enum FeedForward {
    /// One for all rows.
    Dense(Dense),
    /// Each row passes through a few of many.
    Routed(Routed),
}

/// What lies before the down projection.
#[derive(Debug, Clone)]
enum Inward {
    /// One layer.
    Plain(LinearId),
    /// Two layers; the first, through the activation, is multiplied by the second.
    Gated { gate: LinearId, up: LinearId },
    /// Both as one layer, whose outputs are all of the first, then all of the second.
    Together(LinearId),
}

/// `down(f(up x))`, or with a gate `down(f(gate x) (up x))`.
#[derive(Debug, Clone)]
pub struct Dense {
    inward: Inward,
    down: LinearId,
    activation: Activation,
}

/// The sum over a row's experts of the share that the router gives each times what it makes of the row.
#[derive(Debug, Clone)]
pub struct Routed {
    /// `[experts, D]`.
    router: ParameterId,
    experts: Vec<Dense>,
    shape: Experts,
    /// One that every row passes through, and the layer that says how much of it is added.
    shared: Option<(Dense, LinearId)>,
}

impl FeedForward {
    pub(crate) fn new(builder: &mut Builder<'_>, block: usize) -> Result<Self> {
        let Some(shape) = builder.config.design.experts.clone() else {
            return Ok(Self::Dense(Dense::new(builder, [Part::Gate, Part::Up, Part::Down], block, 0)?));
        };
        let router = builder.needed(Part::Router, block)?.weight;
        let experts = (0..shape.count)
            .map(|expert| Dense::new(builder, [Part::Gate, Part::Up, Part::Down], block, expert))
            .collect::<Result<_>>()?;
        let shared = if builder.has(Part::SharedDown) {
            let expert = Dense::new(builder, [Part::SharedGate, Part::SharedUp, Part::SharedDown], block, 0)?;
            Some((expert, builder.linear(Part::SharedShare, block, 0)?))
        } else {
            None
        };
        Ok(Self::Routed(Routed { router, experts, shape, shared }))
    }

    /// `[N, D]` to `[N, D]`.
    pub fn forward(&self, tape: &mut Tape<'_>, x: Var, linears: &Linears) -> Result<Var> {
        match self {
            Self::Dense(dense) => dense.forward(tape, x, linears),
            Self::Routed(routed) => routed.forward(tape, x, linears),
        }
    }
}

impl Dense {
    fn new(builder: &mut Builder<'_>, [gate, up, down]: [Part; 3], block: usize, expert: usize) -> Result<Self> {
        let inward = if builder.has(Part::GateUp) {
            Inward::Together(builder.linear(Part::GateUp, block, expert)?)
        } else if builder.has(gate) {
            Inward::Gated { gate: builder.linear(gate, block, expert)?, up: builder.linear(up, block, expert)? }
        } else {
            Inward::Plain(builder.linear(up, block, expert)?)
        };
        let down = builder.linear(down, block, expert)?;
        Ok(Self { inward, down, activation: builder.config.design.activation })
    }

    fn forward(&self, tape: &mut Tape<'_>, x: Var, linears: &Linears) -> Result<Var> {
        let down = &linears[self.down];
        let inside = match self.inward {
            Inward::Plain(up) => {
                let inside = linears[up].forward(tape, x)?;
                op::activation(tape, inside, self.activation)?
            }
            Inward::Gated { gate, up } => {
                let (gate, up) = (&linears[gate], &linears[up]);
                if self.activation == Activation::Silu
                    && let (Some(gate), Some(up), Some(down)) =
                        (gate.projection(tape), up.projection(tape), down.projection(tape))
                {
                    return op::gated_feed_forward(tape, x, &GatedFeedForward { gate, up, down });
                }
                let gate = gate.forward(tape, x)?;
                let up = up.forward(tape, x)?;
                self.open(tape, gate, up)?
            }
            Inward::Together(both) => {
                let both = linears[both].forward(tape, x)?;
                let [rows, width] = [tape.shape(both)?[0], tape.shape(both)?[1] / 2];
                let mut half = |first: usize| {
                    let spans = [0..rows, first..first + width].map(Span::from);
                    op::slice(tape, both, &spans)
                };
                let (gate, up) = (half(0)?, half(width)?);
                self.open(tape, gate, up)?
            }
        };
        down.forward(tape, inside)
    }

    /// `f(gate) up`.
    fn open(&self, tape: &mut Tape<'_>, gate: Var, up: Var) -> Result<Var> {
        if self.activation == Activation::Silu {
            return op::swiglu(tape, gate, up);
        }
        let gate = op::activation(tape, gate, self.activation)?;
        op::multiply(tape, gate, up)
    }
}

impl Routed {
    fn forward(&self, tape: &mut Tape<'_>, x: Var, linears: &Linears) -> Result<Var> {
        let chosen_each = self.shape.per_token;
        let shape = tape.shape(x)?.to_vec();
        let router = tape.parameter(self.router);
        let logits = op::linear(tape, x, router, None)?;
        let probabilities = op::softmax(tape, logits)?;
        let (mut shares, chosen) = op::top_k(tape, probabilities, chosen_each)?;
        if self.shape.normalized {
            let total = op::sum_axis(tape, shares, 1)?;
            shares = op::divide(tape, shares, total)?;
        }
        let shares = op::reshape(tape, shares, &[chosen.len(), 1])?;
        let mut sum = tape.constant(Tensor::zeros(&shape)?);
        for (number, expert) in (0_u32..).zip(&self.experts) {
            // An expert that no row chose sees none, so that it gets a gradient all the same: zero.
            let places: Vec<u32> = (0_u32..).zip(&chosen).filter(|(_, at)| **at == number).map(|(at, _)| at).collect();
            let rows: Vec<u32> = places.iter().map(|place| place / chosen_each as u32).collect();
            let part = op::index_select(tape, x, 0, &rows)?;
            let made = expert.forward(tape, part, linears)?;
            let share = op::index_select(tape, shares, 0, &places)?;
            let weighted = op::multiply(tape, made, share)?;
            sum = op::index_add(tape, sum, 0, &rows, weighted)?;
        }
        let Some((shared, share)) = &self.shared else { return Ok(sum) };
        let made = shared.forward(tape, x, linears)?;
        let share = linears[*share].forward(tape, x)?;
        let share = op::activation(tape, share, Activation::Sigmoid)?;
        let weighted = op::multiply(tape, made, share)?;
        op::add(tape, sum, weighted)
    }
}
