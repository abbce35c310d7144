//! The fields of a settings struct, for help and generated pages.

use super::check::{names_of, types_of, words};
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// One key that a settings struct has.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// The dotted key.
    pub key: String,
    /// What must be written, in words: `a whole number`.
    pub kind: String,
    /// The value that holds when nothing is written, as it would be written; `None` when the key is
    /// required or when leaving it out means something of its own.
    pub default: Option<String>,
    /// True when the key must be written.
    pub required: bool,
    /// Bounds and choices in words.
    pub range: Option<String>,
    /// What it means.
    pub text: String,
}

/// The fields of the struct that a schema describes, nested ones after their parent, with dotted keys.
pub fn describe(schema: &schemars::Schema) -> Vec<Field> {
    let mut fields = Vec::new();
    walk(schema.as_value(), "", &mut fields);
    fields
}

fn walk(schema: &Json, prefix: &str, fields: &mut Vec<Field>) {
    let Some(properties) = schema.get("properties").and_then(Json::as_object) else { return };
    let required: Vec<&str> =
        schema.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str).collect();
    // Whether a map is in order depends on what else the program is built with.
    for (name, property) in properties.iter().collect::<BTreeMap<_, _>>() {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        let inner = without_null(property);
        fields.push(Field {
            kind: kind(property).unwrap_or_else(|| "any value".to_owned()),
            default: property.get("default").filter(|value| !value.is_null() && !value.is_object()).map(toml_text),
            required: required.contains(&name.as_str()),
            range: range(inner),
            text: property
                .get("description")
                .or_else(|| inner.get("description"))
                .and_then(Json::as_str)
                .unwrap_or_default()
                .to_owned(),
            key: key.clone(),
        });
        walk(inner, &key, fields);
        if let Some(items) = inner.get("items") {
            walk(items, &format!("{key}[]"), fields);
        }
    }
}

/// The schema of what is inside an option.
fn without_null(schema: &Json) -> &Json {
    let alternatives = schema.get("anyOf").and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
    let mut real = alternatives.iter().filter(|one| one.get("type").and_then(Json::as_str) != Some("null"));
    match (real.next(), real.next()) {
        (Some(one), None) => one,
        _ => schema,
    }
}

/// What a schema wants in words: ``one of `a`, `b` ``, `a list of texts`, `a whole number`.
pub(super) fn kind(schema: &Json) -> Option<String> {
    let schema = without_null(schema);
    let alternatives =
        ["oneOf", "anyOf"].into_iter().filter_map(|key| schema.get(key)?.as_array()).flatten().collect::<Vec<_>>();
    let mut names = names_of(schema);
    names.extend(alternatives.iter().flat_map(|one| names_of(one)));
    if !names.is_empty() && alternatives.iter().all(|one| !names_of(one).is_empty()) {
        return Some(format!("one of `{}`", names.join("`, `")));
    }
    if !alternatives.is_empty() {
        let kinds: Vec<String> = alternatives.iter().filter_map(|one| kind(one)).collect();
        return Some(kinds.join(" or "));
    }
    let types = types_of(schema);
    let kinds: Vec<String> = types
        .iter()
        .map(|name| match (*name, schema.get("items").and_then(kind)) {
            ("array", Some(item)) => match item.as_str() {
                "text" => "a list of texts".to_owned(),
                item => format!("a list, each {item}"),
            },
            (name, _) => words(name).to_owned(),
        })
        .collect();
    (!kinds.is_empty()).then(|| kinds.join(" or "))
}

/// The bounds of a number, or of a length, in words.
pub(super) fn range(schema: &Json) -> Option<String> {
    let parts: Vec<String> = [
        ("minimum", "at least", ""),
        ("exclusiveMinimum", "more than", ""),
        ("maximum", "at most", ""),
        ("exclusiveMaximum", "less than", ""),
        ("minLength", "at least", " characters"),
        ("maxLength", "at most", " characters"),
        ("minItems", "at least", " items"),
        ("maxItems", "at most", " items"),
    ]
    .into_iter()
    .filter_map(|(key, relation, unit)| Some(format!("{relation} {}{unit}", schema.get(key)?.as_f64()?)))
    .collect();
    (!parts.is_empty()).then(|| parts.join(" and "))
}

fn toml_text(value: &Json) -> String {
    match value {
        Json::Array(items) => format!("[{}]", items.iter().map(toml_text).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}
