//! A tree against a JSON schema: every fault at once, each at its place.
//!
//! Only what derived schemas of settings structs use is understood: types, ranges, lengths, choices,
//! tables with known keys, maps, lists, tuples, options and tagged choices.

use super::tree::{Entry, Node, Value, join, join_item};
use crate::fault::{Fault, near_miss};
use serde_json::Value as Json;

/// Adds the faults of `node` against `schema` to `faults`.
pub(super) fn check(schema: &Json, node: &Node, path: &str, faults: &mut Vec<Fault>) {
    Checker { root: schema }.check(schema, node, path, faults);
}

struct Checker<'schema> {
    root: &'schema Json,
}

impl<'schema> Checker<'schema> {
    fn check(&self, schema: &'schema Json, node: &Node, path: &str, faults: &mut Vec<Fault>) {
        if !schema.is_object() {
            return;
        }
        if let Some(target) = schema.get("$ref").and_then(Json::as_str) {
            if let Some(schema) = target.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer)) {
                self.check(schema, node, path, faults);
            }
            return;
        }
        for part in list(schema, "allOf") {
            self.check(part, node, path, faults);
        }
        for key in ["anyOf", "oneOf"] {
            let alternatives: Vec<&Json> = list(schema, key).iter().filter(|one| !is_null(one)).collect();
            match alternatives.as_slice() {
                [] => {}
                [one] => self.check(one, node, path, faults),
                many => self.check_alternatives(many, node, path, faults),
            }
        }
        let choices: Vec<&str> = names_of(schema);
        if !choices.is_empty() {
            check_choice(&choices, node, path, faults);
            return;
        }
        let types = types_of(schema);
        if types.is_empty() {
            return;
        }
        if !types.iter().any(|wanted| fits(wanted, node)) {
            let wanted: Vec<&str> = types.iter().map(|name| words(name)).collect();
            let message = format!("must be {}, not {}", wanted.join(" or "), node.describe());
            let mut fault = Fault::new(node.spot.place(path), message);
            if let (Value::Float(value), true) = (&node.value, types.contains(&"integer"))
                && value.fract() == 0.0
                && value.abs() < 9e15
            {
                fault = fault.hint(format!("write {value}"));
            }
            faults.push(fault);
            return;
        }
        match &node.value {
            Value::Integer(value) => check_range(schema, *value as f64, Some(*value), node, path, faults),
            Value::Float(value) => check_range(schema, *value, None, node, path, faults),
            Value::Text(text) => {
                let count = text.chars().count() as u64;
                check_length(schema, "minLength", "maxLength", count, "characters", node, path, faults);
            }
            Value::List(items) => {
                check_length(schema, "minItems", "maxItems", items.len() as u64, "items", node, path, faults);
                let head = list(schema, "prefixItems");
                for (index, item) in items.iter().enumerate() {
                    if let Some(schema) = head.get(index).or_else(|| schema.get("items")) {
                        self.check(schema, item, &join_item(path, index, item), faults);
                    }
                }
            }
            Value::Table(entries) => self.check_table(schema, entries, node, path, faults),
            Value::Boolean(_) | Value::Moment(_) => {}
        }
    }

    fn check_table(&self, schema: &'schema Json, entries: &[Entry], node: &Node, path: &str, faults: &mut Vec<Fault>) {
        let properties = schema.get("properties").and_then(Json::as_object);
        let others = schema.get("additionalProperties").filter(|others| others.as_bool() != Some(false));
        for entry in entries {
            let path = join(path, &entry.key);
            if let Some(property) = properties.and_then(|properties| properties.get(&entry.key)) {
                self.check(property, &entry.node, &path, faults);
            } else if let Some(others) = others {
                self.check(others, &entry.node, &path, faults);
            } else {
                let mut known: Vec<&str> = properties.into_iter().flatten().map(|(key, _)| key.as_str()).collect();
                // Whether a map is in order depends on what else the program is built with.
                known.sort_unstable();
                let fault = Fault::new(entry.key_spot.place(&path), format!("unknown key `{}`", entry.key));
                faults.push(fault.hint(known_hint(&entry.key, &known, "keys")));
            }
        }
        for required in list(schema, "required").iter().filter_map(Json::as_str) {
            if !entries.iter().any(|entry| entry.key == required) {
                let fault = Fault::new(node.spot.place(path), format!("the key `{required}` is missing"));
                let wanted = properties.and_then(|properties| properties.get(required));
                faults.push(match wanted.and_then(super::describe::kind) {
                    Some(kind) => fault.hint(format!("write `{required} = ...` with {kind}")),
                    None => fault,
                });
            }
        }
    }

    /// A table whose `tag` says which of the schemas it follows.
    fn check_tagged(
        &self,
        tag: &str,
        choices: &[(&'schema str, &'schema Json)],
        entries: &[Entry],
        node: &Node,
        path: &str,
        faults: &mut Vec<Fault>,
    ) {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let Some(entry) = entries.iter().find(|entry| entry.key == tag) else {
            let fault = Fault::new(node.spot.place(path), format!("the key `{tag}` is missing"));
            faults.push(fault.hint(format!("write `{tag} = \"...\"` with one of: {}", names.join(", "))));
            return;
        };
        let named = choices.iter().find(|(name, _)| matches!(&entry.node.value, Value::Text(text) if text == name));
        match named {
            Some((_, schema)) => self.check(schema, node, path, faults),
            None => check_choice(&names, &entry.node, &join(path, tag), faults),
        }
    }

    /// One of several schemas: choices by name, tables told apart by their one key or by a tag, else
    /// the first that fits.
    fn check_alternatives(&self, many: &[&'schema Json], node: &Node, path: &str, faults: &mut Vec<Fault>) {
        let names: Vec<&str> = many.iter().flat_map(|one| names_of(one)).collect();
        let all_named = many.iter().all(|one| !names_of(one).is_empty());
        if all_named || (matches!(node.value, Value::Text(_)) && !names.is_empty()) {
            check_choice(&names, node, path, faults);
            return;
        }
        if let Value::Table(entries) = &node.value {
            if let Some((tag, choices)) = tag_of(many) {
                self.check_tagged(tag, &choices, entries, node, path, faults);
                return;
            }
            if let [entry] = entries.as_slice()
                && let Some(one) =
                    many.iter().find(|one| one.get("properties").and_then(|p| p.get(&entry.key)).is_some())
            {
                self.check(one, node, path, faults);
                return;
            }
        }
        let fitting: Vec<&Json> = many
            .iter()
            .copied()
            .filter(|one| {
                let types = types_of(one);
                types.is_empty() || types.iter().any(|wanted| fits(wanted, node))
            })
            .collect();
        let mut first = None;
        for one in &fitting {
            let mut found = Vec::new();
            self.check(one, node, path, &mut found);
            if found.is_empty() {
                return;
            }
            first.get_or_insert(found);
        }
        match first {
            Some(found) if fitting.len() == 1 => faults.extend(found),
            _ => {
                let wanted: Vec<String> = many.iter().filter_map(|one| super::describe::kind(one)).collect();
                let message = format!("must be {}, not {}", wanted.join(" or "), node.describe());
                faults.push(Fault::new(node.spot.place(path), message));
            }
        }
    }
}

fn list<'schema>(schema: &'schema Json, key: &str) -> &'schema [Json] {
    schema.get(key).and_then(Json::as_array).map_or(&[], Vec::as_slice)
}

fn is_null(schema: &Json) -> bool {
    schema.get("type").and_then(Json::as_str) == Some("null")
}

/// The texts a schema allows, when it lists them.
pub(super) fn names_of(schema: &Json) -> Vec<&str> {
    let listed = list(schema, "enum").iter().filter_map(Json::as_str);
    listed.chain(schema.get("const").and_then(Json::as_str)).collect()
}

/// The types a schema allows besides `null`.
pub(super) fn types_of(schema: &Json) -> Vec<&str> {
    let types = match schema.get("type") {
        Some(Json::String(one)) => vec![one.as_str()],
        Some(Json::Array(many)) => many.iter().filter_map(Json::as_str).collect(),
        _ => Vec::new(),
    };
    types.into_iter().filter(|name| *name != "null").collect()
}

/// The key whose fixed value tells alternatives apart, with each value and its schema.
fn tag_of<'schema>(many: &[&'schema Json]) -> Option<(&'schema str, Vec<(&'schema str, &'schema Json)>)> {
    let constant = |schema: &'schema Json, tag: &str| schema.get("properties")?.get(tag)?.get("const")?.as_str();
    let properties = many.first()?.get("properties")?.as_object()?;
    properties.keys().find_map(|tag| {
        let choices: Option<Vec<_>> = many.iter().map(|one| Some((constant(one, tag)?, *one))).collect();
        choices.map(|choices| (tag.as_str(), choices))
    })
}

fn fits(wanted: &str, node: &Node) -> bool {
    match &node.value {
        Value::Text(_) | Value::Moment(_) => wanted == "string",
        Value::Integer(_) => wanted == "integer" || wanted == "number",
        Value::Float(_) => wanted == "number",
        Value::Boolean(_) => wanted == "boolean",
        Value::List(_) => wanted == "array",
        Value::Table(_) => wanted == "object",
    }
}

/// What a JSON type is called in a message.
pub(super) fn words(kind: &str) -> &str {
    match kind {
        "string" => "text",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "`true` or `false`",
        "array" => "a list",
        "object" => "a table",
        other => other,
    }
}

fn check_choice(choices: &[&str], node: &Node, path: &str, faults: &mut Vec<Fault>) {
    let fault = match &node.value {
        Value::Text(text) if choices.contains(&text.as_str()) => return,
        Value::Text(text) => Fault::new(node.spot.place(path), format!("no choice is called `{text}`"))
            .hint(known_hint(text, choices, "choices")),
        _ => Fault::new(node.spot.place(path), format!("must be text, not {}", node.describe()))
            .hint(format!("choices: {}", choices.join(", "))),
    };
    faults.push(fault);
}

fn known_hint(name: &str, known: &[&str], what: &str) -> String {
    let all =
        if known.is_empty() { format!("no {what} are known here") } else { format!("{what}: {}", known.join(", ")) };
    match near_miss(name, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`? {all}"),
        None => all,
    }
}

fn check_range(schema: &Json, value: f64, whole: Option<i64>, node: &Node, path: &str, faults: &mut Vec<Fault>) {
    let bound = |key: &str| schema.get(key).and_then(Json::as_f64);
    let limits = [
        (bound("minimum"), "at least", value >= bound("minimum").unwrap_or(value)),
        (bound("maximum"), "at most", value <= bound("maximum").unwrap_or(value)),
        (bound("exclusiveMinimum"), "more than", bound("exclusiveMinimum").is_none_or(|bound| value > bound)),
        (bound("exclusiveMaximum"), "less than", bound("exclusiveMaximum").is_none_or(|bound| value < bound)),
    ];
    let broken: Vec<String> = limits
        .into_iter()
        .filter(|(_, _, holds)| !holds)
        .filter_map(|(bound, relation, _)| Some(format!("{relation} {}", bound?)))
        .collect();
    let too_large = whole.filter(|whole| match schema.get("format").and_then(Json::as_str) {
        Some("uint8") => u8::try_from(*whole).is_err(),
        Some("uint16") => u16::try_from(*whole).is_err(),
        Some("uint32") => u32::try_from(*whole).is_err(),
        Some("int8") => i8::try_from(*whole).is_err(),
        Some("int16") => i16::try_from(*whole).is_err(),
        Some("int32") => i32::try_from(*whole).is_err(),
        _ => false,
    });
    if !broken.is_empty() {
        let message = format!("must be {}, not {}", broken.join(" and "), node.describe());
        let fault = Fault::new(node.spot.place(path), message);
        faults.push(match super::describe::range(schema) {
            Some(range) if broken.len() == 1 && limits_count(schema) > 1 => fault.hint(range),
            _ => fault,
        });
    } else if let Some(whole) = too_large {
        faults.push(Fault::new(node.spot.place(path), format!("the whole number {whole} is out of range")));
    }
}

fn limits_count(schema: &Json) -> usize {
    ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"]
        .into_iter()
        .filter(|key| schema.get(*key).is_some())
        .count()
}

#[expect(clippy::too_many_arguments, reason = "texts and lists differ in names only")]
fn check_length(
    schema: &Json,
    least: &str,
    most: &str,
    count: u64,
    unit: &str,
    node: &Node,
    path: &str,
    faults: &mut Vec<Fault>,
) {
    let bound = |key: &str| schema.get(key).and_then(Json::as_u64);
    let message = match (bound(least), bound(most)) {
        (Some(least), Some(most)) if least == most && count != least => format!("exactly {least} {unit}"),
        (Some(1), _) if count == 0 => {
            faults.push(Fault::new(node.spot.place(path), "must not be empty"));
            return;
        }
        (Some(least), _) if count < least => format!("at least {least} {unit}"),
        (_, Some(most)) if count > most => format!("at most {most} {unit}"),
        _ => return,
    };
    faults.push(Fault::new(node.spot.place(path), format!("must have {message}, not {count}")));
}
