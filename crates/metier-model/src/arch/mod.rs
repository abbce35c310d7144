//! Architectures: forward passes with their weight names as data.
//!
//! | member | model types |
//! |---|---|
//! | [`llama`] | `llama`: Llama 1 to 3 without scaled positions, SmolLM, SmolLM2 |

pub mod llama;

use metier_core::fault::near_miss;
use metier_core::{Fault, Place, Result};
use serde_json::Value;

/// The `model_type`s that can be run.
pub static MODEL_TYPES: &[&str] = &["llama"];

/// Refuses a `config.json` whose `model_type` is none of [`MODEL_TYPES`].
pub fn check_model_type(config: &Value) -> Result<()> {
    let place = Place::key("config.json: model_type");
    let known = MODEL_TYPES.join(", ");
    let Some(name) = config.get("model_type").and_then(Value::as_str) else {
        return Err(Fault::new(place, "it is missing").hint(format!("known: {known}")).into());
    };
    if MODEL_TYPES.contains(&name) {
        return Ok(());
    }
    let hint = match near_miss(name, MODEL_TYPES.iter().copied()) {
        Some(near) => format!("did you mean `{near}`? known: {known}"),
        None => format!("known: {known}"),
    };
    Err(Fault::new(place, format!("the architecture `{name}` is not built")).hint(hint).into())
}
