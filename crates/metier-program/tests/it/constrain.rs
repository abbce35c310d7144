//! Replies that a model without any sense makes are still of the form they are held to.

use crate::sample::reply;
use metier_core::data::Form;
use metier_core::seed::{Seed, Stream};
use metier_program::constrain::Constrainer;
use metier_testkit::bytes::{Bytes, END};
use serde_json::{Map, Value, json};

fn constrainer() -> Constrainer {
    Constrainer::new(&Bytes { begin: false }, &[END]).unwrap()
}

/// A schema out of what models are asked for most.
fn schema(random: &mut Stream, depth: u64) -> Value {
    match random.below(if depth == 0 { 7 } else { 10 }) {
        0 => json!({ "type": "boolean" }),
        1 => json!({ "type": "null" }),
        2 => {
            let least = random.below(2000) as i64 - 1000;
            json!({ "type": "integer", "minimum": least, "maximum": least + random.below(500) as i64 })
        }
        3 => json!({ "type": "number", "minimum": -2.5, "exclusiveMaximum": 7 }),
        4 => {
            let least = random.below(4);
            json!({ "type": "string", "minLength": least, "maxLength": least + random.below(8) })
        }
        5 => json!({ "enum": ["red", 7, null, { "a": [1] }, "é\"\\"] }),
        6 => json!({ "const": format!("word {}", random.below(9)) }),
        7 => {
            let least = random.below(3);
            json!({ "type": "array", "items": schema(random, depth - 1), "minItems": least, "maxItems": least + random.below(3) })
        }
        8 => json!({ "anyOf": [schema(random, depth - 1), schema(random, depth - 1)] }),
        _ => {
            let mut properties = Map::new();
            let mut required = Vec::new();
            for number in 0..random.below(4) {
                let name = format!("key {number}");
                if random.below(2) == 0 {
                    required.push(name.clone());
                }
                properties.insert(name, schema(random, depth - 1));
            }
            json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
        }
    }
}

/// Whether a value is as a schema of [`schema`] says.
fn valid(schema: &Value, value: &Value) -> bool {
    let within = |count: usize, least: &str, most: &str| {
        schema[least].as_u64().is_none_or(|least| count as u64 >= least)
            && schema[most].as_u64().is_none_or(|most| count as u64 <= most)
    };
    if let Some(options) = schema["anyOf"].as_array() {
        return options.iter().any(|option| valid(option, value));
    }
    if let Some(options) = schema["enum"].as_array() {
        return options.contains(value);
    }
    if !schema["const"].is_null() {
        return schema["const"] == *value;
    }
    match schema["type"].as_str().unwrap() {
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "integer" => {
            // -0 is a whole number, which `as_i64` does not know.
            let number = value.as_f64().filter(|number| number.fract() == 0.0);
            number.is_some() && (schema["minimum"].as_f64()..=schema["maximum"].as_f64()).contains(&number)
        }
        "number" => value.as_f64().is_some_and(|number| (-2.5..7.0).contains(&number)),
        "string" => value.as_str().is_some_and(|text| within(text.chars().count(), "minLength", "maxLength")),
        "array" => value.as_array().is_some_and(|items| {
            within(items.len(), "minItems", "maxItems") && items.iter().all(|item| valid(&schema["items"], item))
        }),
        _ => value.as_object().is_some_and(|map| {
            schema["required"].as_array().unwrap().iter().all(|name| map.contains_key(name.as_str().unwrap()))
                && map
                    .iter()
                    .all(|(name, value)| schema["properties"].get(name).is_some_and(|schema| valid(schema, value)))
        }),
    }
}

#[test]
fn replies_are_valid_for_500_schemas() {
    let constrainer = constrainer();
    let seed = Seed::new(6).derive("schemas");
    for number in 0..500 {
        let mut random = seed.at(number);
        let schema = schema(&mut random, 3);
        let reply = reply(&constrainer, &Form::JsonSchema(schema.clone()), &mut random);
        let value: Value = serde_json::from_str(&reply).unwrap_or_else(|error| panic!("{error}: {reply} for {schema}"));
        assert!(valid(&schema, &value), "{reply} is not as {schema} says");
    }
}

#[test]
fn any_object_and_patterns() {
    let constrainer = constrainer();
    let mut random = Seed::new(1).at(0);
    for _ in 0..20 {
        let text = reply(&constrainer, &Form::JsonSchema(json!({ "type": "object" })), &mut random);
        match serde_json::from_str::<Value>(&text) {
            Ok(value) => assert!(value.is_object(), "{text}"),
            // JSON as any, with a number that no f64 holds.
            Err(error) => assert!(error.to_string().starts_with("number out of range"), "{error}: {text}"),
        }
        let text = reply(&constrainer, &Form::Regex("(yes|no), [0-9]{2,3}".into()), &mut random);
        let rest = text.strip_prefix("yes, ").or_else(|| text.strip_prefix("no, ")).unwrap();
        assert!((2..=3).contains(&rest.len()) && rest.parse::<u16>().is_ok(), "{text}");
    }
}

#[test]
fn what_cannot_be_carried_out_is_refused_by_name() {
    let constrainer = constrainer();
    let refused = |form: Form| match constrainer.constrain(&form) {
        Ok(_) => panic!("{form:?} was not refused"),
        Err(error) => error.to_string(),
    };
    let schema = json!({ "type": "array", "items": { "type": "integer" }, "uniqueItems": true });
    let said = refused(Form::JsonSchema(schema));
    assert!(said.starts_with("response_format: ") && said.contains("uniqueItems"), "{said}");
    assert!(refused(Form::JsonSchema(json!({ "type": "king" }))).contains("king"));
    for keyword in [
        "contains",
        "dependentRequired",
        "dependentSchemas",
        "if",
        "maxContains",
        "minContains",
        "not",
        "propertyNames",
        "unevaluatedItems",
        "unevaluatedProperties",
        "uniqueItems",
    ] {
        for schema in [
            json!({ "type": ["array", "object"], keyword: true }),
            json!({ "properties": { "a": { "anyOf": [{ "type": "null" }, { keyword: {} }] } } }),
        ] {
            let said = refused(Form::JsonSchema(schema.clone()));
            assert!(said.contains(keyword), "{schema}: {said}");
        }
    }
    assert!(refused(Form::JsonSchema(json!({ "type": "string", "format": "shoe-size" }))).contains("shoe-size"));
    assert!(refused(Form::JsonSchema(json!({ "x-guidance": { "lenient": true } }))).contains("x-guidance"));
    assert!(refused(Form::Regex("(".into())).contains("response_format"));
    assert!(refused(Form::JsonSchema(json!({ "$ref": "http://elsewhere.example/schema" }))).contains("elsewhere"));
    assert!(Constrainer::new(&Bytes { begin: false }, &[]).is_err());
}
