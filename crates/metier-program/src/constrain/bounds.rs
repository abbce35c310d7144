//! Bounds that the grammar's own ranges get wrong.

use serde_json::Value;

/// Moves whole exclusive bounds of numbers by the least step, to the inside.
///
/// llguidance 1.9.1 allows `13` where a number must be above 13 and at most 13.5: in a range inside of one whole number
/// it lets the fraction be left out, whether or not the bound is part of the range. A bound with a fraction of its own
/// is not treated so, and the step loses nothing but itself.
pub(super) fn sharpen(schema: &mut Value) {
    let Some(map) = schema.as_object_mut() else { return };
    if map.get("type").is_none_or(|kind| kind != "integer") {
        for (key, up) in [("exclusiveMinimum", true), ("exclusiveMaximum", false)] {
            if let Some(bound) = map.get_mut(key)
                && let Some(moved) = bound.as_f64().and_then(|bound| inside(bound, up))
            {
                *bound = Value::from(moved);
            }
        }
    }
    for (key, value) in map {
        match (key.as_str(), value) {
            // These hold values, not schemas.
            ("const" | "enum" | "default" | "examples", _) => {}
            ("properties" | "patternProperties" | "$defs" | "definitions", Value::Object(schemas)) => {
                schemas.values_mut().for_each(sharpen);
            }
            (_, Value::Array(items)) => items.iter_mut().for_each(sharpen),
            (_, value) => sharpen(value),
        }
    }
}

/// The number beside a whole one; `None` where the numbers are so large that none has a fraction.
fn inside(bound: f64, up: bool) -> Option<f64> {
    /// Beside 0 the least number has hundreds of digits.
    const BESIDE_ZERO: f64 = 1e-15;
    if bound.fract() != 0.0 || bound.abs() >= 2_f64.powi(52) {
        return None;
    }
    Some(match (bound == 0.0, up) {
        (true, true) => BESIDE_ZERO,
        (true, false) => -BESIDE_ZERO,
        (false, true) => bound.next_up(),
        (false, false) => bound.next_down(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn whole_exclusive_bounds_of_numbers_move_and_nothing_else_does() {
        let mut schema = json!({
            "exclusiveMinimum": 13, "minimum": 13, "const": { "exclusiveMinimum": 13 },
            "properties": { "const": { "type": "number", "exclusiveMaximum": 0 }, "b": { "type": "integer", "exclusiveMinimum": 1 } },
            "anyOf": [{ "exclusiveMinimum": 0.5 }, { "exclusiveMaximum": 1e300 }, true],
        });
        let mut expected = schema.clone();
        expected["exclusiveMinimum"] = json!(13.000_000_000_000_002);
        expected["properties"]["const"]["exclusiveMaximum"] = json!(-1e-15);
        sharpen(&mut schema);
        assert_eq!(schema, expected);
    }
}
