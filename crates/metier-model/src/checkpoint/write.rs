//! A Hugging Face folder, written so that transformers loads it.

use super::{Checkpoint, SpecialTokens, pooling};
use crate::arch;
use crate::config::Config;
use crate::layer::Part;
use half::{bf16, f16};
use metier_core::data::TokenId;
use metier_core::seam::Tokenize;
use metier_core::{Error, Place, Result, store};
use metier_tokenizer::scheme::HuggingFace;
use safetensors::tensor::{SafeTensorError, View};
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// How weights are stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Dtype {
    /// 32 bits: nothing is lost.
    #[default]
    F32,
    /// 16 bits with the range of 32, rounded to nearest even.
    BF16,
    /// 16 bits with three more digits and less range.
    F16,
}

impl Dtype {
    fn bytes(self) -> usize {
        if self == Self::F32 { 4 } else { 2 }
    }

    pub(super) fn torch_name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::BF16 => "bfloat16",
            Self::F16 => "float16",
        }
    }
}

/// Writes a model into `folder`, which is created: `config.json`, `generation_config.json`,
/// `model.safetensors`, `special_tokens_map.json`, `tokenizer.json` and `tokenizer_config.json`; and what `like` has of
/// sentence-transformers, which says how vectors are made.
///
/// Configuration, tokenizer and chat template are those of `like`; `tensors` are names in Hugging Face's words,
/// shapes and numbers in row-major order. Without a head among them it is tied to the embedding. One tensor
/// at a time is held in its written form. `config.json` is written last: a folder without it is unfinished.
pub fn write_folder<'a>(
    folder: &Path,
    like: &Checkpoint,
    tensors: impl IntoIterator<Item = (&'a str, &'a [usize], &'a [f32])>,
    dtype: Dtype,
) -> Result<()> {
    let weights = tensors
        .into_iter()
        .map(|(name, shape, values)| (name, Weight { dtype, shape, numbers: Numbers::Here(values) }))
        .collect();
    write(folder, like, weights, dtype)
}

/// As [`write_folder`], of a model that was not there before: its configuration, its tokenizer, and the tokens that begin and
/// end its texts.
pub fn write_new<'a>(
    folder: &Path,
    config: Value,
    tokenizer_json: String,
    special_tokens: SpecialTokens,
    tensors: impl IntoIterator<Item = (&'a str, &'a [usize], &'a [f32])>,
) -> Result<()> {
    let tokenizer: Arc<dyn Tokenize> = Arc::new(
        HuggingFace::from_json(&tokenizer_json)?.with_begin(special_tokens.begin).with_ends(&special_tokens.ends),
    );
    let like = Checkpoint {
        config,
        tokenizer,
        tokenizer_json,
        chat_template: None,
        special_tokens,
        path: folder.to_path_buf(),
        files: Vec::new(),
        tensors: BTreeMap::new(),
    };
    write_folder(folder, &like, tensors, Dtype::F32)
}

/// As [`write_folder`], with the tensors of a checkpoint, of which one at a time is read.
pub fn convert_folder(folder: &Path, checkpoint: &Checkpoint, dtype: Dtype) -> Result<()> {
    let read = |name: &str| Ok(checkpoint.tensor(name)?.1);
    rewrite_folder(folder, checkpoint, &BTreeMap::new(), &read, dtype)
}

/// As [`convert_folder`], with other numbers: `read` gives those of a tensor, and `shapes` the shape of each that has another
/// one than in the checkpoint.
///
/// # Errors
/// Those of `read`, and what cannot be written.
pub fn rewrite_folder(
    folder: &Path,
    checkpoint: &Checkpoint,
    shapes: &BTreeMap<String, Vec<usize>>,
    read: &Read<'_>,
    dtype: Dtype,
) -> Result<()> {
    let failure = Mutex::new(None);
    let weights = checkpoint
        .model_tensors()
        .into_iter()
        .map(|(name, stored)| {
            let numbers = Numbers::Read { read, name, failure: &failure };
            (name, Weight { dtype, shape: shapes.get(name).unwrap_or(&stored.shape), numbers })
        })
        .collect();
    let written = write(folder, checkpoint, weights, dtype);
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => written,
    }
}

fn write(folder: &Path, like: &Checkpoint, weights: Vec<(&str, Weight<'_>)>, dtype: Dtype) -> Result<()> {
    store::create_folder(folder)?;
    let mut names = BTreeSet::new();
    for (name, weight) in &weights {
        if !weight.is_whole() || !names.insert(*name) {
            return Err(Error::program(format!("the tensor `{name}` stands twice or its shape is not its length")));
        }
    }
    let mut config = like.config.clone();
    let head = arch::of(&config).ok().and_then(|architecture| architecture.weight_name(Part::Head));
    config["tie_word_embeddings"] = json!(!names.contains(head.as_deref().unwrap_or("lm_head.weight")));
    config["torch_dtype"] = json!(dtype.torch_name());
    if config.get("dtype").is_some() {
        config["dtype"] = json!(dtype.torch_name());
    }
    write_weights(&folder.join("model.safetensors"), weights)?;
    store::write_atomic(folder.join("tokenizer.json"), &like.tokenizer_json)?;
    let named = named_tokens(like)?;
    write_json(&folder.join("special_tokens_map.json"), &Value::Object(named.clone()))?;
    write_json(&folder.join("tokenizer_config.json"), &tokenizer_config(like, named))?;
    write_json(&folder.join("generation_config.json"), &generation_config(like))?;
    if like.path != folder {
        pooling::copy(&like.path, folder)?;
    }
    write_json(&folder.join("config.json"), &config)
}

struct Weight<'a> {
    dtype: Dtype,
    shape: &'a [usize],
    numbers: Numbers<'a>,
}

/// Gives the numbers of a tensor.
type Read<'a> = dyn Fn(&str) -> Result<Vec<f32>> + 'a;

/// Where the numbers of a tensor are.
enum Numbers<'a> {
    /// In memory.
    Here(&'a [f32]),
    /// Read when they are written. What cannot be read is kept in `failure`.
    Read { read: &'a Read<'a>, name: &'a str, failure: &'a Mutex<Option<Error>> },
}

impl Weight<'_> {
    fn count(&self) -> usize {
        self.shape.iter().product()
    }

    fn is_whole(&self) -> bool {
        match self.numbers {
            Numbers::Here(values) => values.len() == self.count(),
            Numbers::Read { .. } => true,
        }
    }

    fn numbers(&self) -> Cow<'_, [f32]> {
        match self.numbers {
            Numbers::Here(values) => values.into(),
            Numbers::Read { read, name, failure } => match read(name) {
                Ok(values) if values.len() == self.count() => values.into(),
                other => {
                    let wrong = || Error::program(format!("the numbers of `{name}` are not as many as its shape says"));
                    let error = other.err().unwrap_or_else(wrong);
                    failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    vec![0.0; self.count()].into()
                }
            },
        }
    }
}

impl View for Weight<'_> {
    fn dtype(&self) -> safetensors::Dtype {
        match self.dtype {
            Dtype::F32 => safetensors::Dtype::F32,
            Dtype::BF16 => safetensors::Dtype::BF16,
            Dtype::F16 => safetensors::Dtype::F16,
        }
    }

    fn shape(&self) -> &[usize] {
        self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let mut bytes = Vec::with_capacity(self.data_len());
        for value in &*self.numbers() {
            match self.dtype {
                Dtype::F32 => bytes.extend_from_slice(&value.to_le_bytes()),
                Dtype::BF16 => bytes.extend_from_slice(&bf16::from_f32(*value).to_le_bytes()),
                Dtype::F16 => bytes.extend_from_slice(&f16::from_f32(*value).to_le_bytes()),
            }
        }
        bytes.into()
    }

    fn data_len(&self) -> usize {
        self.count() * self.dtype.bytes()
    }
}

fn write_weights(path: &Path, weights: Vec<(&str, Weight<'_>)>) -> Result<()> {
    // transformers refuses files that do not say which framework's tensors they hold.
    let about = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    // The library replaces the file by one that only its owner may read.
    let usual = File::create(path).and_then(|file| file.metadata());
    let usual = usual.map_err(|error| Error::io(path, "create the file", &error))?.permissions();
    safetensors::serialize_to_file(weights, Some(about), path).map_err(|error| match error {
        SafeTensorError::IoError(error) => Error::io(path, "write the weights", &error),
        other => Error::user(Place::file(path), format!("the weights cannot be written: {other}")),
    })?;
    let written = fs::set_permissions(path, usual).and_then(|()| File::open(path)?.sync_all());
    written.map_err(|error| Error::io(path, "write the weights", &error))
}

/// The tokens with a role, as written in the vocabulary.
fn named_tokens(like: &Checkpoint) -> Result<Map<String, Value>> {
    let tokens = &like.special_tokens;
    let roles = [
        ("bos_token", tokens.begin),
        ("eos_token", tokens.ends.first().copied()),
        ("pad_token", tokens.padding),
        ("unk_token", tokens.unknown),
        ("cls_token", tokens.cls),
        ("sep_token", tokens.sep),
        ("mask_token", tokens.mask),
    ];
    let mut named = Map::new();
    for (role, id) in roles {
        if let Some(id) = id {
            let bytes = like.tokenizer.bytes_of(id).and_then(|bytes| String::from_utf8(bytes).ok());
            let text = bytes.ok_or_else(|| {
                Error::user(
                    Place::file(&like.path).with_key(role),
                    format!("the id {id} is no token of the vocabulary"),
                )
            })?;
            named.insert(role.to_owned(), json!(text));
        }
    }
    Ok(named)
}

fn tokenizer_config(like: &Checkpoint, named: Map<String, Value>) -> Value {
    let mut settings = named;
    let begin = like.tokenizer.begin_of_text();
    // What an encoder's texts begin with is no begin-of-text token, and stands in tokenizer.json alone.
    if begin.is_none() || begin == like.special_tokens.begin {
        settings.insert("add_bos_token".to_owned(), json!(begin.is_some()));
    }
    settings.insert("clean_up_tokenization_spaces".to_owned(), json!(false));
    settings.insert("tokenizer_class".to_owned(), json!("PreTrainedTokenizerFast"));
    let context = Config::from_json(&like.config).map(|config| config.context_length as u64).ok();
    if let Some(context) = context.or_else(|| like.config["max_position_embeddings"].as_u64()) {
        settings.insert("model_max_length".to_owned(), json!(context));
    }
    if let Some(template) = &like.chat_template {
        settings.insert("chat_template".to_owned(), json!(template));
    }
    Value::Object(settings)
}

fn generation_config(like: &Checkpoint) -> Value {
    let tokens = &like.special_tokens;
    let mut settings = json!({ "_from_model_config": true });
    let ends: &[TokenId] = &tokens.ends;
    match ends {
        [] => {}
        [end] => settings["eos_token_id"] = json!(end),
        ends => settings["eos_token_id"] = json!(ends),
    }
    for (key, id) in [("bos_token_id", tokens.begin), ("pad_token_id", tokens.padding)] {
        if let Some(id) = id {
            settings[key] = json!(id);
        }
    }
    settings
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Error::program(format!("{} does not serialize: {error}", path.display())))?;
    store::write_atomic(path, text + "\n")
}
