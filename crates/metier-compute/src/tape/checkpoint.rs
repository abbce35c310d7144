//! Segments whose values are computed again in the walk back.

use metier_core::seed::Seed;
use metier_core::{Error, Result};

use super::{Few, Pass, Record, Tape, Var};
use crate::kernel::Precision;
use crate::tensor::Tensor;

struct Checkpoint<'p, F> {
    precision: Precision,
    noise: Option<Seed>,
    parameters: &'p super::Parameters,
    body: F,
    inputs: Few<(Var, Tensor)>,
}

impl<'p> Tape<'p> {
    /// Runs `body` without keeping what it computes; the walk back runs it again.
    ///
    /// `body` gets handles that stand for `inputs` on a tape of its own, and may use those and parameters
    /// only. The kept memory is the inputs and the output; the cost is one more forward pass of the segment.
    pub fn checkpoint(
        &mut self,
        inputs: &[Var],
        body: impl Fn(&mut Tape<'p>, &[Var]) -> Result<Var> + 'p,
    ) -> Result<Var> {
        if !self.recording {
            return self.scope(|tape| body(tape, inputs));
        }
        let values = inputs.iter().map(|&input| Ok(self.value(input)?.clone())).collect::<Result<Few<Tensor>>>()?;
        let mut inner = Tape::inference(self.parameters);
        let precision = self.precision;
        inner.set_precision(precision);
        let noise = self.noise;
        inner.set_noise(noise);
        inner.angles = std::mem::take(&mut self.angles);
        let leaves: Few<Var> = values.iter().map(|value| inner.constant(value.clone())).collect();
        let output = body(&mut inner, &leaves)?;
        let value = inner.value(output)?.clone();
        self.angles = std::mem::take(&mut inner.angles);
        let trains =
            inner.room.known.iter().zip(self.parameters.iter()).any(|(known, (.., trains))| known.is_some() && trains);
        drop(inner);
        let needs_gradient = trains || inputs.iter().any(|&input| self.needs_gradient(input));
        let parameters = self.parameters;
        let inputs = inputs.iter().copied().zip(values).collect();
        Ok(self.add(
            "checkpoint",
            value,
            needs_gradient.then_some(Checkpoint { precision, noise, parameters, body, inputs }),
        ))
    }
}

impl<'p, F: Fn(&mut Tape<'p>, &[Var]) -> Result<Var> + 'p> Record<'p> for Checkpoint<'p, F> {
    fn backward(self, gradient: Tensor, pass: &mut Pass<'_, 'p>) -> Result<()> {
        let mut tape = Tape::training(self.parameters);
        tape.set_precision(self.precision);
        tape.set_noise(self.noise);
        let mut leaves = Few::new();
        for (outer, value) in &self.inputs {
            let value = value.clone();
            leaves.push(if pass.needs(*outer) { tape.leaf(value) } else { tape.constant(value) });
        }
        let output = (self.body)(&mut tape, &leaves)?;
        if tape.shape(output)? != gradient.shape() {
            return Err(Error::program("a checkpointed segment gave another shape when it was run again"));
        }
        if !tape.needs_gradient(output) {
            return Ok(());
        }
        let kept = tape.walk_back(output, gradient, pass.parameters(), &leaves)?;
        for ((outer, _), gradient) in self.inputs.iter().zip(kept) {
            if let Some(gradient) = gradient {
                pass.accumulate(*outer, gradient)?;
            }
        }
        Ok(())
    }
}
