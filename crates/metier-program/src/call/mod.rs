//! Calls of functions: how a model writes them, and how they are read back out of its reply.
//!
//! A model learned one way to write a call, and its chat template shows which. A reply is held to that way from the
//! moment a call begins (see [`crate::constrain`]), so that reading needs no guesses.

mod marks;
mod read;

pub use marks::showing;
pub use read::CallReader;

/// How calls stand in a reply: `open name between {..} close`, then `next name between {..} close` for each further one,
/// then `end`.
#[derive(Debug, PartialEq, Eq)]
pub struct Syntax {
    /// What messages call it.
    pub name: &'static str,
    /// The text that only a call begins with; the first part of `open`.
    pub begin: &'static str,
    /// Up to the first function's name.
    pub open: &'static str,
    /// From the name to the arguments.
    pub between: &'static str,
    /// Behind the arguments.
    pub close: &'static str,
    /// Up to the next function's name; `None` where a reply has one call.
    pub next: Option<&'static str>,
    /// Behind the last call.
    pub end: &'static str,
    /// Whether text may stand before the first call.
    pub after_text: bool,
    /// Tokens of the vocabulary that are part of it.
    pub marks: &'static [&'static str],
}

/// For templates that know nothing of functions; the instructions in [`crate::template`] ask for it.
pub static PLAIN: Syntax = Syntax {
    name: "plain",
    begin: "{\"name\": \"",
    open: "{\"name\": \"",
    between: "\", \"arguments\": ",
    close: "}",
    next: Some("\n{\"name\": \""),
    end: "",
    after_text: false,
    marks: &[],
};

/// What templates write, in the order in which they are looked for.
pub static SYNTAXES: &[Syntax] = &[
    // Hermes, Qwen 2.5 and 3
    Syntax {
        name: "hermes",
        begin: "<tool_call>",
        open: "<tool_call>\n{\"name\": \"",
        between: "\", \"arguments\": ",
        close: "}\n</tool_call>",
        next: Some("\n<tool_call>\n{\"name\": \""),
        end: "",
        after_text: true,
        marks: &["<tool_call>", "</tool_call>"],
    },
    // Mistral from version 11 of its tokenizer on
    Syntax {
        name: "mistral-arguments",
        begin: "[TOOL_CALLS]",
        open: "[TOOL_CALLS]",
        between: "[ARGS]",
        close: "",
        next: Some("[TOOL_CALLS]"),
        end: "",
        after_text: true,
        marks: &["[TOOL_CALLS]", "[ARGS]"],
    },
    // Mistral before
    Syntax {
        name: "mistral",
        begin: "[TOOL_CALLS]",
        open: "[TOOL_CALLS][{\"name\": \"",
        between: "\", \"arguments\": ",
        close: "}",
        next: Some(", {\"name\": \""),
        end: "]",
        after_text: true,
        marks: &["[TOOL_CALLS]"],
    },
    // Llama 3.1 to 3.3
    Syntax {
        name: "llama",
        begin: "{\"name\": \"",
        open: "{\"name\": \"",
        between: "\", \"parameters\": ",
        close: "}",
        next: None,
        end: "",
        after_text: false,
        marks: &[],
    },
];

impl Syntax {
    /// A call in a reply of its own, up to the arguments.
    pub fn opening(&self, name: &str) -> String {
        [self.open, name, self.between].concat()
    }

    /// Calls as a reply has them; `arguments` are texts of JSON objects.
    pub fn write<'c>(&self, calls: impl IntoIterator<Item = (&'c str, String)>) -> String {
        let mut out = String::new();
        for (name, arguments) in calls {
            let open = if out.is_empty() { self.open } else { self.next.unwrap_or(self.open) };
            out += &[open, name, self.between, &arguments, self.close].concat();
        }
        out + self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_begins_as_it_is_opened() {
        for syntax in SYNTAXES.iter().chain([&PLAIN]) {
            assert!(syntax.open.starts_with(syntax.begin), "{}", syntax.name);
            assert!(syntax.next.is_none_or(|next| !next.is_empty()), "{}", syntax.name);
        }
    }
}
