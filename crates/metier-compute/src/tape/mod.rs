//! The tape: records operations, walks them back, frees values as it goes.

mod checkpoint;
mod gradients;
mod parameters;
mod pass;
mod room;

use std::sync::atomic::{AtomicU32, Ordering};

use metier_core::seed::Seed;
use metier_core::{Error, Place, Result};
use smallvec::SmallVec;

use crate::kernel::arena::Kept;
use crate::kernel::matmul::Matrix;
use crate::kernel::matmul::bf16::Packed;
use crate::kernel::{self, Precision};
use crate::op::rotary::Angles;
use crate::tensor::{Shared, Sizes, Tensor};

pub use gradients::Gradients;
pub use parameters::{ParameterId, Parameters};
use pass::AnyRecord;
pub(crate) use pass::{Pass, Record};
use room::Room;

/// A handle of a value on a [`Tape`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Var {
    index: u32,
    tape: u32,
}

/// One for each input of a segment; up to two take no allocation.
type Few<T> = SmallVec<[T; 2]>;

struct Node<'p> {
    /// `None` once a scope or the walk back has let it go.
    value: Option<Tensor>,
    shape: Sizes,
    op: &'static str,
    parameter: Option<ParameterId>,
    needs_gradient: bool,
    record: Option<Kept<dyn AnyRecord<'p> + 'p>>,
}

/// A record of the operations of one forward pass.
///
/// Every operation keeps what its own backward needs and nothing else; the tape holds the values only so
/// that later operations can name them. [`Tape::scope`] lets those go early, which is what keeps inference
/// over many layers small.
pub struct Tape<'p> {
    parameters: &'p Parameters,
    room: Room<'p>,
    recording: bool,
    id: u32,
    /// Those used last: models have up to two kinds of layers with frequencies of their own.
    angles: [Option<Angles>; 2],
    precision: Precision,
    noise: Option<Seed>,
    /// The value that was packed last: several projections in a row read the same one.
    packed: Option<(Var, Shared<Packed>)>,
}

impl<'p> Tape<'p> {
    /// A tape that can walk back.
    pub fn training(parameters: &'p Parameters) -> Self {
        Self::new(parameters, true)
    }

    /// A tape that records nothing; it cannot walk back.
    pub fn inference(parameters: &'p Parameters) -> Self {
        Self::new(parameters, false)
    }

    fn new(parameters: &'p Parameters, recording: bool) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            parameters,
            room: Room::take(),
            recording,
            id,
            angles: [None, None],
            precision: Precision::F32,
            noise: None,
            packed: None,
        }
    }

    /// How the products of linear layers, heads and attention see their inputs from now on; `F32` at first.
    pub fn set_precision(&mut self, precision: Precision) {
        self.precision = precision;
    }

    /// What dropout draws from in this pass; where there is none, as at first, nothing is left out.
    pub fn set_noise(&mut self, noise: Option<Seed>) {
        self.noise = noise;
    }

    /// What [`Tape::set_noise`] set.
    pub fn noise(&self) -> Option<Seed> {
        self.noise
    }

    /// What [`Tape::set_precision`] set.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// A matrix on the tape, rounded and packed for the left of products.
    pub(crate) fn packed(&mut self, op: &'static str, what: &str, var: Var) -> Result<Shared<Packed>> {
        if let Some((last, packed)) = &self.packed
            && *last == var
        {
            return Ok(packed.clone());
        }
        let (rows, columns) = self.matrix(op, what, var)?;
        let packed = Shared::new(Packed::left(Matrix::new(self.value(var)?.data(), rows, columns)));
        self.packed = Some((var, packed.clone()));
        Ok(packed)
    }

    /// True when the tape can walk back.
    pub fn is_training(&self) -> bool {
        self.recording
    }

    /// The parameters that [`Tape::parameter`] takes from.
    pub fn parameters(&self) -> &'p Parameters {
        self.parameters
    }

    /// Puts a parameter on the tape; the second time it gives the same handle.
    pub fn parameter(&mut self, id: ParameterId) -> Var {
        if let Some(var) = self.room.known.get(id.0 as usize).copied().flatten() {
            return var;
        }
        let value = self.parameters.get(id).clone();
        let needs_gradient = self.recording && self.parameters.trainable(id);
        let var = self.add_node("parameter", value, needs_gradient, None);
        if let Some(node) = self.room.nodes.last_mut() {
            node.parameter = Some(id);
        }
        let known = &mut self.room.known;
        known.resize(known.len().max(id.0 as usize + 1), None);
        known[id.0 as usize] = Some(var);
        var
    }

    /// Puts a value on the tape that gets no gradient.
    pub fn constant(&mut self, value: Tensor) -> Var {
        self.add_node("constant", value, false, None)
    }

    /// Puts a value on the tape whose gradient the walk back keeps.
    fn leaf(&mut self, value: Tensor) -> Var {
        let needs_gradient = self.recording;
        self.add_node("input", value, needs_gradient, None)
    }

    /// A value on the tape.
    ///
    /// Refused when a scope has let it go or when it belongs to another tape.
    pub fn value(&self, var: Var) -> Result<&Tensor> {
        let node = self.node(var)?;
        node.value.as_ref().ok_or_else(|| {
            Error::program(format!(
                "the output {:?} of {} was used after its scope ended or after backward",
                node.shape, node.op
            ))
        })
    }

    /// The shape of a value, known even after the value was let go.
    pub fn shape(&self, var: Var) -> Result<&[usize]> {
        Ok(&self.node(var)?.shape)
    }

    /// Runs `body` and lets go of every value it put on the tape except the one it returns.
    ///
    /// Operations keep what their backward needs all the same, so a scope changes no result.
    pub fn scope(&mut self, body: impl FnOnce(&mut Self) -> Result<Var>) -> Result<Var> {
        let first = self.room.nodes.len();
        let kept = body(self)?;
        for (index, node) in self.room.nodes.iter_mut().enumerate().skip(first) {
            if index != kept.index as usize && node.parameter.is_none() {
                node.value = None;
            }
        }
        Ok(kept)
    }

    /// Lets go of one value; using it later is an error.
    pub fn release(&mut self, var: Var) {
        if var.tape == self.id
            && let Some(node) = self.room.nodes.get_mut(var.index as usize)
            && node.parameter.is_none()
        {
            node.value = None;
        }
    }

    /// Walks back from a scalar and adds the gradient of every trainable parameter to `gradients`.
    ///
    /// The tape is spent afterwards: only the loss keeps its value. Refused when `loss` is not one element,
    /// when the tape records nothing, and when a trainable parameter that was put on the tape gets no
    /// gradient, naming it.
    pub fn backward(&mut self, loss: Var, gradients: &mut Gradients) -> Result<()> {
        if !self.recording {
            return Err(Error::program("backward on an inference tape"));
        }
        if self.value(loss)?.len() != 1 {
            return Err(Error::user(
                Place::key("backward"),
                format!("the loss is {:?}, not one element", self.shape(loss)?),
            ));
        }
        let seed = Tensor::full(self.shape(loss)?, 1.0)?;
        self.walk_back(loss, seed, gradients, &[])?;
        Ok(())
    }

    pub(crate) fn needs_gradient(&self, var: Var) -> bool {
        self.node(var).is_ok_and(|node| node.needs_gradient)
    }

    /// The rows and columns of a value of two dimensions, or an error that names the operation.
    pub(crate) fn matrix(&self, op: &'static str, what: &str, var: Var) -> Result<(usize, usize)> {
        self.value(var)?.matrix().ok_or_else(|| {
            Error::user(
                Place::key(op),
                format!("{what} has the shape {:?} where rows and columns are needed", self.node_shape(var)),
            )
        })
    }

    /// Puts the output of an operation on the tape. `record` is made only when a gradient is needed.
    pub(crate) fn push<R: Record<'p> + 'p>(
        &mut self,
        op: &'static str,
        value: Tensor,
        inputs: &[Var],
        record: impl FnOnce() -> R,
    ) -> Result<Var> {
        if kernel::check_finite() {
            self.refuse_non_finite(op, &value, inputs)?;
        }
        let needs_gradient = self.recording && inputs.iter().any(|&input| self.needs_gradient(input));
        Ok(self.add(op, value, needs_gradient.then(record)))
    }

    pub(crate) fn angles(&mut self) -> &mut [Option<Angles>; 2] {
        &mut self.angles
    }

    /// Puts the output of an operation on the tape; it gets a gradient when there is a record.
    fn add<R: Record<'p> + 'p>(&mut self, op: &'static str, value: Tensor, record: Option<R>) -> Var {
        let needs_gradient = record.is_some();
        let record = record.map(|record| self.room.records.keep(Some(record), |record| record as _));
        self.add_node(op, value, needs_gradient, record)
    }

    fn add_node(
        &mut self,
        op: &'static str,
        value: Tensor,
        needs_gradient: bool,
        record: Option<Kept<dyn AnyRecord<'p> + 'p>>,
    ) -> Var {
        let index = self.room.nodes.len() as u32;
        let shape = Sizes::from_slice(value.shape());
        self.room.nodes.push(Node { value: Some(value), shape, op, parameter: None, needs_gradient, record });
        Var { index, tape: self.id }
    }

    fn node(&self, var: Var) -> Result<&Node<'p>> {
        self.room
            .nodes
            .get(var.index as usize)
            .filter(|_| var.tape == self.id)
            .ok_or_else(|| Error::program("a value was used on a tape that it does not belong to"))
    }

    fn node_shape(&self, var: Var) -> &[usize] {
        self.node(var).map_or(&[], |node| &node.shape)
    }

    fn refuse_non_finite(&self, op: &'static str, value: &Tensor, inputs: &[Var]) -> Result<()> {
        let Some(position) = value.data().iter().position(|value| !value.is_finite()) else { return Ok(()) };
        let mut from = Vec::new();
        for &input in inputs {
            let node = self.node(input)?;
            let name = node.parameter.map_or(node.op, |id| self.parameters.name(id));
            from.push(format!("{name} {:?}", node.shape));
        }
        Err(Error::user(
            Place::key(op),
            format!(
                "the output {:?} is not finite: element {position} is {} (inputs: {})",
                value.shape(),
                value.data()[position],
                from.join(", ")
            ),
        ))
    }
}

impl Drop for Tape<'_> {
    fn drop(&mut self) {
        std::mem::take(&mut self.room).give_back();
    }
}
