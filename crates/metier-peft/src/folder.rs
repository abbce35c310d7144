//! An adapter on disk, in the layout of the PEFT library: `adapter_config.json` and
//! `adapter_model.safetensors`. The key `peft_type` says which method it is; names and shapes of tensors are told where
//! each method is.
//!
//! Beside them lies `adapter_base.json`, which other programs pass over: what tells the base that the adapter was trained on. Keys of
//! `adapter_config.json` that are not known are kept, and told by name.

use crate::adapter::{Attached, FORMATS};
use metier_compute::{ParameterId, Tape, Tensor};
use metier_core::fault::near_miss;
use metier_core::{Error, Fault, Place, Result, store};
use metier_model::layer::VirtualTokens;
use metier_model::{Decoder, Fingerprint};
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file of an adapter's settings.
pub const CONFIG: &str = "adapter_config.json";
const TENSORS: &str = "adapter_model.safetensors";
const BASE: &str = "adapter_base.json";
/// What names in files begin with.
pub(crate) const PREFIX: &str = "base_model.model.";
/// Keys that the PEFT library writes. What a method does not read of them changes nothing of what its weights compute.
const PASSED_OVER: &[&str] = &[
    "activation",
    "alora_invocation_tokens",
    "alpha_pattern",
    "arrow_config",
    "auto_mapping",
    "base_model_name_or_path",
    "beta1",
    "beta2",
    "bias",
    "block_share",
    "coft",
    "corda_config",
    "d_initial",
    "deltaT",
    "encoder_dropout",
    "encoder_hidden_size",
    "encoder_num_layers",
    "encoder_reparameterization_type",
    "ensure_weight_tying",
    "eps",
    "eva_config",
    "exclude_modules",
    "fan_in_fan_out",
    "feedforward_modules",
    "inference_mode",
    "init_ia3_weights",
    "init_lora_weights",
    "init_r",
    "init_weights",
    "kasa_config",
    "layer_replication",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_alpha",
    "lora_bias",
    "lora_dropout",
    "lora_ga_config",
    "mask_type",
    "megatron_config",
    "megatron_core",
    "module_dropout",
    "modules_to_save",
    "monteclora_config",
    "num_attention_heads",
    "num_cayley_neumann_terms",
    "num_layers",
    "num_transformer_submodules",
    "num_virtual_tokens",
    "oft_block_size",
    "orth_reg_weight",
    "peft_type",
    "peft_version",
    "prefix_projection",
    "projection_prng_key",
    "prompt_tuning_init",
    "prompt_tuning_init_text",
    "qalora_group_size",
    "r",
    "random_seed",
    "rank_pattern",
    "revision",
    "runtime_config",
    "save_projection",
    "target_modules",
    "target_parameters",
    "target_r",
    "task_type",
    "tfinal",
    "tinit",
    "token_dim",
    "tokenizer_kwargs",
    "tokenizer_name_or_path",
    "total_step",
    "trainable_token_indices",
    "use_bdlora",
    "use_cayley_neumann",
    "use_dora",
    "use_qalora",
    "use_rslora",
    "velora_config",
    "vera_dropout",
];

/// What tells the base of an adapter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Base {
    /// Of its weights.
    pub fingerprint: Fingerprint,
    /// Numbers that it has.
    pub parameters: u64,
}

impl Base {
    /// What tells the base of what is attached to `decoder`.
    pub fn of(decoder: &Decoder) -> Self {
        let adapters: u64 =
            decoder.adapter_parameters().iter().map(|id| decoder.parameters.get(*id).len() as u64).sum();
        let all: u64 = decoder.parameters.iter().map(|(_, _, tensor, _)| tensor.len() as u64).sum();
        Self { fingerprint: decoder.fingerprint(), parameters: all - adapters }
    }

    /// Whether both are of one model. Weights are compared where both were seen in full, else what no quantization changes.
    pub fn is_of(&self, other: &Self) -> bool {
        self.fingerprint.agrees_with(&other.fingerprint)
    }
}

/// What tells an adapter's files: its settings and its tensors.
#[derive(Debug, Clone, Default)]
pub struct Form {
    /// `adapter_config.json`.
    pub config: Map<String, Value>,
    /// What `adapter_model.safetensors` holds, by name.
    pub tensors: Vec<(String, Content)>,
    /// Keys of the settings that nothing here knows, as they were read.
    pub unknown: Vec<String>,
}

/// The numbers of a tensor.
#[derive(Debug, Clone)]
pub enum Content {
    /// Those of a parameter.
    Parameter(ParameterId),
    /// What virtual tokens come to.
    Table(Arc<dyn VirtualTokens>),
    /// Whole numbers of this shape.
    Whole(Vec<usize>, Vec<i32>),
}

impl Form {
    /// The files of a method with the settings `config`, an object.
    pub(crate) fn new(peft_type: &str, config: Value) -> Self {
        let mut all = Map::new();
        all.insert("peft_type".into(), json!(peft_type));
        all.insert("task_type".into(), json!("CAUSAL_LM"));
        all.insert("inference_mode".into(), json!(true));
        if let Value::Object(own) = config {
            all.extend(own);
        }
        Self { config: all, ..Self::default() }
    }

    /// Puts a parameter into the model, and into the files under the same name.
    pub(crate) fn put(&mut self, decoder: &mut Decoder, name: String, tensor: Tensor) -> Result<ParameterId> {
        let id = decoder.put_parameter(&name, tensor, true)?;
        self.tensors.push((name, Content::Parameter(id)));
        Ok(id)
    }
}

/// The name of a part of a site in files.
pub(crate) fn name_at(site: &str, part: &str) -> String {
    format!("{PREFIX}{site}.{part}")
}

/// Writes an adapter. `base` is how the base model is called, for whoever loads it. Refused when nothing is attached
/// that has files.
pub fn save(decoder: &Decoder, attached: &Attached, base: &str, folder: &Path) -> Result<()> {
    let Some(form) = attached.form.as_ref().filter(|form| !form.tensors.is_empty()) else {
        return Err(Error::user(
            Place::key("adapter"),
            "no adapter is attached to the model, there is nothing to write",
        ));
    };
    let mut bytes: Vec<Stored> = Vec::new();
    let numbers = |tensor: &Tensor| tensor.data().iter().flat_map(|value| value.to_le_bytes()).collect();
    for (name, content) in &form.tensors {
        let (shape, dtype, values) = match content {
            Content::Parameter(id) => {
                let tensor = decoder.parameters.get(*id);
                (tensor.shape().to_vec(), Dtype::F32, numbers(tensor))
            }
            Content::Table(tokens) => {
                let mut tape = Tape::inference(&decoder.parameters);
                let table = tokens.table(&mut tape)?;
                let tensor = tape.value(table)?;
                (tensor.shape().to_vec(), Dtype::F32, numbers(tensor))
            }
            Content::Whole(shape, values) => {
                (shape.clone(), Dtype::I32, values.iter().flat_map(|value| value.to_le_bytes()).collect())
            }
        };
        bytes.push((name.clone(), shape, dtype, values));
    }
    let mut config = form.config.clone();
    config.insert("base_model_name_or_path".into(), json!(base));
    write(folder, &bytes, config, Some(&Base::of(decoder)))
}

/// A tensor of a file: name, shape, type and bytes.
pub(crate) type Stored = (String, Vec<usize>, Dtype, Vec<u8>);

/// Writes the files of an adapter.
pub(crate) fn write(folder: &Path, tensors: &[Stored], config: Map<String, Value>, base: Option<&Base>) -> Result<()> {
    let views = tensors
        .iter()
        .map(|(name, shape, dtype, values)| Ok((name.as_str(), TensorView::new(*dtype, shape.clone(), values)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>();
    let about = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let tensors = views
        .and_then(|views| serialize(views, Some(about)))
        .map_err(|error| Error::program(format!("the adapter's tensors: {error}")))?;
    store::create_folder(folder)?;
    store::write_atomic(folder.join(TENSORS), tensors)?;
    if let Some(base) = base {
        store::write_atomic(folder.join(BASE), format!("{:#}\n", json!(base)))?;
    }
    store::write_atomic(folder.join(CONFIG), format!("{:#}\n", Value::Object(config)))
}

/// Attaches an adapter that [`save`] or the PEFT library wrote. The model itself is frozen.
///
/// What the file asks for and is not built is refused by name; missing, superfluous and misshapen tensors
/// are named together. After a refusal nothing is attached.
pub fn load(decoder: &mut Decoder, folder: &Path) -> Result<Attached> {
    let opened = Opened::new(folder)?;
    let peft_type = opened.config.get("peft_type").and_then(Value::as_str).unwrap_or_default();
    let Some((_, read)) = FORMATS.iter().find(|(name, _)| *name == peft_type) else {
        let known = FORMATS.iter().map(|(name, _)| *name);
        let list = format!("known: {}", known.clone().collect::<Vec<_>>().join(", "));
        let hint = near_miss(peft_type, known).map_or(list.clone(), |near| format!("did you mean `{near}`? {list}"));
        let message = format!("adapters of the type `{peft_type}` are not built");
        return Err(Fault::new(Place::file(&opened.paths[0]).with_key("peft_type"), message).hint(hint).into());
    };
    if let Some(base) = &opened.base
        && !base.fingerprint.agrees_with(&decoder.fingerprint())
    {
        let name =
            opened.config.get("base_model_name_or_path").and_then(Value::as_str).unwrap_or("a model without a name");
        let message = format!("the adapter was trained on another base: `{name}`");
        let hint = "name the model that it was trained on; to use it on this one all the same, remove the file";
        return Err(Fault::new(Place::file(folder.join(BASE)), message).hint(hint).into());
    }
    let mut source = Source::new(&opened)?;
    decoder.freeze();
    let form = read(decoder, &mut source).and_then(|form| source.end(form));
    match form {
        Ok(form) => Ok(Attached::of(decoder, Some(form))),
        Err(error) => {
            decoder.detach();
            Err(error)
        }
    }
}

/// The files of an adapter.
pub struct Opened {
    /// `adapter_config.json`.
    pub config: Map<String, Value>,
    /// What tells its base, if the folder says so.
    pub base: Option<Base>,
    /// Of the settings and of the tensors.
    paths: [PathBuf; 2],
    map: Box<dyn AsRef<[u8]>>,
}

impl Opened {
    /// Opens the files in a folder.
    pub fn new(folder: &Path) -> Result<Self> {
        let path = folder.join(CONFIG);
        let config = read_object(&path)?;
        let base = folder.join(BASE);
        let base = if base.exists() { Some(read_object(&base)?) } else { None };
        let tensors = folder.join(TENSORS);
        let map = store::map_file(&tensors)?;
        Ok(Self { config, base, paths: [path, tensors], map: Box::new(map) })
    }

    /// Names and shapes of its tensors, by name.
    pub fn tensors(&self) -> Result<Vec<(String, Vec<usize>)>> {
        let file = self.file()?;
        let mut all: Vec<_> = file.iter().map(|(name, view)| (name.to_owned(), view.shape().to_vec())).collect();
        all.sort();
        Ok(all)
    }

    fn file(&self) -> Result<SafeTensors<'_>> {
        SafeTensors::deserialize((*self.map).as_ref()).map_err(|error| {
            Error::file(&self.paths[1], format!("it is no safetensors file: {error}"))
                .hint("was it written to its end?")
        })
    }
}

fn read_object<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).map_err(|error| Error::io(path, "read the adapter's settings", &error))?;
    serde_json::from_str(&text).map_err(|error| {
        let place = Place::file(path).at(error.line(), error.column());
        Error::user(place, format!("it is not what is written there: {error}"))
    })
}

/// The files of an adapter that is being read. Faults are gathered until [`Source::settings`] and the end.
pub struct Source<'a> {
    config: Map<String, Value>,
    /// Of the settings and of the tensors.
    paths: [PathBuf; 2],
    file: SafeTensors<'a>,
    left: BTreeSet<String>,
    asked: RefCell<BTreeSet<String>>,
    faults: Vec<Fault>,
}

impl<'a> Source<'a> {
    pub(crate) fn new(opened: &'a Opened) -> Result<Self> {
        let file = opened.file()?;
        let left = file.names().into_iter().map(str::to_owned).collect();
        let mut source = Self {
            config: opened.config.clone(),
            paths: opened.paths.clone(),
            file,
            left,
            asked: RefCell::default(),
            faults: Vec::new(),
        };
        if source.left.is_empty() {
            source.faults.push(Fault::new(Place::file(&source.paths[1]), "it holds no tensors"));
        }
        Ok(source)
    }

    /// The tensors that were not taken yet.
    pub(crate) fn names(&self) -> Vec<String> {
        self.left.iter().cloned().collect()
    }

    /// What stands under a key; null where nothing does.
    pub(crate) fn value(&self, key: &str) -> &Value {
        self.asked.borrow_mut().insert(key.to_owned());
        self.config.get(key).unwrap_or(&Value::Null)
    }

    /// Notes that a key asks for what is not built.
    pub(crate) fn refuse(&mut self, key: &str, message: impl Into<String>) {
        self.faults.push(Fault::new(Place::file(&self.paths[0]).with_key(key), message));
    }

    /// Refuses keys that ask for anything: they would change the mathematics.
    pub(crate) fn without(&mut self, keys: &[&str]) {
        for key in keys {
            let value = self.value(key);
            let is_empty = match value {
                Value::Null | Value::Bool(false) => true,
                Value::Object(map) => map.is_empty(),
                Value::Array(list) => list.is_empty(),
                Value::String(text) => *key == "bias" && text == "none",
                _ => false,
            };
            if !is_empty {
                let message = format!("{value} is not built");
                self.refuse(key, message);
            }
        }
    }

    /// A whole number of at least 1.
    pub(crate) fn count(&mut self, key: &str) -> usize {
        let found = self.value(key).as_u64().filter(|count| (1..=1 << 24).contains(count));
        found.map_or_else(
            || {
                let message = format!("{} is no number from 1 on", self.value(key));
                self.refuse(key, message);
                1
            },
            |count| count as usize,
        )
    }

    /// A finite number.
    pub(crate) fn number(&mut self, key: &str) -> f64 {
        let found = self.value(key).as_f64().filter(|number| number.is_finite());
        found.unwrap_or_else(|| {
            let message = format!("{} is no number", self.value(key));
            self.refuse(key, message);
            1.0
        })
    }

    /// True or false; `otherwise` where nothing is said.
    pub(crate) fn flag(&mut self, key: &str, otherwise: bool) -> bool {
        match self.value(key) {
            Value::Null => otherwise,
            Value::Bool(flag) => *flag,
            other => {
                let message = format!("{other} is neither true nor false");
                self.refuse(key, message);
                otherwise
            }
        }
    }

    /// Gives up when the settings have a fault.
    pub(crate) fn settings(&mut self) -> Result<()> {
        Error::collect((), std::mem::take(&mut self.faults))
    }

    /// Whether a tensor is there that was not taken yet.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.left.contains(name)
    }

    /// The shape of a tensor.
    pub(crate) fn shape(&self, name: &str) -> Option<Vec<usize>> {
        Some(self.file.tensor(name).ok()?.shape().to_vec())
    }

    /// Takes a tensor; one that is missing or has another shape is noted.
    pub(crate) fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Option<Tensor>> {
        self.take(name, shape, read_numbers).map(|values| Tensor::from_vec(shape, values)).transpose()
    }

    /// Takes a tensor of whole numbers.
    pub(crate) fn whole(&mut self, name: &str, shape: &[usize]) -> Option<Vec<i64>> {
        self.take(name, shape, read_whole)
    }

    fn take<T>(
        &mut self,
        name: &str,
        shape: &[usize],
        read: impl FnOnce(&TensorView<'_>) -> Result<T, String>,
    ) -> Option<T> {
        self.left.remove(name);
        let found = match self.file.tensor(name) {
            Err(_) => Err(format!("the tensor is missing, its shape would be {shape:?}")),
            Ok(view) if view.shape() != shape => {
                Err(format!("the tensor has the shape {:?}, not {shape:?}", view.shape()))
            }
            Ok(view) => read(&view),
        };
        found.map_err(|message| self.fault(name, message)).ok()
    }

    /// Notes a fault of a tensor.
    pub(crate) fn fault(&mut self, name: &str, message: impl Into<String>) {
        self.faults.push(Fault::new(Place::file(&self.paths[1]).with_key(name), message));
    }

    /// The form of the files, with the settings as they were read, when there was no fault and no tensor is left.
    fn end(self, form: Form) -> Result<Form> {
        let asked = self.asked.borrow().clone();
        let is_known = |key: &String| asked.contains(key) || PASSED_OVER.contains(&key.as_str());
        let unknown = self.config.keys().filter(|key| !is_known(key)).cloned().collect();
        let own = form.config;
        let config = own.into_iter().chain(self.finish()?).collect();
        Ok(Form { config, tensors: form.tensors, unknown })
    }

    /// The settings as they were read, when there was no fault and no tensor is left.
    pub(crate) fn finish(mut self) -> Result<Map<String, Value>> {
        for name in std::mem::take(&mut self.left) {
            let fault =
                Fault::new(Place::file(&self.paths[1]).with_key(name), "the model has no place for this tensor");
            self.faults.push(fault.hint("the adapter belongs to another model"));
        }
        Error::collect(self.config, self.faults)
    }
}

fn read_numbers(view: &TensorView<'_>) -> Result<Vec<f32>, String> {
    let data = view.data();
    Ok(match view.dtype() {
        Dtype::F32 => data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        Dtype::F16 => data.as_chunks().0.iter().map(|bytes| half::f16::from_le_bytes(*bytes).to_f32()).collect(),
        Dtype::BF16 => data.as_chunks().0.iter().map(|bytes| half::bf16::from_le_bytes(*bytes).to_f32()).collect(),
        other => return Err(format!("its numbers are {other:?}, which is not read")),
    })
}

fn read_whole(view: &TensorView<'_>) -> Result<Vec<i64>, String> {
    let data = view.data();
    Ok(match view.dtype() {
        Dtype::I32 => data.as_chunks().0.iter().map(|bytes| i64::from(i32::from_le_bytes(*bytes))).collect(),
        Dtype::I64 => data.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect(),
        other => return Err(format!("its numbers are {other:?}, not whole")),
    })
}
