//! The walk back over a tape.

use metier_core::{Error, Place, Result};

use super::gradients::accumulate_into;
use super::room::Room;
use super::{Few, Gradients, Node, Tape, Var};
use crate::kernel;
use crate::tensor::Tensor;

/// What an operation keeps for its backward.
pub(crate) trait Record<'p> {
    /// Adds to the gradients of the inputs, given that of the output.
    fn backward(self, gradient: Tensor, pass: &mut Pass<'_, 'p>) -> Result<()>;
}

/// A record of any kind, as long as it is there.
pub(super) trait AnyRecord<'p> {
    fn backward(&mut self, gradient: Tensor, pass: &mut Pass<'_, 'p>) -> Result<()>;
}

impl<'p, R: Record<'p>> AnyRecord<'p> for Option<R> {
    fn backward(&mut self, gradient: Tensor, pass: &mut Pass<'_, 'p>) -> Result<()> {
        self.take().map_or(Ok(()), |record| record.backward(gradient, pass))
    }
}

/// The gradients of one walk back.
pub(crate) struct Pass<'a, 'p> {
    nodes: &'a [Node<'p>],
    slots: &'a mut [Option<Tensor>],
    reached: &'a mut [bool],
    parameters: &'a mut Gradients,
}

impl Pass<'_, '_> {
    /// True when the gradient of `var` is wanted.
    pub fn needs(&self, var: Var) -> bool {
        self.nodes[var.index as usize].needs_gradient
    }

    /// Adds `gradient` to that of `var`; nothing happens when it is not wanted.
    pub fn accumulate(&mut self, var: Var, gradient: Tensor) -> Result<()> {
        let index = var.index as usize;
        if !self.needs(var) {
            return Ok(());
        }
        self.reached[index] = true;
        if let Some(id) = self.nodes[index].parameter {
            self.parameters.accumulate(id, gradient);
            return self.check(index);
        }
        match &mut self.slots[index] {
            Some(present) => kernel::elementwise::add_in_place(present.data_mut(), gradient.data()),
            empty => *empty = Some(gradient),
        }
        self.check(index)
    }

    /// Lets `write` write (`false`) or add to (`true`) the gradient of `var`; nothing happens when it is
    /// not wanted.
    pub fn accumulate_with(&mut self, var: Var, write: impl FnOnce(&mut [f32], bool) -> Result<()>) -> Result<()> {
        let index = var.index as usize;
        if !self.needs(var) {
            return Ok(());
        }
        self.reached[index] = true;
        let node = &self.nodes[index];
        match node.parameter {
            Some(id) => self.parameters.accumulate_with(id, &node.shape, write)?,
            None => accumulate_into(&mut self.slots[index], &node.shape, write)?,
        }
        self.check(index)
    }

    /// The gradients of parameters, for a walk within the walk.
    pub fn parameters(&mut self) -> &mut Gradients {
        self.parameters
    }

    fn check(&self, index: usize) -> Result<()> {
        if !kernel::check_finite() {
            return Ok(());
        }
        let node = &self.nodes[index];
        let gradient = match node.parameter {
            Some(id) => self.parameters.get(id),
            None => self.slots[index].as_ref(),
        };
        match gradient.and_then(|tensor| tensor.data().iter().position(|value| !value.is_finite())) {
            None => Ok(()),
            Some(position) => Err(Error::user(
                Place::key(node.op),
                format!("the gradient of the output {:?} is not finite at element {position}", node.shape),
            )),
        }
    }
}

impl Tape<'_> {
    /// Walks back from `output`, whose gradient is `seed`, and returns the gradients of `kept`.
    pub(super) fn walk_back(
        &mut self,
        output: Var,
        seed: Tensor,
        gradients: &mut Gradients,
        kept: &[Var],
    ) -> Result<Few<Option<Tensor>>> {
        let Room { nodes, slots, reached, .. } = &mut self.room;
        let count = output.index as usize + 1;
        for (index, node) in nodes.iter_mut().enumerate() {
            if index >= count {
                node.record = None;
            }
            if index != output.index as usize && node.parameter.is_none() {
                node.value = None;
            }
        }
        slots.resize_with(nodes.len(), || None);
        reached.resize(nodes.len(), false);
        let mut pass = Pass { nodes, slots, reached, parameters: gradients };
        pass.accumulate(output, seed)?;
        for index in (0..count).rev() {
            let record = nodes[index].record.take();
            if let Some(mut record) = record
                && let Some(gradient) = slots[index].take()
            {
                record.backward(gradient, &mut Pass { nodes, slots, reached, parameters: gradients })?;
            }
        }
        let kept = kept.iter().map(|var| slots[var.index as usize].take()).collect();
        let missed: Vec<&str> = (nodes.iter().zip(reached.iter()))
            .filter(|(node, reached)| node.needs_gradient && !**reached)
            .filter_map(|(node, _)| Some(self.parameters.name(node.parameter?)))
            .collect();
        if missed.is_empty() {
            return Ok(kept);
        }
        Err(Error::user(Place::key("backward"), format!("trainable but reached by no gradient: {}", missed.join(", ")))
            .hint("freeze them, or use them on the way to the loss"))
    }
}
