use metier_core::Result;

use super::refuse;
use crate::kernel::threads::chunks4;

/// Elements in one piece of work.
const PIECE: usize = 1 << 14;

/// The numbers of one [`adamw_step`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamwStep {
    /// Learning rate of this step.
    pub rate: f32,
    /// What the gradient is multiplied by first: clips its length without a pass of its own.
    pub scale: f32,
    /// Decay of the mean of gradients.
    pub beta1: f32,
    /// Decay of the mean of squared gradients.
    pub beta2: f32,
    /// Keeps the division finite.
    pub epsilon: f32,
    /// Decoupled weight decay, multiplied by the rate.
    pub decay: f32,
    /// The number of this step, counted from 1.
    pub step: u64,
}

impl AdamwStep {
    /// Refused for the operation of this name when the step is no number of a step.
    pub(super) fn factors(&self, name: &'static str) -> Result<Factors> {
        if self.step == 0 {
            return Err(refuse(name, "steps are counted from 1"));
        }
        let after = |beta: f32| 1.0 - f64::from(beta).powf(self.step as f64);
        Ok(Factors {
            keep: 1.0 - self.rate * self.decay,
            rate: (f64::from(self.rate) / after(self.beta1)) as f32,
            scale: self.scale,
            beta1: self.beta1,
            beta2: self.beta2,
            root: (1.0 / after(self.beta2).sqrt()) as f32,
            epsilon: self.epsilon,
        })
    }
}

/// What one step multiplies by, with the bias corrections folded in.
#[derive(Clone, Copy)]
pub(super) struct Factors {
    keep: f32,
    rate: f32,
    scale: f32,
    beta1: f32,
    beta2: f32,
    root: f32,
    epsilon: f32,
}

/// Changes one number.
#[expect(clippy::inline_always, reason = "must be compiled with the instruction set of its caller")]
#[inline(always)]
pub(super) fn change(parameter: &mut f32, gradient: f32, m: &mut f32, v: &mut f32, factors: Factors) {
    let gradient = factors.scale * gradient;
    *m = factors.beta1 * *m + (1.0 - factors.beta1) * gradient;
    *v = factors.beta2 * *v + (1.0 - factors.beta2) * gradient * gradient;
    *parameter = *parameter * factors.keep - factors.rate * *m / (v.sqrt() * factors.root + factors.epsilon);
}

leveled! {
    fn update(parameter: &mut [f32], m: &mut [f32], v: &mut [f32], gradient: &[f32], factors: Factors) {
        for (((parameter, gradient), m), v) in parameter.iter_mut().zip(gradient).zip(m).zip(v) {
            change(parameter, *gradient, m, v, factors);
        }
    }
}

/// One step of Adam with decoupled weight decay, in one pass over the parameter.
///
/// With `g` the gradient times `scale`, `m = b1 m + (1 - b1) g`, `v = b2 v + (1 - b2) g^2`,
/// `p = p (1 - rate decay) - rate (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + epsilon)`.
/// All four slices have one length. Source: Loshchilov and Hutter, Decoupled Weight Decay Regularization,
/// arXiv 1711.05101, algorithm 2.
pub fn adamw_step(
    parameter: &mut [f32],
    gradient: &[f32],
    m: &mut [f32],
    v: &mut [f32],
    step: &AdamwStep,
) -> Result<()> {
    let length = parameter.len();
    if gradient.len() != length || m.len() != length || v.len() != length {
        let lengths = [length, gradient.len(), m.len(), v.len()];
        return Err(refuse("adamw_step", format!("parameter, gradient, m and v have the lengths {lengths:?}"))
            .hint("the lengths must be equal"));
    }
    let factors = step.factors("adamw_step")?;
    let outputs = [(parameter, PIECE), (m, PIECE), (v, PIECE)];
    chunks4(outputs, gradient, length * 4, |parameter, m, v, gradient| update(parameter, m, v, gradient, factors));
    Ok(())
}
