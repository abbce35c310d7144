//! Named tensors that a model is made of.

use std::collections::HashMap;

use metier_core::{Error, Place, Result};

use crate::kernel::{Level, Precision, level};
use crate::tensor::Tensor;

/// A parameter of one [`Parameters`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParameterId(pub(crate) u32);

#[derive(Clone)]
struct Entry {
    name: String,
    tensor: Tensor,
    trainable: bool,
}

/// Named tensors in the order of their insertion, each trainable or frozen. A clone shares the numbers until one of the two
/// changes them.
#[derive(Clone, Default)]
pub struct Parameters {
    entries: Vec<Entry>,
    by_name: HashMap<String, ParameterId>,
}

impl Parameters {
    /// No parameters.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a parameter; refused when the name is taken.
    pub fn insert(&mut self, name: impl Into<String>, tensor: Tensor, trainable: bool) -> Result<ParameterId> {
        let name = name.into();
        if self.by_name.contains_key(&name) {
            return Err(Error::user(Place::key(name), "a parameter of this name is there already"));
        }
        let id = ParameterId(self.entries.len() as u32);
        self.by_name.insert(name.clone(), id);
        self.entries.push(Entry { name, tensor, trainable });
        Ok(id)
    }

    /// The value of a parameter.
    pub fn get(&self, id: ParameterId) -> &Tensor {
        &self.entries[id.0 as usize].tensor
    }

    /// The value of a parameter, to change.
    pub fn get_mut(&mut self, id: ParameterId) -> &mut Tensor {
        &mut self.entries[id.0 as usize].tensor
    }

    /// The name of a parameter.
    pub fn name(&self, id: ParameterId) -> &str {
        &self.entries[id.0 as usize].name
    }

    /// The parameter of a name.
    pub fn find(&self, name: &str) -> Option<ParameterId> {
        self.by_name.get(name).copied()
    }

    /// True when training changes the parameter.
    pub fn trainable(&self, id: ParameterId) -> bool {
        self.entries[id.0 as usize].trainable
    }

    /// Says whether training changes the parameter.
    pub fn set_trainable(&mut self, id: ParameterId, trainable: bool) {
        self.entries[id.0 as usize].trainable = trainable;
    }

    /// All parameters: id, name, value, and whether training changes it.
    pub fn iter(&self) -> impl Iterator<Item = (ParameterId, &str, &Tensor, bool)> {
        (0_u32..)
            .zip(&self.entries)
            .map(|(index, entry)| (ParameterId(index), entry.name.as_str(), &entry.tensor, entry.trainable))
    }

    /// How products of `rows` rows see their inputs when nothing is trained: in `bf16` where a weight is in blocks, which is
    /// coarser than that, and the processor has tiles for `bf16`, if there are rows enough to pay for unpacking the
    /// blocks; in `f32` otherwise.
    pub fn precision(&self, rows: usize) -> Precision {
        /// Unpacking all blocks takes the time of about so many rows.
        const MANY: usize = 64;
        let coded = |tensor: &Tensor| tensor.weight().is_some_and(|weight| weight.block.coding().is_some());
        let stored = || self.entries.iter().any(|entry| coded(&entry.tensor));
        if rows >= MANY && level() == Level::Amx && stored() { Precision::Bf16 } else { Precision::F32 }
    }

    /// The number of parameters.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
