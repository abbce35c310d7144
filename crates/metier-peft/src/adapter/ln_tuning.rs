use super::{Adapter, Attached};
use crate::folder::{Content, Form, Source};
use metier_core::part::{Build, Part};
use metier_core::seed::Seed;
use metier_core::{Error, Place, Result};
use metier_model::{Decoder, arch};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeSet;

/// # What it does
/// Trains the norms of the model and nothing else.
///
/// # How
/// Weights and biases of every norm, those of heads of queries and keys too, are trained in place. Files hold them as the PEFT
/// library's do: `base_model.model.<norm>.ln_tuning_layers.weight`.
///
/// # When to use
/// When very few numbers are to be trained, and the model is to keep what its matrices know. It costs nothing
/// when the model answers.
///
/// # Differs from the paper in
/// The paper trains the norms of a model that reads images, together with the layer that brings these in.
///
/// # Source
/// Zhao et al., "Tuning `LayerNorm` in Attention: Towards Efficient Multi-Modal LLM Finetuning", arXiv 2312.11420.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LnTuning {}

impl Build<dyn Adapter> for LnTuning {
    fn build(self, _place: &Place) -> Result<Box<dyn Adapter>> {
        Ok(Box::new(self))
    }
}

impl Adapter for LnTuning {
    fn attach(&self, decoder: &mut Decoder, _seed: Seed) -> Result<Attached> {
        decoder.freeze();
        let norms = norms(decoder);
        let modules: BTreeSet<&str> = norms.iter().filter_map(|name| name.rsplit('.').nth(1)).collect();
        let mut form = Form::new("LN_TUNING", json!({ "target_modules": modules, "modules_to_save": null }));
        for name in &norms {
            train(decoder, &mut form, name, in_file(name))?;
        }
        Ok(Attached::of(decoder, Some(form)))
    }
}

/// The names of weights and biases of all norms.
fn norms(decoder: &Decoder) -> Vec<String> {
    let weights = arch::weight_shapes(decoder.config()).into_iter();
    weights.filter(|weight| weight.part.is_norm()).map(|weight| weight.name).collect()
}

fn in_file(name: &str) -> String {
    let (module, part) = name.rsplit_once('.').unwrap_or((name, "weight"));
    format!("base_model.model.{module}.ln_tuning_layers.{part}")
}

/// Trains one of the model's own weights in place, which files call `in_file`.
pub(super) fn train(decoder: &mut Decoder, form: &mut Form, name: &str, in_file: String) -> Result<()> {
    let id = decoder.parameters.find(name);
    let id = id.ok_or_else(|| Error::user(Place::key(name), "the model has no such weight"))?;
    decoder.train_in_place(id);
    form.tensors.push((in_file, Content::Parameter(id)));
    Ok(())
}

/// Reads those of `names` that are there into the model's own weights.
pub(super) fn read_in_place(
    decoder: &mut Decoder,
    source: &mut Source<'_>,
    names: Vec<String>,
    in_file: impl Fn(&str) -> String,
) -> Result<Form> {
    let mut form = Form::default();
    for name in names {
        let stored = in_file(&name);
        let Some(id) = decoder.parameters.find(&name).filter(|_| source.has(&stored)) else { continue };
        let shape = decoder.parameters.get(id).shape().to_vec();
        if let Some(tensor) = source.tensor(&stored, &shape)? {
            train(decoder, &mut form, &name, stored)?;
            *decoder.parameters.get_mut(id) = tensor;
        }
    }
    Ok(form)
}

/// Reads files of this method.
pub(super) fn read(decoder: &mut Decoder, source: &mut Source<'_>) -> Result<Form> {
    decoder.refuse_interleaved("ln_tuning")?;
    source.without(&["modules_to_save"]);
    source.settings()?;
    read_in_place(decoder, source, norms(decoder), in_file)
}

/// The record of this part.
pub static PART: Part<dyn Adapter> = Part::of::<LnTuning>("ln_tuning", 1);
