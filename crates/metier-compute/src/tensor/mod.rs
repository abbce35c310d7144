//! Tensors: row-major `f32` values in buffers that are reused from step to step.

mod buffer;
mod counted;
mod list;
mod pool;

use std::fmt;

use metier_core::{Error, Place, Result};
use smallvec::SmallVec;

pub(crate) use buffer::Buffer;
pub(crate) use counted::{Counted, Shared, Spare};
pub use list::{List, Listed};
pub use pool::{memory_in_use, memory_peak, release_unused, set_memory_limit};

/// Sizes, or distances, one for each dimension; up to six take no allocation.
pub(crate) type Sizes = SmallVec<[usize; 6]>;

/// What an element of a tensor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dtype {
    /// IEEE 754 single precision.
    F32,
}

impl Dtype {
    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
        }
    }
}

/// A row-major array of `f32`.
///
/// A clone shares the values; the first write through a clone copies them. The buffer goes back to a pool
/// when the last clone is dropped, and the next tensor of about that size takes it from there.
#[derive(Clone)]
pub struct Tensor {
    shape: Sizes,
    buffer: Shared<Buffer>,
}

impl Tensor {
    /// A tensor of `shape` that takes over `values`.
    ///
    /// Refused when the number of values is not the product of `shape`, or when the memory limit is reached.
    pub fn from_vec(shape: &[usize], values: Vec<f32>) -> Result<Self> {
        let length = length_of(shape)?;
        if length != values.len() {
            return Err(Error::user(
                Place::key("tensor"),
                format!("{} values do not fill the shape {shape:?}, which holds {length}", values.len()),
            ));
        }
        Ok(Self { shape: shape.into(), buffer: Shared::new(Buffer::adopt(values)?) })
    }

    /// A tensor of `shape` full of zeros.
    pub fn zeros(shape: &[usize]) -> Result<Self> {
        Self::full(shape, 0.0)
    }

    /// A tensor of `shape` with every element equal to `value`.
    pub fn full(shape: &[usize], value: f32) -> Result<Self> {
        let mut tensor = Self::stale(shape)?;
        tensor.data_mut().fill(value);
        Ok(tensor)
    }

    /// A tensor of no dimensions that holds one value.
    pub fn scalar(value: f32) -> Result<Self> {
        Self::full(&[], value)
    }

    /// A tensor whose values are whatever its buffer held before; the caller writes every element.
    pub(crate) fn stale(shape: &[usize]) -> Result<Self> {
        let length = length_of(shape)?;
        Ok(Self { shape: shape.into(), buffer: Shared::new(Buffer::stale(length)?) })
    }

    /// The size of each dimension, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// What the elements are.
    pub fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.buffer.as_slice().len()
    }

    /// True when a dimension is zero.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements, the last dimension fastest.
    pub fn data(&self) -> &[f32] {
        self.buffer.as_slice()
    }

    /// The elements, to write; copies them first when another clone shares them.
    pub fn data_mut(&mut self) -> &mut [f32] {
        self.buffer.to_mut().as_mut_slice()
    }

    /// The same values under another shape of the same number of elements.
    pub fn reshape(&self, shape: &[usize]) -> Result<Self> {
        if length_of(shape)? != self.len() {
            return Err(Error::user(
                Place::key("reshape"),
                format!("{:?} cannot become {shape:?}: the number of elements differs", self.shape()),
            ));
        }
        Ok(Self { shape: shape.into(), buffer: self.buffer.clone() })
    }

    /// The only element of a tensor that has exactly one.
    pub fn item(&self) -> Result<f32> {
        match self.data() {
            [value] => Ok(*value),
            _ => Err(Error::user(Place::key("item"), format!("{:?} is not one element", self.shape()))),
        }
    }

    /// Rows and columns of a tensor of two dimensions; `None` for any other.
    pub(crate) fn matrix(&self) -> Option<(usize, usize)> {
        match *self.shape() {
            [rows, columns] => Some((rows, columns)),
            _ => None,
        }
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = &self.data()[..self.len().min(8)];
        write!(f, "Tensor{:?} {head:?}", self.shape())?;
        if self.len() > 8 { write!(f, " ...") } else { Ok(()) }
    }
}

fn length_of(shape: &[usize]) -> Result<usize> {
    shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size)).ok_or_else(|| {
        Error::user(Place::key("tensor"), format!("the shape {shape:?} holds more elements than can be counted"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_until_written() {
        let a = Tensor::from_vec(&[2], vec![1.0, 2.0]).unwrap();
        let mut b = a.clone();
        b.data_mut()[0] = 5.0;
        assert_eq!(a.data(), [1.0, 2.0]);
        assert_eq!(b.data(), [5.0, 2.0]);
    }

    #[test]
    fn wrong_lengths_and_absurd_shapes_are_refused() {
        assert!(Tensor::from_vec(&[2, 2], vec![0.0; 3]).unwrap_err().to_string().contains("[2, 2]"));
        assert!(Tensor::zeros(&[usize::MAX, 2]).is_err());
        assert!(Tensor::zeros(&[1 << 60]).is_err());
    }

    #[test]
    fn empty_and_scalar_shapes_work() {
        assert_eq!(Tensor::zeros(&[3, 0]).unwrap().len(), 0);
        assert!((Tensor::scalar(2.5).unwrap().item().unwrap() - 2.5).abs() < f32::EPSILON);
    }
}
