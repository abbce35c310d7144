//! `metier serve` as its clients see it: answers, refusals, limits, and how it ends.

use crate::command::refused;
use crate::http::{Answers as _, Response, Server, chat_body, python, tiny, write};
use serde_json::Value;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

/// A request whose replies take the tiny model some seconds: what ends a reply is forbidden.
const LONG: &str = r#""n": 128, "stream": true, "seed": 1, "logit_bias": {"0": -100, "2": -100}"#;

fn text_of(response: &Response) -> String {
    response.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

/// The texts of a streamed chat reply, joined for each choice.
fn streamed(events: &[Value], choices: usize) -> Vec<String> {
    let mut texts = vec![String::new(); choices];
    for choice in events.iter().flat_map(|event| event["choices"].as_array().unwrap()) {
        texts[choice["index"].as_u64().unwrap() as usize] += choice["delta"]["content"].as_str().unwrap_or_default();
    }
    texts
}

#[test]
fn a_reply_is_what_generate_makes_and_a_stream_joins_to_it() {
    let server = Server::tiny(&[]);
    let ask = r#""max_tokens": 20, "seed": 5, "temperature": 0.9, "top_p": 0.9, "logprobs": true, "top_logprobs": 2"#;
    let whole = server.chat("hello there", ask);
    assert_eq!(whole.status, 200, "{whole:?}");
    let mut command = crate::command::metier(std::env::temp_dir().as_path());
    command.args(["generate", &tiny(), "--chat", "--prompt", "hello there", "--max-tokens", "20", "--seed", "5"]);
    let generated = crate::command::fine(command.args(["--temperature", "0.9", "--top-p", "0.9", "--json"]));
    let generated = crate::command::json(&generated);
    assert_eq!(generated["text"], text_of(&whole));
    let usage = &whole.json()["usage"];
    assert_eq!(usage["prompt_tokens"], generated["prompt_tokens"]);
    assert_eq!(usage["completion_tokens"], generated["completion_tokens"]);

    let stream =
        server.chat("hello there", &format!(r#"{ask}, "stream": true, "stream_options": {{"include_usage": true}}"#));
    assert!(stream.head.contains("text/event-stream"), "{}", stream.head);
    let (events, done) = stream.events();
    assert!(done);
    assert_eq!(streamed(&events, 1), [text_of(&whole)]);
    let tokens: Vec<&Value> =
        events.iter().filter_map(|event| event["choices"][0]["logprobs"]["content"].as_array()).flatten().collect();
    let json = whole.json();
    let expected: Vec<&Value> = json["choices"][0]["logprobs"]["content"].as_array().unwrap().iter().collect();
    assert_eq!(tokens, expected);
    assert_eq!(&events.last().unwrap()["usage"], usage);
    assert!(events[0]["usage"].is_null());
}

#[test]
fn choices_differ_by_seed_and_count_their_prompt_once() {
    let server = Server::tiny(&[]);
    let one = server.chat("a", r#""max_tokens": 16, "seed": 3"#);
    let three = server.chat("a", r#""max_tokens": 16, "seed": 3, "n": 3"#).json();
    let texts: Vec<&str> =
        (0..3).map(|choice| three["choices"][choice]["message"]["content"].as_str().unwrap()).collect();
    assert_eq!(texts[0], text_of(&one));
    assert!(texts[0] != texts[1] && texts[1] != texts[2], "{texts:?}");
    assert_eq!(three["usage"]["prompt_tokens"], one.json()["usage"]["prompt_tokens"]);
    let made: f64 = server.metric(r#"metier_tokens_total{model="tiny",kind="completion"}"#);
    let completion = |json: &Value| json["usage"]["completion_tokens"].as_f64().unwrap();
    assert!((made - completion(&three) - completion(&one.json())).abs() < 0.5);
    let (events, done) = server.chat("a", r#""max_tokens": 16, "seed": 3, "n": 3, "stream": true"#).events();
    assert!(done);
    assert_eq!(streamed(&events, 3), texts);
}

#[test]
fn a_bias_forces_and_forbids_tokens() {
    let server = Server::tiny(&[]);
    let free = server.chat("a", r#""max_tokens": 1, "temperature": 0, "logprobs": true"#).json();
    let token = free["choices"][0]["logprobs"]["content"][0]["token"].as_str().unwrap().to_owned();
    let forced =
        server.chat("a", r#""max_tokens": 3, "temperature": 0, "logit_bias": {"40": 100}, "logprobs": true"#).json();
    let tokens = forced["choices"][0]["logprobs"]["content"].as_array().unwrap().clone();
    assert!(tokens.len() == 3 && tokens.iter().all(|one| one["token"] == tokens[0]["token"]), "{tokens:?}");
    assert_ne!(tokens[0]["token"], token.as_str());
    assert!(server.chat("a", r#""logit_bias": {"512": 1}"#).message().contains("token ids below 512"));
}

#[test]
fn wrong_requests_are_refused_by_name_and_the_server_goes_on() {
    let server = Server::tiny(&["--body-limit", "20kB"]);
    let chat = "/v1/chat/completions";
    let bad = |more: &str, words: &[&str]| {
        let answer = server.chat("a", more);
        assert_eq!(answer.status, 400, "{answer:?}");
        for word in words {
            assert!(answer.message().contains(word), "{word}: {}", answer.message());
        }
    };
    bad(
        r#""max_tokenz": 3, "temperature": "hot""#,
        &["did you mean `max_tokens`?", "`temperature` must be a number from 0 to 2"],
    );
    bad(r#""max_tokens": 18446744073709551615"#, &["18446744073709551615 to generate", "context of 256"]);
    bad(r#""max_tokens": 1e400"#, &["number out of range"]);
    bad(r#""n": 1000000000"#, &["`n` must be a whole number, 1 to 128"]);
    bad(r#""top_logprobs": 3"#, &["needs `logprobs` to be true"]);
    bad(r#""stream_options": {"include_usage": true}"#, &["needs `stream`"]);
    bad(r#""stop": ["a", ""]"#, &["`stop` must not be empty"]);
    bad(r#""n": 1, "n": 2"#, &["`n` is given twice"]);
    bad(r#""max_tokens": 3, "max_completion_tokens": 4"#, &["means the same"]);
    for (messages, words) in [
        ("[]", "at least one message"),
        ("7", "must be a list"),
        (
            r#"[{"role": "king", "content": "a"}]"#,
            "`messages[0].role` must be system, developer, user, assistant or tool",
        ),
        (
            r#"[{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]"#,
            "`messages[0].content[0].type` must be",
        ),
        (r#"[{"role": "user"}]"#, "`messages[0].content` is missing"),
        (r#"[{"role": "user", "content": "a", "contnet": "b"}]"#, "`messages[0].contnet` is no field here"),
    ] {
        let answer = server.post(chat, format!(r#"{{"model": "tiny", "messages": {messages}}}"#));
        assert!(answer.status == 400 && answer.message().contains(words), "{answer:?}");
    }
    let long = server.chat(&"word ".repeat(300), r#""max_tokens": 5"#);
    assert_eq!(long.json()["error"]["code"], "context_length_exceeded");
    assert!(long.message().contains("context of 256"), "{}", long.message());

    assert_eq!(server.post(chat, "{\"model\": \"tiny\",\n nonsense").status, 400);
    assert!(server.post(chat, "{\"model\": \"tiny\",\n nonsense").message().contains("line 2 column"));
    assert_eq!(server.post(chat, b"{\"model\": \"tiny\xff\xfe\"}").status, 400);
    assert_eq!(server.post(chat, br#"{"model": "tiny\ud800"}"#).status, 400);
    assert_eq!(server.post(chat, "[".repeat(10_000)).status, 400);
    assert_eq!(server.post(chat, "").status, 400);
    assert_eq!(server.post(chat, "x".repeat(30_000)).status, 413);
    assert_eq!(server.post(chat, r#"{"model": "tny", "messages": []}"#).status, 404);
    assert!(server.post(chat, r#"{"model": "tny", "messages": []}"#).message().contains("did you mean `tiny`?"));
    assert_eq!(server.send("POST", chat, &[("content-type", "text/plain")], b"{}").status, 415);
    assert_eq!(server.get(chat).status, 405);
    assert_eq!(server.get("/v1/nothing").status, 404);
    assert_eq!(server.send("GET", "/", &[("host", "evil.example")], b"").status, 403);
    let all = server.post(chat, r#"{"model": "tny", "messages": 7, "n": 0, "zzz": 1}"#).message();
    for words in ["did you mean `tiny`?", "`messages` must be a list", "`n` must be", "`zzz` is no field here"] {
        assert!(all.contains(words), "{words}: {all}");
    }
    let wide = server.post("/v1/embeddings", r#"{"model": "tiny", "input": "a", "dimensions": 3}"#);
    assert!(wide.message().contains("must be 64"), "{wide:?}");
    let long = format!(r#"{{"model": "tiny", "input": ["a", "{}"]}}"#, "word ".repeat(300));
    assert!(server.post("/v1/embeddings", long).message().contains("input[1]: a text of "));

    assert_eq!(server.chat("still there?", r#""max_tokens": 2"#).status, 200);
    server.terminate();
    let (status, said) = server.ended();
    assert!(status.success() && !said.contains("panicked"), "{status} {said}");
}

#[test]
fn a_full_queue_answers_429_and_says_when_to_come_again() {
    let server = Server::tiny(&["--queue", "1"]);
    let mut first = server.connect();
    write(
        &mut first,
        "POST",
        "/v1/chat/completions",
        &[("content-type", "application/json")],
        chat_body("a", LONG).as_bytes(),
    );
    server.wait_for("the first to run", |server| server.metric(r#"metier_queue_running{model="tiny"}"#) > 0.5);
    let mut second = server.connect();
    write(
        &mut second,
        "POST",
        "/v1/chat/completions",
        &[("content-type", "application/json")],
        chat_body("a", "\"max_tokens\": 1").as_bytes(),
    );
    server.wait_for("the second to wait", |server| server.metric(r#"metier_queue_waiting{model="tiny"}"#) > 0.5);
    let third = server.chat("a", "");
    assert_eq!((third.status, third.json()["error"]["code"].as_str()), (429, Some("queue_full")));
    assert!(third.head.contains("retry-after: "), "{}", third.head);

    // Whoever waited gets an answer as soon as the first has gone away, long before its work would be done.
    drop(first);
    let mut bytes = Vec::new();
    second.read_to_end(&mut bytes).unwrap();
    assert_eq!(Response::parse(&bytes).status, 200);
}

#[test]
fn work_stops_when_the_client_goes_away() {
    let server = Server::tiny(&[]);
    for stream in [true, false] {
        let body = chat_body("a", if stream { LONG.to_owned() } else { LONG.replace("true", "false") }.as_str());
        let mut client = server.connect();
        write(&mut client, "POST", "/v1/chat/completions", &[("content-type", "application/json")], body.as_bytes());
        if stream {
            let mut some = [0; 2000];
            client.read_exact(&mut some).unwrap();
        } else {
            server.wait_for("it to run", |server| server.metric(r#"metier_queue_running{model="tiny"}"#) > 0.5);
        }
        drop(client);
        server.wait_for("the work to stop", |server| server.metric(r#"metier_queue_running{model="tiny"}"#) < 0.5);
    }
    // Both would have made 128 replies each, of some 240 tokens.
    let made = server.metric(r#"metier_tokens_total{model="tiny",kind="completion"}"#);
    assert!(made < 10_000.0, "{made} tokens were made for nobody");
    assert_eq!(server.chat("a", r#""max_tokens": 2"#).status, 200);
}

#[test]
fn a_polite_kill_finishes_streams_and_takes_no_more() {
    let server = Server::tiny(&[]);
    let mut client = server.connect();
    let body = chat_body("a", &LONG.replace("128", "12"));
    write(&mut client, "POST", "/v1/chat/completions", &[("content-type", "application/json")], body.as_bytes());
    let mut bytes = vec![0; 600];
    client.read_exact(&mut bytes).unwrap();
    server.terminate();
    let address = server.address.clone();
    client.read_to_end(&mut bytes).unwrap();
    let (events, done) = Response::parse(&bytes).events();
    assert!(done, "the stream was cut");
    let finished = events.iter().filter(|event| event["choices"][0]["finish_reason"].is_string()).count();
    assert_eq!(finished, 12);
    let (status, said) = server.ended();
    assert!(status.success(), "{status} {said}");
    assert!(std::net::TcpStream::connect(address).is_err());
}

#[test]
fn a_second_kill_stops_streams_and_says_so_in_them() {
    let server = Server::tiny(&[]);
    let mut client = server.connect();
    write(
        &mut client,
        "POST",
        "/v1/chat/completions",
        &[("content-type", "application/json")],
        chat_body("a", LONG).as_bytes(),
    );
    let mut bytes = vec![0; 600];
    client.read_exact(&mut bytes).unwrap();
    server.terminate();
    std::thread::sleep(Duration::from_millis(200));
    server.terminate();
    client.read_to_end(&mut bytes).unwrap();
    let (events, done) = Response::parse(&bytes).events();
    assert!(!done);
    assert_eq!(events.last().unwrap()["error"]["code"], "stopping");
    assert!(server.ended().0.success());
}

#[test]
fn a_request_that_takes_too_long_is_stopped() {
    let server = Server::tiny(&["--timeout", "1"]);
    let whole = server.chat("a", &LONG.replace("true", "false"));
    assert_eq!((whole.status, whole.json()["error"]["code"].as_str()), (504, Some("timeout")));
    let (events, done) = server.chat("a", LONG).events();
    assert!(!done && events.len() > 2);
    assert_eq!(events.last().unwrap()["error"]["code"], "timeout");
    server.wait_for("the work to stop", |server| server.metric(r#"metier_queue_running{model="tiny"}"#) < 0.5);
}

#[test]
fn keys_keep_others_out() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.txt");
    std::fs::write(&file, "# ours\nfirst-key\n\nsecond-key\n").unwrap();
    let file = file.to_str().unwrap();
    let server = Server::tiny(&["--api-key-file", file]);
    for (key, status) in [("first-key", 200), ("second-key", 200), ("# ours", 401), ("", 401), ("first-key2", 401)] {
        let key = format!("Bearer {key}");
        assert_eq!(server.send("GET", "/v1/models", &[("authorization", &key)], b"").status, status, "{key}");
    }
    let without = server.get("/v1/models");
    assert_eq!((without.status, without.json()["error"]["code"].as_str()), (401, Some("invalid_api_key")));
    assert_eq!(server.get("/metrics").status, 401);
    assert_eq!(server.get("/health").status, 200);
    assert!(server.get("/").text().contains("<!doctype html>"));

    std::fs::write(file, "# none\n").unwrap();
    let mut command = crate::command::metier(folder.path());
    refused(command.args(["serve", &tiny(), "--api-key-file", file]), &["keys.txt", "there is no key in this file"]);
}

#[test]
fn models_are_chosen_by_name_and_share_the_threads() {
    let server = Server::start(&[&format!("one={}", tiny()), &tiny()]);
    let models = server.get("/v1/models").json();
    assert_eq!(models["data"][0]["id"], "one");
    assert_eq!(models["data"][1]["id"], "tiny-llama");
    assert_eq!(models["data"][0]["context_length"], 256);
    assert_eq!(server.get("/v1/models/one").json()["chat"], true);
    // A short question to one is not held up by long work of the other.
    let mut client = server.connect();
    let body = chat_body("a", LONG).replace("\"tiny\"", "\"one\"");
    write(&mut client, "POST", "/v1/chat/completions", &[("content-type", "application/json")], body.as_bytes());
    let mut some = [0; 1000];
    client.read_exact(&mut some).unwrap();
    let body = chat_body("a", r#""max_tokens": 3"#).replace("\"tiny\"", "\"tiny-llama\"");
    assert_eq!(server.post("/v1/chat/completions", body).status, 200);
    assert!(server.metric(r#"metier_queue_running{model="one"}"#) > 0.5, "the other still works");
}

#[test]
fn a_start_that_cannot_be_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let serve = || {
        let mut command = crate::command::metier(folder.path());
        command.arg("serve");
        command
    };
    refused(serve().args([&tiny(), &tiny()]), &["two models would have this name", "NAME=MODEL"]);
    refused(serve().arg(format!("={}", tiny())), &["a model needs a name"]);
    refused(serve().arg("nothing-like-it"), &["nothing-like-it", "no model is called this"]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    refused(serve().args([&tiny(), "--port", &port]), &["cannot listen", "--port"]);
}

#[test]
fn slow_and_half_requests_do_not_hold_others_up() {
    let server = Server::tiny(&[]);
    let mut half = server.connect();
    half.write_all(b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-le").unwrap();
    let mut short = server.connect();
    short
        .write_all(b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n{")
        .unwrap();
    let begun = Instant::now();
    assert_eq!(server.chat("a", r#""max_tokens": 2"#).status, 200);
    assert!(begun.elapsed() < Duration::from_secs(20));
    let mut noise = server.connect();
    noise.write_all(b"\x16\x03\x01\x00\xa5 this is no HTTP\r\n\r\n").unwrap();
    let mut bytes = Vec::new();
    let _ = noise.read_to_end(&mut bytes);
    assert!(bytes.is_empty() || bytes.starts_with(b"HTTP/1.1 400"));
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn the_official_client_works_with_the_tiny_model_asset() {
    let Some(interpreter) = metier_testkit::asset("openai client") else { return };
    let server = Server::tiny(&[]);
    python(&interpreter, "openai_client.py", &[&format!("http://{}", server.address), "tiny"]);
    // Functions need more room in the prompt.
    for name in ["hermes", "llama", "mistral"] {
        let folder = tempfile::tempdir().unwrap();
        let model = crate::models::folder(folder.path(), Some(&crate::models::template(name)), |_| {});
        let server = Server::start(&[&format!("tiny={model}")]);
        python(&interpreter, "openai_tools.py", &[&format!("http://{}", server.address), "tiny"]);
    }
}

#[test]
fn the_official_client_works_with_smollm2() {
    let (Some(interpreter), Some(model)) = (metier_testkit::asset("openai client"), metier_testkit::asset("smollm2"))
    else {
        return;
    };
    let server = Server::start(&[&format!("smollm2={}", model.display())]);
    python(&interpreter, "openai_client.py", &[&format!("http://{}", server.address), "smollm2"]);
    python(&interpreter, "openai_tools.py", &[&format!("http://{}", server.address), "smollm2"]);
}

#[test]
fn the_page_answers_in_a_browser_asset() {
    let (Some(interpreter), Some(browser)) = (metier_testkit::asset("page client"), metier_testkit::asset("chromium"))
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let adapter = crate::adapters::of_tiny(folder.path());
    let (first, second) = (format!("first={}", tiny()), format!("second={}", tiny()));
    let server = Server::start(&[&first, &second, "--adapter", &format!("first/terse={adapter}")]);
    python(&interpreter, "page.py", &[&format!("http://{}", server.address), browser.to_str().unwrap()]);
}
