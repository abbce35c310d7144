//! `export`: a training result folded into its base, written as a Hugging Face folder.

use super::model::open_checkpoint;
use super::train::{ADAPTER_FOLDER, BASE_FILE, Base, MODEL_FOLDER};
use super::{Context, Flow, InputSlot, Kind, Machine, Outcome, Verb, Work};
use metier_core::settings::Table;
use metier_core::store::{Counts, Estimate};
use metier_core::{Error, Fault, Place, Result};
use metier_model::Decoder;
use metier_model::checkpoint::{Checkpoint, Dtype, write_folder};
use metier_peft::adapter::{Adapter, Lora};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;

/// How the folder is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct ExportSettings {
    /// The type that weights are stored in.
    pub dtype: ExportDtype,
}

/// The type that weights are stored in.
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
}

/// The record of `export`.
pub static VERB: Verb = Verb {
    name: "export",
    version: 1,
    summary: "fold what training changed into the model and write a Hugging Face folder",
    makes: Kind::Model,
    inputs: &[
        InputSlot { key: "from", kind: Kind::Training, required: true, many: false, text: "the training result" },
        InputSlot {
            key: "model",
            kind: Kind::Model,
            required: true,
            many: false,
            text: "the model it was trained on top of",
        },
    ],
    parts: &[],
    settings: <ExportSettings as JsonSchema>::json_schema,
    read: read_settings,
};

struct Export(ExportSettings);

fn read_settings(table: &Table) -> Result<Box<dyn Work>> {
    Ok(Box::new(Export(table.read()?)))
}

impl Export {
    fn dtype(&self) -> Dtype {
        match self.0.dtype {
            ExportDtype::F32 => Dtype::F32,
            ExportDtype::Bf16 => Dtype::BF16,
            ExportDtype::F16 => Dtype::F16,
        }
    }
}

impl Work for Export {
    fn settings(&self) -> serde_json::Value {
        json!({ "settings": self.0 })
    }

    fn figures(&self, _: &BTreeMap<String, String>) -> Vec<String> {
        vec!["parameters".to_owned()]
    }

    fn plan(&self, inputs: &BTreeMap<String, Flow>, machine: &Machine) -> Result<(Estimate, Flow)> {
        let Some(path) = inputs.get("model").and_then(|flow| flow.path.as_deref()) else {
            return Ok((Estimate::default(), Flow::default()));
        };
        let checkpoint = open_checkpoint(path)?;
        let mut parameters = 0;
        for name in checkpoint.names() {
            parameters += checkpoint.shape(&name)?.iter().product::<usize>() as u64;
        }
        let bytes = parameters * if self.0.dtype == ExportDtype::F32 { 4 } else { 2 };
        let estimate = Estimate {
            rows: Some(checkpoint.names().len() as u64),
            memory_bytes: Some(parameters * 4 + (64 << 20)),
            disk_bytes: Some(bytes),
            seconds: Some(bytes as f64 / machine.disk_bytes_per_second + parameters as f64 / 2e8),
            ..Estimate::default()
        };
        Ok((estimate, Flow { path: Some(path.to_path_buf()), ..Flow::default() }))
    }

    fn run(&self, context: &Context) -> Result<Outcome> {
        context.start_over()?;
        let (from, model) = (context.input("from")?, context.input("model")?);
        check_base(&from.path, &model.id, &model.name)?;
        let checkpoint = open_checkpoint(&model.path)?;
        let trained = from.path.join(MODEL_FOLDER);
        let decoder = if trained.exists() {
            Decoder::from_checkpoint(&open_checkpoint(&trained)?)?
        } else {
            let mut decoder = Decoder::from_checkpoint(&checkpoint)?;
            metier_peft::folder::load(&mut decoder, &from.path.join(ADAPTER_FOLDER))?;
            Lora::default().fold(&mut decoder)?;
            decoder
        };
        write(&checkpoint, &decoder, context.work, self.dtype())?;
        let tensors = decoder.tensors()?;
        let parameters: usize = tensors.iter().map(|(_, tensor)| tensor.len()).sum();
        let rows = tensors.len() as u64;
        Ok(Outcome {
            counts: Counts { read: rows, out: rows, ..Counts::default() },
            figures: BTreeMap::from([("parameters".to_owned(), parameters as f64)]),
            table: None,
        })
    }
}

/// Refuses a base that the training result does not belong to.
fn check_base(folder: &Path, id: &str, name: &str) -> Result<()> {
    let path = folder.join(BASE_FILE);
    let text = std::fs::read_to_string(&path).map_err(|error| Error::io(&path, "read", &error))?;
    let base: Base = serde_json::from_str(&text)
        .map_err(|error| Error::user(Place::file(&path).at(error.line(), error.column()), error.to_string()))?;
    if base.id == id {
        return Ok(());
    }
    Err(Fault::new(
        Place::file(&path),
        format!("the training began from `{}` ({}), and the model given is `{name}` ({id})", base.name, base.id),
    )
    .hint("name the model that the training began from")
    .into())
}

/// Writes a plain decoder in f32 with a checkpoint's configuration, tokenizer and chat template.
pub fn write_model(checkpoint: &Checkpoint, decoder: &Decoder, folder: &Path) -> Result<()> {
    write(checkpoint, decoder, folder, Dtype::F32)
}

fn write(checkpoint: &Checkpoint, decoder: &Decoder, folder: &Path, dtype: Dtype) -> Result<()> {
    let tensors = decoder.tensors()?;
    let tensors = tensors.iter().map(|(name, tensor)| (&**name, tensor.shape(), tensor.data()));
    write_folder(folder, checkpoint, tensors, dtype)
}
