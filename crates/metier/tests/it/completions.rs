//! `/v1/completions` beyond text to text, prompts that are cut, and clients that do not read.

use crate::http::{Answers as _, Response, Server, chat_body, tiny, write};
use serde_json::{Value, json};
use std::io::Read;
use std::time::{Duration, Instant};

fn post(server: &Server, body: &Value) -> Response {
    server.post("/v1/completions", body.to_string())
}

#[test]
fn prompts_may_be_tokens() {
    let server = Server::tiny(&[]);
    let tokenize = metier_model::checkpoint::Checkpoint::open(std::path::Path::new(&tiny())).unwrap().tokenizer;
    let ids = |text: &str| {
        let mut ids: Vec<u32> = tokenize.begin_of_text().into_iter().collect();
        ids.extend(&tokenize.encode(&[text], false).unwrap()[0].ids);
        ids
    };
    let ask = |prompt: Value| {
        let answer = post(&server, &json!({ "model": "tiny", "prompt": prompt, "max_tokens": 12, "temperature": 0 }));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    };
    let texts = |json: &Value| -> Vec<String> {
        json["choices"].as_array().unwrap().iter().map(|choice| choice["text"].as_str().unwrap().to_owned()).collect()
    };
    let text = ask(json!("hello there"));
    let tokens = ask(json!(ids("hello there")));
    assert_eq!((texts(&text), &text["usage"]), (texts(&tokens), &tokens["usage"]));
    let both = ask(json!([ids("hello there"), "a"]));
    assert_eq!(texts(&both), [texts(&text).remove(0), texts(&ask(json!("a"))).remove(0)]);
    for (prompt, words) in [
        (json!([512]), "the token id 512 is not below 512"),
        (json!([[]]), "it is empty"),
        (json!([1, "a"]), "a list of token ids"),
        (json!([-1]), "a list of token ids"),
        (json!([1.5]), "a list of token ids"),
        (json!([]), "`prompt` must be a text"),
        (json!(vec![5; 300]), "context of 256"),
    ] {
        let answer = post(&server, &json!({ "model": "tiny", "prompt": prompt, "max_tokens": 2 }));
        assert!(answer.status == 400 && answer.message().contains(words), "{answer:?}");
    }
}

#[test]
fn echo_repeats_the_prompt_and_best_of_returns_the_likeliest() {
    let server = Server::tiny(&[]);
    let body = json!({ "model": "tiny", "prompt": ["one", [65, 66]], "max_tokens": 6, "temperature": 0, "n": 2 });
    let plain = post(&server, &body).json();
    let mut with_echo = body.clone();
    with_echo["echo"] = json!(true);
    let echoed = post(&server, &with_echo).json();
    with_echo["stream"] = json!(true);
    let (events, done) = post(&server, &with_echo).events();
    assert!(done);
    let prompt = |index: usize| {
        let echoed = echoed["choices"][index]["text"].as_str().unwrap();
        echoed.strip_suffix(plain["choices"][index]["text"].as_str().unwrap()).unwrap().to_owned()
    };
    assert_eq!((prompt(0), prompt(1)), ("one".to_owned(), "one".to_owned()));
    assert!(!prompt(2).is_empty() && prompt(2) == prompt(3));
    let mut streamed = vec![String::new(); 4];
    for choice in events.iter().flat_map(|event| event["choices"].as_array().unwrap()) {
        streamed[choice["index"].as_u64().unwrap() as usize] += choice["text"].as_str().unwrap();
    }
    let whole: Vec<&str> = (0..4).map(|index| echoed["choices"][index]["text"].as_str().unwrap()).collect();
    assert_eq!(streamed, whole);

    let ask = |more: Value| {
        let mut body =
            json!({ "model": "tiny", "prompt": "one", "max_tokens": 8, "temperature": 1, "seed": 2, "logprobs": 0 });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        post(&server, &body)
    };
    let mean = |choice: &Value| {
        let logprobs = choice["logprobs"]["token_logprobs"].as_array().unwrap();
        logprobs.iter().map(|one| one.as_f64().unwrap()).sum::<f64>() / logprobs.len().max(1) as f64
    };
    let all = ask(json!({ "n": 6 })).json();
    let best = ask(json!({ "n": 2, "best_of": 6 })).json();
    let mut means: Vec<f64> = all["choices"].as_array().unwrap().iter().map(mean).collect();
    means.sort_by(|a, b| b.total_cmp(a));
    let mut kept: Vec<f64> = best["choices"].as_array().unwrap().iter().map(mean).collect();
    kept.sort_by(|a, b| b.total_cmp(a));
    assert_eq!(kept, means[..2]);
    assert_eq!(best["usage"], all["usage"]);
    assert_eq!(best["choices"][1]["index"], 1);
    for (more, words) in [
        (json!({ "best_of": 1, "n": 2 }), "`best_of` must be at least `n`"),
        (json!({ "best_of": 3, "stream": true }), "`best_of` must be as `n` in a stream"),
        (json!({ "best_of": 129 }), "`best_of` must be a whole number, 1 to 128"),
        (json!({ "echo": true }), "`echo` cannot be combined with `logprobs`"),
        (json!({ "suffix": "x" }), "`suffix` is refused"),
    ] {
        let answer = ask(more);
        assert!(answer.status == 400 && answer.message().contains(words), "{answer:?}");
    }
}

#[test]
fn a_prompt_is_cut_only_when_that_is_asked_for_and_it_is_said() {
    let long = "word ".repeat(300);
    let server = Server::tiny(&[]);
    let text =
        |more: &str| format!(r#"{{"model": "tiny", "prompt": "{long}", "max_tokens": 8, "temperature": 0{more}}}"#);
    assert_eq!(server.post("/v1/completions", text("")).status, 400);
    let cut = server.post("/v1/completions", text(r#", "truncate": true"#)).json();
    let said = &cut["truncated"][0];
    assert_eq!((said["prompt"].as_u64(), said["kept_tokens"].as_u64()), (Some(0), Some(248)), "{cut}");
    assert!(said["prompt_tokens"].as_u64() > Some(300) && cut["usage"]["prompt_tokens"] == 248);
    let short = server.chat("a", r#""truncate": true, "max_tokens": 2"#).json();
    assert!(short["truncated"].is_null());

    let server = Server::tiny(&["--truncate"]);
    let turn = |role: &str, text: &str| json!({ "role": role, "content": text });
    let mut turns = vec![turn("system", "be good")];
    for number in 0..12 {
        turns.push(turn("user", &format!("question {number} of many words")));
        turns.push(turn("assistant", "an answer"));
    }
    turns.push(turn("user", "the last"));
    let body = |turns: &[Value], more: Value| {
        let mut body = json!({ "model": "tiny", "messages": turns, "max_tokens": 8, "temperature": 0 });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body.to_string()
    };
    let ask = |turns: &[Value], more: Value| server.post("/v1/chat/completions", body(turns, more));
    let cut = ask(&turns, json!({})).json();
    let said = &cut["truncated"][0];
    let dropped = said["dropped_messages"].as_u64().unwrap() as usize;
    assert!(dropped > 0 && dropped.is_multiple_of(2), "{said}");
    assert_eq!(said["kept_tokens"], cut["usage"]["prompt_tokens"]);
    // The same without the turns that were dropped, and no more than those.
    let by_hand = |dropped: usize| [&turns[..1], &turns[1 + dropped..]].concat();
    let same = ask(&by_hand(dropped), json!({ "truncate": false })).json();
    assert_eq!(same["choices"][0]["message"], cut["choices"][0]["message"]);
    assert_eq!(ask(&by_hand(dropped - 2), json!({ "truncate": false })).status, 400);
    let (events, _) = ask(&turns, json!({ "stream": true })).events();
    assert_eq!(events[0]["truncated"], cut["truncated"]);
    // One turn alone is never cut in the middle.
    let alone = ask(&[turn("user", &long)], json!({}));
    assert_eq!((alone.status, alone.json()["error"]["code"].as_str()), (400, Some("context_length_exceeded")));
}

#[test]
fn clients_that_do_not_read_are_let_go() {
    const CLIENTS: usize = 8;
    let server = Server::tiny(&["--write-timeout", "1"]);
    let more = r#""n": 128, "stream": true, "seed": 1, "logit_bias": {"0": -100, "2": -100}, "logprobs": true, "top_logprobs": 20"#;
    let body = chat_body("a", more);
    let begun = Instant::now();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| server.connect()).collect();
    for client in &mut clients {
        write(client, "POST", "/v1/chat/completions", &[("content-type", "application/json")], body.as_bytes());
    }
    // A reply that has begun is one that was taken up.
    for client in &mut clients {
        client.read_exact(&mut [0]).unwrap();
    }
    let known = |server: &Server, kind: &str| server.metric(&format!("metier_queue_{kind}{{model=\"tiny\"}}"));
    server.wait_for("them to be let go", |server| known(server, "running") + known(server, "waiting") < 0.5);
    let made = server.metric(r#"metier_tokens_total{model="tiny",kind="completion"}"#);
    // All replies together would have some 240,000 tokens; a machine makes 20,000 in the second that it waits.
    assert!(made < 200_000.0, "{made} tokens were made in {:?}", begun.elapsed());
    for client in &mut clients {
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut bytes = Vec::new();
        let _ = client.read_to_end(&mut bytes);
        assert!(!bytes.ends_with(b"0\r\n\r\n"), "the stream was not broken off");
    }
    assert_eq!(server.chat("a", r#""max_tokens": 2"#).status, 200);
}
