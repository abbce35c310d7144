//! The walk back over a tape.

use metier_core::{Error, Place, Result};

use super::gradients::accumulate_into;
use super::{Gradients, Node, Tape, Var};
use crate::kernel;
use crate::tensor::Tensor;

/// What an operation keeps for its backward.
pub(crate) trait Record<'p> {
    /// Adds to the gradients of the inputs, given that of the output.
    fn backward(self: Box<Self>, gradient: Tensor, pass: &mut Pass<'_, 'p>) -> Result<()>;
}

/// The gradients of one walk back.
pub(crate) struct Pass<'a, 'p> {
    nodes: &'a [Node<'p>],
    slots: Vec<Option<Tensor>>,
    reached: Vec<bool>,
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
    ) -> Result<Vec<Option<Tensor>>> {
        let mut records: Vec<_> = self.nodes.iter_mut().map(|node| node.record.take()).collect();
        for (index, node) in self.nodes.iter_mut().enumerate() {
            if index != output.index as usize && node.parameter.is_none() {
                node.value = None;
            }
        }
        let count = output.index as usize + 1;
        let mut pass = Pass {
            nodes: &self.nodes,
            slots: (0..self.nodes.len()).map(|_| None).collect(),
            reached: vec![false; self.nodes.len()],
            parameters: gradients,
        };
        pass.accumulate(output, seed)?;
        records.truncate(count);
        while let Some(record) = records.pop() {
            if let Some(record) = record
                && let Some(gradient) = pass.slots[records.len()].take()
            {
                record.backward(gradient, &mut pass)?;
            }
        }
        let kept = kept.iter().map(|var| pass.slots[var.index as usize].take()).collect();
        let reached = pass.reached;
        let missed: Vec<&str> = (self.nodes.iter().zip(reached))
            .filter(|(node, reached)| node.needs_gradient && !reached)
            .filter_map(|(node, _)| Some(self.parameters.name(node.parameter?)))
            .collect();
        if missed.is_empty() {
            return Ok(kept);
        }
        Err(Error::user(Place::key("backward"), format!("trainable but reached by no gradient: {}", missed.join(", ")))
            .hint("freeze them, or use them on the way to the loss"))
    }
}
