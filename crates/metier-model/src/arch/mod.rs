//! Architectures: what their `config.json` says, and what their weights are called, as data.
//!
//! All of them are one model of [`layer`](crate::layer)s; a file here says which parts it has. What transformers computes with
//! the same file is what they compute; `fixtures/reference/architectures.py` holds them to it.
//!
//! | member | `model_type` | models |
//! |---|---|---|
//! | [`bert`] | `bert` | BERT, and what was trained with its code: MiniLM, BGE, E5 and others |
//! | [`gemma2`] | `gemma2` | Gemma 2 |
//! | [`gemma3`] | `gemma3_text` | Gemma 3 without images |
//! | [`gpt2`] | `gpt2` | GPT-2 and what was trained with its code |
//! | [`gpt_neo`] | `gpt_neo` | GPT-Neo, TinyStories |
//! | [`gpt_neox`] | `gpt_neox` | GPT-NeoX, Pythia |
//! | [`llama`] | `llama` | Llama 1 to 3, SmolLM, SmolLM2, TinyLlama |
//! | [`mistral`] | `mistral` | Mistral |
//! | [`mixtral`] | `mixtral` | Mixtral |
//! | [`phi`] | `phi` | Phi 1, 1.5 and 2 |
//! | [`phi3`] | `phi3` | Phi 3 |
//! | [`qwen2`] | `qwen2` | Qwen 1.5, 2 and 2.5 |
//! | [`qwen2_moe`] | `qwen2_moe` | Qwen 1.5 and 2 with experts |
//! | [`qwen3`] | `qwen3` | Qwen 3 |
//! | [`qwen3_moe`] | `qwen3_moe` | Qwen 3 with experts |
//! | [`roberta`] | `roberta` | RoBERTa |
//! | [`xlm_roberta`] | `xlm-roberta` | XLM-RoBERTa, and multilingual models made of it |

pub mod bert;
pub mod dialect;
pub mod gemma2;
pub mod gemma3;
pub mod gpt2;
pub mod gpt_neo;
pub mod gpt_neox;
pub mod llama;
pub mod mistral;
pub mod mixtral;
pub mod phi;
pub mod phi3;
pub mod qwen2;
pub mod qwen2_moe;
pub mod qwen3;
pub mod qwen3_moe;
pub mod roberta;
pub mod xlm_roberta;

pub use dialect::Dialect;

use crate::config::{Config, Reader};
use crate::layer::{Part, WeightPattern, WeightShape, shapes_of};
use metier_core::fault::near_miss;
use metier_core::{Fault, Place, Result};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt;

/// All of them.
static ARCHITECTURES: &[&Architecture] = &[
    &bert::ARCHITECTURE,
    &gemma2::ARCHITECTURE,
    &gemma3::ARCHITECTURE,
    &gpt2::ARCHITECTURE,
    &gpt_neo::ARCHITECTURE,
    &gpt_neox::ARCHITECTURE,
    &llama::ARCHITECTURE,
    &mistral::ARCHITECTURE,
    &mixtral::ARCHITECTURE,
    &phi::ARCHITECTURE,
    &phi3::ARCHITECTURE,
    &qwen2::ARCHITECTURE,
    &qwen2_moe::ARCHITECTURE,
    &qwen3::ARCHITECTURE,
    &qwen3_moe::ARCHITECTURE,
    &roberta::ARCHITECTURE,
    &xlm_roberta::ARCHITECTURE,
];

/// An architecture as data.
pub struct Architecture {
    /// The `model_type` of its `config.json`.
    pub model_type: &'static str,
    /// Reads the keys of its `config.json`.
    pub read: fn(&mut Reader<'_>) -> Config,
    /// Keys of a Llama's `config.json` with the names they have here; an empty one has none.
    pub keys: &'static [(&'static str, &'static str)],
    /// Keys, by a Llama's names, that have no default here.
    pub required: &'static [&'static str],
    /// Keys that say nothing about the forward pass: training, other heads, lists that follow from other keys.
    pub neutral: &'static [&'static str],
    /// The norm's epsilon where no key says it.
    pub epsilon: f32,
    /// Base of the rotary frequencies where no key says it.
    pub theta: f32,
    /// The part of each head that turns where no key says it; none where all of it always does.
    pub partial: Option<f32>,
    /// How many times as wide as the residual stream the feed-forward block is where no key says it; none where one must.
    pub intermediate: Option<usize>,
    /// Whether the head is the embedding where no key says it.
    pub tied: bool,
    /// What every weight's name but the head's begins with; checkpoints of the body alone leave it out.
    pub prefix: &'static str,
    /// Whether its models may be causal, and are where no key says otherwise.
    pub causal: bool,
    /// Every weight, in the order of the forward pass.
    pub weights: &'static [WeightPattern],
    /// Ends of the names of tensors that some checkpoints carry and no forward pass reads.
    pub superfluous: &'static [&'static str],
    /// Ends of weights' names, and what some checkpoints have in their place.
    pub other_ends: &'static [(&'static str, &'static str)],
    /// How GGUF files write it; none where llama.cpp does not have it.
    pub dialect: Option<Dialect>,
}

impl fmt::Debug for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.model_type)
    }
}

impl PartialEq for Architecture {
    fn eq(&self, other: &Self) -> bool {
        self.model_type == other.model_type
    }
}

impl Architecture {
    /// A Llama but for what is said besides.
    pub const fn like_llama(
        model_type: &'static str,
        read: fn(&mut Reader<'_>) -> Config,
        weights: &'static [WeightPattern],
    ) -> Self {
        Self {
            model_type,
            read,
            keys: &[],
            required: &[],
            neutral: &[],
            epsilon: 1e-6,
            theta: 10_000.0,
            partial: None,
            intermediate: None,
            tied: false,
            prefix: "model.",
            causal: true,
            weights,
            superfluous: &[".rotary_emb.inv_freq"],
            other_ends: &[],
            dialect: None,
        }
    }

    /// What a key of a Llama's `config.json` is called here.
    pub fn key<'k>(&self, key: &'k str) -> &'k str
    where
        'static: 'k,
    {
        self.keys.iter().find(|(llama, _)| *llama == key).map_or(key, |(_, own)| own)
    }

    /// The name of a weight that is not of a block.
    pub fn weight_name(&self, part: Part) -> Option<String> {
        let pattern = self.weights.iter().find(|pattern| pattern.part == part)?;
        Some(pattern.weight_in(0, 0))
    }
}

/// Names and shapes of every weight of a model.
pub fn weight_shapes(config: &Config) -> Vec<WeightShape> {
    shapes_of(config.design.architecture.weights, config)
}

/// The weights of a model and what a checkpoint with these names calls each.
pub fn stored_weights<'n>(config: &Config, names: impl IntoIterator<Item = &'n str>) -> Vec<(WeightShape, String)> {
    let Architecture { prefix, other_ends, .. } = config.design.architecture;
    let names: BTreeSet<&str> = names.into_iter().collect();
    let whole = names.iter().any(|name| name.starts_with(prefix));
    let stored = |shape: &WeightShape| {
        let name = shape.name.strip_prefix(prefix).filter(|_| !whole).unwrap_or(&shape.name);
        let mut others = other_ends.iter().filter_map(|(end, other)| Some(name.strip_suffix(end)?.to_owned() + other));
        let other = others.find(|other| !names.contains(name) && names.contains(other.as_str()));
        other.unwrap_or_else(|| name.to_owned())
    };
    let pair = |shape| {
        let name = stored(&shape);
        (shape, name)
    };
    weight_shapes(config).into_iter().map(pair).collect()
}

/// A tensor that some checkpoints carry and no forward pass reads.
pub fn is_superfluous(name: &str, config: &Config) -> bool {
    let architecture = config.design.architecture;
    let head = architecture.weight_name(Part::Head);
    architecture.superfluous.iter().any(|end| name.ends_with(end))
        || (config.tied_embeddings && head.is_some_and(|head| head == name))
}

/// Every architecture with how GGUF files write it, of those that they can hold.
pub fn dialects() -> impl Iterator<Item = (&'static Architecture, &'static Dialect)> {
    ARCHITECTURES.iter().filter_map(|architecture| Some((*architecture, architecture.dialect.as_ref()?)))
}

/// The `model_type`s that can be run.
pub fn model_types() -> impl Iterator<Item = &'static str> {
    ARCHITECTURES.iter().map(|architecture| architecture.model_type)
}

/// The architecture that a `config.json` names by `model_type`.
pub fn of(config: &Value) -> Result<&'static Architecture> {
    let place = Place::key("config.json: model_type");
    let list = model_types().collect::<Vec<_>>().join(", ");
    let Some(name) = config.get("model_type").and_then(Value::as_str) else {
        return Err(Fault::new(place, "it is missing").hint(format!("known: {list}")).into());
    };
    if let Some(found) = ARCHITECTURES.iter().find(|architecture| architecture.model_type == name) {
        return Ok(found);
    }
    let hint = match near_miss(name, model_types()) {
        Some(near) => format!("did you mean `{near}`? known: {list}"),
        None => format!("known: {list}"),
    };
    Err(Fault::new(place, format!("the architecture `{name}` is not built")).hint(hint).into())
}
