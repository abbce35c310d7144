//! The gradients of parameters, added up over calls of backward.

use metier_core::Result;

use super::ParameterId;
use crate::kernel;
use crate::tensor::Tensor;

/// The gradient of each parameter that got one.
#[derive(Default)]
pub struct Gradients {
    slots: Vec<Option<Tensor>>,
}

impl Gradients {
    /// No gradients.
    pub fn new() -> Self {
        Self::default()
    }

    /// The gradient of a parameter, of the parameter's shape.
    pub fn get(&self, id: ParameterId) -> Option<&Tensor> {
        self.slots.get(id.0 as usize)?.as_ref()
    }

    /// The gradient of a parameter, to change.
    pub fn get_mut(&mut self, id: ParameterId) -> Option<&mut Tensor> {
        self.slots.get_mut(id.0 as usize)?.as_mut()
    }

    /// Every gradient, by parameter.
    pub fn iter(&self) -> impl Iterator<Item = (ParameterId, &Tensor)> {
        (0_u32..).zip(&self.slots).filter_map(|(index, slot)| Some((ParameterId(index), slot.as_ref()?)))
    }

    /// Forgets every gradient; the buffers go back to the pool.
    pub fn clear(&mut self) {
        self.slots.clear();
    }

    /// Multiplies every gradient by `factor`.
    pub fn scale(&mut self, factor: f32) {
        for tensor in self.slots.iter_mut().flatten() {
            kernel::elementwise::scale_in_place(tensor.data_mut(), factor);
        }
    }

    /// The Euclidean norm over all gradients, summed in `f64` in a fixed order.
    pub fn norm(&self) -> f64 {
        self.slots.iter().flatten().map(|tensor| kernel::reduce::sum_of_squares(tensor.data())).sum::<f64>().sqrt()
    }

    /// Adds `tensor` to the gradient of a parameter.
    pub(crate) fn accumulate(&mut self, id: ParameterId, tensor: Tensor) {
        match self.slot(id) {
            Some(present) => kernel::elementwise::add_in_place(present.data_mut(), tensor.data()),
            empty => *empty = Some(tensor),
        }
    }

    /// Lets `write` write (`false`) or add to (`true`) the gradient of a parameter.
    pub(crate) fn accumulate_with(
        &mut self,
        id: ParameterId,
        shape: &[usize],
        write: impl FnOnce(&mut [f32], bool) -> Result<()>,
    ) -> Result<()> {
        accumulate_into(self.slot(id), shape, write)
    }

    fn slot(&mut self, id: ParameterId) -> &mut Option<Tensor> {
        let index = id.0 as usize;
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, || None);
        }
        &mut self.slots[index]
    }
}

/// Writes to a new tensor or adds to the one that is there.
pub(super) fn accumulate_into(
    slot: &mut Option<Tensor>,
    shape: &[usize],
    write: impl FnOnce(&mut [f32], bool) -> Result<()>,
) -> Result<()> {
    if let Some(present) = slot {
        return write(present.data_mut(), true);
    }
    let mut fresh = Tensor::stale(shape)?;
    write(fresh.data_mut(), false)?;
    *slot = Some(fresh);
    Ok(())
}
