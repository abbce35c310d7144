//! Numbers that stay as they are stored: in blocks, in a mapped file or in memory.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use metier_core::{Error, Place, Result};

use super::Buffer;
use crate::block::{self, Block, Nf4};

/// Bytes that many tensors may share, such as a mapped file.
pub type Bytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// Numbers in blocks.
pub(super) struct Blocks {
    storage: Storage,
    length: usize,
    /// Made when something asks for numbers.
    numbers: OnceLock<Buffer>,
}

enum Storage {
    /// Rows of blocks that stand alone.
    Rows {
        block: &'static dyn Block,
        bytes: Bytes,
        range: Range<usize>,
    },
    Nf4(Nf4),
}

impl Blocks {
    /// Refused when the bytes are not those of `shape` in rows of whole blocks.
    pub fn new(
        shape: &[usize],
        length: usize,
        block: &'static dyn Block,
        bytes: Bytes,
        range: Range<usize>,
    ) -> Result<Self> {
        let whole = shape.last().is_some_and(|&row| row > 0 && row.is_multiple_of(block.values()));
        let wanted = block::bytes_for(block, length).filter(|_| whole);
        let there = (*bytes).as_ref().get(range.clone()).map(<[u8]>::len);
        if wanted.is_none() || wanted != there {
            let message = match wanted {
                None => {
                    format!("the shape {shape:?} has no rows of whole {} blocks of {}", block.name(), block.values())
                }
                Some(wanted) => {
                    format!("the shape {shape:?} needs {wanted} bytes of {} blocks, and has {range:?}", block.name())
                }
            };
            return Err(Error::user(Place::key("tensor"), message));
        }
        Ok(Self { storage: Storage::Rows { block, bytes, range }, length, numbers: OnceLock::new() })
    }

    /// Numbers in NF4.
    pub fn of_nf4(numbers: Nf4) -> Self {
        Self { length: numbers.len(), storage: Storage::Nf4(numbers), numbers: OnceLock::new() }
    }

    /// The name of the type.
    pub fn name(&self) -> &'static str {
        match &self.storage {
            Storage::Rows { block, .. } => block.name(),
            Storage::Nf4(_) => Nf4::NAME,
        }
    }

    /// The type and bytes of blocks that stand alone.
    pub fn rows(&self) -> Option<(&'static dyn Block, &[u8])> {
        match &self.storage {
            Storage::Rows { block, bytes, range } => {
                Some((*block, (**bytes).as_ref().get(range.clone()).unwrap_or_default()))
            }
            Storage::Nf4(_) => None,
        }
    }

    /// What is in NF4.
    pub fn nf4(&self) -> Option<&Nf4> {
        match &self.storage {
            Storage::Rows { .. } => None,
            Storage::Nf4(numbers) => Some(numbers),
        }
    }

    pub fn length(&self) -> usize {
        self.length
    }

    /// Bytes that they take.
    pub fn bytes(&self) -> usize {
        match &self.storage {
            Storage::Rows { range, .. } => range.len(),
            Storage::Nf4(numbers) => numbers.bytes(),
        }
    }

    /// The numbers, made once and kept.
    pub fn numbers(&self) -> &[f32] {
        self.numbers.get_or_init(|| self.decoded()).as_slice()
    }

    /// The numbers, made anew.
    pub fn decoded(&self) -> Buffer {
        let mut buffer = Buffer::scratch(self.length);
        match &self.storage {
            Storage::Rows { block, bytes, range } => {
                let bytes = (**bytes).as_ref().get(range.clone()).unwrap_or_default();
                block::decode(*block, bytes, buffer.as_mut_slice());
            }
            Storage::Nf4(numbers) => numbers.read(0, buffer.as_mut_slice()),
        }
        buffer
    }
}

impl fmt::Debug for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} bytes", self.name(), self.bytes())
    }
}
