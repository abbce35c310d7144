//! An adapter on disk, in the layout of the PEFT library: `adapter_config.json` and
//! `adapter_model.safetensors` with `base_model.model.<site>.lora_A.weight` and `..lora_B.weight`.

use crate::adapter::{Attached, freeze, parameter_name, put};
use metier_compute::Tensor;
use metier_core::{Error, Fault, Place, Result, store};
use metier_model::Decoder;
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};
use std::path::Path;

const CONFIG: &str = "adapter_config.json";
const TENSORS: &str = "adapter_model.safetensors";

/// Writes the adapter that is attached to a model. `base` is how the base model is called, for whoever
/// loads it. Refused when none is attached, or when its sites differ in rank or factor.
pub fn save(decoder: &Decoder, base: &str, folder: &Path) -> Result<()> {
    let attached = decoder.attached();
    let Some((_, first)) = attached.first() else {
        return Err(Error::user(
            Place::key("adapter"),
            "no adapter is attached to the model, there is nothing to write",
        ));
    };
    let rank = decoder.parameters.get(first.a).shape()[0];
    let mut leaves = BTreeSet::new();
    let mut bytes: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    for (site, low_rank) in &attached {
        leaves.insert(site.leaf().to_owned());
        let other = decoder.parameters.get(low_rank.a).shape()[0];
        if other != rank || low_rank.scale.to_bits() != first.scale.to_bits() {
            let message = "its rank or factor differs from the other sites', which the format cannot say";
            return Err(Error::user(Place::key(&site.name), message));
        }
        for (which, id) in [('A', low_rank.a), ('B', low_rank.b)] {
            let tensor = decoder.parameters.get(id);
            let values = tensor.data().iter().flat_map(|value| value.to_le_bytes()).collect();
            bytes.push((parameter_name(&site.name, which), tensor.shape().to_vec(), values));
        }
    }
    let complete = decoder.sites().iter().filter(|site| leaves.contains(site.leaf())).count() == attached.len();
    let targets: Vec<String> = if complete {
        leaves.into_iter().collect()
    } else {
        attached.iter().map(|(site, _)| site.name.clone()).collect()
    };
    let config = json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": alpha_of(first.scale, rank),
        "lora_dropout": 0.0,
        "target_modules": targets,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "modules_to_save": null,
        "use_dora": false,
        "use_rslora": false,
    });
    let views = bytes
        .iter()
        .map(|(name, shape, values)| Ok((name, TensorView::new(Dtype::F32, shape.clone(), values)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>();
    let about = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let tensors = views
        .and_then(|views| serialize(views, Some(about)))
        .map_err(|error| Error::program(format!("the adapter's tensors: {error}")))?;
    store::create_folder(folder)?;
    store::write_atomic(folder.join(TENSORS), tensors)?;
    store::write_atomic(folder.join(CONFIG), format!("{config:#}\n"))
}

/// Attaches an adapter that [`save`] or the PEFT library wrote. The model itself is frozen.
///
/// What the file asks for and is not built is refused by name; missing, superfluous and misshapen tensors
/// are named together.
pub fn load(decoder: &mut Decoder, folder: &Path) -> Result<Attached> {
    let path = folder.join(CONFIG);
    let text =
        std::fs::read_to_string(&path).map_err(|error| Error::io(&path, "read the adapter's settings", &error))?;
    let config: Value = serde_json::from_str(&text).map_err(|error| {
        let place = Place::file(&path).at(error.line(), error.column());
        Error::user(place, format!("it is no JSON: {error}"))
    })?;
    let (rank, scale) = read_config(&config).map_err(|error| error.in_file(&path))?;

    let path = folder.join(TENSORS);
    let map = store::map_file(&path)?;
    let file = SafeTensors::deserialize(&map).map_err(|error| {
        Error::file(&path, format!("it is no safetensors file: {error}")).hint("was it written to its end?")
    })?;
    let mut left: BTreeSet<&str> = file.names().into_iter().collect();
    let mut faults = Vec::new();
    let mut found = Vec::new();
    for site in decoder.sites() {
        let names = [parameter_name(&site.name, 'A'), parameter_name(&site.name, 'B')];
        if names.iter().all(|name| !left.contains(name.as_str())) {
            continue;
        }
        let mut pair = Vec::new();
        for (name, shape) in names.iter().zip([[rank, site.inputs], [site.outputs, rank]]) {
            left.remove(name.as_str());
            let read = file
                .tensor(name)
                .map_err(|_| format!("the tensor is missing, its shape would be {shape:?}"))
                .and_then(|view| read_tensor(&view, &shape));
            match read {
                Ok(values) => pair.push(Tensor::from_vec(&shape, values)?),
                Err(message) => faults.push(Fault::new(Place::file(&path).with_key(name), message)),
            }
        }
        if let Ok([a, b]) = <[Tensor; 2]>::try_from(pair) {
            found.push((site, a, b));
        }
    }
    for name in left {
        let fault = Fault::new(Place::file(&path).with_key(name), "the model has no site for this tensor");
        faults.push(fault.hint("the adapter belongs to another model"));
    }
    if found.is_empty() && faults.is_empty() {
        faults.push(Fault::new(Place::file(&path), "it holds no tensors"));
    }
    Error::collect((), faults)?;
    freeze(decoder);
    for (site, a, b) in found {
        put(decoder, &site, a, b, scale)?;
    }
    Ok(Attached::of(decoder))
}

/// The `alpha` of a factor, as it was most likely written: a short decimal number where one fits.
fn alpha_of(scale: f32, rank: usize) -> f64 {
    let exact = f64::from(scale) * rank as f64;
    let short = (exact * 1e4).round() / 1e4;
    if ((short / rank as f64) as f32).to_bits() == scale.to_bits() { short } else { exact }
}

/// Rank and factor; everything that would change the mathematics is refused by its key.
fn read_config(config: &Value) -> Result<(usize, f32)> {
    let mut faults = Vec::new();
    let mut refuse = |key: &str, message: String| faults.push(Fault::new(Place::key(key), message));
    if config["peft_type"] != "LORA" {
        refuse("peft_type", format!("{} is not built, only \"LORA\" is", config["peft_type"]));
    }
    for key in ["use_dora", "use_rslora", "fan_in_fan_out", "lora_bias", "use_qalora", "use_bdlora"] {
        if !config[key].is_null() && config[key] != false {
            refuse(key, format!("{} is not built, only false is", config[key]));
        }
    }
    // These change the base model's own weights when the adapter is made.
    let start = &config["init_lora_weights"];
    if start.as_str().is_some_and(|name| !["eva", "gaussian", "orthogonal"].contains(&name)) {
        refuse("init_lora_weights", format!("{start} is not built: its base is no longer the model named here"));
    }
    for key in [
        "alora_invocation_tokens",
        "alpha_pattern",
        "layer_replication",
        "modules_to_save",
        "rank_pattern",
        "target_parameters",
        "trainable_token_indices",
    ] {
        let value = &config[key];
        let empty = value.is_null()
            || value.as_object().is_some_and(serde_json::Map::is_empty)
            || value.as_array().is_some_and(Vec::is_empty);
        if !empty {
            refuse(key, format!("{value} is not built"));
        }
    }
    if !matches!(config["bias"].as_str(), None | Some("none")) {
        refuse("bias", format!("{} is not built, only \"none\" is", config["bias"]));
    }
    let rank = config["r"].as_u64().filter(|rank| (1..=1 << 16).contains(rank)).unwrap_or_else(|| {
        refuse("r", format!("{} is no rank", config["r"]));
        1
    });
    let alpha = config["lora_alpha"].as_f64().filter(|alpha| alpha.is_finite()).unwrap_or_else(|| {
        refuse("lora_alpha", format!("{} is no number", config["lora_alpha"]));
        1.0
    });
    Error::collect((rank as usize, (alpha / rank as f64) as f32), faults)
}

fn read_tensor(view: &TensorView<'_>, shape: &[usize]) -> Result<Vec<f32>, String> {
    if view.shape() != shape {
        return Err(format!("the tensor has the shape {:?}, not {shape:?}", view.shape()));
    }
    let data = view.data();
    Ok(match view.dtype() {
        Dtype::F32 => data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        Dtype::F16 => data.as_chunks().0.iter().map(|bytes| half::f16::from_le_bytes(*bytes).to_f32()).collect(),
        Dtype::BF16 => data.as_chunks().0.iter().map(|bytes| half::bf16::from_le_bytes(*bytes).to_f32()).collect(),
        other => return Err(format!("its numbers are {other:?}, which is not read")),
    })
}
