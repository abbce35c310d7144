//! A moving average of the weights that learn.

use metier_compute::{ParameterId, Parameters, Tensor};

/// The exponential moving average of weights: after step `t`, counted from 1, `a += (1 - d_t) (w - a)` with
/// `d_t = min(d, (1 + t) / (10 + t))`, beginning with the weights before the first step.
///
/// Source: Polyak and Juditsky, *Acceleration of Stochastic Approximation by Averaging*, 1992. The smaller `d_t` of the first steps,
/// without which a short run would stay near its beginning, is that of `ExponentialMovingAverage` with `num_updates` in TensorFlow.
pub(crate) struct Average {
    decay: f64,
    trainable: Vec<ParameterId>,
    /// For each of `trainable`.
    values: Vec<Tensor>,
}

impl Average {
    /// Before the first step. `decay` is `d`, from 0 to below 1.
    pub(crate) fn new(decay: f64, parameters: &Parameters, trainable: &[ParameterId]) -> Self {
        let values = trainable.iter().map(|id| parameters.get(*id).clone()).collect();
        Self { decay, trainable: trainable.to_vec(), values }
    }

    /// Takes in the weights after a step, counted from 1.
    pub(crate) fn add(&mut self, parameters: &Parameters, step: u64) {
        let own = 1.0 - self.decay.min((1.0 + step as f64) / (10.0 + step as f64));
        for (id, average) in self.trainable.iter().zip(&mut self.values) {
            let weights = parameters.get(*id).data().iter();
            average
                .data_mut()
                .iter_mut()
                .zip(weights)
                .for_each(|(mean, weight)| *mean += own as f32 * (weight - *mean));
        }
    }

    /// Puts the average in the place of the weights, and these in its own.
    pub(crate) fn exchange(&mut self, parameters: &mut Parameters) {
        for (id, average) in self.trainable.iter().zip(&mut self.values) {
            std::mem::swap(parameters.get_mut(*id), average);
        }
    }

    /// The average of each weight, in the order of the weights.
    pub(crate) fn values(&self) -> &[Tensor] {
        &self.values
    }

    /// [`Average::values`], to be read back.
    pub(crate) fn values_mut(&mut self) -> &mut [Tensor] {
        &mut self.values
    }
}
