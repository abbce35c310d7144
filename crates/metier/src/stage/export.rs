//! `export`: a model, with a training result folded in if there is one, as a Hugging Face folder or a GGUF file.

use super::model::{open_base, open_checkpoint};
use super::train::{ADAPTER_FOLDER, BASE_FILE, Base, MODEL_FOLDER};
use super::{Context, Flow, Input, InputSlot, Kind, Machine, Outcome, Verb, Work};
use crate::command::{count, size, table};
use metier_compute::Tape;
use metier_core::settings::Table;
use metier_core::store::{Counts, Estimate};
use metier_core::{Error, Fault, Place, Result};
use metier_model::Decoder;
use metier_model::checkpoint::{Checkpoint, Dtype, GGUF_FILE, GgufPlan, Mixture, convert_folder, write_folder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;

/// How the model is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct ExportSettings {
    /// What is written.
    pub format: ExportFormat,
    /// The type that weights are stored in.
    pub dtype: ExportDtype,
    /// Whether the numbers of a base in 4 bits (`qlora`) are written, with the adapter folded in. Without it such a training result
    /// is refused, because its adapter belongs to those numbers and not to the model that they were made of.
    pub dequantize: bool,
}

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(rename_all = "snake_case")]
pub enum ExportFormat {
    /// A folder that transformers loads.
    #[default]
    HuggingFace,
    /// One file that llama.cpp loads.
    Gguf,
}

/// The type that weights are stored in. Those in fewer than 16 bits are for `format = "gguf"`, where some tensors get other types by
/// llama.cpp's rules; the plan says which and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(rename_all = "lowercase")]
pub enum ExportDtype {
    /// 32 bits: nothing is lost.
    #[default]
    F32,
    /// 16 bits with the range of 32.
    Bf16,
    /// 16 bits with more digits and less range.
    F16,
    /// 4.5 bits.
    Q4_0,
    /// 5 bits, with minima.
    Q4_1,
    /// 4.5 bits in superblocks, some tensors in more: llama.cpp's `Q4_K_M`.
    #[serde(rename = "q4_k")]
    Q4K,
    /// 5.5 bits.
    Q5_0,
    /// 6 bits, with minima.
    Q5_1,
    /// 6.6 bits in superblocks.
    #[serde(rename = "q6_k")]
    Q6K,
    /// 8.5 bits.
    Q8_0,
}

impl ExportDtype {
    /// The type of a folder's weights, if it can be one.
    fn of_folder(self) -> Option<Dtype> {
        Some(match self {
            Self::F32 => Dtype::F32,
            Self::Bf16 => Dtype::BF16,
            Self::F16 => Dtype::F16,
            _ => return None,
        })
    }

    fn mixture(self) -> Mixture {
        match self {
            Self::F32 => Mixture::F32,
            Self::Bf16 => Mixture::BF16,
            Self::F16 => Mixture::F16,
            Self::Q4_0 => Mixture::Q4_0,
            Self::Q4_1 => Mixture::Q4_1,
            Self::Q4K => Mixture::Q4K,
            Self::Q5_0 => Mixture::Q5_0,
            Self::Q5_1 => Mixture::Q5_1,
            Self::Q6K => Mixture::Q6K,
            Self::Q8_0 => Mixture::Q8_0,
        }
    }
}

/// The record of `export`.
pub static VERB: Verb = Verb {
    name: "export",
    version: 1,
    summary: "write a model, with what training changed folded in, as a Hugging Face folder or a GGUF file",
    makes: Kind::Model,
    inputs: &[
        InputSlot {
            key: "from",
            kind: Kind::Training,
            required: false,
            many: false,
            text: "the training result; without one the model is written as it is",
        },
        InputSlot {
            key: "model",
            kind: Kind::Model,
            required: true,
            many: false,
            text: "the model, or the one that the training began from",
        },
    ],
    parts: &[],
    settings: <ExportSettings as JsonSchema>::json_schema,
    read: read_settings,
};

struct Export {
    settings: ExportSettings,
    how: How,
}

#[derive(Clone, Copy)]
enum How {
    Folder(Dtype),
    File(Mixture),
}

fn read_settings(table: &Table) -> Result<Box<dyn Work>> {
    let settings: ExportSettings = table.read()?;
    let how = match (settings.format, settings.dtype.of_folder()) {
        (ExportFormat::HuggingFace, Some(dtype)) => How::Folder(dtype),
        (ExportFormat::HuggingFace, None) => {
            let message = "a Hugging Face folder holds weights of f32, bf16 or f16";
            return Err(Fault::new(table.place(), message).hint("write `format = \"gguf\"` for fewer bits").into());
        }
        (ExportFormat::Gguf, _) => How::File(settings.dtype.mixture()),
    };
    Ok(Box::new(Export { settings, how }))
}

impl Work for Export {
    fn settings(&self) -> serde_json::Value {
        json!({ "settings": self.settings })
    }

    fn figures(&self, _: &BTreeMap<String, String>) -> Vec<String> {
        vec!["parameters".to_owned()]
    }

    fn plan(&self, inputs: &BTreeMap<String, Flow>, machine: &Machine) -> Result<(Estimate, Flow)> {
        let Some(path) = inputs.get("model").and_then(|flow| flow.path.as_deref()) else {
            return Ok((Estimate::default(), Flow::default()));
        };
        let checkpoint = open_checkpoint(path)?;
        let (mut parameters, mut largest) = (0, 0);
        for name in checkpoint.names() {
            let values = checkpoint.shape(&name)?.iter().product::<usize>() as u64;
            parameters += values;
            largest = largest.max(values);
        }
        let (bytes, notes) = match self.how {
            How::Folder(dtype) => (parameters * if dtype == Dtype::F32 { 4 } else { 2 }, Vec::new()),
            How::File(mixture) => {
                let plan = GgufPlan::new(&checkpoint, mixture)?;
                (plan.bytes(), notes(&plan, mixture))
            }
        };
        // With a training result the whole model is there as numbers, else a tensor and what is made of it.
        let held = if inputs.contains_key("from") { parameters * 4 } else { largest * 8 };
        let estimate = Estimate {
            rows: Some(checkpoint.names().len() as u64),
            memory_bytes: Some(held + (64 << 20)),
            disk_bytes: Some(bytes),
            seconds: Some(
                bytes as f64 / machine.disk_bytes_per_second + parameters as f64 / self.how.values_per_second(),
            ),
            ..Estimate::default()
        };
        Ok((estimate, Flow { path: Some(path.to_path_buf()), notes, ..Flow::default() }))
    }

    fn run(&self, context: &Context) -> Result<Outcome> {
        context.start_over()?;
        let model = context.input("model")?;
        let checkpoint = open_checkpoint(&model.path)?;
        let decoder = match context.inputs.get("from") {
            Some(from) => Some(folded(from, model, &checkpoint, self.settings.dequantize)?),
            None => None,
        };
        let (parameters, table) = match self.how {
            How::Folder(dtype) => (write(&checkpoint, decoder.as_ref(), context.work, dtype)?, None),
            How::File(mixture) => {
                let plan = GgufPlan::new(&checkpoint, mixture)?;
                let path = context.work.join(GGUF_FILE);
                match &decoder {
                    None => plan.write(&path, |name| Ok(checkpoint.tensor(name)?.1))?,
                    Some(decoder) => {
                        let tensors: BTreeMap<_, _> = decoder.tensors()?.into_iter().collect();
                        let missing = |name: &str| Error::program(format!("the trained model has no `{name}`"));
                        plan.write(&path, |name| Ok(tensors.get(name).ok_or_else(|| missing(name))?.data().to_vec()))?;
                    }
                }
                (plan.values(), Some(types(&plan)))
            }
        };
        let rows = checkpoint.names().len() as u64;
        Ok(Outcome {
            counts: Counts { read: rows, out: rows, ..Counts::default() },
            figures: BTreeMap::from([("parameters".to_owned(), parameters as f64)]),
            table,
        })
    }
}

impl How {
    /// Numbers a second, on one thread; measured on 135 million of them.
    fn values_per_second(self) -> f64 {
        match self {
            Self::File(Mixture::Q4K) => 5e6,
            Self::File(Mixture::Q6K) => 8e6,
            _ => 2e8,
        }
    }
}

/// What a GGUF file will hold that was not asked for, for people.
fn notes(plan: &GgufPlan, mixture: Mixture) -> Vec<String> {
    let mut notes = plan.notes.clone();
    for share in plan.shares() {
        if let Some(why) = share.why {
            let tensors = if share.tensors == 1 { "1 tensor".to_owned() } else { format!("{} tensors", share.tensors) };
            notes.push(format!("{tensors} in {} instead of {}: {why}", share.block, mixture.block_name()));
        }
    }
    notes
}

/// Tensors and bytes of each type.
fn types(plan: &GgufPlan) -> String {
    let rows: Vec<Vec<String>> = plan
        .shares()
        .into_iter()
        .map(|share| {
            vec![
                share.block.to_owned(),
                count(share.tensors as u64),
                count(share.values as u64),
                size(share.bytes as u64),
                share.why.unwrap_or_default(),
            ]
        })
        .collect();
    table(&["type", "tensors", "numbers", "size", "why"], &rows, &[false, true, true, true, false])
}

/// The decoder of a training result, an adapter beside its base.
pub(super) fn adapted(from: &Input, model: &Input, checkpoint: &Checkpoint) -> Result<Decoder> {
    let base = check_base(&from.path, &model.id, &model.name)?;
    let whole = from.path.join(MODEL_FOLDER);
    if whole.exists() {
        return Decoder::from_checkpoint(&open_checkpoint(&whole)?);
    }
    let mut decoder = open_base(checkpoint, base.quantized)?;
    let attached = metier_peft::folder::load(&mut decoder, &from.path.join(ADAPTER_FOLDER))?;
    attached.notes().iter().for_each(|note| metier_core::progress::say(note));
    Ok(decoder)
}

/// The same as plain weights.
fn folded(from: &Input, model: &Input, checkpoint: &Checkpoint, dequantize: bool) -> Result<Decoder> {
    let mut decoder = adapted(from, model, checkpoint)?;
    if from.path.join(MODEL_FOLDER).exists() {
        return Ok(decoder);
    }
    let adapted = probe(&decoder)?;
    if dequantize {
        decoder.dequantize();
    }
    decoder.fold()?;
    let folded = probe(&decoder)?;
    let apart: f64 = adapted.iter().zip(&folded).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    let length: f64 = adapted.iter().map(|a| f64::from(*a).powi(2)).sum();
    let share = (apart / length.max(f64::MIN_POSITIVE)).sqrt();
    if share.is_nan() || share > FOLDED_APART {
        let message = format!("the folded model's logits are off those of the adapter by {share:.1e} of their length");
        return Err(Error::user(Place::file(&from.path), message).hint(
            "the adapter's numbers are too large for f32; use it beside its base, or train it with a lower rate",
        ));
    }
    Ok(decoder)
}

/// How far logits may be off after folding, as a share of their length. Rounding leaves some 1e-6.
const FOLDED_APART: f64 = 1e-3;

/// The logits of a text of tokens from all over the vocabulary.
fn probe(decoder: &Decoder) -> Result<Vec<f32>> {
    let (context, vocabulary) = (decoder.config().context_length, decoder.config().vocabulary_size);
    let rows = context.min(32);
    let ids: Vec<u32> = (1..=rows).map(|number| (number * 7919 % vocabulary) as u32).collect();
    let positions: Vec<u32> = (0..rows as u32).collect();
    let mut tape = Tape::inference(&decoder.parameters);
    let hidden = decoder.hidden(&mut tape, &ids, &positions, std::slice::from_ref(&(0..rows)))?;
    Ok(decoder.logits(tape.value(hidden)?)?.data().to_vec())
}

/// What a training result was made on top of.
pub(super) fn read_base(folder: &Path) -> Result<Base> {
    let path = folder.join(BASE_FILE);
    let text = std::fs::read_to_string(&path).map_err(|error| Error::io(&path, "read", &error))?;
    serde_json::from_str(&text)
        .map_err(|error| Error::user(Place::file(&path).at(error.line(), error.column()), error.to_string()))
}

/// Refuses a base that the training result does not belong to.
fn check_base(folder: &Path, id: &str, name: &str) -> Result<Base> {
    let base = read_base(folder)?;
    if base.id == id {
        return Ok(base);
    }
    Err(Fault::new(
        Place::file(folder.join(BASE_FILE)),
        format!("the training began from `{}` ({}), and the model given is `{name}` ({id})", base.name, base.id),
    )
    .hint("name the model that the training began from")
    .into())
}

/// Writes a plain decoder in f32 with a checkpoint's configuration, tokenizer and chat template.
pub fn write_model(checkpoint: &Checkpoint, decoder: &Decoder, folder: &Path) -> Result<()> {
    write(checkpoint, Some(decoder), folder, Dtype::F32).map(drop)
}

/// Writes a folder with the weights of a decoder, or of the checkpoint itself; gives how many numbers they have.
fn write(checkpoint: &Checkpoint, decoder: Option<&Decoder>, folder: &Path, dtype: Dtype) -> Result<usize> {
    let Some(decoder) = decoder else {
        convert_folder(folder, checkpoint, dtype)?;
        let mut parameters = 0;
        for name in checkpoint.names() {
            parameters += checkpoint.shape(&name)?.iter().product::<usize>();
        }
        return Ok(parameters);
    };
    let tensors = decoder.tensors()?;
    let parameters = tensors.iter().map(|(_, tensor)| tensor.len()).sum();
    let tensors = tensors.iter().map(|(name, tensor)| (&**name, tensor.shape(), tensor.data()));
    write_folder(folder, checkpoint, tensors, dtype)?;
    Ok(parameters)
}
