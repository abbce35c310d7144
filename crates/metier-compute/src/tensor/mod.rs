//! Tensors: row-major `f32` values in buffers that are reused from step to step, or numbers that stay in blocks.

mod blocks;
mod buffer;
mod counted;
mod list;
mod pool;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use metier_core::{Error, Place, Result};
use smallvec::SmallVec;

use crate::block::{Block, Nf4, Weight};
use crate::kernel::quantized::nf4::Nf4Weight;
use blocks::Blocks;
pub use blocks::Bytes;

pub(crate) use buffer::Buffer;
pub(crate) use counted::{Counted, Shared, Spare};
pub use list::{List, Listed};
pub use pool::{memory_in_use, memory_peak, release_unused, set_memory_limit};

/// Sizes, or distances, one for each dimension; up to six take no allocation.
pub(crate) type Sizes = SmallVec<[usize; 6]>;

/// What the elements of a tensor are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dtype {
    /// IEEE 754 single precision.
    F32,
    /// Blocks of the type that ggml calls so, or [`Nf4`].
    Blocks(&'static str),
}

/// A row-major array of numbers.
///
/// A clone shares the values; the first write through a clone copies them. The buffer goes back to a pool
/// when the last clone is dropped, and the next tensor of about that size takes it from there.
///
/// A tensor [from blocks](Tensor::from_blocks) keeps them as they are stored. Products, embeddings and heads read them
/// there; what asks for [`Tensor::data`] makes numbers of `f32` of them, once, which stay beside them.
#[derive(Clone)]
pub struct Tensor {
    shape: Sizes,
    values: Values,
}

#[derive(Clone)]
enum Values {
    Numbers(Shared<Buffer>),
    Blocks(Arc<Blocks>),
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
        Ok(Self { shape: shape.into(), values: Values::Numbers(Shared::new(Buffer::adopt(values)?)) })
    }

    /// A tensor of `shape` whose numbers are the blocks at `range` of `bytes`, which it shares.
    ///
    /// Refused when its rows are no whole blocks, or the bytes not as many as the shape needs.
    pub fn from_blocks(shape: &[usize], block: &'static dyn Block, bytes: Bytes, range: Range<usize>) -> Result<Self> {
        let blocks = Blocks::new(shape, length_of(shape)?, block, bytes, range)?;
        Ok(Self { shape: shape.into(), values: Values::Blocks(Arc::new(blocks)) })
    }

    /// The same numbers, as nearly as they can be, in NF4.
    ///
    /// Products of [`op::linear`](crate::op::linear()) and its relatives unpack a tile of it at a time; what asks for [`Tensor::data`] gets all as
    /// `f32`, which stay.
    #[must_use]
    pub fn in_nf4(&self) -> Self {
        let blocks = Blocks::of_nf4(Nf4::quantize(self.data()));
        Self { shape: self.shape.clone(), values: Values::Blocks(Arc::new(blocks)) }
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
        Ok(Self { shape: shape.into(), values: Values::Numbers(Shared::new(Buffer::stale(length)?)) })
    }

    /// The size of each dimension, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// What the elements are.
    pub fn dtype(&self) -> Dtype {
        match &self.values {
            Values::Numbers(_) => Dtype::F32,
            Values::Blocks(blocks) => Dtype::Blocks(blocks.name()),
        }
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        match &self.values {
            Values::Numbers(numbers) => numbers.as_slice().len(),
            Values::Blocks(blocks) => blocks.length(),
        }
    }

    /// True when a dimension is zero.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that the elements take as they are stored.
    pub fn stored_bytes(&self) -> usize {
        match &self.values {
            Values::Numbers(_) => self.len() * size_of::<f32>(),
            Values::Blocks(blocks) => blocks.bytes(),
        }
    }

    /// Hands out the elements as they are stored, little endian.
    pub fn stored(&self, mut take: impl FnMut(&[u8])) {
        match &self.values {
            Values::Numbers(numbers) => {
                let mut bytes = Vec::new();
                for part in numbers.as_slice().chunks(1 << 16) {
                    bytes.clear();
                    bytes.extend(part.iter().flat_map(|value| value.to_le_bytes()));
                    take(&bytes);
                }
            }
            Values::Blocks(blocks) => match (blocks.rows(), blocks.nf4()) {
                (Some((_, bytes)), _) => take(bytes),
                (None, Some(numbers)) => numbers.stored(take),
                (None, None) => {}
            },
        }
    }

    /// The elements, the last dimension fastest. Of blocks, `f32` numbers are made at the first call and kept.
    pub fn data(&self) -> &[f32] {
        match &self.values {
            Values::Numbers(numbers) => numbers.as_slice(),
            Values::Blocks(blocks) => blocks.numbers(),
        }
    }

    /// The elements, to write; copies them first when another clone shares them. Blocks become numbers of `f32`.
    pub fn data_mut(&mut self) -> &mut [f32] {
        if let Values::Blocks(blocks) = &self.values {
            self.values = Values::Numbers(Shared::new(blocks.decoded()));
        }
        match &mut self.values {
            Values::Numbers(numbers) => numbers.to_mut().as_mut_slice(),
            Values::Blocks(_) => &mut [],
        }
    }

    /// The same values under another shape of the same number of elements.
    pub fn reshape(&self, shape: &[usize]) -> Result<Self> {
        if length_of(shape)? != self.len() {
            return Err(Error::user(
                Place::key("reshape"),
                format!("{:?} cannot become {shape:?}: the number of elements differs", self.shape()),
            ));
        }
        Ok(Self { shape: shape.into(), values: self.values.clone() })
    }

    /// The only element of a tensor that has exactly one.
    pub fn item(&self) -> Result<f32> {
        match self.data() {
            [value] => Ok(*value),
            _ => Err(Error::user(Place::key("item"), format!("{:?} is not one element", self.shape()))),
        }
    }

    /// The blocks of a matrix that has them.
    pub(crate) fn weight(&self) -> Option<Weight<'_>> {
        let (Values::Blocks(blocks), Some((rows, columns))) = (&self.values, self.matrix()) else { return None };
        let (block, bytes) = blocks.rows()?;
        columns.is_multiple_of(block.values()).then_some(Weight { block, bytes, rows, columns })
    }

    /// A matrix in NF4.
    pub(crate) fn nf4(&self) -> Option<Nf4Weight<'_>> {
        let (Values::Blocks(blocks), Some((rows, columns))) = (&self.values, self.matrix()) else { return None };
        Some(Nf4Weight { numbers: blocks.nf4()?, rows, columns })
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
        if let Values::Blocks(blocks) = &self.values {
            return write!(f, "Tensor{:?} {blocks:?}", self.shape());
        }
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
    fn blocks_become_numbers_when_asked_and_when_written() {
        let block = crate::block::of_name("Q8_0").unwrap();
        let values: Vec<f32> = (0..128_u8).map(f32::from).collect();
        let bytes: Bytes = Arc::new(crate::block::quantize(block, &values).unwrap());
        let length = (*bytes).as_ref().len();
        let tensor = Tensor::from_blocks(&[2, 64], block, Arc::clone(&bytes), 0..length).unwrap();
        assert_eq!((tensor.dtype(), tensor.len()), (Dtype::Blocks("Q8_0"), 128));
        assert!(tensor.weight().is_some());
        let numbers = crate::block::dequantize(block, (*bytes).as_ref()).unwrap();
        assert_eq!(tensor.data(), numbers);
        let mut written = tensor.clone();
        written.data_mut()[5] = 1000.0;
        assert_eq!(written.dtype(), Dtype::F32);
        assert_eq!(written.data()[6..], numbers[6..]);
        assert_eq!(tensor.data(), numbers);
        for (shape, range) in
            [([2, 64], 0..length - 1), ([4, 32], 0..length + 34), ([8, 16], 0..length), ([0, 0], 0..0)]
        {
            assert!(Tensor::from_blocks(&shape, block, Arc::clone(&bytes), range).is_err(), "{shape:?}");
        }
    }

    #[test]
    fn empty_and_scalar_shapes_work() {
        assert_eq!(Tensor::zeros(&[3, 0]).unwrap().len(), 0);
        assert!((Tensor::scalar(2.5).unwrap().item().unwrap() - 2.5).abs() < f32::EPSILON);
    }
}
