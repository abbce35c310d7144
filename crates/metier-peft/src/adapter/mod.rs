//! The family of adapters: which weights a training changes.
//!
//! An adapter attaches to the places of [`metier_model::layer`]: in the place of a linear layer, around a sublayer, as tokens
//! before every text, or to the model's own weights. [`Decoder::detach`] takes it off, [`Decoder::fold`] works it into
//! the weights.

mod adalora;
mod bitfit;
mod bottleneck;
mod dora;
mod fish;
mod full;
mod ia3;
mod ln_tuning;
mod lora;
mod mam;
mod oft;
mod p_tuning;
mod prefix_tuning;
mod prompt_tuning;
mod qlora;
mod vera;

pub use adalora::Adalora;
pub use bitfit::Bitfit;
pub use bottleneck::{Bottleneck, Middle, Placement};
pub use dora::Dora;
pub use fish::Fish;
pub use full::Full;
pub use ia3::Ia3;
pub use ln_tuning::LnTuning;
pub use lora::Lora;
pub(crate) use lora::settings as lora_settings;
pub use mam::Mam;
pub use oft::Oft;
pub use p_tuning::{Encoder, PTuning};
pub use prefix_tuning::PrefixTuning;
pub use prompt_tuning::{PromptTuning, Start};
pub use qlora::Qlora;
pub use vera::Vera;

use crate::folder::{Form, Source};
use metier_compute::{ParameterId, Tensor};
use metier_core::Result;
use metier_core::part::{Part, Record};
use metier_core::seed::Seed;
use metier_model::Decoder;
use std::collections::BTreeMap;

/// A way to make a model trainable.
pub trait Adapter: Send + Sync {
    /// Adds its parts to the model and says what is trainable. The same seed gives the same numbers, whatever
    /// else was attached before.
    fn attach(&self, decoder: &mut Decoder, seed: Seed) -> Result<Attached>;

    /// Whether the model's linear layers are to be in 4 bits: whoever loads the model can then spare the rest
    /// ([`Decoder::from_checkpoint_in_nf4`]).
    fn quantizes(&self) -> bool {
        false
    }

    /// How many windows of the text its choice rests on, if it is to see the gradients of all weights first.
    fn measures(&self) -> Option<usize> {
        None
    }

    /// As [`Adapter::attach`], having seen the gradients that [`Adapter::measures`] asks for.
    fn attach_measured(&self, decoder: &mut Decoder, seed: Seed, _squares: &Squares) -> Result<Attached> {
        self.attach(decoder, seed)
    }
}

/// The mean of the squared gradient of each weight, over some windows.
pub type Squares = BTreeMap<ParameterId, Tensor>;

/// What an adapter made trainable.
#[derive(Debug, Clone)]
pub struct Attached {
    /// Numbers that training changes.
    pub trainable: u64,
    /// Numbers that stay as they are.
    pub frozen: u64,
    /// The linear layers that are adapted, in the model's order.
    pub sites: Vec<String>,
    /// What its files hold; none where the model itself is trained.
    pub form: Option<Form>,
}

impl Attached {
    /// What whoever loads it should know: keys of its settings that nothing here reads.
    pub fn notes(&self) -> Vec<String> {
        let unknown = self.form.iter().flat_map(|form| &form.unknown);
        unknown.map(|key| format!("the adapter's key `{key}` is not known and does nothing here; it is kept")).collect()
    }

    /// What is trainable in a model as it stands.
    pub(crate) fn of(decoder: &Decoder, form: Option<Form>) -> Self {
        let trainable = decoder.trainable_numbers();
        let all: u64 = decoder.parameters.iter().map(|(_, _, tensor, _)| tensor.len() as u64).sum();
        Self { trainable, frozen: all - trainable, sites: decoder.adapted_sites(), form }
    }
}

/// Every adapter.
#[rustfmt::skip]
pub static ADAPTERS: &[&Part<dyn Adapter>] = &[
    &adalora::PART,
    &bitfit::PART,
    &bottleneck::PART,
    &dora::PART,
    &fish::PART,
    &full::PART,
    &ia3::PART,
    &ln_tuning::PART,
    &lora::PART,
    &mam::PART,
    &oft::PART,
    &p_tuning::PART,
    &prefix_tuning::PART,
    &prompt_tuning::PART,
    &qlora::PART,
    &vera::PART,
];

type Read = fn(&mut Decoder, &mut Source<'_>) -> Result<Form>;

/// What reads files of each `peft_type` and attaches what they hold.
pub(crate) static FORMATS: &[(&str, Read)] = &[
    ("ADALORA", adalora::read),
    ("IA3", ia3::read),
    ("LN_TUNING", ln_tuning::read),
    ("LORA", lora::read),
    ("METIER_BITFIT", bitfit::read),
    ("METIER_BOTTLENECK", bottleneck::read),
    ("METIER_FISH", fish::read),
    ("METIER_MAM", mam::read),
    ("OFT", oft::read),
    ("PREFIX_TUNING", prefix_tuning::read),
    ("PROMPT_TUNING", prompt_tuning::read),
    ("P_TUNING", prompt_tuning::read),
    ("SHIRA", fish::read),
    ("VERA", vera::read),
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
