//! Chat templates against the goldens of `fixtures/reference/chat_template.py`, and replies held to forms.

#![expect(clippy::unwrap_used, reason = "what the tests share may fail as a test does")]

mod calls;
mod constrain;
mod sample;
mod schemas;

use metier_core::data::Conversation;
use metier_program::template::ChatTemplate;
use metier_testkit::{fixture, golden};

#[test]
fn templates_write_what_transformers_writes() {
    let golden = golden::read(fixture("golden/chat_template.json"));
    let mut seen = 0;
    for case in golden["cases"].as_array().unwrap() {
        let name = case["template"].as_str().unwrap();
        let source = golden["templates"][name].as_str().unwrap();
        let template = ChatTemplate::compile(source, Some("<s>"), Some("</s>")).unwrap();
        let conversation: Conversation =
            serde_json::from_value(serde_json::json!({ "messages": case["messages"] })).unwrap();
        let reply = template.render(&conversation, case["add_generation_prompt"].as_bool().unwrap());
        match case["refused"].as_str() {
            None => assert_eq!(reply.unwrap(), case["text"].as_str().unwrap(), "{name}: {}", case["messages"]),
            Some(reason) if name == "brackets" && case["messages"].as_array().unwrap().is_empty() => {
                assert!(reply.is_err(), "{reason}");
            }
            Some(reason) => assert!(reply.unwrap_err().to_string().ends_with(reason), "{name}: {reason}"),
        }
        seen += 1;
    }
    assert!(seen >= 40, "{seen} cases");
}
