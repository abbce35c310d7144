//! Requests that are right but for some bytes, fields or values.

use crate::http::{Answers, Inside, Server};
use crate::models::{Chance, served, settings};
use metier_core::memory;
use metier_core::seed::{Seed, Stream};
use std::collections::BTreeMap;
use std::io::{Read, Write};

/// Sends fuzzed requests on connections that stay open, and counts the answers by status.
fn send(server: &impl Answers, numbers: std::ops::Range<u64>) -> BTreeMap<u16, usize> {
    let seed = Seed::new(4).derive("bodies");
    let mut connection = server.connect();
    let mut answered = BTreeMap::<u16, usize>::new();
    for number in numbers {
        let mut random = seed.at(number);
        let (path, body) = fuzzed(&mut random);
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        // In one write: with two, the second waits some 40 ms for word that the first came.
        connection.write_all(&[head.as_bytes(), &body].concat()).unwrap();
        let status = answer_of(&mut connection);
        *answered.entry(status).or_default() += 1;
        assert!(matches!(status, 200 | 400 | 404), "{status} for {path} {}", String::from_utf8_lossy(&body));
    }
    answered
}

#[test]
fn fuzzed_requests_are_answered_and_never_panic() {
    let chance = Chance { context_length: 512, begin: "" };
    let server = Inside::start(vec![served(chance)], settings());
    send(&server, 10_000..10_200);
    let before = memory::resident_bytes().unwrap_or(0);
    memory::reset_peak();
    let answered = send(&server, 0..10_000);
    assert!(answered[&200] > 1000 && answered[&400] > 4000, "{answered:?}");
    let grown = memory::peak_bytes().saturating_sub(before);
    assert!(grown < 300 << 20, "the requests took {} more", memory::display(grown));
    assert_eq!(server.chat("a", "\"max_tokens\": 2").status, 200);
    let panicked: f64 = server.metric(r#"metier_requests_total{endpoint="chat_completions",status="500"}"#);
    assert!(panicked < 0.5);
    server.end().unwrap();
}

#[test]
fn a_real_model_answers_fuzzed_requests_too() {
    let server = Server::tiny(&["--queue", "1000"]);
    let answered = send(&server, 20_000..20_300);
    assert!(answered[&200] > 10 && answered[&400] > 100, "{answered:?}");
    server.terminate();
    let (status, said) = server.ended();
    assert!(status.success() && !said.contains("panicked"), "{status} {said}");
}

/// A body that is right but for some bytes, fields or values.
fn fuzzed(random: &mut Stream) -> (&'static str, Vec<u8>) {
    const BODIES: [(&str, &str); 6] = [
        (
            "/v1/chat/completions",
            r#"{"model":"tiny","messages":[{"role":"system","content":"b"},{"role":"user","content":[{"type":"text","text":"é a"}]}],"max_tokens":2,"n":1,"stop":["x","yz"],"seed":-3,"temperature":0.5,"top_p":0.9,"stream":false,"logprobs":true,"top_logprobs":2,"logit_bias":{"7":-2.5},"frequency_penalty":0.1}"#,
        ),
        (
            "/v1/completions",
            r#"{"model":"tiny","prompt":["a","b"],"max_tokens":2,"n":2,"stream":true,"stream_options":{"include_usage":true},"logprobs":1,"presence_penalty":-1,"top_k":4,"min_p":0.1,"user":"u"}"#,
        ),
        ("/v1/embeddings", r#"{"model":"tiny","input":["a","b c"],"encoding_format":"base64","dimensions":64}"#),
        (
            "/v1/chat/completions",
            r#"{"model":"tiny","messages":[{"role":"user","content":"a"},{"role":"assistant","content":null,"tool_calls":[{"id":"abcdefghi","type":"function","function":{"name":"f","arguments":"{\"x\":[1]}"}}]},{"role":"tool","tool_call_id":"abcdefghi","content":"1"}],"tools":[{"type":"function","function":{"name":"f","description":"d","strict":true,"parameters":{"type":"object","properties":{"x":{"type":"array","items":{"type":"integer","minimum":1,"maximum":9},"maxItems":3}},"required":["x"]}}}],"tool_choice":{"type":"function","function":{"name":"f"}},"parallel_tool_calls":true,"max_tokens":9,"stream":true}"#,
        ),
        (
            "/v1/chat/completions",
            r##"{"model":"tiny","messages":[{"role":"user","content":"a"}],"response_format":{"type":"json_schema","json_schema":{"name":"n","strict":true,"schema":{"type":"object","properties":{"a":{"type":"string","minLength":1,"maxLength":3,"pattern":"a+"},"b":{"anyOf":[{"type":"null"},{"$ref":"#/$defs/c"}]}},"$defs":{"c":{"enum":[1,"é"]}},"additionalProperties":false,"minProperties":1}}},"max_tokens":9,"truncate":true}"##,
        ),
        (
            "/v1/completions",
            r#"{"model":"tiny","prompt":[[1,2,3],"b"],"max_tokens":2,"n":1,"best_of":2,"echo":true,"truncate":false,"suffix":null,"response_format":{"type":"regex","pattern":"[ab]{1,3}"}}"#,
        ),
    ];
    const VALUES: [&str; 14] = [
        "null",
        "-1",
        "1e308",
        "18446744073709551616",
        "\"\"",
        "\"\\u0000\"",
        "[]",
        "{}",
        "[[[]]]",
        "true",
        "0.0",
        "\"\\ud83d\\ude00\"",
        "{\"a\":{\"a\":1}}",
        "[null]",
    ];
    let (path, body) = BODIES[random.below(6) as usize];
    let mut body = body.as_bytes().to_vec();
    for _ in 0..random.below(4) {
        if body.is_empty() {
            break;
        }
        let at = random.below(body.len() as u64) as usize;
        match random.below(5) {
            0 => body[at] = random.below(256) as u8,
            1 => {
                body.remove(at);
            }
            2 => body.truncate(at.max(1)),
            3 => body.insert(at, b"{}[]\",:\\0"[random.below(9) as usize]),
            _ => {
                // The value after some colon becomes another.
                let colons: Vec<usize> = (0..body.len()).filter(|at| body[*at] == b':').collect();
                let Some(colon) = colons.get(random.below(colons.len().max(1) as u64) as usize) else { continue };
                let end = body[colon + 1..].iter().position(|byte| b",}]".contains(byte)).unwrap_or(0);
                body.splice(colon + 1..colon + 1 + end, VALUES[random.below(14) as usize].bytes());
            }
        }
    }
    (path, body)
}

/// Reads one response of a connection that stays open, and gives its status.
fn answer_of(connection: &mut std::net::TcpStream) -> u16 {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = connection.read(&mut buffer).unwrap();
        assert!(read > 0, "the server closed the connection: {}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&buffer[..read]);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let complete = match head.lines().find_map(|line| line.strip_prefix("content-length: ")) {
            Some(length) => bytes.len() >= end + 4 + length.parse::<usize>().unwrap(),
            None => bytes.ends_with(b"\r\n0\r\n\r\n"),
        };
        if complete {
            return head.split(' ').nth(1).unwrap().parse().unwrap();
        }
    }
}
