//! Calls of functions through the server, with a model of each way to write them.

use crate::http::{Answers as _, Inside, Server};
use crate::models;
use serde_json::{Value, json};

const TOOLS: &str = r#""tools": [
    {"type": "function", "function": {"name": "stop", "parameters": {"type": "object", "properties": {}, "additionalProperties": false}}},
    {"type": "function", "function": {"name": "get_weather", "description": "Weather of a place", "strict": true, "parameters": {
        "type": "object", "additionalProperties": false, "required": ["place", "days"],
        "properties": {"place": {"enum": ["Pune", "Rome"]}, "days": {"type": "integer", "minimum": 1, "maximum": 7}}}}}
]"#;

/// A server of the tiny model with a template of the golden, or its own.
fn server(folder: &tempfile::TempDir, template: &str) -> Server {
    let source = (template != "plain").then(|| models::template(template));
    let model = models::folder(folder.path(), source.as_deref(), |_| {});
    Server::start(&[&format!("tiny={model}")])
}

fn check(call: &Value) {
    assert_eq!(call["type"], "function");
    assert_eq!(call["id"].as_str().unwrap().len(), 9);
    let arguments: Value = serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
    match call["function"]["name"].as_str().unwrap() {
        "stop" => assert_eq!(arguments, json!({})),
        "get_weather" => {
            assert!(["Pune", "Rome"].contains(&arguments["place"].as_str().unwrap()), "{arguments}");
            assert!((1.0..=7.0).contains(&arguments["days"].as_f64().unwrap()), "{arguments}");
        }
        name => panic!("{name}"),
    }
}

#[test]
fn calls_are_made_streamed_and_sent_back_in_every_syntax() {
    for template in ["hermes", "llama", "mistral", "mistral-arguments", "plain"] {
        let folder = tempfile::tempdir().unwrap();
        let server = server(&folder, template);
        assert_eq!(server.get("/v1/models/tiny").json()["tools"], true);
        let named = r#""tool_choice": {"type": "function", "function": {"name": "get_weather"}}"#;
        let ask = format!(
            r#"{TOOLS}, {named}, "parallel_tool_calls": false, "max_tokens": 200, "temperature": 1, "seed": 3"#
        );
        let whole = server.chat("hi", &ask).json();
        let choice = &whole["choices"][0];
        assert_eq!(choice["finish_reason"], "tool_calls", "{template}: {whole}");
        assert!(choice["message"]["content"].is_null());
        let calls = choice["message"]["tool_calls"].as_array().unwrap();
        assert_eq!(calls.len(), 1);
        check(&calls[0]);

        let (events, done) = server.chat("hi", &format!(r#"{ask}, "stream": true, "logprobs": true"#)).events();
        assert!(done);
        let choices = || events.iter().map(|event| &event["choices"][0]);
        let deltas: Vec<&Value> =
            choices().filter_map(|choice| choice["delta"]["tool_calls"].as_array()).flatten().collect();
        assert_eq!(deltas[0]["function"]["name"], "get_weather");
        assert_eq!(deltas[0]["id"].as_str().unwrap().len(), 9);
        assert!(deltas.len() > 2 && deltas.iter().all(|delta| delta["index"] == 0));
        let arguments: String = deltas.iter().filter_map(|delta| delta["function"]["arguments"].as_str()).collect();
        assert_eq!(arguments, calls[0]["function"]["arguments"], "{template}");
        assert_eq!(choices().next_back().unwrap()["finish_reason"], "tool_calls");
        let tokens = choices().filter_map(|choice| choice["logprobs"]["content"].as_array()).flatten().count();
        assert_eq!(tokens as u64, whole["usage"]["completion_tokens"].as_u64().unwrap(), "{template}");

        // The call and its result go back as they came.
        let id = calls[0]["id"].as_str().unwrap();
        let turns = json!([
            { "role": "user", "content": "hi" }, choice["message"],
            { "role": "tool", "tool_call_id": id, "content": "18 degrees" },
        ]);
        let body = |turns: &Value| {
            format!(r#"{{"model": "tiny", "messages": {turns}, {TOOLS}, "max_tokens": 4, "tool_choice": "auto"}}"#)
        };
        let answer = server.post("/v1/chat/completions", body(&turns));
        assert_eq!(answer.status, 200, "{template}: {answer:?}");
        assert!(answer.json()["usage"]["prompt_tokens"].as_u64() > whole["usage"]["prompt_tokens"].as_u64());
        let mut wrong = turns;
        wrong[2]["tool_call_id"] = json!("nothing");
        let said = server.post("/v1/chat/completions", body(&wrong)).message();
        assert!(said.contains("`messages[2].tool_call_id` answers no call before it"), "{said}");

        let many = server
            .chat(
                "hi",
                &format!(
                    r#"{TOOLS}, "tool_choice": "required", "n": 8, "max_tokens": 300, "temperature": 1, "seed": 1"#
                ),
            )
            .json();
        let choices = many["choices"].as_array().unwrap();
        let calls: Vec<&Value> = choices.iter().filter(|choice| choice["finish_reason"] == "tool_calls").collect();
        assert!(!calls.is_empty(), "{template}: {many}");
        let calls: Vec<&Value> =
            calls.iter().flat_map(|choice| choice["message"]["tool_calls"].as_array().unwrap()).collect();
        calls.iter().copied().for_each(check);
        let mut ids: Vec<&Value> = calls.iter().map(|call| &call["id"]).collect();
        ids.dedup();
        assert_eq!(ids.len(), calls.len(), "every call has a name of its own");
        let none = server.chat("hi", &format!(r#"{TOOLS}, "tool_choice": "none", "max_tokens": 4"#)).json();
        assert!(
            none["choices"][0]["message"]["content"].is_string()
                && none["choices"][0]["message"]["tool_calls"].is_null()
        );
    }
}

#[test]
fn a_call_that_the_model_begins_is_held_and_stands_beside_its_text() {
    let chance = models::Chance { context_length: 4096, begin: "I look.\n<tool_call>" };
    let server = Inside::start(vec![models::served(chance)], models::settings());
    for seed in 0..10 {
        let ask = format!(r#"{TOOLS}, "max_tokens": 600, "seed": {seed}"#);
        let whole = server.chat("hi", &ask).json();
        let choice = &whole["choices"][0];
        assert_eq!(choice["finish_reason"], "tool_calls", "{whole}");
        assert_eq!(choice["message"]["content"], "I look.");
        let calls = choice["message"]["tool_calls"].as_array().unwrap();
        calls.iter().for_each(check);
        let (events, _) = server.chat("hi", &format!(r#"{ask}, "stream": true"#)).events();
        let deltas = || events.iter().map(|event| &event["choices"][0]["delta"]);
        let content: String = deltas().filter_map(|delta| delta["content"].as_str()).collect();
        assert_eq!(content, "I look.");
        let mut streamed = vec![String::new(); calls.len()];
        for call in deltas().filter_map(|delta| delta["tool_calls"].as_array()).flatten() {
            let text = call["function"]["arguments"].as_str().unwrap();
            streamed[call["index"].as_u64().unwrap() as usize] += text;
        }
        let arguments: Vec<&str> = calls.iter().map(|call| call["function"]["arguments"].as_str().unwrap()).collect();
        assert_eq!(streamed, arguments);
    }
    // Without functions the same text is text.
    let text = server.chat("hi", r#""max_tokens": 30, "seed": 1"#).json();
    assert!(text["choices"][0]["message"]["content"].as_str().unwrap().starts_with("I look.\n<tool_call>"));
    server.end().unwrap();
}

#[test]
fn what_cannot_be_called_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let server = server(&folder, "hermes");
    let bad = |more: &str, words: &[&str]| {
        let answer = server.chat("a", more);
        assert_eq!(answer.status, 400, "{answer:?}");
        for word in words {
            assert!(answer.message().contains(word), "{word}: {}", answer.message());
        }
    };
    bad(
        r#""tools": [{"type": "function"}, {"function": {"name": "a b", "parameters": []}}, 7], "tool_choice": "required""#,
        &[
            "`tools[0].function` is missing",
            "`tools[1].type` is needed",
            "`tools[1].function.name` must have 1 to 64 characters",
            "`tools[1].function.parameters` must be the JSON schema of an object",
            "`tools[2]` must be an object",
        ],
    );
    bad(&format!(r#"{TOOLS}, "tool_choice": "always""#), &["`tool_choice` must be \"none\""]);
    bad(
        &format!(r#"{TOOLS}, "tool_choice": {{"type": "function", "function": {{"name": "get_wether"}}}}"#),
        &["`tool_choice.function.name` is `get_wether`, which is none of `tools`; did you mean `get_weather`?"],
    );
    bad(
        r#""tool_choice": "required", "parallel_tool_calls": true"#,
        &["`tool_choice` needs `tools`", "`parallel_tool_calls` needs `tools`"],
    );
    bad(r#""functions": [{}]"#, &["`functions` is refused: `tools` and `tool_choice` took its place"]);
    bad(&format!(r#"{TOOLS}, "response_format": {{"type": "json_object"}}"#), &["cannot be combined with `tools`"]);
    let unique = r#""tools": [{"type": "function", "function": {"name": "f", "parameters": {"properties": {"x": {"type": "array", "uniqueItems": true}}}}}]"#;
    for stream in ["true", "false"] {
        bad(&format!(r#"{unique}, "stream": {stream}"#), &["tools[0].function.parameters", "uniqueItems"]);
    }
    let twice = r#""tools": [{"type": "function", "function": {"name": "f"}}, {"type": "function", "function": {"name": "f"}}]"#;
    bad(twice, &["`tools[1].function.name` is `f`, as another function's"]);
    for (messages, words) in [
        (
            r#"[{"role": "user", "content": "a", "tool_calls": [{}]}]"#,
            "`messages[0].tool_calls` belongs to messages of the assistant",
        ),
        (r#"[{"role": "tool", "content": "a"}]"#, "`messages[0].tool_call_id` is missing"),
        (r#"[{"role": "assistant"}]"#, "`messages[0].content` is missing"),
        (
            r#"[{"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "[1]"}}]}]"#,
            "`messages[0].tool_calls[0].function.arguments` must be the text of a JSON object",
        ),
    ] {
        let answer = server.post("/v1/chat/completions", format!(r#"{{"model": "tiny", "messages": {messages}}}"#));
        assert!(answer.status == 400 && answer.message().contains(words), "{answer:?}");
    }

    let folder = tempfile::tempdir().unwrap();
    let server = self::server(&folder, "words");
    let answer = server.chat("a", TOOLS);
    assert!(answer.message().contains("how its chat template writes calls is not known here"), "{answer:?}");
    assert_eq!(server.chat("a", "\"max_tokens\": 2").status, 200);
}
