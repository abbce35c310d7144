//! The one norm: which kind it is, is the configuration's to say.

use super::Found;
use metier_compute::{ParameterId, Tape, Tensor, Var, op};
use metier_core::Result;

/// How rows are normed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NormKind {
    /// By the root of the mean square, then times the weight.
    #[default]
    Rms,
    /// The same, times one more than the weight.
    RmsOffset,
    /// By mean and deviation, then times the weight, plus the bias if there is one.
    Layer,
}

/// A norm with its weights, `[D]` each.
#[derive(Debug, Clone)]
pub struct Norm {
    kind: NormKind,
    weight: ParameterId,
    bias: Option<ParameterId>,
    epsilon: f32,
}

impl Norm {
    pub(crate) fn new(kind: NormKind, found: &Found, epsilon: f32) -> Self {
        Self { kind, weight: found.weight, bias: found.bias, epsilon }
    }

    /// `[N, D]` to `[N, D]`.
    pub fn forward(&self, tape: &mut Tape<'_>, x: Var) -> Result<Var> {
        let weight = tape.parameter(self.weight);
        match self.kind {
            NormKind::Rms => op::rms_norm(tape, x, weight, self.epsilon),
            NormKind::RmsOffset => {
                let one = tape.constant(Tensor::full(&[1], 1.0)?);
                let weight = op::add(tape, weight, one)?;
                op::rms_norm(tape, x, weight, self.epsilon)
            }
            NormKind::Layer => {
                let bias = self.bias.map(|bias| tape.parameter(bias));
                op::layer_norm(tape, x, weight, bias, self.epsilon)
            }
        }
    }

    /// Each head of `x` `[N, heads * D]` by itself.
    pub fn forward_by_head(&self, tape: &mut Tape<'_>, x: Var, head_dim: usize) -> Result<Var> {
        let shape = tape.shape(x)?.to_vec();
        let heads = shape.iter().product::<usize>() / head_dim;
        let x = op::reshape(tape, x, &[heads, head_dim])?;
        let normed = self.forward(tape, x)?;
        op::reshape(tape, normed, &shape)
    }
}
