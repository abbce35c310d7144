use super::{Adapter, Attached, Lora};
use metier_core::part::{Build, Part};
use metier_core::seed::Seed;
use metier_core::{Place, Result};
use metier_model::Decoder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// # What it does
/// Trains a `lora` beside linear layers that are stored in 4 bits.
///
/// # How
/// All linear layers of the model's blocks are stored in NF4: 64 numbers share a scale and 256 of these another, 4.127 bits a number in all.
/// Each product makes `f32` of at most 4 MiB of a weight at a time, forward and backward, and lets go of it; with
/// `precision = "bf16"` its inputs are rounded as those of every product are. Gradients reach the thin matrices only, which are `f32`. Embeddings,
/// norms and the head stay as they are. Other settings are those of `lora`.
///
/// # When to use
/// When the model's weights do not fit in memory beside what training needs: its linear layers take an eighth of what they take
/// for `lora`, and each step is slower. The folder that comes of it is that of a `lora`; `export` folds it into the model only with
/// `dequantize = true`, since what is then written is the model in 4 bits, made `f32`.
///
/// # Differs from the paper in
/// The thin matrices and their products are `f32`, where the paper has them in `bf16`. There are no paged optimizers: memory here is the
/// system's, which pages by itself.
///
/// # Source
/// Dettmers, Pagnoni, Holtzman and Zettlemoyer, "`QLoRA`: Efficient Finetuning of Quantized LLMs", arXiv 2305.14314, section 3.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Qlora(pub Lora);

impl Build<dyn Adapter> for Qlora {
    fn build(self, place: &Place) -> Result<Box<dyn Adapter>> {
        self.0.check(place)?;
        Ok(Box::new(self))
    }
}

impl Adapter for Qlora {
    fn quantizes(&self) -> bool {
        true
    }

    fn attach(&self, decoder: &mut Decoder, seed: Seed) -> Result<Attached> {
        decoder.quantize_linears();
        self.0.attach(decoder, seed)
    }
}

/// The record of this part.
pub static PART: Part<dyn Adapter> = Part::of::<Qlora>("qlora", 1);
