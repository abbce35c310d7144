//! The family of adapters: which weights a training changes, and how they become a plain model again.

mod full;
mod lora;

pub use full::Full;
pub use lora::Lora;
pub(crate) use lora::{freeze, parameter_name, put};

use metier_core::Result;
use metier_core::part::{Part, Record};
use metier_core::seed::Seed;
use metier_model::Decoder;

/// A way to make a model trainable.
pub trait Adapter: Send + Sync {
    /// Adds its parts to the model and says what is trainable. The same seed gives the same numbers, whatever
    /// else was attached before.
    fn attach(&self, decoder: &mut Decoder, seed: Seed) -> Result<Attached>;

    /// Works its parts into the model's own weights and takes them off: the model is plain again.
    fn fold(&self, decoder: &mut Decoder) -> Result<()>;
}

/// What an adapter made trainable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// Numbers that training changes.
    pub trainable: u64,
    /// Numbers that stay as they are.
    pub frozen: u64,
    /// The linear layers that have an addition, in the model's order.
    pub sites: Vec<String>,
}

impl Attached {
    /// What is trainable in a model as it stands.
    pub fn of(decoder: &Decoder) -> Self {
        let trainable = decoder.trainable_numbers();
        let all: u64 = decoder.parameters.iter().map(|(_, _, tensor, _)| tensor.len() as u64).sum();
        let sites = decoder.attached().into_iter().map(|(site, _)| site.name).collect();
        Self { trainable, frozen: all - trainable, sites }
    }
}

/// Every adapter.
#[rustfmt::skip]
pub static ADAPTERS: &[&Part<dyn Adapter>] = &[
    &full::PART,
    &lora::PART,
];

/// What is said about each adapter.
pub fn records() -> Vec<Record> {
    ADAPTERS.iter().map(|part| part.record()).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn pages_have_their_headings_and_names_are_in_order() {
        metier_testkit::assert_pages(&super::records());
    }
}
