//! Checkpoints: a model's weights, configuration, tokenizer and chat template on disk.
//!
//! [`Checkpoint::open`] reads a Hugging Face folder (`config.json`, `tokenizer.json`, `*.safetensors` or `pytorch_model*.bin`) or one
//! GGUF file, and shows both alike: the configuration as `config.json` writes it, tensors under their Hugging
//! Face names and in that row order, as `f32`. Files are mapped into memory; a tensor's bytes are touched when
//! it is asked for. [`write_folder`] writes a folder that transformers loads.

mod check;
mod gguf;
mod hugging_face;
mod layout;
mod pooling;
mod pytorch;
mod safetensors;
#[cfg(test)]
mod tests;
mod write;

pub use gguf::{GgufPlan, Mixture, Share};
pub use pooling::{Pooling, PoolingMode};
pub use write::{Dtype, convert_folder, rewrite_folder, write_folder, write_new};

use crate::arch;
use crate::config::Config;
use layout::Layout;
use memmap2::Mmap;
use metier_compute::block::{self, Block};
use metier_compute::{Bytes, Tensor};
use metier_core::data::TokenId;
use metier_core::fault::near_miss;
use metier_core::seam::Tokenize;
use metier_core::{Error, Fault, Place, Result};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the file is called in a folder that holds a model as GGUF.
pub const GGUF_FILE: &str = "model.gguf";

/// How many tensors a file of weights has, after every check of the reader that its first bytes call for: of GGUF, of
/// PyTorch's files, else of safetensors. The vocabulary of a GGUF file is read too. `path` is for messages.
pub fn count_tensors(path: &Path, bytes: &[u8]) -> Result<usize> {
    if bytes.starts_with(b"GGUF") {
        return gguf::count_tensors(path, bytes);
    }
    let is_pytorch = bytes.starts_with(b"PK") || bytes.starts_with(b"\x80");
    let read = if is_pytorch { pytorch::read } else { safetensors::read };
    Ok(read(path, bytes, 0)?.len())
}

/// A model on disk, open for reading.
pub struct Checkpoint {
    /// The configuration, in the words of Hugging Face's `config.json`.
    pub config: Value,
    /// The tokenizer, with the model's begin and end tokens.
    pub tokenizer: Arc<dyn Tokenize>,
    /// The tokenizer as a `tokenizer.json`.
    pub tokenizer_json: String,
    /// The chat template, in Jinja.
    pub chat_template: Option<String>,
    /// The tokens the model's files name.
    pub special_tokens: SpecialTokens,
    path: PathBuf,
    files: Vec<MappedFile>,
    tensors: BTreeMap<String, Stored>,
}

/// Tokens with a role, as a model's files name them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Begins a text in templates; whether it is put before every text is the tokenizer's to say.
    pub begin: Option<TokenId>,
    /// Ends a reply; the first is the one `tokenizer_config.json` names.
    pub ends: Vec<TokenId>,
    /// Fills rows.
    pub padding: Option<TokenId>,
    /// Stands for what cannot be encoded.
    pub unknown: Option<TokenId>,
    /// Begins a text of an encoder: `[CLS]`.
    pub cls: Option<TokenId>,
    /// Ends it: `[SEP]`.
    pub sep: Option<TokenId>,
    /// Stands for a token that is to be filled in: `[MASK]`.
    pub mask: Option<TokenId>,
}

/// A tensor as it lies in a file.
pub struct AsStored {
    /// Its numbers, or their blocks.
    pub tensor: Tensor,
    /// Whether it has outputs first although Hugging Face checkpoints have inputs first.
    pub outputs_first: bool,
}

struct MappedFile {
    path: PathBuf,
    map: Arc<Mmap>,
}

/// Where a tensor lies and how it is stored.
#[derive(Clone)]
struct Stored {
    shape: Vec<usize>,
    file: usize,
    bytes: Range<usize>,
    kind: Kind,
    /// How its numbers lie.
    layout: Layout,
}

#[derive(Clone)]
enum Kind {
    Blocks(&'static dyn Block),
    /// A type that no weight may have.
    Other(String),
}

impl Checkpoint {
    /// Opens a Hugging Face folder or a GGUF file. All tensors that lack or have a wrong shape are named together.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let metadata = std::fs::metadata(path).map_err(|error| {
            Error::io(path, "open the model", &error).hint("name a Hugging Face folder or a GGUF file")
        })?;
        let in_folder = path.join(GGUF_FILE);
        let checkpoint = if !metadata.is_dir() {
            gguf::open(path)?
        } else if !path.join("config.json").exists() && in_folder.exists() {
            gguf::open(&in_folder)?
        } else {
            hugging_face::open(path)?
        };
        checkpoint.check()?;
        Ok(checkpoint)
    }

    /// Whether a path looks like a model: a GGUF file, or a folder with one called [`GGUF_FILE`] or with a configuration.
    pub fn is_at(path: impl AsRef<Path>) -> bool {
        let path = path.as_ref();
        let is_file = path.extension().is_some_and(|ending| ending == "gguf") && path.is_file();
        is_file || path.join("config.json").exists() || path.join(GGUF_FILE).exists()
    }

    /// The files that hold the weights.
    pub fn weight_files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| file.path.as_path())
    }

    /// How a folder stores these weights without a loss: in 16 bits when all of them are of one kind of those, else in 32.
    pub fn dtype(&self) -> Dtype {
        let mut kinds = self.model_tensors().into_iter().map(|(_, stored)| match &stored.kind {
            Kind::Blocks(block) if block.name() == "BF16" => Dtype::BF16,
            Kind::Blocks(block) if block.name() == "F16" => Dtype::F16,
            _ => Dtype::F32,
        });
        let first = kinds.next().unwrap_or_default();
        if kinds.all(|kind| kind == first) { first } else { Dtype::F32 }
    }

    /// The type of fewer than 16 bits that most of the model's numbers are stored in, if any are.
    pub fn rounded_to(&self) -> Option<&'static str> {
        let mut numbers: BTreeMap<&'static str, usize> = BTreeMap::new();
        for (_, stored) in self.model_tensors() {
            if let Kind::Blocks(block) = &stored.kind
                && block.coding().is_some()
            {
                *numbers.entry(block.name()).or_default() += stored.shape.iter().product::<usize>();
            }
        }
        numbers.into_iter().max_by_key(|(_, count)| *count).map(|(name, _)| name)
    }

    /// The tensors that the model is made of; all of an architecture that is not built.
    fn model_tensors(&self) -> Vec<(&str, &Stored)> {
        let all = self.tensors.iter().map(|(name, stored)| (name.as_str(), stored));
        let names = || self.tensors.keys().map(String::as_str);
        let Ok(config) = Config::for_tensors(&self.config, names()) else { return all.collect() };
        let wanted = arch::stored_weights(&config, names());
        let wanted: BTreeSet<String> = wanted.into_iter().map(|(_, stored)| stored).collect();
        all.filter(|(name, _)| wanted.contains(*name)).collect()
    }

    /// The folder or file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tensors' names, in order.
    pub fn names(&self) -> Vec<String> {
        self.tensors.keys().cloned().collect()
    }

    /// A tensor's shape, row-major: a linear layer's is `[outputs, inputs]`.
    pub fn shape(&self, name: &str) -> Result<Vec<usize>> {
        Ok(self.stored(name)?.shape.clone())
    }

    /// A tensor's shape and numbers.
    pub fn tensor(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>)> {
        let (stored, block, bytes) = self.bytes_of(name)?;
        let values = block::dequantize(block, bytes)?;
        Ok((stored.shape.clone(), stored.layout.read(values, &stored.shape)))
    }

    /// Whether the pairs of columns of queries and keys that turn together lie side by side in [`Checkpoint::tensor_as_stored`].
    pub fn is_interleaved(&self) -> bool {
        self.tensors.values().any(|stored| matches!(stored.layout, Layout::Interleaved { .. }))
    }

    /// A tensor whose numbers stay as they are stored, in the mapped file, where it is a matrix; else one of `f32`. The rows of queries and keys stay where they are; see [`Checkpoint::is_interleaved`].
    pub fn tensor_as_stored(&self, name: &str) -> Result<AsStored> {
        let (stored, block, bytes) = self.bytes_of(name)?;
        let (layout, shape) = (stored.layout, &stored.shape);
        let stays = matches!(layout, Layout::Interleaved { .. });
        if shape.len() != 2 {
            let values = block::dequantize(block, bytes)?;
            let values = if stays { values } else { layout.read(values, shape) };
            return Ok(AsStored { tensor: Tensor::from_vec(shape, values)?, outputs_first: false });
        }
        let outputs_first = layout == Layout::OutputsFirst;
        let shape: Vec<usize> = if outputs_first { shape.iter().rev().copied().collect() } else { shape.clone() };
        let (bytes, range): (Bytes, _) = if layout.moves_rows() && !stays {
            (Arc::new(layout.rows_read(bytes, shape[0])), 0..bytes.len())
        } else {
            (self.files[stored.file].map.clone(), stored.bytes.clone())
        };
        Ok(AsStored { tensor: Tensor::from_blocks(&shape, block, bytes, range)?, outputs_first })
    }

    /// Where a weight lies, how it is stored, and its bytes.
    fn bytes_of(&self, name: &str) -> Result<(&Stored, &'static dyn Block, &[u8])> {
        let stored = self.stored(name)?;
        let file = &self.files[stored.file];
        match &stored.kind {
            Kind::Blocks(block) => Ok((stored, *block, file.map.get(stored.bytes.clone()).unwrap_or_default())),
            Kind::Other(kind) => Err(Error::user(
                Place::file(&file.path).with_key(name),
                format!("the tensor is stored as {kind}, which no weight may be"),
            )
            .hint("weights are read as F32, F16 or BF16")),
        }
    }

    fn stored(&self, name: &str) -> Result<&Stored> {
        self.tensors.get(name).ok_or_else(|| {
            let mut fault = Fault::new(Place::file(&self.path).with_key(name), "the model has no such tensor");
            let near = near_miss(name, self.tensors.keys().map(String::as_str));
            fault.hint = near.map(|near| format!("did you mean `{near}`?"));
            fault.into()
        })
    }
}

/// Rows of `heads` heads with the pairs that turn together side by side, out of Hugging Face's order.
pub(crate) fn interleaved(values: &[f32], heads: usize, rows: usize) -> Vec<f32> {
    Layout::Interleaved { heads }.rows_written(values, rows)
}
