//! What a document defines: `\newcommand` and its kin.

use super::Stop;
use super::stream::{Spot, Stream};
use std::collections::HashMap;

/// Most definitions that one document may have at a time.
const DEFINITIONS: usize = 100_000;

/// Most bytes of a command's name.
const LONGEST_NAME: usize = 100;

/// What a command stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A text with `#1` to `#9` in it.
    Text {
        /// Number of arguments.
        arguments: usize,
        /// The first argument where it is left out.
        default: Option<String>,
        /// The text.
        body: String,
    },
    /// Another command as it is without the document's definitions.
    Original(String),
    /// A text whose arguments end at certain words, which is not followed.
    Delimited,
}

/// The commands and environments that a document has defined so far. An environment's two texts are under `begin NAME` and
/// `end NAME`.
#[derive(Debug, Default)]
pub(super) struct Macros(HashMap<String, Meaning>);

impl Macros {
    /// What a command stands for, if the document says so.
    pub(super) fn get(&self, name: &str) -> Option<&Meaning> {
        self.0.get(name)
    }

    /// Reads the definition that a command begins; `false` when the command defines nothing.
    pub(super) fn define(&mut self, command: &str, stream: &mut Stream) -> Result<bool, Stop> {
        let spot = stream.spot();
        match command {
            "newcommand" | "renewcommand" | "providecommand" | "DeclareRobustCommand" => {
                stream.take('*');
                let name = name(&stream.argument()?);
                stream.space();
                let arguments = count(stream);
                stream.space();
                let default = (arguments > 0).then(|| stream.optional()).flatten();
                let body = stream.argument()?;
                if command != "providecommand" || !self.0.contains_key(&name) {
                    self.insert(spot, name, Meaning::Text { arguments, default, body })?;
                }
            }
            "newenvironment" | "renewenvironment" => {
                stream.take('*');
                let name = stream.argument()?;
                stream.space();
                let arguments = count(stream);
                let default = (arguments > 0).then(|| stream.optional()).flatten();
                let (begin, end) = (stream.argument()?, stream.argument()?);
                self.insert(spot, format!("begin {name}"), Meaning::Text { arguments, default, body: begin })?;
                self.insert(spot, format!("end {name}"), Meaning::Text { arguments: 0, default: None, body: end })?;
            }
            "DeclareMathOperator" => {
                let star = if stream.take('*') { "*" } else { "" };
                let name = name(&stream.argument()?);
                let body = format!("\\operatorname{star}{{{}}}", stream.argument()?);
                self.insert(spot, name, Meaning::Text { arguments: 0, default: None, body })?;
            }
            "def" | "gdef" | "edef" | "xdef" => {
                let name = name(&stream.argument()?);
                let rest = stream.rest();
                let Some(end) = rest.find('{') else { return Err(Stop::new(spot, "the definition has no text")) };
                let parameters = rest[..end].to_owned();
                stream.skip(end);
                let body = stream.argument()?;
                let parameters = parameters.trim();
                let meaning = if "#1#2#3#4#5#6#7#8#9".starts_with(parameters) && parameters.len().is_multiple_of(2) {
                    Meaning::Text { arguments: parameters.len() / 2, default: None, body }
                } else {
                    Meaning::Delimited
                };
                self.insert(spot, name, meaning)?;
            }
            "let" => {
                let name = name(&stream.argument()?);
                stream.skip_blank();
                stream.take('=');
                let other = stream.argument()?;
                let meaning = match other.strip_prefix('\\') {
                    Some(other) => self.get(other).cloned().unwrap_or_else(|| Meaning::Original(other.to_owned())),
                    None => Meaning::Text { arguments: 0, default: None, body: other },
                };
                self.insert(spot, name, meaning)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn insert(&mut self, spot: Spot, name: String, meaning: Meaning) -> Result<(), Stop> {
        self.0.insert(name, meaning);
        if self.0.len() > DEFINITIONS {
            return Err(Stop::new(spot, format!("the document defines more than {DEFINITIONS} commands")));
        }
        Ok(())
    }
}

/// A command's name without its backslash.
fn name(argument: &str) -> String {
    let argument = argument.trim();
    argument.strip_prefix('\\').unwrap_or(argument).to_owned()
}

/// The number of arguments in brackets.
fn count(stream: &mut Stream) -> usize {
    stream.optional().and_then(|count| count.trim().parse().ok()).filter(|count| *count <= 9).unwrap_or(0)
}

/// The text with its arguments in place, or nothing where it would be longer than `most`. A command before an argument that begins with a letter stays apart from it.
pub(super) fn filled(body: &str, arguments: &[String], most: usize) -> Option<String> {
    let longest = arguments.iter().map(String::len).max().unwrap_or(0);
    if body.matches('#').count().saturating_mul(longest + 1).saturating_add(body.len()) > most {
        return None;
    }
    let mut out = String::with_capacity(body.len());
    let mut rest = body;
    while let Some(at) = rest.find('#') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let Some(next) = rest.chars().next() else { break };
        if let Some(argument) = next.to_digit(10).and_then(|number| arguments.get((number as usize).wrapping_sub(1))) {
            if argument.starts_with(|letter: char| letter.is_ascii_alphabetic()) && ends_in_command(&out) {
                out.push(' ');
            }
            out.push_str(argument);
        } else {
            out.push('#');
            if next != '#' {
                out.push(next);
            }
        }
        rest = &rest[next.len_utf8()..];
    }
    Some(out + rest)
}

/// Whether a text ends in a backslash and letters.
pub(super) fn ends_in_command(text: &str) -> bool {
    // No name is longer, and a text may end in letters without end.
    let text = &text[text.floor_char_boundary(text.len().saturating_sub(LONGEST_NAME))..];
    let before = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    before.len() < text.len() && ends_in_backslash(before)
}

/// Whether a text ends in a backslash that none before it makes a line's end.
pub(super) fn ends_in_backslash(text: &str) -> bool {
    (text.len() - text.trim_end_matches('\\').len()) % 2 == 1
}
