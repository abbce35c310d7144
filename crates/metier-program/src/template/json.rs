//! The `tojson` filter as `transformers` defines it: Python's `json.dumps` with `ensure_ascii=False`
//! and nothing escaped for HTML.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, Value};

/// How the text is laid out.
struct Layout {
    indent: Option<String>,
    item_separator: String,
    key_separator: String,
    sort_keys: bool,
    ascii: bool,
}

/// `value` as JSON text in the standard layout.
pub(super) fn text(value: &Value) -> String {
    let layout = Layout {
        indent: None,
        item_separator: ", ".to_owned(),
        key_separator: ": ".to_owned(),
        sort_keys: false,
        ascii: false,
    };
    let mut out = String::new();
    // What a tool holds is JSON, and a text grows without failing.
    let _ = write_value(&mut out, value, &layout, 0);
    out
}

/// `value` as JSON text. Takes `indent` (a number or a text), `separators` (two texts), `sort_keys` and
/// `ensure_ascii`, as Python does.
#[expect(clippy::needless_pass_by_value, reason = "a filter owns its arguments")]
pub(super) fn to_json(value: &Value, arguments: Kwargs) -> Result<String, Error> {
    let indent: Option<Value> = arguments.get("indent")?;
    let separators: Option<Vec<String>> = arguments.get("separators")?;
    let indent = match indent {
        Some(indent) if !indent.is_none() => Some(match indent.as_str() {
            Some(text) => text.to_owned(),
            None => " ".repeat(indent.as_usize().unwrap_or(0)),
        }),
        _ => None,
    };
    let (item_separator, key_separator) = match separators.as_deref() {
        Some([item, key]) => (item.clone(), key.clone()),
        Some(_) => return Err(Error::new(ErrorKind::InvalidOperation, "tojson wants two separators")),
        None => (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned()),
    };
    let layout = Layout {
        indent,
        item_separator,
        key_separator,
        sort_keys: arguments.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        ascii: arguments.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
    };
    arguments.assert_all_used()?;
    let mut out = String::new();
    write_value(&mut out, value, &layout, 0)?;
    Ok(out)
}

fn write_value(out: &mut String, value: &Value, layout: &Layout, depth: usize) -> Result<(), Error> {
    match value.kind() {
        ValueKind::None => out.push_str("null"),
        ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
        ValueKind::Number => out.push_str(&value.to_string()),
        ValueKind::String => write_text(out, value.as_str().unwrap_or_default(), layout.ascii),
        ValueKind::Seq | ValueKind::Iterable => {
            let items: Vec<Value> = value.try_iter()?.collect();
            write_items(out, layout, depth, ('[', ']'), &items, |out, item| write_value(out, item, layout, depth + 1))?;
        }
        ValueKind::Map => {
            let mut keys: Vec<Value> = value.try_iter()?.collect();
            if layout.sort_keys {
                keys.sort();
            }
            write_items(out, layout, depth, ('{', '}'), &keys, |out, key| {
                let name = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
                write_text(out, &name, layout.ascii);
                out.push_str(&layout.key_separator);
                write_value(out, &value.get_item(key)?, layout, depth + 1)
            })?;
        }
        kind => {
            return Err(Error::new(ErrorKind::InvalidOperation, format!("a value of kind {kind} is no JSON")));
        }
    }
    Ok(())
}

fn write_items(
    out: &mut String,
    layout: &Layout,
    depth: usize,
    brackets: (char, char),
    items: &[Value],
    mut write: impl FnMut(&mut String, &Value) -> Result<(), Error>,
) -> Result<(), Error> {
    out.push(brackets.0);
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push_str(&layout.item_separator);
        }
        new_line(out, layout, depth + 1);
        write(out, item)?;
    }
    if !items.is_empty() {
        new_line(out, layout, depth);
    }
    out.push(brackets.1);
    Ok(())
}

fn new_line(out: &mut String, layout: &Layout, depth: usize) {
    if let Some(indent) = &layout.indent {
        out.push('\n');
        for _ in 0..depth {
            out.push_str(indent);
        }
    }
}

fn write_text(out: &mut String, text: &str, ascii: bool) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            control if (control as u32) < 0x20 => push_escape(out, control as u16),
            other if ascii && !other.is_ascii() => {
                let mut units = [0; 2];
                for unit in other.encode_utf16(&mut units) {
                    push_escape(out, *unit);
                }
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

fn push_escape(out: &mut String, unit: u16) {
    out.push_str("\\u");
    for shift in [12, 8, 4, 0] {
        out.push(char::from_digit(u32::from(unit >> shift) & 0xf, 16).unwrap_or('0'));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(source: &str) -> String {
        let mut environment = minijinja::Environment::new();
        environment.add_filter("tojson", to_json);
        environment.render_str(source, Value::from(())).unwrap()
    }

    #[test]
    fn layout_is_python_s() {
        assert_eq!(render("{{ {'b': [1, 2.5, none], 'a': true} | tojson }}"), r#"{"b": [1, 2.5, null], "a": true}"#);
        assert_eq!(render("{{ {'b': 1, 'a': []} | tojson(sort_keys=true) }}"), r#"{"a": [], "b": 1}"#);
        assert_eq!(render("{{ {'a': [1, 2]} | tojson(indent=2) }}"), "{\n  \"a\": [\n    1,\n    2\n  ]\n}");
        assert_eq!(render("{{ [1, 'x'] | tojson(separators=(',', ':')) }}"), r#"[1,"x"]"#);
    }

    #[test]
    fn nothing_is_escaped_for_html() {
        assert_eq!(render("{{ '<a href=\"é\">&\\n' | tojson }}"), "\"<a href=\\\"é\\\">&\\n\"");
        assert_eq!(render("{{ 'é😀' | tojson(ensure_ascii=true) }}"), "\"\\u00e9\\ud83d\\ude00\"");
    }
}
