//! Functions in templates against the golden of `fixtures/reference/chat_tools.py`, and replies held to calls.

use crate::sample;
use metier_core::data::{CallForm, CallPiece, Conversation, Form, Message, Role, Tool, ToolCall, ToolChoice};
use metier_core::seed::Seed;
use metier_program::call::{CallReader, PLAIN, SYNTAXES, Syntax};
use metier_program::constrain::Constrainer;
use metier_program::template::ChatTemplate;
use metier_testkit::bytes::{Bytes, END};
use metier_testkit::{fixture, golden};
use serde_json::{Value, json};

/// A conversation as OpenAI writes it.
fn conversation(case: &Value) -> Conversation {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let messages = case["messages"].as_array().unwrap().iter().map(|message| {
        let calls = message["tool_calls"].as_array().cloned().unwrap_or_default();
        let calls = calls.iter().map(|call| ToolCall {
            id: text(&call["id"]),
            name: text(&call["function"]["name"]),
            arguments: call["function"]["arguments"].clone(),
        });
        Message {
            role: serde_json::from_value(message["role"].clone()).unwrap(),
            content: text(&message["content"]),
            tool_calls: calls.collect(),
            tool_call_id: message["tool_call_id"].as_str().map(str::to_owned),
        }
    });
    let tools = case["tools"].as_array().unwrap().iter().map(|tool| Tool {
        name: text(&tool["function"]["name"]),
        description: tool["function"]["description"].as_str().map(str::to_owned),
        parameters: tool["function"]["parameters"].clone(),
    });
    Conversation { messages: messages.collect(), tools: tools.collect() }
}

#[test]
fn functions_are_written_as_transformers_writes_them_and_the_syntax_is_found() {
    let golden = golden::read(fixture("golden/chat_tools.json"));
    let mut seen = 0;
    for (name, source) in golden["templates"].as_object().unwrap() {
        let template = ChatTemplate::compile(source.as_str().unwrap(), Some("<s>"), Some("</s>")).unwrap();
        if name == "words" {
            assert!(template.syntax().unwrap_err().to_string().contains("a way that is not known"));
        } else {
            assert_eq!(template.syntax().unwrap().name, name);
        }
        for case in golden["cases"].as_array().unwrap().iter().filter(|case| case["template"] == name.as_str()) {
            let conversation = conversation(case);
            let text = template.render(&conversation, true);
            match (case["text"].as_str(), case["refused"].as_str()) {
                _ if name == "words" && !conversation.tools.is_empty() => assert!(text.is_err()),
                (Some(expected), _) => assert_eq!(text.unwrap(), expected, "{name}"),
                (None, refused) => assert!(text.unwrap_err().to_string().ends_with(refused.unwrap()), "{name}"),
            }
            seen += 1;
        }
    }
    assert!(seen >= 30, "{seen} cases");
}

#[test]
fn a_template_without_functions_gets_them_in_words() {
    let source = "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}";
    let golden = golden::read(fixture("golden/chat_tools.json"));
    let case = golden["cases"].as_array().unwrap().iter().rfind(|case| case["template"] == "hermes").unwrap();
    let template = ChatTemplate::compile(source, None, None).unwrap();
    assert_eq!(template.syntax().unwrap(), &PLAIN);
    let text = template.render(&conversation(case), true).unwrap();
    assert!(
        text.starts_with(
            "<system>You can call these functions:\n{\"type\": \"function\", \"function\": {\"name\": \"get_weather\""
        ),
        "{text}"
    );
    let turns = "<assistant>I look.\n{\"name\": \"get_weather\", \"arguments\": {\"place\":\"a\"}}\n{\"name\": \"stop\", \"arguments\": {}}\n\
                 <user>get_weather returned: 1\nstop returned: 2\n<assistant>Yes.\n";
    assert!(text.contains(turns), "{text}");
    // A template that refuses standing instructions gets them in the first question.
    let source = "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no') }}{% endif %}<{{ m.role }}>{{ m.content }}\n{% endfor %}";
    let template = ChatTemplate::compile(source, None, None).unwrap();
    let text = template.render(&conversation(case), true).unwrap();
    assert!(text.starts_with("<user>Is it warm?\n\nYou can call"), "{text}");
}

fn tools() -> Vec<Tool> {
    let tool = |name: &str, parameters: Value| Tool { name: name.to_owned(), description: None, parameters };
    vec![
        tool("a", json!({ "type": "object", "properties": {}, "additionalProperties": false })),
        tool(
            "a.weather",
            json!({
                "type": "object", "properties": { "place": { "$ref": "#/$defs/place" }, "days": { "type": "integer", "minimum": 1, "maximum": 7 } },
                "required": ["place"], "additionalProperties": false, "$defs": { "place": { "enum": ["Pune", "Rome"] } },
            }),
        ),
    ]
}

/// The text and the calls of a reply.
fn read(syntax: &'static Syntax, reply: &str) -> (String, Vec<(String, Value)>) {
    let mut reader = CallReader::new(syntax);
    let mut pieces = reader.push(reply);
    pieces.extend(reader.finish());
    let (mut text, mut calls) = (String::new(), Vec::<(String, String)>::new());
    for piece in pieces {
        match piece {
            CallPiece::Text(more) => text += &more,
            CallPiece::Begin(name) => calls.push((name, String::new())),
            CallPiece::Arguments(more) => calls.last_mut().unwrap().1 += &more,
        }
    }
    (text, calls.into_iter().map(|(name, arguments)| (name, serde_json::from_str(&arguments).unwrap())).collect())
}

fn check(name: &str, arguments: &Value) {
    let arguments = arguments.as_object().unwrap();
    if name == "a" {
        assert!(arguments.is_empty());
    } else {
        assert_eq!(name, "a.weather");
        assert!(["Pune", "Rome"].contains(&arguments["place"].as_str().unwrap()));
        assert!(arguments.get("days").is_none_or(|days| days.as_f64().is_some_and(|days| (1.0..=7.0).contains(&days))));
        assert!(arguments.keys().all(|key| key == "place" || key == "days"));
    }
}

#[test]
fn calls_that_are_required_are_made() {
    for syntax in SYNTAXES.iter().chain([&PLAIN]) {
        let constrainer = Constrainer::new(&Bytes { begin: false }, &[END]).unwrap().with_calls(Some(syntax));
        let mut most = 0;
        for number in 0..40 {
            let mut random = Seed::new(3).at(number);
            let (choice, parallel) = match number % 3 {
                0 => (ToolChoice::Named("a.weather".into()), false),
                1 => (ToolChoice::Required, false),
                _ => (ToolChoice::Required, true),
            };
            let form = CallForm { tools: tools(), choice: choice.clone(), parallel };
            let reply = sample::reply(&constrainer, &Form::Calls(form), &mut random);
            let (text, calls) = read(syntax, &reply);
            assert!(text.is_empty() && !calls.is_empty(), "{reply}");
            assert!(parallel || calls.len() == 1, "{reply}");
            for (name, arguments) in &calls {
                check(name, arguments);
                assert!(choice == ToolChoice::Required || name == "a.weather");
            }
            let calls = calls.iter().map(|(name, arguments)| (name.as_str(), arguments.to_string()));
            most = most.max(calls.len());
        }
        assert_eq!(most > 1, syntax.next.is_some(), "{}", syntax.name);
    }
}

#[test]
fn what_the_model_chooses_is_text_or_whole_calls() {
    for syntax in SYNTAXES.iter().chain([&PLAIN]) {
        let constrainer = Constrainer::new(&Bytes { begin: false }, &[END]).unwrap().with_calls(Some(syntax));
        let form = Form::Calls(CallForm { tools: tools(), choice: ToolChoice::Auto, parallel: true });
        let space = if syntax.after_text { "<tool [TOOL_ said\n" } else { "" };
        for number in 0..20 {
            let mut random = Seed::new(4).at(number);
            let begun = [space, syntax.begin].concat();
            let reply = sample::continued(&constrainer, &form, &begun, &mut random);
            let (text, calls) = read(syntax, &reply);
            assert_eq!(text, space.trim_end());
            assert!(!calls.is_empty(), "{reply}");
            for (name, arguments) in &calls {
                check(name, arguments);
            }
            let said = "{\"name of <tool_call is [TOOL_CALL";
            let reply = sample::continued(&constrainer, &form, said, &mut random);
            assert!(reply.starts_with(said));
        }
    }
}

#[test]
fn functions_that_cannot_be_held_are_refused_by_name() {
    let constrainer = Constrainer::new(&Bytes { begin: false }, &[END]).unwrap();
    let bad = json!({ "type": "object", "properties": { "x": { "type": "array", "uniqueItems": true } } });
    let mut all = tools();
    all.push(Tool { name: "bad".into(), description: None, parameters: bad });
    let form = Form::Calls(CallForm { tools: all, choice: ToolChoice::Auto, parallel: true });
    let said = constrainer.constrain(&form).err().unwrap().to_string();
    assert!(said.starts_with("tools: "), "{said}");
    let constrainer = constrainer.with_calls(Some(&PLAIN));
    let said = constrainer.constrain(&form).err().unwrap().to_string();
    assert!(said.starts_with("tools[2].function.parameters: ") && said.contains("uniqueItems"), "{said}");
}

#[test]
fn a_turn_of_text_has_no_other_keys() {
    let template =
        ChatTemplate::compile("{% for m in messages %}{{ m.keys() | list }}{% endfor %}", None, None).unwrap();
    let plain = Conversation::from(vec![Message::new(Role::User, "a")]);
    assert_eq!(template.render(&plain, false).unwrap(), "['role', 'content']");
}
