//! The grammar of replies that call functions, in llguidance's dialect of Lark.

use crate::call::Syntax;
use metier_core::data::{CallForm, Tool, ToolChoice};
use serde_json::Value;
use std::fmt::Write as _;

/// The grammar of replies that may call `form.tools` as `syntax` writes calls. `schema` gives what the arguments of one
/// tool are held to.
pub(super) fn grammar(syntax: &Syntax, form: &CallForm, schema: impl Fn(&Tool) -> Value) -> String {
    let chosen: Vec<(usize, &Tool)> = form
        .tools
        .iter()
        .enumerate()
        .filter(|(_, tool)| !matches!(&form.choice, ToolChoice::Named(name) if *name != tool.name))
        .collect();
    let mut out = String::new();
    let free = form.choice == ToolChoice::Auto;
    let begin = literal(syntax.begin);
    let _ = match (free, syntax.after_text) {
        (false, _) => writeln!(out, "start: first rest"),
        (true, true) => {
            let text = regex(syntax.begin);
            writeln!(
                out,
                "start: TEXT | lead first rest\nlead[suffix={begin}]: /(?s:.*)/\nTEXT: /(?s:.*)/ & ~/(?s:.*){text}(?s:.*)/"
            )
        }
        (true, false) => {
            let text = regex(syntax.begin);
            writeln!(out, "start: TEXT | first rest\nTEXT: /(?s:.*)/ & ~/{text}(?s:.*)/")
        }
    };
    // What a lead has said already is no part of the first call.
    let open = if free && syntax.after_text { &syntax.open[syntax.begin.len()..] } else { syntax.open };
    let call = |open: &str, number: usize, tool: &Tool| {
        format!(
            "({} arguments_{number} {})",
            literal(&[open, &tool.name, syntax.between].concat()),
            literal(syntax.close)
        )
    };
    let calls = |open: &str| {
        let calls: Vec<String> = chosen.iter().map(|(number, tool)| call(open, *number, tool)).collect();
        calls.join(" | ")
    };
    let _ = writeln!(out, "first: {}", calls(open));
    let end = literal(syntax.end);
    let _ = match syntax.next.filter(|_| form.parallel) {
        Some(next) => writeln!(out, "rest: more* {end}\nmore: {}", calls(next)),
        None => writeln!(out, "rest: {end}"),
    };
    for (number, tool) in chosen {
        let _ = writeln!(out, "arguments_{number}: %json {}", schema(tool));
    }
    out
}

/// A text as the grammar has it.
fn literal(text: &str) -> String {
    Value::from(text).to_string()
}

/// A regular expression of one text alone, between slashes.
fn regex(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars() {
        if character.is_alphanumeric() {
            out.push(character);
        } else {
            let _ = write!(out, "\\x{:02x}", character as u32);
        }
    }
    out
}
