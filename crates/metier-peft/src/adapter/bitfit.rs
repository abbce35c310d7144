use super::{Adapter, Attached, ln_tuning};
use crate::folder::{Form, Source};
use metier_core::part::{Build, Part};
use metier_core::seed::Seed;
use metier_core::{Error, Fault, Place, Result};
use metier_model::Decoder;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// # What it does
/// Trains the biases of the model and nothing else.
///
/// # How
/// Every weight whose name ends in `.bias` is trained in place, those of norms too. Files hold them under the names that they have
/// in the model, with `base_model.model.` before.
///
/// # When to use
/// For models with biases (GPT-2, GPT-NeoX, Phi, Qwen2's attention) and little text. Models without any, such as
/// Llama, are refused.
///
/// # Differs from the paper in
/// There is no head of a task to train beside them.
///
/// # Source
/// Ben Zaken, Goldberg and Ravfogel, "`BitFit`: Simple Parameter-efficient Fine-tuning for Transformer-based Masked
/// Language-models", arXiv 2106.10199, section 3.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Bitfit {}

impl Build<dyn Adapter> for Bitfit {
    fn build(self, _place: &Place) -> Result<Box<dyn Adapter>> {
        Ok(Box::new(self))
    }
}

impl Adapter for Bitfit {
    fn attach(&self, decoder: &mut Decoder, _seed: Seed) -> Result<Attached> {
        let biases = biases(decoder);
        if biases.is_empty() {
            let message =
                format!("a model of the type `{}` has no biases", decoder.config().design.architecture.model_type);
            return Err(Error::from(
                Fault::new(Place::key("adapter.method"), message)
                    .hint("`ln_tuning` or `ia3` train about as few numbers"),
            ));
        }
        decoder.freeze();
        let mut form = Form::new("METIER_BITFIT", json!({}));
        for name in biases {
            ln_tuning::train(decoder, &mut form, &name, in_file(&name))?;
        }
        Ok(Attached::of(decoder, Some(form)))
    }
}

/// The names of all biases.
fn biases(decoder: &Decoder) -> Vec<String> {
    let names = decoder.parameters.iter().map(|(_, name, ..)| name);
    names
        .filter(|name| name.strip_suffix(".bias").is_some_and(|name| !name.starts_with("base_model.")))
        .map(str::to_owned)
        .collect()
}

fn in_file(name: &str) -> String {
    format!("base_model.model.{name}")
}

/// Reads files of this method.
pub(super) fn read(decoder: &mut Decoder, source: &mut Source<'_>) -> Result<Form> {
    decoder.refuse_interleaved("bitfit")?;
    source.settings()?;
    ln_tuning::read_in_place(decoder, source, biases(decoder), in_file)
}

/// The record of this part.
pub static PART: Part<dyn Adapter> = Part::of::<Bitfit>("bitfit", 1);
