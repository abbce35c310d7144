//! Numbers that stay as they are stored: in blocks, in a mapped file or in memory.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use metier_core::{Error, Place, Result};

use super::Buffer;
use crate::block::{self, Block};

/// Bytes that many tensors may share, such as a mapped file.
pub type Bytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// Rows of blocks.
pub(super) struct Blocks {
    block: &'static dyn Block,
    bytes: Bytes,
    range: Range<usize>,
    length: usize,
    /// Made when something asks for numbers.
    numbers: OnceLock<Buffer>,
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
        Ok(Self { block, bytes, range, length, numbers: OnceLock::new() })
    }

    pub fn block(&self) -> &'static dyn Block {
        self.block
    }

    pub fn length(&self) -> usize {
        self.length
    }

    pub fn bytes(&self) -> &[u8] {
        (*self.bytes).as_ref().get(self.range.clone()).unwrap_or_default()
    }

    /// The numbers, made once and kept.
    pub fn numbers(&self) -> &[f32] {
        self.numbers.get_or_init(|| self.decoded()).as_slice()
    }

    /// The numbers, made anew.
    pub fn decoded(&self) -> Buffer {
        let mut buffer = Buffer::scratch(self.length);
        block::decode(self.block, self.bytes(), buffer.as_mut_slice());
        buffer
    }
}

impl fmt::Debug for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.block.name(), self.range)
    }
}
