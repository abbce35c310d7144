//! The JSON schema of a recipe, put together from the verbs, their parts and their settings.

use super::Head;
use super::load::CheckSettings;
use crate::fetch::Asset;
use crate::stage::{PartSlot, VERBS, Verb};
use metier_core::settings::schema_generator;
use serde_json::{Map, Value, json};

/// The schema of a whole recipe file, all keys in order.
pub fn recipe() -> Value {
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A metier recipe",
        "type": "object",
        "additionalProperties": false,
        "required": ["recipe", "stage"],
        "properties": {
            "recipe": schema_generator().into_root_schema_for::<Head>(),
            "for": {
                "type": "object",
                "description": "Lists of values by name. A stage or a check that names lists under `for` stands for one with each choice of their values, which are written `{name}` in its texts. A value that is a table needs a `name`, which `{name}` stands for; `{name.key}` is what it has under that key.",
                "additionalProperties": { "type": "array", "minItems": 1 },
            },
            "asset": { "type": "array", "items": schema_generator().into_root_schema_for::<Asset>() },
            "stage": { "type": "array", "items": { "oneOf": VERBS.iter().map(|verb| stage(verb)).collect::<Vec<_>>() } },
            "check": { "type": "array", "items": check() },
            "tiny": {
                "type": "object",
                "description": "Changes laid over the recipe by --tiny, by asset and stage name.",
                "additionalProperties": false,
                "properties": { "asset": { "type": "object" }, "for": { "type": "object" }, "stage": { "type": "object" } },
            },
        },
    });
    schema.sort_all_objects();
    schema
}

/// What `for` is in a stage and in a check.
fn names_of_lists() -> Value {
    json!({
        "description": "Names of lists under [for].",
        "oneOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }],
    })
}

fn check() -> Value {
    let mut schema = json!(schema_generator().into_root_schema_for::<CheckSettings>());
    schema["properties"]["for"] = names_of_lists();
    schema
}

fn stage(verb: &Verb) -> Value {
    let mut schema = json!((verb.settings)(&mut schema_generator()));
    let mut required = vec![json!("name"), json!("do")];
    required.extend(schema["required"].as_array().into_iter().flatten().cloned());
    let mut properties = Map::new();
    properties.insert("name".into(), json!({ "type": "string", "description": "Unique in the recipe." }));
    properties.insert("do".into(), json!({ "const": verb.name, "description": verb.summary }));
    properties.insert("for".into(), names_of_lists());
    let text = "Added to the recipe's seed; `\"{name}\"` takes it from a list under [for].";
    properties.insert("seed".into(), json!({ "type": ["integer", "string"], "minimum": 0, "description": text }));
    for slot in verb.inputs {
        let name = json!({ "type": "string", "description": slot.text });
        let schema = if slot.many {
            let kinds = json!(["object", "string"]);
            json!({ "type": kinds, "additionalProperties": { "type": "string" }, "description": slot.text })
        } else {
            name
        };
        properties.insert(slot.key.into(), schema);
        if slot.required {
            required.push(json!(slot.key));
        }
    }
    for slot in verb.parts {
        let one = json!({ "oneOf": members(slot) });
        properties.insert(slot.key.into(), if slot.many { json!({ "type": "array", "items": one }) } else { one });
        if !slot.many && slot.default.is_none() {
            required.push(json!(slot.key));
        }
    }
    if let Some(own) = schema["properties"].as_object() {
        properties.extend(own.clone());
    }
    schema["properties"] = Value::Object(properties);
    schema["required"] = Value::Array(required);
    schema["additionalProperties"] = json!(false);
    schema
}

fn members(slot: &PartSlot) -> Vec<Value> {
    (slot.members)()
        .iter()
        .map(|part| {
            let mut schema = json!(part.schema());
            let mut properties = Map::new();
            properties.insert("method".into(), json!({ "const": part.name }));
            properties.extend(schema["properties"].as_object().cloned().unwrap_or_default());
            let default = slot.default == Some(part.name);
            let mut required = if default { Vec::new() } else { vec![json!("method")] };
            required.extend(schema["required"].as_array().into_iter().flatten().cloned());
            schema["type"] = json!("object");
            schema["properties"] = Value::Object(properties);
            schema["required"] = Value::Array(required);
            schema["additionalProperties"] = json!(false);
            schema
        })
        .collect()
}
