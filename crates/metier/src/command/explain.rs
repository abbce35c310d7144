//! `metier explain`.

use super::{Global, Verdict};
use crate::stage::{VERBS, Verb};
use metier_core::fault::near_miss;
use metier_core::settings::{describe, schema_generator};
use metier_core::{Fault, Place, Result};
use serde_json::json;
use std::fmt::Write;

/// Explain a stage verb or a part: what it does, its settings, its source
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples: metier explain train\n          metier explain lora")]
pub struct Arguments {
    /// A stage verb, a part, or FAMILY/PART
    #[arg(value_name = "NAME")]
    name: String,
}

/// Runs the verb.
pub fn execute(arguments: &Arguments, global: &Global) -> Result<Verdict> {
    let families = super::list::families();
    let (family, name) =
        arguments.name.split_once('/').map_or((None, arguments.name.as_str()), |(family, name)| (Some(family), name));
    let mut pages: Vec<(String, String, serde_json::Value)> = Vec::new();
    if family.is_none()
        && let Some(verb) = VERBS.iter().find(|verb| verb.name == name)
    {
        pages.push((format!("stage verb {name}"), verb_page(verb), json!((verb.settings)(&mut schema_generator()))));
    }
    for known in families.iter().filter(|known| family.is_none_or(|family| family == known.name)) {
        for part in known.members.iter().filter(|part| part.name == name) {
            pages.push((format!("{} {name}", known.name), part_page(part), json!(part.schema())));
        }
    }
    if pages.is_empty() {
        let names: Vec<&str> = VERBS
            .iter()
            .map(|verb| verb.name)
            .chain(families.iter().flat_map(|family| family.members.iter().map(|part| part.name)))
            .collect();
        let near = near_miss(name, names.iter().copied());
        return Err(Fault::new(Place::key(&arguments.name), "no stage verb or part is called this")
            .hint(near.map_or("`metier list` shows them all".to_owned(), |near| format!("did you mean `{near}`?")))
            .into());
    }
    if global.json {
        let pages: Vec<_> = pages.iter().map(|(title, _, schema)| json!({ "name": title, "schema": schema })).collect();
        super::print_json(&json!(pages))?;
    } else {
        for (title, page, _) in pages {
            super::print(&format!("{title}\n\n{page}\n"))?;
        }
    }
    Ok(Verdict::Fine)
}

/// A part's page and its settings as Markdown.
pub fn part_page(part: &metier_core::part::Record) -> String {
    format!("{}\n{}", part.page().trim_end(), settings_page(&part.schema()))
}

/// A verb's inputs, parts and settings as Markdown.
pub fn verb_page(verb: &Verb) -> String {
    let mut out = format!("{}\n\nMakes {}.\n\n# Inputs\n", verb.summary, verb.makes.word());
    for slot in verb.inputs {
        let _ = writeln!(
            out,
            "- `{}`{}: {} ({})",
            slot.key,
            if slot.required { "" } else { ", optional" },
            slot.text,
            slot.kind.word()
        );
    }
    if !verb.parts.is_empty() {
        out += "\n# Parts\n";
    }
    for slot in verb.parts {
        let names: Vec<_> = (slot.members)().iter().map(|part| part.name).collect();
        let default = slot.default.map_or(String::new(), |name| format!(", `{name}` when left out"));
        let _ = writeln!(
            out,
            "- `{}`: {}{} ({}){default}",
            slot.key,
            if slot.many { "a list of the family " } else { "one of the family " },
            slot.family,
            names.join(", ")
        );
    }
    out + &settings_page(&(verb.settings)(&mut schema_generator()))
}

fn settings_page(schema: &schemars::Schema) -> String {
    let fields = describe(schema);
    if fields.is_empty() {
        return String::new();
    }
    let mut out = "\n# Settings\n".to_owned();
    for field in fields {
        let _ = write!(out, "- `{}` ({}", field.key, field.kind);
        if let Some(range) = &field.range {
            let _ = write!(out, ", {range}");
        }
        match &field.default {
            Some(default) => {
                let _ = write!(out, ", default {default})");
            }
            None => out += if field.required { ", required)" } else { ")" },
        }
        let _ = writeln!(out, ": {}", field.text.replace('\n', " "));
    }
    out
}
