//! The configuration of Dolma's mixer, in YAML or JSON.

use super::expression::{Expression, Syntax, Wrong};
use super::replace::Replacement;
use super::rules::{Rule, Rules};
use metier_core::{Error, Fault, Place, Result};
use serde::Deserialize;
use serde::de::{Unexpected, Visitor};
use serde_saphyr::Spanned;
use std::path::Path;

/// What is to be mixed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    pub streams: Vec<Stream>,
    /// No effect here: `--threads` says how many threads work.
    pub processes: Option<u64>,
    /// No effect here: files are local.
    pub work_dir: Option<WorkDir>,
    /// Whether files are packed into shards; else each keeps its name.
    #[serde(default = "yes")]
    pub shuffle: bool,
    /// Whether to stop after the check.
    #[serde(default)]
    pub dryrun: bool,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read so that configurations which have it are understood")]
pub(super) struct WorkDir {
    input: Option<String>,
    output: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stream {
    pub name: String,
    pub documents: Vec<Spanned<String>>,
    #[serde(default)]
    pub attributes: Option<Vec<Spanned<String>>>,
    filter: Option<Filter>,
    #[serde(default)]
    span_replacement: Option<Vec<SpanReplacement>>,
    pub output: Output,
    pub compression: Option<Compression>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    #[serde(default)]
    include: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    exclude: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    syntax: Option<Syntax>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SpanReplacement {
    span: Spanned<String>,
    min_score: Option<f64>,
    max_score: Option<f64>,
    #[serde(default)]
    replacement: Option<Spanned<String>>,
    #[serde(default)]
    syntax: Option<Syntax>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Output {
    pub path: Spanned<String>,
    #[serde(default = "two_gibibytes", deserialize_with = "whole")]
    pub max_size_in_bytes: u64,
    #[serde(default)]
    pub discard_fields: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    min_text_length: Option<usize>,
}

fn two_gibibytes() -> u64 {
    2 << 30
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Compression {
    pub input: Option<String>,
    pub output: Option<String>,
}

/// A whole number, also with `_` between its digits, as YAML 1.1 has it.
pub(crate) fn whole<'de, D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<u64, D::Error> {
    struct Whole;
    impl Visitor<'_> for Whole {
        type Value = u64;

        fn expecting(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
            formatter.write_str("a whole number")
        }

        fn visit_u64<E: serde::de::Error>(self, value: u64) -> std::result::Result<u64, E> {
            Ok(value)
        }

        fn visit_i64<E: serde::de::Error>(self, value: i64) -> std::result::Result<u64, E> {
            u64::try_from(value).map_err(|_| E::invalid_value(Unexpected::Signed(value), &self))
        }

        fn visit_str<E: serde::de::Error>(self, value: &str) -> std::result::Result<u64, E> {
            value.replace('_', "").parse().map_err(|_| E::invalid_value(Unexpected::Str(value), &self))
        }
    }
    deserializer.deserialize_any(Whole)
}

/// Reads a configuration; `${oc.env:NAME}` stands for a variable of the environment.
pub(crate) fn read_config<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).map_err(|error| Error::io(path, "read", &error))?;
    let text = with_environment(path, &text)?;
    serde_saphyr::from_str(&text).map_err(|error| {
        let error = error.without_snippet();
        let place = Place::file(path);
        let place = match error.location() {
            Some(location) => place.at(location.line() as usize, location.column() as usize),
            None => place,
        };
        let message = error.to_string();
        // It ends with the place, which stands before it already.
        let message = message.rsplit_once(" at line ").map_or(&*message, |(said, _)| said);
        Error::user(place, message)
    })
}

fn with_environment(path: &Path, text: &str) -> Result<String> {
    let mut out = String::new();
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        let mut rest = line;
        while let Some(at) = rest.find("${") {
            let column = line[..line.len() - rest.len() + at].chars().count() + 1;
            let wrong = |message: String| Error::user(Place::file(path).at(number, column), message);
            out.push_str(&rest[..at]);
            let (inside, behind) =
                rest[at + 2..].split_once('}').ok_or_else(|| wrong("`${` has no `}` behind it".to_owned()))?;
            let name = inside
                .strip_prefix("oc.env:")
                .ok_or_else(|| wrong(format!("`${{{inside}}}` is not understood; only `${{oc.env:NAME}}` is")))?;
            let (name, default) =
                name.split_once(',').map_or((name, None), |(name, default)| (name, Some(default.trim())));
            let value = std::env::var(name.trim()).ok().or_else(|| default.map(str::to_owned));
            out.push_str(&value.ok_or_else(|| wrong(format!("the environment has no variable `{name}`")))?);
            rest = behind;
        }
        out.push_str(rest);
    }
    Ok(out)
}

/// Where a value of a configuration stands.
pub(crate) fn place_of<T>(path: &Path, key: String, value: &Spanned<T>) -> Place {
    let at = value.referenced;
    Place::file(path).at(at.line() as usize, at.column() as usize).with_key(key)
}

impl Stream {
    /// Its rules. All that are wrong come together.
    pub fn rules(&self, path: &Path, key: &str) -> Result<Rules> {
        let mut rules = Rules { minimum_text_length: self.output.min_text_length.unwrap_or(0), ..Rules::default() };
        let mut faults = Vec::new();
        if let Some(filter) = &self.filter {
            let syntax = filter.syntax.unwrap_or_default();
            for (list, name, texts) in
                [(&mut rules.include, "include", &filter.include), (&mut rules.exclude, "exclude", &filter.exclude)]
            {
                for (number, text) in (0..).zip(texts.iter().flatten()) {
                    let place = format!("filter.{name}[{number}]");
                    match Expression::new(syntax, &text.value) {
                        Ok(expression) => list.push(Rule { name: text.value.clone(), place, expression }),
                        Err(wrong) => {
                            faults.push(wrong.fault(place_of(path, format!("{key}.{place}"), text), &text.value));
                        }
                    }
                }
            }
        }
        for (number, replacement) in (0..).zip(self.span_replacement.iter().flatten()) {
            let SpanReplacement { span, min_score, max_score, replacement: with, syntax } = replacement;
            let text = with.as_ref().map_or("", |with| with.value.as_str());
            match Replacement::new(syntax.unwrap_or_default(), &span.value, text, *min_score, *max_score) {
                Ok(replacement) => rules.replace.push(replacement),
                Err((which, wrong)) => {
                    let (name, value) = match (which, with) {
                        ("with", Some(with)) => ("replacement", with),
                        _ => ("span", span),
                    };
                    let key = format!("{key}.span_replacement[{number}].{name}");
                    faults.push(wrong.fault(place_of(path, key, value), &value.value));
                }
            }
        }
        Error::collect(rules, faults)
    }
}

impl Wrong {
    /// The fault of an expression.
    pub fn fault(&self, place: Place, text: &str) -> Fault {
        let before: String = text.chars().take(self.column - 1).collect();
        let hint = if before.is_empty() { format!("`{text}`") } else { format!("right up to here: `{before}`") };
        Fault::new(place, format!("character {} of the expression: {}", self.column, self.message)).hint(hint)
    }
}
