//! Functions in templates: what a template shows of them is found by trying it.
//!
//! A template that takes functions writes them out in its own words, and writes calls in the one way that its model
//! learned. Others leave functions out without a word; for them the functions are put into the instructions.

use super::{ChatTemplate, role_name};
use crate::call::{PLAIN, SYNTAXES, Syntax};
use metier_core::data::{Conversation, Message, Role, Tool, ToolCall};
use metier_core::{Error, Place, Result};
use minijinja::Value;
use serde_json::json;
use std::borrow::Cow;

/// What a template does with functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// Shows them, and writes calls so.
    Own(&'static Syntax),
    /// Shows them, and writes calls in a way that is not known here.
    Unknown,
    /// Leaves them out; `system` says whether it writes out a turn of standing instructions.
    None { system: bool },
}

/// Names that no conversation has.
const PROBE: &str = "metier_probe_name";
const PROBE_CALL: &str = "metier_probe_call";

impl Manner {
    /// What a template does.
    pub(super) fn of(template: &ChatTemplate) -> Self {
        let user = || Message::new(Role::User, "a");
        let tool = Tool { name: PROBE.to_owned(), description: Some("a".to_owned()), parameters: no_arguments() };
        let with_tool = Conversation { messages: vec![user()], tools: vec![tool] };
        if !template.write(&with_tool, true).is_ok_and(|text| text.contains(PROBE)) {
            let system = Conversation::from(vec![Message::new(Role::System, PROBE), user()]);
            let system = template.write(&system, true).is_ok_and(|text| text.contains(PROBE));
            return Self::None { system };
        }
        let call = ToolCall { id: "abcdefghi".to_owned(), name: PROBE_CALL.to_owned(), arguments: json!({ "a": 1 }) };
        let calls = Message { tool_calls: vec![call], ..Message::new(Role::Assistant, "") };
        let with_call = Conversation { messages: vec![user(), calls], ..with_tool };
        let written = template.write(&with_call, false).unwrap_or_default();
        let fits = |syntax: &&Syntax| written.contains(&syntax.opening(PROBE_CALL));
        SYNTAXES.iter().find(fits).map_or(Self::Unknown, Self::Own)
    }

    /// How calls are written; refused where it is not known.
    pub(super) fn syntax(self) -> Result<&'static Syntax> {
        match self {
            Self::Own(syntax) => Ok(syntax),
            Self::None { .. } => Ok(&PLAIN),
            Self::Unknown => Err(Error::user(
                Place::key("tools"),
                "the model's chat template writes calls in a way that is not known",
            )),
        }
    }

    /// The conversation as the template is given it.
    pub(super) fn prepare(self, conversation: &Conversation) -> Cow<'_, Conversation> {
        let about_tools = |message: &Message| message.tool_call_id.is_some() || !message.tool_calls.is_empty();
        match self {
            Self::None { system }
                if !conversation.tools.is_empty() || conversation.messages.iter().any(about_tools) =>
            {
                Cow::Owned(in_words(conversation, system))
            }
            _ => Cow::Borrowed(conversation),
        }
    }
}

/// The schema of a function without arguments.
pub(super) fn no_arguments() -> serde_json::Value {
    json!({ "type": "object", "properties": {} })
}

/// The conversation with everything about functions said in plain turns.
fn in_words(conversation: &Conversation, system: bool) -> Conversation {
    let mut messages: Vec<Message> = Vec::with_capacity(conversation.messages.len() + 1);
    let mut names: Vec<(&str, &str)> = Vec::new();
    let mut after_result = false;
    for message in &conversation.messages {
        names.extend(message.tool_calls.iter().map(|call| (call.id.as_str(), call.name.as_str())));
        let result = message.role == Role::Tool;
        if result {
            let id = message.tool_call_id.as_deref();
            let name =
                names.iter().rev().find(|(known, _)| Some(*known) == id).map_or("the function", |(_, name)| name);
            let text = format!("{name} returned: {}", message.content);
            match messages.last_mut().filter(|_| after_result) {
                Some(last) => last.content.extend(["\n", &text]),
                None => messages.push(Message::new(Role::User, text)),
            }
        } else {
            let calls = message.tool_calls.iter().map(|call| (call.name.as_str(), call.arguments.to_string()));
            let space = if message.content.is_empty() || message.tool_calls.is_empty() { "" } else { "\n" };
            let content = [&message.content, space, &PLAIN.write(calls)].concat();
            messages.push(Message::new(message.role, content));
        }
        after_result = result;
    }
    if !conversation.tools.is_empty() {
        let words = instructions(&conversation.tools);
        let place = if system { Role::System } else { Role::User };
        match messages.iter_mut().find(|message| message.role == place) {
            Some(message) => message.content = format!("{}\n\n{words}", message.content),
            None => messages.insert(0, Message::new(place, words)),
        }
    }
    messages.into()
}

fn instructions(tools: &[Tool]) -> String {
    let mut words = "You can call these functions:\n".to_owned();
    for tool in tools {
        words.extend([&super::json::text(&written(tool)), "\n"]);
    }
    words
        + "When one of them is needed, answer with nothing but a line of JSON for each call:\n\
             {\"name\": FUNCTION, \"arguments\": {ARGUMENT: VALUE}}"
}

/// A function as templates take it.
pub(super) fn written(tool: &Tool) -> Value {
    let mut function = vec![("name", Value::from(&tool.name))];
    if let Some(description) = &tool.description {
        function.push(("description", Value::from(description)));
    }
    function.push(("parameters", of_json(&tool.parameters)));
    Value::from_pairs([("type", Value::from("function")), ("function", Value::from_pairs(function))])
}

/// A turn as templates take it.
pub(super) fn message(message: &Message) -> Value {
    let mut fields =
        vec![("role", Value::from(role_name(message.role))), ("content", Value::from(message.content.as_str()))];
    if !message.tool_calls.is_empty() {
        let calls: Value = message
            .tool_calls
            .iter()
            .map(|call| {
                let arguments = of_json(&call.arguments);
                let function = Value::from_pairs([("name", Value::from(&call.name)), ("arguments", arguments)]);
                Value::from_pairs([
                    ("id", Value::from(&call.id)),
                    ("type", Value::from("function")),
                    ("function", function),
                ])
            })
            .collect();
        fields.push(("tool_calls", calls));
    }
    if let Some(id) = &message.tool_call_id {
        fields.push(("tool_call_id", Value::from(id)));
    }
    Value::from_pairs(fields)
}

/// A JSON value as templates see it.
fn of_json(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Bool(value) => Value::from(*value),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Value::from(number),
            (None, Some(number)) => Value::from(number),
            (None, None) => Value::from(number.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(text) => Value::from(text),
        serde_json::Value::Array(items) => items.iter().map(of_json).collect(),
        serde_json::Value::Object(map) => {
            Value::from_pairs(map.iter().map(|(key, value)| (key.as_str(), of_json(value))))
        }
    }
}
