//! Chat templates: how the turns of a conversation are written out for one model.
//!
//! A checkpoint carries its template as Jinja text. The same text must give the same prompt here as in
//! `transformers` (`apply_chat_template`), because a model answers a prompt written another way worse.

mod clock;
mod generation;
mod json;
mod tools;

use crate::call::Syntax;
use metier_core::data::{Conversation, Role};
use metier_core::{Error, Fault, Place, Result};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, Value};
use std::sync::OnceLock;
use tools::Manner;

/// The name the compiled template goes by in messages.
const NAME: &str = "chat template";

/// A compiled chat template. Cheap to render, safe to share between threads.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    begin: Option<String>,
    end: Option<String>,
    /// Found when it is first asked for.
    manner: OnceLock<Manner>,
}

impl ChatTemplate {
    /// Compiles the template text of a checkpoint.
    ///
    /// `begin` and `end` are the begin-of-text and end-of-text tokens as written in the vocabulary; the
    /// template sees them as `bos_token` and `eos_token`. A syntax error names the line.
    pub fn compile(source: &str, begin: Option<&str>, end: Option<&str>) -> Result<Self> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()
            .map_err(|error| Error::program(format!("template syntax settings: {error}")))?;
        environment.set_syntax(syntax);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", json::to_json);
        environment.add_function("raise_exception", |message: String| -> Result<Value, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_function("strftime_now", clock::strftime_now);
        environment
            .add_template_owned(NAME, generation::without_generation_tags(source))
            .map_err(|error| template_fault(&error, "does not compile"))?;
        Ok(Self { environment, begin: begin.map(str::to_owned), end: end.map(str::to_owned), manner: OnceLock::new() })
    }

    /// The prompt text of a conversation, special tokens written out.
    ///
    /// With `add_generation_prompt` the text ends where the model's next turn begins. What the template
    /// itself refuses (`raise_exception`) is an error that repeats its words and names the line. A template that knows
    /// nothing of functions gets them, calls and results in words.
    pub fn render(&self, conversation: &Conversation, add_generation_prompt: bool) -> Result<String> {
        if !conversation.tools.is_empty() {
            self.syntax()?;
        }
        self.write(&self.manner().prepare(conversation), add_generation_prompt)
    }

    /// How the model writes calls of functions; refused where the template writes them in a way that is not known.
    pub fn syntax(&self) -> Result<&'static Syntax> {
        self.manner().syntax()
    }

    fn manner(&self) -> Manner {
        *self.manner.get_or_init(|| Manner::of(self))
    }

    /// The text of turns as the template writes them.
    fn write(&self, conversation: &Conversation, add_generation_prompt: bool) -> Result<String> {
        let messages: Value = conversation.messages.iter().map(tools::message).collect();
        let tools = match conversation.tools.as_slice() {
            [] => Value::from(()),
            tools => tools.iter().map(tools::written).collect(),
        };
        let mut variables = vec![
            ("messages", messages),
            ("add_generation_prompt", Value::from(add_generation_prompt)),
            ("tools", tools),
            ("documents", Value::from(())),
        ];
        if let Some(begin) = &self.begin {
            variables.push(("bos_token", Value::from(begin)));
        }
        if let Some(end) = &self.end {
            variables.push(("eos_token", Value::from(end)));
        }
        self.environment
            .get_template(NAME)
            .and_then(|template| template.render(Value::from_pairs(variables)))
            .map_err(|error| template_fault(&error, "refuses this conversation"))
    }
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    }
}

fn template_fault(error: &minijinja::Error, what: &str) -> Error {
    let mut place = Place::key(match error.line() {
        Some(line) => format!("{NAME}, line {line}"),
        None => NAME.to_owned(),
    });
    place.line = error.line();
    let reason = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    Fault::new(place, format!("the template {what}: {reason}")).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use metier_core::data::Message;

    fn conversation(turns: &[(Role, &str)]) -> Conversation {
        turns.iter().map(|(role, content)| Message::new(*role, *content)).collect::<Vec<_>>().into()
    }

    #[test]
    fn turns_are_written_out_with_tokens_and_trimmed_blocks() {
        let source = "{{ bos_token }}\n{% for m in messages %}\n    {% if m.role == 'user' %}\n<{{ m['content'].strip() }}>\n    {% endif %}\n{% endfor %}\n{% if add_generation_prompt %}\nnext:{% endif %}";
        let template = ChatTemplate::compile(source, Some("<s>"), None).unwrap();
        let text = template.render(&conversation(&[(Role::User, " a "), (Role::Assistant, "b")]), true).unwrap();
        assert_eq!(text, "<s>\n<a>\nnext:");
    }

    #[test]
    fn a_syntax_error_names_the_line() {
        let error = ChatTemplate::compile("a\n{% for m in messages %}\nb", None, None).unwrap_err();
        assert_eq!(error.faults[0].place.line, Some(3));
        let error = ChatTemplate::compile("a\n{{ 1 + }}\nb", None, None).unwrap_err();
        assert!(error.to_string().starts_with("chat template, line 2: the template does not compile"), "{error}");
    }

    #[test]
    fn what_the_template_refuses_is_repeated_with_its_line() {
        let template = ChatTemplate::compile("x\n{{ raise_exception('turns must alternate') }}", None, None).unwrap();
        let error = template.render(&conversation(&[]), false).unwrap_err();
        assert_eq!(
            error.to_string(),
            "chat template, line 2: the template refuses this conversation: turns must alternate"
        );
    }

    #[test]
    fn generation_marks_leave_their_body() {
        let template =
            ChatTemplate::compile("a {%- generation -%} b {% endgeneration %}c{{ 'x' }}", None, None).unwrap();
        assert_eq!(template.render(&conversation(&[]), false).unwrap(), "ab cx");
    }
}
