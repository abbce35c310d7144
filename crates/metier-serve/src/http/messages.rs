//! Turns of a conversation and the functions it may call, read out of a request.

use super::fields::Fields;
use metier_core::data::{CallForm, Conversation, Message, Role, Tool, ToolCall, ToolChoice};
use metier_core::fault::near_miss;
use serde_json::{Value, json};

/// Functions that one request may have.
const MOST_TOOLS: usize = 128;
/// Longest name of a function.
const NAME_LENGTH: usize = 64;
const NO_PLACE: &str = "is refused: templates have no place for it";

/// The value of `messages`.
pub(super) fn conversation(value: Value, fields: &mut Fields) -> Conversation {
    let Value::Array(items) = value else {
        fields.fault("messages", "must be a list");
        return Conversation::default();
    };
    if items.is_empty() {
        fields.fault("messages", "must have at least one message");
    }
    let messages: Vec<Message> = items
        .into_iter()
        .enumerate()
        .filter_map(|(number, item)| fields.inside(&format!("messages[{number}]"), item, message).flatten())
        .collect();
    for (number, message) in messages.iter().enumerate() {
        let calls = || messages[..number].iter().flat_map(|message| &message.tool_calls).map(|call| call.id.as_str());
        if let Some(id) = message.tool_call_id.as_deref()
            && !calls().any(|known| known == id)
        {
            let near = near_miss(id, calls()).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            fields.fault(format!("messages[{number}].tool_call_id"), format!("answers no call before it{near}"));
        }
    }
    messages.into()
}

fn message(fields: &mut Fields) -> Option<Message> {
    let role = match fields.required_text("role").as_deref() {
        Some("system" | "developer") => Some(Role::System),
        Some("user") => Some(Role::User),
        Some("assistant") => Some(Role::Assistant),
        Some("tool") => Some(Role::Tool),
        Some("function") => {
            fields.fault("role", "is refused: `tool` took its place");
            None
        }
        Some(_) => {
            fields.fault("role", "must be system, developer, user, assistant or tool");
            None
        }
        None => None,
    };
    let calls = if role == Some(Role::Assistant) {
        fields.take("tool_calls").map(|value| tool_calls(fields, value)).unwrap_or_default()
    } else {
        fields.only("tool_calls", &[json!([])], "belongs to messages of the assistant");
        Vec::new()
    };
    let id = if role == Some(Role::Tool) {
        fields.required_text("tool_call_id")
    } else {
        fields.only("tool_call_id", &[], "belongs to messages of tools");
        None
    };
    fields.only("function_call", &[], "is refused: `tool_calls` took its place");
    fields.only("refusal", &[], NO_PLACE);
    fields.only("annotations", &[json!([])], NO_PLACE);
    fields.only("audio", &[], "is refused: only text can be read");
    fields.only("name", &[], NO_PLACE);
    let content = match fields.take("content") {
        None if !calls.is_empty() => Some(String::new()),
        None => {
            fields.fault("content", "is missing");
            None
        }
        Some(Value::String(text)) => Some(text),
        Some(Value::Array(parts)) => parts
            .into_iter()
            .enumerate()
            .map(|(number, part)| fields.inside(&format!("content[{number}]"), part, text_part).flatten())
            .collect(),
        Some(_) => {
            fields.fault("content", "must be a text or a list of parts");
            None
        }
    };
    Some(Message { role: role?, content: content?, tool_calls: calls, tool_call_id: id })
}

fn text_part(fields: &mut Fields) -> Option<String> {
    if fields.text("type").as_deref() != Some("text") {
        fields.fault("type", "must be \"text\": only text can be read");
    }
    fields.required_text("text")
}

fn tool_calls(fields: &mut Fields, value: Value) -> Vec<ToolCall> {
    let Value::Array(items) = value else {
        fields.fault("tool_calls", "must be a list");
        return Vec::new();
    };
    let mut calls: Vec<ToolCall> = Vec::new();
    for (number, item) in items.into_iter().enumerate() {
        let call = fields.inside(&format!("tool_calls[{number}]"), item, |fields| {
            let id = fields.required_text("id");
            function_type(fields);
            let function = fields.required("function")?;
            let (name, arguments) = fields.inside("function", function, called)??;
            Some(ToolCall { id: id?, name, arguments })
        });
        calls.extend(call.flatten());
    }
    calls
}

/// What a call calls: a name, and arguments as the text of an object.
fn called(fields: &mut Fields) -> Option<(String, Value)> {
    let name = fields.required_text("name");
    let text = fields.required_text("arguments")?;
    let arguments = serde_json::from_str::<Value>(&text).ok().filter(Value::is_object);
    if arguments.is_none() {
        fields.fault("arguments", "must be the text of a JSON object");
    }
    Some((name?, arguments?))
}

fn function_type(fields: &mut Fields) {
    match fields.text("type").as_deref() {
        Some("function") => {}
        Some(_) => fields.fault("type", "must be \"function\""),
        None => fields.fault("type", "is needed, and must be \"function\""),
    }
}

/// The functions of a request.
pub(super) fn tools(fields: &mut Fields) -> Vec<Tool> {
    let items = match fields.take("tools") {
        None => return Vec::new(),
        Some(Value::Array(items)) if items.len() <= MOST_TOOLS => items,
        Some(_) => {
            fields.fault("tools", format!("must be a list of at most {MOST_TOOLS} functions"));
            return Vec::new();
        }
    };
    let mut tools: Vec<Tool> = Vec::new();
    for (number, item) in items.into_iter().enumerate() {
        let place = format!("tools[{number}]");
        let tool = fields.inside(&place, item, |fields| {
            function_type(fields);
            let value = fields.required("function")?;
            fields.inside("function", value, tool).flatten()
        });
        let Some(tool) = tool.flatten() else { continue };
        if tools.iter().any(|known| known.name == tool.name) {
            fields.fault(format!("{place}.function.name"), format!("is `{}`, as another function's", tool.name));
        }
        tools.push(tool);
    }
    tools
}

fn tool(fields: &mut Fields) -> Option<Tool> {
    let name = fields.required_text("name");
    let may = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '.');
    if let Some(name) = &name
        && (name.is_empty() || name.len() > NAME_LENGTH || !name.chars().all(may))
    {
        fields.fault("name", format!("must have 1 to {NAME_LENGTH} characters of a-z, A-Z, 0-9, `_`, `-` and `.`"));
    }
    let description = fields.text("description");
    // Calls are always held to the schema.
    fields.choice("strict");
    let parameters = fields.take("parameters").unwrap_or_else(|| json!({ "type": "object", "properties": {} }));
    let object = parameters.as_object().is_some_and(|map| map.get("type").is_none_or(|kind| kind == "object"));
    if !object {
        fields.fault("parameters", "must be the JSON schema of an object");
    }
    let mut parameters = parameters;
    if let Some(map) = parameters.as_object_mut() {
        map.entry("type").or_insert_with(|| json!("object"));
    }
    Some(Tool { name: name?, description, parameters })
}

/// What replies may call; `None` when they call nothing.
pub(super) fn call_form(fields: &mut Fields, tools: &[Tool]) -> Option<CallForm> {
    let choice = fields.take("tool_choice").unwrap_or_else(|| json!(if tools.is_empty() { "none" } else { "auto" }));
    let parallel = fields.choice("parallel_tool_calls");
    if tools.is_empty() {
        if parallel.is_some() {
            fields.fault("parallel_tool_calls", "needs `tools`");
        }
        // The client without functions may still say that it wants none.
        if !matches!(choice.as_str(), Some("none" | "auto")) {
            fields.fault("tool_choice", "needs `tools`");
        }
        return None;
    }
    let choice = match choice {
        Value::String(text) => match text.as_str() {
            "none" => return None,
            "auto" => Some(ToolChoice::Auto),
            "required" => Some(ToolChoice::Required),
            _ => None,
        },
        object @ Value::Object(_) => Some(named(fields, object, tools)?),
        _ => None,
    };
    if choice.is_none() {
        let what =
            "must be \"none\", \"auto\", \"required\" or {\"type\": \"function\", \"function\": {\"name\": NAME}}";
        fields.fault("tool_choice", what);
    }
    Some(CallForm { tools: tools.to_vec(), choice: choice?, parallel: parallel.unwrap_or(true) })
}

/// The one function that is to be called.
fn named(fields: &mut Fields, value: Value, tools: &[Tool]) -> Option<ToolChoice> {
    fields.inside("tool_choice", value, |fields| {
        function_type(fields);
        let value = fields.required("function")?;
        fields.inside("function", value, |fields| {
            let name = fields.required_text("name")?;
            let known = || tools.iter().map(|tool| tool.name.as_str());
            if !known().any(|known| known == name) {
                let near = near_miss(&name, known()).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
                fields.fault("name", format!("is `{name}`, which is none of `tools`{near}"));
            }
            Some(ToolChoice::Named(name))
        })?
    })?
}
