//! The weights that learn: their gradients, and what the optimizer keeps about them.

use crate::average::Average;
use crate::optimizer::{Optimizer, Update, Weights};
use crate::rates::{OwnRate, Share, shares};
use crate::soft_mask::SoftMask;
use metier_compute::kernel::Precision;
use metier_compute::{Gradients, ParameterId, Tape, Tensor, Var, op};
use metier_core::Result;
use metier_core::seed::Seed;
use metier_model::Decoder;
use metier_model::layer::{StepDone, Upkeep};
use std::sync::Arc;

/// A model with all that one step of training changes.
pub struct Learner<'a> {
    /// The model.
    pub decoder: &'a mut Decoder,
    /// How products see their inputs; [`Precision::F32`] at first.
    pub precision: Precision,
    /// What damps the gradients of some rows; nothing at first.
    pub soft_mask: Option<&'a SoftMask>,
    /// What dropout draws from; none at first.
    pub noise: Option<Seed>,
    trainable: Vec<ParameterId>,
    /// For each of `trainable`.
    shares: Vec<Share>,
    upkeep: Option<Arc<dyn Upkeep>>,
    /// For each of `trainable` the optimizer's tensors.
    state: Vec<Vec<Tensor>>,
    gradients: Gradients,
    average: Option<Average>,
}

impl<'a> Learner<'a> {
    /// Before the first step: what the optimizer keeps is zero. `rates` are for weights that learn faster or slower.
    ///
    /// # Errors
    /// When the memory for it is not there, or a rate is for no weight.
    pub fn new(decoder: &'a mut Decoder, optimizer: &dyn Optimizer, rates: &[OwnRate]) -> Result<Self> {
        let trainable: Vec<ParameterId> =
            decoder.parameters.iter().filter(|(_, _, _, trainable)| *trainable).map(|(id, ..)| id).collect();
        let tensors: Vec<_> =
            trainable.iter().map(|id| (decoder.parameters.name(*id), decoder.parameters.get(*id).shape())).collect();
        let shares = shares(rates, &tensors)?;
        let zeros = |id: &ParameterId| {
            let shape = decoder.parameters.get(*id).shape();
            let of_vocabulary = is_of_vocabulary(decoder, *id);
            let lengths = optimizer.state(Weights { shape, of_vocabulary });
            lengths.into_iter().map(|length| Tensor::zeros(&[length])).collect()
        };
        let state = trainable.iter().map(zeros).collect::<Result<_>>()?;
        let upkeep = decoder.upkeep();
        let gradients = Gradients::default();
        Ok(Self {
            decoder,
            precision: Precision::F32,
            soft_mask: None,
            noise: None,
            trainable,
            shares,
            upkeep,
            state,
            gradients,
            average: None,
        })
    }

    /// Keeps a moving average of the weights from here on, before the first step; `decay` is from 0 to below 1.
    pub fn keep_average(&mut self, decay: f64) {
        self.average = Some(Average::new(decay, &self.decoder.parameters, &self.trainable));
    }

    /// Puts the average in the place of the weights, and these in its own, if one is kept.
    pub fn exchange(&mut self) {
        if let Some(average) = &mut self.average {
            average.exchange(&mut self.decoder.parameters);
        }
    }

    /// Forgets the gradients of the step before.
    pub fn clear(&mut self) {
        self.gradients.clear();
    }

    /// Adds the gradients of `share` times a loss, and gives the loss, without what an adapter adds to it. A loss that is not finite
    /// has none.
    ///
    /// # Errors
    /// Those of `loss` and of [`Tape::backward`].
    pub fn add(
        &mut self,
        share: f64,
        loss: impl for<'p> FnOnce(&'p Decoder, &mut Tape<'p>) -> Result<Var>,
    ) -> Result<f64> {
        let decoder = &*self.decoder;
        let mut tape = Tape::training(&decoder.parameters);
        tape.set_precision(self.precision);
        tape.set_noise(self.noise);
        let mut mean = loss(decoder, &mut tape)?;
        let value = tape.value(mean)?.item()?;
        if !value.is_finite() {
            return Ok(f64::from(value));
        }
        if let Some(upkeep) = &self.upkeep {
            let penalty = upkeep.penalty(&mut tape)?;
            mean = op::add(&mut tape, mean, penalty)?;
        }
        let scaled = op::scale(&mut tape, mean, share as f32)?;
        tape.backward(scaled, &mut self.gradients)?;
        Ok(f64::from(value))
    }

    /// Damps the gradients of a step, all of which are there, as the soft mask says.
    pub fn damp(&mut self) {
        if let Some(mask) = self.soft_mask {
            mask.damp(&mut self.gradients);
        }
    }

    /// The length of all gradients together.
    pub fn gradient_norm(&self) -> f64 {
        self.gradients.norm()
    }

    /// Changes every weight by its gradient times `scale`; `step` is counted from 1, of `steps`.
    ///
    /// # Errors
    /// Those of the optimizer and of what an adapter does between steps.
    pub fn update(&mut self, optimizer: &dyn Optimizer, rate: f64, scale: f32, step: u64, steps: u64) -> Result<()> {
        for ((id, share), state) in self.trainable.iter().zip(&self.shares).zip(&mut self.state) {
            let Some(gradient) = self.gradients.get(*id) else { continue };
            let of_vocabulary = is_of_vocabulary(self.decoder, *id);
            let weights = Weights { shape: gradient.shape(), of_vocabulary };
            let own = weights.shape.iter().skip(1).product::<usize>() * share.from_row;
            let (parameter, gradient) = (self.decoder.parameters.get_mut(*id).data_mut(), gradient.data());
            if own == 0 {
                let rate = rate * share.times;
                optimizer.step(Update { weights, parameter, gradient, state, rate, scale, step })?;
                continue;
            }
            // An optimizer takes a tensor whole, so rows with a share of their own are moved on after its step.
            let before = parameter[own..].to_vec();
            optimizer.step(Update { weights, parameter, gradient, state, rate, scale, step })?;
            for (number, before) in parameter[own..].iter_mut().zip(before) {
                *number = before + share.times as f32 * (*number - before);
            }
        }
        if let Some(upkeep) = &self.upkeep {
            let done = StepDone { gradients: &self.gradients, scale, step: step - 1, steps };
            upkeep.after_step(&mut self.decoder.parameters, done)?;
        }
        if let Some(average) = &mut self.average {
            average.add(&self.decoder.parameters, step);
        }
        Ok(())
    }

    /// What an adapter changes between steps.
    fn kept(&self) -> &[ParameterId] {
        self.upkeep.as_ref().map_or(&[], |upkeep| upkeep.kept())
    }

    /// Names and values of the weights that a step changes, those that an adapter changes too.
    pub(crate) fn weights(&self) -> Vec<(String, &[f32])> {
        let of =
            |id: &ParameterId| (self.decoder.parameters.name(*id).to_owned(), self.decoder.parameters.get(*id).data());
        self.trainable.iter().chain(self.kept()).map(of).collect()
    }

    /// Lets `fill` write each of [`Learner::weights`], in their order, and forgets the average.
    pub(crate) fn fill_weights(&mut self, mut fill: impl FnMut(&mut [f32]) -> Result<()>) -> Result<()> {
        self.average = None;
        let kept = self.upkeep.as_ref().map_or(&[][..], |upkeep| upkeep.kept());
        let mut all = self.trainable.iter().chain(kept);
        all.try_for_each(|id| fill(self.decoder.parameters.get_mut(*id).data_mut()))
    }

    /// Names and lengths of every tensor that a step changes: a weight, then what the optimizer keeps about it; what an adapter
    /// keeps; and the average of each weight.
    pub fn tensors(&self) -> Vec<(String, usize)> {
        let mut tensors = Vec::new();
        for (id, state) in self.trainable.iter().zip(&self.state) {
            let name = self.decoder.parameters.name(*id);
            tensors.push((name.to_owned(), self.decoder.parameters.get(*id).len()));
            tensors.extend((0..).zip(state).map(|(n, tensor)| (format!("{name}/{n}"), tensor.len())));
        }
        let kept = self.kept().iter();
        let of =
            |id: &ParameterId| (self.decoder.parameters.name(*id).to_owned(), self.decoder.parameters.get(*id).len());
        tensors.extend(kept.map(of));
        let averages = self.average.as_ref().map_or(&[][..], Average::values);
        let names = self.trainable.iter().map(|id| format!("{}/average", self.decoder.parameters.name(*id)));
        tensors.extend(names.zip(averages.iter().map(Tensor::len)));
        tensors
    }

    /// The values of [`Learner::tensors`], in their order.
    pub fn values(&self) -> impl Iterator<Item = &[f32]> {
        let trained = self.trainable.iter().zip(&self.state).flat_map(|(id, state)| {
            std::iter::once(self.decoder.parameters.get(*id).data()).chain(state.iter().map(Tensor::data))
        });
        let kept = self.kept().iter().map(|id| self.decoder.parameters.get(*id).data());
        trained.chain(kept).chain(self.average.iter().flat_map(Average::values).map(Tensor::data))
    }

    /// Lets `fill` write each of [`Learner::tensors`], in their order.
    ///
    /// # Errors
    /// Those of `fill`.
    pub fn fill(&mut self, mut fill: impl FnMut(&mut [f32]) -> Result<()>) -> Result<()> {
        for (id, state) in self.trainable.iter().zip(&mut self.state) {
            fill(self.decoder.parameters.get_mut(*id).data_mut())?;
            for tensor in state {
                fill(tensor.data_mut())?;
            }
        }
        for id in self.upkeep.as_ref().map_or(&[][..], |upkeep| upkeep.kept()) {
            fill(self.decoder.parameters.get_mut(*id).data_mut())?;
        }
        for average in self.average.iter_mut().flat_map(Average::values_mut) {
            fill(average.data_mut())?;
        }
        Ok(())
    }
}

/// Whether the rows of a parameter are those of tokens.
pub(crate) fn is_of_vocabulary(decoder: &Decoder, id: ParameterId) -> bool {
    id == decoder.embedding_id() || id == decoder.head_id()
}
